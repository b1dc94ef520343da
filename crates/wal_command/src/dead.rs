//! The dead letters, as `narthex wal dump --dead` shows them. Their format is described in [`dead_letters`].
//!
//! They are limited (two files of [`dead_letters::FILE_BYTES`] for each destination), and are stored in the
//! order in which they were refused. OpenMetrics needs the order of time, so for that format they are sorted
//! in memory.

use crate::args::Format;
use command::Failure;
use dead_letters::{Content, Letter, Part, Sample, SampleKind};
use model::moment;
use model::words::{are, counted, number};
use remote::disk::claims;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use wal::RealFilesystem;
use wal::dump::{DumpOptions, open_metrics};
use wal::log::{Progress, ProgressFn};

/// The longest line that is read. A letter has one sample and the receiver's answer.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// The files of `path`: the data folder, its folder `dead`, or one of the files there. The files of a
/// destination are adjacent, the older one first. A data folder without dead letters has none.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let below = claims::dead_folder(path);
    let is_data = below.is_dir() || path.join("wal").is_dir();
    let folder = if is_data { &below } else { path };
    let names = match std::fs::read_dir(folder) {
        Err(error) if is_data && error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| Failure::usage(format!("{}: {error}", folder.display())))?,
    };
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| name.ends_with(".jsonl") || name.ends_with(".jsonl.1")).collect();
    names.sort_by_key(|name| match name.strip_suffix(".1") {
        Some(destination) => (destination.to_owned(), 0),
        None => (name.clone(), 1),
    });
    if names.is_empty() && !is_data && folder.file_name() != below.file_name() {
        let shown = folder.display();
        return Err(Failure::usage(format!(
            "{shown} is not a data folder of narthex: it has neither a log (wal) nor dead letters (dead)"
        )));
    }
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

