//! Parameters in the body of OAuth requests, parsed strictly.
//!
//! A duplicated parameter, a body of another type, and parameters in the URL are rejected rather
//! than interpreted: client and server might interpret them differently.

use http::{HeaderMap, Uri, header};
use url::form_urlencoded;

/// Maximum number of parameters. The longest meaningful request has eight.
const MAX_PARAMETERS: usize = 64;

/// The only parameter that may occur more than once (RFC 8707).
const RESOURCE: &str = "resource";

/// The parameters of a request. An empty value is treated as absent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Form(Vec<(String, String)>);

/// Why a body is not a valid form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormError {
    /// The body has another type.
    ContentType,
    /// The URL has parameters.
    Query,
    /// More than [`MAX_PARAMETERS`].
    TooMany,
    /// A parameter occurs more than once.
    Duplicate,
    /// A parameter is not UTF-8.
    Encoding,
}

impl FormError {
    /// The description for the developer of the client.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::ContentType => {
                "Send the parameters as application/x-www-form-urlencoded in UTF-8, in the body."
            }
            Self::Query => "Send the parameters in the body, not in the URL.",
            Self::TooMany => "There are too many parameters: at most 64 are allowed.",
            Self::Duplicate => "A parameter occurs more than once. Send each parameter once.",
            Self::Encoding => "A parameter is not UTF-8 text.",
        }
    }
}

impl Form {
    /// Parses a body that has been read.
    pub(crate) fn parse(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Self, FormError> {
        if !is_form(headers) {
            return Err(FormError::ContentType);
        }
        if uri.query().is_some_and(|query| !query.is_empty()) {
            return Err(FormError::Query);
        }
        let mut found: Vec<(String, String)> = Vec::new();
        for (count, (name, value)) in form_urlencoded::parse(body).enumerate() {
            if count == MAX_PARAMETERS {
                return Err(FormError::TooMany);
            }
            // The decoder replaces invalid UTF-8 by this character.
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return Err(FormError::Encoding);
            }
            if name != RESOURCE && found.iter().any(|(other, _)| *other == name) {
                return Err(FormError::Duplicate);
            }
            found.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(found))
    }

    /// The value of a parameter. `None` if it is absent or empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of all `resource` parameters.
    pub(crate) fn resources(&self) -> Vec<&str> {
        self.all(RESOURCE).collect()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Ok(value) = value.to_str() else {
        return false;
    };
    let mut parts = value.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) => {
                !name.eq_ignore_ascii_case("charset")
                    || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            None => parameter.is_empty(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "application/x-www-form-urlencoded";

    fn parse(uri: &str, kind: &[&str], body: &[u8]) -> Result<Form, FormError> {
        let mut headers = HeaderMap::new();
        for kind in kind {
            headers.append(header::CONTENT_TYPE, kind.parse().unwrap());
        }
        Form::parse(&uri.parse().unwrap(), &headers, body)
    }

    #[test]
    fn only_the_form_content_type_is_accepted() {
        for kind in [
            KIND,
            "Application/X-WWW-Form-Urlencoded",
            "application/x-www-form-urlencoded; charset=UTF-8",
            "application/x-www-form-urlencoded;charset=\"utf-8\"",
            "application/x-www-form-urlencoded;",
        ] {
            assert!(parse("/token", &[kind], b"a=b").is_ok(), "{kind}");
        }
        for kind in [
            "application/json",
            "multipart/form-data; boundary=x",
            "text/plain; x=application/x-www-form-urlencoded",
            "application/x-www-form-urlencoded; charset=iso-8859-1",
            "application/x-www-form-urlencoded x",
            "",
        ] {
            assert_eq!(parse("/token", &[kind], b"a=b"), Err(FormError::ContentType), "{kind}");
        }
        for kinds in [&[][..], &[KIND, KIND]] {
            assert_eq!(parse("/token", kinds, b"a=b"), Err(FormError::ContentType));
        }
    }

    #[test]
    fn parameters_occur_once_and_in_the_body() {
        for (uri, body, expected) in [
            ("/token?a=b", &b""[..], FormError::Query),
            ("/token", b"a=b&a=b", FormError::Duplicate),
            ("/token", b"a=b&a=", FormError::Duplicate),
            ("/token", b"a=%ff", FormError::Encoding),
            ("/token", b"\xff=a", FormError::Encoding),
            ("/token", "a&".repeat(65).as_bytes(), FormError::Duplicate),
        ] {
            assert_eq!(parse(uri, &[KIND], body), Err(expected), "{uri} {body:?}");
        }
        let many = (0..=MAX_PARAMETERS).map(|index| format!("p{index}=1"));
        let many = many.collect::<Vec<_>>().join("&");
        let got = parse("/token", &[KIND], many.as_bytes());
        assert_eq!(got, Err(FormError::TooMany));
    }

    #[test]
    fn empty_parameters_are_absent() {
        let form = parse("/token?", &[KIND], b"a=1+2%20%263&b=&c&resource=x&resource=y&resource=")
            .unwrap();
        assert_eq!(form.get("a"), Some("1 2 &3"));
        for name in ["b", "c", "d"] {
            assert_eq!(form.get(name), None, "{name}");
        }
        assert_eq!(form.resources(), ["x", "y"]);
    }
}
