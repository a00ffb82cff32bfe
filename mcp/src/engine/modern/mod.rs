//! Modern requests (2026-07-28): each is self-contained, and any instance can serve it.
//!
//! The call runs inside the response ([`run`]). When the client disconnects, the response is
//! dropped and with it the call: this is how a modern client cancels.

mod listen;
mod params;
mod run;

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

pub(super) use self::params::VERSION_KEY;
use self::{
    params::{CAPABILITIES_KEY, read_meta},
    run::{GivenAnswers, ModernRun},
};
use super::{
    Inner,
    execute::{Caching, Output},
    request::{Method, Operation, read_params},
    tasks::{
        methods::{self, TaskError, TaskMethod},
        wire::{self, ModernTask},
    },
};
use crate::{
    caller::Caller,
    catalog::view,
    headers, json,
    params::Params,
    question::check_response_size,
    reply::{About, Reply},
    rpc::{self, Request, RequestId, RpcError, codes},
    seal::{Binding, SealedAnswers},
    trace,
    types::ClientCapabilities,
    version::ProtocolVersion,
};

/// A result with the members that 2026-07-28 adds.
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

/// 400: the header names the modern revision, but `_meta` is missing.
pub(super) fn missing_meta(request: &Request<'_>) -> Reply {
    let error = RpcError::invalid_params(format!(
        "`params._meta` must have `{VERSION_KEY}` and `{CAPABILITIES_KEY}`"
    ));
    let about = About { era: Some("modern"), ..About::default() };
    Reply::bad_request(Some(&request.id), &error).with_about(about)
}

/// Handles a modern request.
pub(super) async fn request(
    engine: &Arc<Inner>,
    caller: Caller,
    headers: &HeaderMap,
    request: Request<'_>,
) -> Reply {
    let mut about = About { era: Some("modern"), ..About::default() };
    let quota = match engine.check_rate(&caller, engine.request_cost(&request)).await {
        Ok(quota) => quota,
        Err(exhausted) => return Reply::too_many(Some(&request.id), exhausted).with_about(about),
    };
    let reply = match dispatch(engine, caller, headers, &request, &mut about).await {
        Ok(reply) => reply.with_about(about),
        Err(Rejected { status, error }) => {
            Reply::error(status, Some(&request.id), &error).with_about(about)
        }
    };
    reply.with_quota(quota)
}

/// A request that was rejected before it ran.
struct Rejected {
    status: StatusCode,
    error: RpcError,
}

impl From<RpcError> for Rejected {
    fn from(error: RpcError) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error }
    }
}

/// Runs the checks in the order of the specification, then the method.
async fn dispatch(
    engine: &Arc<Inner>,
    caller: Caller,
    headers: &HeaderMap,
    request: &Request<'_>,
    about: &mut About,
) -> Result<Reply, Rejected> {
    let meta = read_meta(&request.params)?;
    check_version(headers, &meta.version)?;
    let name = required_name(&request.method, &request.params)?;
    headers::check_standard(headers, &request.method, name.as_deref())?;
    match &*request.method {
        "server/discover" => {
            about.method = Some("server/discover");
            return Ok(engine.discover(&request.id, &meta.capabilities));
        }
        "subscriptions/listen" => {
            about.method = Some("subscriptions/listen");
            let accepted = headers::accepted(headers);
            let with_tasks = wire::declared(&meta.capabilities);
            return Ok(listen::listen(engine, caller, request, with_tasks, accepted.events).await);
        }
        _ => {}
    }
    if engine.jobs().is_some()
        && let Some(method) = TaskMethod::parse(&request.method)
    {
        about.method = Some(method.name());
        if !wire::declared(&meta.capabilities) {
            return Err(wire::not_declared().into());
        }
        return task(engine, &caller, method, request).await;
    }
    let Some(method) = Method::parse(&request.method) else {
        let error = RpcError::method_not_found(&request.method);
        return Err(Rejected { status: StatusCode::NOT_FOUND, error });
    };
    about.method = Some(method.name());
    let version = ProtocolVersion::V2026_07_28;
    let operation =
        Operation::prepare(engine, version, &meta.capabilities, method, &request.params).map_err(
            |invalid| {
                let status =
                    if invalid.malformed { StatusCode::BAD_REQUEST } else { StatusCode::OK };
                Rejected { status, error: invalid.error }
            },
        )?;
    about.target = operation.target();
    let scope = operation.scope();
    if !caller.may(scope) {
        return Ok(Reply::insufficient_scope(Some(&request.id), scope));
    }
    if let Some((params, arguments)) = operation.header_params() {
        let arguments: Value = json::from_str(arguments.get()).map_err(|error| {
            RpcError::invalid_params(format!("`arguments` cannot be read: {error}"))
        })?;
        headers::check_params(headers, params, &arguments)?;
    }
    if operation.is_list() {
        return match engine.list(&operation, version) {
            Ok(output) => Ok(Reply::json(StatusCode::OK, engine.encode(&request.id, &output))),
            Err(error) => Err(Rejected { status: StatusCode::OK, error }),
        };
    }
    let given = given_answers(engine, &caller, method, &operation, &request.params)?;
    let target = about.target.as_deref();
    let span = trace::operation(method.name(), target, version, || meta.trace_parent);
    let run = ModernRun {
        engine: Arc::clone(engine),
        id: request.id.clone(),
        method,
        operation,
        caller,
        meta,
        given,
        job: Arc::default(),
    };
    Ok(run.reply(headers::accepted(headers), span).await)
}

