//! What the HTTP headers of the Streamable HTTP transport say, and whether they agree with the
//! body (2026-07-28, basic/transports/streamable-http, "Server Validation").

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;
use serde_json::Value;

use crate::{catalog::HeaderParam, rpc::RpcError};

pub(crate) const PROTOCOL_VERSION: &str = "mcp-protocol-version";
pub(crate) const SESSION_ID: &str = "mcp-session-id";
pub(crate) const LAST_EVENT_ID: &str = "last-event-id";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
const PARAM_PREFIX: &str = "mcp-param-";

/// A header's value without surrounding white space; nothing if it is absent or not visible ASCII.
pub(crate) fn get<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Which of our two answer formats the client takes (RFC 9110 section 12.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) json: bool,
    pub(crate) events: bool,
}

/// Reads `Accept`. Without one, everything is fine.
pub(crate) fn accepted(headers: &HeaderMap) -> Accepted {
    let mut values = headers.get_all(http::header::ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return Accepted { json: true, events: true };
    }
    let mut accepted = Accepted { json: false, events: false };
    for range in values.filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let refused = parts
            .any(|it| it.strip_prefix("q=").is_some_and(|q| q.trim_matches(['0', '.']).is_empty()));
        if refused {
            continue;
        }
        accepted.json |= matches!(kind.as_str(), "*/*" | "application/*" | "application/json");
        accepted.events |= matches!(kind.as_str(), "*/*" | "text/*" | "text/event-stream");
    }
    accepted
}

/// Whether the body claims to be JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = get(headers, http::header::CONTENT_TYPE.as_str()) else {
        return false;
    };
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Checks `Mcp-Method` and `Mcp-Name` against the body. `name` is what the method is about: a tool
/// or prompt name or a resource URI, if the method has one.
pub(crate) fn check_standard(
    headers: &HeaderMap,
    method: &str,
    name: Option<&str>,
) -> Result<(), RpcError> {
    expect(headers, METHOD, "Mcp-Method", method)?;
    match name {
        Some(name) => expect(headers, NAME, "Mcp-Name", name),
        None => Ok(()),
    }
}

fn expect(headers: &HeaderMap, header: &str, spelling: &str, body: &str) -> Result<(), RpcError> {
    let Some(raw) = headers.get(header) else {
        return Err(RpcError::header_mismatch(format!("the header `{spelling}` is missing")));
    };
    let value = decode(raw).ok_or_else(|| {
        RpcError::header_mismatch(format!("the header `{spelling}` cannot be decoded"))
    })?;
    if value == body {
        Ok(())
    } else {
        Err(RpcError::header_mismatch(format!("the header `{spelling}` differs from the body")))
    }
}

/// Checks every `Mcp-Param-*` header that the tool's schema asks for.
pub(crate) fn check_params(
    headers: &HeaderMap,
    params: &[HeaderParam],
    arguments: &Value,
) -> Result<(), RpcError> {
    for param in params {
        let value = param.path.iter().try_fold(arguments, |value, name| value.get(name));
        let Some(value) = value.filter(|it| !it.is_null()) else {
            continue;
        };
        let spelling = || format!("Mcp-Param-{}", param.header);
        let Some(raw) = headers.get(format!("{PARAM_PREFIX}{}", param.header)) else {
            return Err(RpcError::header_mismatch(format!(
                "the header `{}` is missing",
                spelling()
            )));
        };
        let header = decode(raw).ok_or_else(|| {
            RpcError::header_mismatch(format!("the header `{}` cannot be decoded", spelling()))
        })?;
        if !same(&header, value) {
            return Err(RpcError::header_mismatch(format!(
                "the header `{}` differs from the body",
                spelling()
            )));
        }
    }
    Ok(())
}

fn same(header: &str, value: &Value) -> bool {
    match value {
        Value::String(text) => header == text,
        Value::Bool(flag) => header == if *flag { "true" } else { "false" },
        // `42` and `42.0` are the same integer.
        Value::Number(number) => {
            header == number.to_string()
                || header.parse::<f64>().is_ok_and(|it| Some(it) == number.as_f64())
        }
        // Not what the schema allows: the tool says so itself.
        _ => true,
    }
}

/// Reads a header value, which is literal unless it is written `=?base64?…?=`.
fn decode(raw: &http::HeaderValue) -> Option<String> {
    let text = raw.to_str().ok()?.trim();
    let encoded = text.strip_prefix("=?base64?").and_then(|it| it.strip_suffix("?="));
    match encoded {
        None => Some(text.to_owned()),
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accept_is_read_as_media_ranges() {
        let read = |text: &'static str| {
            let headers =
                HeaderMap::from_iter([(http::header::ACCEPT, HeaderValue::from_static(text))]);
            let it = accepted(&headers);
            (it.json, it.events)
        };
        assert_eq!(read("application/json, text/event-stream"), (true, true));
        assert_eq!(read("*/*"), (true, true));
        assert_eq!(read("Application/JSON;q=0.5"), (true, false));
        assert_eq!(read("text/event-stream, application/json;q=0"), (false, true));
        assert_eq!(read("text/html"), (false, false));
        assert_eq!(accepted(&HeaderMap::new()), Accepted { json: true, events: true });
    }

    #[test]
    fn only_the_whole_sentinel_is_base64() {
        let decode = |text: &'static str| decode(&HeaderValue::from_static(text));
        assert_eq!(decode("  plain "), Some("plain".into()));
        assert_eq!(decode("=?base64?SGVsbG8=?="), Some("Hello".into()));
        assert_eq!(decode("=?base64?SGVsbG8=?"), Some("=?base64?SGVsbG8=?".into()));
        assert_eq!(decode("=?BASE64?SGVsbG8=?="), Some("=?BASE64?SGVsbG8=?=".into()));
        assert_eq!(decode("=?base64?SGVsbG8?="), None, "padding is strict");
        assert_eq!(decode("=?base64?SGV$bG8=?="), None);
    }

    proptest! {
        #[test]
        fn any_text_survives_the_sentinel(text: String) {
            let header = format!("=?base64?{}?=", STANDARD.encode(&text));
            prop_assert_eq!(decode(&HeaderValue::from_str(&header).unwrap()), Some(text));
        }
    }

    #[test]
    fn integers_compare_as_numbers() {
        assert!(same("42.0", &42.into()));
        assert!(!same("43", &42.into()));
        assert!(same("true", &true.into()));
    }
}
