//! How much groups may hold. Pure.

use super::group::{Family, Group, Kept};
use super::state::State;
use crate::Options;
use std::sync::Arc;

/// Which limit a push to `group`, if it is there, would break.
pub fn broken(
    options: &Options,
    state: &State,
    group: Option<&Group>,
    replace: bool,
    families: &[(String, Arc<Family>)],
) -> Option<String> {
    let has = group.map_or(0, Group::series);
    let replaced: Vec<(&String, &Kept)> = match group {
        Some(group) if replace => group.families.iter().collect(),
        Some(group) => families.iter().filter_map(|(name, _)| group.families.get_key_value(name)).collect(),
        None => Vec::new(),
    };
    let goes: usize = replaced.iter().map(|(_, kept)| kept.family.members.len()).sum();
    let comes: usize = families.iter().map(|(_, family)| family.members.len()).sum();
    let of_group = has - goes + comes;
    let limit = options.max_group_series;
    if of_group > limit {
        return Some(format!("the group would have {of_group} series, the limit is {limit}"));
    }
    let of_all = state.series() - goes + comes;
    let limit = options.max_series;
    if of_all > limit && comes > goes {
        return Some(format!("all groups together would have {of_all} series, the limit is {limit}"));
    }
    let goes: usize = replaced.iter().map(|(name, kept)| name.len() + kept.bytes()).sum();
    let comes: usize = families.iter().map(|(name, family)| name.len() + family.heap_bytes()).sum();
    let of_all = state.bytes() - goes + comes;
    let limit = options.max_bytes;
    if of_all > limit && comes > goes {
        return Some(format!(
            "all groups together would take {of_all} bytes of memory, the limit is {limit}"
        ));
    }
    None
}
