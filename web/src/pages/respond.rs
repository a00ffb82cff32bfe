//! Responses without a page.

use http::{HeaderValue, Method, StatusCode, header};
use poem::{Request, Response};

use super::error_page::ErrorPage;
use crate::http::fetch_metadata::is_prefetch;

/// Sends the browser elsewhere, with a request that has no body.
pub(crate) fn see_other(location: &str) -> Result<Response, ErrorPage> {
    let location = HeaderValue::try_from(location).map_err(|error| {
        tracing::error!(%error, "An address cannot be a header: {error}");
        ErrorPage::internal()
    })?;
    let mut response = Response::from(StatusCode::SEE_OTHER);
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// The answer to a request that must have no effect, for a page whose GET has one: to `HEAD`, which
/// programs send to check a link, and to a browser that loads the page before the person opens it.
/// `None` for every other request.
pub(crate) fn without_effect(request: &Request) -> Option<Result<Response, ErrorPage>> {
    if request.method() == Method::HEAD {
        return Some(Ok(StatusCode::OK.into()));
    }
    is_prefetch(request).then(|| Err(ErrorPage::too_early()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_ahead_has_no_effect() {
        for (name, value) in [
            ("sec-purpose", "prefetch"),
            ("Sec-Purpose", "Prefetch;Prerender"),
            ("purpose", "preview"),
            ("x-moz", "prefetch"),
        ] {
            let answer = without_effect(&Request::builder().header(name, value).finish());
            let page = answer.unwrap().unwrap_err();
            assert_eq!(page.status, StatusCode::TOO_EARLY, "{name}: {value}");
        }
        let head = without_effect(&Request::builder().method(Method::HEAD).finish());
        assert_eq!(head.unwrap().unwrap().status(), StatusCode::OK);
        assert!(without_effect(&Request::default()).is_none());
    }
}
