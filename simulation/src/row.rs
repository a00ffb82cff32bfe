//! A row of the simulated table of jobs.

use std::{collections::BTreeMap, time::Duration};

use mcp::{
    ClientAnswer, Question, UserId,
    job::{Job, JobId, JobOutcome, JobStatus, NewJob, Origin, Progress},
};
use serde_json::Value;

/// How long a result is kept.
pub(super) const RESULT_TTL: Duration = Duration::from_hours(24);

/// The table.
pub(super) type Rows = BTreeMap<JobId, Row>;

/// A job.
pub(super) struct Row {
    pub(super) new: NewJob,
    /// The key of a child.
    pub(super) parent_key: Option<String>,
    /// Whether the job waits for its children; its status is `Running`.
    pub(super) waits: bool,
    pub(super) answers: BTreeMap<String, ClientAnswer>,
    pub(super) status: JobStatus,
    pub(super) attempt: u32,
    pub(super) failures: u32,
    pub(super) run_at: u64,
    pub(super) lease_until: Option<u64>,
    /// The name of the worker that runs the job, or ran it last.
    pub(super) worker: String,
    /// The attempt whose worker was lost.
    pub(super) lost_attempt: Option<u32>,
    pub(super) progress: Option<Progress>,
    pub(super) questions: BTreeMap<String, Question>,
    pub(super) outcome: Option<JobOutcome>,
    pub(super) is_notified: bool,
    pub(super) checkpoint: Option<Value>,
    pub(super) created: u64,
    pub(super) updated: u64,
}

impl Row {
    /// A job that is due.
    pub(super) fn new(new: NewJob, parent_key: Option<String>, now: u64) -> Self {
        Self {
            parent_key,
            waits: false,
            answers: new.answers.clone(),
            status: JobStatus::Queued,
            attempt: 0,
            failures: 0,
            run_at: now,
            lease_until: None,
            worker: String::new(),
            lost_attempt: None,
            progress: None,
            questions: BTreeMap::new(),
            outcome: None,
            is_notified: true,
            checkpoint: None,
            created: now,
            updated: now,
            new,
        }
    }

    /// The job that waits for this one.
    pub(super) fn parent(&self) -> Option<&JobId> {
        match &self.new.call.origin {
            Origin::Parent { job } => Some(job),
            _ => None,
        }
    }

    /// Lets the job wait for its children.
    pub(super) fn wait(&mut self, now: u64) {
        self.waits = true;
        self.lease_until = None;
        self.updated = now;
    }

    pub(super) fn is_owned(&self, user: &UserId) -> bool {
        self.new.call.caller.user == *user
    }

    pub(super) fn notifies_client(&self) -> bool {
        matches!(self.new.call.origin, Origin::Stream { .. })
    }

    /// Whether a user sees the job: not if it is a child.
    pub(super) fn is_visible(&self, user: &UserId) -> bool {
        self.is_owned(user) && self.parent().is_none()
    }

    /// The questions that are still open.
    pub(super) fn open_questions(&self) -> BTreeMap<String, Question> {
        let mut questions = self.questions.clone();
        questions.retain(|key, _| !self.answers.contains_key(key));
        questions
    }

    pub(super) fn job(&self) -> Job {
        let call = &self.new.call;
        Job {
            id: self.new.id.clone(),
            version: call.version,
            tool: call.tool.clone(),
            status: self.status,
            progress: self.progress.clone(),
            questions: self.open_questions(),
            outcome: self.outcome.clone(),
            origin: call.origin.clone(),
            created_at: i64::try_from(self.created).unwrap_or(0),
            updated_at: i64::try_from(self.updated).unwrap_or(0),
            ttl: RESULT_TTL,
        }
    }

    /// Whether this attempt is the current one.
    pub(super) fn is_held_by(&self, attempt: u32) -> bool {
        self.attempt == attempt && self.status == JobStatus::Running && !self.waits
    }

    pub(super) fn end(&mut self, status: JobStatus, outcome: Option<JobOutcome>, now: u64) {
        self.status = status;
        self.waits = false;
        self.outcome = outcome;
        self.questions.clear();
        self.checkpoint = None;
        self.lease_until = None;
        self.updated = now;
        self.is_notified = !self.notifies_client();
    }

    pub(super) fn queue(&mut self, at: u64, now: u64) {
        self.status = JobStatus::Queued;
        self.waits = false;
        self.run_at = at;
        self.lease_until = None;
        self.updated = now;
    }
}
