//! Bearer tokens in requests, and the challenge to a request without a valid one (RFC 6750 section
//! 3, RFC 9728 section 5.1).

use std::{collections::BTreeSet, fmt::Write as _, sync::LazyLock};

use http::{HeaderMap, HeaderValue, header};

/// Extracts the token from the `Authorization: Bearer …` header.
pub fn bearer(headers: &HeaderMap) -> Result<&str, TokenProblem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(TokenProblem::Missing);
    };
    if values.next().is_some() {
        return Err(TokenProblem::Several);
    }
    let Ok(value) = value.to_str() else {
        return Err(TokenProblem::Malformed);
    };
    let value = value.trim();
    let (scheme, token) = value.split_once([' ', '\t']).unwrap_or((value, ""));
    let token = token.trim();
    // Credentials of another scheme, or an empty token: the client has no token yet.
    if !scheme.eq_ignore_ascii_case("Bearer") || token.is_empty() {
        return Err(TokenProblem::Missing);
    }
    if is_b64token(token) { Ok(token) } else { Err(TokenProblem::Malformed) }
}

/// Whether `token` matches the `b64token` grammar of RFC 6750 section 2.1.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let table = &*B64TOKEN;
    !body.is_empty() && body.bytes().all(|byte| table[usize::from(byte)])
}

/// The bytes of a `b64token` without its padding. A table, because every request is checked.
static B64TOKEN: LazyLock<[bool; 256]> = LazyLock::new(|| {
    let mut table = [false; 256];
    for byte in 0..=u8::MAX {
        table[usize::from(byte)] = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    }
    table
});

/// Why a request has no valid access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenProblem {
    /// No token, or credentials of another scheme.
    Missing,
    /// Several `Authorization` headers.
    Several,
    /// The header does not have the form `Bearer <token>`.
    Malformed,
    /// The token has expired.
    Expired,
    /// The token is not valid for this server.
    Invalid,
}

/// The content of a 401 response: how to get a token.
#[derive(Debug, thiserror::Error)]
#[error("access token {problem:?}")]
pub struct Challenge {
    problem: TokenProblem,
    resource_metadata: Option<String>,
    scopes: String,
}

impl Challenge {
    /// Creates a challenge. `resource_metadata`: the URL of the metadata document (RFC 9728), from
    /// which clients learn where to get a token. `scopes`: the scopes to ask for; empty to leave
    /// the choice to the client.
    pub fn new(problem: TokenProblem, resource_metadata: Option<String>, scopes: &[&str]) -> Self {
        Self { problem, resource_metadata, scopes: scopes.join(" ") }
    }

    /// Whether the token was invalid for this server, which may be an attempt to guess one. `false`
    /// for an expired token, which is normal.
    pub fn is_for_invalid_token(&self) -> bool {
        self.problem == TokenProblem::Invalid
    }

    /// The error code in the body.
    pub fn code(&self) -> &'static str {
        // RFC 6750 forbids an error code in the header if the request has no token. The body has
        // one anyway, so that all error bodies have the same form.
        self.error().unwrap_or("unauthorized")
    }

    /// The description in the header and in the body.
    pub fn description(&self) -> &'static str {
        match self.problem {
            TokenProblem::Missing => {
                "This needs an access token. Send it in the header Authorization: Bearer <token>."
            }
            TokenProblem::Several => {
                "There are several Authorization headers. Send exactly one, with one token."
            }
            TokenProblem::Malformed => {
                "The Authorization header is malformed. Send Authorization: Bearer <token>."
            }
            TokenProblem::Expired => "The access token has expired. Get a new one and try again.",
            TokenProblem::Invalid => {
                "The access token is not valid for this server. Get a new one and try again."
            }
        }
    }

    /// The value of `WWW-Authenticate`.
    pub fn header(&self) -> HeaderValue {
        let mut parameters = Vec::with_capacity(4);
        if let Some(error) = self.error() {
            parameters.push(("error", error));
            parameters.push(("error_description", self.description()));
        }
        if let Some(url) = &self.resource_metadata {
            parameters.push(("resource_metadata", url));
        }
        if !self.scopes.is_empty() {
            parameters.push(("scope", &self.scopes));
        }
        challenge_header(&parameters)
    }

    fn error(&self) -> Option<&'static str> {
        match self.problem {
            TokenProblem::Missing => None,
            // Not `invalid_request`, which requires status 400: clients start an authorization only
            // on a 401.
            TokenProblem::Several
            | TokenProblem::Malformed
            | TokenProblem::Expired
            | TokenProblem::Invalid => Some("invalid_token"),
        }
    }
}

