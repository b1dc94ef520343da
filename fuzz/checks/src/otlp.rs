//! Checks of OTLP: what is accepted is whole and within the limits, whatever the settings are.

use crate::formats::check_whole;
use model::Limits;
use otlp::{Encoding, ExponentialHistograms, Options, Promote, Settings, Strategy};

const POINTS_MAX: usize = 20_000;
const LABEL_BYTES_MAX: usize = 1 << 20;

/// A request in protobuf.
pub fn protobuf(bytes: &[u8]) {
    check(Encoding::Protobuf, bytes);
}

/// A request in JSON.
pub fn json(bytes: &[u8]) {
    check(Encoding::Json, bytes);
}

/// The first byte chooses the settings.
fn check(encoding: Encoding, bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else { return };
    let bit = |number: u8| choice >> number & 1 == 1;
    let settings = Settings {
        promote: if bit(0) { Promote::AllBut(["a".to_string()].into()) } else { Promote::default() },
        translation_strategy: Strategy::ALL[usize::from(choice >> 1 & 3)].1,
        keep_identifying_resource_attributes: bit(3),
        convert_histograms_to_nhcb: bit(4),
        promote_scope_metadata: bit(5),
        label_name_underscore_sanitization: bit(6),
        label_name_preserve_multiple_underscores: !bit(6),
        exponential_histograms: match bit(7) {
            true => ExponentialHistograms::Classic,
            false => ExponentialHistograms::Native,
        },
    };
    let refused = |time: i64| (time < 0).then(|| "too early".to_string());
    let mut options = Options::new(&settings, Limits::default(), &refused);
    (options.points_max, options.label_bytes_max) = (POINTS_MAX, LABEL_BYTES_MAX);
    let Ok(decoded) = otlp::decode(encoding, body, &options) else { return };
    let batch = &decoded.parsed.batch;
    check_whole(batch);
    assert!(batch.points.len() <= POINTS_MAX && batch.bytes.len() <= LABEL_BYTES_MAX);
    let counted: u64 = decoded.rejected.iter().map(|(_, count)| count).sum();
    assert_eq!(counted, decoded.parsed.rejected.samples);
    for histogram in &batch.histograms {
        assert_eq!(histogram.validate(&Limits::default()), Ok(()));
    }
}
