//! A call of a tool, resource or prompt: the caller, the capabilities of the client, and
//! communication with the client while the call runs.
//!
//! **Asking is re-entrant.** [`Call::elicit`], [`Call::elicit_url`], [`Call::sample`] and
//! [`Call::roots`] return the answer if the client has answered this key. Otherwise they record the
//! question and end the run with an error; the engine asks the client, and runs the tool again from
//! the start when all answers have arrived, possibly in another process. To ask several questions
//! at once, record each with [`Call::ask`] and end the run with [`Call::settle`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    caller::{Caller, UserId},
    caller_jobs::{CallerJobs, JobAccess},
    catalog::schema,
    error::{ChildrenWanted, InputRequired, ToolError},
    job::{AttemptStore, Child, JobId, JobOutcome, MAX_CHILDREN, Progress},
    question::{BadAnswer, ClientAnswer, Elicited, Question, Root, SampleRequest, Sampled},
    rpc::{self, RequestId, RpcError},
    seal::Sealing,
    store::Signal,
    types::{ClientCapabilities, LogLevel},
    version::ProtocolVersion,
};

/// The maximum number of questions of a call in all rounds: stops a tool that asks forever.
const MAX_QUESTIONS: usize = 32;

/// The destination of the messages of a running call.
#[async_trait]
pub(crate) trait Outlet: Send + Sync {
    /// Sends a notification on the call's own stream.
    async fn send(&self, notification: String);
    /// Sends a progress notification; `done` is its progress.
    async fn progress(&self, _done: f64, notification: String) {
        self.send(notification).await;
    }
    /// Closes the socket of a legacy stream; the client resumes it.
    async fn release(&self) {}
    /// Publishes a signal.
    async fn publish(&self, signal: Signal);
}

/// The data from which the engine creates a [`Call`].
pub(crate) struct CallContext {
    pub(crate) caller: Caller,
    pub(crate) version: ProtocolVersion,
    pub(crate) capabilities: ClientCapabilities,
    pub(crate) progress_token: Option<RequestId>,
    /// The minimum severity of log messages. `None`: the client wants none.
    pub(crate) log_level: Option<LogLevel>,
    pub(crate) answers: BTreeMap<String, ClientAnswer>,
    /// When the questions of the last round were asked, in seconds since the Unix epoch. `None`:
    /// nothing was asked, or it is not known.
    pub(crate) asked_at: Option<i64>,
    pub(crate) sealing: Arc<Sealing>,
    /// The last progress sent to the client.
    pub(crate) progress: Option<f64>,
    pub(crate) cancel: CancellationToken,
    pub(crate) outlet: Arc<dyn Outlet>,
    /// Access to jobs. `None`: the engine has no jobs.
    pub(crate) jobs: Option<JobAccess>,
    /// Set if the call is an attempt of a job.
    pub(crate) job: Option<JobContext>,
}

/// The data of a call that is an attempt of a job.
pub(crate) struct JobContext {
    pub(crate) id: JobId,
    pub(crate) attempt: u32,
    pub(crate) is_last: bool,
    pub(crate) checkpoint: Option<Value>,
    pub(crate) children: BTreeMap<String, JobOutcome>,
    /// Whether the job is a child of another job.
    pub(crate) is_child: bool,
    pub(crate) attempt_store: Arc<dyn AttemptStore>,
}

/// A call of a tool, resource or prompt.
pub struct Call {
    caller: Caller,
    version: ProtocolVersion,
    capabilities: ClientCapabilities,
    progress_token: Option<RequestId>,
    log_level: Option<LogLevel>,
    answers: BTreeMap<String, ClientAnswer>,
    asked_at: Option<i64>,
    sealing: Arc<Sealing>,
    progress: Mutex<Option<f64>>,
    asked: Mutex<BTreeMap<String, Question>>,
    /// The outcomes of children, by the tool's key.
    children: Mutex<BTreeMap<String, JobOutcome>>,
    /// The children that must run first.
    wanted: Mutex<BTreeMap<String, Child>>,
    may_have_children: bool,
    cancel: CancellationToken,
    outlet: Arc<dyn Outlet>,
    jobs: Option<JobAccess>,
    job: Option<JobContext>,
}

