//! One call of a tool, resource or prompt: who calls, what the client can do, and the ways to talk
//! to it while the call runs.
//!
//! **Asking is re-entrant.** [`Call::elicit`], [`Call::elicit_url`], [`Call::sample`] and
//! [`Call::roots`] give the answer if the client has already answered this key. Otherwise they note
//! the question and end the run; the engine asks, and runs the tool again from the start once the
//! answers are there, possibly in another process. To ask several questions at once, note each with
//! [`Call::ask`] and end with [`Call::settle`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    caller::{Caller, UserId},
    caller_jobs::{CallerJobs, JobAccess},
    catalog::schema,
    error::{ChildrenWanted, InputRequired, ToolError},
    job::{Child, JobId, JobOutcome, MAX_CHILDREN, Notebook, Progress},
    question::{Answer, BadAnswer, Elicited, Question, Root, SampleRequest, Sampled},
    rpc::{self, RequestId, RpcError},
    store::Signal,
    types::{ClientCapabilities, LogLevel},
    version::ProtocolVersion,
};

/// How many questions one call may ask over all its rounds: a tool that asks for ever is broken.
const MAX_QUESTIONS: usize = 32;

/// Where the messages of a running call go.
#[async_trait]
pub(crate) trait Outlet: Send + Sync {
    /// Sends a notification on the call's own stream.
    async fn send(&self, notification: String);
    /// Sends a notification of progress, which has come as far as `done`.
    async fn progress(&self, _done: f64, notification: String) {
        self.send(notification).await;
    }
    /// Closes the socket of a legacy stream; the client comes back for the rest.
    async fn release(&self) {}
    /// Tells subscribers that something has changed.
    async fn publish(&self, signal: Signal);
}

/// What the engine knows about one call.
pub(crate) struct CallContext {
    pub(crate) caller: Caller,
    pub(crate) version: ProtocolVersion,
    pub(crate) capabilities: ClientCapabilities,
    pub(crate) progress_token: Option<RequestId>,
    /// The least severity that the client wants, if it wants log messages at all.
    pub(crate) log_level: Option<LogLevel>,
    pub(crate) answers: BTreeMap<String, Answer>,
    /// The last progress that the client saw.
    pub(crate) progress: Option<f64>,
    pub(crate) cancel: CancellationToken,
    pub(crate) outlet: Arc<dyn Outlet>,
    /// Where jobs are kept, if calls become jobs here.
    pub(crate) jobs: Option<JobAccess>,
    /// What only a job has.
    pub(crate) job: Option<JobContext>,
}

/// What a call has that is an attempt to run a job.
pub(crate) struct JobContext {
    pub(crate) id: JobId,
    pub(crate) attempt: u32,
    pub(crate) is_last: bool,
    pub(crate) checkpoint: Option<Value>,
    pub(crate) children: BTreeMap<String, JobOutcome>,
    /// Whether it was asked for by another job.
    pub(crate) is_child: bool,
    pub(crate) notebook: Arc<dyn Notebook>,
}

/// One call of a tool, resource or prompt.
pub struct Call {
    caller: Caller,
    version: ProtocolVersion,
    capabilities: ClientCapabilities,
    progress_token: Option<RequestId>,
    log_level: Option<LogLevel>,
    answers: BTreeMap<String, Answer>,
    progress: Mutex<Option<f64>>,
    asked: Mutex<BTreeMap<String, Question>>,
    /// What became of children, by the tool's own key.
    children: Mutex<BTreeMap<String, JobOutcome>>,
    /// Children that are still to be run.
    wanted: Mutex<BTreeMap<String, Child>>,
    may_have_children: bool,
    cancel: CancellationToken,
    outlet: Arc<dyn Outlet>,
    jobs: Option<JobAccess>,
    job: Option<JobContext>,
}

