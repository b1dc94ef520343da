//! The dead letters, as `narthex wal dump --dead` shows them. Their format stands in [`remote::disk::dead`].
//!
//! They are few (two files of [`remote::disk::dead::FILE_BYTES`] for each destination), so for OpenMetrics they
//! are sorted in memory: they stand in the order in which they were refused, not in that of their times.

use super::args::Format;
use crate::failure::Failure;
use crate::moment;
use remote::disk::dead::{Content, Letter, Sample};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use wal::dump::{DumpOptions, open_metrics};
use wal::log::{Progress, ProgressFn};

/// The longest line that is read. A letter has one sample, and what the receiver said.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// The files that a user means with `path`: the data folder, `dead` in it, or one of the files there. Those
/// of a destination follow each other, the older first.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let below = remote::disk::claims::dead_folder(path);
    let folder = if below.is_dir() { &below } else { path };
    let entries = std::fs::read_dir(folder)
        .map_err(|error| Failure::usage(format!("{}: {error}", folder.display())))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| name.ends_with(".jsonl") || name.ends_with(".jsonl.1")).collect();
    names.sort_by_key(|name| match name.strip_suffix(".1") {
        Some(destination) => (destination.to_owned(), 0),
        None => (name.clone(), 1),
    });
    if names.is_empty() {
        return Err(Failure::usage(format!("no dead letters in {}", folder.display())));
    }
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

/// Writes the letters; says what is not in the output.
pub(super) fn dump(
    files: &[PathBuf],
    format: Format,
    options: DumpOptions,
    out: &mut dyn Write,
    progress: ProgressFn<'_>,
) -> io::Result<Vec<String>> {
    let total = files.iter().filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum();
    let mut done = 0;
    let mut count = Counts::default();
    let mut series = BTreeMap::new();
    for file in files {
        let mut reader = BufReader::new(File::open(file)?);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut reader).take_line(&mut line)?;
            if read == 0 {
                break;
            }
            done += read as u64;
            progress(Progress { done, total });
            let Some(letter) = Letter::read(&line) else {
                count.unreadable += 1;
                continue;
            };
            match &letter.content {
                Content::Sample(sample) if !(options.from..=options.to).contains(&sample.timestamp) => {
                    continue;
                }
                Content::Sample(_) => {}
                Content::Part { refused, .. } => count.summarized += refused,
            }
            match format {
                Format::Json => out.write_all(&line)?,
                Format::Text => writeln!(out, "{}", line_for_people(file, &letter))?,
                Format::OpenMetrics => {
                    if let Content::Sample(sample) = letter.content {
                        keep(sample, &mut series, &mut count);
                    }
                }
            }
        }
    }
    if format == Format::OpenMetrics {
        for (labels, samples) in &series {
            let pairs = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let labels = model::Labels::from_pairs(pairs);
            for (timestamp, value) in samples {
                if !open_metrics::write_sample(out, labels.as_ref(), *timestamp, *value)? {
                    count.inexpressible += 1;
                }
            }
        }
        open_metrics::write_end(out)?;
    }
    out.flush()?;
    Ok(count.sentences())
}

/// The destination, why the sample is here, the sample with its time as a date, and what the receiver said.
fn line_for_people(file: &Path, letter: &Letter) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let destination = name.trim_end_matches(".1").trim_end_matches(".jsonl");
    let Letter { reason, answer, content } = letter;
    match content {
        Content::Sample(sample) => {
            let (labels, time) = (sample.canonical_labels(), moment::show(sample.timestamp));
            format!("{destination}: {reason}: {labels} {time} {}: {answer}", sample.shown)
        }
        Content::Part { .. } => format!("{destination}: {letter}"),
    }
}

trait TakeLine {
    fn take_line(self, line: &mut Vec<u8>) -> io::Result<usize>;
}

impl<R: BufRead> TakeLine for R {
    /// A line, or the next part of one that is too long.
    fn take_line(self, line: &mut Vec<u8>) -> io::Result<usize> {
        self.take(LINE_BYTES_MAX).read_until(b'\n', line)
    }
}

#[derive(Default)]
struct Counts {
    unreadable: u64,
    inexpressible: u64,
    twice: u64,
    summarized: u64,
}

