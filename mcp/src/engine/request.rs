//! The methods that both eras have: parsing of their parameters, and resolution of the catalog
//! entry.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Inner, tasks::params::TaskRequest};
use crate::{
    catalog::{BoundPrompt, BoundResource, BoundTool, HeaderParam, MatchedUri, view},
    json,
    params::Params,
    rpc::{self, RequestId, RpcError, codes},
    store::{MAX_URI_BYTES, Session, StoredCall},
    types::ClientCapabilities,
    version::ProtocolVersion,
};

/// A method that both eras have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    ListTools,
    CallTool,
    ListResources,
    ListTemplates,
    ReadResource,
    ListPrompts,
    GetPrompt,
    Complete,
}

impl Method {
    const ALL: [Self; 8] = [
        Self::ListTools,
        Self::CallTool,
        Self::ListResources,
        Self::ListTemplates,
        Self::ReadResource,
        Self::ListPrompts,
        Self::GetPrompt,
        Self::Complete,
    ];

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ListTools => "tools/list",
            Self::CallTool => "tools/call",
            Self::ListResources => "resources/list",
            Self::ListTemplates => "resources/templates/list",
            Self::ReadResource => "resources/read",
            Self::ListPrompts => "prompts/list",
            Self::GetPrompt => "prompts/get",
            Self::Complete => "completion/complete",
        }
    }
}

/// A parsed request: its parameters are valid, and name an entry of the catalog.
#[derive(Debug)]
pub(super) enum Operation {
    /// `with_views`: for a client that shows views.
    ListTools {
        cursor: Option<String>,
        with_views: bool,
    },
    /// `name`: as the client wrote it, which may be an alias.
    CallTool {
        tool: Arc<BoundTool>,
        name: String,
        arguments: Box<RawValue>,
    },
    /// `with_views`: for a client that shows views.
    ListResources {
        cursor: Option<String>,
        with_views: bool,
    },
    ListTemplates {
        cursor: Option<String>,
    },
    ReadResource {
        resource: Arc<BoundResource>,
        uri: MatchedUri,
    },
    ListPrompts {
        cursor: Option<String>,
    },
    GetPrompt {
        prompt: Arc<BoundPrompt>,
        name: String,
        arguments: Box<RawValue>,
    },
    CompletePrompt {
        prompt: Arc<BoundPrompt>,
        argument: Argument,
        given: BTreeMap<String, String>,
    },
    CompleteResource {
        resource: Arc<BoundResource>,
        argument: Argument,
    },
}

/// An operation with the options of its request.
#[derive(Debug)]
pub(super) struct RequestedOperation {
    pub(super) operation: Operation,
    pub(super) progress_token: Option<RequestId>,
    /// The client asks for a task handle instead of the result (2025-11-25).
    pub(super) task: Option<TaskRequest>,
}

impl RequestedOperation {
    /// Converts to the form in which another instance can resume it. `None`: a list or a
    /// completion, which is not stored.
    pub(super) fn to_stored(&self) -> Option<StoredCall> {
        Some(StoredCall {
            method: self.operation.method().name().to_owned(),
            params: Some(self.operation.to_params(self.progress_token.as_ref(), self.task)?),
            answers: BTreeMap::new(),
            asked_at: None,
            progress: None,
        })
    }

    /// Parses a stored call, possibly of another version of this server. `None`: this version does
    /// not have its tool, prompt or resource.
    pub(super) fn from_stored(
        engine: &Inner,
        session: &Session,
        call: &StoredCall,
    ) -> Option<Self> {
        let method = Method::parse(&call.method)?;
        let params = &Params::new(call.params.as_deref());
        let Session { version, capabilities, .. } = session;
        let operation = Operation::prepare(engine, *version, capabilities, method, params).ok()?;
        let task = task_request(params).ok()?;
        Some(Self { operation, progress_token: progress_token(params), task })
    }
}

/// The argument to complete.
#[derive(Debug, Deserialize)]
pub(super) struct Argument {
    pub(super) name: String,
    pub(super) value: String,
}

/// Why the parameters of a request were rejected.
#[derive(Debug)]
pub(super) struct InvalidParams {
    pub(super) error: RpcError,
    /// Whether the parameters do not have the form that the method requires. Otherwise they name an
    /// entry that does not exist.
    pub(super) malformed: bool,
}

