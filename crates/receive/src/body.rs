//! Reading a body: bounded in bytes, in time and in the memory of all bodies together.

use crate::answer::Refusal;
use crate::options::Options;
use axum::body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use intake::Share;
use tokio::time::{Instant, timeout_at};

/// Most memory that is reserved because of a `Content-Length` alone, in bytes. So small that all requests at once
/// can't hold all memory by announcing large bodies. Larger bodies get memory as they arrive.
pub const ANNOUNCED_BYTES: usize = 128 << 10;

/// Reads `body` to its end, and reserves `memory` for it.
pub(crate) async fn read(body: Body, memory: &mut Share, options: &Options) -> Result<Vec<u8>, Refusal> {
    let limit = options.body_bytes;
    // A body that is announced as too large is refused at once.
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(Refusal::BodyTooLarge { limit });
    }
    let announced = (announced as usize).min(ANNOUNCED_BYTES);
    let end = Instant::now() + options.body_time;
    let mut body = Limited::new(body, limit);
    let mut bytes = Vec::new();
    loop {
        let pause = Instant::now() + options.body_pause;
        let frame = match timeout_at(end.min(pause), body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(bytes),
            Ok(Some(Err(error))) if error.is::<LengthLimitError>() => {
                return Err(Refusal::BodyTooLarge { limit });
            }
            Ok(Some(Err(error))) => return Err(Refusal::Broken(error.to_string())),
            Err(_) => {
                let time = if end < pause { options.body_time } else { options.body_pause };
                return Err(Refusal::TooSlow { seconds: time.as_secs() });
            }
        };
        if let Some(data) = frame.data_ref() {
            let wanted = bytes.len() + data.len();
            if wanted > bytes.capacity() {
                // As Vec grows; counted before it does.
                let capacity = wanted.max(announced).max(bytes.capacity() * 2).min(limit.max(wanted));
                memory.grow(capacity).await?;
                bytes.reserve_exact(capacity - bytes.len());
            }
            bytes.extend_from_slice(data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures_util::stream;
    use hyper::body::{Frame, SizeHint};
    use intake::Budget;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    fn options() -> Options {
        Options {
            body_bytes: 10_000,
            body_pause: Duration::from_millis(20),
            body_time: Duration::from_millis(200),
            ..Options::default()
        }
    }

    fn budget() -> Budget {
        Budget::new(1 << 20, Duration::from_millis(10))
    }

    #[tokio::test]
    async fn a_body_is_read_whole() {
        let parts = [vec![1u8; 3000], vec![2; 5000], vec![]];
        let body = Body::from_stream(stream::iter(parts.map(Ok::<_, Infallible>)));
        let mut memory = budget().share();
        let received = read(body, &mut memory, &options()).await.unwrap();
        assert_eq!(received.len(), 8000);
        assert!(memory.bytes() >= received.capacity());
    }

    /// A body that announces its size, and of which the first byte comes and then no more.
    struct Announced {
        bytes: u64,
        begun: bool,
    }

    impl hyper::body::Body for Announced {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let begun = std::mem::replace(&mut self.begun, true);
            if begun { Poll::Pending } else { Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x"))))) }
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.bytes)
        }
    }

    #[tokio::test]
    async fn what_is_announced_is_held_once_it_comes_unless_it_is_much() {
        let options = Options { body_bytes: 1 << 20, ..options() };
        for (bytes, held) in [(40_960, 40_960), (1 << 20, ANNOUNCED_BYTES)] {
            let budget = budget();
            let body = Body::new(Announced { bytes, begun: false });
            let mut memory = budget.share();
            let mut reading = Box::pin(read(body, &mut memory, &options));
            let waits =
                std::future::poll_fn(|context| Poll::Ready(reading.as_mut().poll(context).is_pending()));
            assert!(waits.await);
            assert_eq!((1 << 20) - budget.free(), held);
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_announced_or_not() {
        let limit = Refusal::BodyTooLarge { limit: 10_000 };
        let error = read(Body::from(vec![0; 10_001]), &mut budget().share(), &options()).await.unwrap_err();
        assert_eq!(error, limit);
        let parts = stream::iter((0..4).map(|_| Ok::<_, Infallible>(vec![0u8; 3000])));
        let error = read(Body::from_stream(parts), &mut budget().share(), &options()).await.unwrap_err();
        assert_eq!(error, limit);
        assert!(read(Body::from(vec![0; 10_000]), &mut budget().share(), &options()).await.is_ok());
    }

    #[tokio::test]
    async fn a_sender_that_pauses_or_drips_is_not_waited_for() {
        let never = Body::from_stream(stream::pending::<Result<Vec<u8>, Infallible>>());
        let error = read(never, &mut budget().share(), &options()).await.unwrap_err();
        assert_eq!(error.status(), 408);
        let drip = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Some((Ok::<_, Infallible>(vec![0u8]), ()))
        });
        let error = read(Body::from_stream(drip), &mut budget().share(), &options()).await.unwrap_err();
        assert_eq!(error.status(), 408);
    }

    #[tokio::test]
    async fn memory_that_is_not_there_is_not_taken() {
        let budget = Budget::new(3 * 4096, Duration::from_millis(10));
        let mut other = budget.share();
        other.grow(4096).await.unwrap();
        let error = read(Body::from(vec![0; 9000]), &mut budget.share(), &options()).await.unwrap_err();
        assert!(matches!(error, Refusal::Intake(intake::Refusal::Busy(_))));
        assert_eq!(budget.free(), 2 * 4096);
    }
}