/// Handles a method of the tasks extension.
async fn task(
    engine: &Arc<Inner>,
    caller: &Caller,
    method: TaskMethod,
    request: &Request<'_>,
) -> Result<Reply, Rejected> {
    #[derive(Serialize)]
    struct Acknowledged {}
    let id = &request.id;
    let body = match methods::modern(engine, caller, method, &request.params).await {
        Ok(Some(job)) => {
            let task = ModernTask::detailed(&job);
            rpc::encode_result(id, &engine.modern(&task, "complete", None))
        }
        Ok(None) => rpc::encode_result(id, &engine.modern(&Acknowledged {}, "complete", None)),
        Err(TaskError::Scope(scope)) => return Ok(Reply::insufficient_scope(Some(id), scope)),
        Err(TaskError::Unavailable(error)) => {
            return Ok(Reply::store_unavailable(Some(id), &error));
        }
        Err(TaskError::Rpc(error)) => return Err(Rejected { status: StatusCode::OK, error }),
    };
    Ok(Reply::json(StatusCode::OK, body))
}

/// Checks that header and body name the same version, and then that the server supports it.
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

/// The value that the header `Mcp-Name` must have. `Ok(None)`: the method has no such header.
fn required_name(method: &str, params: &Params<'_>) -> Result<Option<String>, RpcError> {
    #[derive(Deserialize)]
    struct NameParams {
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
    let params: NameParams = read_params(method, params)?;
    let value = match field {
        "name" => params.name,
        "uri" => params.uri,
        _ => params.task_id,
    };
    value
        .map(Some)
        .ok_or_else(|| RpcError::invalid_params(format!("`{method}` needs `params.{field}`")))
}

/// Reads the answers of this round, and opens those of earlier rounds from `requestState`.
fn given_answers(
    engine: &Inner,
    caller: &Caller,
    method: Method,
    operation: &Operation,
    params: &Params<'_>,
) -> Result<GivenAnswers, RpcError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct AnswerParams {
        input_responses: Option<BTreeMap<String, Value>>,
        request_state: Option<String>,
    }
    let Some((target, arguments)) = operation.binding() else {
        return Ok(GivenAnswers::default());
    };
    let params: AnswerParams = read_params(method.name(), params)?;
    let earlier = match params.request_state {
        None => SealedAnswers::default(),
        Some(state) => {
            let binding = Binding { caller, method: method.name(), target, arguments };
            let opened = engine.sealing.open(&binding, &state);
            opened.map_err(|bad| RpcError::invalid_params(bad.0))?
        }
    };
    let responses = params.input_responses.unwrap_or_default();
    for (key, response) in &responses {
        check_response_size(key, response)?;
    }
    if !responses.is_empty() {
        let answered = responses.len();
        tracing::debug!(target: crate::COUNTED, answered, "Received answers of a client");
    }
    Ok(GivenAnswers { earlier, responses })
}

impl Inner {
    fn discover(&self, id: &RequestId, client: &ClientCapabilities) -> Reply {
        let discovered = Discovered {
            supported_versions: ProtocolVersion::names(),
            capabilities: self.capabilities(ProtocolVersion::V2026_07_28, client),
            instructions: self.catalog.info().instructions.as_deref(),
        };
        let meta = serde_json::json!({
            "io.modelcontextprotocol/serverInfo": self.catalog.info().implementation
        });
        let meta =
            serde_json::value::to_raw_value(&meta).expect("server information is plain data");
        let caching = if view::declared(client) { Caching::WITH_VIEWS } else { Caching::PUBLIC };
        let mut result = self.modern(&discovered, "complete", Some(caching));
        result.meta = &meta;
        Reply::json(StatusCode::OK, rpc::encode_result(id, &result))
    }

    /// The capabilities of the server in a revision, for a client with these capabilities.
    pub(super) fn capabilities(
        &self,
        version: ProtocolVersion,
        client: &ClientCapabilities,
    ) -> Value {
        let mut capabilities = serde_json::json!({
            "tools": { "listChanged": true },
            "logging": {},
            "completions": {},
        });
        let with_views = view::declared(client) && self.catalog.views().len() > 0;
        if with_views || self.catalog.resources().len() > 0 {
            capabilities["resources"] =
                serde_json::json!({ "subscribe": true, "listChanged": true });
        }
        if self.catalog.prompts().len() > 0 {
            capabilities["prompts"] = serde_json::json!({ "listChanged": true });
        }
        if self.jobs().is_some() {
            match version {
                ProtocolVersion::V2026_07_28 => {
                    capabilities["extensions"] = serde_json::json!({ wire::EXTENSION: {} });
                }
                ProtocolVersion::V2025_11_25 => capabilities["tasks"] = wire::legacy_capability(),
                _ => {}
            }
        }
        if with_views {
            capabilities["extensions"][view::EXTENSION] = serde_json::json!({});
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