/// Writes the letters. Returns sentences about what is not in the output.
pub(crate) fn dump(
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
        let destination = destination(file);
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
            if line.trim_ascii().is_empty() {
                continue;
            }
            let Some(letter) = Letter::read(&line) else {
                count.unreadable += 1;
                continue;
            };
            count.letters += 1;
            match &letter.content {
                Content::Sample(sample) if !(options.from..=options.to).contains(&sample.timestamp) => {
                    count.at_other_times += 1;
                    continue;
                }
                Content::Sample(sample) => count.in_parts += u64::from(sample.part.is_some()),
                Content::Part(part) => count.summarized += part.refused,
            }
            match format {
                Format::Json => out.write_all(&line)?,
                Format::Text => writeln!(out, "{}", line_for_people(&destination, &letter))?,
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

/// The destination of the letters in a file: its name or URL, as in its file of positions. It is the file's
/// name if the file is not in a data folder.
fn destination(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim_end_matches(".1").trim_end_matches(".jsonl");
    let data = file.parent().and_then(Path::parent);
    data.and_then(|data| claims::destination(&RealFilesystem, data, name)).unwrap_or_else(|| name.to_string())
}

/// A line with the destination, the reason, the sample with its time as a date, and the receiver's answer.
fn line_for_people(destination: &str, letter: &Letter) -> String {
    let Letter { reason, answer, content } = letter;
    match content {
        Content::Sample(sample) => {
            let (labels, time) = (sample.canonical_labels(), moment::show(sample.timestamp));
            let why = match sample.part {
                Some(part) => of_these(part, sample.kind),
                None => reason.clone(),
            };
            format!("{destination}: {why}: {labels} {time} {}: {answer}", sample.shown)
        }
        Content::Part(Part { refused, of }) => {
            format!("{destination}: {reason}: {refused} of {of} samples of a request: {answer}")
        }
    }
}

/// How many of the samples of a request were refused: `1 of these 7 samples was refused`. The samples are
/// shown in several lines, and it is not known which of them were refused.
fn of_these(Part { refused, of }: Part, kind: SampleKind) -> String {
    let was = if refused == 1 { "was" } else { "were" };
    format!("{} of these {} {was} refused", number(refused), counted(of, kind.noun()))
}

trait TakeLine {
    fn take_line(self, line: &mut Vec<u8>) -> io::Result<usize>;
}

impl<R: BufRead> TakeLine for R {
    /// Reads a line, or the next part of one that is too long.
    fn take_line(self, line: &mut Vec<u8>) -> io::Result<usize> {
        self.take(LINE_BYTES_MAX).read_until(b'\n', line)
    }
}

#[derive(Default)]
struct Counts {
    letters: u64,
    at_other_times: u64,
    unreadable: u64,
    inexpressible: u64,
    twice: u64,
    summarized: u64,
    /// Samples of a request of which only some were refused.
    in_parts: u64,
}

impl Counts {
    fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if self.letters == 0 && self.unreadable == 0 {
            sentences.push("there are no dead letters: no refused sample was kept".to_string());
        } else if self.letters > 0 && self.at_other_times == self.letters {
            let letters = are(self.letters, "dead letter");
            sentences.push(format!("no dead letter is of the given time; {letters} of other times"));
        }
        if self.in_parts > 0 {
            let lines = are(self.in_parts, "line");
            sentences.push(format!(
                "{lines} of samples of which only some were refused, and the receiver did not say which: the others were delivered"
            ));
        }
        let left_out = [
            (self.unreadable, "line", "that can't be read as a dead letter"),
            (
                self.inexpressible,
                "sample",
                "that the text format can't hold: native histograms, exemplars, staleness markers, no name",
            ),
            (self.twice, "sample", "refused more than once"),
            (
                self.summarized,
                "sample",
                "of which the receiver only said how many they were: they are in the log, as long as it is kept",
            ),
        ];
        let left_out = left_out.iter().filter(|(count, _, _)| *count > 0);
        let sentence =
            |(count, noun, what): &(u64, &str, &str)| format!("left out: {} {what}", counted(*count, noun));
        sentences.extend(left_out.map(sentence));
        sentences
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
    fn text_shows_the_reason() {
        let options = DumpOptions { to: 1500, ..DumpOptions::default() };
        let (text, _) = dumped(Format::Text, options);
        assert_eq!(
            text,
            "a: refused: up{q=\"a\\\"b\"} 1970-01-01T00:00:01.000Z +Inf: 400: old\n\
             a: poisoned: h 1970-01-01T00:00:01.000Z {\"schema\":3}: 500\n\
             a: refused: 7 of 100 samples of a request: 400: old\n"
        );
    }

    /// The receiver refused one of seven samples.
    #[test]
    fn samples_of_a_part_are_not_shown_as_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let line = r#"{"time":9,"reason":"refused","answer":"400: old","refused":1,"of":7,"labels":{"__name__":"up"},"timestamp":1000,"value":"1"}"#;
        let exemplar = r#"{"time":9,"reason":"refused","answer":"400: old","refused":2,"of":3,"labels":{"__name__":"up"},"timestamp":1000,"exemplar":{"labels":{},"value":"1"}}"#;
        std::fs::write(&path, format!("{line}\n{exemplar}\n")).unwrap();
        let dumped = |format| {
            let mut out = Vec::new();
            let files = [path.clone()];
            let sentences = dump(&files, format, DumpOptions::default(), &mut out, &mut |_| {}).unwrap();
            (String::from_utf8(out).unwrap(), sentences)
        };
        let (text, sentences) = dumped(Format::Text);
        assert_eq!(
            text,
            "a: 1 of these 7 samples was refused: up 1970-01-01T00:00:01.000Z 1: 400: old\n\
             a: 2 of these 3 exemplars were refused: up 1970-01-01T00:00:01.000Z \
             {\"labels\":{},\"value\":\"1\"}: 400: old\n"
        );
        assert!(sentences.len() == 1 && sentences[0].contains("the others were delivered"), "{sentences:?}");
        // OpenMetrics contains all of them, because it is not known which one the receiver lacks.
        assert_eq!(dumped(Format::OpenMetrics).0, "up{} 1 1.000\n# EOF\n");
    }

    #[test]
    fn a_data_folder_without_dead_letters_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let error = files(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is not a data folder of narthex"), "{error}");
        std::fs::create_dir(folder.path().join("wal")).unwrap();
        let none = Vec::<PathBuf>::new();
        assert_eq!(files(folder.path()).unwrap(), none);
        let dead = folder.path().join("dead");
        std::fs::create_dir(&dead).unwrap();
        assert_eq!((files(folder.path()).unwrap(), files(&dead).unwrap()), (none.clone(), none));
        let mut out = Vec::new();
        let sentences = dump(&[], Format::Text, DumpOptions::default(), &mut out, &mut |_| {}).unwrap();
        assert_eq!(sentences, ["there are no dead letters: no refused sample was kept"]);
        assert_eq!(out, b"");
    }

    #[test]
    fn letters_outside_the_period_are_reported() {
        let options = DumpOptions { from: 5000, ..DumpOptions::default() };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, LETTERS.lines().next().unwrap()).unwrap();
        let mut out = Vec::new();
        let sentences = dump(&[path], Format::Text, options, &mut out, &mut |_| {}).unwrap();
        assert_eq!(sentences, ["no dead letter is of the given time; 1 dead letter is of other times"]);
    }

    #[test]
    fn json_letters_are_written_unchanged() {
        let (text, _) = dumped(Format::Json, DumpOptions::default());
        assert_eq!(text, LETTERS.strip_suffix("half a li").unwrap());
    }

    /// Each process that writes dead letters first writes an empty line.
    #[test]
    fn empty_lines_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let letter = r#"{"timestamp":1,"value":"1"}"#;
        std::fs::write(&path, format!("{letter}\n\n\n{letter}\n\n")).unwrap();
        let mut out = Vec::new();
        let sentences = dump(&[path], Format::Json, DumpOptions::default(), &mut out, &mut |_| {}).unwrap();
        assert_eq!(sentences, Vec::<String>::new());
        assert_eq!(String::from_utf8(out).unwrap(), format!("{letter}\n{letter}\n"));
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_alone() {
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
        assert!(
            sentences.len() == 1 && sentences[0].contains("can't be read as a dead letter"),
            "{sentences:?}"
        );
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
