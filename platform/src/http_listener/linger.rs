//! Lingering close (RFC 9112 section 9.6).
//!
//! If a socket is closed with unread bytes in its receive buffer, or receives more later, the
//! kernel sends a reset, on which the client's kernel discards the response that the client has not
//! read yet. So the write side is closed first, and what the client still sends is read and
//! discarded until the client closes its side, within limits.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

/// Limits of a lingering close.
#[derive(Clone, Copy, Debug)]
pub struct LingerLimits {
    /// The total time. Some clients send their whole body before they read the response.
    pub time: Duration,
    /// The time without a byte from the client.
    pub pause: Duration,
    /// The maximum number of discarded bytes.
    pub bytes: usize,
}

/// The size of the read buffer.
const BUFFER_BYTES: usize = 16 * 1024;

/// Closes the write side, then discards what arrives until the client closes or a limit is reached.
pub(super) async fn linger(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    limits: LingerLimits,
) {
    let discarding = async {
        stream.shutdown().await?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut discarded = 0;
        while discarded < limits.bytes {
            let read = timeout(limits.pause, stream.read(&mut buffer)).await??;
            if read == 0 {
                break;
            }
            discarded += read;
        }
        io::Result::Ok(discarded)
    };
    let ended = timeout(limits.time, discarding).await.map_err(io::Error::from).flatten();
    tracing::debug!(?ended, "Discarded the rest of a request");
}
