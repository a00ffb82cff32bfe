//! `/account/security`: the sign-ins and security events of the user.

use askama::Template;
use http::StatusCode;
use oauth::security::{self, LISTED_FOR};
use poem::Response;
use uuid::Uuid;

use super::{
    UserPage, UserVisit,
    security_words::{ShownEvent, describe},
    tabs::{self, Tab},
    unavailable,
};
use crate::{http::error::ApiError, pages::frame::Frame};

/// The page.
pub(crate) struct SecurityPage;

#[derive(Template)]
#[template(path = "security.html")]
struct Page<'a> {
    frame: &'a Frame,
    tabs: &'a [Tab],
    events: &'a [ShownEvent],
    days: u64,
    /// Whether this is not the first page.
    is_later: bool,
    /// The position of the next page, if there is one.
    next: Option<Uuid>,
}

impl UserPage for SecurityPage {
    async fn show(&self, visit: UserVisit) -> Result<Response, ApiError> {
        let UserVisit { app, session, frame, query, .. } = visit;
        // A position that is no id is that of the first page.
        let before = query.one("before").and_then(|id| Uuid::try_parse(id).ok());
        let found = security::events(app.oauth(), &session.user, before).await;
        let found = found.map_err(|error| unavailable(&error))?;
        let events: Vec<_> = found.events.iter().map(describe).collect();
        let page = Page {
            frame: &frame,
            tabs: &tabs::list(app.product(), tabs::SECURITY),
            events: &events,
            days: LISTED_FOR.as_secs() / (24 * 60 * 60),
            is_later: before.is_some(),
            next: found.next,
        };
        Ok(frame.show(StatusCode::OK, &page))
    }
}
