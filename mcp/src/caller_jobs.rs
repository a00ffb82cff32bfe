//! Access to jobs with the rights of a caller.
//!
//! The task methods of the protocol and tools about jobs apply the same rule: a job is accessible
//! only to its user, with a token that has the scope of the job's tool.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use crate::{
    caller::Caller,
    error::ToolError,
    job::{Job, JobId, JobPage, Jobs},
    question::ClientAnswer,
    store::StoreError,
};

/// The scopes that tools require.
pub(crate) trait ToolScopes: Send + Sync {
    /// All tools with their scopes.
    fn all(&self) -> Vec<(&'static str, &'static str)>;
    /// The scope of a tool. `None`: this version of the server does not have the tool.
    fn of(&self, tool: &str) -> Option<&'static str>;
}

/// The store of jobs, and the scopes that their tools require.
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

/// The jobs of a caller. Jobs of other users do not exist for it.
pub struct CallerJobs<'a> {
    jobs: &'a dyn Jobs,
    scopes: &'a dyn ToolScopes,
    caller: &'a Caller,
}

/// Why access to a job failed.
#[derive(Debug, thiserror::Error)]
pub enum JobAccessError {
    /// The access token lacks the scope of the job's tool.
    #[error("the access token lacks the scope `{0}` of the job's tool")]
    MissingScope(&'static str),
    /// The store is unavailable.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

impl JobAccessError {
    /// Converts to the error of a tool. `unavailable` creates the error for an unavailable store.
    pub fn into_tool_error(self, unavailable: impl FnOnce(StoreError) -> ToolError) -> ToolError {
        match self {
            Self::MissingScope(scope) => ToolError::MissingScope(scope),
            Self::Unavailable(error) => unavailable(error),
        }
    }
}

impl CallerJobs<'_> {
    /// Loads a job. `Ok(None)`: the user has no such job.
    pub async fn get(&self, id: &JobId) -> Result<Option<Job>, JobAccessError> {
        let Some(job) = self.jobs.get(&self.caller.user, id).await? else {
            return Ok(None);
        };
        match self.missing_scope(&job.tool) {
            None => Ok(Some(job)),
            Some(scope) => Err(JobAccessError::MissingScope(scope)),
        }
    }

    /// Finds the newest unfinished job of a call, by its tool and arguments. `Ok(None)`: the user has
    /// none, or it has already ended.
    pub async fn find_unfinished(
        &self,
        tool: &str,
        arguments: &Value,
    ) -> Result<Option<Job>, JobAccessError> {
        match self.missing_scope(tool) {
            None => Ok(self.jobs.find_unfinished(&self.caller.user, tool, arguments).await?),
            Some(scope) => Err(JobAccessError::MissingScope(scope)),
        }
    }

    /// Loads a page of jobs, newest first, of the tools whose scopes the token has. `Ok(None)`: the
    /// position is invalid.
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

    /// Stores answers to questions of a job. `Ok(None)`: the user has no such job.
    pub async fn answer(
        &self,
        id: &JobId,
        answers: BTreeMap<String, ClientAnswer>,
    ) -> Result<Option<Job>, JobAccessError> {
        if self.get(id).await?.is_none() {
            return Ok(None);
        }
        Ok(self.jobs.answer(&self.caller.user, id, answers).await?)
    }

    /// Cancels a job that has not ended, and returns its new state. `Ok(None)`: the user has no
    /// such job.
    pub async fn cancel(&self, id: &JobId) -> Result<Option<Job>, JobAccessError> {
        if self.get(id).await?.is_none() {
            return Ok(None);
        }
        Ok(self.jobs.cancel(&self.caller.user, id).await?)
    }

    /// The scope that the token lacks for jobs of a tool. `None`: access is allowed. Jobs of a tool
    /// that this version of the server does not have require the scopes of all tools.
    fn missing_scope(&self, tool: &str) -> Option<&'static str> {
        let lacks = |scope: &&'static str| !self.caller.may(scope);
        match self.scopes.of(tool) {
            Some(scope) => Some(scope).filter(lacks),
            None => self.scopes.all().into_iter().map(|(_, scope)| scope).find(lacks),
        }
    }
}
