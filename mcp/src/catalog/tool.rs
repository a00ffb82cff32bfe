//! What a tool is: a contract for the model and a function, in one place.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use super::{
    arguments,
    publish::publish,
    schema::{self, HeaderParam},
};
use crate::{
    call::Call,
    error::ToolError,
    json, rpc,
    types::{CallToolResult, Content, Icon, ToolAnnotations},
};

/// A tool, written once for both protocol eras.
///
/// `S` is the state that the tools of a product share, such as a database pool.
///
/// **Before its last question a tool only reads.** [`Call::elicit`] and its siblings return the
/// answer if the client has given it; otherwise they end this run, and the engine runs the tool
/// again from the start, possibly on another instance, once the answer is there.
pub trait Tool<S>: Send + Sync + 'static {
    /// Unique, and `^[a-zA-Z0-9_-]{1,64}$`: a dot makes several clients drop the whole server.
    const NAME: &'static str;
    /// The name for people.
    const TITLE: &'static str;
    /// What it does and when to use it, for the model.
    const DESCRIPTION: &'static str;
    /// The OAuth scope that a token must have. Empty: any token.
    const SCOPE: &'static str = "";
    /// Hints to the client.
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::NONE;
    /// Where it runs.
    const RUN: Run = Run::DEFAULT;
    /// Whether a client must be able to hold a task handle, for a job that nobody should wait for.
    /// Others are refused.
    const NEEDS_TASK: bool = false;

    /// The arguments. Doc comments of the fields reach the model. Use `deny_unknown_fields`, so
    /// that a misspelt optional argument is an error that the model can correct. An optional argument
    /// that a client sends as `null` or `""` is absent.
    type Input: DeserializeOwned + JsonSchema + Send + Sync;
    /// The result: a type with a schema becomes `structuredContent` and text; [`Text`] and
    /// [`CallToolResult`] are sent as they are.
    type Output: ToolOutput;

    /// Pictures for people.
    fn icons(&self) -> Vec<Icon> {
        Vec::new()
    }

    /// A schema of the arguments to be published exactly as it is. `None`: what
    /// [`Self::Input`] says, in the keywords that every client and model provider takes.
    fn input_schema(&self) -> Option<Value> {
        None
    }

    /// Before a job is made of the call: asks and refuses at once what does not need a worker. The
    /// answers are there when the job runs.
    fn prepare(
        &self,
        _call: &Call,
        _state: &S,
        _input: &Self::Input,
    ) -> impl Future<Output = Result<(), ToolError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Does the work.
    fn call(
        &self,
        call: &Call,
        state: &S,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, ToolError>> + Send;
}

/// Where a tool runs, and for how long at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// In the instance that received the call.
    Inline {
        /// How long one run may take. Waiting for the user is not part of a run.
        timeout: Duration,
    },
    /// In a worker, as a job that outlives the request ([`crate::job`]). In an engine without jobs:
    /// inline, with one attempt.
    Job {
        /// How long one attempt may take. Waiting for the user or for children is not part of it.
        timeout: Duration,
        /// How many attempts there are, if one fails in a way that may pass, or dies.
        attempts: u32,
    },
}

impl Run {
    /// Inline for at most a minute: common clients give up after that long without progress.
    pub const DEFAULT: Self = Self::Inline { timeout: Duration::from_mins(1) };

    /// How long one run may take.
    pub(crate) fn timeout(self) -> Duration {
        match self {
            Self::Inline { timeout } | Self::Job { timeout, .. } => timeout,
        }
    }
}

/// The arguments of a tool that has none.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoInput {}

/// What a tool may return.
pub trait ToolOutput: Send {
    /// The schema of the structured part, if there is one.
    fn schema() -> Option<Value>;
    /// The result as it goes to the client.
    fn into_result(self) -> Result<CallToolResult, serde_json::Error>;
}

impl<T: Serialize + JsonSchema + Send> ToolOutput for T {
    fn schema() -> Option<Value> {
        Some(schema::output::<T>())
    }

