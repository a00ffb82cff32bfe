//! Prompts: message templates that a user selects.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{publish::publish, schema, tool::read_arguments};
use crate::{
    call::Call,
    error::ToolError,
    types::{Completion, PromptResult},
};

/// A prompt, for both protocol eras.
pub trait Prompt<S>: Send + Sync + 'static {
    /// The unique name.
    const NAME: &'static str;
    /// The display name.
    const TITLE: &'static str;
    /// The description.
    const DESCRIPTION: &'static str;
    /// The OAuth scope that the access token must have. Empty: none.
    const SCOPE: &'static str = "";
    /// The arguments: an object with string values.
    type Arguments: DeserializeOwned + JsonSchema + Send;

    /// Generates the messages.
    fn get(
        &self,
        call: &Call,
        state: &S,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<PromptResult, ToolError>> + Send;

    /// Completes an argument. `given`: the arguments that the client already has.
    fn complete(
        &self,
        _call: &Call,
        _state: &S,
        _argument: &str,
        _value: &str,
        _given: &BTreeMap<String, String>,
    ) -> impl Future<Output = Result<Completion, ToolError>> + Send {
        async { Ok(Completion::default()) }
    }
}

/// The definition of a prompt for clients, and the properties that the engine needs.
#[derive(Clone, Debug)]
pub struct PromptEntry {
    /// The element of `prompts/list`.
    pub definition: PromptDefinition,
    /// The scope that the access token must have.
    pub scope: &'static str,
    /// The complete schema, with which arguments are normalized.
    pub arguments: Arc<Value>,
}

/// One element of `prompts/list`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PromptDefinition {
    /// The name for `prompts/get`.
    pub name: &'static str,
    /// The display name (2025-06-18 and later).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<&'static str>,
    /// The description.
    pub description: &'static str,
    /// The arguments, required ones first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<PromptArgument>,
}

/// One argument of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PromptArgument {
    /// The name.
    pub name: String,
    /// The description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether the argument is required.
    pub required: bool,
}

/// The dyn-compatible form of [`Prompt`]. Arguments were normalized with the schema of the entry.
pub trait AnyPrompt<S>: Send + Sync {
    /// The definition for clients, and the properties that the engine needs.
    fn entry(&self) -> PromptEntry;
    /// Parses the arguments and runs [`Prompt::get`].
    fn get<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        arguments: Value,
    ) -> BoxFuture<'a, Result<PromptResult, ToolError>>;
    /// Completes an argument.
    fn complete<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        argument: &'a str,
        value: &'a str,
        given: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<Completion, ToolError>>;
}

impl<S: Sync, P: Prompt<S>> AnyPrompt<S> for P {
    fn entry(&self) -> PromptEntry {
        let schema = schema::arguments::<P::Arguments>();
        PromptEntry {
            scope: P::SCOPE,
            arguments: Arc::new(schema.clone()),
            definition: PromptDefinition {
                name: P::NAME,
                title: Some(P::TITLE),
                description: P::DESCRIPTION,
                arguments: arguments(&publish(schema)),
            },
        }
    }

    fn get<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        arguments: Value,
    ) -> BoxFuture<'a, Result<PromptResult, ToolError>> {
        Box::pin(async move {
            let arguments = read_arguments::<P::Arguments>(P::NAME, arguments)?;
            Prompt::get(self, call, state, arguments).await
        })
    }

    fn complete<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        argument: &'a str,
        value: &'a str,
        given: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<Completion, ToolError>> {
        Box::pin(Prompt::complete(self, call, state, argument, value, given))
    }
}

fn arguments(schema: &Value) -> Vec<PromptArgument> {
    let required = schema.get("required").and_then(Value::as_array);
    let properties = schema.get("properties").and_then(Value::as_object);
    let mut arguments: Vec<_> = properties
        .into_iter()
        .flatten()
        .map(|(name, property)| PromptArgument {
            name: name.clone(),
            description: property.get("description").and_then(Value::as_str).map(str::to_owned),
            required: required.is_some_and(|names| names.iter().any(|required| required == name)),
        })
        .collect();
    arguments.sort_by_key(|argument| !argument.required);
    arguments
}
