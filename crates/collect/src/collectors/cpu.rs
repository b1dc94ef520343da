//! `cpu`: processor time by mode, from `/proc/stat`. Throttling, isolation and online processors, from
//! `/sys/devices/system/cpu`.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, counter, gauge};
use crate::source::{MAX_CPUS, Source};
use std::collections::BTreeMap;

/// Ticks per second in `/proc/stat` (USER_HZ): 100 on every architecture that Linux still supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// The columns of a processor's line. The two columns of guests, which come last, are also counted in `user`
/// and `nice`.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const GUEST_MODES: [&str; 2] = ["user", "nice"];
const COLUMNS: usize = MODES.len() + GUEST_MODES.len();
const IDLE: usize = 3;

/// If idle time goes back by this many ticks, the processor was removed and added again, and its counters
/// restarted. Smaller steps back come from the kernel's imprecision.
const RESET_TICKS: u64 = 300;

const SECONDS: Def = counter("node_cpu_seconds_total", "Seconds the CPUs spent in each mode.");
const GUEST: Def =
    counter("node_cpu_guest_seconds_total", "Seconds the CPUs spent in guests (VMs) for each mode.");
const ISOLATED: Def = gauge(
    "node_cpu_isolated",
    "Whether each core is isolated, information from /sys/devices/system/cpu/isolated.",
);
const ONLINE: Def = gauge("node_cpu_online", "CPUs that are online and being scheduled.");
const CORE_THROTTLES: Def =
    counter("node_cpu_core_throttles_total", "Number of times this CPU core has been throttled.");
const PACKAGE_THROTTLES: Def =
    counter("node_cpu_package_throttles_total", "Number of times this CPU package has been throttled.");

const SYS_CPU: &str = "sys/devices/system/cpu";

/// The highest value seen of each counter. Some counters (iowait) go back at times, which a rate would take
/// for a restart.
#[derive(Debug, Default)]
pub(super) struct Held {
    ticks: BTreeMap<u32, [u64; COLUMNS]>,
}

impl Held {
    fn advance(&mut self, cpu: u32, now: [u64; COLUMNS]) {
        let held = self.ticks.entry(cpu).or_insert(now);
        if held[IDLE].saturating_sub(now[IDLE]) >= RESET_TICKS {
            *held = now;
        }
        for (held, now) in held.iter_mut().zip(now) {
            *held = now.max(*held);
        }
    }
}

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    time_by_mode(context, out)?;
    isolated(context.source, out)?;
    throttles(context.source, out)?;
    online(context.source, out)
}

fn time_by_mode(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    const FILE: &str = "proc/stat";
    let held = &mut context.memory.cpu;
    let mut present = Vec::new();
    let mut cut = false;
    for line in context.source.read(FILE)?.lines() {
        let Some(rest) = line.strip_prefix("cpu") else { continue };
        let mut fields = rest.split_ascii_whitespace();
        // The line with the sum of all processors has a space here.
        let Some(cpu) = rest.split(' ').next().filter(|number| !number.is_empty()) else { continue };
        let cpu = cpu.parse().map_err(|_| CollectError::malformed(FILE, "a processor's number", line))?;
        fields.next();
        let mut ticks = [0; COLUMNS];
        // Old kernels have fewer columns.
        for (ticks, field) in ticks.iter_mut().zip(fields) {
            *ticks = field.parse().map_err(|_| CollectError::malformed(FILE, "ticks", line))?;
        }
        if present.len() == MAX_CPUS {
            cut = true;
            break;
        }
        present.push(cpu);
        held.advance(cpu, ticks);
    }
    if cut {
        context.source.note_cut();
    }
    held.ticks.retain(|cpu, _| present.contains(cpu));
    let seconds = out.open(SECONDS);
    let guest = out.open(GUEST);
    for (cpu, ticks) in &held.ticks {
        let cpu = cpu.to_string();
        let (modes, guest_modes) = ticks.split_at(MODES.len());
        for (mode, ticks) in MODES.iter().zip(modes) {
            out.push(seconds, &[("cpu", &cpu), ("mode", mode)], *ticks as f64 / TICKS_PER_SECOND);
        }
        for (mode, ticks) in GUEST_MODES.iter().zip(guest_modes) {
            out.push(guest, &[("cpu", &cpu), ("mode", mode)], *ticks as f64 / TICKS_PER_SECOND);
        }
    }
    Ok(())
}

