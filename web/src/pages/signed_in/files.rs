//! `/account/files/…`: the files of the user for download. Unlike the URL that a tool returns
//! ([`crate::api::downloads`]), this address works only in a session of the owner.

use app::downloads::{DownloadError, DownloadId};
use http::{HeaderValue, Method, StatusCode, header};
use oauth::access::Authority;
use poem::Response;

use super::{UserPage, UserVisit, tabs, unavailable};
use crate::{api::downloads, http::error::ApiError, pages::error_page};

/// The path of a file.
pub(crate) const PATH: &str = "/account/files/:item";

/// The page, which is the file.
pub(crate) struct FilePage;

impl UserPage for FilePage {
    async fn show(&self, visit: UserVisit) -> Result<Response, ApiError> {
        let UserVisit { app, session, method, item, .. } = visit;
        let id = item.as_deref().and_then(DownloadId::parse).ok_or_else(not_found)?;
        let file = app.downloads().get(&session.user, id).await.map_err(|error| match error {
            DownloadError::Failed(failure) => unavailable(&failure),
            DownloadError::NotFound | DownloadError::TooLarge => not_found(),
        })?;
        // The file is the user's, even if the app that created it was disconnected.
        let authority = Authority {
            user: session.user,
            grant: None,
            key: None,
            issued_at: session.signed_in_at,
        };
        let mut response = downloads::respond(&app, file, authority, method != Method::HEAD);
        let no_store = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, no_store);
        Ok(response)
    }
}

fn not_found() -> ApiError {
    error_page::new(
        StatusCode::NOT_FOUND,
        "There is no such file",
        "It has expired, or never existed. Files are kept for an hour.",
        "Create the file again.",
    )
    .with_link("Your jobs", tabs::JOBS)
}
