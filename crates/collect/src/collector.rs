//! The collectors by name, and sets of collectors as written on a command line.

use std::fmt;
use std::str::FromStr;

macro_rules! collectors {
    ($($variant:ident $name:literal $default:literal $doc:literal)*) => {
        /// A collector with the name that it has in node_exporter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Collector {
            $(#[doc = $doc] $variant,)*
        }

        impl Collector {
            /// All collectors, in the order in which they run.
            pub const ALL: &[Collector] = &[$(Collector::$variant,)*];

            /// The name on the command line and in the label `collector`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Collector::$variant => $name,)*
                }
            }

            /// Returns true if the collector is enabled by default, as in node_exporter.
            pub const fn is_default(self) -> bool {
                match self {
                    $(Collector::$variant => $default,)*
                }
            }
        }
    };
}

collectors! {
    Cpu "cpu" true "Processor time by mode, throttling, isolation."
    Meminfo "meminfo" true "Memory, all of `/proc/meminfo`."
    Loadavg "loadavg" true "Load averages."
    Diskstats "diskstats" true "Disk operations, bytes and time."
    Filesystem "filesystem" true "Size and use of mounted file systems."
    Netdev "netdev" true "Network interface counters."
    Pressure "pressure" true "Pressure stall information."
    Vmstat "vmstat" true "Paging and out-of-memory kills."
    Stat "stat" true "Boot time, context switches, forks, interrupts, processes running and blocked."
    Uname "uname" true "Kernel release and host name."
    Time "time" true "The wall clock and its sources."
    Filefd "filefd" true "Open files."
    Entropy "entropy" true "The kernel's random pool."
    Os "os" true "The distribution, from os-release."
    Netclass "netclass" true "What network interfaces are and how they are set."
    Netstat "netstat" true "Counters of the network protocols."
    Sockstat "sockstat" true "Sockets by protocol."
    Softnet "softnet" true "Incoming packets by processor."
    Conntrack "conntrack" true "The table of tracked connections."
    Arp "arp" true "Entries of the ARP table."
    UdpQueues "udp_queues" true "Bytes waiting in UDP sockets."
    Schedstat "schedstat" true "What each processor's scheduler did."
    Timex "timex" true "How the clock is kept right."
    KernelHung "kernel_hung" true "Tasks found hanging."
    Selinux "selinux" true "SELinux' mode and cache."
    Cpufreq "cpufreq" true "Processor frequencies and governors."
    ThermalZone "thermal_zone" true "Temperatures of zones, and cooling."
    Hwmon "hwmon" true "Sensors: temperatures, fans, voltages, power."
    Powersupplyclass "powersupplyclass" true "Batteries and mains."
    Nvme "nvme" true "NVMe devices and namespaces."
    Mdadm "mdadm" true "Software RAID."
    Edac "edac" true "Memory errors."
    Rapl "rapl" true "Energy used by processors and memory."
    Bonding "bonding" true "Bonded network interfaces."
    Watchdog "watchdog" true "Watchdog timers."
    Xfs "xfs" true "What XFS did."
    Dmi "dmi" true "What the firmware calls the machine."
    Processes "processes" false "Processes and threads by state; reads every process."
}

impl Collector {
    fn named(name: &str) -> Option<Collector> {
        Collector::ALL.iter().copied().find(|collector| collector.name() == name)
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of collectors. It is written as names separated by commas. `default` and `all` stand for several
/// collectors, and a `-` before a name removes it: `default,processes,-netclass`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CollectorSet(u64);

const _: () = assert!(Collector::ALL.len() <= 64, "a set has 64 bits");

impl CollectorSet {
    pub const EMPTY: CollectorSet = CollectorSet(0);

    pub fn all() -> Self {
        Collector::ALL.iter().copied().collect()
    }

    pub const fn contains(self, collector: Collector) -> bool {
        self.0 & (1 << collector as u8) != 0
    }

    pub const fn insert(&mut self, collector: Collector) {
        self.0 |= 1 << collector as u8;
    }

    pub const fn remove(&mut self, collector: Collector) {
        self.0 &= !(1 << collector as u8);
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The collectors of the set, in the order in which they run.
    pub fn iter(self) -> impl Iterator<Item = Collector> {
        Collector::ALL.iter().copied().filter(move |collector| self.contains(*collector))
    }
}

impl Default for CollectorSet {
    /// The collectors that node_exporter runs by default.
    fn default() -> Self {
        Collector::ALL.iter().copied().filter(|collector| collector.is_default()).collect()
    }
}

impl FromIterator<Collector> for CollectorSet {
    fn from_iter<I: IntoIterator<Item = Collector>>(collectors: I) -> Self {
        let mut set = CollectorSet::EMPTY;
        for collector in collectors {
            set.insert(collector);
        }
        set
    }
}

impl fmt::Debug for CollectorSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Collector::name)).finish()
    }
}

impl fmt::Display for CollectorSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, collector) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(collector.name())?;
        }
        Ok(())
    }
}