    /// The specification asks for the JSON as text too, for clients that do not read
    /// `structuredContent` (2025-06-18, server/tools, "Structured Content").
    fn into_result(self) -> Result<CallToolResult, serde_json::Error> {
        let json = serde_json::to_string(&self)?;
        let content = vec![Content::text(json.clone())];
        let structured_content = Some(RawValue::from_string(json)?);
        Ok(CallToolResult { structured_content, ..CallToolResult::content(content) })
    }
}

/// Text for the model and nothing else.
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

/// A tool as `tools/list` shows it, and what the engine needs to know before it calls it.
#[derive(Clone, Debug)]
pub struct ToolEntry {
    /// What clients see.
    pub definition: ToolDefinition,
    /// The scope that a token must have.
    pub scope: &'static str,
    /// Where it runs.
    pub run: Run,
    /// Whether a client must be able to hold a task handle.
    pub needs_task: bool,
    /// The parameters that travel in headers too.
    pub headers: Arc<[HeaderParam]>,
    /// The schema that arguments are read by: it knows which properties there are, and that there
    /// are no others.
    pub arguments: Arc<Value>,
}

/// One element of `tools/list`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolDefinition {
    /// What `tools/call` takes.
    pub name: &'static str,
    /// The name for people (2025-06-18 and later).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<&'static str>,
    /// For the model.
    pub description: &'static str,
    /// JSON Schema of the arguments.
    pub input_schema: Value,
    /// JSON Schema of `structuredContent` (2025-06-18 and later).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Hints.
    pub annotations: ToolAnnotations,
    /// Pictures (2025-11-25 and later).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub icons: Vec<Icon>,
}

/// The face of [`Tool`] that fits into a list. Arguments have the form of the entry's schema
/// already.
pub trait AnyTool<S>: Send + Sync {
    /// Contract and schemas.
    fn entry(&self) -> ToolEntry;
    /// Reads the arguments and does what comes before a job.
    fn prepare<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        arguments: Value,
    ) -> BoxFuture<'a, Result<(), ToolError>>;
    /// Reads the arguments and does the work.
    fn call<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        arguments: Value,
    ) -> BoxFuture<'a, Result<CallToolResult, ToolError>>;
}

impl<S: Sync, T: Tool<S>> AnyTool<S> for T {
    fn entry(&self) -> ToolEntry {
        let by_hand = self.input_schema();
        let arguments = by_hand.clone().unwrap_or_else(schema::arguments::<T::Input>);
        let input_schema = by_hand.unwrap_or_else(|| publish(arguments.clone()));
        ToolEntry {
            scope: T::SCOPE,
            run: T::RUN,
            needs_task: T::NEEDS_TASK,
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

/// The most characters of a problem that a model is told.
const MAX_PROBLEM: usize = 1_000;

/// Brings arguments into the form of their schema.
pub(super) fn fit_arguments(
    name: &str,
    schema: &Value,
    arguments: &RawValue,
) -> Result<Value, ToolError> {
    let misfit = |problem: &dyn fmt::Display| misfit(name, problem);
    let mut arguments = json::unique(arguments.get().as_bytes()).map_err(|error| misfit(&error))?;
    arguments::fit(schema, &mut arguments).map_err(|problems| misfit(&problems))?;
    Ok(arguments)
}

/// Reads arguments; the error names the place and what is expected, so that a model can correct
/// itself (SEP-1303).
pub(super) fn read_arguments<T: DeserializeOwned>(
    name: &str,
    arguments: Value,
) -> Result<T, ToolError> {
    json::from_value(arguments).map_err(|error| misfit(name, &error))
}

fn misfit(name: &str, problem: &dyn fmt::Display) -> ToolError {
    let problem = problem.to_string();
    ToolError::Input(format!(
        "The arguments do not fit the input schema of `{name}`: {}. Correct them and try again.",
        rpc::shorten_to(&problem, MAX_PROBLEM)
    ))
}
