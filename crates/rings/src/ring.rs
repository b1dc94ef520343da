//! A ring: which members of a sharded entry own a series.
//!
//! A series has one of [`SLOTS`] slots by a hash of its labels. Each slot ranks all members by a hash of slot
//! and member (rendezvous hashing), and the first `replicas` of them own it. So the configured order of
//! members does not matter. A member that joins takes slots from others, and gives none away. A member that
//! leaves gives its slots to the others evenly. No other slot changes its owners.
//!
//! The slot is made of the upper bits of the hash. The lowest eight bits are the lane of the queue, so a
//! member's series are spread over all its lanes. Slots make ownership cheap: a member's slots are computed
//! once, and then the check of a series costs its hash and one bit.
//!
//! The result for a stored ring must never change. If it has to, [`crate::rings`]' version changes with it.

use xxhash_rust::xxh3::xxh3_64;

/// Number of slots. With the most members each has about 256, so that its share is within a fifth of even.
pub const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 14;

/// Most members of an entry.
pub const MEMBERS_MAX: usize = 64;

/// The slots that one member owns.
#[derive(Clone, PartialEq, Eq)]
pub struct Slots(Box<[u64]>);

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {SLOTS} slots", self.count())
    }
}

impl Slots {
    /// No slots: for a URL that is not a member.
    pub fn none() -> Self {
        Slots(vec![0; SLOTS / 64].into())
    }

    /// Returns true if the member owns the series with this hash of its labels in the log.
    #[inline]
    pub fn holds(&self, series_hash: u64) -> bool {
        let slot = (series_hash >> (64 - SLOT_BITS)) as usize;
        self.0.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    /// Returns the number of slots.
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn add(&mut self, slot: usize) {
        if let Some(word) = self.0.get_mut(slot / 64) {
            *word |= 1 << (slot % 64);
        }
    }
}

/// Returns the slots of each member, in the given order. Each slot has `replicas` owners, or all members if
/// there are fewer.
pub fn slots(members: &[impl AsRef<str>], replicas: usize) -> Vec<Slots> {
    let seeds: Vec<u64> = members.iter().map(|member| xxh3_64(member.as_ref().as_bytes())).collect();
    let mut of: Vec<Slots> = members.iter().map(|_| Slots::none()).collect();
    let mut ranked: Vec<(u64, usize)> = Vec::with_capacity(members.len());
    for slot in 0..SLOTS {
        ranked.clear();
        let scores = seeds.iter().map(|seed| mix(seed ^ mix(slot as u64 + 1)));
        ranked.extend(scores.zip(0..));
        // Two scores are equal if two members are, or once in 2^64.
        ranked.sort_unstable_by(|one, other| other.cmp(one));
        for (_, member) in ranked.iter().take(replicas) {
            if let Some(slots) = of.get_mut(*member) {
                slots.add(slot);
            }
        }
    }
    of
}

/// Spreads each bit over all bits, reversibly (the finaliser of SplitMix64, by Steele, Lea and Flood).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("http://store-{number}:8428/api/v1/write")).collect()
    }

    /// Returns the members that own the slot.
    fn owners(of: &[Slots], slot: usize) -> Vec<usize> {
        let hash = (slot as u64) << (64 - SLOT_BITS);
        (0..of.len()).filter(|member| of[*member].holds(hash)).collect()
    }

    #[test]
    fn each_slot_has_as_many_owners_as_there_are_replicas() {
        for (members, replicas) in [(1, 1), (3, 1), (3, 2), (3, 3), (3, 9), (64, 5)] {
            let of = slots(&named(members), replicas);
            for slot in 0..SLOTS {
                assert_eq!(owners(&of, slot).len(), replicas.min(members), "{members}/{replicas}, {slot}");
            }
        }
    }

    #[test]
    fn slots_are_spread_evenly() {
        for (members, replicas, tolerated) in
            [(2, 1, 0.03), (3, 1, 0.05), (3, 2, 0.05), (10, 1, 0.1), (64, 2, 0.2)]
        {
            let even = (SLOTS * replicas) as f64 / members as f64;
            for of in slots(&named(members), replicas) {
                let off = (of.count() as f64 / even - 1.0).abs();
                assert!(off < tolerated, "{members}/{replicas}: {off}");
            }
        }
    }

    #[test]
    fn order_of_members_does_not_matter() {
        let (mut members, of) = (named(5), slots(&named(5), 2));
        members.reverse();
        let mut reversed = slots(&members, 2);
        reversed.reverse();
        assert_eq!(of, reversed);
    }

    #[test]
    fn joining_member_takes_its_share_and_moves_nothing_else() {
        for replicas in 1..=2 {
            let (before, after) = (slots(&named(4), replicas), slots(&named(5), replicas));
            let mut moved = 0;
            for slot in 0..SLOTS {
                let (old, new) = (owners(&before, slot), owners(&after, slot));
                let lost = old.iter().filter(|owner| !new.contains(owner)).count();
                // A member can lose the slot only to the new one.
                assert_eq!(lost, usize::from(new.contains(&4)), "{slot}");
                moved += lost;
            }
            let share = moved as f64 / (SLOTS * replicas) as f64;
            assert!((share - 0.2).abs() < 0.02, "a fifth goes to the fifth: {share}");
        }
    }

    #[test]
    fn leaving_member_gives_its_slots_away_evenly_and_moves_nothing_else() {
        let (before, mut after) = (slots(&named(5), 2), slots(&named(4), 2));
        after.push(Slots::none());
        let mut taken = [0; 5];
        for slot in 0..SLOTS {
            let (old, new) = (owners(&before, slot), owners(&after, slot));
            let gained: Vec<usize> = new.iter().copied().filter(|owner| !old.contains(owner)).collect();
            assert_eq!(gained.len(), usize::from(old.contains(&4)), "{slot}");
            gained.iter().for_each(|owner| taken[*owner] += 1);
        }
        let even = before[4].count() as f64 / 4.0;
        for count in &taken[..4] {
            assert!((f64::from(*count) / even - 1.0).abs() < 0.1, "{count} of {even}");
        }
    }

    #[test]
    fn a_members_series_spread_over_all_lanes() {
        let of = slots(&named(8), 1);
        let mut lanes = [0; 256];
        for number in 0..200_000u64 {
            let hash = xxh3_64(&number.to_le_bytes());
            if of[3].holds(hash) {
                lanes[(hash & 0xff) as usize] += 1;
            }
        }
        // About 98 in each lane.
        assert!(lanes.iter().all(|count| (50..150).contains(count)), "{lanes:?}");
    }

    #[test]
    fn stored_ring_has_the_same_slots_in_every_run() {
        let of = slots(&["http://a:9090/api/v1/write", "http://b:9090/api/v1/write", "http://c:9090/x"], 1);
        let counts: Vec<usize> = of.iter().map(Slots::count).collect();
        let first: Vec<usize> = (0..8).flat_map(|slot| owners(&of, slot)).collect();
        assert_eq!((counts, first), (vec![5392, 5414, 5578], vec![2, 1, 2, 0, 2, 2, 1, 1]));
    }
}
