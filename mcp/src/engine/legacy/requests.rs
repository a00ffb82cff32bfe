//! The requests of one POST of a session: answered immediately, or run.

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
        Inner, STREAM_AFTER,
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
    rpc::{self, Request, RequestId, RpcError, codes},
    store::{
        MAX_SUBSCRIPTION_BYTES, MAX_SUBSCRIPTIONS, MAX_URI_BYTES, Session, StoreError, StreamKey,
        Writer,
    },
    trace::{self, TraceParent},
    types::{ClientCapabilities, LogLevel},
    version::ProtocolVersion,
};

#[derive(Serialize)]
struct Empty {}

/// A request after its checks.
enum Prepared {
    /// The response is known.
    Answered { answer: Vec<u8>, error: Option<i64> },
    /// The operation must be run, within this trace span.
    Run(Arc<RequestedOperation>, Span),
    /// The job answers it when it has ended.
    Await(JobId),
}

/// Answers the requests of one POST.
pub(super) async fn answer(
    engine: &Arc<Inner>,
    caller: Caller,
    mut active: ActiveSession,
    requests: Vec<Request<'_>>,
    batch: bool,
    accepted: headers::Accepted,
    mut about: About,
) -> Reply {
    let mut prepared = Vec::new();
    for request in requests {
        let id = Some(&request.id);
        let checked = match prepare(engine, &caller, &active, &request, &mut about).await {
            Ok(prepared) => prepared,
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
        prepared.push((request.id, checked));
    }
    if !accepted.events {
        // Questions to the client require an event stream.
        active.session.capabilities = ClientCapabilities::default();
    }
    if !batch
        && accepted.json
        && let [(_, Prepared::Answered { .. })] = prepared.as_slice()
        && let Some((_, Prepared::Answered { answer, error })) = prepared.pop()
    {
        about.failure = error.map(CallFailure::Rpc);
        return Reply::json(StatusCode::OK, answer).with_about(about);
    }
    let key = StreamKey { session: active.id.clone(), stream: engine.environment.stream_id() };
    let pending = prepared.iter().map(|(request, prepared)| match prepared {
        Prepared::Answered { .. } | Prepared::Await(_) => (request.clone(), None),
        Prepared::Run(requested, _) => (request.clone(), Some(Arc::clone(requested))),
    });
    let (response, mode) = LegacyResponse::new(
        Arc::clone(engine),
        caller.clone(),
        key,
        pending.collect(),
        batch,
        accepted.events,
    );
    let session = Arc::new(active.session);
    for (request, prepared) in prepared {
        start(engine, &response, &session, &caller, &request, prepared).await;
    }
    let context = ReplyContext { accepted, batch, session: &session, caller: &caller };
    let reply = context.reply(engine, &response, mode).await;
    about.job = response.job();
    reply.with_about(about)
}

/// Adds the response of a request that is answered; starts the others in the background.
async fn start(
    engine: &Arc<Inner>,
    response: &Arc<LegacyResponse>,
    session: &Arc<Session>,
    caller: &Caller,
    request: &RequestId,
    prepared: Prepared,
) {
    let writer = response.first_run(request);
    match prepared {
        Prepared::Answered { answer, .. } => response.finish(&writer, Some(answer)).await,
        Prepared::Await(job) => {
            let (engine, response) = (Arc::clone(engine), Arc::clone(response));
            let caller = caller.clone();
            engine.clone().spawn(async move {
                await_job(&engine, &response, &writer, &caller, &job).await;
            });
        }
        Prepared::Run(requested, span) => {
            let run = LegacyRun {
                engine: Arc::clone(engine),
                response: Arc::clone(response),
                session: Arc::clone(session),
                caller: caller.clone(),
                writer,
                requested,
                answers: BTreeMap::new(),
                asked_at: None,
                progress: None,
            };
            // The current span gives the log events the request id.
            engine.spawn(run.run().instrument(span).in_current_span());
        }
    }
}

/// The context in which a response is converted to a reply.
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
        mut mode: tokio::sync::oneshot::Receiver<ResponseMode>,
    ) -> Reply {
        let timeout = if self.accepted.json { STREAM_AFTER } else { Duration::ZERO };
        let decided = match tokio::time::timeout(timeout, &mut mode).await {
            Ok(decided) => decided,
            Err(_elapsed) => {
                let response = Arc::clone(response);
                let opening = async move {
                    if let Err(error) = response.open_stream().await {
                        tracing::warn!(
                            dependency = error.dependency(), %error,
                            "Could not open a stream; waiting for a JSON response"
                        );
                    }
                };
                // A task of its own, because it waits for the reader that is started below.
                engine.spawn(opening);
                mode.await
            }
        };
        let start_reader = |after| {
            StreamReader::start(engine, response.key.clone(), self.session, self.caller, after)
        };
        match decided {
            Ok(ResponseMode::Json(body)) => {
                if let Some(scope) = response.missing_scope() {
                    return Reply::forbidden(scope, body);
                }
                let mut reply = Reply::json(StatusCode::OK, body);
                reply.about.failure = response.failure().get();
                // In a batch the other requests were served.
                if let Some(wait) = response.retry_after()
                    && !self.batch
                {
                    reply = reply.refused_until(wait);
                }
                reply
            }
            // The call runs: retry, because an error would mean that nothing was done.
            Ok(ResponseMode::Stream { listening }) => {
                match retry_for(WRITE_TIMEOUT, || start_reader(0)).await {
                    Ok(reader) => {
                        if listening.send(()).is_err() {
                            tracing::debug!("The call continued before its reader was subscribed");
                        }
                        self.stream(response, reader)
                    }
                    Err(error) => Reply::store_unavailable(None, &error),
                }
            }
            // The client cancelled: an event stream without events.
            Ok(ResponseMode::Empty) => {
                let empty = futures_util::stream::iter([crate::sse::comment()]);
                Reply::new(StatusCode::OK, ReplyBody::Events(Box::pin(empty)))
            }
            Err(_call_panicked) => Reply::error(StatusCode::OK, None, &RpcError::internal()),
        }
    }

    /// Builds the reply with the event stream. At its end the failure of a job is recorded.
    fn stream(&self, response: &Arc<LegacyResponse>, reader: StreamReader) -> Reply {
        let failure = response.failure().clone();
        let (response, user) = (Arc::clone(response), self.caller.user.clone());
        let record_failure = async move {
            response.record_job_failure(&user).await;
            None
        };
        let end = streams::once(record_failure).filter_map(future::ready);
        let events = reader.into_body().chain(end).boxed();
        let mut reply = Reply::new(StatusCode::OK, ReplyBody::Events(events));
        reply.about.stream_failure = failure;
        reply
    }
}