impl Counts {
    fn sentences(&self) -> Vec<String> {
        [
            (self.unreadable, "lines that are no dead letters"),
            (self.inexpressible, "native histograms, exemplars, staleness markers and samples without a name"),
            (self.twice, "samples that were refused more than once"),
            (
                self.summarized,
                "samples of which the receiver only said how many they were: they are in the log, as long as it is kept",
            ),
        ]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("left out: {count} {what}"))
        .collect()
    }
}

type Sorted = BTreeMap<BTreeMap<String, String>, BTreeMap<i64, f64>>;

fn keep(sample: Sample, series: &mut Sorted, count: &mut Counts) {
    let Some(value) = sample.float else {
        count.inexpressible += 1;
        return;
    };
    if series.entry(sample.labels).or_default().insert(sample.timestamp, value).is_some() {
        count.twice += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTERS: &str = concat!(
        r#"{"time":9,"reason":"refused","answer":"400: old","labels":{"__name__":"up","q":"a\"b"},"timestamp":2000,"value":"1.5"}"#,
        "\n",
        r#"{"time":9,"reason":"refused","answer":"400: old","labels":{"__name__":"up","q":"a\"b"},"timestamp":1000,"value":"+Inf"}"#,
        "\n",
        r#"{"time":9,"reason":"poisoned","answer":"500","labels":{"__name__":"h"},"timestamp":1000,"histogram":{"schema":3}}"#,
        "\n",
        r#"{"time":9,"reason":"refused","answer":"400: old","refused":7,"of":100}"#,
        "\nhalf a li",
    );

    fn dumped(format: Format, options: DumpOptions) -> (String, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("dead")).unwrap();
        std::fs::write(folder.path().join("dead/a.jsonl"), LETTERS).unwrap();
        let mut out = Vec::new();
        let files = files(folder.path()).unwrap();
        let sentences = dump(&files, format, options, &mut out, &mut |_| {}).unwrap();
        (String::from_utf8(out).unwrap(), sentences)
    }

    #[test]
    fn for_openmetrics_letters_are_sorted_by_series_and_time() {
        let (text, sentences) = dumped(Format::OpenMetrics, DumpOptions::default());
        assert_eq!(text, "up{q=\"a\\\"b\"} +Inf 1.000\nup{q=\"a\\\"b\"} 1.5 2.000\n# EOF\n");
        let counts: Vec<&str> = sentences.iter().map(|line| line.split(' ').nth(2).unwrap()).collect();
        assert_eq!(counts, ["1", "1", "7"], "{sentences:?}");
    }

    #[test]
    fn text_says_why() {
        let options = DumpOptions { to: 1500, ..DumpOptions::default() };
        let (text, _) = dumped(Format::Text, options);
        assert_eq!(
            text,
            "a: refused: up{q=\"a\\\"b\"} 1970-01-01T00:00:01.000Z +Inf: 400: old\n\
             a: poisoned: h 1970-01-01T00:00:01.000Z {\"schema\":3}: 500\n\
             a: refused: 7 of 100 samples of a request: 400: old\n"
        );
    }

    #[test]
    fn json_is_passed_on() {
        let (text, _) = dumped(Format::Json, DumpOptions::default());
        assert_eq!(text, LETTERS.strip_suffix("half a li").unwrap());
    }

    #[test]
    fn a_line_that_is_too_long_is_no_letter_and_hides_no_other() {
        let letter = |answer: &str| format!("{{\"answer\":\"{answer}\",\"timestamp\":1,\"value\":\"1\"}}\n");
        let limit = LINE_BYTES_MAX as usize;
        let whole = letter(&"x".repeat(limit - letter("").len()));
        let long = letter(&"x".repeat(limit));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, [&*whole, &*long, &*letter("last")].concat()).unwrap();
        let mut out = Vec::new();
        let sentences = dump(&[path], Format::Json, DumpOptions::default(), &mut out, &mut |_| {}).unwrap();
        assert!(out == [whole, letter("last")].concat().into_bytes(), "{} bytes", out.len());
        assert!(sentences.len() == 1 && sentences[0].contains("no dead letters"), "{sentences:?}");
    }

    #[test]
    fn the_older_file_of_a_destination_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.jsonl", "a.jsonl.1", "a.jsonl", "other"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<_> = files(folder.path()).unwrap();
        let names: Vec<_> = names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.jsonl.1", "a.jsonl", "b.jsonl"]);
        assert!(files(Path::new("/nowhere")).is_err());
    }
}
