//! `bench stages`: the cost of each stage alone, in nanoseconds or in instructions.
//!
//! Instructions are counted by valgrind's callgrind. They hardly depend on the machine, and not at all on its
//! other work, so that a regression of a few percent is noticed. `bench/instructions.txt` has the expected
//! numbers; `--check` compares with it. Valgrind does not support AVX-512, so the C library's functions use
//! their AVX2 variants on every machine that has AVX2.

mod totals;

use crate::Result;
use crate::dialect::Dialect;
use crate::table::{Table, number};
use crate::workload::{PER_REQUEST, Plan, Workload};
use formats::compress::{Compressor, Decompressor, Encoding};
use formats::remote_write::{DecodeOptions, Encoder, Protocol, decode};
use formats::text::{Format, ParseOptions};
use model::{Batch, Value};
use relabel::{AddedLabels, Relabeller};
use remote::batch::{Batcher, REQUEST_BYTES};
use remote::outgoing::{Outgoing, Rules};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::Chunk;
use storage::registry::{Hasher, Registry};
use support::wire::Version;
use wal::record::SamplesBuilder;
use wal::{Durability, Position, RealFilesystem, SegmentReader, Writer, WriterOptions};

/// Options of `bench stages`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Stages {
    /// Count instructions, by valgrind
    #[arg(long)]
    instructions: bool,
    /// Count instructions, and fail where a stage needs more than a tenth more or less than is expected
    #[arg(long)]
    check: bool,
    /// Count instructions, and write them down as what is expected
    #[arg(long)]
    write: bool,
    /// Runs one stage once; what is counted is this run alone
    #[arg(long, hide = true, value_name = "STAGE")]
    once: Option<String>,
}

/// The fraction by which a stage may differ from the expected number.
const TOLERANCE: f64 = 0.1;
const LIMIT: usize = 32 << 20;
/// The series that the registry knows: more than fit into a processor cache.
const KNOWN: u32 = 100_000;

/// The stages in the order of the data flow, each with the function that prepares its work.
const STAGES: [(&str, Make); 18] = [
    ("decompress 1.0", decompress),
    ("decode 1.0", || decoding(Version::V1)),
    ("decode 2.0", || decoding(Version::V2)),
    ("decode text", || decoding_text(0)),
    ("decode text, known series", || decoding_text(32 << 20)),
    ("hash labels", hash),
    ("look up", look_up),
    ("log: encode and compress", log_encode),
    ("log: read and decode", log_decode),
    ("encode 1.0", || encoding(Protocol::V1)),
    ("encode 2.0", || encoding(Protocol::V2)),
    ("compress 1.0", compress),
    ("add a label, encode and compress 1.0", || sending(Protocol::V1)),
    ("add a label, encode and compress 2.0", || sending(Protocol::V2)),
    ("StatsD: a counter", || totals::lines("1|c")),
    ("StatsD: a timer", || totals::lines("250|ms")),
    ("change and flush a counter", || totals::flush(&::totals::Kind::Counter)),
    ("change and flush a histogram", || totals::flush(&totals::histogram())),
];

/// One run over the samples of a request.
type Work = Box<dyn FnMut()>;
type Make = fn() -> Result<Work>;

/// Runs the benchmark and prints the table.
pub(crate) fn run(options: &Stages) -> Result<()> {
    if let Some(name) = &options.once {
        let (_, make) = STAGES.iter().find(|(stage, _)| stage == name).ok_or("no such stage")?;
        let mut work = make()?;
        // The first run allocates memory.
        work();
        measured_run(&mut work);
        return Ok(());
    }
    if options.instructions || options.check || options.write {
        return count(options);
    }
    let mut table = Table::new(&["", "ns a sample, median", "fastest"]);
    for (name, make) in STAGES {
        let mut work = make()?;
        let (begun, mut rounds) = (Instant::now(), Vec::new());
        while begun.elapsed() < Duration::from_millis(500) {
            let round = Instant::now();
            work();
            rounds.push(round.elapsed().as_nanos() as f64 / f64::from(PER_REQUEST));
        }
        let fastest = crate::measure::quantile(&rounds, 0.0);
        table.push(vec![name.into(), number(crate::measure::median(&rounds)), number(fastest)]);
    }
    println!(
        "\nrequests of {PER_REQUEST} series with 12 labels and one sample each, in the cache\n\n{table}"
    );
    Ok(())
}

