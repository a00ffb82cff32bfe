//! What both eras can do with a catalog: read the parameters of a method, check the scope, run it,
//! and turn what a tool says into what the protocol says.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Inner, lists};
use crate::{
    call::{Call, CallMeta},
    catalog::{HeaderParam, MatchedUri, ResourceKind, Run},
    error::ToolError,
    question::Question,
    rpc::{self, RequestId, RpcError, codes},
    types::{CallToolResult, Completion, Content, PromptResult, ResourceContents, ResourceEntry},
    version::ProtocolVersion,
};

/// The methods that both eras have.
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
        Self::ALL.into_iter().find(|it| it.name() == name)
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

/// One thing to do, with parameters that fit.
#[derive(Debug)]
pub(super) enum Operation {
    ListTools {
        cursor: Option<String>,
    },
    CallTool {
        index: usize,
        name: String,
        arguments: Box<RawValue>,
    },
    ListResources {
        cursor: Option<String>,
    },
    ListTemplates {
        cursor: Option<String>,
    },
    ReadResource {
        index: usize,
        uri: MatchedUri,
    },
    ListPrompts {
        cursor: Option<String>,
    },
    GetPrompt {
        index: usize,
        name: String,
        arguments: Box<RawValue>,
    },
    CompletePrompt {
        index: usize,
        argument: Argument,
        given: BTreeMap<String, String>,
    },
    CompleteResource {
        index: usize,
        argument: Argument,
    },
}

/// The argument that is being completed.
#[derive(Debug, Deserialize)]
pub(super) struct Argument {
    name: String,
    value: String,
}

/// Why parameters lead to no operation.
#[derive(Debug)]
pub(super) struct Unusable {
    pub(super) error: RpcError,
    /// Whether the parameters do not even have the form that the method asks for, instead of naming
    /// something that does not exist.
    pub(super) malformed: bool,
}

fn malformed(error: RpcError) -> Unusable {
    Unusable {
        error,
        malformed: true,
    }
}