fn malformed(error: RpcError) -> InvalidParams {
    InvalidParams { error, malformed: true }
}

fn unknown(error: RpcError) -> InvalidParams {
    InvalidParams { error, malformed: false }
}

#[derive(Deserialize)]
struct ListParams {
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct NamedParams<'a> {
    name: String,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct UriParams {
    uri: String,
}

#[derive(Deserialize)]
struct CompleteParams {
    #[serde(rename = "ref")]
    reference: Reference,
    argument: Argument,
    context: Option<CompleteContext>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "type")]
    kind: ReferenceKind,
    name: Option<String>,
    uri: Option<String>,
}

#[derive(Deserialize)]
enum ReferenceKind {
    #[serde(rename = "ref/prompt")]
    Prompt,
    #[serde(rename = "ref/resource")]
    Resource,
}

#[derive(Deserialize)]
struct CompleteContext {
    #[serde(default)]
    arguments: BTreeMap<String, String>,
}

/// The maximum length of a value to complete, in bytes. A longer one is not a prefix of a
/// suggestion.
const MAX_COMPLETION_VALUE: usize = 1_000;

/// Converts the parameters of a method.
pub(super) fn read_params<'a, T: Deserialize<'a>>(
    method: &str,
    params: &Params<'a>,
) -> Result<T, RpcError> {
    params.read().map_err(|error| {
        RpcError::invalid_params(format!("the parameters do not fit `{method}`: {error}"))
    })
}

/// Returns the arguments, or `{}` if they are absent. Accepts an object encoded as a JSON string,
/// as some clients send it.
fn object(arguments: Option<&RawValue>) -> Result<Box<RawValue>, InvalidParams> {
    let empty = || RawValue::from_string("{}".to_owned()).expect("valid JSON");
    let is_object = |value: &RawValue| value.get().starts_with('{');
    let Some(sent) = arguments.filter(|value| value.get() != r#""""#) else {
        return Ok(empty());
    };
    if is_object(sent) {
        return Ok(sent.to_owned());
    }
    json::from_str::<String>(sent.get())
        .and_then(|text| json::from_str::<Box<RawValue>>(text.trim()))
        .ok()
        .filter(|value| is_object(value))
        .ok_or_else(|| malformed(RpcError::invalid_params("`arguments` must be an object")))
}

impl Operation {
    /// Parses the parameters of a method and finds the catalog entry that they name. For a client
    /// that does not declare views, views and the tools that only views call do not exist.
    pub(super) fn prepare(
        engine: &Inner,
        version: ProtocolVersion,
        capabilities: &ClientCapabilities,
        method: Method,
        params: &Params<'_>,
    ) -> Result<Self, InvalidParams> {
        let name = method.name();
        let with_views = view::declared(capabilities);
        let cursor = || Ok(read_params::<ListParams>(name, params).map_err(malformed)?.cursor);
        match method {
            Method::ListTools => Ok(Self::ListTools { cursor: cursor()?, with_views }),
            Method::ListResources => Ok(Self::ListResources { cursor: cursor()?, with_views }),
            Method::ListTemplates => Ok(Self::ListTemplates { cursor: cursor()? }),
            Method::ListPrompts => Ok(Self::ListPrompts { cursor: cursor()? }),
            Method::CallTool => {
                let params: NamedParams<'_> = read_params(name, params).map_err(malformed)?;
                let arguments = object(params.arguments)?;
                let tool = engine.catalog.find_tool(&params.name);
                let tool = tool.filter(|tool| with_views || !tool.entry.view_only);
                let tool = tool.ok_or_else(|| {
                    unknown(RpcError::invalid_params(format!(
                        "there is no tool `{}`; see tools/list",
                        rpc::shorten(&params.name)
                    )))
                })?;
                if !engine.catalog.offers(tool) {
                    return Err(unknown(RpcError::invalid_params(format!(
                        "`{}` changes data, and this server is read-only",
                        tool.name()
                    ))));
                }
                Ok(Self::CallTool { tool: Arc::clone(tool), name: params.name, arguments })
            }
            Method::GetPrompt => {
                let params: NamedParams<'_> = read_params(name, params).map_err(malformed)?;
                let arguments = object(params.arguments)?;
                let prompt = find_prompt(engine, &params.name)?;
                Ok(Self::GetPrompt { prompt, name: params.name, arguments })
            }
            Method::ReadResource => {
                let params: UriParams = read_params(name, params).map_err(malformed)?;
                let view = || engine.catalog.find_view(&params.uri).filter(|_| with_views);
                let found = engine.catalog.find_resource(&params.uri).or_else(view);
                let (resource, uri) =
                    found.ok_or_else(|| unknown(resource_not_found(&params.uri, version)))?;
                Ok(Self::ReadResource { resource: Arc::clone(resource), uri })
            }
            Method::Complete => prepare_completion(engine, version, params),
        }
    }

