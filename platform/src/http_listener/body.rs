//! Bodies of a request and of its response, as far as the connection depends on them.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::timeout;

use super::connections::InFlight;

/// Maximum declared size of a body that is read to its end although the handler did not read it, in
/// bytes: it has usually arrived with the head, and reading it keeps the connection usable.
const MAX_UNWANTED_BYTES: u64 = 64 * 1024;

/// How long such a body may take to arrive. The response is delayed meanwhile.
const UNWANTED_TIME: Duration = Duration::from_millis(100);

/// The body of a request. The listener knows how much of it the handler has read.
#[derive(Debug)]
pub struct RequestBody(Arc<Mutex<BodyState>>);

#[derive(Debug)]
enum BodyState {
    Unfinished(Incoming),
    Finished,
    /// The connection failed, or the client sent invalid HTTP.
    Broken,
}

/// The part of a request body that the handler has not read.
pub(super) struct Remainder {
    body: RequestBody,
    /// Whether it may be read after the handler has responded.
    is_small: bool,
}

/// Replaces the body of `request` by one that can be observed.
pub(super) fn observe(request: Request<Incoming>) -> (Request<RequestBody>, Remainder) {
    let (head, body) = request.into_parts();
    // A client that sent `Expect: 100-continue` has not sent its body and must not.
    let is_small = body.size_hint().exact().is_some_and(|length| length <= MAX_UNWANTED_BYTES)
        && !head.headers.contains_key(header::EXPECT);
    let state =
        if body.is_end_stream() { BodyState::Finished } else { BodyState::Unfinished(body) };
    let state = Arc::new(Mutex::new(state));
    let remainder = Remainder { body: RequestBody(state.clone()), is_small };
    (Request::from_parts(head, RequestBody(state)), remainder)
}

impl Remainder {
    /// Tries to read a small body to its end. Returns whether the whole body has been read.
    pub(super) async fn finish(mut self) -> bool {
        if self.is_small {
            let body = &mut self.body;
            let reading = async {
                while poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.is_some() {}
            };
            let _late = timeout(UNWANTED_TIME, reading).await;
        }
        match &*self.body.state() {
            BodyState::Unfinished(body) => body.is_end_stream(),
            BodyState::Finished => true,
            BodyState::Broken => false,
        }
    }
}

impl RequestBody {
    fn state(&self) -> MutexGuard<'_, BodyState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut state = self.state();
        let BodyState::Unfinished(body) = &mut *state else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        match &frame {
            None => *state = BodyState::Finished,
            Some(Err(_)) => *state = BodyState::Broken,
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
    }

    fn is_end_stream(&self) -> bool {
        match &*self.state() {
            BodyState::Unfinished(body) => body.is_end_stream(),
            BodyState::Finished | BodyState::Broken => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &*self.state() {
            BodyState::Unfinished(body) => body.size_hint(),
            BodyState::Finished | BodyState::Broken => SizeHint::with_exact(0),
        }
    }
}

/// The body of a response. Holds the guard of its request until it has been sent.
pub(super) struct GuardedBody<B> {
    pub(super) body: B,
    pub(super) _in_flight: InFlight,
}

impl<B: Body + Unpin> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
