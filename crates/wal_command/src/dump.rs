//! `narthex wal dump`.

use crate::args::{DumpArgs, Format};
use crate::folder::{Folder, failed};
use crate::progress::Line;
use crate::{dead, folder, quiet_if_closed};
use command::Failure;
use command::say;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use wal::RealFilesystem;
use wal::dump::{DumpOptions, DumpReport, dump};
use wal::log::ToolError;

const BUFFER_BYTES: usize = 1 << 20;

pub(crate) fn run(args: &DumpArgs) -> Result<ExitCode, Failure> {
    let options = DumpOptions {
        format: args.format.into(),
        from: args.from.unwrap_or(i64::MIN),
        to: args.to.unwrap_or(i64::MAX),
        ..DumpOptions::default()
    };
    let dir = folder::or_default(args.named())?;
    // Checked before the output file is created.
    let log = if args.dead { None } else { Some(Folder::find(&dir)?) };
    let dead = if args.dead { dead::files(&dir)? } else { Vec::new() };
    let mut out: Box<dyn Write> = match &args.out {
        Some(path) => Box::new(
            File::create(path).map_err(|error| Failure::running(format!("{}: {error}", path.display())))?,
        ),
        None => Box::new(io::stdout()),
    };
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, &mut out);
    // On a terminal the output and the progress line would overwrite each other.
    let shows_itself = args.out.is_none() && io::stdout().is_terminal();
    let mut line = (!shows_itself).then(|| Line::new("dumping"));
    let mut progress = |progress| {
        if let Some(line) = &mut line {
            line.show(progress);
        }
    };
    let result = match &log {
        Some(folder) => dump(&RealFilesystem, folder.log(), options, &mut out, &mut progress)
            .map(|report| left_out(&report, args.format)),
        None => dead::dump(&dead, args.format, options, &mut out, &mut progress).map_err(ToolError::Output),
    };
    let flushed = out.flush();
    // After a closed pipe the rest of the buffer must not be written again.
    drop(out.into_parts());
    drop(line);
    match result {
        Ok(sentences) => {
            quiet_if_closed(flushed)?;
            sentences.iter().for_each(|sentence| say(format_args!("{sentence}")));
        }
        Err(ToolError::Output(error)) => quiet_if_closed(Err(error))?,
        Err(error) => return Err(failed(error)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Sentences about what is not in the output, and why.
fn left_out(report: &DumpReport, format: Format) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut say = |count: u64, what: &str| {
        if count > 0 {
            sentences.push(format!("left out: {count} {what}"));
        }
    };
    if format == Format::OpenMetrics {
        say(
            report.inexpressible,
            "entries that OpenMetrics has no place for (native histograms, exemplars, metadata, staleness markers, samples without a name)",
        );
        say(report.out_of_order, "samples not newer than the one before in their series");
        say(report.unknown_series, "samples of series whose labels are not known");
    }
    say(report.series_left_out, "series, whose labels are too many for the memory they may have");
    for damage in &report.damage {
        sentences.push(format!("left out: {damage}"));
    }
    sentences
}
