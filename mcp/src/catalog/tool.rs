//! Tools: their definitions for clients and their implementations.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use super::{
    arguments,
    publish::publish,
    schema::{self, HeaderParam},
    view::View,
};
use crate::{
    call::Call,
    error::ToolError,
    json, rpc,
    types::{CallToolResult, Content, Icon, ToolAnnotations},
};

/// A tool, for both protocol eras.
///
/// `S` is the state that the tools of a product share, such as a database pool.
///
/// **Before its last question a tool must only read.** [`Call::elicit`] and its siblings return the
/// answer if the client has given it; otherwise they end this run, and the engine runs the tool
/// again from the start, possibly on another instance, when the answer has arrived.
pub trait Tool<S>: Send + Sync + 'static {
    /// The unique name, `^[a-zA-Z0-9_-]{1,64}$`: several clients reject the whole server because of
    /// a dot.
    const NAME: &'static str;
    /// The display name.
    const TITLE: &'static str;
    /// What the tool does and when to use it, for the model.
    const DESCRIPTION: &'static str;
    /// The OAuth scope that the access token must have. Empty: none.
    const SCOPE: &'static str = "";
    /// Hints for the client.
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::NONE;
    /// Where the tool runs, and its timeout.
    const RUN: RunMode = RunMode::DEFAULT;
    /// Whether the client must support tasks, for a job that takes too long to wait for. Calls of
    /// other clients are rejected.
    const NEEDS_TASK: bool = false;
    /// The view that shows the result in the conversation, for clients with MCP Apps.
    const VIEW: Option<&'static View> = None;
    /// Whether only views may call the tool. For clients without MCP Apps it does not exist, and
    /// other clients hide it from the model.
    const VIEW_ONLY: bool = false;

    /// The arguments. Doc comments of the fields are descriptions for the model. Use
    /// `deny_unknown_fields`, so that a misspelled optional argument is an error that the model can
    /// correct. An optional argument sent as `null` or `""` is treated as absent.
    type Input: DeserializeOwned + JsonSchema + Send + Sync;
    /// The result. A type with a schema is sent as `structuredContent` and as JSON text; [`Text`]
    /// and [`CallToolResult`] are sent unchanged.
    type Output: ToolOutput;

    /// Icons.
    fn icons(&self) -> Vec<Icon> {
        Vec::new()
    }

    /// A schema of the arguments to publish unchanged. `None`: the schema of [`Self::Input`],
    /// reduced to the keywords that all clients and model providers support.
    fn input_schema(&self) -> Option<Value> {
        None
    }

    /// Runs before the call becomes a job: checks the call and asks questions that do not need a
    /// worker. The answers are available when the job runs.
    fn prepare(
        &self,
        _call: &Call,
        _state: &S,
        _input: &Self::Input,
    ) -> impl Future<Output = Result<(), ToolError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Runs the tool.
    fn call(
        &self,
        call: &Call,
        state: &S,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, ToolError>> + Send;
}

/// Where a tool runs, and its timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunMode {
    /// In the instance that received the call.
    Inline {
        /// The timeout of a run, which does not include waiting for the user.
        timeout: Duration,
    },
    /// In a worker, as a job that outlives the request ([`crate::job`]). In an engine without jobs:
    /// inline, with one attempt.
    Job {
        /// The timeout of an attempt, which does not include waiting for the user or for children.
        timeout: Duration,
        /// The maximum number of attempts after temporary failures and crashes.
        attempts: u32,
    },
}

impl RunMode {
    /// Inline with a timeout of one minute, after which common clients give up without progress.
    pub const DEFAULT: Self = Self::Inline { timeout: Duration::from_mins(1) };

    /// The timeout of a run.
    pub(crate) fn timeout(self) -> Duration {
        match self {
            Self::Inline { timeout } | Self::Job { timeout, .. } => timeout,
        }
    }
}

/// The arguments of a tool without arguments.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoInput {}

/// A type that a tool can return.
pub trait ToolOutput: Send {
    /// The schema of `structuredContent`. `None`: the result has none.
    fn schema() -> Option<Value>;
    /// Converts to the result that is sent to the client.
    fn into_result(self) -> Result<CallToolResult, serde_json::Error>;
}

impl<T: Serialize + JsonSchema + Send> ToolOutput for T {
    fn schema() -> Option<Value> {
        Some(schema::output::<T>())
    }

    /// The specification asks for the JSON as text, too, for clients that do not read
    /// `structuredContent` (2025-06-18, server/tools, "Structured Content").
    fn into_result(self) -> Result<CallToolResult, serde_json::Error> {
        let structured = to_raw_value(&self)?;
        let content = vec![Content::text(structured.get())];
        let structured_content = Some(structured);
        Ok(CallToolResult { structured_content, ..CallToolResult::content(content) })
    }
}

/// A text result.
#[derive(Clone, Debug)]
pub struct Text(pub String);

impl ToolOutput for Text {
    fn schema() -> Option<Value> {
        None
    }

