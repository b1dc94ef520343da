//! Sends requests of clients as they came, if they equal what is to be sent.

use super::Known;
use crate::client::Post;
use crate::outgoing::Outgoing;
use crate::output::Encoded;
use bytes::Bytes;
use formats::compress::{Encoding, join_snappy};
use formats::remote_write::Protocol;
use model::{Kinds, Metadata, Original, Point, Series, Value};
use std::sync::Arc;

/// Returns the original requests of these points, if the points are all points of these requests and were not
/// changed.
///
/// Requests of 1.0 in snappy are joined to one, because messages of 1.0 can be concatenated. A request of 2.0
/// (it has a table of symbols) and a request in zstd are sent alone.
pub(super) fn encode<'a>(
    protocol: Protocol,
    points: impl Iterator<Item = (&'a Outgoing, u32)>,
    limit: usize,
    known: &mut Known<'a, impl Fn(&[u8]) -> Option<Arc<Metadata>>>,
) -> Option<Encoded<Post>> {
    let mut requests: Vec<&Original> = Vec::new();
    let (mut taken, mut plain_bytes, mut newest) = (0, 0, None);
    let mut kinds = Kinds::default();
    // The remaining points of the present request.
    let mut expected: &[Point] = &[];
    for (source, index) in points {
        if expected.is_empty() {
            let request = source.original()?;
            plain_bytes += request.plain_bytes;
            let is_right = request.content_type == protocol.content_type() && plain_bytes <= limit;
            if !is_right || protocol == Protocol::V2 && has_news(source, known) {
                return None;
            }
            requests.push(request);
            expected = source.chunk().points();
        }
        let (point, rest) = expected.split_first()?;
        if !source.point(index).is_some_and(|given| std::ptr::eq(given, point)) {
            return None;
        }
        if !matches!(point.value, Value::Exemplar(_)) {
            newest = newest.max(Some(point.timestamp));
        }
        kinds.count(&point.value);
        taken += 1;
        expected = rest;
    }
    if !expected.is_empty() {
        return None;
    }
    let (body, encoding) = join(protocol, &requests)?;
    let bytes = body.len();
    Some(Encoded {
        message: Some(Post { protocol, body, encoding, attempt: 0 }),
        taken,
        kinds,
        // The request came in this version, so it has no points that the version can't carry.
        unsupported: Kinds::default(),
        without_start: 0,
        newest,
        bytes,
        plain_bytes,
        is_original: true,
    })
}

/// Returns true if there is metadata for series that came without.
fn has_news<'a>(
    source: &'a Outgoing,
    known: &mut Known<'a, impl Fn(&[u8]) -> Option<Arc<Metadata>>>,
) -> bool {
    let batch = &source.chunk().batch;
    let mut bare = (0..).zip(&batch.series).filter(|(_, series)| series.metadata == Series::NO_METADATA);
    bare.any(|(number, _)| known.of(source.metric_name(number)).is_some())
}

/// Joins the bodies of the requests, if that is possible.
fn join(protocol: Protocol, requests: &[&Original]) -> Option<(Bytes, Encoding)> {
    let is_snappy = requests.iter().all(|request| request.encoding == Encoding::Snappy.as_str());
    match requests {
        [] => None,
        [one] => Some((one.body.clone(), if is_snappy { Encoding::Snappy } else { Encoding::Zstd })),
        several if is_snappy && protocol == Protocol::V1 => {
            let joined = join_snappy(several.iter().map(|request| request.body.as_ref()))?;
            Some((joined.into(), Encoding::Snappy))
        }
        _ => None,
    }
}
