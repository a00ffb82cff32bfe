//! The requests of one POST of a session: answered at once, or run.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future, stream as streams};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tracing::{Instrument as _, Span};

use super::{
    ActiveSession,
    response::{LegacyResponse, ResponseMode},
    run::LegacyRun,
    stream_reader::StreamReader,
};
use crate::{
    caller::Caller,
    engine::{
        Inner, QUICK,
        request::{
            Method, Operation, RequestedOperation, progress_token, read_params, resource_not_found,
            task_request,
        },
        retry::{WRITE_TIMEOUT, retry_for},
        tasks::{
            methods::{self, TaskError},
            params::TaskRequest,
            stream::{self, JOB_LEASE},
            wait::JobWait,
            wire::LegacyTask,
        },
    },
    failure::CallFailure,
    headers,
    job::{Job, JobId},
    reply::{About, Reply, ReplyBody},
    rpc::{self, Request, RpcError, codes},
    store::{
        MAX_SUBSCRIPTION_BYTES, MAX_SUBSCRIPTIONS, MAX_URI_BYTES, Session, StoreError, StreamId,
        StreamKey, Writer,
    },
    trace,
    types::{ClientCapabilities, LogLevel},
    version::ProtocolVersion,
};

#[derive(Serialize)]
struct Empty {}

/// What a request turned out to be.
enum Prepared {
    /// Answered already.
    Answered { answer: Vec<u8>, error: Option<i64> },
    /// To be run, and how that is traced.
    Run(Arc<RequestedOperation>, Span),
    /// Answered by a job when it has ended.
    Await(JobId),
}

/// Answers the requests of one POST, together.
pub(super) async fn answer(
    engine: &Arc<Inner>,
    caller: Caller,
    mut active: ActiveSession,
    requests: Vec<Request<'_>>,
    batch: bool,
    accepted: headers::Accepted,
    mut about: About,
) -> Reply {
    let mut tasks = Vec::new();
    for request in requests {
        let id = Some(&request.id);
        let task = match prepare(engine, &caller, &active, &request, &mut about).await {
            Ok(task) => task,
            Err(PrepareError::Rpc(error)) => Prepared::Answered {
                answer: rpc::encode_error(id, &error),
                error: Some(error.code),
            },
            Err(PrepareError::Scope(scope)) => {
                return Reply::insufficient_scope(id, scope).with_about(about);
            }
            Err(PrepareError::Unavailable(error)) => {
                return Reply::store_unavailable(id, &error).with_about(about);
            }
        };
        tasks.push((request.id, task));
    }
    if !accepted.events {
        // A client that takes no stream cannot be asked anything.
        active.session.capabilities = ClientCapabilities::default();
    }
    if !batch
        && accepted.json
        && let [(_, Prepared::Answered { .. })] = tasks.as_slice()
        && let Some((_, Prepared::Answered { answer, error })) = tasks.pop()
    {
        about.failure = error.map(CallFailure::Rpc);
        return Reply::json(StatusCode::OK, answer).with_about(about);
    }
    let key = StreamKey { session: active.id.clone(), stream: StreamId::random() };
    let pending = tasks.iter().map(|(request, task)| match task {
        Prepared::Answered { .. } | Prepared::Await(_) => (request.clone(), None),
        Prepared::Run(requested, _) => (request.clone(), Some(Arc::clone(requested))),
    });
    let (response, decision) = LegacyResponse::new(
        Arc::clone(engine),
        caller.clone(),
        key,
        pending.collect(),
        batch,
        accepted.events,
    );
    let session = Arc::new(active.session);
    for (request, task) in tasks {
        match task {
            Prepared::Answered { answer, .. } => {
                response.finish(&response.first_run(&request), Some(answer)).await;
            }
            Prepared::Await(job) => {
                let engine = Arc::clone(engine);
                let writer = response.first_run(&request);
                let response = Arc::clone(&response);
                let caller = caller.clone();
                engine.busy.clone().spawn(async move {
                    await_job(&engine, &response, &writer, &caller, &job).await;
                });
            }
            Prepared::Run(requested, span) => {
                let run = LegacyRun {
                    engine: Arc::clone(engine),
                    response: Arc::clone(&response),
                    session: Arc::clone(&session),
                    caller: caller.clone(),
                    writer: response.first_run(&request),
                    requested,
                    answers: BTreeMap::new(),
                    progress: None,
                };
                // Its lines in the log have the id of the request.
                engine.busy.spawn(run.run().instrument(span).in_current_span());
            }
        }
    }
    let decided = ReplyContext { accepted, batch, session: &session, caller: &caller };
    let reply = decided.reply(engine, &response, decision).await;
    about.job = response.job();
    reply.with_about(about)
}

