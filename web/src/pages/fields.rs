//! The fields of forms and of queries.

use std::time::Duration;

use http::Uri;
use poem::Request;
use url::form_urlencoded;

use super::error_page::ErrorPage;
use crate::http::body::{self, bounds::Bounds};

/// A form of one of our pages.
const FORM: Bounds = Bounds { bytes: 16 * 1024, time: Duration::from_secs(10) };

/// The fields of a form or of a query.
pub(crate) struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// Those of the address.
    pub(crate) fn of_query(uri: &Uri) -> Self {
        Self::decode(uri.query().unwrap_or_default().as_bytes())
    }

    /// Those of the body of a form.
    pub(crate) async fn of_form(request: &mut Request) -> Result<Self, ErrorPage> {
        let body = request.take_body();
        let body = body::read_from_network(request, body, FORM).await?;
        Ok(Self::decode(&body.bytes))
    }

    /// The value of a field that is there once.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.all(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// The values of a field that may be there more than once.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    fn decode(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_stands_twice_is_not_there() {
        let fields = Fields::of_query(&Uri::from_static("/?a=1&b=2&b=3&c=%20x"));
        assert_eq!(fields.one("a"), Some("1"));
        assert_eq!(fields.one("b"), None);
        assert_eq!(fields.one("c"), Some(" x"));
    }
}
