//! Requests that get no answer.

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Failure {
    /// Which kind of failure.
    pub kind: FailureKind,
    /// What happened and what to do, for people.
    pub words: String,
    /// What to check, for a person who tries the destination.
    pub advice: Option<&'static str>,
    /// Whether the request was sent, at least in part: the receiver may have written it.
    pub is_sent: bool,
}

/// Which kind of failure left a request without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The destination can't be reached or does not answer.
    Unreachable,
    /// The port speaks another protocol than the URL says, such as TLS where the URL is `http`.
    Protocol,
    /// A certificate is wrong, the server's or the client's.
    Certificate,
    /// There are no credentials to send: a file or a token server does not give them.
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

    /// The port wants TLS and the URL is `http`. `said` is what the server says of it.
    pub fn speaks_tls(said: &str) -> Failure {
        // narthex itself says the same.
        let known = said.is_empty() || said.starts_with("this port speaks TLS");
        let said = if known { String::new() } else { format!(" ({said})") };
        Failure::protocol(format!("this port speaks TLS: use https in the URL{said}"))
    }

    pub(crate) fn sent(self, is_sent: bool) -> Failure {
        Failure { is_sent, ..self }
    }
}
