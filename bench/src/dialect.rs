//! The formats of the sender and the receiver.

use support::wire::{self, V1_TYPE, Version};

/// The format of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Remote write 1.0 with snappy.
    V1,
    /// Remote write 2.0 with snappy.
    V2,
    /// VictoriaMetrics' variant of 1.0 with zstd.
    Zstd,
    /// Prometheus' text format with timestamps, uncompressed. Only the sender supports it.
    Text,
    /// InfluxDB's line protocol with ten fields a line, uncompressed. Only the sender speaks it.
    Influx,
}

impl Dialect {
    /// The version of the message in a body.
    pub(crate) fn version(self) -> Version {
        if self == Dialect::V2 { Version::V2 } else { Version::V1 }
    }

    /// The value of `Content-Encoding`.
    pub(crate) fn encoding(self) -> &'static str {
        match self {
            Dialect::V1 | Dialect::V2 => "snappy",
            Dialect::Zstd => "zstd",
            Dialect::Text | Dialect::Influx => "identity",
        }
    }

    /// The path of the endpoint that accepts it; narthex and vmagent have the same ones.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Dialect::V1 | Dialect::V2 | Dialect::Zstd => "/api/v1/write",
            Dialect::Text => "/api/v1/import/prometheus",
            Dialect::Influx => "/influx/write",
        }
    }

    pub(crate) fn headers(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Dialect::V1 | Dialect::V2 => self.version().headers().into(),
            Dialect::Text | Dialect::Influx => {
                vec![("Content-Type", "text/plain"), ("User-Agent", "narthex-bench/0")]
            }
            // The same headers as those of vmagent.
            Dialect::Zstd => vec![
                ("Content-Type", V1_TYPE),
                ("Content-Encoding", "zstd"),
                ("X-VictoriaMetrics-Remote-Write-Version", "1"),
                ("User-Agent", "narthex-bench/0"),
            ],
        }
    }

    /// A body with this content.
    pub(crate) fn compress(self, content: &[u8]) -> Vec<u8> {
        match self {
            Dialect::V1 | Dialect::V2 => wire::snappy(content),
            Dialect::Zstd => wire::zstd(content),
            Dialect::Text | Dialect::Influx => content.to_vec(),
        }
    }
}
