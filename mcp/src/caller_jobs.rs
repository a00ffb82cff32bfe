//! Jobs as far as one caller may see and change them.
//!
//! The rule is the same for the task methods of the protocol and for tools about jobs: whatever the
//! way, a job is only for tokens with the scope of the job's own tool.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    caller::Caller,
    error::ToolError,
    job::{Job, JobId, JobPage, Jobs},
    question::Answer,
    store::StoreError,
};

/// Which scope each tool needs.
pub(crate) trait ToolScopes: Send + Sync {
    /// All tools, each with its scope.
    fn all(&self) -> Vec<(&'static str, &'static str)>;
    /// The scope of a tool; none of a tool that this version of the server does not know.
    fn of(&self, tool: &str) -> Option<&'static str>;
}

/// Where jobs are kept, and which scope each needs.
#[derive(Clone)]
pub(crate) struct JobAccess {
    pub(crate) jobs: Arc<dyn Jobs>,
    pub(crate) scopes: Arc<dyn ToolScopes>,
}

impl JobAccess {
    pub(crate) fn of<'a>(&'a self, caller: &'a Caller) -> CallerJobs<'a> {
        CallerJobs { jobs: &*self.jobs, scopes: &*self.scopes, caller }
    }
}

/// The jobs of one caller's user. Another user's jobs do not exist.
pub struct CallerJobs<'a> {
    jobs: &'a dyn Jobs,
    scopes: &'a dyn ToolScopes,
    caller: &'a Caller,
}

/// Why a job is not shown or changed.
#[derive(Debug, thiserror::Error)]
pub enum JobAccessError {
    /// The access token lacks the scope of the job's tool.
    #[error("the access token lacks the scope `{0}` of the job's tool")]
    MissingScope(&'static str),
    /// The store cannot be reached.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

impl JobAccessError {
    /// The error of a tool about jobs. `unavailable` says what the model reads when the store cannot be
    /// reached.
    pub fn into_tool_error(self, unavailable: impl FnOnce(StoreError) -> ToolError) -> ToolError {
        match self {
            Self::MissingScope(scope) => ToolError::MissingScope(scope),
            Self::Unavailable(error) => unavailable(error),
        }
    }
}

impl CallerJobs<'_> {
    /// Finds a job. `Ok(None)`: the user has no such job.
    pub async fn get(&self, id: &JobId) -> Result<Option<Job>, JobAccessError> {
        let Some(job) = self.jobs.get(&self.caller.user, id).await? else {
            return Ok(None);
        };
        match self.missing_scope(&job.tool) {
            None => Ok(Some(job)),
            Some(scope) => Err(JobAccessError::MissingScope(scope)),
        }
    }

    /// A page of jobs, newest first, without those whose tools the token may not use. `Ok(None)`: the
    /// position cannot be read.
    pub async fn list(
        &self,
        after: Option<&str>,
        max: usize,
    ) -> Result<Option<JobPage>, StoreError> {
        let (user, tools) = (&self.caller.user, self.scopes.all());
        if tools.iter().all(|(_, scope)| self.caller.may(scope)) {
            return self.jobs.list(user, after, max).await;
        }
        let allowed = tools.iter().filter(|(_, scope)| self.caller.may(scope));
        let allowed: Vec<&str> = allowed.map(|(tool, _)| *tool).collect();
        self.jobs.list_of_tools(user, Some(&allowed), after, max).await
    }

    /// Answers questions of a job. `Ok(None)`: the user has no such job.
    pub async fn answer(
        &self,
        id: &JobId,
        answers: BTreeMap<String, Answer>,
    ) -> Result<Option<Job>, JobAccessError> {
        if self.get(id).await?.is_none() {
            return Ok(None);
        }
        Ok(self.jobs.answer(&self.caller.user, id, answers).await?)
    }

    /// Cancels a job that has not ended, and gives it as it is then. `Ok(None)`: the user has no such
    /// job.
    pub async fn cancel(&self, id: &JobId) -> Result<Option<Job>, JobAccessError> {
        if self.get(id).await?.is_none() {
            return Ok(None);
        }
        Ok(self.jobs.cancel(&self.caller.user, id).await?)
    }

    /// The scope that the token lacks for jobs of a tool. Those of a tool that this version of the
    /// server does not know need every scope there is.
    fn missing_scope(&self, tool: &str) -> Option<&'static str> {
        let lacks = |scope: &&'static str| !self.caller.may(scope);
        match self.scopes.of(tool) {
            Some(scope) => Some(scope).filter(lacks),
            None => self.scopes.all().into_iter().map(|(_, scope)| scope).find(lacks),
        }
    }
}