/// Waits for the answer to become JSON or a stream.
struct ReplyContext<'a> {
    accepted: headers::Accepted,
    batch: bool,
    session: &'a Session,
    caller: &'a Caller,
}

impl ReplyContext<'_> {
    async fn reply(
        &self,
        engine: &Arc<Inner>,
        response: &Arc<LegacyResponse>,
        mut decision: tokio::sync::oneshot::Receiver<ResponseMode>,
    ) -> Reply {
        let patience = if self.accepted.json { QUICK } else { Duration::ZERO };
        let decided = match tokio::time::timeout(patience, &mut decision).await {
            Ok(decided) => decided,
            Err(_elapsed) => {
                let response = Arc::clone(response);
                let opening = async move {
                    if let Err(error) = response.open_stream().await {
                        tracing::warn!(
                            dependency = error.dependency(), error = %error,
                            "A stream could not be opened: {error}"
                        );
                    }
                };
                // On its own, because it waits until we follow the stream.
                engine.busy.spawn(opening);
                decision.await
            }
        };
        let follow = |after| {
            StreamReader::start(engine, response.key.clone(), self.session, self.caller, after)
        };
        match decided {
            Ok(ResponseMode::Json(body)) => {
                if let Some(scope) = response.missing_scope() {
                    return Reply::forbidden(scope, body);
                }
                let mut reply = Reply::json(StatusCode::OK, body);
                reply.about.failure = response.failure().get();
                // The other answers of a batch were served.
                if let Some(wait) = response.retry_after()
                    && !self.batch
                {
                    reply = reply.refused_until(wait);
                }
                reply
            }
            // The call runs: it would be wrong to say that nothing was done.
            Ok(ResponseMode::Stream { listening }) => {
                match retry_for(WRITE_TIMEOUT, || follow(0)).await {
                    Ok(reader) => {
                        if listening.send(()).is_err() {
                            tracing::debug!("The call went on before its client listened");
                        }
                        self.stream(response, reader)
                    }
                    Err(error) => Reply::store_unavailable(None, &error),
                }
            }
            // The client cancelled, and wants no answer: an event stream without events.
            Ok(ResponseMode::Empty) => {
                let nothing = futures_util::stream::iter([crate::sse::comment()]);
                Reply::new(StatusCode::OK, ReplyBody::Events(Box::pin(nothing)))
            }
            Err(_call_panicked) => Reply::error(StatusCode::OK, None, &RpcError::internal()),
        }
    }

    /// The answer as a stream, which says at its end how the request failed.
    fn stream(&self, response: &Arc<LegacyResponse>, reader: StreamReader) -> Reply {
        let failure = response.failure().clone();
        let (response, user) = (Arc::clone(response), self.caller.user.clone());
        let at_the_end = async move {
            response.note_end_of_job(&user).await;
            None
        };
        let end = streams::once(at_the_end).filter_map(future::ready);
        let events = reader.into_body().chain(end).boxed();
        let mut reply = Reply::new(StatusCode::OK, ReplyBody::Events(events));
        reply.about.stream_failure = failure;
        reply
    }
}

/// Why a request is not run.
enum PrepareError {
    /// The request is answered with an error; others of its batch go on.
    Rpc(RpcError),
    /// The token lacks this scope.
    Scope(&'static str),
    /// Nothing can be done now.
    Unavailable(StoreError),
}

impl From<RpcError> for PrepareError {
    fn from(error: RpcError) -> Self {
        Self::Rpc(error)
    }
}

impl From<StoreError> for PrepareError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}

#[derive(Deserialize)]
struct LevelParams {
    level: LogLevel,
}