fn unknown(error: RpcError) -> Unusable {
    Unusable {
        error,
        malformed: false,
    }
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
#[serde(tag = "type")]
enum Reference {
    #[serde(rename = "ref/prompt")]
    Prompt { name: String },
    #[serde(rename = "ref/resource")]
    Resource { uri: String },
}

#[derive(Deserialize)]
struct CompleteContext {
    #[serde(default)]
    arguments: BTreeMap<String, String>,
}

/// The longest value that is completed: longer ones are no beginnings of anything.
const MAX_COMPLETION_VALUE: usize = 1_000;

/// Reads the parameters of a method as `T`. Absent ones are `{}`.
pub(super) fn read_params<'a, T: Deserialize<'a>>(
    method: &str,
    params: Option<&'a RawValue>,
) -> Result<T, RpcError> {
    serde_json::from_str(params.map_or("{}", RawValue::get)).map_err(|error| {
        RpcError::invalid_params(format!("the parameters do not fit `{method}`: {error}"))
    })
}

/// The arguments as the client sent them, or none.
fn object(arguments: Option<&RawValue>) -> Result<Box<RawValue>, Unusable> {
    match arguments {
        None => Ok(RawValue::from_string("{}".to_owned()).expect("valid JSON")),
        Some(it) if it.get().starts_with('{') => Ok(it.to_owned()),
        Some(_) => Err(malformed(RpcError::invalid_params(
            "`arguments` must be an object",
        ))),
    }
}

impl Operation {
    /// Reads the parameters of a method and finds what they name.
    pub(super) fn prepare(
        engine: &Inner,
        version: ProtocolVersion,
        method: Method,
        params: Option<&RawValue>,
    ) -> Result<Self, Unusable> {
        let name = method.name();
        let cursor = || {
            Ok(read_params::<ListParams>(name, params)
                .map_err(malformed)?
                .cursor)
        };
        match method {
            Method::ListTools => Ok(Self::ListTools { cursor: cursor()? }),
            Method::ListResources => Ok(Self::ListResources { cursor: cursor()? }),
            Method::ListTemplates => Ok(Self::ListTemplates { cursor: cursor()? }),
            Method::ListPrompts => Ok(Self::ListPrompts { cursor: cursor()? }),
            Method::CallTool => {
                let params: NamedParams<'_> = read_params(name, params).map_err(malformed)?;
                let arguments = object(params.arguments)?;
                let index = engine.catalog.find_tool(&params.name).ok_or_else(|| {
                    unknown(RpcError::invalid_params(format!(
                        "there is no tool `{}`; see tools/list",
                        rpc::shorten(&params.name)
                    )))
                })?;
                Ok(Self::CallTool {
                    index,
                    name: params.name,
                    arguments,
                })
            }
            Method::GetPrompt => {
                let params: NamedParams<'_> = read_params(name, params).map_err(malformed)?;
                let arguments = object(params.arguments)?;
                let index = find_prompt(engine, &params.name)?;
                Ok(Self::GetPrompt {
                    index,
                    name: params.name,
                    arguments,
                })
            }
            Method::ReadResource => {
                let params: UriParams = read_params(name, params).map_err(malformed)?;
                let (index, uri) = engine
                    .catalog
                    .find_resource(&params.uri)
                    .ok_or_else(|| unknown(resource_not_found(&params.uri, version)))?;
                Ok(Self::ReadResource { index, uri })
            }
            Method::Complete => prepare_completion(engine, version, params),
        }
    }

    /// The scope that a token must have.
    pub(super) fn scope(&self, engine: &Inner) -> &'static str {
        match self {
            Self::ListTools { .. }
            | Self::ListResources { .. }
            | Self::ListTemplates { .. }
            | Self::ListPrompts { .. } => "",
            Self::CallTool { index, .. } => engine.catalog.tools()[*index].scope,
            Self::GetPrompt { index, .. } | Self::CompletePrompt { index, .. } => {
                engine.catalog.prompts()[*index].scope
            }
            Self::ReadResource { index, .. } | Self::CompleteResource { index, .. } => {
                engine.catalog.resources()[*index].scope
            }
        }
    }

    /// What is named, in the catalog's own words: bounded, so it may label a metric.
    pub(super) fn target(&self, engine: &Inner) -> Option<String> {
        let resource = |index: usize| match &engine.catalog.resources()[index].kind {
            ResourceKind::Single(entry) => entry.uri.clone(),
            ResourceKind::Template(template) => template.uri_template.to_owned(),
        };
        match self {
            Self::ListTools { .. }
            | Self::ListResources { .. }
            | Self::ListTemplates { .. }
            | Self::ListPrompts { .. } => None,
            Self::CallTool { index, .. } => {
                Some(engine.catalog.tools()[*index].definition.name.to_owned())
            }
            Self::GetPrompt { index, .. } | Self::CompletePrompt { index, .. } => {
                Some(engine.catalog.prompts()[*index].definition.name.to_owned())
            }
            Self::ReadResource { index, .. } | Self::CompleteResource { index, .. } => {
                Some(resource(*index))
            }
        }
    }

    /// The parameters that must stand in headers too, with the arguments they stand in.
    pub(super) fn header_params<'a>(
        &'a self,
        engine: &'a Inner,
    ) -> Option<(&'a [HeaderParam], &'a RawValue)> {
        match self {
            Self::CallTool {
                index, arguments, ..
            } => {
                let headers = &engine.catalog.tools()[*index].headers;
                (!headers.is_empty()).then_some((headers, &**arguments))
            }
            _ => None,
        }
    }

    /// What `requestState` is bound to: target and arguments. Nothing for methods that cannot ask.
    pub(super) fn binding(&self) -> Option<(&str, &str)> {
        match self {
            Self::CallTool {
                name, arguments, ..
            }
            | Self::GetPrompt {
                name, arguments, ..
            } => Some((name, arguments.get())),
            Self::ReadResource { uri, .. } => Some((&uri.uri, "")),
            _ => None,
        }
    }

    /// Whether a run may emit events or ask, and so needs all that comes with a call.
    pub(super) fn is_list(&self) -> bool {
        matches!(
            self,
            Self::ListTools { .. } | Self::ListTemplates { .. } | Self::ListPrompts { .. }
        )
    }

    /// The parameters as a client would send them: what a waiting call keeps. The wire format is
    /// the one that every version of this server reads.
    pub(super) fn to_params(&self, progress_token: Option<&RequestId>) -> Option<Box<RawValue>> {
        #[derive(Serialize)]
        struct Params<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            name: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            arguments: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            uri: Option<&'a str>,
            #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
            meta: Option<Meta<'a>>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Meta<'a> {
            progress_token: &'a RequestId,
        }
        let (name, arguments, uri) = match self {
            Self::CallTool {
                name, arguments, ..
            }
            | Self::GetPrompt {
                name, arguments, ..
            } => (Some(name.as_str()), Some(&**arguments), None),
            Self::ReadResource { uri, .. } => (None, None, Some(uri.uri.as_str())),
            _ => return None,
        };
        let meta = progress_token.map(|progress_token| Meta { progress_token });
        serde_json::value::to_raw_value(&Params {
            name,
            arguments,
            uri,
            meta,
        })
        .ok()
    }
}

