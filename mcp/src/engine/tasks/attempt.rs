//! One attempt of a job, in a worker.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    call::{Call, CallContext, JobContext, Outlet},
    catalog::RunMode,
    engine::{
        Inner,
        execute::{Failure, internal_failure_text, outcome, result_for, tool_failed, try_tool},
        retry::{WRITE_TIMEOUT, retry_for},
        tasks::{
            messages::restarted,
            stream::{JOB_LEASE, progress_mark},
        },
    },
    error::ToolError,
    job::{
        Attempt, AttemptEnd, AttemptStore, Child, JobCall, JobId, JobOutcome, NewJob, Origin,
        Progress,
    },
    rpc::RpcError,
    store::{Mark, Signal, Writer},
    trace::{self, TraceParent},
    types::{CallToolResult, ClientCapabilities, LogLevel},
};

/// Runs one attempt of a job until the tool returns or `cancel` fires. The caller enforces the
/// timeout.
pub(in crate::engine) async fn run(
    engine: &Arc<Inner>,
    attempt: Attempt,
    attempt_store: Arc<dyn AttemptStore>,
    cancel: CancellationToken,
) -> AttemptEnd {
    let JobCall { tool, caller, trace: started_in, .. } = &attempt.call;
    let request = caller.request.as_deref();
    let span = trace::attempt(attempt.id.as_str(), attempt.number, tool, request, *started_in);
    let attempting = async {
        let end = run_traced(engine, attempt, attempt_store, cancel).await;
        if matches!(end, AttemptEnd::Retry(_)) {
            trace::failed("retry");
        }
        end
    };
    attempting.instrument(span).await
}

async fn run_traced(
    engine: &Arc<Inner>,
    attempt: Attempt,
    attempt_store: Arc<dyn AttemptStore>,
    cancel: CancellationToken,
) -> AttemptEnd {
    let Attempt { id, number, last, call: job, answers, children, checkpoint, .. } = attempt;
    let Attempt { follows_loss, progress, .. } = attempt;
    let Some(tool) = engine.catalog.find_tool(&job.tool) else {
        // The job was created by another version of this server.
        return AttemptEnd::Retry(format!("`{}` is not offered by this server", job.tool));
    };
    let outlet = JobOutlet {
        engine: Arc::clone(engine),
        job: id.clone(),
        origin: job.origin.clone(),
        write_failed: AtomicBool::new(false),
    };
    let call = Call::new(CallContext {
        caller: job.caller.clone(),
        version: job.version,
        capabilities: job.capabilities.clone(),
        progress_token: job.progress_token.clone(),
        log_level: job.log_level,
        answers,
        asked_at: None,
        sealing: Arc::clone(&engine.sealing),
        progress: progress.as_ref().map(|progress| progress.done),
        cancel: cancel.clone(),
        outlet: Arc::new(outlet),
        jobs: engine.job_access.clone(),
        job: Some(JobContext {
            id: id.clone(),
            attempt: number,
            is_last: last,
            checkpoint,
            children,
            is_child: matches!(job.origin, Origin::Parent { .. }),
            attempt_store,
        }),
    });
    let running = async {
        if follows_loss {
            report_restart(&call, number, progress).await;
        }
        try_tool(tool, &call, &job.arguments).await
    };
    let called = tokio::select! {
        biased;
        () = cancel.cancelled() => return AttemptEnd::Stopped,
        called = running => called,
        () = keep_stream(engine, &job.origin) => return AttemptEnd::Stopped,
    };
    match called {
        Ok(result) => answered(&result_for(result, call.version())),
        Err(error) => failed(engine, &id, &job, &call, error),
    }
}

/// Informs the client that the job was started again, in a progress message, or in a log message if
/// the client wants no progress.
async fn report_restart(call: &Call, number: u32, progress: Option<Progress>) {
    let text = restarted(number);
    if call.client_options().progress_token.is_none() {
        call.log(LogLevel::Info, &*text).await;
    }
    let (done, total) = progress.map_or((0.0, None), |last| (last.done, last.total));
    call.progress(slightly_more(done), total, Some(&text)).await;
}

/// The smallest useful step: progress must increase with each message, and the next progress of the
/// tool must exceed this one.
fn slightly_more(done: f64) -> f64 {
    const STEP: f64 = 1e-9;
    done + STEP * done.abs().max(1.0)
}

fn answered(result: &CallToolResult) -> AttemptEnd {
    AttemptEnd::Answered(outcome(result))
}