/// Answers what can be answered at once, and prepares the rest.
async fn prepare(
    engine: &Arc<Inner>,
    caller: &Caller,
    active: &ActiveSession,
    request: &Request<'_>,
    about: &mut About,
) -> Result<Prepared, PrepareError> {
    let version = active.session.version;
    let sessions = &engine.stores.sessions;
    let answered = |answer| Ok(Prepared::Answered { answer, error: None });
    if let Some(method) = Method::parse(&request.method) {
        about.method = Some(method.name());
        let operation = Operation::prepare(engine, version, method, request.params)
            .map_err(|unusable| unusable.error)?;
        about.target = operation.target(engine);
        allow(caller, operation.scope(engine))?;
        if operation.is_list() {
            if matches!(method, Method::ListTools | Method::ListPrompts) {
                let tools = method == Method::ListTools;
                engine.record_list_sent(&active.id, &active.session, tools).await?;
            }
            return answered(rpc::encode_result(&request.id, &engine.list(&operation, version)?));
        }
        let progress_token = progress_token(request.params);
        let task = match method {
            Method::CallTool => wanted_task(engine, version, &operation, request)?,
            _ => None,
        };
        let target = about.target.as_deref();
        let span = trace::operation(method.name(), target, version, request.params);
        return Ok(Prepared::Run(
            Arc::new(RequestedOperation { operation, progress_token, task }),
            span,
        ));
    }
    if version == ProtocolVersion::V2025_11_25
        && engine.jobs().is_some()
        && let Some(task) = prepare_task(engine, caller, request, about).await?
    {
        return Ok(task);
    }
    match &*request.method {
        "ping" => about.method = Some("ping"),
        "logging/setLevel" => {
            about.method = Some("logging/setLevel");
            let params: LevelParams = read_params("logging/setLevel", request.params)?;
            sessions.set_log_level(&active.id, params.level).await?;
        }
        "resources/subscribe" => {
            about.method = Some("resources/subscribe");
            let uri = followed(engine, caller, version, request)?;
            if !sessions.subscribe(&active.id, &uri).await? {
                return Err(RpcError::invalid_request(format!(
                    "a session follows at most {MAX_SUBSCRIPTIONS} resources, with URIs of \
                     {MAX_SUBSCRIPTION_BYTES} bytes together; unsubscribe from some first"
                ))
                .into());
            }
        }
        "resources/unsubscribe" => {
            about.method = Some("resources/unsubscribe");
            let uri = followed(engine, caller, version, request)?;
            sessions.unsubscribe(&active.id, &uri).await?;
        }
        "initialize" => {
            let error = "`initialize` stands alone, never in a batch";
            return Err(RpcError::invalid_request(error).into());
        }
        method => return Err(RpcError::method_not_found(method).into()),
    }
    answered(rpc::encode_result(&request.id, &Empty {}))
}

/// Whether a call asks for a task handle, and may (2025-11-25, basic/utilities/tasks, "Tool-Level
/// Negotiation"). Other revisions know no `task`.
fn wanted_task(
    engine: &Inner,
    version: ProtocolVersion,
    operation: &Operation,
    request: &Request<'_>,
) -> Result<Option<TaskRequest>, RpcError> {
    let refuse = |why| Err(RpcError::new(codes::METHOD_NOT_FOUND, why));
    let tool = engine.job_tool(operation);
    let task = match version {
        ProtocolVersion::V2025_11_25 if engine.jobs().is_some() => task_request(request.params)?,
        _ => None,
    };
    match (&tool, task) {
        (None, Some(_)) => refuse("this tool cannot be called as a task; leave `task` out"),
        (Some(tool), None) if tool.needs_task() => {
            refuse("this tool can only be called as a task (2025-11-25 and later)")
        }
        (_, task) => Ok(task),
    }
}

