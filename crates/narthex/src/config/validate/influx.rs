//! `influx`: the input's own settings, and its address for datagrams.

use super::Faults;
use crate::config::inputs::{Influx, ListenAddress, Precision as Unit, ValueField as Name};
use intake::Exposure;
use model::Limits;
use receive::influx::{InfluxUdp, Precision, Settings, ValueField};

/// The settings of the input.
pub(super) fn settings(section: &Influx, faults: &Faults<'_>) -> Settings {
    let db_label = section.db_label.clone().filter(|label| !label.is_empty());
    if let Some(label) = &db_label {
        if !model::labels::is_legacy_label_name(label.as_bytes()) || label.starts_with("__") {
            let why = "the name of a label has letters, digits and _, and begins with neither a digit nor __";
            faults.add("influx.db_label", why);
        } else if label.len() > Limits::default().name_bytes {
            faults.add("influx.db_label", "the name of a label may have at most 1,024 bytes");
        }
    }
    Settings {
        at_root: section.at_root,
        precision: match section.precision {
            None | Some(Unit::Ns) => Precision::Nanoseconds,
            Some(Unit::Us) => Precision::Microseconds,
            Some(Unit::Ms) => Precision::Milliseconds,
            Some(Unit::S) => Precision::Seconds,
            Some(Unit::Auto) => Precision::Auto,
        },
        value_field: match section.value_field {
            None | Some(Name::Measurement) => ValueField::Measurement,
            Some(Name::Suffix) => ValueField::Suffix,
        },
        db_label,
    }
}

/// The input for datagrams, if the section has an address for it.
pub(super) fn udp(section: &Influx, settings: &Settings, faults: &Faults<'_>) -> Option<InfluxUdp> {
    let Some(ListenAddress(listen)) = section.listen_udp else {
        for (key, is_given) in [
            ("influx.allow_from", !section.allow_from.is_empty()),
            ("influx.allow_unauthenticated", section.allow_unauthenticated),
        ] {
            if is_given {
                faults.add_about(
                    key,
                    &[key, "influx.listen_udp"],
                    "this is about UDP: add listen_udp: ADDRESS:PORT",
                );
            }
        }
        return None;
    };
    let allow_from = section.allow_from.iter().map(|network| network.0).collect();
    let exposure = Exposure { allow_from, allow_unauthenticated: section.allow_unauthenticated };
    if let Err(exposed) = exposure.check("influx", listen) {
        let key = "influx.listen_udp";
        faults.add_about(key, &[key, "influx.allow_from"], exposed.to_string());
    }
    Some(InfluxUdp { listen, exposure, settings: settings.clone() })
}
