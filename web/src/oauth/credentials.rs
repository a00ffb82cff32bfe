//! Client credentials in requests to the token and revocation endpoints (RFC 6749 section 2.3, and RFC
//! 7523 section 2.2).
//!
//! An `Authorization` header is client authentication only if its scheme is Basic. Any other header
//! is ignored: HTTP libraries add the access token of an earlier sign-in, or a header that their
//! user configured for all requests, to these requests as well.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};
use oauth::{client::Credentials, service_client};
use url::form_urlencoded;

use super::form::Form;

/// A client id with its proof, neither verified yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Presented {
    /// The client id.
    pub id: String,
    /// Whether the credentials are in a Basic header.
    pub by_header: bool,
    proof: Proof,
}

#[derive(PartialEq, Eq)]
enum Proof {
    None,
    Basic { decoded: String, verbatim: String },
    Post(String),
    Assertion(String),
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proof")
    }
}

/// Why a request has no valid client credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialsError {
    /// A Basic header is not the base64 of `id:secret`.
    Malformed,
    /// The Basic header and the body name different clients.
    OtherClient,
    /// The request has secrets in two places.
    TwoWays,
    /// The request names no client.
    Missing,
    /// `client_assertion_type` is missing, or is not that of a JWT.
    AssertionType,
    /// The assertion is not a JWT that names a client, or names another one than `client_id`.
    AssertionClient,
}

impl Presented {
    /// Reads the credentials of a request. An empty secret is treated as absent everywhere: a Basic
    /// header with an empty secret only names the client.
    pub(crate) fn of(headers: &HeaderMap, form: &Form) -> Result<Self, CredentialsError> {
        let post = form.get("client_secret");
        let id = form.get("client_id");
        let Some(basic) = Basic::of(headers)? else {
            let id = id.ok_or(CredentialsError::Missing)?.to_owned();
            return Ok(Self { id, by_header: false, proof: Proof::post(post) });
        };
        if id.is_some_and(|id| id != basic.id) {
            return Err(CredentialsError::OtherClient);
        }
        let proof = match (basic.verbatim.is_empty(), post) {
            (true, post) => Proof::post(post),
            (false, None) => Proof::Basic { decoded: basic.decoded, verbatim: basic.verbatim },
            (false, Some(_)) => return Err(CredentialsError::TwoWays),
        };
        Ok(Self { id: basic.id, by_header: true, proof })
    }

    /// Reads the credentials of a request that may have an assertion of the client. It names the client,
    /// so `client_id` may be absent.
    pub(crate) fn with_assertion(
        headers: &HeaderMap,
        form: &Form,
    ) -> Result<Self, CredentialsError> {
        let kind = form.get("client_assertion_type");
        let Some(assertion) = form.get("client_assertion") else {
            return match kind {
                Some(_) => Err(CredentialsError::AssertionClient),
                None => Self::of(headers, form),
            };
        };
        if kind != Some(service_client::ASSERTION_TYPE) {
            return Err(CredentialsError::AssertionType);
        }
        if form.get("client_secret").is_some() || Basic::of(headers)?.is_some() {
            return Err(CredentialsError::TwoWays);
        }
        let named = service_client::claimed_client(assertion);
        let id = named.ok_or(CredentialsError::AssertionClient)?;
        if form.get("client_id").is_some_and(|other| other != id) {
            return Err(CredentialsError::AssertionClient);
        }
        Ok(Self { id, by_header: false, proof: Proof::Assertion(assertion.to_owned()) })
    }

    /// The proof, to be verified.
    pub(crate) fn credentials(&self) -> Credentials<'_> {
        match &self.proof {
            Proof::None => Credentials::None,
            Proof::Basic { decoded, verbatim } => Credentials::Basic { decoded, verbatim },
            Proof::Post(secret) => Credentials::Post(secret),
            Proof::Assertion(assertion) => Credentials::Assertion(assertion),
        }
    }
}

impl Proof {
    fn post(secret: Option<&str>) -> Self {
        secret.map_or(Self::None, |secret| Self::Post(secret.to_owned()))
    }
}

/// The content of a Basic header.
struct Basic {
    id: String,
    decoded: String,
    verbatim: String,
}

impl Basic {
    /// The Basic header of a request, if it has one.
    fn of(headers: &HeaderMap) -> Result<Option<Self>, CredentialsError> {
        let values = headers.get_all(header::AUTHORIZATION).iter();
        let mut encoded = values.filter_map(|value| after_basic(value.as_bytes()));
        match (encoded.next(), encoded.next()) {
            (None, _) => Ok(None),
            (Some(encoded), None) => {
                Self::decode(encoded).map(Some).ok_or(CredentialsError::Malformed)
            }
            (Some(_), Some(_)) => Err(CredentialsError::TwoWays),
        }
    }

    fn decode(encoded: &[u8]) -> Option<Self> {
        let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        // The id of a client with a metadata document, which clients send without form encoding: it
        // contains a colon, and such a client has no secret that could contain another one.
        let (id, verbatim) = if text.starts_with("https://") {
            let (id, secret) = text.rsplit_once(':')?;
            (id.to_owned(), secret)
        } else {
            let (id, secret) = text.split_once(':')?;
            (form_decode(id)?, secret)
        };
        let decoded = form_decode(verbatim)?;
        (!id.is_empty()).then(|| Self { id, decoded, verbatim: verbatim.to_owned() })
    }
}