fn find_prompt(engine: &Inner, name: &str) -> Result<usize, Unusable> {
    engine.catalog.find_prompt(name).ok_or_else(|| {
        unknown(RpcError::invalid_params(format!(
            "there is no prompt `{}`; see prompts/list",
            rpc::shorten(name)
        )))
    })
}

fn prepare_completion(
    engine: &Inner,
    version: ProtocolVersion,
    params: Option<&RawValue>,
) -> Result<Operation, Unusable> {
    let params: CompleteParams = read_params(Method::Complete.name(), params).map_err(malformed)?;
    let argument = params.argument;
    if argument.value.len() > MAX_COMPLETION_VALUE {
        return Err(unknown(RpcError::invalid_params(format!(
            "`argument.value` is longer than {MAX_COMPLETION_VALUE} bytes"
        ))));
    }
    match params.reference {
        Reference::Prompt { name } => {
            let index = find_prompt(engine, &name)?;
            let given = params.context.map(|it| it.arguments).unwrap_or_default();
            Ok(Operation::CompletePrompt {
                index,
                argument,
                given,
            })
        }
        Reference::Resource { uri } => {
            let slots = engine.catalog.resources().iter();
            let index = slots
                .enumerate()
                .find_map(|(index, it)| match &it.kind {
                    ResourceKind::Single(entry) => (entry.uri == uri).then_some(index),
                    ResourceKind::Template(it) => (it.uri_template == uri).then_some(index),
                })
                .ok_or_else(|| unknown(resource_not_found(&uri, version)))?;
            Ok(Operation::CompleteResource { index, argument })
        }
    }
}

/// The progress token of a request, if it has one.
pub(super) fn progress_token(params: Option<&RawValue>) -> Option<RequestId> {
    #[derive(Deserialize)]
    struct Params {
        #[serde(rename = "_meta")]
        meta: Option<CallMeta>,
    }
    let params: Params = serde_json::from_str(params?.get()).ok()?;
    params.meta?.progress_token
}

/// What an operation gives.
#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(super) enum Output<'a> {
    Tools {
        tools: &'a [Box<RawValue>],
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<String>,
    },
    Tool(CallToolResult),
    Resources {
        resources: Vec<ResourceEntry>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<String>,
    },
    Templates {
        resource_templates: &'a [Box<RawValue>],
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<String>,
    },
    Contents {
        contents: Vec<ResourceContents>,
    },
    Prompts {
        prompts: &'a [Box<RawValue>],
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<String>,
    },
    Prompt(PromptResult),
    Completion {
        completion: Completion,
    },
}

/// How long a client may keep a result, and whether it may share it among users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caching {
    pub(super) ttl_ms: u64,
    pub(super) scope: &'static str,
}

impl Caching {
    /// The same for everyone until the next deploy. Short enough that a client which missed the
    /// notification of a deploy is not behind for long.
    pub(super) const PUBLIC: Self = Self {
        ttl_ms: 60_000,
        scope: "public",
    };
    /// One user's data, which may change at any moment.
    pub(super) const PRIVATE: Self = Self {
        ttl_ms: 0,
        scope: "private",
    };
}

impl Output<'_> {
    /// The cache hint of 2026-07-28 (server/utilities/caching), for the results that have one.
    pub(super) fn caching(&self) -> Option<Caching> {
        match self {
            Self::Tools { .. } | Self::Templates { .. } | Self::Prompts { .. } => {
                Some(Caching::PUBLIC)
            }
            Self::Resources { .. } | Self::Contents { .. } => Some(Caching::PRIVATE),
            Self::Tool(_) | Self::Prompt(_) | Self::Completion { .. } => None,
        }
    }

    pub(super) fn is_tool_error(&self) -> bool {
        matches!(self, Self::Tool(result) if result.is_error)
    }
}

/// Why an operation gave nothing.
#[derive(Debug)]
pub(super) enum Failure {
    Rpc(RpcError),
    /// The client must answer these first.
    InputRequired(BTreeMap<String, Question>),
}

impl From<RpcError> for Failure {
    fn from(error: RpcError) -> Self {
        Self::Rpc(error)
    }
}

/// Resources are read and prompts written within this time.
const READ_LIMIT: Duration = Duration::from_secs(30);

