//! `/mcp`: the HTTP around the engine.
//!
//! A request passes the doors (`Host` and `Origin`), shows its token, and only then is its body
//! read. What the body means, and with which status it is answered, is the engine's business.

use std::{io, pin::pin, time::Duration};

use ::mcp::{Caller, Engine, Reply, ReplyBody};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{Body, Endpoint, Request, Response};
use service::Service;

use crate::{
    Instance, caller, cors,
    error::{RETRY_AFTER_SECONDS, Refusal},
    observe::{McpCall, RequestId},
    origin::Doors,
};

/// Largest request body, in bytes. The largest note is 100,000 characters, at most 600 kB of JSON;
/// the rest is room for batches and for the answers of a client's model.
pub(crate) const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// From the end of the head until the whole body has arrived.
pub(crate) const BODY_READ_LIMIT: Duration = Duration::from_mins(1);

/// The value of `Allow`.
pub(crate) const METHODS: &str = "GET, POST, DELETE, OPTIONS";

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// The endpoint.
pub(crate) struct Mcp {
    service: Service,
    engine: Engine,
    doors: Doors,
}

impl Mcp {
    /// The endpoint of one instance.
    pub(crate) fn new(instance: &Instance) -> anyhow::Result<Self> {
        let config = instance.service.config();
        Ok(Self {
            service: instance.service.clone(),
            engine: instance.engine.clone(),
            doors: Doors::new(&config.public_url, &config.allowed_origins)?,
        })
    }

    async fn answer(&self, request: Request) -> Result<Response, Refusal> {
        let caller = caller::authenticate(&self.service, request.headers()).await?;
        let (head, body) = request.into_parts();
        let reply = match head.method {
            Method::POST => {
                let body = read(body, declared_length(&head.headers)).await?;
                self.engine.post(caller.clone(), &head.headers, body).await
            }
            Method::GET => self.engine.get(caller.clone(), &head.headers).await,
            Method::DELETE => self.engine.delete(caller.clone(), &head.headers).await,
            _ => return Err(Refusal::Method(METHODS)),
        };
        Ok(self.respond(caller, reply))
    }

    fn respond(&self, caller: Caller, reply: Reply) -> Response {
        let mut response = Response::builder().status(reply.status).finish();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(session) = reply.session.and_then(|id| HeaderValue::try_from(id).ok()) {
            headers.insert(SESSION_ID, session);
        }
        if reply.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static(METHODS));
        }
        if reply.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        match reply.body {
            ReplyBody::Empty => {}
            ReplyBody::Json(body) => {
                headers.insert(header::CONTENT_TYPE, JSON);
                response.set_body(body);
            }
            ReplyBody::Events(events) => {
                headers.insert(header::CONTENT_TYPE, EVENT_STREAM);
                // Proxies of nginx's kind would collect events before they pass them on.
                headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
                response.set_body(Body::from_bytes_stream(events.map(Ok::<_, io::Error>)));
            }
            ReplyBody::InsufficientScope { needed, body } => {
                let challenge = caller::insufficient_scope(&self.service, &caller.scopes, &needed);
                headers.insert(header::WWW_AUTHENTICATE, challenge);
                headers.insert(header::CONTENT_TYPE, JSON);
                response.set_body(body);
                response.set_status(StatusCode::FORBIDDEN);
            }
        }
        response.set_data(McpCall {
            caller,
            about: reply.about,
        });
        response
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

impl Endpoint for Mcp {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let id = request.data::<RequestId>().cloned();
        let port = request
            .local_addr()
            .as_socket_addr()
            .map_or(0, std::net::SocketAddr::port);
        let origin = self.doors.check(request.uri(), request.headers(), port)?;
        let answered = if request.method() == Method::OPTIONS {
            Ok(cors::preflight(request.headers(), METHODS))
        } else {
            self.answer(request).await
        };
        // A refusal is written here, not further out, so that the page can read it, too.
        let mut response = match (answered, id) {
            (Ok(response), _) => response,
            (Err(refusal), Some(id)) => refusal.into_response(&id),
            (Err(refusal), None) => return Err(refusal.into()),
        };
        cors::allow(&mut response, origin);
        Ok(response)
    }
}

fn declared_length(headers: &http::HeaderMap) -> Option<usize> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// The whole body, within the limits. One that arrived in one piece, as most do, is not copied.
async fn read(body: Body, declared: Option<usize>) -> Result<Bytes, Refusal> {
    if declared.is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(Refusal::BodyTooLarge);
    }
    let reading = async {
        let mut pieces = pin!(body.into_bytes_stream());
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        while let Some(piece) = pieces.try_next().await.map_err(Refusal::BodyBroken)? {
            if first.len() + whole.len() + piece.len() > MAX_BODY_BYTES {
                return Err(Refusal::BodyTooLarge);
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
        Ok(if whole.is_empty() {
            first
        } else {
            whole.freeze()
        })
    };
    let read = tokio::time::timeout(BODY_READ_LIMIT, reading).await;
    read.unwrap_or(Err(Refusal::BodyTooSlow))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn in_pieces(pieces: Vec<Vec<u8>>) -> Body {
        Body::from_bytes_stream(stream::iter(pieces.into_iter().map(Ok::<_, io::Error>)))
    }

    #[tokio::test]
    async fn a_body_is_the_same_in_one_piece_or_in_many() {
        assert_eq!(read(Body::empty(), None).await.unwrap(), "");
        assert_eq!(read(Body::from("abc"), Some(3)).await.unwrap(), "abc");
        let pieces = ["a", "", "b", "c"]
            .map(|it| it.as_bytes().to_vec())
            .to_vec();
        assert_eq!(read(in_pieces(pieces), None).await.unwrap(), "abc");
    }

    #[tokio::test]
    async fn a_body_may_have_the_limit_and_no_byte_more() {
        let half = vec![b' '; MAX_BODY_BYTES / 2];
        let body = in_pieces(vec![half.clone(), half.clone()]);
        assert_eq!(read(body, None).await.unwrap().len(), MAX_BODY_BYTES);

        let body = in_pieces(vec![half.clone(), half, b" ".to_vec()]);
        assert!(matches!(read(body, None).await, Err(Refusal::BodyTooLarge)));
        let declared = Some(MAX_BODY_BYTES + 1);
        assert!(matches!(
            read(Body::empty(), declared).await,
            Err(Refusal::BodyTooLarge)
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_given_up() {
        let body = Body::from_bytes_stream(stream::pending::<io::Result<Bytes>>());
        assert!(matches!(read(body, None).await, Err(Refusal::BodyTooSlow)));
    }
}
