//! `filefd`: the number of open files in the whole system, and its limit.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, gauge};

const ALLOCATED: Def = gauge("node_filefd_allocated", "File descriptor statistics: allocated.");
const MAXIMUM: Def = gauge("node_filefd_maximum", "File descriptor statistics: maximum.");

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    const FILE: &str = "proc/sys/fs/file-nr";
    let text = context.source.value(FILE)?;
    let numbers: Vec<f64> = text.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    // The second number has been 0 since Linux 2.6.
    let [allocated, _, maximum] = numbers[..] else {
        return Err(CollectError::malformed(FILE, "three numbers", text));
    };
    out.single(ALLOCATED, allocated);
    out.single(MAXIMUM, maximum);
    Ok(())
}