fn failed(engine: &Inner, id: &JobId, job: &JobCall, call: &Call, error: ToolError) -> AttemptEnd {
    match error {
        ToolError::Retry(message) | ToolError::Unavailable(message) => AttemptEnd::Retry(message),
        ToolError::Internal(source) => {
            let tool = &job.tool;
            tracing::error!(
                tool, job = %id, error = %source,
                "The tool of a job failed with an internal error"
            );
            AttemptEnd::Retry(internal_failure_text(tool))
        }
        ToolError::Superseded(_) => AttemptEnd::Stopped,
        ToolError::Children(_) => match children(engine, id, job, call.take_wanted()) {
            Ok(children) => AttemptEnd::Children(children),
            Err(error) => failed(engine, id, job, call, error),
        },
        error => match tool_failed(&job.tool, error, call) {
            Ok(result) => answered(&result),
            Err(Failure::InputRequired(questions)) => AttemptEnd::InputRequired(questions),
            Err(Failure::MissingScope(scope)) => {
                AttemptEnd::Answered(JobOutcome::Error(RpcError::missing_scope(scope)))
            }
            Err(Failure::Rpc(error)) => AttemptEnd::Answered(JobOutcome::Error(error)),
        },
    }
}

/// Builds the child jobs that a tool asked for.
fn children(
    engine: &Inner,
    parent: &JobId,
    job: &JobCall,
    wanted: BTreeMap<String, Child>,
) -> Result<BTreeMap<String, NewJob>, ToolError> {
    wanted
        .into_iter()
        .map(|(key, child)| Ok((key, new_child(engine, parent, job, child)?)))
        .collect()
}

fn new_child(
    engine: &Inner,
    parent: &JobId,
    job: &JobCall,
    child: Child,
) -> Result<NewJob, ToolError> {
    let tool = engine.find_child(&child.tool, &job.caller)?;
    let (timeout, attempts) = limits(tool.entry.run);
    Ok(NewJob {
        id: engine.environment.job_id(),
        call: JobCall {
            capabilities: ClientCapabilities::default(),
            log_level: None,
            progress_token: None,
            tool: child.tool,
            arguments: child.arguments,
            origin: Origin::Parent { job: parent.clone() },
            trace: TraceParent::here(),
            ..job.clone()
        },
        answers: BTreeMap::new(),
        timeout,
        attempts,
        ttl: None,
    })
}

/// The timeout of an attempt, and the maximum number of attempts.
pub(super) fn limits(run: RunMode) -> (Duration, u32) {
    match run {
        RunMode::Job { timeout, attempts } => (timeout, attempts),
        // An inline tool may not be safe to run twice.
        RunMode::Inline { timeout } => (timeout, 1),
    }
}

/// Renews the lease of the stream that a job writes to. Never completes.
async fn keep_stream(engine: &Inner, origin: &Origin) {
    let Origin::Stream { writer } = origin else {
        return std::future::pending().await;
    };
    loop {
        if let Err(error) = engine.stores.log.renew(writer, JOB_LEASE).await {
            tracing::warn!(
                dependency = error.dependency(), %error,
                "Could not renew the lease of the stream of a job; retrying later"
            );
        }
        tokio::time::sleep(JOB_LEASE / 3).await;
    }
}

/// Sends the messages of a running job to its client.
struct JobOutlet {
    engine: Arc<Inner>,
    job: JobId,
    origin: Origin,
    /// Whether the last write failed after retries. The job continues, and later writes are not
    /// retried until one succeeds.
    write_failed: AtomicBool,
}

impl JobOutlet {
    /// Appends a message to the stream of the call. A message with a mark is retried, since marks
    /// make writes idempotent.
    async fn write(&self, writer: &Writer, mark: Option<Mark>, message: &str) {
        let log = &self.engine.stores.log;
        let retries = mark.is_some() && !self.write_failed.load(Ordering::Relaxed);
        let timeout = if retries { WRITE_TIMEOUT } else { Duration::ZERO };
        let write = || log.write_for_job(writer, mark.as_ref(), message);
        let written = retry_for(timeout, write).await;
        self.write_failed.store(written.is_err(), Ordering::Relaxed);
        if let Err(error) = written {
            tracing::warn!(
                dependency = error.dependency(), %error,
                "Could not store a message of a job; the client does not receive it"
            );
        }
    }

    async fn deliver(&self, progress: Option<f64>, message: String) {
        match &self.origin {
            Origin::Stream { writer } => {
                self.write(writer, progress.map(progress_mark), &message).await;
            }
            Origin::Call => {
                let job = self.job.clone();
                self.engine.publish(Signal::JobMessage { job, progress, message }).await;
            }
            // The client polls the job.
            Origin::Task | Origin::Parent { .. } => {}
        }
    }
}

#[async_trait]
impl Outlet for JobOutlet {
    async fn send(&self, notification: String) {
        self.deliver(None, notification).await;
    }

    async fn progress(&self, done: f64, notification: String) {
        self.deliver(Some(done), notification).await;
    }

    async fn publish(&self, signal: Signal) {
        self.engine.publish(signal).await;
    }
}
