//! Responses without content.

use http::{HeaderValue, Method, StatusCode, header};
use poem::{Request, Response};

use super::error_page;
use crate::http::{error::ApiError, fetch_metadata::is_prefetch};

/// 303: redirects the browser to `location` with a GET.
pub(crate) fn see_other(location: &str) -> Result<Response, ApiError> {
    let location = HeaderValue::try_from(location).map_err(|error| {
        tracing::error!(%error, "Could not redirect: the location is not a valid header value");
        ApiError::internal()
    })?;
    let mut response = Response::from(StatusCode::SEE_OTHER);
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// The response to a request that must have no effect, for a page whose GET has one: to `HEAD`,
/// with which programs check links, and to a prefetch. `None` for all other requests.
pub(crate) fn without_effect(request: &Request) -> Option<Result<Response, ApiError>> {
    if request.method() == Method::HEAD {
        return Some(Ok(StatusCode::OK.into()));
    }
    is_prefetch(request).then(|| Err(error_page::too_early()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_prefetch_have_no_effect() {
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
