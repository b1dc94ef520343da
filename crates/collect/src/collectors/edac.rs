//! `edac`: corrected and uncorrected memory errors.

use super::{Context, Outcome};
use crate::out::{Def, Out, counter};

const CORRECTABLE: Def = counter("node_edac_correctable_errors_total", "Total correctable memory errors.");
const UNCORRECTABLE: Def =
    counter("node_edac_uncorrectable_errors_total", "Total uncorrectable memory errors.");
const ROW_CORRECTABLE: Def =
    counter("node_edac_csrow_correctable_errors_total", "Total correctable memory errors for this csrow.");
const ROW_UNCORRECTABLE: Def = counter(
    "node_edac_csrow_uncorrectable_errors_total",
    "Total uncorrectable memory errors for this csrow.",
);

const CONTROLLERS: &str = "sys/devices/system/edac/mc";

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let source = &mut *context.source;
    let numbered = |name: &str, prefix: &str| {
        name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let controllers = match source.list(CONTROLLERS, |name| numbered(name, "mc")) {
        Ok(controllers) => controllers,
        // A machine without such memory has no metrics here, which is no failure.
        Err(error) if error.is_missing() => return Ok(()),
        Err(error) => return Err(error),
    };
    let [correctable, uncorrectable, row_correctable, row_uncorrectable] =
        [CORRECTABLE, UNCORRECTABLE, ROW_CORRECTABLE, ROW_UNCORRECTABLE].map(|def| out.open(def));
    for directory in controllers {
        let path = format!("{CONTROLLERS}/{directory}");
        let controller = directory.trim_start_matches("mc");
        let whole = [("controller", controller)];
        let unknown = [("controller", controller), ("csrow", "unknown")];
        let count = source.number(&format!("{path}/ce_count"))?;
        out.push(correctable, &whole, count);
        let count = source.number(&format!("{path}/ce_noinfo_count"))?;
        out.push(row_correctable, &unknown, count);
        let count = source.number(&format!("{path}/ue_count"))?;
        out.push(uncorrectable, &whole, count);
        let count = source.number(&format!("{path}/ue_noinfo_count"))?;
        out.push(row_uncorrectable, &unknown, count);
        for row in source.list(&path, |name| numbered(name, "csrow"))? {
            let labels = [("controller", controller), ("csrow", row.trim_start_matches("csrow"))];
            let count = source.number(&format!("{path}/{row}/ce_count"))?;
            out.push(row_correctable, &labels, count);
            let count = source.number(&format!("{path}/{row}/ue_count"))?;
            out.push(row_uncorrectable, &labels, count);
        }
    }
    Ok(())
}
