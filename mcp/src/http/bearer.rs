//! Access tokens in requests, and the challenge to a request without a valid one (RFC 6750 section
//! 3, RFC 9728 section 5.1, and RFC 9449 section 7.1 for tokens that are bound to a key).

use std::{collections::BTreeSet, fmt::Write as _};

use http::{HeaderMap, HeaderValue, header};

/// An authentication scheme for access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `Bearer` (RFC 6750).
    Bearer,
    /// `DPoP` (RFC 9449); contains the accepted algorithms of proofs, separated by spaces.
    Dpop(&'static str),
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop(_) => "DPoP",
        }
    }
}

/// Extracts the token from the `Authorization: Bearer …` header.
pub fn bearer(headers: &HeaderMap) -> Result<&str, TokenProblem> {
    token(headers, "Bearer")
}

/// Extracts the token from the `Authorization: DPoP …` header.
pub fn dpop(headers: &HeaderMap) -> Result<&str, TokenProblem> {
    token(headers, "DPoP")
}

fn token<'a>(headers: &'a HeaderMap, expected: &str) -> Result<&'a str, TokenProblem> {
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
    if !scheme.eq_ignore_ascii_case(expected) || token.is_empty() {
        return Err(TokenProblem::Missing);
    }
    if is_b64token(token) { Ok(token) } else { Err(TokenProblem::Malformed) }
}

/// Whether `token` matches the `b64token` grammar of RFC 6750 section 2.1.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    // Without an early exit, the compiler vectorizes this loop over the token of each request.
    !body.is_empty() && body.bytes().fold(true, |valid, byte| valid & is_b64token_byte(byte))
}

/// Whether a byte may be in a `b64token` before its padding: a letter, a digit, or one of `-._~+/`.
fn is_b64token_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'-'..=b'9' | b'_' | b'~' | b'+')
}

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
    /// The token is bound to a key, and was sent as `Bearer`.
    SentAsBearer,
    /// The token is bound to no key, and was sent as `DPoP`.
    SentAsDpop,
    /// The server accepts only tokens that are bound to a key, and this one was sent as `Bearer`.
    BearerNotAccepted,
    /// The proof of the key is missing or invalid; contains the reason, as a sentence.
    InvalidProof(&'static str),
    /// The proof needs a nonce of this server.
    NonceNeeded,
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
            TokenProblem::SentAsBearer => {
                "The access token is bound to a key. Send it in the header Authorization: DPoP \
                 <token>, with a proof in the header DPoP."
            }
            TokenProblem::SentAsDpop => {
                "The access token is not bound to a key. Send it in the header Authorization: Bearer \
                 <token>, or get one that is bound."
            }
            TokenProblem::BearerNotAccepted => {
                "This server accepts only access tokens that are bound to a key. Get one with a DPoP \
                 proof (RFC 9449), and send it in the header Authorization: DPoP <token>."
            }
            TokenProblem::InvalidProof(reason) => reason,
            TokenProblem::NonceNeeded => {
                "The DPoP proof needs the nonce in the header DPoP-Nonce of this response. Create a \
                 new proof with it."
            }
        }
    }

    /// The same challenge as for a request without a token: for a scheme that the request did not use.
    #[must_use]
    pub fn without_error(&self) -> Self {
        Self {
            problem: TokenProblem::Missing,
            resource_metadata: self.resource_metadata.clone(),
            scopes: self.scopes.clone(),
        }
    }

    /// The value of `WWW-Authenticate` with the scheme `Bearer`.
    pub fn header(&self) -> HeaderValue {
        self.header_as(Scheme::Bearer)
    }

    /// The value of `WWW-Authenticate` with this scheme.
    pub fn header_as(&self, scheme: Scheme) -> HeaderValue {
        let mut parameters = Vec::with_capacity(5);
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
        challenge_header(scheme, &parameters)
    }

    fn error(&self) -> Option<&'static str> {
        match self.problem {
            TokenProblem::Missing => None,
            // Not `invalid_request`, which requires status 400: clients start an authorization only
            // on a 401.
            TokenProblem::Several
            | TokenProblem::Malformed
            | TokenProblem::Expired
            | TokenProblem::Invalid
            | TokenProblem::SentAsBearer
            | TokenProblem::SentAsDpop
            | TokenProblem::BearerNotAccepted => Some("invalid_token"),
            TokenProblem::InvalidProof(_) => Some("invalid_dpop_proof"),
            TokenProblem::NonceNeeded => Some("use_dpop_nonce"),
        }
    }
}

/// Formats `Bearer name="value", …`, or the same with another scheme. A value with a quote, a
/// backslash or a character outside printable ASCII is omitted, to prevent header injection; the
/// server's own values contain none.
fn challenge_header(scheme: Scheme, parameters: &[(&str, &str)]) -> HeaderValue {
    let mut text = String::from(scheme.name());
    let mut separator = " ";
    let algorithms = match scheme {
        Scheme::Bearer => None,
        Scheme::Dpop(algorithms) => Some(("algs", algorithms)),
    };
    for (name, value) in parameters.iter().copied().chain(algorithms) {
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
    scheme: Scheme,
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
    challenge_header(scheme, &parameters)
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
    fn the_bytes_of_a_token_are_letters_digits_and_six_signs() {
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
            assert_eq!(is_b64token_byte(byte), expected, "{byte}");
        }
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
    fn a_token_of_another_scheme_is_missing() {
        assert_eq!(dpop(&headers(&[b"dpop abc"])), Ok("abc"));
        assert_eq!(dpop(&headers(&[b"Bearer abc"])), Err(TokenProblem::Missing));
        assert_eq!(bearer(&headers(&[b"DPoP abc"])), Err(TokenProblem::Missing));
        assert_eq!(dpop(&headers(&[b"DPoP a", b"DPoP a"])), Err(TokenProblem::Several));
        assert_eq!(dpop(&headers(&[b"DPoP a, DPoP b"])), Err(TokenProblem::Malformed));
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
        let values = [("a", "x\"y"), ("b", "x\\"), ("c", "x\ny"), ("d", "ok")];
        assert_eq!(challenge_header(Scheme::Bearer, &values), r#"Bearer d="ok""#);
        let dpop = challenge_header(Scheme::Dpop("ES256 EdDSA"), &values);
        assert_eq!(dpop, r#"DPoP d="ok", algs="ES256 EdDSA""#);
    }
}
