//! `rapl`: energy used by processors and memory (running average power limit). Only root may read it, because
//! it reveals too much about what a processor computes.

use super::{Context, Outcome};
use crate::out::Out;
use model::MetricType;
use std::collections::HashMap;

const ZONES: &str = "sys/class/powercap";
const MICROJOULES: f64 = 1e6;

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let source = &mut *context.source;
    let mark = out.mark();
    let mut used: HashMap<String, u32> = HashMap::new();
    for zone in source.list(ZONES, |_| true)? {
        let Some(name) = source.text_if_any(&format!("{ZONES}/{zone}/name")) else { continue };
        // "package-1" contains its number. There may be several zones with another name, like "dram".
        let numbered = name.split_once('-').and_then(|(name, number)| Some((name, number.parse().ok()?)));
        let (name, index): (&str, u32) = numbered.unwrap_or_else(|| {
            let count = used.entry(name.clone()).or_default();
            *count += 1;
            (&name, *count - 1)
        });
        let joules = source.number(&format!("{ZONES}/{zone}/energy_uj"))? / MICROJOULES;
        let path = source.root().join(format!("{ZONES}/{zone}")).to_string_lossy().into_owned();
        let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let help = || format!("Current RAPL {name} value in joules").into();
        let labels = [("index", &*index.to_string()), ("path", &*path)];
        out.push_named(
            mark,
            &format!("node_rapl_{clean}_joules_total"),
            help,
            MetricType::Counter,
            &labels,
            joules,
        );
    }
    Ok(())
}