    /// The scope that the access token must have. Empty: none.
    pub(super) fn scope(&self) -> &'static str {
        match self {
            Self::ListTools { .. }
            | Self::ListResources { .. }
            | Self::ListTemplates { .. }
            | Self::ListPrompts { .. } => "",
            Self::CallTool { tool, .. } => tool.entry.scope,
            Self::GetPrompt { prompt, .. } | Self::CompletePrompt { prompt, .. } => {
                prompt.entry.scope
            }
            Self::ReadResource { resource, .. } | Self::CompleteResource { resource, .. } => {
                resource.slot.scope
            }
        }
    }

    /// The name of the catalog entry. From a bounded set, so it may be a metric label.
    pub(super) fn target(&self) -> Option<String> {
        match self {
            Self::ListTools { .. }
            | Self::ListResources { .. }
            | Self::ListTemplates { .. }
            | Self::ListPrompts { .. } => None,
            Self::CallTool { tool, .. } => Some(tool.name().to_owned()),
            Self::GetPrompt { prompt, .. } | Self::CompletePrompt { prompt, .. } => {
                Some(prompt.name().to_owned())
            }
            Self::ReadResource { resource, .. } | Self::CompleteResource { resource, .. } => {
                Some(resource.uri().to_owned())
            }
        }
    }

    /// The parameters that must be repeated in headers, and the arguments that contain them.
    /// `None`: the tool has no such parameters.
    pub(super) fn header_params(&self) -> Option<(&[HeaderParam], &RawValue)> {
        match self {
            Self::CallTool { tool, arguments, .. } => {
                let headers = &tool.entry.headers;
                (!headers.is_empty()).then_some((headers, &**arguments))
            }
            _ => None,
        }
    }

    /// The target and arguments that `requestState` is bound to. `None`: the method cannot ask the
    /// client.
    pub(super) fn binding(&self) -> Option<(&str, &str)> {
        match self {
            Self::CallTool { name, arguments, .. } | Self::GetPrompt { name, arguments, .. } => {
                Some((name, arguments.get()))
            }
            Self::ReadResource { uri, .. } => Some((&uri.uri, "")),
            _ => None,
        }
    }

    fn method(&self) -> Method {
        match self {
            Self::ListTools { .. } => Method::ListTools,
            Self::CallTool { .. } => Method::CallTool,
            Self::ListResources { .. } => Method::ListResources,
            Self::ListTemplates { .. } => Method::ListTemplates,
            Self::ReadResource { .. } => Method::ReadResource,
            Self::ListPrompts { .. } => Method::ListPrompts,
            Self::GetPrompt { .. } => Method::GetPrompt,
            Self::CompletePrompt { .. } | Self::CompleteResource { .. } => Method::Complete,
        }
    }

    /// Whether the operation may be run again when the effect of an earlier run is unknown:
    /// operations that only read, and tools with the hint `readOnlyHint` or `idempotentHint`.
    pub(super) fn is_repeatable(&self, engine: &Inner) -> bool {
        match self {
            // Until the job exists the call has no effect, and after that a worker runs the job.
            Self::CallTool { .. } if engine.job_tool(self).is_some() => true,
            Self::CallTool { tool, .. } => {
                let annotations = &tool.entry.definition.annotations;
                tool.is_read_only() || annotations.idempotent_hint == Some(true)
            }
            _ => true,
        }
    }

    /// Whether the operation is answered from memory. Other operations may emit events or ask the
    /// client, and need a [`Call`](crate::Call).
    pub(super) fn is_list(&self) -> bool {
        matches!(
            self,
            Self::ListTools { .. } | Self::ListTemplates { .. } | Self::ListPrompts { .. }
        )
    }

    /// Encodes the parameters as in a request. This is how calls are stored, because every version
    /// of the server can parse the wire format. `None`: the operation is not stored.
    pub(super) fn to_params(
        &self,
        progress_token: Option<&RequestId>,
        task: Option<TaskRequest>,
    ) -> Option<Box<RawValue>> {
        #[derive(Serialize)]
        struct Params<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            name: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            arguments: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            uri: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            task: Option<TaskRequest>,
            #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
            meta: Option<Meta<'a>>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Meta<'a> {
            progress_token: &'a RequestId,
        }
        let (name, arguments, uri) = match self {
            Self::CallTool { name, arguments, .. } | Self::GetPrompt { name, arguments, .. } => {
                (Some(name.as_str()), Some(&**arguments), None)
            }
            Self::ReadResource { uri, .. } => (None, None, Some(uri.uri.as_str())),
            _ => return None,
        };
        let meta = progress_token.map(|progress_token| Meta { progress_token });
        serde_json::value::to_raw_value(&Params { name, arguments, uri, task, meta }).ok()
    }
}