/// callgrind finds the measured code by the name of this function.
#[inline(never)]
fn measured_run(work: &mut Work) {
    black_box(&mut *work)();
}

fn count(options: &Stages) -> Result<()> {
    let expected = std::fs::read_to_string(expectations()).unwrap_or_default();
    let expected = |name: &str| -> Option<f64> {
        expected.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.trim().parse().ok())
    };
    let mut table = Table::new(&["", "instructions a sample", "expected", "difference"]);
    let mut lines = String::from(
        "# Instructions a sample, stage by stage. Made by: cargo run --release -p bench -- stages --write\n",
    );
    let mut off = Vec::new();
    for (name, _) in STAGES {
        let counted = instructions(name)?;
        lines += &format!("{name}: {counted:.0}\n");
        let difference = expected(name).map(|expected| counted / expected - 1.0);
        let percent = difference.map_or("-".into(), |part| format!("{:+.1} %", part * 100.0));
        if difference.is_none_or(|part| part.abs() > TOLERANCE) {
            off.push(name);
        }
        let expected = expected(name).map_or("-".into(), number);
        table.push(vec![name.into(), number(counted), expected, percent]);
    }
    println!("\nrequests of {PER_REQUEST} series with 12 labels and one sample each\n\n{table}");
    if options.write {
        std::fs::write(expectations(), lines)?;
    } else if options.check && !off.is_empty() {
        return Err(format!(
            "more than {} % from what is expected: {}. If that is how it has to be: bench stages --write",
            TOLERANCE * 100.0,
            off.join(", ")
        )
        .into());
    }
    Ok(())
}

fn expectations() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt")
}

fn instructions(stage: &str) -> Result<f64> {
    let valgrind = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*measured_run*"])
        .arg(std::env::current_exe()?)
        .args(["stages", "--once", stage])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&valgrind.stderr);
    let collected =
        said.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse::<f64>().ok());
    match collected {
        Some(collected) if valgrind.status.success() => Ok(collected / f64::from(PER_REQUEST)),
        _ => Err(format!("{stage}: valgrind said:\n{said}").into()),
    }
}

fn plan() -> Plan {
    Plan { workload: Workload::plain(KNOWN, 1), base: 1_700_000_000_000 }
}

/// A request as it is sent.
fn body(version: Version, request: u32) -> Vec<u8> {
    let dialect = if version == Version::V1 { Dialect::V1 } else { Dialect::V2 };
    plan().request(dialect, request).to_vec()
}

fn plain(version: Version, request: u32) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    Decompressor::new().decode(Encoding::Snappy, &body(version, request), LIMIT, &mut out)?;
    Ok(out)
}

fn batch(request: u32) -> Result<Batch> {
    Ok(decode(Protocol::V1, &plain(Version::V1, request)?, &DecodeOptions::default())?.batch)
}

fn decompress() -> Result<Work> {
    let (body, mut decompressor, mut out) = (body(Version::V1, 0), Decompressor::new(), Vec::new());
    Ok(Box::new(move || {
        let _ = black_box(decompressor.decode(Encoding::Snappy, black_box(&body), LIMIT, &mut out));
    }))
}

fn decoding(version: Version) -> Result<Work> {
    let plain = plain(version, 0)?;
    let protocol = if version == Version::V1 { Protocol::V1 } else { Protocol::V2 };
    let options = DecodeOptions::default();
    Ok(Box::new(move || {
        let _ = black_box(decode(protocol, black_box(&plain), &options));
    }))
}

/// Decodes a request as text, without decompression. The cache of known series may take `known_bytes`.
fn decoding_text(known_bytes: usize) -> Result<Work> {
    let batch = batch(0)?;
    let mut text = String::new();
    for point in &batch.points {
        if let Value::Float(value) = point.value {
            text += &format!("{} {value} {}\n", batch.labels(point.series), point.timestamp);
        }
    }
    let folder = tempfile::tempdir()?;
    let clock = Arc::new(model::SystemClock::new());
    let options = storage::Options::new(folder.path());
    let (storage, _) = storage::Storage::open(Arc::new(RealFilesystem), clock.clone(), options)?;
    let settings = intake::Settings { known_series_bytes: known_bytes, ..intake::Settings::default() };
    let recogniser = intake::Intake::new(storage, clock, settings)?.input("bench").admit()?.recogniser();
    let options = ParseOptions::new(Format::Text, 0);
    if recogniser.parse_text(text.as_bytes(), &options).is_err() {
        return Err("the text can't be read".into());
    }
    Ok(Box::new(move || {
        let _ = black_box(recogniser.parse_text(black_box(text.as_bytes()), &options));
    }))
}

