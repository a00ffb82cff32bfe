//! Creation of the job of a call.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::value::RawValue;

use super::messages::started;
use crate::{
    call::{Call, ClientOptions},
    catalog::{BoundTool, RunMode},
    engine::{
        Inner,
        execute::{Failure, bounded, tool_failed},
        request::Operation,
        retry::retry_for,
    },
    job::{Job, JobCall, JobId, Jobs, NewJob, NotEnqueued, Origin},
    question::ClientAnswer,
    rpc::{self, RequestId},
    trace::TraceParent,
    types::{CallToolResult, LogLevel},
};

/// The timeout of [`Tool::prepare`](crate::Tool::prepare), while the client waits.
const PREPARE_LIMIT: Duration = Duration::from_secs(30);

/// How long creating a job is retried. Short, because the client waits; long enough to replace a
/// broken database connection.
const ENQUEUE_TIMEOUT: Duration = Duration::from_secs(3);

/// A call of a tool that runs as a job.
pub(in crate::engine) struct JobTool<'a> {
    engine: &'a Inner,
    pub(in crate::engine) store: &'a Arc<dyn Jobs>,
    tool: &'a BoundTool,
    arguments: &'a RawValue,
    timeout: Duration,
    attempts: u32,
}

/// Why no job was created.
pub(in crate::engine) enum NotStarted {
    /// The tool returned a result before the job.
    Answered(CallToolResult),
    /// An error, or questions to the client.
    Failed(Failure),
}

impl Inner {
    /// Returns the job tool of an operation. `None`: the tool runs inline, or the engine has no
    /// jobs.
    pub(in crate::engine) fn job_tool<'a>(
        &'a self,
        operation: &'a Operation,
    ) -> Option<JobTool<'a>> {
        let Operation::CallTool { tool, arguments, .. } = operation else {
            return None;
        };
        let RunMode::Job { timeout, attempts } = tool.entry.run else {
            return None;
        };
        let (engine, store) = (self, self.jobs()?);
        Some(JobTool { engine, store, tool, arguments, timeout, attempts })
    }
}

impl JobTool<'_> {
    /// Whether the client must support tasks.
    pub(in crate::engine) fn needs_task(&self) -> bool {
        self.tool.entry.needs_task
    }

    /// Runs [`Tool::prepare`](crate::Tool::prepare).
    pub(in crate::engine) async fn prepare(&self, call: &Call) -> Result<(), NotStarted> {
        let preparing = self.tool.prepare(call, self.arguments);
        let Err(error) = bounded(PREPARE_LIMIT, preparing).await else {
            return Ok(());
        };
        Err(match tool_failed(self.tool.name(), error, call) {
            Ok(result) => NotStarted::Answered(result),
            Err(failure) => NotStarted::Failed(failure),
        })
    }

    /// Creates the job of the call. The error is the result for the client.
    pub(in crate::engine) async fn start(
        &self,
        id: JobId,
        call: &Call,
        origin: Origin,
        answers: BTreeMap<String, ClientAnswer>,
        ttl: Option<Duration>,
    ) -> Result<Job, CallToolResult> {
        let ClientOptions { capabilities, log_level, progress_token } = call.client_options();
        let call = JobCall {
            caller: call.caller().clone(),
            version: call.version(),
            capabilities,
            log_level,
            progress_token,
            tool: self.tool.name().to_owned(),
            arguments: self.arguments.to_owned(),
            origin,
            trace: TraceParent::here(),
        };
        let (timeout, attempts) = (self.timeout, self.attempts);
        let job = NewJob { id, call, answers, timeout, attempts, ttl };
        // Idempotent: if only the reply of the database was lost, the job exists and is returned.
        let enqueue = || async {
            match self.store.enqueue(job.clone()).await {
                Ok(job) => Ok(Ok(job)),
                Err(NotEnqueued::Unavailable(error)) => Err(error),
                Err(refused) => Ok(Err(refused)),
            }
        };
        let enqueued = match retry_for(ENQUEUE_TIMEOUT, enqueue).await {
            // The job may exist although every reply was lost; a call must not fail beside its job.
            Err(error) => match self.store.get(&job.call.caller.user, &job.id).await {
                Ok(Some(job)) => Ok(Ok(job)),
                Ok(None) | Err(_) => Err(error),
            },
            enqueued => enqueued,
        };
        match enqueued {
            Ok(Ok(job)) => {
                let tool = self.tool.name();
                tracing::info!(job = %job.id, tool, "Created a job");
                Ok(job)
            }
            Ok(Err(refused)) => Err(CallToolResult::error(format!(
                "{} Wait until a job has ended, or cancel one; then call again.",
                refused.sentence()
            ))),
            Err(error) => {
                tracing::error!(
                    dependency = error.dependency(), %error,
                    "Could not create a job; the call fails"
                );
                Err(CallToolResult::fault(
                    "The job could not be created, because the database is unavailable. Please try \
                     again in a moment.",
                ))
            }
        }
    }

    /// Encodes the first message of a call that waits for its job: the job id. `None`: the client
    /// wants neither progress nor log messages.
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
        let ClientOptions { log_level, progress_token, .. } = call.client_options();
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

/// A message with the id of the job of a call.
pub(in crate::engine) struct FirstMessage {
    /// Whether the message is a progress notification (of 0).
    pub(in crate::engine) is_progress: bool,
    pub(in crate::engine) message: String,
}
