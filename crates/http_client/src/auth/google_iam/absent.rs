//! Replaces the tokens in a build without the Cargo feature `google_iam`.

use super::GoogleIam;
use crate::auth::error::ProofError;
use crate::auth::token::Token;

/// Never exists, because [`Issuer::new`] always fails.
#[derive(Debug)]
pub(crate) enum Issuer {}

impl Issuer {
    pub(crate) fn new(_: &GoogleIam) -> Result<Self, ProofError> {
        Err(ProofError::NotBuilt { key: "google_iam", feature: "google_iam" })
    }

    pub(in crate::auth) async fn ask(&self) -> Result<Token, String> {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_missing_cargo_feature() {
        let error = Issuer::new(&GoogleIam::default()).unwrap_err().to_string();
        assert!(error.starts_with("google_iam: this narthex was built without the Cargo feature google_iam"));
    }
}
