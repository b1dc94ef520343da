//! Writes a log with every type of record that a Prometheus agent accepts, so that a real agent can open it:
//!
//! ```text
//! write_log DIR whole|truncated|torn|gap|repaired [snappy|zstd|none]
//! prometheus --agent --config.file=... --storage.agent.path=DATA      with DIR = DATA/wal
//! ```
//!
//! The log has 4 segments with the same 106 series. What happens to it then depends on the mode:
//!
//! - `truncated` deletes the first two segments, as retention does.
//! - `torn` cuts the last record of the newest segment in half and opens the log again, as a start does.
//! - `gap` deletes the file of one segment and opens the log again.
//! - `repaired` changes a byte in the middle of two segments and repairs them.

use model::{BucketSpan, Counts, Histogram, Labels, ResetHint};
use std::path::Path;
use std::sync::Arc;
use wal::record::{ExemplarsBuilder, HistogramsBuilder, SamplesBuilder, SeriesBuilder};
use wal::{Compression, Filesystem, RealFilesystem, Writer, WriterOptions, dir};

const SERIES: u64 = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = "usage: write_log DIR whole|truncated|torn|gap|repaired [snappy|zstd|none]";
    let (dir, mode) = arguments.first().zip(arguments.get(1)).ok_or(usage)?;
    let compression = arguments.get(2).map_or(Ok(Compression::Snappy), |word| word.parse())?;
    let (dir, fs) = (Path::new(dir), Arc::new(RealFilesystem));
    let options = WriterOptions { compression, ..WriterOptions::default() };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64;

    let (mut writer, _) = Writer::open(fs.clone(), dir, options, 0, None)?;
    for segment in 0..4 {
        if segment > 0 {
            writer.begin_segment()?;
        }
        write_segment(&mut writer, now - 60_000 + segment * 15_000)?;
    }
    drop(writer);
    match mode.as_str() {
        "whole" => {}
        "truncated" => drop(dir::truncate_below(&*fs, dir, 2)?),
        "torn" => {
            let newest = fs.open(&dir::segment_path(dir, 3), true)?;
            newest.set_len(newest.len()? - 5)?;
            drop(Writer::open(fs, dir, options, 0, None)?);
        }
        "gap" => {
            fs.remove_file(&dir::segment_path(dir, 1))?;
            drop(Writer::open(fs, dir, options, 6, None)?);
        }
        "repaired" => {
            for segment in [1, 2] {
                let file = fs.open(&dir::segment_path(dir, segment), true)?;
                file.write_at(b"!", 400)?;
            }
            assert_eq!(wal::repair::repair(&*fs, dir, &mut |_| {})?.repaired.len(), 2);
        }
        _ => return Err(usage.into()),
    }
    Ok(())
}

fn write_segment(writer: &mut Writer, time: i64) -> Result<(), Box<dyn std::error::Error>> {
    let (mut series, mut samples, mut exemplars) =
        (SeriesBuilder::new(), SamplesBuilder::new(), ExemplarsBuilder::new());
    for number in 1..=SERIES {
        let path = format!("/{number}");
        let labels = [("__name__", "requests_total"), ("job", "write_log"), ("path", path.as_str())];
        series.push(number, Labels::from_pairs(labels).as_ref());
        samples.push(number, time, 0, number as f64);
        if number % 10 == 0 {
            let labels = Labels::from_pairs([("trace_id", path.as_str())]);
            exemplars.push(number, time, 0.5, labels.as_ref());
        }
    }
    let mut histograms = Vec::new();
    for (index, (float, custom)) in
        [(false, false), (true, false), (false, true), (true, true), (false, false), (true, false)]
            .into_iter()
            .enumerate()
    {
        let number = SERIES + 1 + index as u64;
        let kind = format!("{index}");
        series.push(number, Labels::from_pairs([("__name__", "latency"), ("kind", kind.as_str())]).as_ref());
        let histogram = histogram(float, custom);
        let mut builder =
            HistogramsBuilder::new(HistogramsBuilder::kind(&histogram, 0)).ok_or("no histogram record")?;
        assert!(builder.push(number, time, 0, &histogram));
        histograms.push(builder);
    }
    writer.append(series.bytes())?;
    writer.append(samples.bytes())?;
    for builder in &histograms {
        writer.append(builder.bytes())?;
    }
    writer.append(exemplars.bytes())?;
    writer.commit()?;
    Ok(())
}

fn histogram(float: bool, custom: bool) -> Histogram {
    let counts = match float {
        true => Counts::Float { count: 3.0, zero: 0.0, positive: vec![1.0, 2.0], negative: vec![] },
        false => Counts::Integer { count: 3, zero: 0, positive: vec![1, 1], negative: vec![] },
    };
    Histogram {
        reset_hint: ResetHint::Unknown,
        schema: if custom { -53 } else { 2 },
        zero_threshold: 0.0,
        sum: 4.5,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        negative_spans: vec![],
        counts,
        custom_values: if custom { vec![1.0, 2.0] } else { vec![] },
    }
}
