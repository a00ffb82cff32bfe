//! The context of a request for the audit log and for the request log.

use app::App;
use http::header;
use oauth::audit::{LogContext, RequestInfo};
use poem::Request;

use super::{client_address::address, request_id::RequestId};

/// The request id, client address and user agent for the audit log.
pub(crate) fn request_info(app: &App, request: &Request) -> RequestInfo {
    let id = request.data::<RequestId>().map(ToString::to_string);
    let agent = request.headers().get(header::USER_AGENT);
    RequestInfo::new(
        id.unwrap_or_default(),
        Some(address(app, request)),
        agent.and_then(|value| value.to_str().ok()),
    )
    .with_log_context(log_context(request))
}

/// The log context of the request: the user and the client id that are set here appear in its log
/// line.
pub(crate) fn log_context(request: &Request) -> LogContext {
    request.data::<LogContext>().cloned().unwrap_or_default()
}