/// The credentials of an `Authorization` header with the scheme Basic.
fn after_basic(value: &[u8]) -> Option<&[u8]> {
    let end = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    scheme.eq_ignore_ascii_case(b"Basic").then(|| rest.trim_ascii())
}

/// Decodes the form encoding that RFC 6749 section 2.3.1 requires for the id and the secret in a
/// Basic header.
fn form_decode(text: &str) -> Option<String> {
    if text.contains(['&', '=']) {
        return Some(text.to_owned()); // some clients do not encode it
    }
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    let decoded = pairs.next().map_or_else(String::new, |(name, _)| name.into());
    (!decoded.contains('\u{fffd}')).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &[&str], body: &str) -> Result<Presented, CredentialsError> {
        let mut headers = HeaderMap::new();
        let kind = "application/x-www-form-urlencoded".parse().unwrap();
        headers.insert(header::CONTENT_TYPE, kind);
        let form = Form::parse(&"/token".parse().unwrap(), &headers, body.as_bytes()).unwrap();
        for value in header {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        Presented::of(&headers, &form)
    }

    fn encoded(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    fn basic(decoded: &str, verbatim: &str) -> Proof {
        Proof::Basic { decoded: decoded.into(), verbatim: verbatim.into() }
    }

    #[test]
    fn credentials_are_in_exactly_one_place() {
        let plain = of(&[], "client_id=app").unwrap();
        assert_eq!((&*plain.id, plain.proof, plain.by_header), ("app", Proof::None, false));
        let post = of(&[], "client_id=app&client_secret=s").unwrap();
        assert_eq!(post.proof, Proof::Post("s".into()));
        for (header, body) in [("app:s", ""), ("app:s", "client_id=app&client_secret=")] {
            let presented = of(&[&encoded(header)], body).unwrap();
            assert_eq!((&*presented.id, presented.by_header), ("app", true));
            assert_eq!(presented.proof, basic("s", "s"));
        }
        for header in ["basic YXBwOnM=", "BASIC  YXBwOnM=", "Basic YXBwOnM= "] {
            assert_eq!(of(&[header], "").unwrap().proof, basic("s", "s"), "{header}");
        }
        let decoded = of(&[&encoded("https%3A%2F%2Fa%2Fb:a+b%25")], "").unwrap();
        assert_eq!(&*decoded.id, "https://a/b");
        assert_eq!(decoded.proof, basic("a b%", "a+b%25"));
        let unencoded = of(&[&encoded("app:a=b&c")], "").unwrap();
        assert_eq!(unencoded.proof, basic("a=b&c", "a=b&c"));

        let (app, other) = (encoded("app:s"), encoded("other:s"));
        for (header, body, expected) in [
            (&[][..], "", CredentialsError::Missing),
            (&[], "client_secret=s", CredentialsError::Missing),
            (&["Bearer x"], "", CredentialsError::Missing),
            (&[&*app], "client_secret=s", CredentialsError::TwoWays),
            (&[&*app, &*other], "", CredentialsError::TwoWays),
            (&[&*app, &*app], "client_id=app", CredentialsError::TwoWays),
            (&[&*other], "client_id=app", CredentialsError::OtherClient),
            (&["Basic !!!"], "client_id=app", CredentialsError::Malformed),
            (&["Basic"], "client_id=app", CredentialsError::Malformed),
            (&["Basic undefined"], "client_id=app", CredentialsError::Malformed),
            (&[&*encoded("app")], "", CredentialsError::Malformed),
            (&[&*encoded(":s")], "", CredentialsError::Malformed),
            (&[&*encoded(":")], "client_id=app", CredentialsError::Malformed),
        ] {
            assert_eq!(of(header, body).unwrap_err(), expected, "{header:?} {body}");
        }
        assert!(!format!("{:?}", of(&[&encoded("app:hunter2")], "")).contains("hunter2"));
    }

    #[test]
    fn other_schemes_are_ignored() {
        for stray in ["Bearer x", "bearer", "DPoP x", "Negotiate YXBwOnM=", "Basically x", "x", ""]
        {
            for headers in [&[stray][..], &[stray, stray]] {
                let public = of(headers, "client_id=app").unwrap();
                let seen = (&*public.id, public.by_header, public.proof);
                assert_eq!(seen, ("app", false, Proof::None), "{headers:?}");
                let post = of(headers, "client_id=app&client_secret=s").unwrap();
                assert_eq!(post.proof, Proof::Post("s".into()), "{headers:?}");
            }
            let app = encoded("app:s");
            for headers in [[stray, &*app], [&*app, stray]] {
                assert_eq!(of(&headers, "").unwrap().proof, basic("s", "s"), "{headers:?}");
            }
        }
    }

    #[test]
    fn an_empty_secret_is_absent() {
        for id in
            ["app", "https://app.example.com/client", "https%3A%2F%2Fapp.example.com%2Fclient"]
        {
            let header = encoded(&format!("{id}:"));
            let presented = of(&[&header], "").unwrap();
            let plain = if id == "app" { id } else { "https://app.example.com/client" };
            let seen = (&*presented.id, presented.by_header, &presented.proof);
            assert_eq!(seen, (plain, true, &Proof::None));
            let body = encode(&[("client_id", plain), ("client_secret", "")]);
            assert_eq!(of(&[&header], &body).unwrap(), presented);
        }
        let named = of(&[&encoded("app:")], "client_secret=s").unwrap();
        assert_eq!((&*named.id, named.proof), ("app", Proof::Post("s".into())));
    }

    fn encode(fields: &[(&str, &str)]) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
    }
}
