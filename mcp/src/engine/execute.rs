//! Execution of operations, and conversion of the errors of tools to those of the protocol.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Inner, lists,
    request::{Operation, resource_not_found},
};
use crate::{
    call::Call,
    caller::Caller,
    catalog::{BoundTool, ResourceKind},
    error::ToolError,
    failure::CallFailure,
    job::{Child, JobOutcome},
    question::Question,
    rpc::{RpcError, codes},
    trace,
    types::{CallToolResult, Completion, Content, PromptResult, ResourceContents, ResourceEntry},
    version::ProtocolVersion,
};

/// The result of an operation.
#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(super) enum Output<'a> {
    Tools {
        tools: &'a [Box<RawValue>],
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<String>,
        /// Whether the list is for clients that show views.
        #[serde(skip)]
        with_views: bool,
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

/// The cache hint of a result: lifetime, and whether it may be shared among users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caching {
    pub(super) ttl_ms: u64,
    pub(super) scope: &'static str,
}

impl Caching {
    /// Equal for all users until the next deploy. Short, so that a client that missed the
    /// `list_changed` notification soon has the current lists.
    pub(super) const PUBLIC: Self = Self { ttl_ms: 60_000, scope: "public" };
    /// The same, but for clients that show views: a shared cache must not pass it on to others.
    pub(super) const WITH_VIEWS: Self = Self { ttl_ms: 60_000, scope: "private" };
    /// Data of one user, which may change at any time.
    pub(super) const PRIVATE: Self = Self { ttl_ms: 0, scope: "private" };
}

impl Output<'_> {
    /// The cache hint of 2026-07-28 (server/utilities/caching), for the results that have one.
    pub(super) fn caching(&self) -> Option<Caching> {
        match self {
            Self::Tools { with_views: true, .. } => Some(Caching::WITH_VIEWS),
            Self::Tools { .. } | Self::Templates { .. } | Self::Prompts { .. } => {
                Some(Caching::PUBLIC)
            }
            Self::Resources { .. } | Self::Contents { .. } => Some(Caching::PRIVATE),
            Self::Tool(_) | Self::Prompt(_) | Self::Completion { .. } => None,
        }
    }

    /// How the call of a tool failed, if it did.
    pub(super) fn failure(&self) -> Option<CallFailure> {
        match self {
            Self::Tool(result) => result.failure(),
            _ => None,
        }
    }
}

/// Why an operation has no result.
#[derive(Debug)]
pub(super) enum Failure {
    Rpc(RpcError),
    /// The client must answer these questions first.
    InputRequired(BTreeMap<String, Question>),
    /// The access token lacks this scope.
    MissingScope(&'static str),
}

impl From<RpcError> for Failure {
    fn from(error: RpcError) -> Self {
        Self::Rpc(error)
    }
}

/// A page of resources has this many times the elements of other pages: there may be thousands of
/// resources, each entry is small, and clients fetch all pages.
const RESOURCE_FACTOR: usize = 10;

/// The timeout of reading a resource, of generating a prompt and of a completion.
const READ_LIMIT: Duration = Duration::from_secs(30);

impl Inner {
    /// Executes an operation and records a failure in the current trace span.
    pub(super) async fn execute(
        &self,
        operation: &Operation,
        call: &Call,
    ) -> Result<Output<'_>, Failure> {
        let result = self.execute_operation(operation, call).await;
        match &result {
            Ok(output) if output.failure().is_some() => trace::failed("tool_error"),
            Err(Failure::Rpc(error)) => trace::failed(&error.code.to_string()),
            Ok(_) | Err(Failure::InputRequired(_) | Failure::MissingScope(_)) => {}
        }
        result
    }

