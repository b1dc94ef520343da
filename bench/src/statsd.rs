//! `bench statsd`: how many lines of StatsD narthex accepts on one core without losing any.
//!
//! Half of the series are counters, a fifth gauges, a fifth timers, the rest counters with tags. Datagrams
//! have up to 1,432 bytes. The sender keeps to a rate. At the end the totals at the receiver are compared
//! with what was sent.

use crate::Result;
use crate::systems::{Programs, System, Which, data_folder};
use crate::table::{Table, number};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::narthex::config;
use support::{FakeReceiver, Narthex};

/// Options of `bench statsd`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Statsd {
    /// How long lines are sent
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Lines a second, one run for each
    #[arg(long, value_delimiter = ',', default_value = "300000")]
    rates: Vec<u64>,
    /// Series
    #[arg(long, default_value_t = 10_000)]
    series: u64,
    /// The core that narthex gets, for taskset
    #[arg(long, default_value = "0")]
    core: String,
    /// This narthex, instead of one that is built for it
    #[arg(long, value_name = "PROGRAM")]
    narthex: Option<PathBuf>,
}

/// The largest datagram.
const DATAGRAM_BYTES: usize = 1432;
/// The sender's interval.
const TICK: Duration = Duration::from_millis(1);
/// The longest wait for the totals after the last line.
const ARRIVAL: Duration = Duration::from_secs(60);

/// Runs the benchmark and prints the table. Returns an error if a line was lost.
pub(crate) fn run(options: &Statsd) -> Result<()> {
    let which = Which { systems: vec![System::Narthex], narthex: options.narthex.clone() };
    let programs = Programs::find(&which)?;
    let program = programs.narthex().ok_or("no narthex")?;
    let mut table = Table::new(&[
        "lines/s asked",
        "lines/s sent",
        "datagrams/s",
        "kernel drops",
        "lines lost",
        "% of a core",
    ]);
    let mut lost_any = false;
    for rate in &options.rates {
        eprintln!("sending {rate} lines a second for {} s", options.seconds);
        let result = once(options, program, *rate)?;
        lost_any |= result.lost != 0;
        table.push(vec![
            number(*rate as f64),
            number(result.lines as f64 / result.seconds),
            number(result.datagrams as f64 / result.seconds),
            number(result.drops),
            number(result.lost as f64),
            number(100.0 * result.cpu_seconds / result.seconds),
        ]);
    }
    println!("{table}");
    if lost_any { Err("lines were lost".into()) } else { Ok(()) }
}

struct Outcome {
    lines: u64,
    datagrams: u64,
    seconds: f64,
    drops: f64,
    lost: i64,
    cpu_seconds: f64,
}

fn once(options: &Statsd, program: &Path, rate: u64) -> Result<Outcome> {
    let receiver = FakeReceiver::start();
    let folder = data_folder()?;
    let text = format!(
        "remote_write: [{{url: '{}'}}]\ncollect: {{self: false, host: {{collectors: none}}}}\nstatsd: {{listen_udp: \
         '127.0.0.1:0'}}\n",
        receiver.write_url()
    );
    let file = config(folder.path(), &text);
    let pinned = pinned(folder.path(), program, &options.core)?;
    let narthex = Narthex::start_in(&pinned, "run", &folder.path().join("data"), &["--config", &file]);
    let line = narthex.process.wait_for_line("listening on UDP ", ARRIVAL);
    let address = line.split("listening on UDP ").nth(1).and_then(|rest| rest.split([' ', '"']).next());
    let to: SocketAddr = address.ok_or("no address")?.parse()?;
    let (datagrams, lines) = datagrams(options.series);
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let (began, cpu_before) = (Instant::now(), narthex.process.cpu_seconds());
    let (mut sent, mut sent_datagrams, mut cycles) = (0u64, 0u64, 0u64);
    let mut next = 0;
    while began.elapsed() < Duration::from_secs(options.seconds) || next != 0 {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        while sent < due || (next != 0 && began.elapsed() >= Duration::from_secs(options.seconds)) {
            let Some((datagram, count)) = datagrams.get(next) else { break };
            socket.send_to(datagram, to)?;
            sent += count;
            sent_datagrams += 1;
            next += 1;
            if next == datagrams.len() {
                next = 0;
                cycles += 1;
            }
        }
        std::thread::sleep(TICK);
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu_seconds = narthex.process.cpu_seconds() - cpu_before;
    // The value of a gauge does not depend on the number of lines.
    let wanted = (cycles * (lines - options.series / 5)) as i64;
    let drops = r#"narthex_receive_kernel_drops_total{door="statsd",input="statsd"}"#;
    let drops = narthex.metric(drops).unwrap_or(f64::NAN);
    let _ = narthex.process.terminate(ARRIVAL);
    let counted: f64 = receiver
        .arrivals()
        .iter()
        .filter(|(labels, _)| {
            let name = labels.get("__name__").map(String::as_str).unwrap_or_default();
            name.starts_with("bench_counter_") || name == "bench_tagged" || name.ends_with("_count")
        })
        .filter_map(|(_, samples)| samples.last())
        .map(|(_, value)| value)
        .sum();
    Ok(Outcome {
        lines: sent,
        datagrams: sent_datagrams,
        seconds,
        drops,
        lost: wanted - counted as i64,
        cpu_seconds,
    })
}

/// All series once, as datagrams with their numbers of lines, and the number of all lines.
fn datagrams(series: u64) -> (Vec<(Vec<u8>, u64)>, u64) {
    let mut datagrams: Vec<(Vec<u8>, u64)> = Vec::new();
    for index in 0..series {
        let line = match index % 10 {
            0..5 => format!("bench.counter.of.service.{index}:1|c\n"),
            5 | 6 => format!("bench.gauge.of.service.{index}:{}|g\n", index % 97),
            7 | 8 => format!("bench.timer.of.service.{index}:{}|ms\n", index % 907),
            _ => format!("bench.tagged:1|c|#host:web-{index},dc:eu,version:1.2.3\n"),
        };
        match datagrams.last_mut() {
            Some((datagram, count)) if datagram.len() + line.len() <= DATAGRAM_BYTES => {
                datagram.extend_from_slice(line.as_bytes());
                *count += 1;
            }
            _ => datagrams.push((line.into_bytes(), 1)),
        }
    }
    (datagrams, series)
}

/// Writes a script that runs `program` on one core.
fn pinned(folder: &Path, program: &Path, core: &str) -> Result<PathBuf> {
    let pinned = folder.join("pinned");
    std::fs::write(&pinned, format!("#!/bin/sh\nexec taskset -c {core} '{}' \"$@\"\n", program.display()))?;
    std::fs::set_permissions(&pinned, std::fs::Permissions::from_mode(0o755))?;
    Ok(pinned)
}
