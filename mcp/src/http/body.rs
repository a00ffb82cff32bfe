//! Bodies of requests and responses.

use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    mem,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{StreamExt as _, stream::BoxStream};
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, timeout_at};

/// The body of a response. Must be dropped when the client disconnects: this cancels a modern
/// request.
pub enum ResponseBody {
    /// No body.
    Empty,
    /// A complete body.
    Full(Bytes),
    /// A `text/event-stream`.
    Events(BoxStream<'static, Bytes>),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match &mut *self {
            Self::Empty => None,
            Self::Full(bytes) => {
                let bytes = mem::take(bytes);
                *self = Self::Empty;
                Some(bytes)
            }
            Self::Events(events) => ready!(events.poll_next_unpin(cx)),
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Events(_) => f.write_str("Events"),
        }
    }
}

/// Why the body of a request could not be read.
#[derive(Debug)]
pub(super) enum BodyError {
    /// The body is larger than the limit.
    TooLarge,
    /// The body was not complete in time.
    TooSlow,
    /// The client disconnected, or the encoding of the body is malformed.
    Incomplete,
}

/// Reads a whole body of at most `max` bytes. A body that arrives in one piece is not copied.
pub(super) async fn read<B: Body>(
    headers: &HeaderMap,
    body: B,
    max: usize,
    timeout: Duration,
) -> Result<Bytes, BodyError> {
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: usize| length > max) {
        return Err(BodyError::TooLarge);
    }
    let deadline = Instant::now() + timeout;
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    loop {
        let next = timeout_at(deadline, poll_fn(|cx| body.as_mut().poll_frame(cx)));
        let Some(frame) = next.await.map_err(|_elapsed| BodyError::TooSlow)? else {
            break;
        };
        // Trailers have no meaning here.
        let Ok(mut data) = frame.map_err(|_error| BodyError::Incomplete)?.into_data() else {
            continue;
        };
        if data.remaining() > max - first.len() - whole.len() {
            return Err(BodyError::TooLarge);
        }
        let piece = data.copy_to_bytes(data.remaining());
        if first.is_empty() && whole.is_empty() {
            first = piece;
            continue;
        }
        whole.extend_from_slice(&mem::take(&mut first));
        whole.extend_from_slice(&piece);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}
