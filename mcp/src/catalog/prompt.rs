//! What a prompt is: a conversation that a person starts by name.

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

/// A prompt, written once for both protocol eras.
pub trait Prompt<S>: Send + Sync + 'static {
    /// Unique.
    const NAME: &'static str;
    /// The name for people.
    const TITLE: &'static str;
    /// What it does.
    const DESCRIPTION: &'static str;
    /// The OAuth scope that a token must have. Empty: any token.
    const SCOPE: &'static str = "";
    /// The arguments: an object whose values are strings, as the protocol has it.
    type Arguments: DeserializeOwned + JsonSchema + Send;

    /// Writes the conversation.
    fn get(
        &self,
        call: &Call,
        state: &S,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<PromptResult, ToolError>> + Send;

    /// Suggestions for an argument. `given` holds the arguments that the client already has.
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

/// A prompt as `prompts/list` shows it, and the scope it needs.
#[derive(Clone, Debug)]
pub struct PromptEntry {
    /// What clients see.
    pub definition: PromptDefinition,
    /// The scope that a token must have.
    pub scope: &'static str,
    /// The schema that arguments are read by.
    pub arguments: Arc<Value>,
}

/// One element of `prompts/list`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PromptDefinition {
    /// What `prompts/get` takes.
    pub name: &'static str,
    /// The name for people (2025-06-18 and later).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<&'static str>,
    /// What it does.
    pub description: &'static str,
    /// In the order of the type's fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<PromptArgument>,
}

/// One argument of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PromptArgument {
    /// The name.
    pub name: String,
    /// What it means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it must be given.
    pub required: bool,
}

/// The face of [`Prompt`] that fits into a list. Arguments have the form of the entry's schema
/// already.
pub trait AnyPrompt<S>: Send + Sync {
    /// Contract.
    fn entry(&self) -> PromptEntry;
    /// Reads the arguments and writes the conversation.
    fn get<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        arguments: Value,
    ) -> BoxFuture<'a, Result<PromptResult, ToolError>>;
    /// Suggestions for an argument.
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
            required: required.is_some_and(|it| it.iter().any(|it| it == name)),
        })
        .collect();
    arguments.sort_by_key(|it| !it.required);
    arguments
}
