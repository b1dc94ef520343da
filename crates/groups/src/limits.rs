//! Checks the limits on groups. Pure.

use super::group::{Family, Group};
use super::packed::{self, Families, Packed};
use super::state::State;
use crate::Options;
use model::Labels;
use std::sync::Arc;

/// The limit that a push to the group with the labels `key` would exceed. `group` is that group if it exists.
pub fn broken(
    options: &Options,
    state: &State,
    key: &Labels,
    group: Option<&Group>,
    replace: bool,
    families: &[(String, Arc<Family>)],
) -> Option<String> {
    let had = group.map(|group| group.families.unpack()).unwrap_or_default();
    let has = packed::after_push(&had, replace, families, 0);
    let series =
        |families: &Families| -> usize { families.values().map(|kept| kept.family.members.len()).sum() };
    let (before, after) = (series(&had), series(&has));
    let limit = options.max_group_series;
    if after > limit {
        return Some(format!("the group would have {after} series, the limit is {limit}"));
    }
    let of_all = state.series() - before + after;
    let limit = options.max_series;
    if of_all > limit && after > before {
        return Some(format!("all groups together would have {of_all} series, the limit is {limit}"));
    }
    let before = group.map_or(0, Group::bytes);
    let mut then = group.cloned().unwrap_or_else(|| Group::new(0, key.clone()));
    then.families = Packed::uncompressed(&has);
    let after = then.bytes();
    let of_all = state.bytes() - before + after;
    let limit = options.max_bytes;
    if of_all > limit && after > before {
        return Some(format!(
            "all groups together would take {of_all} bytes of memory, the limit is {limit}"
        ));
    }
    None
}
