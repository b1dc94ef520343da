//! Keeps the bytes of a request with the batch that was decoded from it, so that they can be forwarded
//! without encoding.
//!
//! Three parts of the program use it, and no other part needs to know it:
//!
//! 1. The decoder calls [`Batch::mark_exact`] if the body contains exactly what the batch contains.
//! 2. The code that has read the body calls [`Batch::keep_original`], which keeps the body if the batch is
//!    marked.
//! 3. The code that encodes requests gets the body from [`Batch::original`].
//!
//! Methods of [`Batch`] that change its contents discard the body.

use crate::Batch;
use bytes::Bytes;

/// A request as it was received. It contains exactly what the batch that was decoded from it contains, with
/// the series in the same order. So code that sends the whole batch unchanged may send this instead.
#[derive(Debug, Clone, PartialEq)]
pub struct Original {
    /// The body's media type, as in `Content-Type`.
    pub content_type: &'static str,
    /// The body's compression, as in `Content-Encoding`.
    pub encoding: &'static str,
    pub body: Bytes,
    /// Size of the decompressed body in bytes.
    pub plain_bytes: usize,
}

/// Whether a batch has its original request.
#[derive(Debug, Clone, Default)]
pub(crate) enum Origin {
    /// There is no original, or the batch was changed.
    #[default]
    None,
    /// A body with this media type matches the batch exactly, but was not kept yet.
    Exact(&'static str),
    Kept(Box<Original>),
}

/// The original adds nothing to the contents of a batch, so it is ignored when batches are compared.
impl PartialEq for Origin {
    fn eq(&self, _: &Origin) -> bool {
        true
    }
}

impl Origin {
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Origin::None | Origin::Exact(_) => 0,
            Origin::Kept(original) => size_of::<Original>() + original.body.len(),
        }
    }
}

impl Batch {
    /// Marks the batch as exactly equal to the body that it was decoded from. The body has this media type.
    pub fn mark_exact(&mut self, content_type: &'static str) {
        self.origin = Origin::Exact(content_type);
    }

    /// Keeps the body that the batch was decoded from, if the batch is marked as exact.
    pub fn keep_original(&mut self, encoding: &'static str, body: Vec<u8>, plain_bytes: usize) {
        if let Origin::Exact(content_type) = self.origin {
            let body = body.into_boxed_slice().into();
            self.origin = Origin::Kept(Box::new(Original { content_type, encoding, body, plain_bytes }));
        }
    }

    /// Returns the request that the batch was decoded from, if it still matches.
    pub fn original(&self) -> Option<&Original> {
        match &self.origin {
            Origin::Kept(original) => Some(original),
            Origin::None | Origin::Exact(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Labels, Series};

    fn batch() -> Batch {
        let mut batch = Batch::new();
        let labels = Labels::from_pairs([("__name__", "up")]);
        let series = batch.add_series(labels.as_ref(), Series::NO_METADATA);
        batch.push_float(series, 1, 1.0);
        batch.push_float(series, 2, 1.0);
        batch
    }

    fn with_original() -> Batch {
        let mut batch = batch();
        batch.mark_exact("x");
        batch.keep_original("y", b"body".to_vec(), 7);
        batch
    }

    #[test]
    fn only_an_exact_body_is_kept() {
        let mut other = batch();
        other.keep_original("y", b"body".to_vec(), 7);
        assert_eq!(other.original(), None);
        let batch = with_original();
        let body = Bytes::from_static(b"body");
        assert_eq!(
            batch.original(),
            Some(&Original { content_type: "x", encoding: "y", body, plain_bytes: 7 })
        );
        assert_eq!(batch, other, "it says the same");
        assert_eq!(batch.heap_bytes(), other.heap_bytes() + size_of::<Original>() + 4);
    }

    #[test]
    fn a_changed_batch_discards_its_original() {
        let mut batch = with_original();
        batch.retain_points(|_, _| true);
        assert!(batch.original().is_some(), "nothing was removed");
        batch.retain_points(|_, point| point.timestamp == 1);
        assert_eq!(batch.original(), None);

        let mut batch = with_original();
        let labels = Labels::from_pairs([("__name__", "down")]);
        assert!(batch.set_labels(0, labels.as_ref().as_bytes()));
        assert_eq!(batch.labels(0), labels.as_ref());
        assert_eq!(batch.original(), None);
    }
}
