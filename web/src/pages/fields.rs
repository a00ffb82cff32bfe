//! Fields of forms and of query strings.

use std::time::Duration;

use http::Uri;
use poem::Request;
use url::form_urlencoded;

use crate::http::{
    body::{self, bounds::Bounds},
    error::ApiError,
};

/// Limits on a form of the pages of this server.
const FORM: Bounds = Bounds { bytes: 16 * 1024, time: Duration::from_secs(10) };

/// The decoded fields of a form or a query string.
pub(crate) struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The fields of the query string.
    pub(crate) fn of_query(uri: &Uri) -> Self {
        Self::decode(uri.query().unwrap_or_default().as_bytes())
    }

    /// Reads the fields of a form body.
    pub(crate) async fn of_form(request: &mut Request) -> Result<Self, ApiError> {
        let body = request.take_body();
        let body = body::read_from_network(request, body, FORM).await?;
        Ok(Self::decode(&body.bytes))
    }

    /// The value of a field. `None` if it is absent or occurs more than once.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.all(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// All values of a field.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn decode(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicated_field_is_absent() {
        let fields = Fields::of_query(&Uri::from_static("/?a=1&b=2&b=3&c=%20x"));
        assert_eq!(fields.one("a"), Some("1"));
        assert_eq!(fields.one("b"), None);
        assert_eq!(fields.one("c"), Some(" x"));
    }
}