    fn into_result(self) -> Result<CallToolResult, serde_json::Error> {
        Ok(CallToolResult::content(vec![Content::text(self.0)]))
    }
}

impl ToolOutput for CallToolResult {
    fn schema() -> Option<Value> {
        None
    }

    fn into_result(self) -> Result<CallToolResult, serde_json::Error> {
        Ok(self)
    }
}

/// The definition of a tool for clients, and the properties that the engine needs.
#[derive(Clone, Debug)]
pub struct ToolEntry {
    /// The element of `tools/list`.
    pub definition: ToolDefinition,
    /// The scope that the access token must have.
    pub scope: &'static str,
    /// Where the tool runs, and its timeout.
    pub run: RunMode,
    /// Whether the client must support tasks.
    pub needs_task: bool,
    /// The view that shows the result.
    pub view: Option<&'static View>,
    /// Whether only views may call the tool.
    pub view_only: bool,
    /// The parameters that are repeated in headers.
    pub headers: Arc<[HeaderParam]>,
    /// The complete schema, with which arguments are normalized and unknown properties are
    /// detected.
    pub arguments: Arc<Value>,
}

/// One element of `tools/list`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolDefinition {
    /// The name for `tools/call`.
    pub name: &'static str,
    /// The display name (2025-06-18 and later).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<&'static str>,
    /// The description for the model.
    pub description: &'static str,
    /// JSON Schema of the arguments.
    pub input_schema: Value,
    /// JSON Schema of `structuredContent` (2025-06-18 and later).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Hints for the client.
    pub annotations: ToolAnnotations,
    /// Icons (2025-11-25 and later).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub icons: Vec<Icon>,
}

/// The dyn-compatible form of [`Tool`]. Arguments were normalized with the schema of the entry.
pub trait AnyTool<S>: Send + Sync {
    /// The definition for clients, and the properties that the engine needs.
    fn entry(&self) -> ToolEntry;
    /// Parses the arguments and runs [`Tool::prepare`].
    fn prepare<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        arguments: Value,
    ) -> BoxFuture<'a, Result<(), ToolError>>;
    /// Parses the arguments and runs [`Tool::call`].
    fn call<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        arguments: Value,
    ) -> BoxFuture<'a, Result<CallToolResult, ToolError>>;
}

impl<S: Sync, T: Tool<S>> AnyTool<S> for T {
    fn entry(&self) -> ToolEntry {
        let custom = self.input_schema();
        let arguments = custom.clone().unwrap_or_else(schema::arguments::<T::Input>);
        let input_schema = custom.unwrap_or_else(|| publish(arguments.clone()));
        ToolEntry {
            scope: T::SCOPE,
            run: T::RUN,
            needs_task: T::NEEDS_TASK,
            view: T::VIEW,
            view_only: T::VIEW_ONLY,
            headers: schema::header_params(&input_schema).into(),
            arguments: Arc::new(arguments),
            definition: ToolDefinition {
                name: T::NAME,
                title: Some(T::TITLE),
                description: T::DESCRIPTION,
                input_schema,
                output_schema: T::Output::schema(),
                annotations: T::ANNOTATIONS,
                icons: self.icons(),
            },
        }
    }

    fn prepare<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        arguments: Value,
    ) -> BoxFuture<'a, Result<(), ToolError>> {
        Box::pin(async move {
            let input = read_arguments::<T::Input>(T::NAME, arguments)?;
            Tool::prepare(self, call, state, &input).await
        })
    }

    fn call<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        arguments: Value,
    ) -> BoxFuture<'a, Result<CallToolResult, ToolError>> {
        Box::pin(async move {
            let input = read_arguments::<T::Input>(T::NAME, arguments)?;
            let output = Tool::call(self, call, state, input).await?;
            output.into_result().map_err(ToolError::internal)
        })
    }
}

/// The maximum length of an error message about arguments, in characters.
const MAX_PROBLEM: usize = 1_000;

/// Parses arguments and normalizes them with their schema.
pub(super) fn normalize_arguments(
    name: &str,
    schema: &Value,
    arguments: &RawValue,
) -> Result<Value, ToolError> {
    let invalid = |problem: &dyn fmt::Display| invalid_arguments(name, problem);
    let mut arguments =
        json::unique(arguments.get().as_bytes()).map_err(|error| invalid(&error))?;
    arguments::normalize(schema, &mut arguments).map_err(|problems| invalid(&problems))?;
    Ok(arguments)
}

/// Converts normalized arguments. The error names the path and the expected value, so that a model
/// can correct its call (SEP-1303).
pub(super) fn read_arguments<T: DeserializeOwned>(
    name: &str,
    arguments: Value,
) -> Result<T, ToolError> {
    json::from_value(arguments).map_err(|error| invalid_arguments(name, &error))
}

fn invalid_arguments(name: &str, problem: &dyn fmt::Display) -> ToolError {
    let problem = problem.to_string();
    ToolError::Input(format!(
        "The arguments do not fit the input schema of `{name}`: {}. Correct them and try again.",
        rpc::shorten_to(&problem, MAX_PROBLEM)
    ))
}
