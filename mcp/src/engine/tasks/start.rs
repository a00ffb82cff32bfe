//! From a call to a job.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::value::RawValue;

use super::messages::started;
use crate::{
    call::{Call, Listening},
    catalog::{Run, ToolEntry},
    engine::{
        Inner,
        execute::{Failure, bounded, tool_failed},
        request::Operation,
        retry::retry_for,
    },
    job::{Job, JobCall, JobId, Jobs, NewJob, NotEnqueued, Origin},
    question::Answer,
    rpc::{self, RequestId},
    trace::TraceParent,
    types::{CallToolResult, LogLevel},
};

/// What comes before a job must not take longer than this: the client waits.
const PREPARE_LIMIT: Duration = Duration::from_secs(30);

/// For how long a new job is offered to a database that does not take it: a connection that broke is
/// replaced at once, and the client waits.
const ENQUEUE_TIMEOUT: Duration = Duration::from_secs(3);

/// A call whose tool is a job.
pub(in crate::engine) struct JobTool<'a> {
    engine: &'a Inner,
    pub(in crate::engine) store: &'a Arc<dyn Jobs>,
    index: usize,
    entry: &'a ToolEntry,
    arguments: &'a RawValue,
    timeout: Duration,
    attempts: u32,
}

/// Why there is no job.
pub(in crate::engine) enum NotStarted {
    /// The tool says so at once.
    Answered(CallToolResult),
    /// An error, or questions that come first.
    Failed(Failure),
}

impl Inner {
    /// How a call is run as a job, if its tool is one and there are jobs here.
    pub(in crate::engine) fn job_tool<'a>(
        &'a self,
        operation: &'a Operation,
    ) -> Option<JobTool<'a>> {
        let Operation::CallTool { index, arguments, .. } = operation else {
            return None;
        };
        let entry = &self.catalog.tools()[*index];
        let Run::Job { timeout, attempts } = entry.run else {
            return None;
        };
        let (engine, store, index) = (self, self.jobs()?, *index);
        Some(JobTool { engine, store, index, entry, arguments, timeout, attempts })
    }
}

impl JobTool<'_> {
    /// Whether the client must be able to hold a task handle.
    pub(in crate::engine) fn needs_task(&self) -> bool {
        self.entry.needs_task
    }

    /// Does what comes before the job.
    pub(in crate::engine) async fn prepare(&self, call: &Call) -> Result<(), NotStarted> {
        let preparing = self.engine.catalog.prepare_tool(self.index, call, self.arguments);
        let Err(error) = bounded(PREPARE_LIMIT, preparing).await else {
            return Ok(());
        };
        Err(match tool_failed(self.entry.definition.name, error, call) {
            Ok(result) => NotStarted::Answered(result),
            Err(failure) => NotStarted::Failed(failure),
        })
    }

    /// Makes a job of the call.
    pub(in crate::engine) async fn start(
        &self,
        id: JobId,
        call: &Call,
        origin: Origin,
        answers: BTreeMap<String, Answer>,
        ttl: Option<Duration>,
    ) -> Result<Job, CallToolResult> {
        let Listening { capabilities, log_level, progress_token } = call.listening();
        let call = JobCall {
            caller: call.caller().clone(),
            version: call.version(),
            capabilities,
            log_level,
            progress_token,
            tool: self.entry.definition.name.to_owned(),
            arguments: self.arguments.to_owned(),
            origin,
            trace: TraceParent::here(),
        };
        let (timeout, attempts) = (self.timeout, self.attempts);
        let job = NewJob { id, call, answers, timeout, attempts, ttl };
        // Perhaps only the answer was lost: then the job is there, and keeping it again finds it.
        let keep = || async {
            match self.store.enqueue(job.clone()).await {
                Ok(job) => Ok(Ok(job)),
                Err(NotEnqueued::TooMany { limit }) => Ok(Err(limit)),
                Err(NotEnqueued::Away(error)) => Err(error),
            }
        };
        match retry_for(ENQUEUE_TIMEOUT, keep).await {
            Ok(Ok(job)) => {
                let tool = self.entry.definition.name;
                tracing::info!(job = %job.id, tool, "Started job {} of `{tool}`", job.id);
                Ok(job)
            }
            Ok(Err(limit)) => Err(CallToolResult::error(format!(
                "You already have {limit} unfinished {}, the maximum. Wait until one has ended, or \
                 cancel one; then call again.",
                if limit == 1 { "job" } else { "jobs" }
            ))),
            Err(error) => {
                tracing::error!(
                    dependency = error.dependency(), error = %error,
                    "A job could not be kept: {error}"
                );
                Err(CallToolResult::fault(
                    "This could not be started, because jobs cannot be kept right now. Please try \
                     again in a moment.",
                ))
            }
        }
    }

    /// The first message of a call that waits: which job it is. Nothing if the client wants neither
    /// progress nor messages.
    pub(in crate::engine) fn first_message(&self, id: &JobId, call: &Call) -> Option<FirstMessage> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Params<'a> {
            progress_token: &'a RequestId,
            progress: f64,
            message: &'a str,
        }
        #[derive(Serialize)]
        struct Message<'a> {
            level: LogLevel,
            data: &'a str,
        }
        let text = started(self.engine, id);
        let Listening { log_level, progress_token, .. } = call.listening();
        if let Some(progress_token) = &progress_token {
            let params = Params { progress_token, progress: 0.0, message: &text };
            let message = rpc::encode_notification("notifications/progress", Some(&params));
            return Some(FirstMessage { is_progress: true, message });
        }
        log_level.filter(|least| LogLevel::Info >= *least)?;
        let params = Message { level: LogLevel::Info, data: &text };
        let message = rpc::encode_notification("notifications/message", Some(&params));
        Some(FirstMessage { is_progress: false, message })
    }
}

/// Says which job a call is.
pub(in crate::engine) struct FirstMessage {
    /// Whether it is progress of 0.
    pub(in crate::engine) is_progress: bool,
    pub(in crate::engine) message: String,
}
