//! The HTTP headers of the Streamable HTTP transport, and their validation against the body
//! (2026-07-28, basic/transports/streamable-http, "Server Validation").

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName};
use serde_json::Value;

use crate::{catalog::HeaderParam, rpc::RpcError};

pub(crate) const PROTOCOL_VERSION: &str = "mcp-protocol-version";
pub(crate) const SESSION_ID: &str = "mcp-session-id";
pub(crate) const LAST_EVENT_ID: &str = "last-event-id";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
/// The prefix of all MCP headers.
const PREFIX: &str = "mcp-";
const PARAM_PREFIX: &str = "mcp-param-";

/// Reads a header value without surrounding white space. `None`: absent, or not visible ASCII.
pub(crate) fn get<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// The response formats that the client accepts (RFC 9110 section 12.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) json: bool,
    pub(crate) events: bool,
}

impl Accepted {
    const EVERYTHING: Self = Self { json: true, events: true };
}

/// What nearly all clients send as `Accept`.
const USUAL_ACCEPT: &str = "application/json, text/event-stream";

/// Reads `Accept`. If it is absent or contains no media range, all formats are acceptable.
pub(crate) fn accepted(headers: &HeaderMap) -> Accepted {
    let values = headers.get_all(http::header::ACCEPT);
    if values.iter().eq([USUAL_ACCEPT]) {
        return Accepted::EVERYTHING;
    }
    let mut ranges = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| split_unquoted(value, ','))
        .filter_map(MediaRange::parse)
        .peekable();
    if ranges.peek().is_none() {
        return Accepted::EVERYTHING;
    }
    // The most specific matching range decides, regardless of its position (RFC 9110 section 12.5.1).
    let (mut json, mut events) = (None, None);
    for range in ranges {
        json = json.max(range.verdict("application", "json"));
        events = events.max(range.verdict("text", "event-stream"));
    }
    let is_acceptable =
        |verdict: Option<Verdict>| verdict.is_some_and(|(_, acceptable)| acceptable);
    Accepted { json: is_acceptable(json), events: is_acceptable(events) }
}

/// How specifically a media range matches a media type (2 exactly, 1 as `type/*`, 0 as `*/*`), and whether
/// it makes the type acceptable.
type Verdict = (u8, bool);

/// A media range of an `Accept` header.
struct MediaRange<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// Whether its weight is 0: matching media types are not acceptable.
    excluded: bool,
}

impl<'a> MediaRange<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = split_unquoted(text, ';').map(str::trim);
        let (kind, subtype) = match parts.next()? {
            // Sent by old Java clients for `*/*`.
            "*" => ("*", "*"),
            range => range.split_once('/')?,
        };
        let weight = parts.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>())
        });
        Some(Self {
            kind: kind.trim(),
            subtype: subtype.trim(),
            excluded: weight.is_some_and(|weight| weight.is_ok_and(|weight| weight <= 0.0)),
        })
    }

    /// `None`: the range does not match.
    fn verdict(&self, kind: &str, subtype: &str) -> Option<Verdict> {
        let is_kind = self.kind.eq_ignore_ascii_case(kind);
        let specificity = match (self.kind, self.subtype) {
            ("*", "*") => 0,
            (_, "*") if is_kind => 1,
            (_, name) if is_kind && name.eq_ignore_ascii_case(subtype) => 2,
            _ => return None,
        };
        Some((specificity, !self.excluded))
    }
}

/// Splits at a separator outside of quoted strings.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let has_quotes = text.contains('"');
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character: char| {
        if !has_quotes {
            return character == separator;
        }
        let literal = std::mem::take(&mut escaped);
        match character {
            '"' if !literal => quoted = !quoted,
            '\\' if quoted && !literal => escaped = true,
            _ => {}
        }
        !quoted && character == separator
    })
}

/// Whether `Content-Type` is JSON. A proxy may have joined several values: all must be JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let Some(kinds) = get(headers, http::header::CONTENT_TYPE.as_str()) else {
        return false;
    };
    split_unquoted(kinds, ',').all(|kind| {
        let essence = kind.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    })
}

/// Rejects a single-value header that occurs more than once with different values, because a proxy
/// and this server could use different ones.
pub(crate) fn check_duplicates(headers: &HeaderMap) -> Result<(), RpcError> {
    let differ = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii());
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    match headers.keys().find(|name| takes_one_value(name) && differ(name)) {
        None => Ok(()),
        Some(name) => Err(RpcError::header_mismatch(format!(
            "the header `{name}` occurs more than once, with different values; send it once"
        ))),
    }
}

fn takes_one_value(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with(PREFIX) || [http::header::CONTENT_TYPE.as_str(), LAST_EVENT_ID].contains(&name)
}

/// Checks `Mcp-Method` and `Mcp-Name` against the body. `name`: the tool name, prompt name,
/// resource URI or task id of the request, if its method has one.
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

