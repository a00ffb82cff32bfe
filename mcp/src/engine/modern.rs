//! Modern requests (2026-07-28): each carries everything it needs, and any instance can serve it.
//!
//! The call runs inside the response: dropping the response, as when the client disconnects, drops
//! the call. That is how a modern client cancels.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    future::{BoxFuture, FutureExt as _},
    stream::{self, BoxStream, StreamExt as _},
};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::task_tracker::TaskTrackerToken,
};
use tracing::{Instrument as _, Span};

use super::{
    Inner, QUICK,
    grants::OpenStream,
    jobs::{
        self, JobTool, NotStarted,
        tasks::{self, ModernTask, Refusal, TaskMethod},
        wait::{Waited, Waiting},
    },
    listen,
    operation::{Method, Operation, progress_token, read_params},
    perform::{Caching, Failure, Output},
};
use crate::{
    admission::Requests,
    call::{Call, CallContext, Outlet},
    caller::Caller,
    headers,
    job::{JobId, JobOutcome, Origin},
    question::{Answer, Question},
    reply::{About, Reply, ReplyBody},
    rpc::{self, Request, RequestId, RpcError, codes},
    seal::{self, Binding, Kept},
    sse,
    store::{Signal, StoreError},
    trace,
    types::{CallToolResult, ClientCapabilities, LogLevel},
    version::ProtocolVersion,
};

const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";

/// How many events of a call wait for the socket. A call that is faster waits for its client.
const BACKLOG: usize = 64;

/// What every modern request says about itself.
pub(super) struct Meta {
    version: String,
    pub(super) capabilities: ClientCapabilities,
    log_level: Option<LogLevel>,
}

/// A result as 2026-07-28 wants it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModernResult<'a, R> {
    #[serde(flatten)]
    pub(super) result: &'a R,
    pub(super) result_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_scope: Option<&'static str>,
    #[serde(rename = "_meta")]
    pub(super) meta: &'a RawValue,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Discovered<'a> {
    supported_versions: Vec<&'static str>,
    capabilities: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InputRequired {
    input_requests: BTreeMap<String, InputRequest>,
    request_state: String,
}

/// A question in a result.
#[derive(Serialize)]
pub(super) struct InputRequest {
    method: &'static str,
    params: Value,
}

/// Questions as a modern client gets them.
pub(super) fn input_requests(
    questions: &BTreeMap<String, Question>,
) -> BTreeMap<String, InputRequest> {
    let request = |question: &Question| {
        let params = question.params(ProtocolVersion::V2026_07_28, None);
        let params = params.unwrap_or_else(|| serde_json::json!({}));
        InputRequest { method: question.method(), params }
    };
    questions.iter().map(|(key, question)| (key.clone(), request(question))).collect()
}

/// A request without the `_meta` that its header announces.
pub(super) fn missing_meta(request: &Request<'_>) -> Reply {
    let error = RpcError::invalid_params(format!(
        "`params._meta` must have `{VERSION_KEY}` and `{CAPABILITIES_KEY}`"
    ));
    let about = About { era: Some("modern"), ..About::default() };
    Reply::bad_request(Some(&request.id), &error).with_about(about)
}

/// One modern request.
pub(super) async fn request(
    engine: &Arc<Inner>,
    caller: Caller,
    headers: &HeaderMap,
    request: Request<'_>,
) -> Reply {
    let mut about = About { era: Some("modern"), ..About::default() };
    let quota = match engine.admit(&caller, Requests::of_method(&request.method)).await {
        Ok(quota) => quota,
        Err(used_up) => return Reply::too_many(Some(&request.id), used_up).with_about(about),
    };
    let reply = match climb(engine, caller, headers, &request, &mut about).await {
        Ok(reply) => reply.with_about(about),
        Err(Refused { status, error }) => {
            Reply::error(status, Some(&request.id), &error).with_about(about)
        }
    };
    reply.with_quota(quota)
}

/// A request that was refused before anything ran.
struct Refused {
    status: StatusCode,
    error: RpcError,
}

impl From<RpcError> for Refused {
    fn from(error: RpcError) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error }
    }
}