/// The experimental methods of 2025-11-25 about tasks. Nothing if it is none of them.
async fn prepare_task(
    engine: &Arc<Inner>,
    caller: &Caller,
    request: &Request<'_>,
    about: &mut About,
) -> Result<Option<Prepared>, PrepareError> {
    const METHODS: [&str; 4] = ["tasks/get", "tasks/result", "tasks/list", "tasks/cancel"];
    let Some(method) = METHODS.into_iter().find(|it| *it == request.method) else {
        return Ok(None);
    };
    about.method = Some(method);
    let (id, params) = (&request.id, request.params);
    let answer = if method == "tasks/list" {
        rpc::encode_result(id, &methods::list(engine, caller, params).await?)
    } else {
        let job = methods::find(engine, caller, method, params).await?;
        match method {
            "tasks/get" => rpc::encode_result(id, &LegacyTask::new(&job)),
            "tasks/cancel" => {
                let job = methods::cancel(engine, caller, &job).await?;
                rpc::encode_result(id, &LegacyTask::new(&job))
            }
            _ if job.status.is_final() => stream::answer(id, &job, Some(&job.id)),
            _ => return Ok(Some(Prepared::Await(job.id))),
        }
    };
    Ok(Some(Prepared::Answered { answer, error: None }))
}

/// `tasks/result` of a task that has not ended: the socket that follows its stream looks after it.
async fn await_job(
    engine: &Arc<Inner>,
    response: &LegacyResponse,
    writer: &Writer,
    caller: &Caller,
    id: &JobId,
) {
    let registration = engine.running.register(&writer.key.session, &writer.request);
    let opened = match response.open_stream().await {
        Ok(true) => engine.stores.log.hand_over(writer, id, JOB_LEASE).await,
        other => other,
    };
    let ended = match opened {
        Ok(true) => return,
        // The client takes no stream, so it waits for the result alone.
        Ok(false) => tokio::select! {
            biased;
            // That is the request. The task has a cancel of its own.
            () = registration.cancel.cancelled() => None,
            ended = wait_for_task(engine, caller, id) => Some(ended),
        },
        Err(error) => {
            tracing::warn!(
                dependency = error.dependency(), error = %error,
                "A stream could not be opened: {error}"
            );
            Some(Err(RpcError::unavailable()))
        }
    };
    let answer = ended.map(|ended| match ended {
        Ok(job) => stream::answer(&writer.request, &job, Some(id)),
        Err(error) => {
            response.note(CallFailure::Rpc(error.code));
            rpc::encode_error(Some(&writer.request), &error)
        }
    });
    response.finish(writer, answer).await;
}

/// Waits until a task has ended, or for as long as the client's response can be held.
async fn wait_for_task(engine: &Arc<Inner>, caller: &Caller, id: &JobId) -> Result<Job, RpcError> {
    let lasts = engine.until_expiry(caller);
    let Ok(waiting) = JobWait::begin(engine, &caller.user, id, lasts, false).await else {
        return Err(RpcError::unavailable());
    };
    match waiting.wait_for_end().await {
        Ok(ended) => ended.ok_or_else(RpcError::internal),
        // No result of a tool: the client would take it for that of the task.
        Err(why) => {
            let text = format!("{why} The task goes on: ask for `tasks/result` again.");
            Err(RpcError::new(codes::INTERNAL_ERROR, text))
        }
    }
}

impl From<TaskError> for PrepareError {
    fn from(refusal: TaskError) -> Self {
        match refusal {
            TaskError::Rpc(error) => Self::Rpc(error),
            TaskError::Scope(scope) => Self::Scope(scope),
            TaskError::Unavailable(error) => Self::Unavailable(error),
        }
    }
}

fn allow(caller: &Caller, scope: &'static str) -> Result<(), PrepareError> {
    if caller.may(scope) { Ok(()) } else { Err(PrepareError::Scope(scope)) }
}

/// The URI of a resource that the caller may follow.
fn followed(
    engine: &Inner,
    caller: &Caller,
    version: ProtocolVersion,
    request: &Request<'_>,
) -> Result<String, PrepareError> {
    #[derive(Deserialize)]
    struct Params {
        uri: String,
    }
    let Params { uri } = read_params(&request.method, request.params)?;
    if uri.len() > MAX_URI_BYTES {
        let error = format!("`uri` has {} bytes, of at most {MAX_URI_BYTES}", uri.len());
        return Err(RpcError::invalid_params(error).into());
    }
    let (index, _) =
        engine.catalog.find_resource(&uri).ok_or_else(|| resource_not_found(&uri, version))?;
    allow(caller, engine.catalog.resources()[index].scope)?;
    Ok(uri)
}