/// The capabilities of a client, and the messages that it wants during a call.
pub(crate) struct ClientOptions {
    pub(crate) capabilities: ClientCapabilities,
    pub(crate) log_level: Option<LogLevel>,
    pub(crate) progress_token: Option<RequestId>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProgressParams<'a> {
    progress_token: &'a RequestId,
    progress: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

#[derive(Serialize)]
struct MessageParams<'a> {
    level: LogLevel,
    data: &'a Value,
}

impl Call {
    pub(crate) fn new(context: CallContext) -> Self {
        let mut job = context.job;
        let children = job.as_mut().map(|job| std::mem::take(&mut job.children));
        Self {
            children: Mutex::new(children.unwrap_or_default()),
            wanted: Mutex::default(),
            may_have_children: !job.as_ref().is_some_and(|it| it.is_child),
            job,
            caller: context.caller,
            version: context.version,
            capabilities: context.capabilities,
            progress_token: context.progress_token,
            log_level: context.log_level,
            answers: context.answers,
            asked_at: context.asked_at,
            sealing: context.sealing,
            progress: Mutex::new(context.progress),
            asked: Mutex::default(),
            cancel: context.cancel,
            outlet: context.outlet,
            jobs: context.jobs,
        }
    }

    /// The user of the call. Every query must be restricted to it.
    pub fn user(&self) -> &UserId {
        &self.caller.user
    }