fn isolated(source: &mut Source, out: &mut Out) -> Outcome {
    let path = format!("{SYS_CPU}/isolated");
    let list = match source.value(&path) {
        Ok(list) => list.to_owned(),
        Err(error) if error.is_absence() => return Ok(()),
        Err(error) => return Err(error),
    };
    let slot = out.open(ISOLATED);
    for cpu in cpu_list(&list).ok_or_else(|| CollectError::malformed(path, "a list like 1,3-5", &list))? {
        out.push(slot, &[("cpu", &cpu.to_string())], 1.0);
    }
    Ok(())
}

/// The numbers of a list like `1,3-5`. Returns `None` for any other text, or if the list is too long.
pub(super) fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last.checked_sub(first)? as usize >= MAX_CPUS {
            return None;
        }
        numbers.extend(first..=last);
        if numbers.len() > MAX_CPUS {
            return None;
        }
    }
    Some(numbers)
}

/// The numbers of the directories `cpu0`, `cpu1`, ..., in order, including offline processors.
pub(super) fn directories(source: &mut Source) -> Result<Vec<u32>, CollectError> {
    let number = |name: &str| name.strip_prefix("cpu").and_then(|number| number.parse::<u32>().ok());
    let names = source.list_limited(SYS_CPU, MAX_CPUS, |name| number(name).is_some())?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Throttling, once for each core and package, because hyperthreads share the counter.
fn throttles(source: &mut Source, out: &mut Out) -> Outcome {
    let mut cores: BTreeMap<(u64, u64), f64> = BTreeMap::new();
    let mut packages: BTreeMap<u64, f64> = BTreeMap::new();
    for cpu in directories(source)? {
        let directory = format!("{SYS_CPU}/cpu{cpu}/thermal_throttle");
        // Virtual machines and most architectures other than x86 do not have this folder.
        if !source.is_directory(&directory) {
            continue;
        }
        let package = source.number_if_any(&format!("{SYS_CPU}/cpu{cpu}/topology/physical_package_id"));
        let core = source.number_if_any(&format!("{SYS_CPU}/cpu{cpu}/topology/core_id"));
        let (Some(package), Some(core)) = (package, core) else { continue };
        // A machine without topology has the package -1.
        if package < 0.0 || core < 0.0 {
            continue;
        }
        let (package, core) = (package as u64, core as u64);
        if !cores.contains_key(&(package, core))
            && let Some(count) = source.number_if_any(&format!("{directory}/core_throttle_count"))
        {
            cores.insert((package, core), count);
        }
        if !packages.contains_key(&package)
            && let Some(count) = source.number_if_any(&format!("{directory}/package_throttle_count"))
        {
            packages.insert(package, count);
        }
    }
    let slot = out.open(PACKAGE_THROTTLES);
    for (package, count) in packages {
        out.push(slot, &[("package", &package.to_string())], count);
    }
    let slot = out.open(CORE_THROTTLES);
    for ((package, core), count) in cores {
        out.push(slot, &[("package", &package.to_string()), ("core", &core.to_string())], count);
    }
    Ok(())
}

/// The online processors. Like node_exporter, this adds the metric only if the first processor can be taken
/// offline. Otherwise `node_cpu_seconds_total` has the same information.
fn online(source: &mut Source, out: &mut Out) -> Outcome {
    let Ok(first) = source.value(&format!("{SYS_CPU}/cpu0/online")) else { return Ok(()) };
    let _ = first;
    let slot = out.open(ONLINE);
    for cpu in directories(source)? {
        let online = source.number_if_any(&format!("{SYS_CPU}/cpu{cpu}/online")).unwrap_or(0.0);
        out.push(slot, &[("cpu", &cpu.to_string())], online);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_goes_back_a_little_keeps_its_value() {
        let mut held = Held::default();
        held.advance(0, [10, 0, 5, 1000, 50, 0, 0, 0, 0, 0]);
        held.advance(0, [11, 0, 5, 990, 40, 0, 0, 0, 0, 0]);
        assert_eq!(held.ticks[&0], [11, 0, 5, 1000, 50, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_processor_that_was_removed_restarts_its_counters() {
        let mut held = Held::default();
        held.advance(0, [10, 0, 5, 1000, 50, 0, 0, 0, 0, 0]);
        held.advance(0, [1, 0, 1, 700, 3, 0, 0, 0, 0, 0]);
        assert_eq!(held.ticks[&0], [1, 0, 1, 700, 3, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn lists_of_processors() {
        assert_eq!(cpu_list(""), Some(vec![]));
        assert_eq!(cpu_list("1,3-5,9"), Some(vec![1, 3, 4, 5, 9]));
        for text in ["a", "5-3", "0-99999999", "1-"] {
            assert_eq!(cpu_list(text), None, "{text}");
        }
    }
}