    async fn execute_operation(
        &self,
        operation: &Operation,
        call: &Call,
    ) -> Result<Output<'_>, Failure> {
        let version = call.version();
        match operation {
            Operation::CallTool { tool, name, arguments } => {
                self.call_tool(tool, name, arguments, call).await
            }
            Operation::ReadResource { resource, uri } => {
                match bounded(READ_LIMIT, resource.read(call, uri)).await {
                    Ok(contents) => Ok(Output::Contents { contents }),
                    Err(ToolError::NotFound(_)) => {
                        Err(resource_not_found(&uri.uri, version).into())
                    }
                    Err(error) => Err(refuse(error, call)),
                }
            }
            Operation::GetPrompt { prompt, arguments, .. } => {
                bounded(READ_LIMIT, prompt.get(call, arguments))
                    .await
                    .map(|prompt| Output::Prompt(prompt_for(prompt, version)))
                    .map_err(|error| refuse(error, call))
            }
            Operation::CompletePrompt { prompt, argument, given } => {
                let (name, value) = (&*argument.name, &*argument.value);
                bounded(READ_LIMIT, prompt.complete(call, name, value, given))
                    .await
                    .map(|completion| Output::Completion { completion })
                    .map_err(|error| refuse(error, call))
            }
            Operation::CompleteResource { resource, argument } => {
                let (name, value) = (&*argument.name, &*argument.value);
                bounded(READ_LIMIT, resource.complete(call, name, value))
                    .await
                    .map(|completion| Output::Completion { completion })
                    .map_err(|error| refuse(error, call))
            }
            Operation::ListResources { cursor, with_views } => {
                self.list_resources(cursor.as_deref(), *with_views, call).await
            }
            Operation::ListTools { .. }
            | Operation::ListTemplates { .. }
            | Operation::ListPrompts { .. } => Ok(self.list(operation, version)?),
        }
    }

    /// Returns a page of tools, prompts or resource templates.
    pub(super) fn list(
        &self,
        operation: &Operation,
        version: ProtocolVersion,
    ) -> Result<Output<'_>, RpcError> {
        let size = self.settings.page_size;
        match operation {
            Operation::ListTools { cursor, with_views } => {
                let with_views = *with_views;
                let all = self.rendered.tools(version, with_views);
                let (tools, next_cursor) = lists::page(all, cursor.as_deref(), size)?;
                Ok(Output::Tools { tools, next_cursor, with_views })
            }
            Operation::ListTemplates { cursor } => {
                let (resource_templates, next_cursor) =
                    lists::page(self.rendered.templates(version), cursor.as_deref(), size)?;
                Ok(Output::Templates { resource_templates, next_cursor })
            }
            Operation::ListPrompts { cursor } => {
                let (prompts, next_cursor) =
                    lists::page(self.rendered.prompts(version), cursor.as_deref(), size)?;
                Ok(Output::Prompts { prompts, next_cursor })
            }
            _ => Err(RpcError::internal()),
        }
    }

    async fn call_tool(
        &self,
        tool: &BoundTool,
        name: &str,
        arguments: &RawValue,
        call: &Call,
    ) -> Result<Output<'_>, Failure> {
        let called = self.run_tool(tool, arguments, call).await;
        match called {
            Ok(result) => Ok(Output::Tool(result_for(result, call.version()))),
            Err(error) => Ok(Output::Tool(tool_failed(name, error, call)?)),
        }
    }

    /// Runs a tool in this process, including the children it asks for.
    async fn run_tool(
        &self,
        tool: &BoundTool,
        arguments: &RawValue,
        call: &Call,
    ) -> Result<CallToolResult, ToolError> {
        bounded(tool.entry.run.timeout(), async {
            loop {
                match try_tool(tool, call, arguments).await {
                    Err(ToolError::Children(_)) => self.run_children(call).await,
                    ended => return ended,
                }
            }
        })
        .await
    }

    /// Runs the children that a tool asked for, in this process, one after the other.
    async fn run_children(&self, call: &Call) {
        for (key, Child { tool, arguments }) in call.take_wanted() {
            let child = call.child();
            let called = match self.find_child(&tool, call.caller()) {
                Ok(tool) => try_tool(tool, &child, &arguments).await,
                Err(error) => Err(error),
            };
            let outcome = match called.or_else(|error| tool_failed(&tool, error, &child)) {
                Ok(result) => outcome(&result_for(result, call.version())),
                Err(Failure::Rpc(error)) => JobOutcome::Error(error),
                Err(Failure::MissingScope(scope)) => {
                    JobOutcome::Error(RpcError::missing_scope(scope))
                }
                Err(Failure::InputRequired(_)) => JobOutcome::failed(
                    "a child job asked the client a question, which child jobs cannot do",
                ),
            };
            call.child_ended(key, outcome);
        }
    }

    /// Finds the tool of a child job, if the caller has its scope.
    pub(super) fn find_child(&self, tool: &str, caller: &Caller) -> Result<&BoundTool, ToolError> {
        let found = self.catalog.find_tool(tool).map(|tool| &**tool);
        found.filter(|tool| caller.may(tool.entry.scope)).ok_or_else(|| {
            ToolError::internal(format!(
                "a job asks for a child of the tool `{tool}`, which is not available"
            ))
        })
    }

    /// Returns a page of resources, in the order of the catalog: resources with a fixed URI, and
    /// those that the templates list, if the caller has the template's scope. Views follow, for
    /// clients that show them.
    async fn list_resources(
        &self,
        cursor: Option<&str>,
        with_views: bool,
        call: &Call,
    ) -> Result<Output<'_>, Failure> {
        let views = self.catalog.bound_views().filter(|_| with_views);
        let all: Vec<_> = self.catalog.bound_resources().iter().chain(views).collect();
        let (start, mut inner) = cursor.map_or(Ok((0, None)), lists::read_cursor)?;
        if start > all.len() {
            return Err(lists::bad_cursor().into());
        }
        let mut resources = Vec::new();
        for (index, resource) in all.iter().enumerate().skip(start) {
            if resources.len() >= self.settings.page_size.saturating_mul(RESOURCE_FACTOR) {
                let next_cursor = Some(lists::write_cursor(index, None));
                return Ok(Output::Resources { resources, next_cursor });
            }
            match &resource.slot.kind {
                ResourceKind::Single(entry) => {
                    resources.push(lists::entry_for(entry.clone(), call.version()));
                }
                ResourceKind::Template(_) if call.caller().may(resource.slot.scope) => {
                    let inner = inner.take();
                    let listed = resource.list(call, inner.as_deref());
                    let page = bounded(READ_LIMIT, listed).await.map_err(|error| match error {
                        ToolError::Input(_) => lists::bad_cursor().into(),
                        error => refuse(error, call),
                    })?;
                    let entries = page.entries.into_iter();
                    resources.extend(entries.map(|entry| lists::entry_for(entry, call.version())));
                    if let Some(next) = page.next {
                        let next_cursor = Some(lists::write_cursor(index, Some(&next)));
                        return Ok(Output::Resources { resources, next_cursor });
                    }
                }
                ResourceKind::Template(_) => {}
            }
        }
        Ok(Output::Resources { resources, next_cursor: None })
    }
}

