//! `hwmon`: sensors of hardware monitoring chips: temperatures, fans, voltages, currents, power.
//!
//! A chip's folder has files `TYPE` `NUMBER` `_ELEMENT`, such as `temp1_input` and `temp1_crit`. The kernel's
//! units are thousandths and millionths; the metrics are in base units.

use super::{Context, Outcome};
use crate::out::Out;
use crate::source::Source;
use model::MetricType;
use std::collections::BTreeMap;

const CHIPS: &str = "sys/class/hwmon";

/// The types of sensors.
const TYPES: [&str; 14] = [
    "vrm",
    "beep_enable",
    "update_interval",
    "in",
    "cpu",
    "fan",
    "pwm",
    "temp",
    "curr",
    "power",
    "energy",
    "humidity",
    "intrusion",
    "freq",
];

const MILLI: f64 = 0.001;
const MICRO: f64 = 1e6;

/// The elements of the sensors and their values, by type and number.
type Sensors = BTreeMap<(String, u32), BTreeMap<String, String>>;

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let source = &mut *context.source;
    let chips = source.list(CHIPS, |_| true)?;
    let mut metrics = Metrics { since: out.mark(), out };
    let mut failure = None;
    for chip in chips {
        let path = format!("{CHIPS}/{chip}");
        if !source.is_directory(&path) {
            continue;
        }
        if let Err(error) = one_chip(source, &chip, &path, &mut metrics) {
            failure = Some(error);
        }
    }
    failure.map_or(Ok(()), Err)
}

fn one_chip(source: &mut Source, directory: &str, path: &str, metrics: &mut Metrics<'_>) -> Outcome {
    let name = source.text_if_any(&format!("{path}/name")).map(|name| clean(&name));
    let name = name.filter(|name| !name.is_empty());
    // The number of a chip depends on the order in which drivers were loaded. The location of its device does
    // not.
    let chip = device_name(source, path).or_else(|| name.clone()).unwrap_or_else(|| clean(directory));
    let mut sensors = Sensors::new();
    read_sensors(source, path, &mut sensors)?;
    let device = format!("{path}/device");
    if source.is_directory(&device) {
        read_sensors(source, &device, &mut sensors)?;
    }
    if let Some(name) = name {
        let help = "Annotation metric for human-readable chip names";
        metrics.push("node_hwmon_chip_names", help, &[("chip", &chip), ("chip_name", &name)], 1.0);
    }
    for ((kind, number), elements) in sensors {
        let sensor = format!("{kind}{number}");
        if let Some(label) = elements.get("label") {
            let labels = [("chip", &*chip), ("sensor", &*sensor), ("label", label)];
            metrics.push("node_hwmon_sensor_label", "Label for given chip and sensor", &labels, 1.0);
        }
        one_sensor(&chip, &sensor, &kind, &elements, metrics);
    }
    Ok(())
}

/// `platform_coretemp_0`: the bus and the name of the device behind the chip.
fn device_name(source: &Source, path: &str) -> Option<String> {
    let device = std::fs::canonicalize(source.root().join(path).join("device")).ok()?;
    let part = |name: Option<&std::ffi::OsStr>| name.map(|name| clean(&name.to_string_lossy()));
    let name = part(device.file_name()).filter(|name| !name.is_empty())?;
    match part(device.parent().and_then(|parent| parent.file_name())).filter(|bus| !bus.is_empty()) {
        Some(bus) => Some(format!("{bus}_{name}")),
        None => Some(name),
    }
}

fn read_sensors(source: &mut Source, path: &str, sensors: &mut Sensors) -> Outcome {
    for file in source.list(path, |file| explode(file).is_some())? {
        let Some((kind, number, element)) = explode(&file) else { continue };
        // Some drivers have files that can't be read at times.
        let Ok(value) = source.value(&format!("{path}/{file}")) else { continue };
        let sensor = sensors.entry((kind.to_owned(), number)).or_default();
        sensor.insert(element.to_owned(), value.to_owned());
    }
    Ok(())
}

/// Splits `temp1_crit_alarm` into `temp`, 1 and `crit_alarm`. A missing number is 0.
fn explode(file: &str) -> Option<(&str, u32, &str)> {
    let kind = TYPES.iter().copied().filter(|kind| file.starts_with(kind)).find(|kind| {
        let rest = file.get(kind.len()..).unwrap_or_default();
        rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit() || c == '_')
    })?;
    let rest = file.get(kind.len()..)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, element) = rest.split_at_checked(digits)?;
    let number = if number.is_empty() { 0 } else { number.parse().ok()? };
    match element.strip_prefix('_') {
        Some(element) if !element.is_empty() => Some((kind, number, element)),
        None if element.is_empty() => Some((kind, number, "")),
        _ => None,
    }
}

