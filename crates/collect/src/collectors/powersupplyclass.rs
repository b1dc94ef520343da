//! `powersupplyclass`: batteries and mains adapters, from `/sys/class/power_supply`.

use super::{Context, Outcome};
use crate::out::{Def, Out, gauge};
use crate::source::parse_number;

macro_rules! file {
    ($file:literal $name:literal $unit:expr) => {
        (
            $file,
            gauge(
                concat!("node_power_supply_", $name),
                concat!($name, " value of /sys/class/power_supply/<power_supply>."),
            ),
            $unit,
        )
    };
}

/// The divisors of the kernel's numbers: it counts in millionths of volts, amperes, watts, ampere-hours and
/// watt-hours, and temperatures in tenths of a degree.
const ONE: f64 = 1.0;
const MICRO: f64 = 1e6;
const TENTH: f64 = 10.0;

const FILES: [(&str, Def, f64); 49] = [
    file!("authentic" "authentic" ONE),
    file!("calibrate" "calibrate" ONE),
    file!("capacity" "capacity" ONE),
    file!("capacity_alert_max" "capacity_alert_max" ONE),
    file!("capacity_alert_min" "capacity_alert_min" ONE),
    file!("cycle_count" "cyclecount" ONE),
    file!("online" "online" ONE),
    file!("present" "present" ONE),
    file!("time_to_empty_now" "time_to_empty_seconds" ONE),
    file!("time_to_full_now" "time_to_full_seconds" ONE),
    file!("current_boot" "current_boot" MICRO),
    file!("current_max" "current_max" MICRO),
    file!("current_now" "current_ampere" MICRO),
    file!("energy_empty" "energy_empty" MICRO),
    file!("energy_empty_design" "energy_empty_design" MICRO),
    file!("energy_full" "energy_full" MICRO),
    file!("energy_full_design" "energy_full_design" MICRO),
    file!("energy_now" "energy_watthour" MICRO),
    file!("voltage_boot" "voltage_boot" MICRO),
    file!("voltage_max" "voltage_max" MICRO),
    file!("voltage_max_design" "voltage_max_design" MICRO),
    file!("voltage_min" "voltage_min" MICRO),
    file!("voltage_min_design" "voltage_min_design" MICRO),
    file!("voltage_now" "voltage_volt" MICRO),
    file!("voltage_ocv" "voltage_ocv" MICRO),
    file!("charge_control_limit" "charge_control_limit" MICRO),
    file!("charge_control_limit_max" "charge_control_limit_max" MICRO),
    file!("charge_counter" "charge_counter" MICRO),
    file!("charge_empty" "charge_empty" MICRO),
    file!("charge_empty_design" "charge_empty_design" MICRO),
    file!("charge_full" "charge_full" MICRO),
    file!("charge_full_design" "charge_full_design" MICRO),
    file!("charge_now" "charge_ampere" MICRO),
    file!("charge_term_current" "charge_term_current" MICRO),
    file!("constant_charge_current" "constant_charge_current" MICRO),
    file!("constant_charge_current_max" "constant_charge_current_max" MICRO),
    file!("constant_charge_voltage" "constant_charge_voltage" MICRO),
    file!("constant_charge_voltage_max" "constant_charge_voltage_max" MICRO),
    file!("precharge_current" "precharge_current" MICRO),
    file!("input_current_limit" "input_current_limit" MICRO),
    file!("power_now" "power_watt" MICRO),
    file!("temp" "temp_celsius" TENTH),
    file!("temp_alert_max" "temp_alert_max_celsius" TENTH),
    file!("temp_alert_min" "temp_alert_min_celsius" TENTH),
    file!("temp_ambient" "temp_ambient_celsius" TENTH),
    file!("temp_ambient_alert_max" "temp_ambient_max_celsius" TENTH),
    file!("temp_ambient_alert_min" "temp_ambient_min_celsius" TENTH),
    file!("temp_max" "temp_max_celsius" TENTH),
    file!("temp_min" "temp_min_celsius" TENTH),
];

const INFO: Def = gauge("node_power_supply_info", "info of /sys/class/power_supply/<power_supply>.");

/// Files that become labels of the same name. Empty ones are left out.
const LABELS: [&str; 11] = [
    "capacity_level",
    "charge_type",
    "health",
    "manufacturer",
    "model_name",
    "serial_number",
    "status",
    "technology",
    "type",
    "usb_type",
    "scope",
];

const SUPPLIES: &str = "sys/class/power_supply";

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let source = &mut *context.source;
    let supplies = source.list(SUPPLIES, |_| true)?;
    let first = out.open_all(&FILES.map(|(_, def, _)| def));
    let info = out.open(INFO);
    for supply in supplies {
        let path = format!("{SUPPLIES}/{supply}");
        // A battery has about ten of the fifty files, so the folder is listed first.
        let present = source.list(&path, |_| true)?;
        let Some(directory) = source.directory(&path) else { continue };
        let has = |file: &str| present.binary_search_by(|name| name.as_str().cmp(file)).is_ok();
        for (index, (file, _, unit)) in FILES.iter().enumerate().filter(|(_, (file, ..))| has(file)) {
            // A value may be unknown at present; reading it gives an error then.
            if let Some(value) = source.value_in(&directory, file).and_then(parse_number) {
                out.push(first.plus(index), &[("power_supply", &supply)], value / unit);
            }
        }
        let values: Vec<(&'static str, String)> = LABELS
            .into_iter()
            .filter(|label| has(label))
            .map(|label| (label, source.value_in(&directory, label).unwrap_or_default().to_owned()))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let mut labels: Vec<(&'static str, &str)> = vec![("power_supply", &supply)];
        labels.extend(values.iter().map(|(label, value)| (*label, value.as_str())));
        out.push(info, &labels, 1.0);
    }
    Ok(())
}