/// Checks the `Mcp-Param-*` headers that the schema of the tool requires.
pub(crate) fn check_params(
    headers: &HeaderMap,
    params: &[HeaderParam],
    arguments: &Value,
) -> Result<(), RpcError> {
    for param in params {
        let value = param.path.iter().try_fold(arguments, |value, name| value.get(name));
        let Some(value) = value.filter(|value| !value.is_null()) else {
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
        if !is_equal(&header, value) {
            return Err(RpcError::header_mismatch(format!(
                "the header `{}` differs from the body",
                spelling()
            )));
        }
    }
    Ok(())
}

fn is_equal(header: &str, value: &Value) -> bool {
    match value {
        Value::String(text) => header == text,
        Value::Bool(flag) => header == if *flag { "true" } else { "false" },
        // `42` and `42.0` are the same integer.
        Value::Number(number) => {
            header == number.to_string()
                || header.parse::<f64>().is_ok_and(|parsed| Some(parsed) == number.as_f64())
        }
        // Not allowed by the schema: the error is reported when the arguments are parsed.
        _ => true,
    }
}

/// Decodes a header value: literal, or base64 if it has the form `=?base64?…?=`.
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

    fn accept(values: &[&str]) -> (bool, bool) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(http::header::ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        let Accepted { json, events } = accepted(&headers);
        (json, events)
    }

    #[test]
    fn accept_is_read_as_media_ranges() {
        for (values, expected) in [
            (&[][..], (true, true)),
            (&[""], (true, true)),
            (&[" , "], (true, true)),
            (&["nonsense"], (true, true)),
            (&["application/json, text/event-stream"], (true, true)),
            (&["application/json", "text/event-stream"], (true, true)),
            (&["*/*"], (true, true)),
            (&["*"], (true, true)),
            (&["text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"], (true, true)),
            (&["Application/JSON;q=0.5"], (true, false)),
            (&["application/json; charset=utf-8"], (true, false)),
            (&["application/*"], (true, false)),
            (&["text/event-stream"], (false, true)),
            (&["Text/Event-Stream; Q=0.001"], (false, true)),
            (&["text/*"], (false, true)),
            (&["text/html"], (false, false)),
            (&["application/json;x=\"a, text/event-stream\""], (true, false)),
            (&["application/json;x=\"\\\", text/event-stream\""], (true, false)),
        ] {
            assert_eq!(accept(values), expected, "{values:?}");
        }
    }

    #[test]
    fn the_most_specific_range_decides_and_a_weight_of_0_excludes() {
        for (value, expected) in [
            ("text/event-stream, application/json;q=0", (false, true)),
            ("application/json;q=0.000, text/event-stream", (false, true)),
            ("application/json; q=0, */*", (false, true)),
            ("*/*, application/json; Q=0", (false, true)),
            ("*/*, text/event-stream;q=0", (true, false)),
            ("text/*;q=0, */*;q=0.1", (true, false)),
            ("text/*;q=0, text/event-stream", (false, true)),
            ("*/*;q=0, application/json", (true, false)),
            ("*/*;q=0", (false, false)),
            ("application/json;q=0, text/event-stream;q=0", (false, false)),
            ("application/json;charset=utf-8;q=0, text/event-stream", (false, true)),
            ("application/json;q=0, application/json;q=0.5", (true, false)),
            ("application/json;q=high", (true, false)),
            ("application/json;q=", (true, false)),
        ] {
            assert_eq!(accept(&[value]), expected, "{value}");
        }
    }

    #[test]
    fn every_content_type_must_be_json() {
        for (kind, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/json;x=\"a,b\"", true),
            ("application/json; charset=utf-8, application/json; charset=utf-8", true),
            ("application/json; charset=utf-8, text/plain", false),
            ("text/plain, application/json", false),
            ("application/jsonp", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_json(&headers), expected, "{kind}");
        }
    }

    #[test]
    fn a_single_value_header_may_be_repeated_only_with_the_same_value() {
        for (name, takes_one) in [
            ("mcp-protocol-version", true),
            ("mcp-session-id", true),
            ("mcp-method", true),
            ("mcp-name", true),
            ("mcp-param-title", true),
            ("mcp-of-a-later-revision", true),
            ("content-type", true),
            ("last-event-id", true),
            ("accept", false),
            ("x-forwarded-for", false),
        ] {
            let check = |values: &[&[u8]]| {
                let mut headers = HeaderMap::new();
                for value in values {
                    let value = HeaderValue::from_bytes(value).unwrap();
                    headers.append(HeaderName::from_static(name), value);
                }
                check_duplicates(&headers).is_ok()
            };
            assert!(check(&[b"a"]) && check(&[b"a", b"a"]) && check(&[b"a", b" a "]), "{name}");
            for values in [[&b"a"[..], b"b"], [b"a", b""], [b"a", b"A"], [b"a", b"\xff"]] {
                assert_eq!(check(&values), !takes_one, "{name} {values:?}");
            }
            assert_eq!(check(&[b"a", b"a", b"b"]), !takes_one, "{name}");
        }
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
        assert!(is_equal("42.0", &42.into()));
        assert!(!is_equal("43", &42.into()));
        assert!(is_equal("true", &true.into()));
    }
}