fn hash() -> Result<Work> {
    let (batch, hasher) = (batch(0)?, Hasher::new());
    Ok(Box::new(move || {
        for series in &batch.series {
            black_box(hasher.hash(batch.slice(series.labels)));
        }
    }))
}

fn look_up() -> Result<Work> {
    let (hasher, mut registry) = (Hasher::new(), Registry::new(1, 0));
    let mut hashes = Vec::new();
    for request in 0..plan().workload.requests() {
        let batch = batch(request)?;
        hashes.clear();
        hashes.extend(batch.series.iter().map(|series| hasher.hash(batch.slice(series.labels))));
        for hash in &hashes {
            black_box(registry.resolve(*hash, usize::MAX));
        }
    }
    Ok(Box::new(move || {
        for hash in &hashes {
            black_box(registry.resolve(*hash, usize::MAX));
        }
    }))
}

fn writer(folder: &Path) -> Result<Writer> {
    let options = WriterOptions { durability: Durability::Os, ..WriterOptions::default() };
    Ok(Writer::open(Arc::new(RealFilesystem), folder, options, 0, None)?.0)
}

fn record(builder: &mut SamplesBuilder, batch: &Batch) {
    builder.clear();
    for point in &batch.points {
        if let Value::Float(value) = point.value {
            builder.push(u64::from(point.series) + 1, point.timestamp, 0, value);
        }
    }
}

fn log_encode() -> Result<Work> {
    let folder = tempfile::tempdir()?;
    let (batch, mut writer, mut builder) = (batch(0)?, writer(folder.path())?, SamplesBuilder::new());
    Ok(Box::new(move || {
        record(&mut builder, black_box(&batch));
        let _ = black_box(writer.append(builder.bytes()));
        writer.discard();
        // The folder must exist as long as the writer.
        black_box(&folder);
    }))
}

fn log_decode() -> Result<Work> {
    let folder = tempfile::tempdir()?;
    let (mut writer, mut builder) = (writer(folder.path())?, SamplesBuilder::new());
    record(&mut builder, &batch(0)?);
    writer.append(builder.bytes())?;
    writer.commit()?;
    let segment = writer.segment();
    Ok(Box::new(move || {
        let Ok(mut reader) = SegmentReader::open(&RealFilesystem, folder.path(), segment, 0) else { return };
        while let Ok(Some(raw)) = reader.next() {
            let entries = wal::record::samples(raw.bytes).into_iter().flatten().flatten();
            black_box(entries.map(|entry| entry.value).sum::<f64>());
        }
    }))
}

fn encoding(protocol: Protocol) -> Result<Work> {
    let (batch, mut encoder) = (batch(0)?, Encoder::new(protocol));
    Ok(Box::new(move || {
        encoder.clear();
        for point in &batch.points {
            encoder.push_series(batch.labels(point.series), None);
            let _ = encoder.push_point(&batch, point);
        }
        black_box(encoder.finish());
    }))
}

/// The work of a destination with an external label, from a committed batch to a request that can be sent.
fn sending(protocol: Protocol) -> Result<Work> {
    let batch = batch(0)?;
    let refs = (1..=batch.series.len() as u64).collect();
    let (start, end) = (Position::start_of(0), Position::start_of(1));
    let chunk = Chunk { batch, refs, segment: 0, records: vec![], start, end, arrived: Duration::ZERO };
    let chunk = Arc::new(chunk);
    let added = AddedLabels::new(&[("replica".into(), "a".into())]);
    let mut rules = Rules::new(added, Relabeller::default(), true, true);
    let mut batcher = Batcher::default();
    Ok(Box::new(move || {
        let outgoing = Outgoing::new(chunk.clone(), &mut rules);
        let points = (0..chunk.batch.points.len() as u32).map(|point| (&outgoing, point));
        black_box(batcher.encode(protocol, points, REQUEST_BYTES, |_| None));
    }))
}

fn compress() -> Result<Work> {
    let (plain, mut compressor) = (plain(Version::V1, 0)?, Compressor::new());
    Ok(Box::new(move || {
        let _ = black_box(compressor.encode(Encoding::Snappy, black_box(&plain)));
    }))
}