/// The checks in the order of the specification, then the method.
async fn climb(
    engine: &Arc<Inner>,
    caller: Caller,
    headers: &HeaderMap,
    request: &Request<'_>,
    about: &mut About,
) -> Result<Reply, Refused> {
    let meta = read_meta(request.params)?;
    check_version(headers, &meta.version)?;
    let about_what = named(&request.method, request.params)?;
    headers::check_standard(headers, &request.method, about_what.as_deref())?;
    match &*request.method {
        "server/discover" => {
            about.method = Some("server/discover");
            return Ok(engine.discover(&request.id));
        }
        "subscriptions/listen" => {
            about.method = Some("subscriptions/listen");
            let accepted = headers::accepted(headers);
            let with_tasks = tasks::declared(&meta.capabilities);
            return Ok(listen::listen(engine, caller, request, with_tasks, accepted.events).await);
        }
        _ => {}
    }
    if engine.jobs().is_some()
        && let Some(method) = TaskMethod::parse(&request.method)
    {
        about.method = Some(method.name());
        if !tasks::declared(&meta.capabilities) {
            return Err(tasks::not_declared().into());
        }
        return task(engine, &caller, method, request).await;
    }
    let Some(method) = Method::parse(&request.method) else {
        let error = RpcError::method_not_found(&request.method);
        return Err(Refused { status: StatusCode::NOT_FOUND, error });
    };
    about.method = Some(method.name());
    let version = ProtocolVersion::V2026_07_28;
    let operation = Operation::prepare(engine, version, method, request.params).map_err(|it| {
        let status = if it.malformed { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        Refused { status, error: it.error }
    })?;
    about.target = operation.target(engine);
    let scope = operation.scope(engine);
    if !caller.may(scope) {
        return Ok(Reply::insufficient_scope(Some(&request.id), scope));
    }
    if let Some((params, arguments)) = operation.header_params(engine) {
        let arguments: Value = serde_json::from_str(arguments.get()).map_err(|error| {
            RpcError::invalid_params(format!("`arguments` cannot be read: {error}"))
        })?;
        headers::check_params(headers, params, &arguments)?;
    }
    if operation.is_list() {
        return match engine.list(&operation, version) {
            Ok(output) => Ok(Reply::json(StatusCode::OK, engine.encode(&request.id, &output))),
            Err(error) => Err(Refused { status: StatusCode::OK, error }),
        };
    }
    let given = given_answers(engine, &caller, method, &operation, request.params)?;
    let span = trace::operation(method.name(), about.target.as_deref(), version, request.params);
    let run = Run {
        engine: Arc::clone(engine),
        id: request.id.clone(),
        method,
        operation,
        caller,
        meta,
        progress_token: progress_token(request.params),
        given,
    };
    Ok(run.reply(headers::accepted(headers), span).await)
}

/// A method of the tasks extension.
async fn task(
    engine: &Arc<Inner>,
    caller: &Caller,
    method: TaskMethod,
    request: &Request<'_>,
) -> Result<Reply, Refused> {
    #[derive(Serialize)]
    struct Acknowledged {}
    let id = &request.id;
    let body = match tasks::modern(engine, caller, method, request.params).await {
        Ok(Some(job)) => {
            let task = ModernTask::detailed(&job);
            rpc::encode_result(id, &engine.modern(&task, "complete", None))
        }
        Ok(None) => rpc::encode_result(id, &engine.modern(&Acknowledged {}, "complete", None)),
        Err(Refusal::Scope(scope)) => return Ok(Reply::insufficient_scope(Some(id), scope)),
        Err(Refusal::Away(error)) => return Ok(Reply::store_away(Some(id), &error)),
        Err(Refusal::Rpc(error)) => return Err(Refused { status: StatusCode::OK, error }),
    };
    Ok(Reply::json(StatusCode::OK, body))
}

fn read_meta(params: Option<&RawValue>) -> Result<Meta, RpcError> {
    #[derive(Deserialize)]
    struct Params {
        #[serde(rename = "_meta")]
        meta: RawMeta,
    }
    #[derive(Deserialize)]
    struct RawMeta {
        #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
        version: String,
        #[serde(rename = "io.modelcontextprotocol/clientCapabilities")]
        capabilities: ClientCapabilities,
        #[serde(rename = "io.modelcontextprotocol/logLevel")]
        log_level: Option<LogLevel>,
    }
    let params: Params =
        serde_json::from_str(params.map_or("{}", RawValue::get)).map_err(|error| {
            RpcError::invalid_params(format!(
                "`params._meta` must have `{VERSION_KEY}` and `{CAPABILITIES_KEY}`: {error}"
            ))
        })?;
    let RawMeta { version, capabilities, log_level } = params.meta;
    Ok(Meta { version, capabilities, log_level })
}

/// Compares header and body before it looks whether the version is served.
fn check_version(headers: &HeaderMap, version: &str) -> Result<(), RpcError> {
    match headers::get(headers, headers::PROTOCOL_VERSION) {
        None => {
            return Err(RpcError::header_mismatch("the header `MCP-Protocol-Version` is missing"));
        }
        Some(header) if header != version => {
            return Err(RpcError::header_mismatch(
                "the header `MCP-Protocol-Version` differs from the body",
            ));
        }
        Some(_) => {}
    }
    if version == ProtocolVersion::V2026_07_28.as_str() {
        return Ok(());
    }
    let data = serde_json::json!({ "supported": ProtocolVersion::names(), "requested": version });
    Err(RpcError::new(
        codes::UNSUPPORTED_PROTOCOL_VERSION,
        format!("the version {} is not served without a session", rpc::shorten(version)),
    )
    .with_data(data))
}

/// What must stand in `Mcp-Name`, for the methods that have it. What is missing in the body is for
/// the method to say.
fn named(method: &str, params: Option<&RawValue>) -> Result<Option<String>, RpcError> {
    #[derive(Deserialize)]
    struct Params {
        name: Option<String>,
        uri: Option<String>,
        #[serde(rename = "taskId")]
        task_id: Option<String>,
    }
    let field = if [Method::CallTool, Method::GetPrompt].map(Method::name).contains(&method) {
        "name"
    } else if method == Method::ReadResource.name() {
        "uri"
    } else if TaskMethod::parse(method).is_some() {
        "taskId"
    } else {
        return Ok(None);
    };
    let params: Params = read_params(method, params)?;
    let named = match field {
        "name" => params.name,
        "uri" => params.uri,
        _ => params.task_id,
    };
    named
        .map(Some)
        .ok_or_else(|| RpcError::invalid_params(format!("`{method}` needs `params.{field}`")))
}

/// The answers that came with this round and those sealed in earlier ones.
fn given_answers(
    engine: &Inner,
    caller: &Caller,
    method: Method,
    operation: &Operation,
    params: Option<&RawValue>,
) -> Result<Given, RpcError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        input_responses: Option<BTreeMap<String, Value>>,
        request_state: Option<String>,
    }
    let Some((target, arguments)) = operation.binding() else {
        return Ok(Given::default());
    };
    let params: Params = read_params(method.name(), params)?;
    let kept = match params.request_state {
        None => Kept::default(),
        Some(state) => {
            let binding = Binding { caller, method: method.name(), target, arguments };
            seal::open(&engine.settings.seal_keys, engine.now(), &binding, &state)
                .map_err(|bad| RpcError::invalid_params(bad.0))?
        }
    };
    let responses = params.input_responses.unwrap_or_default();
    if !responses.is_empty() {
        let answered = responses.len();
        tracing::debug!(target: crate::COUNTED, answered, "Answers of a client: {answered}");
    }
    Ok(Given { kept, responses })
}