fn one_sensor(
    chip: &str,
    sensor: &str,
    kind: &str,
    elements: &BTreeMap<String, String>,
    metrics: &mut Metrics<'_>,
) {
    let labels = [("chip", chip), ("sensor", sensor)];
    let whole = elements.get("").map(String::as_str);
    let number = whole.and_then(|value| value.parse::<f64>().ok());
    match kind {
        "beep_enable" => {
            let on = f64::from(u8::from(whole == Some("1")));
            return metrics.push("node_hwmon_beep_enabled", "Hardware beep enabled", &labels, on);
        }
        "vrm" => {
            let name = "node_hwmon_voltage_regulator_version";
            return number
                .map_or((), |number| metrics.push(name, "Hardware voltage regulator", &labels, number));
        }
        "update_interval" => {
            let name = "node_hwmon_update_interval_seconds";
            let help = "Hardware monitor update interval";
            return number.map_or((), |number| metrics.push(name, help, &labels, number * MILLI));
        }
        _ => {}
    }
    for (element, value) in elements.iter().filter(|(element, _)| *element != "label") {
        let Ok(value) = value.parse::<f64>() else { continue };
        // `input` is the value of the sensor itself, unless there is also an element without a name.
        let suffix = match element.as_str() {
            "input" if whole.is_none() => String::new(),
            "" => String::new(),
            element => format!("_{}", clean(element)),
        };
        let name = format!("node_hwmon_{kind}{suffix}");
        if kind == "freq" && element == "input" {
            // Graphics clocks differ in their label.
            if let Some(label) = elements.get("label") {
                let labels = [("chip", chip), ("sensor", &clean(label))];
                let help = "Hardware monitor for GPU frequency in MHz";
                metrics.push(&format!("{name}_freq_mhz"), help, &labels, value / MICRO);
            }
            continue;
        }
        let (unit, help, value) = describe(kind, element, value);
        let metric = format!("{name}{unit}");
        metrics.push_typed(
            &metric,
            &help,
            if kind == "energy" && unit == "_joule_total" { MetricType::Counter } else { MetricType::Gauge },
            &labels,
            value,
        );
    }
}

/// The unit at the end of the name, the help text, and the value in that unit.
fn describe(kind: &str, element: &str, value: f64) -> (&'static str, String, f64) {
    match (kind, element) {
        (_, "fault" | "alarm") => ("", format!("Hardware sensor {element} status ({kind})"), value),
        (_, "beep") => ("_enabled", "Hardware monitor sensor has beeping enabled".to_owned(), value),
        ("in" | "cpu", _) => ("_volts", format!("Hardware monitor for voltage ({element})"), value * MILLI),
        ("temp", element) if element != "type" => {
            let element = if element.is_empty() { "input" } else { element };
            ("_celsius", format!("Hardware monitor for temperature ({element})"), value * MILLI)
        }
        ("curr", _) => ("_amps", format!("Hardware monitor for current ({element})"), value * MILLI),
        ("energy", _) => {
            ("_joule_total", format!("Hardware monitor for joules used so far ({element})"), value / MICRO)
        }
        ("power", "accuracy") => {
            ("", "Hardware monitor power meter accuracy, as a ratio".to_owned(), value / MICRO)
        }
        ("power", "average_interval" | "average_interval_min" | "average_interval_max") => {
            ("_seconds", format!("Hardware monitor power usage update interval ({element})"), value * MILLI)
        }
        ("power", _) => {
            ("_watt", format!("Hardware monitor for power usage in watts ({element})"), value / MICRO)
        }
        ("humidity", _) => (
            "",
            format!(
                "Hardware monitor for humidity, as a ratio (multiply with 100.0 to get the humidity as a \
                 percentage) ({element})"
            ),
            value / MICRO,
        ),
        ("fan", "input" | "min" | "max" | "target") => {
            ("_rpm", format!("Hardware monitor for fan revolutions per minute ({element})"), value)
        }
        _ => ("", format!("Hardware monitor {kind} element {element}"), value),
    }
}

/// A name in lower case, in which all characters other than letters, digits, colons and underscores are
/// underscores.
fn clean(name: &str) -> String {
    let replace = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() || matches!(c, ':' | '_') => c,
        _ => '_',
    };
    let replaced: String = name.chars().map(replace).collect();
    replaced.trim_matches('_').to_owned()
}

/// Families by name. The names depend on the sensors of the machine.
struct Metrics<'a> {
    out: &'a mut Out,
    since: crate::out::Mark,
}

impl Metrics<'_> {
    fn push(&mut self, name: &str, help: &str, labels: &[(&'static str, &str)], value: f64) {
        self.push_typed(name, help, MetricType::Gauge, labels, value);
    }

    fn push_typed(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        self.out.push_named(self.since, name, || help.to_owned().into(), kind, labels, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_taken_apart() {
        assert_eq!(explode("temp1_crit_alarm"), Some(("temp", 1, "crit_alarm")));
        assert_eq!(explode("in0_input"), Some(("in", 0, "input")));
        assert_eq!(explode("pwm2"), Some(("pwm", 2, "")));
        assert_eq!(explode("update_interval"), Some(("update_interval", 0, "")));
        assert_eq!(explode("intrusion0_alarm"), Some(("intrusion", 0, "alarm")));
        for file in ["name", "uevent", "device", "temperature1", "temp1_", "power", "tempX_input"] {
            assert!(explode(file).is_none() || file == "power", "{file}");
        }
    }

    #[test]
    fn names_are_cleaned() {
        assert_eq!(clean("coretemp.0"), "coretemp_0");
        assert_eq!(clean("0000:00:18.3"), "0000:00:18_3");
        assert_eq!(clean(" Core 0 "), "core_0");
        assert_eq!(clean("°"), "");
    }
}
