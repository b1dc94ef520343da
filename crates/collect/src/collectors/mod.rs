//! One module for each collector: the files that it reads, and the families that it makes of them.
//!
//! Names, help texts, types and units are those of node_exporter, because dashboards and alerts are written
//! for them. `tests/against_node_exporter.rs` compares them with node_exporter itself.

mod arp;
mod bonding;
mod conntrack;
mod cpu;
mod cpufreq;
mod diskstats;
mod dmi;
mod edac;
mod entropy;
mod filefd;
mod filesystem;
mod hwmon;
mod kernel_hung;
mod loadavg;
mod mdadm;
mod meminfo;
mod mounts;
mod netclass;
mod netdev;
mod netstat;
mod nvme;
mod os;
mod powersupplyclass;
mod pressure;
mod processes;
mod rapl;
mod schedstat;
mod selinux;
mod sockstat;
mod softnet;
mod stat;
mod statfs;
mod thermal_zone;
mod time;
mod timex;
mod udp_queues;
mod uname;
mod vmstat;
mod watchdog;
mod xfs;

pub use statfs::STATFS_PATIENCE;

use crate::collector::Collector;
use crate::error::CollectError;
use crate::out::Out;
use crate::source::Source;

/// The arguments of a collector.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) source: &'a mut Source,
    pub(crate) memory: &'a mut Memory,
    /// The wall clock in milliseconds since 1970.
    pub(crate) now_ms: i64,
}

/// The state that collectors keep from one collection to the next.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    cpu: cpu::Held,
    statfs: statfs::Prober,
}

type Outcome = Result<(), CollectError>;

/// Runs one collector. Metrics that it added before a failure are kept.
pub(crate) fn run(collector: Collector, context: &mut Context<'_>, out: &mut Out) -> Outcome {
    match collector {
        Collector::Cpu => cpu::collect(context, out),
        Collector::Meminfo => meminfo::collect(context, out),
        Collector::Loadavg => loadavg::collect(context, out),
        Collector::Diskstats => diskstats::collect(context, out),
        Collector::Filesystem => filesystem::collect(context, out),
        Collector::Netdev => netdev::collect(context, out),
        Collector::Pressure => pressure::collect(context, out),
        Collector::Vmstat => vmstat::collect(context, out),
        Collector::Stat => stat::collect(context, out),
        Collector::Uname => uname::collect(context, out),
        Collector::Time => time::collect(context, out),
        Collector::Filefd => filefd::collect(context, out),
        Collector::Entropy => entropy::collect(context, out),
        Collector::Os => os::collect(context, out),
        Collector::Netclass => netclass::collect(context, out),
        Collector::Netstat => netstat::collect(context, out),
        Collector::Sockstat => sockstat::collect(context, out),
        Collector::Softnet => softnet::collect(context, out),
        Collector::Conntrack => conntrack::collect(context, out),
        Collector::Arp => arp::collect(context, out),
        Collector::UdpQueues => udp_queues::collect(context, out),
        Collector::Schedstat => schedstat::collect(context, out),
        Collector::Timex => timex::collect(context, out),
        Collector::KernelHung => kernel_hung::collect(context, out),
        Collector::Selinux => selinux::collect(context, out),
        Collector::Cpufreq => cpufreq::collect(context, out),
        Collector::ThermalZone => thermal_zone::collect(context, out),
        Collector::Hwmon => hwmon::collect(context, out),
        Collector::Powersupplyclass => powersupplyclass::collect(context, out),
        Collector::Nvme => nvme::collect(context, out),
        Collector::Mdadm => mdadm::collect(context, out),
        Collector::Edac => edac::collect(context, out),
        Collector::Rapl => rapl::collect(context, out),
        Collector::Bonding => bonding::collect(context, out),
        Collector::Watchdog => watchdog::collect(context, out),
        Collector::Xfs => xfs::collect(context, out),
        Collector::Dmi => dmi::collect(context, out),
        Collector::Processes => processes::collect(context, out),
    }
}
