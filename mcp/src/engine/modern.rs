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

use super::{
    Inner, QUICK,
    grants::OpenStream,
    listen,
    operation::{Method, Operation, progress_token, read_params},
    perform::{Caching, Failure, Output},
};
use crate::{
    call::{Call, CallContext, Outlet},
    caller::Caller,
    headers,
    question::Answer,
    reply::{About, Reply, ReplyBody},
    rpc::{self, Request, RequestId, RpcError, codes},
    seal::{self, Binding},
    sse,
    store::Signal,
    types::{ClientCapabilities, LogLevel},
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

#[derive(Serialize)]
struct InputRequest {
    method: &'static str,
    params: Value,
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
    match climb(engine, caller, headers, &request, &mut about).await {
        Ok(reply) => reply.with_about(about),
        Err(Refused { status, error }) => {
            Reply::error(status, Some(&request.id), &error).with_about(about)
        }
    }
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
            return Ok(listen::listen(engine, caller, request, accepted.events).await);
        }
        _ => {}
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
    let answers = given_answers(engine, &caller, method, &operation, request.params)?;
    let run = Run {
        engine: Arc::clone(engine),
        id: request.id.clone(),
        method,
        operation,
        caller,
        meta,
        progress_token: progress_token(request.params),
        answers,
    };
    Ok(run.reply(headers::accepted(headers)).await)
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
    }
    let by_name = [Method::CallTool, Method::GetPrompt].map(Method::name).contains(&method);
    if !by_name && method != Method::ReadResource.name() {
        return Ok(None);
    }
    let params: Params = read_params(method, params)?;
    let named = if by_name { params.name } else { params.uri };
    named.map(Some).ok_or_else(|| {
        let field = if by_name { "name" } else { "uri" };
        RpcError::invalid_params(format!("`{method}` needs `params.{field}`"))
    })
}

/// The answers that came with this round and those sealed in earlier ones.
fn given_answers(
    engine: &Inner,
    caller: &Caller,
    method: Method,
    operation: &Operation,
    params: Option<&RawValue>,
) -> Result<BTreeMap<String, Answer>, RpcError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        input_responses: Option<BTreeMap<String, Value>>,
        request_state: Option<String>,
    }
    let Some((target, arguments)) = operation.binding() else {
        return Ok(BTreeMap::new());
    };
    let params: Params = read_params(method.name(), params)?;
    let mut answers = match params.request_state {
        None => BTreeMap::new(),
        Some(state) => {
            let binding = Binding { caller, method: method.name(), target, arguments };
            seal::open(&engine.settings.seal_keys, engine.now(), &binding, &state)
                .map_err(|bad| RpcError::invalid_params(bad.0))?
        }
    };
    for (key, value) in params.input_responses.into_iter().flatten() {
        answers.insert(key, Answer::Result(value));
    }
    Ok(answers)
}

impl Inner {
    fn discover(&self, id: &RequestId) -> Reply {
        let discovered = Discovered {
            supported_versions: ProtocolVersion::names(),
            capabilities: self.capabilities(),
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

    /// What the server can do, in both eras.
    pub(super) fn capabilities(&self) -> Value {
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
    answers: BTreeMap<String, Answer>,
}

/// How a run ended.
struct Ended {
    status: StatusCode,
    body: Vec<u8>,
    error: Option<i64>,
    tool_error: bool,
}

impl Run {
    async fn reply(self, accepted: headers::Accepted) -> Reply {
        let (events, mut waiting) = mpsc::channel(BACKLOG);
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let busy = self.engine.busy.token();
        let expires = Instant::now() + self.engine.until_expiry(&self.caller);
        let open = self.engine.grants.open(&self.caller.grant);
        let engine = Arc::clone(&self.engine);
        let outlet = ModernOutlet { engine, events: accepted.events.then_some(events) };
        let mut run: BoxFuture<'static, Ended> = self.run(outlet, cancel).boxed();
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
        let call = Call::new(CallContext {
            caller: self.caller.clone(),
            version: ProtocolVersion::V2026_07_28,
            capabilities: self.meta.capabilities,
            progress_token: self.progress_token,
            log_level: self.meta.log_level,
            answers: self.answers,
            progress: None,
            cancel,
            outlet: Arc::new(outlet),
            job: None,
        });
        let engine = &*self.engine;
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
                let (target, arguments) = self.operation.binding().unwrap_or_default();
                let method = self.method.name();
                let binding = Binding { caller: &self.caller, method, target, arguments };
                let (_, answers) = call.into_progress_and_answers();
                let keys = &engine.settings.seal_keys;
                let required = InputRequired {
                    request_state: seal::seal(keys, engine.now(), &binding, &answers),
                    input_requests: questions
                        .into_iter()
                        .map(|(key, question)| {
                            let params = question.params(ProtocolVersion::V2026_07_28, None);
                            let params = params.unwrap_or_else(|| serde_json::json!({}));
                            (key, InputRequest { method: question.method(), params })
                        })
                        .collect(),
                };
                let result = engine.modern(&required, "input_required", None);
                return Ended {
                    status: StatusCode::OK,
                    body: rpc::encode_result(&self.id, &result),
                    error: None,
                    tool_error: false,
                };
            }
            Err(Failure::Rpc(error)) => error,
        };
        // The specification pins this one to 400 wherever it comes from.
        let status = match error.code {
            codes::MISSING_CLIENT_CAPABILITY => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        };
        let body = rpc::encode_error(Some(&self.id), &error);
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
