//! Lanes: fixed classes of series, each with its own order and position.
//!
//! A series belongs to one of [`LANES`] lanes by a hash of its *outgoing* canonical labels (after external
//! labels and relabelling). So two series that become one by these rules stay in order. The hash must be the
//! same in every run, because saved positions are per lane. If the hash has to change, increment
//! [`LANE_HASH_VERSION`], which changes the fingerprint of saved positions.

use xxhash_rust::xxh3::xxh3_64;

/// Number of lanes. Saved positions depend on it.
pub const LANES: usize = 256;

pub type Mask = [bool; LANES];

/// Version of [`series_hash`] and [`lane_of`], part of the fingerprint of saved positions.
pub const LANE_HASH_VERSION: u32 = 1;

/// Hashes a series by its outgoing canonical labels.
#[inline]
pub fn series_hash(labels: &[u8]) -> u64 {
    xxh3_64(labels)
}

/// Returns the lane of the series with this hash.
#[inline]
pub const fn lane_of(hash: u64) -> u8 {
    (hash & 0xff) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;

    #[test]
    fn lanes_are_the_same_in_every_run() {
        // Saved positions depend on these numbers. If they change, LANE_HASH_VERSION must change, too.
        let lane = |name: &str| {
            lane_of(series_hash(Labels::from_pairs([("__name__", name), ("job", "a")]).as_ref().as_bytes()))
        };
        assert_eq!(LANE_HASH_VERSION, 1);
        assert_eq!([lane("up"), lane("x"), lane("http_requests_total")], LANES_OF_VERSION_1);
    }

    const LANES_OF_VERSION_1: [u8; 3] = [191, 169, 171];
}