/// Calls a tool once. A panic becomes an internal error, so that the rest of a batch is answered.
pub(super) async fn try_tool(
    tool: &BoundTool,
    call: &Call,
    arguments: &RawValue,
) -> Result<CallToolResult, ToolError> {
    let work = AssertUnwindSafe(tool.call(call, arguments));
    let panicked = |_| Err(ToolError::internal("the tool panicked"));
    work.catch_unwind().await.unwrap_or_else(panicked)
}

/// Converts the error of a tool: to a result with `isError`, or to a failure of the request.
pub(super) fn tool_failed(
    name: &str,
    error: ToolError,
    call: &Call,
) -> Result<CallToolResult, Failure> {
    let message = match error {
        ToolError::Unavailable(message) | ToolError::Fault(message) => {
            return Ok(CallToolResult::fault(message));
        }
        ToolError::Input(message)
        | ToolError::NotFound(message)
        | ToolError::Failed(message)
        | ToolError::Retry(message) => message,
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
        ToolError::MissingScope(scope) => return Err(Failure::MissingScope(scope)),
        ToolError::Rpc(error) => return Err(error.into()),
        ToolError::Internal(source) => {
            tracing::error!(tool = name, error = %source, "A tool failed with an internal error");
            return Ok(CallToolResult::fault(internal_failure_text(name)));
        }
        ToolError::Children(_) | ToolError::Superseded(_) => {
            return Ok(CallToolResult::fault(internal_failure_text(name)));
        }
    };
    Ok(CallToolResult::error(message))
}

/// The message for the model when the cause of a failure belongs in the log only.
pub(super) fn internal_failure_text(name: &str) -> String {
    format!("`{name}` failed because of an error of the server. Please try again.")
}

/// Converts a result to the outcome of a job.
pub(super) fn outcome(result: &CallToolResult) -> JobOutcome {
    let (is_error, is_fault) = (result.is_error, result.is_fault);
    match serde_json::value::to_raw_value(result) {
        Ok(result) => JobOutcome::Result { result, is_error, is_fault },
        Err(_never) => JobOutcome::Error(RpcError::internal()),
    }
}

/// Runs a call with a timeout.
pub(super) async fn bounded<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, ToolError>>,
) -> Result<T, ToolError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_elapsed| {
        let seconds = limit.as_secs();
        tracing::error!(seconds, "A call reached its timeout and was stopped");
        Err(ToolError::Unavailable(format!(
            "This took longer than {seconds} seconds and was stopped. Ask for less at once, or try \
             again."
        )))
    })
}

/// Converts an error of a resource or prompt, whose results have no `isError`.
fn refuse(error: ToolError, call: &Call) -> Failure {
    match error {
        ToolError::Input(message) | ToolError::NotFound(message) => {
            RpcError::invalid_params(message).into()
        }
        ToolError::Failed(message)
        | ToolError::Retry(message)
        | ToolError::Unavailable(message)
        | ToolError::Fault(message) => RpcError::new(codes::INTERNAL_ERROR, message).into(),
        ToolError::InputRequired(_) => Failure::InputRequired(call.take_questions()),
        ToolError::MissingCapability(capability) if call.version().is_modern() => {
            missing_capability(capability).into()
        }
        ToolError::MissingCapability(capability) => RpcError::invalid_params(format!(
            "this needs a client that supports {}",
            capability.name()
        ))
        .into(),
        ToolError::MissingScope(scope) => Failure::MissingScope(scope),
        ToolError::Rpc(error) => error.into(),
        ToolError::Internal(source) => {
            tracing::error!(error = %source, "A resource or prompt failed with an internal error");
            RpcError::internal().into()
        }
        ToolError::Children(_) | ToolError::Superseded(_) => RpcError::internal().into(),
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

/// Removes the fields and content types that the revision does not have from a result.
pub(super) fn result_for(mut result: CallToolResult, version: ProtocolVersion) -> CallToolResult {
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

/// Replaces a resource link by text, for 2025-03-26, which has no resource links.
fn make_plain(content: &mut Content) {
    if let Content::ResourceLink(entry) = content {
        *content = Content::text(format!("{}: {}", entry.name, entry.uri));
    }
}
