//! `bench floor`: the work that every program that relays remote write and keeps a log must do. It is done on
//! the same bytes by libraries and system calls alone.

use crate::Result;
use crate::dialect::Dialect;
use crate::table::{Table, number};
use crate::workload::{PER_REQUEST, Plan, Workload};
use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use wal::record::SamplesBuilder;

/// Options of `bench floor`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Floor {
    /// How long each part is repeated
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

/// Runs the benchmark and prints the table.
pub(crate) fn run(options: &Floor) -> Result<()> {
    let time = Duration::from_secs_f64(options.seconds);
    let mut table = Table::new(&["ns of CPU a sample", "1.0 -> 1.0", "2.0 -> 2.0"]);
    let (one, two) = (parts(Dialect::V1, time)?, parts(Dialect::V2, time)?);
    for ((name, one), (_, two)) in one.iter().zip(&two) {
        table.push(vec![(*name).into(), number(*one), number(*two)]);
    }
    let sum = |parts: &[(&str, f64)]| number(parts.iter().map(|(_, ns)| ns).sum());
    table.push(vec!["together".into(), sum(&one), sum(&two)]);
    println!("\nrequests of {PER_REQUEST} samples, each synced by itself, one thread\n\n{table}");
    Ok(())
}

type Parts = Vec<(&'static str, f64)>;

fn parts(dialect: Dialect, time: Duration) -> Result<Parts> {
    let plan = Plan { workload: Workload::plain(PER_REQUEST, 1), base: 1_700_000_000_000 };
    let body = plan.request(dialect, 0);
    let plain = snap::raw::Decoder::new().decompress_vec(&body)?;
    let mut record = SamplesBuilder::new();
    for series in 0..PER_REQUEST {
        record.push(u64::from(series) + 1, plan.timestamp(0), 0, plan.value(series, 0));
    }
    let (mut decoder, mut encoder) = (snap::raw::Decoder::new(), snap::raw::Encoder::new());
    let mut decoded = vec![0; plain.len()];
    let mut encoded = vec![0; snap::raw::max_compress_len(plain.len())];
    let mut small = vec![0; snap::raw::max_compress_len(record.bytes().len())];
    let length = encoder.compress(record.bytes(), &mut small)?;
    let stored = small.get(..length).unwrap_or_default().to_vec();

    let folder = crate::systems::data_folder()?;
    let mut file = OpenOptions::new().create(true).append(true).open(folder.path().join("log"))?;
    // The other end of a connection, which receives the request and returns it.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    let there = body.clone();
    std::thread::spawn(move || {
        let mut back = vec![0; there.len()];
        while far.write_all(&there).is_ok() && far.read_exact(&mut back).is_ok() {}
    });
    let mut received = vec![0; body.len()];

    Ok(vec![
        (
            "receive and send",
            measure(time, || {
                near.read_exact(&mut received)?;
                Ok(near.write_all(&received)?)
            })?,
        ),
        ("decompress", measure(time, || Ok(decoder.decompress(&body, &mut decoded).map(|_| ())?))?),
        (
            "compress and checksum the log",
            measure(time, || {
                let length = encoder.compress(record.bytes(), &mut small)?;
                black_box(crc32c::crc32c(small.get(..length).unwrap_or_default()));
                Ok(())
            })?,
        ),
        (
            "write and fdatasync",
            measure(time, || {
                file.write_all(&stored)?;
                Ok(file.sync_data()?)
            })?,
        ),
        ("compress", measure(time, || Ok(encoder.compress(&plain, &mut encoded).map(|_| ())?))?),
    ])
}

/// The processor time of this thread per sample, in nanoseconds.
fn measure(time: Duration, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    let (begun, before, mut rounds) = (Instant::now(), cpu_ns()?, 0_u32);
    while begun.elapsed() < time {
        work()?;
        rounds += 1;
    }
    Ok((cpu_ns()? - before) / f64::from(rounds) / f64::from(PER_REQUEST))
}

/// The processor time of this thread in nanoseconds, as the scheduler counts it.
fn cpu_ns() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_whitespace().next().ok_or("no CPU time in schedstat")?.parse()?)
}
