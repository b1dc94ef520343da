//! Benchmarks of narthex beside the real Prometheus agent and the real vmagent, on one machine.
//!
//! `relay` is the main one: a sender, the system, and a receiver that knows each sample and so counts losses,
//! repetitions and wrong order separately. Sender and receiver are in this process. The system is a process
//! of its own that is measured from outside. Start at `relay.rs`, then read `workload.rs` and `count.rs`.
#![allow(clippy::print_stdout, reason = "a table on standard output is what this program is for")]

mod bulk;
mod count;
mod dialect;
mod floor;
mod groups;
mod grow;
mod idle;
mod lost;
mod measure;
mod push_or_pull;
mod quick;
mod receiver;
mod relay;
mod sender;
mod stages;
mod start;
mod statsd;
mod svg;
mod systems;
mod table;
mod workload;

use clap::Parser;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Benchmarks of narthex beside its peers
#[derive(Debug, Parser)]
#[command(name = "bench")]
enum Command {
    /// Remote write in, remote write out
    Relay(relay::Relay),
    /// What each stage costs, one by one, in nanoseconds or in instructions
    Stages(stages::Stages),
    /// The same work done by the bare parts
    Floor(floor::Floor),
    /// How cost and memory grow with series, destinations and senders
    Grow(grow::Grow),
    /// What groups cost: pushing them, keeping them, sending them again
    Groups(groups::Groups),
    /// narthex beside a peer in a minute, for CI
    Quick(quick::Quick),
    /// Time from a start to readiness, with a full log
    Start(start::Start),
    /// Lines of StatsD a second that one core takes
    Statsd(statsd::Statsd),
    /// Memory and CPU of collecting this machine's own metrics
    Idle(idle::Idle),
    /// What is lost of acknowledged samples by kills, outages, refusals and a full budget
    Lost(lost::Lost),
    /// How late, how complete and how dear values are that are pushed, or scraped
    PushOrPull(push_or_pull::PushOrPull),
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Relay(options) => relay::run(options),
        Command::Stages(options) => stages::run(&options),
        Command::Floor(options) => floor::run(&options),
        Command::Grow(options) => grow::run(&options),
        Command::Groups(options) => groups::run(&options),
        Command::Quick(options) => quick::run(&options),
        Command::Start(options) => start::run(&options),
        Command::Statsd(options) => statsd::run(&options),
        Command::Idle(options) => idle::run(&options),
        Command::Lost(options) => lost::run(&options),
        Command::PushOrPull(options) => push_or_pull::run(&options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_in_the_documents_are_valid() {
        let mut count = 0;
        for text in [
            include_str!("../../docs/benchmarks.md"),
            include_str!("../../docs/push-or-pull.md"),
            include_str!("../../docs/reliability.md"),
            include_str!("../../README.md"),
        ] {
            let lines = text.lines().filter_map(|line| line.split_once("-p bench -- "));
            for (_, arguments) in lines {
                let arguments = arguments.split(['`', '#']).next().unwrap_or_default();
                let words = std::iter::once("bench").chain(arguments.split_whitespace());
                if let Err(error) = Command::try_parse_from(words) {
                    panic!("{arguments}: {error}");
                }
                count += 1;
            }
        }
        assert!(count > 10, "{count}");
    }
}