impl Inner {
    /// Runs an operation to its end.
    pub(super) async fn run(
        &self,
        operation: &Operation,
        call: &Call,
    ) -> Result<Output<'_>, Failure> {
        let version = call.version();
        match operation {
            Operation::CallTool {
                index,
                name,
                arguments,
            } => self.call_tool(*index, name, arguments, call).await,
            Operation::ReadResource { index, uri } => {
                let contents =
                    bounded(READ_LIMIT, self.catalog.read_resource(*index, call, uri)).await;
                match contents {
                    Ok(contents) => Ok(Output::Contents { contents }),
                    Err(ToolError::NotFound(_)) => {
                        Err(resource_not_found(&uri.uri, version).into())
                    }
                    Err(error) => Err(refuse(error, call)),
                }
            }
            Operation::GetPrompt {
                index, arguments, ..
            } => bounded(READ_LIMIT, self.catalog.get_prompt(*index, call, arguments))
                .await
                .map(|prompt| Output::Prompt(prompt_for(prompt, version)))
                .map_err(|error| refuse(error, call)),
            Operation::CompletePrompt {
                index,
                argument,
                given,
            } => {
                let (name, value) = (&*argument.name, &*argument.value);
                bounded(
                    READ_LIMIT,
                    self.catalog
                        .complete_prompt(*index, call, name, value, given),
                )
                .await
                .map(|completion| Output::Completion { completion })
                .map_err(|error| refuse(error, call))
            }
            Operation::CompleteResource { index, argument } => {
                let (name, value) = (&*argument.name, &*argument.value);
                bounded(
                    READ_LIMIT,
                    self.catalog.complete_resource(*index, call, name, value),
                )
                .await
                .map(|completion| Output::Completion { completion })
                .map_err(|error| refuse(error, call))
            }
            Operation::ListResources { cursor } => {
                self.list_resources(cursor.as_deref(), call).await
            }
            Operation::ListTools { .. }
            | Operation::ListTemplates { .. }
            | Operation::ListPrompts { .. } => Ok(self.list(operation, version)?),
        }
    }

    /// The lists that are in memory.
    pub(super) fn list(
        &self,
        operation: &Operation,
        version: ProtocolVersion,
    ) -> Result<Output<'_>, RpcError> {
        let size = self.settings.page_size;
        match operation {
            Operation::ListTools { cursor } => {
                let (tools, next_cursor) =
                    lists::page(self.rendered.tools(version), cursor.as_deref(), size)?;
                Ok(Output::Tools { tools, next_cursor })
            }
            Operation::ListTemplates { cursor } => {
                let (resource_templates, next_cursor) =
                    lists::page(self.rendered.templates(version), cursor.as_deref(), size)?;
                Ok(Output::Templates {
                    resource_templates,
                    next_cursor,
                })
            }
            Operation::ListPrompts { cursor } => {
                let (prompts, next_cursor) =
                    lists::page(self.rendered.prompts(version), cursor.as_deref(), size)?;
                Ok(Output::Prompts {
                    prompts,
                    next_cursor,
                })
            }
            _ => Err(RpcError::internal()),
        }
    }

    async fn call_tool(
        &self,
        index: usize,
        name: &str,
        arguments: &RawValue,
        call: &Call,
    ) -> Result<Output<'_>, Failure> {
        let Run::Inline { timeout } = self.catalog.tools()[index].run;
        let called = bounded(timeout, self.catalog.call_tool(index, call, arguments)).await;
        let error = match called {
            Ok(result) => return Ok(Output::Tool(result_for(result, call.version()))),
            Err(error) => error,
        };
        let message = match error {
            ToolError::Input(message)
            | ToolError::NotFound(message)
            | ToolError::Failed(message) => message,
            ToolError::InputRequired(_) => {
                return Err(Failure::InputRequired(call.take_questions()));
            }
            ToolError::MissingCapability(capability) if call.version().is_modern() => {
                return Err(missing_capability(capability).into());
            }
            ToolError::MissingCapability(capability) => format!(
                "`{name}` needs a client that supports {}, and yours has not declared it. \
                 Use another client for this, or another tool.",
                capability.name()
            ),
            ToolError::Rpc(error) => return Err(error.into()),
            ToolError::Internal(source) => {
                tracing::error!(tool = name, error = %source, "Tool `{name}` failed: {source}");
                format!("`{name}` failed for a reason on our side. Please try again.")
            }
        };
        Ok(Output::Tool(CallToolResult::error(message)))
    }

    /// One page of resources: those with one URI, then each template's own, as far as the token may
    /// see them.
    async fn list_resources(
        &self,
        cursor: Option<&str>,
        call: &Call,
    ) -> Result<Output<'_>, Failure> {
        let slots = self.catalog.resources();
        let (start, mut inner) = cursor.map_or(Ok((0, None)), lists::read_cursor)?;
        if start > slots.len() {
            return Err(lists::bad_cursor().into());
        }
        let mut resources = Vec::new();
        for (index, slot) in slots.iter().enumerate().skip(start) {
            if resources.len() >= self.settings.page_size {
                let next_cursor = Some(lists::write_cursor(index, None));
                return Ok(Output::Resources {
                    resources,
                    next_cursor,
                });
            }
            match &slot.kind {
                ResourceKind::Single(entry) => {
                    resources.push(lists::entry_for(entry.clone(), call.version()));
                }
                ResourceKind::Template(_) if call.caller().may(slot.scope) => {
                    let inner = inner.take();
                    let listed = self.catalog.list_resources(index, call, inner.as_deref());
                    let page = bounded(READ_LIMIT, listed)
                        .await
                        .map_err(|error| match error {
                            ToolError::Input(_) => lists::bad_cursor().into(),
                            error => refuse(error, call),
                        })?;
                    let entries = page.entries.into_iter();
                    resources.extend(entries.map(|it| lists::entry_for(it, call.version())));
                    if let Some(next) = page.next {
                        let next_cursor = Some(lists::write_cursor(index, Some(&next)));
                        return Ok(Output::Resources {
                            resources,
                            next_cursor,
                        });
                    }
                }
                ResourceKind::Template(_) => {}
            }
        }
        Ok(Output::Resources {
            resources,
            next_cursor: None,
        })
    }
}

