//! Encodes changes for the journal of groups. Pure.
//!
//! An entry of the journal contains the changes of one commit:
//!
//! ```text
//! ┌─────────┬──────────────┬──────────────┬────
//! │ version │ tag │ fields │ tag │ fields │ ...     version: 1 byte, now 1; tag: 1 byte
//! └─────────┴──────────────┴──────────────┴────
//! ```
//!
//! Numbers are varints, signed ones zigzag-encoded. Floats are their 8 bytes, little-endian. Texts and label sets
//! (canonical bytes) follow their length. Replaying all entries in order restores the groups. A snapshot is a journal
//! in which each group is one change.

pub(crate) mod bytes;
pub(crate) mod family;

use self::bytes::{
    put_labels, put_option, take_array, take_labels, take_list, take_option, take_text, take_u8,
};
use self::family::{put_family, take_family};
use super::change::Change;
use super::group::{Family, Group, Kept};
use super::keys::{Applied, Keyed};
use super::packed::Packed;
use model::varint::{put_bytes, put_i64, put_u64, take_i64, take_u64};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The version of the layout, the first byte of an entry.
const VERSION: u8 = 1;

/// An entry of the journal that can't be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The entry was written by a later version of narthex.
    #[error("an entry of version {0}, this narthex knows {VERSION}")]
    Version(u8),
    #[error("a damaged entry, at byte {at}")]
    Damaged {
        /// The offset in the entry.
        at: usize,
    },
}

pub fn encode(changes: &[Change]) -> Vec<u8> {
    let mut out = vec![VERSION];
    for change in changes {
        put_change(&mut out, change);
    }
    out
}

pub fn decode(entry: &[u8]) -> Result<Vec<Change>, EntryError> {
    let damaged = |rest: &[u8]| EntryError::Damaged { at: entry.len() - rest.len() };
    let mut rest = match entry {
        [VERSION, rest @ ..] => rest,
        [other, ..] => return Err(EntryError::Version(*other)),
        [] => return Err(EntryError::Damaged { at: 0 }),
    };
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let start = rest;
        changes.push(take_change(&mut rest).ok_or_else(|| damaged(start))?);
    }
    Ok(changes)
}

fn put_change(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Pushed { id, key, replace, at, wall, ttl, families } => {
            out.push(1);
            put_u64(out, *id);
            put_labels(out, key);
            out.push(u8::from(*replace));
            put_i64(out, *at);
            put_i64(out, *wall);
            put_option(out, *ttl);
            put_u64(out, families.len() as u64);
            for (name, family) in families {
                put_family(out, name, family);
            }
        }
        Change::Refused { id, key, at, wall, reason } => {
            out.push(2);
            put_u64(out, *id);
            put_labels(out, key);
            put_i64(out, *at);
            put_i64(out, *wall);
            put_bytes(out, reason.as_bytes());
        }
        Change::Deleted { key, at } => {
            out.push(3);
            put_labels(out, key);
            put_i64(out, *at);
        }
        Change::Expired { key, at, wall } => {
            out.push(4);
            put_labels(out, key);
            put_i64(out, *at);
            put_i64(out, *wall);
        }
        Change::Emitted { at, ids } => {
            out.push(5);
            put_i64(out, *at);
            put_u64(out, ids.len() as u64);
            for id in ids {
                put_u64(out, *id);
            }
        }
        Change::Snapshot(group) => {
            out.push(6);
            put_group(out, group);
        }
        Change::Keyed(Applied { group, keyed, wall }) => {
            out.push(8);
            put_u64(out, *group);
            out.extend_from_slice(&keyed.key.to_le_bytes());
            out.extend_from_slice(&keyed.request.to_le_bytes());
            put_i64(out, *wall);
        }
        Change::Tombstone { key, at } => {
            out.push(7);
            put_labels(out, key);
            put_i64(out, *at);
        }
    }
}

fn take_change(input: &mut &[u8]) -> Option<Change> {
    Some(match take_u8(input)? {
        1 => Change::Pushed {
            id: take_u64(input)?,
            key: take_labels(input)?,
            replace: take_u8(input)? != 0,
            at: take_i64(input)?,
            wall: take_i64(input)?,
            ttl: take_option(input)?,
            families: take_list(input, take_kept_families)?
                .into_iter()
                .flatten()
                .map(|(name, family)| (name, Arc::new(family)))
                .collect(),
        },
        2 => Change::Refused {
            id: take_u64(input)?,
            key: take_labels(input)?,
            at: take_i64(input)?,
            wall: take_i64(input)?,
            reason: take_text(input)?,
        },
        3 => Change::Deleted { key: take_labels(input)?, at: take_i64(input)? },
        4 => Change::Expired { key: take_labels(input)?, at: take_i64(input)?, wall: take_i64(input)? },
        5 => Change::Emitted { at: take_i64(input)?, ids: take_list(input, take_u64)? },
        6 => Change::Snapshot(Arc::new(take_group(input)?)),
        7 => Change::Tombstone { key: take_labels(input)?, at: take_i64(input)? },
        8 => Change::Keyed(Applied {
            group: take_u64(input)?,
            keyed: Keyed {
                key: u128::from_le_bytes(take_array(input)?),
                request: u64::from_le_bytes(take_array(input)?),
            },
            wall: take_i64(input)?,
        }),
        _ => return None,
    })
}

fn put_group(out: &mut Vec<u8>, group: &Group) {
    put_u64(out, group.id);
    put_labels(out, &group.key);
    for time in [group.pushed, group.failed, group.clock] {
        put_i64(out, time);
    }
    put_bytes(out, group.failure.as_bytes());
    for time in [group.ttl, group.expires, group.expired] {
        put_option(out, time);
    }
    let families = group.families.unpack();
    put_u64(out, families.len() as u64);
    for (name, kept) in &families {
        put_i64(out, kept.pushed);
        put_family(out, name, &kept.family);
    }
}

fn take_group(input: &mut &[u8]) -> Option<Group> {
    let mut group = Group::new(take_u64(input)?, take_labels(input)?);
    group.pushed = take_i64(input)?;
    group.failed = take_i64(input)?;
    group.clock = take_i64(input)?;
    group.failure = take_text(input)?;
    group.ttl = take_option(input)?;
    group.expires = take_option(input)?;
    group.expired = take_option(input)?;
    let families = take_list(input, |input| {
        let pushed = take_i64(input)?;
        let families = take_kept_families(input)?.into_iter();
        Some(families.map(move |(name, family)| (name, Kept { family: Arc::new(family), pushed })))
    })?;
    group.families = Packed::new(&families.into_iter().flatten().collect());
    Some(group)
}

/// Reads a family and splits it by the names under which groups keep its series: 0.1.0 wrote counters of OpenMetrics
/// under another name.
fn take_kept_families(input: &mut &[u8]) -> Option<BTreeMap<String, Family>> {
    let (name, family) = take_family(input)?;
    Some(family.by_kept_name(name))
}

#[cfg(test)]
mod tests;