/// What a client has answered.
#[derive(Default)]
struct Given {
    /// In earlier rounds.
    kept: Kept,
    /// With this one.
    responses: BTreeMap<String, Value>,
}

impl Given {
    fn answers(&self) -> BTreeMap<String, Answer> {
        let now = self.responses.iter().map(|(key, it)| (key.clone(), Answer::Result(it.clone())));
        self.kept.answers.clone().into_iter().chain(now).collect()
    }
}

impl Inner {
    fn discover(&self, id: &RequestId) -> Reply {
        let discovered = Discovered {
            supported_versions: ProtocolVersion::names(),
            capabilities: self.capabilities(ProtocolVersion::V2026_07_28),
            instructions: self.catalog.info().instructions.as_deref(),
        };
        let meta = serde_json::json!({
            "io.modelcontextprotocol/serverInfo": self.catalog.info().implementation
        });
        let meta = serde_json::value::to_raw_value(&meta).expect("plain data");
        let mut result = self.modern(&discovered, "complete", Some(Caching::PUBLIC));
        result.meta = &meta;
        Reply::json(StatusCode::OK, rpc::encode_result(id, &result))
    }

    /// What the server can do.
    pub(super) fn capabilities(&self, version: ProtocolVersion) -> Value {
        let mut capabilities = serde_json::json!({
            "tools": { "listChanged": true },
            "logging": {},
            "completions": {},
        });
        if !self.catalog.resources().is_empty() {
            capabilities["resources"] =
                serde_json::json!({ "subscribe": true, "listChanged": true });
        }
        if !self.catalog.prompts().is_empty() {
            capabilities["prompts"] = serde_json::json!({ "listChanged": true });
        }
        if self.jobs().is_some() {
            match version {
                ProtocolVersion::V2026_07_28 => {
                    capabilities["extensions"] = serde_json::json!({ tasks::EXTENSION: {} });
                }
                ProtocolVersion::V2025_11_25 => capabilities["tasks"] = tasks::legacy_capability(),
                _ => {}
            }
        }
        capabilities
    }

