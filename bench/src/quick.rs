//! `bench quick`: narthex beside a peer, with and without an encoding step, in about a minute, for CI.
//!
//! Machines differ and may have other work, so only the ratio of the two is compared. The benchmark fails if
//! the ratio is more than [`FACTOR`] times the one that is committed with the code, or if a sample is lost.
//! `bench stages --check` detects small changes, because it counts instructions.

use crate::Result;
use crate::measure::median;
use crate::relay::{Case, Relay, check};
use crate::systems::{Programs, Route, System, Which};
use crate::table::{Table, number};
use std::path::{Path, PathBuf};

/// The factor of the committed ratio at which the benchmark fails.
const FACTOR: f64 = 2.0;

/// Options of `bench quick`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Quick {
    /// This narthex, instead of one that is built for it
    #[arg(long, value_name = "PROGRAM")]
    narthex: Option<PathBuf>,
    /// How often each; medians count
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Write the ratios down as what is expected
    #[arg(long)]
    write: bool,
}

/// The protocols, whether a label is added, and the peer.
const WORKLOADS: [(Route, bool, System); 6] = [
    (Route::OneOne, false, System::Vmagent),
    (Route::TwoTwo, false, System::Prometheus),
    (Route::OneOne, true, System::Vmagent),
    (Route::TwoTwo, true, System::Prometheus),
    (Route::OneTwo, false, System::Prometheus),
    (Route::TextOne, false, System::Vmagent),
];

/// Runs the benchmark and prints the table.
pub(crate) fn run(options: &Quick) -> Result<()> {
    let expected = std::fs::read_to_string(ratios()).unwrap_or_default();
    let mut lines = String::from(
        "# CPU time a sample, narthex / peer. Made by: cargo run --release -p bench -- quick --write\n",
    );
    let mut table = Table::new(&["", "narthex", "peer", "ratio", "expected"]);
    let mut too_much = Vec::new();
    for (route, label, peer) in WORKLOADS {
        let which = Which { systems: vec![System::Narthex, peer], narthex: options.narthex.clone() };
        let programs = Programs::find(&which)?;
        let cases = Relay::flat_out(route, label, which, options.rounds).measure(&programs)?;
        check(&cases)?;
        let cpu = |case: &Case| {
            median(&case.rounds.iter().map(|round| round.cpu_seconds_per_million).collect::<Vec<_>>())
        };
        let own = cases.iter().find(|case| case.system == System::Narthex).map(cpu).ok_or("no narthex")?;
        let name = format!("{}{}, {}", route.name(), if label { ", a label added" } else { "" }, peer.name());
        let Some(others) = cases.iter().find(|case| case.system == peer).map(cpu) else {
            table.push(vec![name, number(own), "-".into(), "-".into(), "-".into()]);
            continue;
        };
        let ratio = own / others;
        lines += &format!("{name}: {ratio:.2}\n");
        let wanted: Option<f64> = expected
            .lines()
            .find_map(|line| line.strip_prefix(&name)?.strip_prefix(": ")?.trim().parse().ok());
        table.push(vec![
            name.clone(),
            number(own),
            number(others),
            number(ratio),
            wanted.map_or("-".into(), number),
        ]);
        if wanted.is_none_or(|wanted| ratio > wanted * FACTOR) {
            too_much.push(name);
        }
    }
    println!("\nCPU seconds per million samples, flat out; medians of {} rounds\n\n{table}", options.rounds);
    if options.write {
        std::fs::write(ratios(), lines)?;
    } else if !too_much.is_empty() {
        return Err(format!(
            "more than {FACTOR} times the expected ratio, or none is expected: {}. If that is how it has to be: bench \
             quick --write",
            too_much.join("; ")
        )
        .into());
    }
    Ok(())
}

fn ratios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ratios.txt")
}