async fn bounded<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, ToolError>>,
) -> Result<T, ToolError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_elapsed| {
        Err(ToolError::Failed(format!(
            "This took longer than {} seconds and was stopped. Ask for less at once, or try again.",
            limit.as_secs()
        )))
    })
}

/// A failure outside of a tool: there is no `isError` to put it into.
fn refuse(error: ToolError, call: &Call) -> Failure {
    match error {
        ToolError::Input(message) | ToolError::NotFound(message) => {
            RpcError::invalid_params(message).into()
        }
        ToolError::Failed(message) => RpcError::new(codes::INTERNAL_ERROR, message).into(),
        ToolError::InputRequired(_) => Failure::InputRequired(call.take_questions()),
        ToolError::MissingCapability(capability) if call.version().is_modern() => {
            missing_capability(capability).into()
        }
        ToolError::MissingCapability(capability) => RpcError::invalid_params(format!(
            "this needs a client that supports {}",
            capability.name()
        ))
        .into(),
        ToolError::Rpc(error) => error.into(),
        ToolError::Internal(source) => {
            tracing::error!(error = %source, "A resource or prompt failed: {source}");
            RpcError::internal().into()
        }
    }
}

fn missing_capability(capability: crate::Capability) -> RpcError {
    let data = serde_json::json!({ "requiredCapabilities": capability.declaration() });
    RpcError::new(
        codes::MISSING_CLIENT_CAPABILITY,
        format!("this needs a client that supports {}", capability.name()),
    )
    .with_data(data)
}

pub(super) fn resource_not_found(uri: &str, version: ProtocolVersion) -> RpcError {
    let code = if version.is_modern() {
        codes::INVALID_PARAMS
    } else {
        codes::RESOURCE_NOT_FOUND
    };
    RpcError::new(code, "there is no such resource; see resources/list")
        .with_data(serde_json::json!({ "uri": uri }))
}

/// A result as a revision knows it.
fn result_for(mut result: CallToolResult, version: ProtocolVersion) -> CallToolResult {
    if version < ProtocolVersion::V2025_06_18 {
        result.structured_content = None;
        for content in &mut result.content {
            make_plain(content);
        }
    }
    result
}

fn prompt_for(mut prompt: PromptResult, version: ProtocolVersion) -> PromptResult {
    if version < ProtocolVersion::V2025_06_18 {
        for message in &mut prompt.messages {
            make_plain(&mut message.content);
        }
    }
    prompt
}

/// 2025-03-26 has no resource links: they become text.
fn make_plain(content: &mut Content) {
    if let Content::ResourceLink(entry) = content {
        *content = Content::text(format!("{}: {}", entry.name, entry.uri));
    }
}