    pub(super) fn modern<'a, R>(
        &'a self,
        result: &'a R,
        result_type: &'static str,
        caching: Option<Caching>,
    ) -> ModernResult<'a, R> {
        ModernResult {
            result,
            result_type,
            ttl_ms: caching.map(|it| it.ttl_ms),
            cache_scope: caching.map(|it| it.scope),
            meta: &self.server_meta,
        }
    }

    fn encode(&self, id: &RequestId, output: &Output<'_>) -> Vec<u8> {
        rpc::encode_result(id, &self.modern(output, "complete", output.caching()))
    }
}

/// A modern request that runs.
struct Run {
    engine: Arc<Inner>,
    id: RequestId,
    method: Method,
    operation: Operation,
    caller: Caller,
    meta: Meta,
    progress_token: Option<RequestId>,
    given: Given,
}

/// How a run ended.
struct Ended {
    status: StatusCode,
    body: Vec<u8>,
    error: Option<i64>,
    tool_error: bool,
}

impl Run {
    async fn reply(self, accepted: headers::Accepted, span: Span) -> Reply {
        let (events, mut waiting) = mpsc::channel(BACKLOG);
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let busy = self.engine.busy.token();
        let expires = Instant::now() + self.engine.until_expiry(&self.caller);
        let open = self.engine.grants.open(&self.caller.grant);
        let engine = Arc::clone(&self.engine);
        let outlet = ModernOutlet { engine, events: accepted.events.then_some(events) };
        // Also as a stream, its lines in the log have the id of the request.
        let run = self.run(outlet, cancel).instrument(span).in_current_span();
        let mut run: BoxFuture<'static, Ended> = run.boxed();
        if !accepted.events {
            return run.await.into_reply();
        }
        let mut first = None;
        if accepted.json {
            let deadline = Instant::now() + QUICK;
            let quick = timeout_at(deadline, async {
                tokio::select! {
                    biased;
                    event = waiting.recv() => Err(event),
                    ended = &mut run => Ok(ended),
                }
            });
            match quick.await {
                Ok(Ok(ended)) => match waiting.try_recv() {
                    Err(_nothing) => return ended.into_reply(),
                    // The last events were sent in the same breath as the answer.
                    Ok(event) => {
                        first = Some(event);
                        run = std::future::ready(ended).boxed();
                    }
                },
                Ok(Err(event)) => first = event,
                Err(_elapsed) => {}
            }
        }
        let running = Running {
            run: Some(run),
            waiting,
            first,
            last: None,
            keep_alive: Instant::now(),
            expires,
            open,
            _cancel: guard,
            _busy: busy,
        };
        Reply::new(StatusCode::OK, ReplyBody::Events(running.into_body()))
    }

