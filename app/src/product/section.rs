//! The pages of a product below `/account`: a section of the account page, with which a user sees
//! and changes what they have stored, without an MCP client.
//!
//! The base does everything that does not depend on the product: it counts the request against the
//! rate limits, finds the session, rejects forms that do not come from a page of this session, and
//! puts the fragment into the frame of all pages, with the style sheet and the navigation. Pages
//! have no scripts and no images: the browser blocks them.

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use jobs::Queue;
use mcp::{
    Caller, ClientCapabilities, ProtocolVersion, RunMode, Tool, UserId,
    job::{JobCall, JobId, NewJob, NotEnqueued, Origin},
};
use oauth::login::{ACCOUNT_SESSION_TTL, Session};
use platform::db::Failure;
use serde_json::value::RawValue;

use super::state::{AnyState, State};

/// A section of the account page.
#[async_trait]
pub trait Section<S: State>: Send + Sync {
    /// The last segment of its path below `/account/`: lower-case letters, and not that of a page of
    /// the base.
    fn name(&self) -> &'static str;

    /// Its title in the navigation: one word.
    fn title(&self) -> &'static str;

    /// Shows a page of the section. Must not change anything.
    async fn show(&self, state: &S, visit: &SectionVisit) -> Result<Fragment, SectionError>;

    /// Performs the action of a form, which was sent with POST to the path of one of its pages. The
    /// form must have the field `csrf` with [`SectionVisit::csrf`], which is checked before.
    async fn act(&self, _state: &S, _visit: &SectionVisit) -> Result<Next, SectionError> {
        Err(SectionError::NotFound)
    }
}

/// A request for a page of a section, or a form of it.
#[derive(Clone)]
pub struct SectionVisit {
    /// The path of the section, such as `/account/bookmarks`.
    pub path: String,
    /// The path segment after it. `None`: the request is for the section itself.
    pub item: Option<String>,
    /// The fields of the query string or, of a form, of the body.
    pub fields: BTreeMap<String, String>,
    /// The session.
    pub session: Session,
}

impl fmt::Debug for SectionVisit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SectionVisit").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SectionVisit {
    /// The user.
    pub fn user(&self) -> &UserId {
        &self.session.user
    }

    /// The value of the hidden field `csrf`, which every form must have. It is a secret of the
    /// session: put it into forms only.
    pub fn csrf(&self) -> &str {
        &self.session.csrf
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// The access of this session, with one scope.
    fn caller(&self, scope: &str) -> Caller {
        let issued_at = self.session.signed_in_at;
        Caller {
            user: self.user().clone(),
            client: CLIENT.into(),
            scopes: [scope.to_owned()].into(),
            // Not an id: access that has no grant ends with the account's.
            grant: CLIENT.into(),
            key: "".into(),
            issued_at: issued_at.timestamp(),
            expires_at: (issued_at + ACCOUNT_SESSION_TTL).timestamp(),
            request: None,
        }
    }

    /// Records a change of the user's data as a line of the log, like [`Caller::audit`].
    pub fn audit(&self, tool: &str, changed: impl fmt::Display) {
        self.caller("").audit(tool, changed);
    }

    /// Starts a tool of the product as a job, with its scope and the access of this session. The user
    /// sees it at `/account/jobs` ([`Next::Jobs`]).
    ///
    /// # Panics
    /// If the tool does not run as a job.
    pub async fn start_job<S: State, T: Tool<S>>(
        &self,
        queue: &Queue,
        arguments: Box<RawValue>,
    ) -> Result<(), NotEnqueued> {
        let RunMode::Job { timeout, attempts } = T::RUN else {
            panic!("the tool `{}` does not run as a job", T::NAME)
        };
        let call = JobCall {
            caller: self.caller(T::SCOPE),
            version: ProtocolVersion::V2026_07_28,
            capabilities: ClientCapabilities::default(),
            log_level: None,
            progress_token: None,
            tool: T::NAME.to_owned(),
            arguments,
            origin: Origin::Task,
            trace: None,
        };
        let id = JobId::random();
        let job = NewJob { id, call, answers: BTreeMap::new(), timeout, attempts, ttl: None };
        jobs::enqueue(queue, job).await.map(drop)
    }
}

/// The client of jobs that were started on the account page.
const CLIENT: &str = "account-page";

/// The content of a page.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// The title of the browser's window.
    pub title: String,
    /// The HTML between navigation and footer, beginning with an `h1`. Everything that a user wrote
    /// must be escaped, as templates do.
    pub html: String,
}

/// Where a user goes after an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To the section, whose field `done` has this value.
    Section(&'static str),
    /// To the jobs.
    Jobs,
}

/// Why a page of a section cannot be shown, or an action was not performed.
#[derive(Debug)]
pub enum SectionError {
    /// The user has no such page or item.
    NotFound,
    /// The input is invalid, or the action is not possible now: what is wrong and what to do.
    Refused(String),
    /// A dependency failed.
    Failed(Failure),
}

impl From<Failure> for SectionError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A [`Section`] without the type of its state.
#[async_trait]
pub trait AnySection: Send + Sync {
    /// [`Section::name`].
    fn name(&self) -> &'static str;
    /// [`Section::title`].
    fn title(&self) -> &'static str;
    /// [`Section::show`].
    async fn show(&self, state: &AnyState, visit: &SectionVisit) -> Result<Fragment, SectionError>;
    /// [`Section::act`].
    async fn act(&self, state: &AnyState, visit: &SectionVisit) -> Result<Next, SectionError>;
}

/// A section with the type of its state.
pub(super) struct Bound<S: State> {
    section: &'static dyn Section<S>,
}

impl<S: State> Bound<S> {
    pub(super) fn boxed(section: &'static dyn Section<S>) -> Box<dyn AnySection> {
        Box::new(Self { section })
    }
}

#[async_trait]
impl<S: State> AnySection for Bound<S> {
    fn name(&self) -> &'static str {
        self.section.name()
    }

    fn title(&self) -> &'static str {
        self.section.title()
    }

    async fn show(&self, state: &AnyState, visit: &SectionVisit) -> Result<Fragment, SectionError> {
        self.section.show(state.of(), visit).await
    }

    async fn act(&self, state: &AnyState, visit: &SectionVisit) -> Result<Next, SectionError> {
        self.section.act(state.of(), visit).await
    }
}