/// A mistake in a list of collectors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollectorError {
    /// Unknown names, each with the collector that may be intended.
    #[error("there is {}; there are: {}, and default and all for several", unknown(.0), CollectorSet::all())]
    Unknown(Vec<(String, Option<Collector>)>),
    /// The list is empty, or empty after removals.
    #[error("the list of collectors {0:?} has none in it")]
    Empty(String),
}

fn unknown(names: &[(String, Option<Collector>)]) -> String {
    let each = names.iter().map(|(name, suggestion)| {
        let meant = suggestion.map(|collector| format!(" (is {collector} meant?)")).unwrap_or_default();
        format!("no collector {name:?}{meant}")
    });
    each.collect::<Vec<_>>().join(" and ")
}

impl FromStr for CollectorSet {
    type Err = CollectorError;

    fn from_str(text: &str) -> Result<Self, CollectorError> {
        let (mut set, mut unknown) = (CollectorSet::EMPTY, Vec::new());
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let (takes, name) = match word.strip_prefix('-') {
                Some(name) => (true, name),
                None => (false, word),
            };
            let some = match name {
                "default" => CollectorSet::default(),
                "all" => CollectorSet::all(),
                _ => match Collector::named(name) {
                    Some(collector) => CollectorSet::from_iter([collector]),
                    None => {
                        unknown.push((name.to_owned(), suggest(&name.to_lowercase())));
                        continue;
                    }
                },
            };
            set.0 = if takes { set.0 & !some.0 } else { set.0 | some.0 };
        }
        if !unknown.is_empty() {
            return Err(CollectorError::Unknown(unknown));
        }
        if set.is_empty() { Err(CollectorError::Empty(text.to_owned())) } else { Ok(set) }
    }
}

/// Other words for collectors that users may write.
const ALIASES: &[(&str, Collector)] = &[
    ("memory", Collector::Meminfo),
    ("ram", Collector::Meminfo),
    ("swap", Collector::Meminfo),
    ("network", Collector::Netdev),
    ("interfaces", Collector::Netdev),
    ("fs", Collector::Filesystem),
    ("mounts", Collector::Filesystem),
    ("io", Collector::Diskstats),
    ("psi", Collector::Pressure),
    ("uptime", Collector::Stat),
    ("boot", Collector::Stat),
    ("clock", Collector::Time),
    ("kernel", Collector::Uname),
    ("host", Collector::Uname),
    ("files", Collector::Filefd),
];

/// The collector that `name` may stand for: one with this alias, one whose name begins with it, one with a
/// similar spelling, or one whose name contains it.
fn suggest(name: &str) -> Option<Collector> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, collector)| *collector);
    let find = |fits: &dyn Fn(&str) -> bool| {
        Collector::ALL.iter().copied().find(|collector| name.len() > 1 && fits(collector.name()))
    };
    alias
        .or_else(|| find(&|other| other.starts_with(name)))
        .or_else(|| find(&|other| distance(name, other) * 3 <= name.len()))
        .or_else(|| find(&|other| other.contains(name) || name.contains(other)))
}

/// The Levenshtein distance of `a` and `b`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let here = (diagonal + usize::from(x != y)).min(*cell + 1).min(left + 1);
            diagonal = *cell;
            *cell = here;
            left = here;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_adds_and_removes_collectors() {
        let set: CollectorSet = "cpu, meminfo,".parse().unwrap();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Collector::Cpu, Collector::Meminfo]);
        assert_eq!(set.to_string(), "cpu,meminfo");
        assert_eq!(set.to_string().parse(), Ok(set));

        let set: CollectorSet = "default,processes,-cpu".parse().unwrap();
        assert!(set.contains(Collector::Processes) && !set.contains(Collector::Cpu));
        assert!("default".parse::<CollectorSet>().unwrap() == CollectorSet::default());
        assert!(!CollectorSet::default().contains(Collector::Processes));
        assert_eq!("all,-default".parse::<CollectorSet>().unwrap().to_string(), "processes");
    }

    #[test]
    fn an_unknown_name_is_reported_with_all_names() {
        for (name, meant) in [
            ("mem", "meminfo"),
            ("memory", "meminfo"),
            ("network", "netdev"),
            ("disk", "diskstats"),
            ("dsikstats", "diskstats"),
            ("uptime", "stat"),
            ("CPU", "cpu"),
        ] {
            let error = format!("cpu,{name}").parse::<CollectorSet>().unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?} (is {meant} meant?)")), "{error}");
            assert!(error.contains("loadavg,diskstats,filesystem"), "{error}");
        }
        let error = "xyzzyplugh".parse::<CollectorSet>().unwrap_err().to_string();
        assert!(error.starts_with(r#"there is no collector "xyzzyplugh"; there are: cpu,"#), "{error}");
    }

    #[test]
    fn an_empty_list_is_refused() {
        for text in ["", " , ", "cpu,-cpu"] {
            assert_eq!(text.parse::<CollectorSet>(), Err(CollectorError::Empty(text.into())));
        }
    }
}