fn find_prompt(engine: &Inner, name: &str) -> Result<Arc<BoundPrompt>, InvalidParams> {
    engine.catalog.find_prompt(name).cloned().ok_or_else(|| {
        unknown(RpcError::invalid_params(format!(
            "there is no prompt `{}`; see prompts/list",
            rpc::shorten(name)
        )))
    })
}

fn prepare_completion(
    engine: &Inner,
    version: ProtocolVersion,
    params: &Params<'_>,
) -> Result<Operation, InvalidParams> {
    let params: CompleteParams = read_params(Method::Complete.name(), params).map_err(malformed)?;
    let argument = params.argument;
    if argument.value.len() > MAX_COMPLETION_VALUE {
        return Err(unknown(RpcError::invalid_params(format!(
            "`argument.value` is longer than {MAX_COMPLETION_VALUE} bytes"
        ))));
    }
    let lacks = |field: &str| {
        let problem = format!("`ref` of this `type` needs `{field}`");
        malformed(RpcError::invalid_params(problem))
    };
    let Reference { kind, name, uri } = params.reference;
    match kind {
        ReferenceKind::Prompt => {
            let prompt = find_prompt(engine, &name.ok_or_else(|| lacks("name"))?)?;
            let given = params.context.map(|context| context.arguments).unwrap_or_default();
            Ok(Operation::CompletePrompt { prompt, argument, given })
        }
        ReferenceKind::Resource => {
            let uri = uri.ok_or_else(|| lacks("uri"))?;
            let resource = engine
                .catalog
                .resource_by_uri(&uri)
                .ok_or_else(|| unknown(resource_not_found(&uri, version)))?;
            Ok(Operation::CompleteResource { resource: Arc::clone(resource), argument })
        }
    }
}

/// Reads `_meta.progressToken`. `None`: absent or malformed.
pub(super) fn progress_token(params: &Params<'_>) -> Option<RequestId> {
    json::from_str(params.meta("progressToken")?.get()).ok()
}

/// Reads the parameter `task` of a call.
pub(super) fn task_request(params: &Params<'_>) -> Result<Option<TaskRequest>, RpcError> {
    #[derive(Deserialize)]
    struct TaskParams {
        task: Option<TaskRequest>,
    }
    Ok(read_params::<TaskParams>(Method::CallTool.name(), params)?.task)
}

pub(super) fn resource_not_found(uri: &str, version: ProtocolVersion) -> RpcError {
    let code = if version.is_modern() { codes::INVALID_PARAMS } else { codes::RESOURCE_NOT_FOUND };
    RpcError::new(code, "there is no such resource; see resources/list")
        .with_data(serde_json::json!({ "uri": rpc::shorten_to(uri, MAX_URI_BYTES) }))
}