    async fn run(self, outlet: ModernOutlet, cancel: CancellationToken) -> Ended {
        let outlet = Arc::new(outlet);
        let call = Call::new(CallContext {
            caller: self.caller.clone(),
            version: ProtocolVersion::V2026_07_28,
            capabilities: self.meta.capabilities.clone(),
            progress_token: self.progress_token.clone(),
            log_level: self.meta.log_level,
            answers: self.given.answers(),
            progress: None,
            cancel,
            outlet: Arc::clone(&outlet) as _,
            job: None,
        });
        let engine = &*self.engine;
        if let Some(tool) = engine.job_tool(&self.operation) {
            return self.run_job(&tool, &call, &*outlet).await;
        }
        let error = match engine.run(&self.operation, &call).await {
            Ok(output) => {
                return Ended {
                    status: StatusCode::OK,
                    body: engine.encode(&self.id, &output),
                    error: None,
                    tool_error: output.is_tool_error(),
                };
            }
            Err(Failure::InputRequired(questions)) => {
                let asked = questions.len();
                tracing::debug!(target: crate::COUNTED, asked, "Asked a client: {asked}");
                let kept = Kept { answers: call.answers(), job: None };
                return self.ask(&questions, &kept);
            }
            Err(Failure::Rpc(error)) => error,
        };
        self.fail(&error)
    }

    /// Makes a job of the call, or goes on with the one that asked.
    async fn run_job(&self, tool: &JobTool<'_>, call: &Call, outlet: &dyn Outlet) -> Ended {
        let engine = &self.engine;
        let with_tasks = tasks::declared(&self.meta.capabilities);
        if tool.needs_task() && !with_tasks {
            return self.fail(&tasks::not_declared());
        }
        if let Some(id) = &self.given.kept.job {
            return self.go_on(tool, id, outlet).await;
        }
        match tool.prepare(call).await {
            Ok(()) => {}
            Err(NotStarted::Answered(result)) => return self.tool_result(&result),
            Err(NotStarted::Failed(Failure::Rpc(error))) => return self.fail(&error),
            Err(NotStarted::Failed(Failure::InputRequired(questions))) => {
                let kept = Kept { answers: call.answers(), job: None };
                return self.ask(&questions, &kept);
            }
        }
        let id = JobId::random();
        if with_tasks {
            let started = tool.start(id, call, Origin::Task, call.answers(), None).await;
            return match started {
                Ok(job) => self.complete(&ModernTask::handle(&job), "task"),
                Err(refused) => self.tool_result(&refused),
            };
        }
        let lasts = engine.until_expiry(&self.caller);
        let waiting = Waiting::begin(engine, &self.caller.user, &id, lasts, true).await;
        let Ok(mut waiting) = waiting else {
            return self.fail(&RpcError::unavailable());
        };
        let job = match tool.start(id.clone(), call, Origin::Call, call.answers(), None).await {
            Ok(job) => job,
            Err(refused) => return self.tool_result(&refused),
        };
        if let Some(first) = tool.first_message(&id, call) {
            if first.is_progress {
                waiting.has_seen(0.0);
            }
            outlet.send(first.message).await;
        }
        self.waited(waiting.wait(job, outlet).await)
    }

    /// The client answers what the job asked.
    async fn go_on(&self, tool: &JobTool<'_>, id: &JobId, outlet: &dyn Outlet) -> Ended {
        let user = &self.caller.user;
        let lasts = self.engine.until_expiry(&self.caller);
        let Ok(waiting) = Waiting::begin(&self.engine, user, id, lasts, true).await else {
            return self.fail(&RpcError::unavailable());
        };
        let answered = async {
            let Some(job) = tool.store.get(user, id).await? else {
                return Ok(Err(RpcError::invalid_params("the job that asked is kept no longer")));
            };
            let answers = match tasks::checked(&job, self.given.responses.clone()) {
                Ok(answers) => answers,
                Err(error) => return Ok(Err(error)),
            };
            let job = if answers.is_empty() {
                job
            } else {
                tool.store.answer(user, id, answers).await?.unwrap_or(job)
            };
            Ok::<_, StoreError>(Ok(job))
        };
        match answered.await {
            Ok(Ok(job)) => self.waited(waiting.wait(job, outlet).await),
            Ok(Err(error)) => {
                waiting.forget();
                self.fail(&error)
            }
            Err(error) => {
                tracing::error!(error = %error, "A job could not be answered: {error}");
                waiting.forget();
                self.fail(&RpcError::unavailable())
            }
        }
    }

