//! prost's types for the schemas in `tests/proto`, the oracle of the hand-written codecs. Generated: see
//! `tests/schemas.rs`.

#![allow(unreachable_pub, dead_code, reason = "generated, and each test uses a part")]
#![allow(clippy::all, reason = "generated")]

pub mod v1 {
    include!("prometheus.rs");
}

pub mod v2 {
    include!("io.prometheus.write.v2.rs");
}

pub mod client {
    include!("io.prometheus.client.rs");
}
