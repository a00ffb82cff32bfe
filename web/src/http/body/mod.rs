//! Reads request bodies within limits of size, time and memory.

pub(crate) mod bounds;
pub(crate) mod budget;

use std::{io, pin::pin};

use app::App;
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use http::{HeaderMap, StatusCode, header};
use platform::{client_network, counted};
use poem::{Body, Request};
use tokio::time::{Instant, timeout_at};

use self::{
    bounds::Bounds,
    budget::{Budget, Reservation},
};
use super::{client_address, error::ApiError};

/// A complete body with its reservation. Keep both until the request has been answered.
#[derive(Debug)]
pub(crate) struct FullBody {
    /// The content.
    pub bytes: Bytes,
    _reservation: Reservation,
}

/// Reads a whole body. A body that arrives in one piece, as most do, is not copied. A request with
/// contradicting `Content-Type` headers is rejected.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    bounds: Bounds,
    mut reservation: Reservation,
) -> Result<FullBody, ApiError> {
    check_type(headers)?;
    let declared = declared_length(headers);
    if declared.is_some_and(|length| length > bounds.bytes) {
        return Err(too_large(bounds));
    }
    let begun = Instant::now();
    let mut pieces = pin!(body.into_bytes_stream());
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    loop {
        let received = first.len() + whole.len();
        let Ok(piece) = timeout_at(begun + bounds.time_for(received), pieces.try_next()).await
        else {
            return Err(too_slow(bounds));
        };
        let Some(piece) = piece.map_err(incomplete)? else {
            break;
        };
        if received + piece.len() > bounds.bytes {
            return Err(too_large(bounds));
        }
        reservation.grow(piece.len())?;
        if first.is_empty() && whole.is_empty() {
            first = piece;
            continue;
        }
        if whole.is_empty() {
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&piece);
    }
    let bytes = if whole.is_empty() { first } else { whole.freeze() };
    Ok(FullBody { bytes, _reservation: reservation })
}

/// The budget for requests without an access token, where the sender is identified by its network.
#[derive(Clone)]
pub(crate) struct NetworkBodies {
    budget: Budget,
    app: App,
}

impl NetworkBodies {
    /// Uses the same budget as authenticated requests.
    pub(crate) fn new(budget: &Budget, app: &App) -> Self {
        Self { budget: budget.clone(), app: app.clone() }
    }
}

/// Reads the body of a request without an access token. The bytes count against the client's
/// network.
pub(crate) async fn read_from_network(
    request: &Request,
    body: Body,
    bounds: Bounds,
) -> Result<FullBody, ApiError> {
    let bodies = request.data::<NetworkBodies>().ok_or_else(ApiError::internal)?;
    let network = client_network(client_address::address(&bodies.app, request));
    read(request.headers(), body, bounds, bodies.budget.begin(&network)?).await
}

fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let first = types.next();
    if types.any(|other| Some(other) != first) {
        return Err(ApiError::duplicated_header("Content-Type"));
    }
    Ok(())
}

/// 413: the body is larger than the limit.
fn too_large(bounds: Bounds) -> ApiError {
    let limit = bounds.bytes >> 10;
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "payload_too_large",
        format!("The request body is larger than {limit} KiB. Send less in one request."),
    )
}

/// 408: the body was not complete in time.
fn too_slow(bounds: Bounds) -> ApiError {
    let limit = counted(bounds.time.as_secs(), "second", "seconds");
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "request_timeout",
        format!(
            "The request body arrived too slowly: it has to be complete within {limit}, and must \
             not pause for long. Send it again."
        ),
    )
}

/// 400: the client disconnected, or its chunked encoding was malformed.
fn incomplete(_error: io::Error) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "invalid_request",
        "The request body broke off or was not valid HTTP. Send it again.",
    )
}

/// The value of `Content-Length`, if there is one and it is a number.
pub(crate) fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream;
    use http::HeaderValue;

    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 1024, time: Duration::from_mins(1) };

    fn in_pieces(pieces: Vec<Vec<u8>>) -> Body {
        Body::from_bytes_stream(stream::iter(pieces.into_iter().map(Ok::<_, io::Error>)))
    }

    async fn read(body: Body, declared: Option<usize>) -> Result<Bytes, ApiError> {
        let mut headers = HeaderMap::new();
        if let Some(length) = declared {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let reservation = Budget::default().begin("ada")?;
        Ok(super::read(&headers, body, BOUNDS, reservation).await?.bytes)
    }

    #[tokio::test]
    async fn a_body_is_the_same_in_one_or_several_pieces() {
        assert_eq!(read(Body::empty(), None).await.unwrap(), "");
        assert_eq!(read(Body::from("abc"), Some(3)).await.unwrap(), "abc");
        let pieces = ["a", "", "b", "c"].map(|piece| piece.as_bytes().to_vec()).to_vec();
        assert_eq!(read(in_pieces(pieces), None).await.unwrap(), "abc");
    }

    #[tokio::test]
    async fn a_body_may_be_as_large_as_the_limit_but_not_larger() {
        let half = vec![b' '; BOUNDS.bytes / 2];
        let body = in_pieces(vec![half.clone(), half.clone()]);
        assert_eq!(read(body, None).await.unwrap().len(), BOUNDS.bytes);

        let too_large = |read: Result<Bytes, ApiError>| {
            read.unwrap_err().status == StatusCode::PAYLOAD_TOO_LARGE
        };
        let body = in_pieces(vec![half.clone(), half, b" ".to_vec()]);
        assert!(too_large(read(body, None).await));
        assert!(too_large(read(Body::empty(), Some(BOUNDS.bytes + 1)).await));
    }

    #[tokio::test]
    async fn contradicting_content_types_are_rejected() {
        for (second, is_read) in [("text/plain", true), ("application/json", false)] {
            let mut headers = HeaderMap::new();
            for kind in ["text/plain", second] {
                headers.append(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            }
            let reservation = Budget::default().begin("ada").unwrap();
            let read = super::read(&headers, Body::from("abc"), BOUNDS, reservation).await;
            assert_eq!(read.is_ok(), is_read, "{second}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_times_out() {
        let body = Body::from_bytes_stream(stream::pending::<io::Result<Bytes>>());
        assert_eq!(read(body, None).await.unwrap_err().status, StatusCode::REQUEST_TIMEOUT);
    }

    /// A body of `bytes` single bytes, with a pause before each.
    fn dripping(bytes: usize, pause: Duration) -> Body {
        let pieces = stream::unfold(0, move |sent| async move {
            tokio::time::sleep(pause).await;
            (sent < bytes).then(|| (Ok::<_, io::Error>(Bytes::from_static(b"x")), sent + 1))
        });
        Body::from_bytes_stream(pieces)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_below_the_minimum_rate_times_out_early() {
        let begun = Instant::now();
        let read = read(dripping(1_000, Duration::from_secs(1)), Some(1_000)).await;
        assert_eq!(read.unwrap_err().status, StatusCode::REQUEST_TIMEOUT);
        assert!(begun.elapsed() < bounds::GRACE + Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_above_the_minimum_rate_is_read() {
        let read = read(dripping(1_000, Duration::from_millis(9)), Some(1_000)).await;
        assert_eq!(read.unwrap().len(), 1_000);
    }
}
