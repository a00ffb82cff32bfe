//! Bodies of a request and of its response, as far as the connection depends on them.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use http::{HeaderMap, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use poem::{Body, Request};
use tokio::time::timeout;

use super::connections::InFlight;
use crate::http::body;

/// Maximum declared size of a body that is read to its end although the endpoint did not read it,
/// in bytes: it has usually arrived with the head, and reading it keeps the connection usable.
const MAX_UNWANTED_BYTES: usize = 64 * 1024;

/// How long such a body may take to arrive. The response is delayed meanwhile.
const UNWANTED_TIME: Duration = Duration::from_millis(100);

/// The part of a request body that the endpoint has not read.
pub(super) struct Remainder {
    state: Arc<Mutex<BodyState>>,
    /// Whether it may be read after the endpoint has responded.
    is_small: bool,
}

enum BodyState {
    Unfinished(BoxStream<'static, std::io::Result<Bytes>>),
    Finished,
    /// The connection failed, or the client sent invalid HTTP.
    Broken,
}

impl Remainder {
    /// Replaces the body of `request` by one that can be observed. `None`: it has no body.
    pub(super) fn of(request: &mut Request) -> Option<Self> {
        let body = request.take_body();
        if body.is_empty() {
            request.set_body(body);
            return None;
        }
        let is_small = is_small(request.headers());
        let state = BodyState::Unfinished(body.into_bytes_stream().boxed());
        let state = Arc::new(Mutex::new(state));
        request.set_body(Body::from_bytes_stream(SharedBody(state.clone())));
        Some(Self { state, is_small })
    }

    /// Tries to read a small body to its end. Returns whether the whole body has been read.
    pub(super) async fn finish(self) -> bool {
        let mut rest = SharedBody(self.state);
        if self.is_small {
            let reading = async { while rest.next().await.is_some() {} };
            let _late = timeout(UNWANTED_TIME, reading).await;
        }
        let state = rest.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*state, BodyState::Finished)
    }
}

/// A client that sent `Expect: 100-continue` has not sent its body and must not.
fn is_small(headers: &HeaderMap) -> bool {
    let is_small =
        body::declared_length(headers).is_some_and(|length| length <= MAX_UNWANTED_BYTES);
    is_small && !headers.contains_key(header::EXPECT)
}

struct SharedBody(Arc<Mutex<BodyState>>);

impl Stream for SharedBody {
    type Item = std::io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let BodyState::Unfinished(body) = &mut *state else {
            return Poll::Ready(None);
        };
        let next = body.poll_next_unpin(cx);
        match &next {
            Poll::Ready(None) => *state = BodyState::Finished,
            Poll::Ready(Some(Err(_))) => *state = BodyState::Broken,
            Poll::Pending | Poll::Ready(Some(Ok(_))) => {}
        }
        next
    }
}

/// The body of a response. Holds the guard of its request until it has been sent.
pub(super) struct GuardedBody<B> {
    pub(super) body: B,
    pub(super) _in_flight: InFlight,
}

impl<B: HttpBody + Unpin> HttpBody for GuardedBody<B> {
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
