//! `watchdog`: the hardware timers that restart a machine that hangs.

use super::{Context, Outcome};
use crate::out::{Def, Out, gauge};

macro_rules! file {
    ($file:literal $name:literal) => {
        (
            $file,
            gauge(
                concat!("node_watchdog_", $name),
                concat!("Value of /sys/class/watchdog/<watchdog>/", $file),
            ),
        )
    };
}

const FILES: [(&str, Def); 7] = [
    file!("bootstatus" "bootstatus"),
    file!("fw_version" "fw_version"),
    file!("nowayout" "nowayout"),
    file!("timeleft" "timeleft_seconds"),
    file!("timeout" "timeout_seconds"),
    file!("pretimeout" "pretimeout_seconds"),
    file!("access_cs0" "access_cs0"),
];
const INFO: Def = gauge("node_watchdog_info", "Info of /sys/class/watchdog/<watchdog>");

const WATCHDOGS: &str = "sys/class/watchdog";

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let source = &mut *context.source;
    let names = source.list(WATCHDOGS, |_| true)?;
    let first = out.open_all(&FILES.map(|(_, def)| def));
    let info = out.open(INFO);
    for name in names {
        let path = format!("{WATCHDOGS}/{name}");
        for (index, (file, _)) in FILES.iter().enumerate() {
            if let Some(value) = source.number_if_any(&format!("{path}/{file}")) {
                out.push(first.plus(index), &[("name", &name)], value);
            }
        }
        let mut text = |file: &str| source.text_if_any(&format!("{path}/{file}")).unwrap_or_default();
        out.push(
            info,
            &[
                ("name", &name),
                ("options", &text("options")),
                ("identity", &text("identity")),
                ("state", &text("state")),
                ("status", &text("status")),
                ("pretimeout_governor", &text("pretimeout_governor")),
            ],
            1.0,
        );
    }
    Ok(())
}