/// Formats `Bearer name="value", …`. A value with a quote, a backslash or a character outside
/// printable ASCII is omitted, to prevent header injection; the server's own values contain none.
fn challenge_header(parameters: &[(&str, &str)]) -> HeaderValue {
    let mut text = String::from("Bearer");
    let mut separator = " ";
    for (name, value) in parameters {
        let quotable = |b: u8| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\';
        if value.bytes().all(quotable) {
            write!(text, "{separator}{name}=\"{value}\"").expect("writing to a String cannot fail");
            separator = ", ";
        }
    }
    HeaderValue::try_from(text).expect("only visible ASCII was written")
}

/// The `WWW-Authenticate` value for a valid token without the required scope. It names the granted
/// scopes as well, because a client of revision 2025-11-25 requests only the scopes in the
/// challenge.
pub fn insufficient_scope(
    resource_metadata: Option<&str>,
    granted: &BTreeSet<String>,
    needed: &str,
) -> HeaderValue {
    let mut scopes = granted.clone();
    scopes.extend(needed.split_whitespace().map(ToOwned::to_owned));
    let scopes = scopes.into_iter().collect::<Vec<_>>().join(" ");
    let mut parameters = vec![("error", "insufficient_scope"), ("scope", &scopes)];
    if let Some(url) = resource_metadata {
        parameters.push(("resource_metadata", url));
    }
    parameters.push(("error_description", "This needs more scopes than your access token grants."));
    challenge_header(&parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Values = &'static [&'static [u8]];

    fn headers(values: Values) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_token_is_in_exactly_one_well_formed_bearer_header() {
        let cases: [(Values, Result<&str, TokenProblem>); 25] = [
            (&[b"Bearer abc.def-g_h~+/=="], Ok("abc.def-g_h~+/==")),
            (&[b"bearer abc"], Ok("abc")),
            (&[b"BEARER  abc "], Ok("abc")),
            (&[b"Bearer\tabc"], Ok("abc")),
            (&[], Err(TokenProblem::Missing)),
            (&[b""], Err(TokenProblem::Missing)),
            (&[b"Basic YTpi"], Err(TokenProblem::Missing)),
            (&[b"abc.def.ghi"], Err(TokenProblem::Missing)),
            (&[b"Bearerabc"], Err(TokenProblem::Missing)),
            (&[b"Bearer: abc"], Err(TokenProblem::Missing)),
            (&[b"Bearer"], Err(TokenProblem::Missing)),
            (&[b"Bearer "], Err(TokenProblem::Missing)),
            (&[b"bearer \t "], Err(TokenProblem::Missing)),
            (&[b"Bearer =="], Err(TokenProblem::Malformed)),
            (&[b"Bearer a b"], Err(TokenProblem::Malformed)),
            (&[b"Bearer a,b"], Err(TokenProblem::Malformed)),
            (&[b"Bearer a, Bearer a"], Err(TokenProblem::Malformed)),
            (&[b"Bearer \"a\""], Err(TokenProblem::Malformed)),
            (&[b"Bearer ${TOKEN}"], Err(TokenProblem::Malformed)),
            (&[b"Bearer {{token}}"], Err(TokenProblem::Malformed)),
            (&[b"Bearer <token>"], Err(TokenProblem::Malformed)),
            (&[b"Bearer \xff"], Err(TokenProblem::Malformed)),
            (&[b"\xff"], Err(TokenProblem::Malformed)),
            (&[b"Bearer a", b"Bearer a"], Err(TokenProblem::Several)),
            (&[b"Basic YTpi", b"Bearer a"], Err(TokenProblem::Several)),
        ];
        for (values, expected) in cases {
            assert_eq!(bearer(&headers(values)), expected, "{values:?}");
        }
    }

    #[test]
    fn a_challenge_has_the_parameters_of_rfc_6750() {
        let metadata = "https://h/.well-known/oauth-protected-resource/mcp";
        let challenge = |problem| {
            let metadata = Some(metadata.to_owned());
            let challenge = Challenge::new(problem, metadata, &["notes:read", "notes:write"]);
            challenge.header().to_str().unwrap().to_owned()
        };
        let tail = format!(r#"resource_metadata="{metadata}", scope="notes:read notes:write""#);

        assert_eq!(challenge(TokenProblem::Missing), format!("Bearer {tail}"));
        for problem in [
            TokenProblem::Expired,
            TokenProblem::Invalid,
            TokenProblem::Several,
            TokenProblem::Malformed,
        ] {
            let header = challenge(problem);
            let start = r#"Bearer error="invalid_token", error_description=""#;
            assert!(header.starts_with(start), "{header}");
            assert!(header.ends_with(&tail), "{header}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_quoted_is_omitted() {
        let header = challenge_header(&[("a", "x\"y"), ("b", "x\\"), ("c", "x\ny"), ("d", "ok")]);
        assert_eq!(header, r#"Bearer d="ok""#);
    }
}