/// Why the preparation of a request failed.
enum PrepareError {
    /// The request is answered with an error; the others of its batch continue.
    Rpc(RpcError),
    /// The token lacks this scope.
    Scope(&'static str),
    /// A store is unavailable.
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

/// Checks a request, and answers it if it need not be run.
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
        let capabilities = &active.session.capabilities;
        let operation = Operation::prepare(engine, version, capabilities, method, &request.params)
            .map_err(|unusable| unusable.error)?;
        about.target = operation.target();
        allow(caller, operation.scope())?;
        if operation.is_list() {
            if matches!(method, Method::ListTools | Method::ListPrompts) {
                let tools = method == Method::ListTools;
                engine.record_list_sent(&active.id, &active.session, tools).await?;
            }
            return answered(rpc::encode_result(&request.id, &engine.list(&operation, version)?));
        }
        let progress_token = progress_token(&request.params);
        let task = match method {
            Method::CallTool => requested_task(engine, version, &operation, request)?,
            _ => None,
        };
        let target = about.target.as_deref();
        let parent = || TraceParent::from_params(&request.params);
        let span = trace::operation(method.name(), target, version, parent);
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
            let params: LevelParams = read_params("logging/setLevel", &request.params)?;
            sessions.set_log_level(&active.id, params.level).await?;
        }
        "resources/subscribe" => {
            about.method = Some("resources/subscribe");
            let uri = subscription_uri(engine, caller, version, request)?;
            if !sessions.subscribe(&active.id, &uri).await? {
                return Err(RpcError::invalid_request(format!(
                    "a session can subscribe to at most {MAX_SUBSCRIPTIONS} resources, with URIs of at \
                     most {MAX_SUBSCRIPTION_BYTES} bytes in total; unsubscribe from some first"
                ))
                .into());
            }
        }
        "resources/unsubscribe" => {
            about.method = Some("resources/unsubscribe");
            let uri = subscription_uri(engine, caller, version, request)?;
            sessions.unsubscribe(&active.id, &uri).await?;
        }
        "initialize" => {
            let error = "`initialize` must not be part of a batch";
            return Err(RpcError::invalid_request(error).into());
        }
        method => return Err(RpcError::method_not_found(method).into()),
    }
    answered(rpc::encode_result(&request.id, &Empty {}))
}

