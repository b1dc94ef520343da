//! Inputs over HTTP: a request is a batch, and is answered once that is on disk.
//!
//! An input says where it is reached, which encodings it accepts, how a body becomes a batch, and what the outcome is
//! answered with. All else is the same for each: [`routes`] makes the routes of one, with limits on bodies, time and
//! memory, and with counters.

use crate::Doors;
use crate::answer::{Refusal, whole};
use crate::decode::{decode, encoding};
use crate::options::Options;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use formats::Rejected;
use formats::compress::Encoding;
use formats::text::Format;
use http::StatusCode;
use http::request::Parts;
use http_server::{Route, Routes};
use intake::known::{Recognised, Recogniser};
use intake::{Admission, Input, Outcome, TimeBounds};
use model::Limits;
use std::sync::Arc;

/// What holds while a request is read. One snapshot of the settings and one time for all of it.
#[derive(Debug)]
pub(crate) struct Conditions {
    pub(crate) limits: Limits,
    pub(crate) bounds: TimeBounds,
    /// Milliseconds since 1970.
    pub(crate) now_ms: i64,
    /// For series that are named by the same bytes in each request.
    pub(crate) recogniser: Recogniser,
    pub(crate) options: Arc<Options>,
}

/// What a body says.
#[derive(Debug)]
pub(crate) struct Decoded<M = ()> {
    pub(crate) decoded: Recognised,
    /// The text format that the timestamps were written in, if any.
    pub(crate) written_in: Option<Format>,
    /// What else the input has read.
    pub(crate) more: M,
}

/// An extension of an answer: the status by which it is counted, where its own says nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CountedAs(pub(crate) StatusCode);

/// An input that is pushed to over HTTP. None of its functions reads a clock, a file or a socket; [`HttpInput::keep`] is
/// the one that waits for the disk.
pub(crate) trait HttpInput: Send + Sync + 'static {
    /// Where it is reached, by POST.
    const ROUTES: &'static [Route];
    /// The header with the encoding of a body.
    const ENCODING_HEADER: &'static str = "content-encoding";
    /// The encodings of bodies, by their names in that header.
    const ENCODINGS: &'static [(&'static str, Encoding)];
    /// The encoding of a body without that header.
    const DEFAULT_ENCODING: Encoding;
    /// What the head of a request says of its body.
    type Head: Send + Sync + 'static;

    /// What it reads from a body besides a batch.
    type More: Send + 'static;

    /// Reads the head of a request.
    fn head(parts: &Parts) -> Result<Self::Head, Refusal>;

    /// The input that a request is counted for. Without a head: one whose head could not be read.
    fn input(&self, head: Option<&Self::Head>) -> &Input;

    /// Takes a body out of its frame. `encoding` is that of the header. Returns the encoding of what is in the frame.
    fn unframe(encoding: Encoding, body: Vec<u8>) -> Result<(Encoding, Vec<u8>), Refusal> {
        Ok((encoding, body))
    }

    /// Reads a body that has been decompressed.
    fn decode(
        head: &Self::Head,
        body: &[u8],
        conditions: &Conditions,
    ) -> Result<Decoded<Self::More>, Refusal>;

    /// Keeps what a body has besides a batch, before the batch is appended. Adds what is left out of it to `rejected`.
    fn keep(
        &self,
        _admission: &mut Admission,
        _more: &mut Self::More,
        _rejected: &mut Rejected,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        std::future::ready(Ok(()))
    }

    /// Counts what the counters of all inputs do not have.
    fn count(&self, _more: &Self::More, _outcome: &Outcome) {}

    /// The answer. `outcome` is there if something was appended, `refusal` if not all was kept.
    fn answer(_head: Option<&Self::Head>, _outcome: Option<&Outcome>, refusal: Option<&Refusal>) -> Response {
        match refusal {
            None => StatusCode::NO_CONTENT.into_response(),
            Some(refusal) => refusal.clone().into_response(),
        }
    }
}

/// The routes of an input.
pub(crate) fn routes<I: HttpInput>(input: I) -> Routes<Doors> {
    let input = Arc::new(input);
    let mut routes = Routes::default();
    for route in I::ROUTES {
        let input = input.clone();
        let handler = move |State(doors): State<Doors>, request: Request| {
            let input = input.clone();
            async move { serve(&*input, &doors, request).await }
        };
        routes = routes.add(*route, |other| other.post(handler));
    }
    routes
}

async fn serve<I: HttpInput>(input: &I, doors: &Doors, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (head, result) = match I::head(&parts) {
        Err(refusal) => (None, Err(refusal)),
        Ok(head) => {
            let head = Arc::new(head);
            let result = append(input, doors, &parts, &head, body).await;
            (Some(head), result)
        }
    };
    let head = head.as_deref();
    let refusal =
        result.as_ref().map_or_else(|refusal| Some(refusal.clone()), |outcome| whole(outcome).err());
    let response = I::answer(head, result.as_ref().ok(), refusal.as_ref());
    doors.count_answer(input.input(head), refusal.as_ref(), response)
}

async fn append<I: HttpInput>(
    input: &I,
    doors: &Doors,
    parts: &Parts,
    head: &Arc<I::Head>,
    body: axum::body::Body,
) -> Result<Outcome, Refusal> {
    let mut admission = input.input(Some(head)).admit()?;
    let encoding = encoding(&parts.headers, I::ENCODING_HEADER, I::DEFAULT_ENCODING, I::ENCODINGS)?;
    let body = doors.read_body(&mut admission, body).await?;
    let (encoding, body) = I::unframe(encoding, body)?;
    let options = doors.options();
    let limit = options.decoded_bytes;
    let conditions = Conditions {
        limits: admission.settings().limits,
        bounds: admission.time_bounds(),
        now_ms: admission.now_ms(),
        recogniser: admission.recogniser(),
        options,
    };
    let decoder = {
        let head = head.clone();
        move |bytes: &[u8]| (I::decode(&head, bytes, &conditions), bytes.len())
    };
    let ((decoded, plain_bytes), body) = decode(body, admission.memory(), encoding, limit, decoder).await?;
    let Decoded { mut decoded, written_in, mut more } = decoded?;
    decoded.parsed.batch.keep_original(encoding.as_str(), body, plain_bytes);
    input.keep(&mut admission, &mut more, &mut decoded.parsed.rejected).await?;
    let outcome = admission.append(decoded, written_in).await?;
    input.count(&more, &outcome);
    Ok(outcome)
}
