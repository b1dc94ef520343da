//! Replaces the signatures in a build without the Cargo feature `sigv4`.

use super::SigV4;
use crate::auth::error::ProofError;
use bytes::Bytes;
use http::HeaderMap;

/// Never exists, because [`Signatures::new`] always fails.
#[derive(Debug)]
pub(crate) enum Signatures {}

impl Signatures {
    pub(crate) fn new(_: &SigV4) -> Result<Self, ProofError> {
        Err(ProofError::NotBuilt { key: "sigv4", feature: "sigv4" })
    }

    pub(crate) async fn headers(&self, _: &http::Uri, _: &HeaderMap, _: &Bytes) -> Result<HeaderMap, String> {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_missing_cargo_feature() {
        let error = Signatures::new(&SigV4::default()).unwrap_err().to_string();
        assert_eq!(
            error,
            "sigv4: this narthex was built without the Cargo feature sigv4; use a build that has it"
        );
    }
}
