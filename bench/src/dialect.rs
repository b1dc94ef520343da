//! The dialects of remote write that the sender speaks and the receiver takes.

use support::wire::{self, V1_TYPE, Version};

/// What a request is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Remote write 1.0, in snappy.
    V1,
    /// Remote write 2.0, in snappy.
    V2,
    /// VictoriaMetrics' variant of 1.0, in zstd.
    Zstd,
}

impl Dialect {
    /// The message that a body holds.
    pub(crate) fn version(self) -> Version {
        if self == Dialect::V2 { Version::V2 } else { Version::V1 }
    }

    /// `Content-Encoding`.
    pub(crate) fn encoding(self) -> &'static str {
        if self == Dialect::Zstd { "zstd" } else { "snappy" }
    }

    /// The headers of a request.
    pub(crate) fn headers(self) -> [(&'static str, &'static str); 4] {
        match self {
            Dialect::V1 | Dialect::V2 => self.version().headers(),
            // As vmagent sends them.
            Dialect::Zstd => [
                ("Content-Type", V1_TYPE),
                ("Content-Encoding", "zstd"),
                ("X-VictoriaMetrics-Remote-Write-Version", "1"),
                ("User-Agent", "narthex-bench/0"),
            ],
        }
    }

    /// A body of this content.
    pub(crate) fn compress(self, content: &[u8]) -> Vec<u8> {
        if self == Dialect::Zstd { wire::zstd(content) } else { wire::snappy(content) }
    }
}
