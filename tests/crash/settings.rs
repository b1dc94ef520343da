//! The settings in the configuration: at a start, and after a reload.

use crate::ledger;
use crate::weather::Destination;

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) protocols: [&'static str; 2],
    pub(crate) min_shards: u64,
    pub(crate) max_shards: u64,
    pub(crate) samples_per_send: u64,
    pub(crate) capacity: u64,
    pub(crate) deadline_ms: u64,
    /// Which destinations have a name; reloads add and remove it.
    pub(crate) named: [bool; 2],
    /// The second destination is first in the file.
    pub(crate) swapped: bool,
}

impl Settings {
    pub(crate) fn roll(dice: &mut fastrand::Rng) -> Settings {
        let protocols = [(); 2]
            .map(|()| if dice.bool() { "prometheus.WriteRequest" } else { "io.prometheus.write.v2.Request" });
        let max_shards = dice.u64(1..=8);
        Settings {
            protocols,
            min_shards: dice.u64(1..=max_shards),
            max_shards,
            samples_per_send: dice.u64(20..=600),
            capacity: dice.u64(200..=5000),
            deadline_ms: dice.u64(5..=300),
            named: [(); 2].map(|()| dice.u8(0..4) > 0),
            swapped: dice.bool(),
        }
    }

    /// Settings for a reload: one of the two destinations often stays the same.
    pub(crate) fn roll_next(&self, dice: &mut fastrand::Rng) -> Settings {
        let mut next = Settings::roll(dice);
        if dice.bool() {
            // Only one of them has other options.
            let Settings { min_shards, max_shards, samples_per_send, capacity, deadline_ms, .. } = *self;
            next = Settings { min_shards, max_shards, samples_per_send, capacity, deadline_ms, ..next };
            let same = usize::from(dice.bool());
            next.protocols[same] = self.protocols[same];
            next.named[same] = self.named[same];
        }
        next
    }

    /// The maximum of samples that a destination can have in flight.
    pub(crate) fn under_way(&self) -> u64 {
        self.max_shards * self.samples_per_send
    }

    /// The whole file for the run with the number `incarnation`.
    pub(crate) fn config(
        &self,
        destinations: &[Destination; 2],
        incarnation: u32,
        durability: &str,
    ) -> String {
        let entry = |at: usize| {
            let name =
                if self.named[at] { format!("\n  name: {}", destinations[at].name) } else { String::new() };
            format!(
                "- url: {}{name}\n  protobuf_message: {}\n  headers: {{{}: \"{incarnation}\"}}\n  \
                 queue_config: {{min_shards: {}, max_shards: {}, max_samples_per_send: {}, capacity: {}, \
                 batch_send_deadline: {}ms, min_backoff: 5ms, max_backoff: 200ms}}\n",
                destinations[at].write_url(),
                self.protocols[at],
                ledger::INCARNATION,
                self.min_shards,
                self.max_shards,
                self.samples_per_send,
                self.capacity,
                self.deadline_ms,
            )
        };
        let order = if self.swapped { [1, 0] } else { [0, 1] };
        format!(
            "remote_write:\n{}log: {{max_size: 8MiB, when_full: refuse, durability: {durability}}}\n\
             collect: {{host: {{collectors: none}}, self: false}}\nreceive: {{pushgateway: {{interval: 1s}}}}\n",
            order.map(entry).concat()
        )
    }
}
