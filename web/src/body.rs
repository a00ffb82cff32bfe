//! Reads the body of a request, within bounds.

use std::{pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use http::{HeaderMap, header};
use poem::Body;

use crate::error::Refusal;

/// How much of a body is read, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The largest body, in bytes.
    pub bytes: usize,
    /// From the end of the head until the whole body has arrived.
    pub time: Duration,
}

/// The whole body, within the bounds. One that arrived in one piece, as most do, is not copied.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    bounds: Bounds,
) -> Result<Bytes, Refusal> {
    let declared = declared_length(headers);
    if declared.is_some_and(|length| length > bounds.bytes) {
        return Err(Refusal::BodyTooLarge(bounds));
    }
    let reading = async {
        let mut pieces = pin!(body.into_bytes_stream());
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        while let Some(piece) = pieces.try_next().await.map_err(Refusal::BodyBroken)? {
            if first.len() + whole.len() + piece.len() > bounds.bytes {
                return Err(Refusal::BodyTooLarge(bounds));
            }
            if first.is_empty() && whole.is_empty() {
                first = piece;
                continue;
            }
            if whole.is_empty() {
                whole.reserve(declared.unwrap_or(first.len() + piece.len()));
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(if whole.is_empty() { first } else { whole.freeze() })
    };
    let read = tokio::time::timeout(bounds.time, reading).await;
    read.unwrap_or(Err(Refusal::BodyTooSlow(bounds)))
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures_util::stream;
    use http::HeaderValue;

    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 1024, time: Duration::from_mins(1) };

    fn in_pieces(pieces: Vec<Vec<u8>>) -> Body {
        Body::from_bytes_stream(stream::iter(pieces.into_iter().map(Ok::<_, io::Error>)))
    }

    async fn read(body: Body, declared: Option<usize>) -> Result<Bytes, Refusal> {
        let mut headers = HeaderMap::new();
        if let Some(length) = declared {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        super::read(&headers, body, BOUNDS).await
    }

    #[tokio::test]
    async fn a_body_is_the_same_in_one_piece_or_in_many() {
        assert_eq!(read(Body::empty(), None).await.unwrap(), "");
        assert_eq!(read(Body::from("abc"), Some(3)).await.unwrap(), "abc");
        let pieces = ["a", "", "b", "c"].map(|it| it.as_bytes().to_vec()).to_vec();
        assert_eq!(read(in_pieces(pieces), None).await.unwrap(), "abc");
    }

    #[tokio::test]
    async fn a_body_may_have_the_limit_and_no_byte_more() {
        let half = vec![b' '; BOUNDS.bytes / 2];
        let body = in_pieces(vec![half.clone(), half.clone()]);
        assert_eq!(read(body, None).await.unwrap().len(), BOUNDS.bytes);

        let too_large = |read| matches!(read, Err(Refusal::BodyTooLarge(_)));
        let body = in_pieces(vec![half.clone(), half, b" ".to_vec()]);
        assert!(too_large(read(body, None).await));
        assert!(too_large(read(Body::empty(), Some(BOUNDS.bytes + 1)).await));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_given_up() {
        let body = Body::from_bytes_stream(stream::pending::<io::Result<Bytes>>());
        assert!(matches!(read(body, None).await, Err(Refusal::BodyTooSlow(_))));
    }
}
