//! Failures: requests without an answer.

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Failure {
    pub kind: FailureKind,
    /// What happened and what to do, for people.
    pub words: String,
    /// Advice for a person who sets up the destination.
    pub advice: Option<&'static str>,
    /// Whether the request was sent, at least in part, so that the receiver may have written it.
    pub is_sent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The destination can't be reached or does not answer.
    Unreachable,
    /// The port uses another protocol than the URL says, for example TLS with an `http` URL.
    Protocol,
    /// The server's or the client's certificate is wrong.
    Certificate,
    /// There are no credentials to send, because a file or a token server fails.
    Credentials,
}

impl Failure {
    pub fn unreachable(words: impl Into<String>) -> Failure {
        Failure { kind: FailureKind::Unreachable, words: words.into(), advice: None, is_sent: false }
    }

    pub(crate) fn advise(self, advice: Option<&'static str>) -> Failure {
        Failure { advice, ..self }
    }

    pub(crate) fn protocol(words: impl Into<String>) -> Failure {
        Failure { kind: FailureKind::Protocol, ..Failure::unreachable(words) }
    }

    /// The port expects TLS and the URL is `http`. `said` is the server's message.
    pub fn speaks_tls(said: &str) -> Failure {
        // narthex' own servers send the same words.
        let known = said.is_empty() || said.starts_with("this port speaks TLS");
        let said = if known { String::new() } else { format!(" ({said})") };
        Failure::protocol(format!("this port speaks TLS: use https in the URL{said}"))
    }

    pub(crate) fn sent(self, is_sent: bool) -> Failure {
        Failure { is_sent, ..self }
    }
}