/// What a client can do, and what it wants to hear of a call.
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
        let children = job.as_mut().map(|it| std::mem::take(&mut it.children));
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
            progress: Mutex::new(context.progress),
            asked: Mutex::default(),
            cancel: context.cancel,
            outlet: context.outlet,
            jobs: context.jobs,
        }
    }

    /// The person on whose behalf the tool runs. Every query begins with it.
    pub fn user(&self) -> &UserId {
        &self.caller.user
    }

    /// The person, the OAuth client and the scopes.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The jobs of the person, as far as the access token may see and change them. `None`: calls do
    /// not become jobs here.
    pub fn jobs(&self) -> Option<CallerJobs<'_>> {
        self.jobs.as_ref().map(|jobs| jobs.of(&self.caller))
    }

    /// The protocol revision of this call.
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Whether the client has declared the extension of that name (2026-07-28).
    pub fn has_extension(&self, name: &str) -> bool {
        self.capabilities.extensions.contains_key(name)
    }

    /// Tells the client how far the work is. `done` must grow from call to call: what does not is
    /// dropped. A job keeps it, for whoever asks; otherwise it goes to a client that asked for
    /// progress.
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
        // Noted after it was told: an attempt that follows tells what is not noted.
        if let Some(job) = &self.job {
            let message = message.map(str::to_owned);
            job.notebook.progress(Progress { done, total, message }).await;
        }
    }

    /// Sends a log message to the client, if it wants ones of this severity. Never put secrets,
    /// personal data or internals into it.
    pub async fn log(&self, level: LogLevel, data: impl Into<Value> + Send) {
        if self.log_level.is_none_or(|least| level < least) {
            return;
        }
        let params = MessageParams { level, data: &data.into() };
        self.outlet.send(rpc::encode_notification("notifications/message", Some(&params))).await;
    }

    /// Ends when the client has cancelled the call or the instance cannot wait any longer. A tool
    /// is dropped at its next await then; whoever hands work to another task passes this on.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancel
    }

    /// The job that this call is and the number of the attempt, if it is a job. The id is the same
    /// in every attempt, so it tells what an earlier one has done already; the number only grows,
    /// and what an attempt of a lower number writes is void.
    pub fn attempt(&self) -> Option<(&JobId, u32)> {
        self.job.as_ref().map(|it| (&it.id, it.attempt))
    }

    /// Whether nobody tries again if this run fails.
    pub fn is_last_attempt(&self) -> bool {
        self.job.as_ref().is_none_or(|it| it.is_last)
    }

    /// What was last saved in an earlier run of this job, if it can still be read. Nothing if there
    /// was none, or if this call is no job.
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Option<T> {
        let saved = self.job.as_ref()?.checkpoint.as_ref()?;
        match T::deserialize(saved) {
            Ok(saved) => Some(saved),
            Err(error) => {
                tracing::warn!(error = %error, "A checkpoint cannot be read: {error}");
                None
            }
        }
    }

    /// Keeps what a later run needs in order to go on instead of starting over. Fails if this
    /// attempt is over; then the tool must end, which `?` does. Does nothing if this call is no job.
    pub async fn save<T: Serialize + Sync>(&self, state: &T) -> Result<(), ToolError> {
        let Some(job) = &self.job else {
            return Ok(());
        };
        let state = serde_json::to_value(state).map_err(ToolError::internal)?;
        Ok(job.notebook.checkpoint(state).await?)
    }

    /// Runs other tools as jobs of their own, side by side, and gives what came of them, in the
    /// same order. Re-entrant, as asking is: ends this run until all have ended, then the tool is
    /// run again. In a call that is no job they run here, one after the other.
    pub fn children(&self, key: &str, children: Vec<Child>) -> Result<Vec<JobOutcome>, ToolError> {
        if !self.may_have_children {
            return Err(ToolError::internal("a child asks for children"));
        }
        if children.len() > MAX_CHILDREN {
            return Err(ToolError::internal("a tool asks for more children than a job may have"));
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

    /// Closes the client's connection in the middle of the call (SEP-1699); the client comes back
    /// and reads on. Does nothing for clients that do not expect it.
    pub async fn release_stream(&self) {
        if self.version == ProtocolVersion::V2025_11_25 {
            self.outlet.release().await;
        }
    }

    /// Tells subscribers that something has changed. For changes in a database, after the commit.
    pub async fn publish(&self, signal: Signal) {
        self.outlet.publish(signal).await;
    }

    /// Asks the user for the fields of `T`, by a form.
    pub fn elicit<T: DeserializeOwned + JsonSchema>(
        &self,
        key: &str,
        message: impl Into<String>,
    ) -> Result<Elicited<T>, ToolError> {
        let answer = self.require(key, || Question::elicit::<T>(message))?;
        answer.elicited(&schema::form::<T>()).map_err(|bad| self.bad_answer(key, bad))
    }

    /// Asks the user by a form with a schema written by hand.
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

    /// Asks the user to open a URL (2025-11-25 and later). The page must check that whoever opens
    /// it is the user of this call.
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

    /// Runs messages through the client's model.
    pub fn sample(&self, key: &str, request: SampleRequest) -> Result<Sampled, ToolError> {
        let answer = self.require(key, || Question::Sample(request))?;
        answer.sampled().map_err(|bad| self.bad_answer(key, bad))
    }

    /// Asks which folders the user works in.
    pub fn roots(&self, key: &str) -> Result<Vec<Root>, ToolError> {
        let answer = self.require(key, || Question::Roots)?;
        answer.roots().map_err(|bad| self.bad_answer(key, bad))
    }

    /// Notes a question without ending the run, so that several travel together. End with
    /// [`Self::settle`], then read the answers with [`Self::elicit`] and its siblings under the
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
            return Err(ToolError::internal("a tool asks more questions than one call may"));
        }
        asked.insert(key.to_owned(), question);
        Ok(())
    }

    /// Ends the run if a question is open.
    pub fn settle(&self) -> Result<(), ToolError> {
        let open = !self.asked.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if open { Err(ToolError::InputRequired(InputRequired(()))) } else { Ok(()) }
    }

    /// Whether the client can do what this question asks of it.
    pub fn can_ask(&self, capability: crate::Capability) -> bool {
        capability.declared_in(&self.capabilities, self.version)
    }

    fn require(
        &self,
        key: &str,
        question: impl FnOnce() -> Question,
    ) -> Result<&Answer, ToolError> {
        if let Some(answer) = self.answers.get(key) {
            return Ok(answer);
        }
        self.ask(key, question())?;
        Err(ToolError::InputRequired(InputRequired(())))
    }

    fn bad_answer(&self, key: &str, bad: BadAnswer) -> ToolError {
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

    /// Notes what became of a child.
    pub(crate) fn child_ended(&self, key: String, outcome: JobOutcome) {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).insert(key, outcome);
    }

    /// The call of a child that runs here: it has the same rights, and nobody to talk to.
    pub(crate) fn child(&self) -> Self {
        Self {
            caller: self.caller.clone(),
            version: self.version,
            capabilities: ClientCapabilities::default(),
            progress_token: None,
            log_level: None,
            answers: BTreeMap::new(),
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

    pub(crate) fn answers(&self) -> BTreeMap<String, Answer> {
        self.answers.clone()
    }

    pub(crate) fn into_progress_and_answers(self) -> (Option<f64>, BTreeMap<String, Answer>) {
        (self.progress.into_inner().unwrap_or_else(PoisonError::into_inner), self.answers)
    }
}

/// The parts of a request's `_meta` that concern a running call.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CallMeta {
    pub(crate) progress_token: Option<RequestId>,
}