/// Reads the parameter `task` of a call and checks it against the tool (2025-11-25,
/// basic/utilities/tasks, "Tool-Level Negotiation"). Other revisions ignore `task`.
fn requested_task(
    engine: &Inner,
    version: ProtocolVersion,
    operation: &Operation,
    request: &Request<'_>,
) -> Result<Option<TaskRequest>, RpcError> {
    let refuse = |why| Err(RpcError::new(codes::METHOD_NOT_FOUND, why));
    let tool = engine.job_tool(operation);
    let task = match version {
        ProtocolVersion::V2025_11_25 if engine.jobs().is_some() => task_request(&request.params)?,
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

/// Prepares a task method of 2025-11-25. `Ok(None)`: another method.
async fn prepare_task(
    engine: &Arc<Inner>,
    caller: &Caller,
    request: &Request<'_>,
    about: &mut About,
) -> Result<Option<Prepared>, PrepareError> {
    const METHODS: [&str; 4] = ["tasks/get", "tasks/result", "tasks/list", "tasks/cancel"];
    let Some(method) = METHODS.into_iter().find(|method| *method == request.method) else {
        return Ok(None);
    };
    about.method = Some(method);
    let (id, params) = (&request.id, &request.params);
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

/// Handles `tasks/result` of a task that has not ended. The reader of the stream appends the
/// response.
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
        // The client does not accept event streams: wait for the result.
        Ok(false) => tokio::select! {
            biased;
            // Cancels the request, not the task, which has `tasks/cancel`.
            () = registration.cancel.cancelled() => None,
            ended = wait_for_task(engine, caller, id) => Some(ended),
        },
        Err(error) => {
            tracing::warn!(
                dependency = error.dependency(), %error,
                "Could not open the stream of `tasks/result`; the request fails"
            );
            Some(Err(RpcError::unavailable()))
        }
    };
    let answer = ended.map(|ended| match ended {
        Ok(job) => stream::answer(&writer.request, &job, Some(id)),
        Err(error) => {
            response.record_failure(CallFailure::Rpc(error.code));
            rpc::encode_error(Some(&writer.request), &error)
        }
    });
    response.finish(writer, answer).await;
}

/// Waits until a task has ended, at most until the access token expires or the instance shuts down.
async fn wait_for_task(engine: &Arc<Inner>, caller: &Caller, id: &JobId) -> Result<Job, RpcError> {
    let until_expiry = engine.until_expiry(caller);
    let waiting = JobWait::begin(engine, &caller.user, id, until_expiry, false).await;
    match waiting.wait_for_end().await {
        Ok(ended) => ended.ok_or_else(RpcError::internal),
        // An error, since the client would take a result for that of the task.
        Err(why) => {
            let text = format!("{why} The task continues: request `tasks/result` again.");
            Err(RpcError::new(codes::INTERNAL_ERROR, text))
        }
    }
}

impl From<TaskError> for PrepareError {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::Rpc(error) => Self::Rpc(error),
            TaskError::Scope(scope) => Self::Scope(scope),
            TaskError::Unavailable(error) => Self::Unavailable(error),
        }
    }
}

fn allow(caller: &Caller, scope: &'static str) -> Result<(), PrepareError> {
    if caller.may(scope) { Ok(()) } else { Err(PrepareError::Scope(scope)) }
}

/// Reads the URI of a subscription and checks that the caller may read the resource.
fn subscription_uri(
    engine: &Inner,
    caller: &Caller,
    version: ProtocolVersion,
    request: &Request<'_>,
) -> Result<String, PrepareError> {
    #[derive(Deserialize)]
    struct Params {
        uri: String,
    }
    let Params { uri } = read_params(&request.method, &request.params)?;
    if uri.len() > MAX_URI_BYTES {
        let error = format!("`uri` has {} bytes; the maximum is {MAX_URI_BYTES}", uri.len());
        return Err(RpcError::invalid_params(error).into());
    }
    let (resource, _) =
        engine.catalog.find_resource(&uri).ok_or_else(|| resource_not_found(&uri, version))?;
    allow(caller, resource.slot.scope)?;
    Ok(uri)
}
