//! Sends responses that stay open for a long time, such as event streams, without hyper.
//!
//! Hyper gives every connection a read buffer and a write buffer of 8 KiB each, whose size cannot be
//! set. An idle event stream needs neither. So when the response to a request is marked with
//! [`LongResponse`], the connection is taken from hyper, its buffers are freed, and the response is
//! written here as chunks (RFC 9112 section 7.1). The connection is closed after it.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Marks a response, as an extension, that stays open for a long time and is mostly idle.
///
/// It must have no `Content-Length`. The mark is a hint: for HTTP/1.0 and for requests whose body was
/// not read to its end, it has no effect.
#[derive(Clone, Copy, Debug)]
pub struct LongResponse;

/// Passes the response from the handler of a request to the task of its connection.
pub(super) struct Handover<B>(Arc<Mutex<Option<Response<B>>>>);

impl<B> Handover<B> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    pub(super) fn put(&self, response: Response<B>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(response);
    }

    pub(super) fn take(&self) -> Option<Response<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<B> Clone for Handover<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Whether a response of this request may be sent by [`send`].
pub(super) fn is_possible(version: Version) -> bool {
    // A client of HTTP/1.0 does not know chunks.
    version == Version::HTTP_11
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It was sent to its end.
    Complete,
    /// It was sent to its end, and the client has sent more than its request.
    WithUnreadInput,
    /// The client closed the connection.
    Abandoned,
}

/// Sends a response to its end, or until the client closes the connection.
pub(super) async fn send<S, B>(stream: &mut S, response: Response<B>) -> io::Result<Sent>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    let (head, mut body) = response.into_parts();
    stream.write_all(&encode(head.status, head.headers)).await?;
    let mut input = [0; 1];
    let mut has_input = false;
    loop {
        tokio::select! {
            data = next_data(&mut body) => match data? {
                Some(data) => write_chunk(stream, data).await?,
                None => break,
            },
            // After a byte that does not belong to the request, the end of the input is not visible
            // any more. A client that has gone is then noticed at the next write.
            read = stream.read(&mut input), if !has_input => match read? {
                0 => return Ok(Sent::Abandoned),
                _ => has_input = true,
            },
        }
    }
    stream.write_all(b"0\r\n\r\n").await?;
    Ok(if has_input { Sent::WithUnreadInput } else { Sent::Complete })
}

/// Returns the data of the next frame. `Ok(None)`: the body has ended. Cancel safe.
async fn next_data<B>(body: &mut B) -> io::Result<Option<Bytes>>
where
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    while let Some(frame) = body.frame().await {
        if let Ok(mut data) = frame.map_err(io::Error::other)?.into_data() {
            return Ok(Some(data.copy_to_bytes(data.remaining())));
        }
    }
    Ok(None)
}

fn encode(status: StatusCode, mut headers: HeaderMap) -> Vec<u8> {
    let date = httpdate::fmt_http_date(SystemTime::now());
    if let Ok(date) = HeaderValue::from_str(&date) {
        headers.entry(header::DATE).or_insert(date);
    }
    headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in &headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Writes a chunk at once, so that a small event is one packet.
async fn write_chunk<S: AsyncWrite + Unpin>(stream: &mut S, data: Bytes) -> io::Result<()> {
    if data.is_empty() {
        return Ok(()); // an empty chunk would end the response
    }
    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
    chunk.extend_from_slice(&data);
    chunk.extend_from_slice(b"\r\n");
    stream.write_all(&chunk).await?;
    stream.flush().await
}
