//! The session of a browser, and the forms that are bound to it.

use app::App;
use oauth::login::{self, Session};
use poem::Request;
use subtle::ConstantTimeEq as _;

use crate::{
    http::{
        cookies::{Cookies, SESSION},
        error::ApiError,
        request_info::log_context,
    },
    pages::{error_page, fields::Fields},
};

/// Finds the session of a request. `Ok(None)`: the browser is not signed in.
pub(crate) async fn find(app: &App, request: &Request) -> Result<Option<Session>, ApiError> {
    let cookies = Cookies::new(&app.config().public_url);
    let Some(cookie) = cookies.read_named(request.headers(), SESSION) else {
        return Ok(None);
    };
    let session = login::session(app.oauth(), cookie).await;
    let session = session.map_err(|_unavailable| error_page::unavailable())?;
    if let Some(session) = &session {
        log_context(request).set_user(session.user.as_str());
    }
    Ok(session)
}

/// Checks that a form comes from a page that was shown in this session.
pub(crate) fn check_form(session: &Session, form: &Fields) -> Result<(), ApiError> {
    let csrf = form.one("csrf").unwrap_or_default();
    if bool::from(session.csrf.as_bytes().ct_eq(csrf.as_bytes())) {
        Ok(())
    } else {
        Err(error_page::forged())
    }
}
