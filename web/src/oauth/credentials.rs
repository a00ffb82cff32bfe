//! How a client says who it is at the token and revocation endpoints (RFC 6749, section 2.3).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};
use service::oauth::client::Credentials;
use url::form_urlencoded;

use super::form::Form;

/// A client's id, and what it brought to prove it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Presented {
    /// The id, not yet proved.
    pub id: String,
    proof: Proof,
}

#[derive(PartialEq, Eq)]
enum Proof {
    Nothing,
    Basic(String),
    Post(String),
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proof")
    }
}

/// Why a request does not say who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialsError {
    /// The header is not one of the Basic scheme with a client in it, or not the client of the body.
    Header,
    /// It says so in two ways.
    TwoWays,
    /// It does not say so at all.
    Nobody,
}

impl Presented {
    /// Reads who sends a request.
    pub(crate) fn of(headers: &HeaderMap, form: &Form) -> Result<Self, CredentialsError> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (header, more) = (values.next(), values.next());
        let (id, secret) = (form.get("client_id"), form.get("client_secret"));
        if more.is_some() || (header.is_some() && secret.is_some()) {
            return Err(CredentialsError::TwoWays);
        }
        if let Some(header) = header {
            let (basic_id, secret) =
                header.to_str().ok().and_then(basic).ok_or(CredentialsError::Header)?;
            if id.is_some_and(|id| id != basic_id) {
                return Err(CredentialsError::Header);
            }
            return Ok(Self { id: basic_id, proof: Proof::Basic(secret) });
        }
        let id = id.ok_or(CredentialsError::Nobody)?.to_owned();
        let proof = match secret {
            Some(secret) => Proof::Post(secret.to_owned()),
            None => Proof::Nothing,
        };
        Ok(Self { id, proof })
    }

    /// What was brought, for the check.
    pub(crate) fn credentials(&self) -> Credentials<'_> {
        match &self.proof {
            Proof::Nothing => Credentials::None,
            Proof::Basic(secret) => Credentials::Basic(secret),
            Proof::Post(secret) => Credentials::Post(secret),
        }
    }
}

/// The id and the secret of a Basic header. Both are form-encoded in it, unlike elsewhere.
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let (id, secret) = (form_decode(id)?, form_decode(secret)?);
    (!id.is_empty()).then_some((id, secret))
}

fn form_decode(text: &str) -> Option<String> {
    if text.contains(['&', '=']) {
        return Some(text.to_owned()); // not encoded, as some clients send it
    }
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    let decoded = pairs.next().map_or_else(String::new, |(it, _)| it.into());
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

    #[test]
    fn a_client_says_who_it_is_in_one_way() {
        let plain = of(&[], "client_id=app").unwrap();
        assert_eq!((&*plain.id, plain.proof), ("app", Proof::Nothing));
        let post = of(&[], "client_id=app&client_secret=s").unwrap();
        assert_eq!(post.proof, Proof::Post("s".into()));
        for (header, body) in [("app:s", ""), ("app:s", "client_id=app")] {
            let presented = of(&[&encoded(header)], body).unwrap();
            assert_eq!(&*presented.id, "app");
            assert_eq!(presented.proof, Proof::Basic("s".into()));
        }
        let decoded = of(&[&encoded("https%3A%2F%2Fa%2Fb:a+b%25")], "").unwrap();
        assert_eq!(&*decoded.id, "https://a/b");
        assert_eq!(decoded.proof, Proof::Basic("a b%".into()));
        let unencoded = of(&[&encoded("app:a=b&c")], "").unwrap();
        assert_eq!(unencoded.proof, Proof::Basic("a=b&c".into()));

        let (app, other) = (encoded("app:s"), encoded("other:s"));
        for (header, body, expected) in [
            (&[][..], "", CredentialsError::Nobody),
            (&[], "client_secret=s", CredentialsError::Nobody),
            (&[&*app], "client_secret=s", CredentialsError::TwoWays),
            (&[&*app, &*other], "", CredentialsError::TwoWays),
            (&[&*other], "client_id=app", CredentialsError::Header),
            (&["Basic !!!"], "client_id=app", CredentialsError::Header),
            (&["Basic"], "client_id=app", CredentialsError::Header),
            (&["Bearer x"], "client_id=app", CredentialsError::Header),
            (&[&*encoded("app")], "", CredentialsError::Header),
            (&[&*encoded(":s")], "", CredentialsError::Header),
        ] {
            assert_eq!(of(header, body).unwrap_err(), expected, "{header:?} {body}");
        }
        assert!(!format!("{:?}", of(&[&encoded("app:hunter2")], "")).contains("hunter2"));
    }
}