    fn waited(&self, waited: Waited) -> Ended {
        match waited {
            Waited::Asks(job) => {
                let kept = Kept { answers: BTreeMap::new(), job: Some(job.id.clone()) };
                self.ask(&job.questions, &kept)
            }
            Waited::Left(result) => self.tool_result(&result),
            Waited::Ended(job) => match jobs::outcome(&job) {
                JobOutcome::Error(error) => self.fail(&error),
                JobOutcome::Result { result, is_error } => {
                    match serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(result.get()) {
                        Ok(result) => {
                            Ended { tool_error: is_error, ..self.complete(&result, "complete") }
                        }
                        Err(_no_object) => self.fail(&RpcError::internal()),
                    }
                }
            },
        }
    }

    fn tool_result(&self, result: &CallToolResult) -> Ended {
        Ended { tool_error: result.is_error, ..self.complete(result, "complete") }
    }

    fn complete(&self, result: &impl Serialize, kind: &'static str) -> Ended {
        let body = rpc::encode_result(&self.id, &self.engine.modern(result, kind, None));
        Ended { status: StatusCode::OK, body, error: None, tool_error: false }
    }

    /// Asks the client; everything that the next round needs is sealed into the state.
    fn ask(&self, questions: &BTreeMap<String, Question>, kept: &Kept) -> Ended {
        let (target, arguments) = self.operation.binding().unwrap_or_default();
        let method = self.method.name();
        let binding = Binding { caller: &self.caller, method, target, arguments };
        let keys = &self.engine.settings.seal_keys;
        let required = InputRequired {
            request_state: seal::seal(keys, self.engine.now(), &binding, kept),
            input_requests: input_requests(questions),
        };
        self.complete(&required, "input_required")
    }

    fn fail(&self, error: &RpcError) -> Ended {
        // The specification pins this one to 400 wherever it comes from.
        let status = match error.code {
            codes::MISSING_CLIENT_CAPABILITY => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        };
        let body = rpc::encode_error(Some(&self.id), error);
        Ended { status, body, error: Some(error.code), tool_error: false }
    }
}

impl Ended {
    fn into_reply(self) -> Reply {
        let mut reply = Reply::json(self.status, self.body);
        reply.about.error = self.error;
        reply.about.tool_error = self.tool_error;
        reply
    }
}

/// A call whose answer is a stream.
struct Running {
    run: Option<BoxFuture<'static, Ended>>,
    waiting: mpsc::Receiver<String>,
    first: Option<String>,
    last: Option<Vec<u8>>,
    keep_alive: Instant,
    expires: Instant,
    open: OpenStream,
    /// Cancels the call when the stream is dropped.
    _cancel: DropGuard,
    _busy: TaskTrackerToken,
}

impl Running {
    fn into_body(self) -> BoxStream<'static, Bytes> {
        stream::unfold(self, |mut running| async move {
            let chunk = running.next().await?;
            Some((chunk, running))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(event) = self.first.take() {
            self.keep_alive = Instant::now() + sse::KEEP_ALIVE;
            return Some(sse::event(None, &event));
        }
        loop {
            // Events that were sent before the answer come before it.
            if self.run.is_none() {
                return match self.waiting.try_recv() {
                    Ok(event) => Some(sse::event(None, &event)),
                    Err(_empty) => {
                        let answer = self.last.take()?;
                        Some(sse::event(None, &rpc::into_text(answer)))
                    }
                };
            }
            let run = self.run.as_mut()?;
            tokio::select! {
                biased;
                Some(event) = self.waiting.recv() => {
                    self.keep_alive = Instant::now() + sse::KEEP_ALIVE;
                    return Some(sse::event(None, &event));
                }
                ended = run => {
                    self.run = None;
                    self.last = Some(ended.body);
                }
                () = sleep_until(self.keep_alive) => {
                    self.keep_alive = Instant::now() + sse::KEEP_ALIVE;
                    return Some(sse::comment());
                }
                () = sleep_until(self.expires) => return None,
                () = self.open.revoked() => return None,
            }
        }
    }
}

/// What a modern call writes to.
struct ModernOutlet {
    engine: Arc<Inner>,
    /// Absent if the client takes no stream: then there is nowhere to send events.
    events: Option<mpsc::Sender<String>>,
}

#[async_trait]
impl Outlet for ModernOutlet {
    async fn send(&self, notification: String) {
        if let Some(events) = &self.events {
            // Fails only when the call is being dropped anyway.
            drop(events.send(notification).await);
        }
    }

    async fn publish(&self, signal: Signal) {
        self.engine.publish(signal).await;
    }
}
