//! `/account/jobs`: the jobs of the user with their progress, and the files that can be downloaded.
//!
//! While a job runs, the browser loads the page again by itself (`Refresh`), without a script, for a
//! limited time. The user can turn that off.

use std::time::Duration;

use app::App;
use askama::Template;
use http::{HeaderValue, StatusCode, header};
use mcp::{
    StoreError,
    job::{JobId, JobPage},
};
use poem::Response;
use url::form_urlencoded;

use super::{
    UserPage, UserVisit,
    job_words::{ShownFile, ShownJob},
    tabs::{self, Tab},
    unavailable,
};
use crate::{
    http::error::ApiError,
    pages::{error_page, fields::Fields, frame::Frame, respond::see_other},
};

/// The accepted methods.
pub(crate) const METHODS: &str = "GET, HEAD, POST";

/// The number of jobs on a page. A job has up to 1 MB of results, which are read, too.
const PAGE: usize = 10;

/// How often the page is loaded again by itself: this often soon, and more slowly later.
const QUICKLY: (u32, Duration) = (20, Duration::from_secs(3));
const SLOWLY: (u32, Duration) = (180, Duration::from_secs(10));

/// The value of the field `live` that turns this off.
const OFF: &str = "off";

/// The page.
pub(crate) struct JobsPage;

#[derive(Template)]
#[template(path = "jobs.html")]
struct Page<'a> {
    frame: &'a Frame,
    tabs: &'a [Tab],
    csrf: &'a str,
    jobs: &'a [ShownJob],
    files: &'a [ShownFile],
    done: Option<&'static str>,
    /// Whether a job on this page has not ended.
    is_running: bool,
    /// Whether the page is loaded again by itself.
    is_live: bool,
    /// Whether this is not the first page.
    is_later: bool,
    /// The position of the next page, if there is one.
    next: Option<String>,
}

impl UserPage for JobsPage {
    async fn show(&self, visit: UserVisit) -> Result<Response, ApiError> {
        let UserVisit { app, session, frame, query, .. } = visit;
        let (found, is_later) = jobs(&app, &session.user, query.one("after")).await?;
        let files = app.downloads().list(&session.user).await;
        let files = files.map_err(|error| unavailable(&error))?;
        let now = app.clock().now();
        let files: Vec<_> = files.iter().map(|file| ShownFile::of(file, now)).collect();
        let jobs: Vec<_> = found.jobs.iter().map(|job| ShownJob::of(job, app.product())).collect();
        let is_running = found.jobs.iter().any(|job| !job.status.is_final());
        let refresh = refresh(query.one("live")).filter(|_| is_running && !is_later);
        let page = Page {
            frame: &frame,
            tabs: &tabs::list(app.product(), tabs::JOBS),
            csrf: &session.csrf,
            jobs: &jobs,
            files: &files,
            done: query.one("done").and_then(notice),
            is_running,
            is_live: refresh.is_some(),
            is_later,
            next: found.next.map(|next| form_urlencoded::byte_serialize(next.as_bytes()).collect()),
        };
        let mut response = frame.show(StatusCode::OK, &page);
        if let Some(refresh) = refresh {
            response.headers_mut().insert(header::REFRESH, refresh);
        }
        Ok(response)
    }

    async fn act(&self, visit: UserVisit, form: Fields) -> Result<Response, ApiError> {
        let (Some("cancel"), Some(job)) = (form.one("action"), form.one("job")) else {
            return Err(error_page::forged());
        };
        // A job that does not exist has ended long ago, or is not the user's.
        if let Some(id) = JobId::parse(job) {
            let cancelled = visit.app.job_store().cancel(&visit.session.user, &id).await;
            cancelled.map_err(|error| store_unavailable(&error))?;
        }
        see_other("/account/jobs?done=cancelled")
    }
}

/// Loads a page of jobs, and returns whether it is not the first one. An invalid position is that of
/// the first page.
async fn jobs(
    app: &App,
    user: &mcp::UserId,
    after: Option<&str>,
) -> Result<(JobPage, bool), ApiError> {
    let store = app.job_store();
    if after.is_some() {
        let found = store.list(user, after, PAGE).await;
        if let Some(page) = found.map_err(|error| store_unavailable(&error))? {
            return Ok((page, true));
        }
    }
    let found = store.list(user, None, PAGE).await.map_err(|error| store_unavailable(&error))?;
    Ok((found.unwrap_or_default(), false))
}

/// The value of the header `Refresh` of a page that was loaded by itself `live` times. `None`: the
/// page is not loaded again.
fn refresh(live: Option<&str>) -> Option<HeaderValue> {
    let live = match live {
        Some(OFF) => return None,
        Some(number) => number.parse().unwrap_or(0),
        None => 0,
    };
    let pause = match live {
        _ if live < QUICKLY.0 => QUICKLY.1,
        _ if live < QUICKLY.0 + SLOWLY.0 => SLOWLY.1,
        _ => return None,
    };
    let value = format!("{}; url={}?live={}", pause.as_secs(), tabs::JOBS, live + 1);
    HeaderValue::try_from(value).ok()
}

/// The notice about a completed action.
fn notice(done: &str) -> Option<&'static str> {
    Some(match done {
        "cancelled" => "The job is cancelled. What it had changed before stays changed.",
        "started" => "The job is started. You can leave this page; the job continues.",
        _ => return None,
    })
}

fn store_unavailable(error: &StoreError) -> ApiError {
    tracing::error!(
        dependency = error.dependency(), error = ?error,
        "Could not read or cancel jobs for a page of the account"
    );
    error_page::unavailable()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_loaded_by_itself_for_a_limited_time() {
        let value = |live| refresh(live).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(value(None).as_deref(), Some("3; url=/account/jobs?live=1"));
        assert_eq!(value(Some("19")).as_deref(), Some("3; url=/account/jobs?live=20"));
        assert_eq!(value(Some("20")).as_deref(), Some("10; url=/account/jobs?live=21"));
        assert_eq!(value(Some("nonsense")).as_deref(), Some("3; url=/account/jobs?live=1"));
        for last in ["200", "4294967295", "off"] {
            assert_eq!(value(Some(last)), None, "{last}");
        }
    }
}
