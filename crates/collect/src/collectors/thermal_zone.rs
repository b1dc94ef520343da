//! `thermal_zone`: temperatures of the machine's zones, and the states of its cooling devices.

use super::{Context, Outcome};
use crate::out::{Def, Out, gauge};

const TEMPERATURE: Def = gauge("node_thermal_zone_temp", "Zone temperature in Celsius");
const CURRENT: Def = gauge("node_cooling_device_cur_state", "Current throttle state of the cooling device");
const MAXIMUM: Def = gauge("node_cooling_device_max_state", "Maximum throttle state of the cooling device");

const THERMAL: &str = "sys/class/thermal";
const ZONE: &str = "thermal_zone";
const COOLING: &str = "cooling_device";

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let source = &mut *context.source;
    let names = match source.list(THERMAL, |name| name.starts_with(ZONE) || name.starts_with(COOLING)) {
        Ok(names) => names,
        // Most virtual machines have no zones, which is no failure.
        Err(error) if error.is_missing() => return Ok(()),
        Err(error) => return Err(error),
    };
    let temperature = out.open(TEMPERATURE);
    let current = out.open(CURRENT);
    let maximum = out.open(MAXIMUM);
    for name in names {
        let path = format!("{THERMAL}/{name}");
        let Some(kind) = source.text_if_any(&format!("{path}/type")) else { continue };
        if let Some(zone) = name.strip_prefix(ZONE) {
            // A sensor that is powered down has no temperature.
            if let Some(milli) = source.number_if_any(&format!("{path}/temp")) {
                out.push(temperature, &[("zone", zone), ("type", &kind)], milli / 1000.0);
            }
        } else if let Some(device) = name.strip_prefix(COOLING) {
            let labels = [("name", device), ("type", kind.as_str())];
            if let Some(state) = source.number_if_any(&format!("{path}/cur_state")) {
                out.push(current, &labels, state);
            }
            if let Some(state) = source.number_if_any(&format!("{path}/max_state")) {
                out.push(maximum, &labels, state);
            }
        }
    }
    Ok(())
}
