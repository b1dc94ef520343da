//! `cpufreq`: the current and the possible frequencies of each processor, and its governor.

use super::{Context, Outcome, cpu};
use crate::out::{Def, Out, gauge};
use crate::source::parse_number;

/// Files of a processor's `cpufreq` folder. Their unit is kilohertz.
const FREQUENCIES: [(&str, Def); 6] = [
    ("cpuinfo_cur_freq", gauge("node_cpu_frequency_hertz", "Current CPU thread frequency in hertz.")),
    ("cpuinfo_min_freq", gauge("node_cpu_frequency_min_hertz", "Minimum CPU thread frequency in hertz.")),
    ("cpuinfo_max_freq", gauge("node_cpu_frequency_max_hertz", "Maximum CPU thread frequency in hertz.")),
    (
        "scaling_cur_freq",
        gauge("node_cpu_scaling_frequency_hertz", "Current scaled CPU thread frequency in hertz."),
    ),
    (
        "scaling_min_freq",
        gauge("node_cpu_scaling_frequency_min_hertz", "Minimum scaled CPU thread frequency in hertz."),
    ),
    (
        "scaling_max_freq",
        gauge("node_cpu_scaling_frequency_max_hertz", "Maximum scaled CPU thread frequency in hertz."),
    ),
];
const GOVERNOR: Def = gauge("node_cpu_scaling_governor", "Current enabled CPU frequency governor.");

const HERTZ: f64 = 1000.0;

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let source = &mut *context.source;
    let first = out.open_all(&FREQUENCIES.map(|(_, def)| def));
    let slot = out.open(GOVERNOR);
    for number in cpu::directories(source)? {
        let path = format!("sys/devices/system/cpu/cpu{number}/cpufreq");
        let Some(directory) = source.directory(&path) else { continue };
        let number = number.to_string();
        for (index, (file, _)) in FREQUENCIES.iter().enumerate() {
            if let Some(frequency) = source.value_in(&directory, file).and_then(parse_number) {
                out.push(first.plus(index), &[("cpu", &number)], frequency * HERTZ);
            }
        }
        let mut text = |file: &str| source.value_in(&directory, file).unwrap_or_default().to_owned();
        let (governor, available) = (text("scaling_governor"), text("scaling_available_governors"));
        let governors = if available.is_empty() { &governor } else { &available };
        for one in governors.split_ascii_whitespace() {
            let chosen = f64::from(u8::from(one == governor));
            out.push(slot, &[("cpu", &number), ("governor", one)], chosen);
        }
    }
    Ok(())
}
