//! `narthex wal stat`.

use crate::args::StatArgs;
use crate::folder::{Folder, Standing, failed, or_default};
use crate::print;
use crate::progress::Line;
use command::Failure;
use command::shell::wal_command;
use model::duration::human;
use model::moment;
use model::size::Human;
use model::words::{counted, number};
use serde_json::{Value, json};
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;
use wal::RealFilesystem;
use wal::stat::{StatReport, stat};

pub(crate) fn run(args: &StatArgs) -> Result<ExitCode, Failure> {
    let folder = Folder::find(&or_default(args.folder.named())?)?;
    let mut line = Line::new("reading");
    let report = stat(&RealFilesystem, folder.log(), args.top, &mut |progress| line.show(progress));
    drop(line);
    let report = report.map_err(failed)?;
    let standings = folder.standings()?;
    let text = if args.json {
        format!("{:#}\n", as_json(&folder, &report, &standings))
    } else {
        as_text(&folder, &report, &standings)
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The segments without those of a checkpoint: their number, and the first and the last one.
fn segments(report: &StatReport) -> (usize, Option<(u64, u64)>) {
    let mut numbers = report.files.iter().filter(|file| file.checkpoint.is_none()).map(|file| file.segment);
    let count = numbers.clone().count();
    (count, numbers.next().map(|first| (first, numbers.next_back().unwrap_or(first))))
}

fn as_text(folder: &Folder, report: &StatReport, standings: &[Standing]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_text(&mut text, folder, report, standings);
    text
}

fn write_text(
    out: &mut String,
    folder: &Folder,
    report: &StatReport,
    standings: &[Standing],
) -> std::fmt::Result {
    writeln!(out, "{}: a log of {}, {}", folder.wal.display(), folder.owner(), Human(report.bytes))?;
    let (count, range) = segments(report);
    let range = range.map(|(first, last)| format!(" ({first} to {last})")).unwrap_or_default();
    writeln!(out, "segments    {count}{range}")?;
    if let Some(number) = report.files.iter().find_map(|file| file.checkpoint) {
        writeln!(out, "checkpoint  {number}")?;
    }
    let (series, references) = (number(report.series), number(report.references));
    writeln!(out, "series      {series} ({references} references), {} metrics", number(report.metrics))?;
    writeln!(
        out,
        "samples     {} floats, {} native histograms, {} exemplars",
        number(report.floats()),
        number(report.histograms()),
        number(report.exemplars())
    )?;
    if let Some((from, to)) = report.time_range {
        let length = Duration::from_millis(to.abs_diff(from));
        writeln!(out, "time        {} to {} ({})", moment::show(from), moment::show(to), human(length))?;
    }
    if let Some(rate) = report.rate() {
        writeln!(out, "rate        {rate:.1} samples a second")?;
    }
    if let Some(bytes) = report.bytes_per_sample() {
        writeln!(out, "on disk     {bytes:.2} bytes a sample, series included")?;
    }
    let damaged: u64 = report.damage.iter().map(|damage| damage.bytes).sum();
    match report.damage.len() {
        0 => writeln!(out, "damage      none")?,
        count => {
            let (stretches, bytes) = (counted(count as u64, "stretch"), counted(damaged, "byte"));
            let command = wal_command("verify", &folder.data);
            writeln!(out, "damage      {stretches}, {bytes}: see {command}")?;
        }
    }
    let mut records = vec![["record", "records", "entries", "bytes"].map(String::from)];
    records.extend(report.records.iter().map(|(kind, stat)| {
        [kind.to_string(), number(stat.records), number(stat.entries), number(stat.bytes)]
    }));
    table(out, &records)?;
    if !report.top.is_empty() {
        let mut metrics = vec![["metric", "references", "samples"].map(String::from)];
        metrics.extend(
            report
                .top
                .iter()
                .map(|metric| [shown(&metric.name), number(metric.references), number(metric.samples)]),
        );
        table(out, &metrics)?;
    }
    if report.other > 0 {
        writeln!(out, "and {} samples of metrics that are not known", number(report.other))?;
    }
    if !standings.is_empty() {
        let mut rows = vec![["destination", "segment", "offset", "behind"].map(String::from)];
        rows.extend(standings.iter().map(|standing| {
            let place = |of: fn(wal::Position) -> u64| {
                standing.lowest.map_or("unreadable".to_owned(), |position| of(position).to_string())
            };
            let behind = Human(standing.behind_bytes).to_string();
            [standing.destination.clone(), place(|at| at.segment), place(|at| at.offset), behind]
        }));
        table(out, &rows)?;
    }
    Ok(())
}

fn shown(name: &str) -> String {
    if name.is_empty() { "(no name)".into() } else { name.into() }
}

/// Writes rows with a heading after an empty line. The first column is left-aligned, all others are
/// right-aligned.
fn table<const N: usize>(out: &mut String, rows: &[[String; N]]) -> std::fmt::Result {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    out.push('\n');
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            match column {
                0 => write!(out, "{cell:<width$}")?,
                _ => write!(out, "  {cell:>width$}")?,
            }
        }
        out.push('\n');
    }
    Ok(())
}

fn as_json(folder: &Folder, report: &StatReport, standings: &[Standing]) -> Value {
    let (count, range) = segments(report);
    let records = report.records.iter().map(|(kind, stat)| {
        let stat = json!({"records": stat.records, "entries": stat.entries, "bytes": stat.bytes});
        (kind.to_string(), stat)
    });
    let positions = standings.iter().map(|standing| {
        json!({
            "destination": standing.destination,
            "segment": standing.lowest.map(|position| position.segment),
            "offset": standing.lowest.map(|position| position.offset),
            "unreadable_lanes": standing.unreadable,
            "behind_bytes": standing.behind_bytes,
        })
    });
    json!({
        "dir": folder.wal.display().to_string(),
        "owner": folder.owner().to_lowercase(),
        "bytes": report.bytes,
        "segments": count,
        "first_segment": range.map(|range| range.0),
        "last_segment": range.map(|range| range.1),
        "checkpoint": report.files.iter().find_map(|file| file.checkpoint),
        "series": report.series,
        "references": report.references,
        "metrics": report.metrics,
        "floats": report.floats(),
        "histograms": report.histograms(),
        "exemplars": report.exemplars(),
        "min_time": report.time_range.map(|range| range.0),
        "max_time": report.time_range.map(|range| range.1),
        "samples_per_second": report.rate(),
        "bytes_per_sample": report.bytes_per_sample(),
        "damage": report.damage.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "records": records.collect::<serde_json::Map<_, _>>(),
        "top": report.top.iter().map(|metric| {
            json!({"metric": metric.name, "references": metric.references, "samples": metric.samples})
        }).collect::<Vec<_>>(),
        "other_samples": report.other,
        "positions": positions.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let mut out = String::new();
        let row = |a: &str, b: u64| [a.to_owned(), number(b)];
        table(&mut out, &[["metric".into(), "samples".into()], row("température", 1_234_567), row("up", 12)])
            .unwrap();
        assert_eq!(out, "\nmetric         samples\ntempérature  1,234,567\nup                  12\n");
    }
}