    /// The user, the OAuth client and the scopes.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The jobs of the user that the access token may access. `None`: the engine has no jobs.
    pub fn jobs(&self) -> Option<CallerJobs<'_>> {
        self.jobs.as_ref().map(|jobs| jobs.of(&self.caller))
    }

    /// The protocol revision of this call.
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Whether the client has declared an extension (2026-07-28).
    pub fn has_extension(&self, name: &str) -> bool {
        self.capabilities.extensions.contains_key(name)
    }

    /// Reports progress. `done` must increase; other values are dropped. Sent to the client if it
    /// asked for progress. A job also stores it, for clients that poll.
    pub async fn progress(&self, done: f64, total: Option<f64>, message: Option<&str>) {
        {
            let mut last = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            if !done.is_finite() || last.is_some_and(|last| done <= last) {
                return;
            }
            *last = Some(done);
        }
        if let Some(progress_token) = &self.progress_token {
            let params = ProgressParams { progress_token, progress: done, total, message };
            let notification = rpc::encode_notification("notifications/progress", Some(&params));
            self.outlet.progress(done, notification).await;
        }
        // Stored after it was sent: if the process dies in between, the next attempt sends it
        // again.
        if let Some(job) = &self.job {
            let message = message.map(str::to_owned);
            job.attempt_store.progress(Progress { done, total, message }).await;
        }
    }

    /// Sends a log message to the client, if it wants messages of this severity. It must not
    /// contain secrets, personal data or internals.
    pub async fn log(&self, level: LogLevel, data: impl Into<Value> + Send) {
        if self.log_level.is_none_or(|least| level < least) {
            return;
        }
        let params = MessageParams { level, data: &data.into() };
        self.outlet.send(rpc::encode_notification("notifications/message", Some(&params))).await;
    }

    /// The cancellation token of the call: cancelled by the client, or by a shutdown. The future of
    /// the tool is dropped at its next await; a tool that spawns tasks must pass the token to them.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancel
    }

    /// The job id and the number of the attempt. `None`: the call is not a job. The id is equal in
    /// all attempts, so it can serve as an idempotency key; the number increases and can serve as a
    /// fencing token.
    pub fn attempt(&self) -> Option<(&JobId, u32)> {
        self.job.as_ref().map(|job| (&job.id, job.attempt))
    }

    /// Whether no further attempt follows if this run fails.
    pub fn is_last_attempt(&self) -> bool {
        self.job.as_ref().is_none_or(|it| it.is_last)
    }

    /// Loads the last checkpoint of an earlier run of this job. `None`: there is none, it cannot be
    /// parsed, or the call is not a job.
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Option<T> {
        let saved = self.job.as_ref()?.checkpoint.as_ref()?;
        match T::deserialize(saved) {
            Ok(saved) => Some(saved),
            Err(error) => {
                tracing::warn!(%error, "Ignored an unreadable checkpoint; the job starts over");
                None
            }
        }
    }

    /// Stores a checkpoint, from which a later run can continue. An error means that this attempt
    /// is superseded; the tool must end, as with `?`. Does nothing if the call is not a job.
    pub async fn save<T: Serialize + Sync>(&self, state: &T) -> Result<(), ToolError> {
        let Some(job) = &self.job else {
            return Ok(());
        };
        let state = serde_json::to_value(state).map_err(ToolError::internal)?;
        Ok(job.attempt_store.checkpoint(state).await?)
    }

    /// Runs other tools as concurrent child jobs, and returns their outcomes in the same order.
    /// Re-entrant like asking: ends this run, and the tool runs again when all children have ended.
    /// If the call is not a job, the children run in this process, one after the other.
    pub fn children(&self, key: &str, children: Vec<Child>) -> Result<Vec<JobOutcome>, ToolError> {
        if !self.may_have_children {
            return Err(ToolError::internal("a child job asks for children"));
        }
        if children.len() > MAX_CHILDREN {
            return Err(ToolError::internal("a tool asks for more children than the maximum"));
        }
        let ended = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outcomes = Vec::with_capacity(children.len());
        let mut wanted = BTreeMap::new();
        for (index, child) in children.into_iter().enumerate() {
            let key = format!("{key}/{index}");
            match ended.get(&key) {
                Some(outcome) => outcomes.push(outcome.clone()),
                None => drop(wanted.insert(key, child)),
            }
        }
        if wanted.is_empty() {
            return Ok(outcomes);
        }
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
        Err(ToolError::Children(ChildrenWanted(())))
    }

    /// Closes the client's connection during the call (SEP-1699); the client reconnects and resumes
    /// the stream. Does nothing for clients that do not support it.
    pub async fn release_stream(&self) {
        if self.version == ProtocolVersion::V2025_11_25 {
            self.outlet.release().await;
        }
    }

    /// Publishes a signal to subscribers. Call after the commit of a change.
    pub async fn publish(&self, signal: Signal) {
        self.outlet.publish(signal).await;
    }

    /// Asks the user for the fields of `T` with a form.
    pub fn elicit<T: DeserializeOwned + JsonSchema>(
        &self,
        key: &str,
        message: impl Into<String>,
    ) -> Result<Elicited<T>, ToolError> {
        let answer = self.require(key, || Question::elicit::<T>(message))?;
        answer.elicited(&schema::form::<T>()).map_err(|bad| self.bad_answer(key, bad))
    }

    /// Asks the user with a form of the given schema.
    pub fn elicit_with(
        &self,
        key: &str,
        message: impl Into<String>,
        schema: Value,
    ) -> Result<Elicited<Value>, ToolError> {
        if let Some(answer) = self.answers.get(key) {
            return answer.elicited(&schema).map_err(|bad| self.bad_answer(key, bad));
        }
        self.ask(key, Question::Elicit { message: message.into(), schema })?;
        Err(ToolError::InputRequired(InputRequired(())))
    }

    /// Asks the user to open a URL (2025-11-25 and later). The page must check that the visitor is
    /// the user of this call.
    pub fn elicit_url(
        &self,
        key: &str,
        message: impl Into<String>,
        url: impl Into<String>,
    ) -> Result<Elicited<()>, ToolError> {
        let question = || Question::ElicitUrl { message: message.into(), url: url.into() };
        let answer = self.require(key, question)?;
        answer.elicited_url().map_err(|bad| self.bad_answer(key, bad))
    }

    /// Runs messages through the client's model (sampling).
    pub fn sample(&self, key: &str, request: SampleRequest) -> Result<Sampled, ToolError> {
        let answer = self.require(key, || Question::Sample(request))?;
        answer.sampled().map_err(|bad| self.bad_answer(key, bad))
    }

    /// Asks for the folders that the user works in.
    pub fn roots(&self, key: &str) -> Result<Vec<Root>, ToolError> {
        let answer = self.require(key, || Question::Roots)?;
        answer.roots().map_err(|bad| self.bad_answer(key, bad))
    }

    /// Records a question without ending the run, so that several are asked together. Call
    /// [`Self::settle`] next, then read the answers with [`Self::elicit`] and its siblings by the
    /// same keys.
    pub fn ask(&self, key: &str, question: Question) -> Result<(), ToolError> {
        if self.answers.contains_key(key) {
            return Ok(());
        }
        let capability = question.capability();
        if !capability.declared_in(&self.capabilities, self.version) {
            return Err(ToolError::MissingCapability(capability));
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if self.answers.len() + asked.len() >= MAX_QUESTIONS {
            return Err(ToolError::internal(
                "a tool asks more questions than the maximum of a call",
            ));
        }
        asked.insert(key.to_owned(), question);
        Ok(())
    }

    /// Ends the run (with an error) if a question is open.
    pub fn settle(&self) -> Result<(), ToolError> {
        let open = !self.asked.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if open { Err(ToolError::InputRequired(InputRequired(()))) } else { Ok(()) }
    }

    /// Whether the client has a capability, in the revision of this call.
    pub fn can_ask(&self, capability: crate::Capability) -> bool {
        capability.declared_in(&self.capabilities, self.version)
    }

    pub(crate) fn require(
        &self,
        key: &str,
        question: impl FnOnce() -> Question,
    ) -> Result<&ClientAnswer, ToolError> {
        if let Some(answer) = self.answers.get(key) {
            return Ok(answer);
        }
        self.ask(key, question())?;
        Err(ToolError::InputRequired(InputRequired(())))
    }

    pub(crate) fn bad_answer(&self, key: &str, bad: BadAnswer) -> ToolError {
        match bad {
            BadAnswer::Refused(reason) => ToolError::Failed(format!(
                "The client did not answer the question `{key}`: {}",
                rpc::shorten(&reason)
            )),
            BadAnswer::Malformed(problem) if self.version.is_modern() => {
                ToolError::Rpc(RpcError::invalid_params(format!(
                    "`inputResponses.{key}` does not answer its question: {problem}"
                )))
            }
            BadAnswer::Malformed(problem) => ToolError::Failed(format!(
                "The client's answer to the question `{key}` cannot be used: {problem}"
            )),
        }
    }

    pub(crate) fn client_options(&self) -> ClientOptions {
        ClientOptions {
            capabilities: self.capabilities.clone(),
            log_level: self.log_level,
            progress_token: self.progress_token.clone(),
        }
    }

    pub(crate) fn take_questions(&self) -> BTreeMap<String, Question> {
        std::mem::take(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn take_wanted(&self) -> BTreeMap<String, Child> {
        std::mem::take(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records the outcome of a child.
    pub(crate) fn child_ended(&self, key: String, outcome: JobOutcome) {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).insert(key, outcome);
    }

    /// Creates the call of a child that runs in this process: with the same rights, but without
    /// messages to the client.
    pub(crate) fn child(&self) -> Self {
        Self {
            caller: self.caller.clone(),
            version: self.version,
            capabilities: ClientCapabilities::default(),
            progress_token: None,
            log_level: None,
            answers: BTreeMap::new(),
            asked_at: None,
            sealing: Arc::clone(&self.sealing),
            progress: Mutex::default(),
            asked: Mutex::default(),
            children: Mutex::default(),
            wanted: Mutex::default(),
            may_have_children: false,
            cancel: self.cancel.clone(),
            outlet: Arc::clone(&self.outlet),
            jobs: self.jobs.clone(),
            job: None,
        }
    }

    pub(crate) fn sealing(&self) -> &Sealing {
        &self.sealing
    }

    /// How many seconds ago the questions of the last round were asked. `None`: it is not known. The
    /// clocks of two instances may differ, so it may be negative.
    pub(crate) fn seconds_since_asked(&self) -> Option<i64> {
        self.asked_at.map(|asked_at| self.sealing.now() - asked_at)
    }

    pub(crate) fn answers(&self) -> BTreeMap<String, ClientAnswer> {
        self.answers.clone()
    }

    pub(crate) fn into_progress_and_answers(self) -> (Option<f64>, BTreeMap<String, ClientAnswer>) {
        (self.progress.into_inner().unwrap_or_else(PoisonError::into_inner), self.answers)
    }
}
