//! What the endpoints of the fake identity providers have in common.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures_util::stream;
use http::{StatusCode, header};
use poem::{Body, Endpoint, IntoResponse as _, Response, Server, listener::TcpAcceptor};
use serde_json::{Value, json};
use tokio::sync::Notify;
use url::form_urlencoded;

/// How an endpoint responds.
#[derive(Clone, Debug, Default)]
pub enum Manner {
    /// As the real provider does.
    #[default]
    Well,
    /// As the real provider does, once a permit is there.
    WellAfter(Arc<Notify>),
    /// With this status and a meaningless JSON object.
    Status(u16),
    /// With status 200 and this JSON.
    Json(Value),
    /// With status 200 and an HTML page.
    NotJson,
    /// With a redirect to this address.
    Redirect(String),
    /// With an endless body.
    Huge,
    /// Never; the connection stays open.
    Never,
    /// With a body that breaks off.
    HangUp,
}

impl Manner {
    /// The response of an endpoint that does not behave well. `None`: it does.
    pub(crate) async fn response(self) -> Option<Response> {
        Some(match self {
            Self::Well => return None,
            Self::WellAfter(permit) => {
                permit.notified().await;
                return None;
            }
            Self::Status(status) => {
                let status = StatusCode::from_u16(status).expect("a status of the test");
                json_answer(status, &json!({ "message": "no" }))
            }
            Self::Json(value) => json_answer(StatusCode::OK, &value),
            Self::NotJson => "<html>Unicorn!</html>".with_content_type("text/html").into_response(),
            Self::Redirect(to) => found(&to),
            Self::Huge => {
                let chunk = || Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 64 * 1024]));
                Body::from_bytes_stream(stream::repeat_with(chunk)).into_response()
            }
            Self::Never => std::future::pending().await,
            Self::HangUp => {
                let broken = Err::<Bytes, _>(std::io::Error::other("gone"));
                Body::from_bytes_stream(stream::iter([broken])).into_response()
            }
        })
    }
}

/// Serves until the task is aborted.
pub(crate) async fn serve(
    acceptor: TcpAcceptor,
    answering: impl Endpoint<Output = Response> + 'static,
) {
    let served = Server::new_with_acceptor(acceptor).run(answering).await;
    if let Err(error) = served {
        tracing::warn!(%error, "A fake identity provider has ended");
    }
}

/// The fields of a form or a query.
pub(crate) fn fields(text: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(text).into_owned().collect()
}

pub(crate) fn json_answer(status: StatusCode, value: &Value) -> Response {
    Response::builder().status(status).content_type("application/json").body(value.to_string())
}

pub(crate) fn found(location: &str) -> Response {
    Response::builder().status(StatusCode::FOUND).header(header::LOCATION, location).finish()
}
