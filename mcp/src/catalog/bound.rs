//! Tools, prompts and resources together with the state that they were written for. The type of the
//! state is erased, so that a catalog can have entries with different states.

use std::{collections::BTreeMap, fmt, sync::Arc};

use futures_util::future::BoxFuture;
use serde_json::{Value, value::RawValue};

use super::{
    prompt::{AnyPrompt, PromptEntry},
    resource::{AnyResource, MatchedUri, ResourceKind, ResourcePage, ResourceSlot, match_uri},
    tool::{AnyTool, ToolEntry, normalize_arguments},
};
use crate::{
    call::Call,
    error::ToolError,
    types::{CallToolResult, Completion, PromptResult, ResourceContents},
};

/// An implementation with its state.
struct Bound<S, T: ?Sized + 'static> {
    implementation: &'static T,
    state: Arc<S>,
}

/// A tool of a catalog.
pub(crate) struct BoundTool {
    pub(crate) entry: ToolEntry,
    tool: Box<dyn ErasedTool>,
}

impl BoundTool {
    pub(super) fn new<S: Send + Sync + 'static>(
        tool: &'static dyn AnyTool<S>,
        state: &Arc<S>,
    ) -> Self {
        let bound = Bound { implementation: tool, state: Arc::clone(state) };
        Self { entry: tool.entry(), tool: Box::new(bound) }
    }

    /// The unique name.
    pub(crate) fn name(&self) -> &'static str {
        self.entry.definition.name
    }

    /// Whether the annotations say that the tool changes nothing.
    pub(crate) fn is_read_only(&self) -> bool {
        self.entry.definition.annotations.read_only_hint == Some(true)
    }

    /// Normalizes the arguments and runs [`Tool::prepare`](crate::Tool::prepare).
    pub(crate) async fn prepare(&self, call: &Call, arguments: &RawValue) -> Result<(), ToolError> {
        let arguments = normalize_arguments(self.name(), &self.entry.arguments, arguments)?;
        self.tool.prepare(call, arguments).await
    }

    /// Normalizes the arguments and runs [`Tool::call`](crate::Tool::call).
    pub(crate) async fn call(
        &self,
        call: &Call,
        arguments: &RawValue,
    ) -> Result<CallToolResult, ToolError> {
        let arguments = normalize_arguments(self.name(), &self.entry.arguments, arguments)?;
        self.tool.call(call, arguments).await
    }
}

impl fmt::Debug for BoundTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoundTool").field(&self.name()).finish()
    }
}

trait ErasedTool: Send + Sync {
    fn prepare<'a>(
        &'a self,
        call: &'a Call,
        arguments: Value,
    ) -> BoxFuture<'a, Result<(), ToolError>>;
    fn call<'a>(
        &'a self,
        call: &'a Call,
        arguments: Value,
    ) -> BoxFuture<'a, Result<CallToolResult, ToolError>>;
}

impl<S: Send + Sync + 'static> ErasedTool for Bound<S, dyn AnyTool<S>> {
    fn prepare<'a>(
        &'a self,
        call: &'a Call,
        arguments: Value,
    ) -> BoxFuture<'a, Result<(), ToolError>> {
        self.implementation.prepare(call, &self.state, arguments)
    }

    fn call<'a>(
        &'a self,
        call: &'a Call,
        arguments: Value,
    ) -> BoxFuture<'a, Result<CallToolResult, ToolError>> {
        self.implementation.call(call, &self.state, arguments)
    }
}

/// A prompt of a catalog.
pub(crate) struct BoundPrompt {
    pub(crate) entry: PromptEntry,
    prompt: Box<dyn ErasedPrompt>,
}

impl BoundPrompt {
    pub(super) fn new<S: Send + Sync + 'static>(
        prompt: &'static dyn AnyPrompt<S>,
        state: &Arc<S>,
    ) -> Self {
        let bound = Bound { implementation: prompt, state: Arc::clone(state) };
        Self { entry: prompt.entry(), prompt: Box::new(bound) }
    }

    /// The unique name.
    pub(crate) fn name(&self) -> &'static str {
        self.entry.definition.name
    }

    /// Normalizes the arguments and runs [`Prompt::get`](crate::Prompt::get).
    pub(crate) async fn get(
        &self,
        call: &Call,
        arguments: &RawValue,
    ) -> Result<PromptResult, ToolError> {
        let arguments = normalize_arguments(self.name(), &self.entry.arguments, arguments)?;
        self.prompt.get(call, arguments).await
    }

    /// Completes an argument.
    pub(crate) async fn complete(
        &self,
        call: &Call,
        argument: &str,
        value: &str,
        given: &BTreeMap<String, String>,
    ) -> Result<Completion, ToolError> {
        self.prompt.complete(call, argument, value, given).await
    }
}

impl fmt::Debug for BoundPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoundPrompt").field(&self.name()).finish()
    }
}

trait ErasedPrompt: Send + Sync {
    fn get<'a>(
        &'a self,
        call: &'a Call,
        arguments: Value,
    ) -> BoxFuture<'a, Result<PromptResult, ToolError>>;
    fn complete<'a>(
        &'a self,
        call: &'a Call,
        argument: &'a str,
        value: &'a str,
        given: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<Completion, ToolError>>;
}

impl<S: Send + Sync + 'static> ErasedPrompt for Bound<S, dyn AnyPrompt<S>> {
    fn get<'a>(
        &'a self,
        call: &'a Call,
        arguments: Value,
    ) -> BoxFuture<'a, Result<PromptResult, ToolError>> {
        self.implementation.get(call, &self.state, arguments)
    }

    fn complete<'a>(
        &'a self,
        call: &'a Call,
        argument: &'a str,
        value: &'a str,
        given: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<Completion, ToolError>> {
        self.implementation.complete(call, &self.state, argument, value, given)
    }
}

/// The contents of a resource that are the same for all users.
struct Constant(ResourceContents);

impl ErasedResource for Constant {
    fn read<'a>(
        &'a self,
        _: &'a Call,
        _: &'a MatchedUri,
    ) -> BoxFuture<'a, Result<Vec<ResourceContents>, ToolError>> {
        Box::pin(std::future::ready(Ok(vec![self.0.clone()])))
    }

    fn list<'a>(
        &'a self,
        _: &'a Call,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ResourcePage, ToolError>> {
        Box::pin(std::future::ready(Ok(ResourcePage::default())))
    }

    fn complete<'a>(
        &'a self,
        _: &'a Call,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Completion, ToolError>> {
        Box::pin(std::future::ready(Ok(Completion::default())))
    }
}

/// A resource or template of a catalog.
pub(crate) struct BoundResource {
    pub(crate) slot: ResourceSlot,
    resource: Box<dyn ErasedResource>,
}

impl BoundResource {
    pub(super) fn new<S: Send + Sync + 'static>(
        resource: &'static dyn AnyResource<S>,
        state: &Arc<S>,
    ) -> Self {
        let bound = Bound { implementation: resource, state: Arc::clone(state) };
        Self { slot: resource.slot(), resource: Box::new(bound) }
    }

    /// A resource with contents that never change.
    pub(super) fn constant(slot: ResourceSlot, contents: ResourceContents) -> Self {
        Self { slot, resource: Box::new(Constant(contents)) }
    }

    /// The URI or URI template.
    pub(crate) fn uri(&self) -> &str {
        match &self.slot.kind {
            ResourceKind::Single(entry) => &entry.uri,
            ResourceKind::Template(template) => template.uri_template,
        }
    }

    /// Matches a URI against the URI or template. `None`: no match.
    pub(super) fn matches(&self, uri: &str) -> Option<MatchedUri> {
        match_uri(self.uri(), uri)
    }

    /// Reads the contents.
    pub(crate) async fn read(
        &self,
        call: &Call,
        uri: &MatchedUri,
    ) -> Result<Vec<ResourceContents>, ToolError> {
        self.resource.read(call, uri).await
    }

    /// Lists the caller's resources of a template.
    pub(crate) async fn list(
        &self,
        call: &Call,
        cursor: Option<&str>,
    ) -> Result<ResourcePage, ToolError> {
        self.resource.list(call, cursor).await
    }

    /// Completes a variable of a template.
    pub(crate) async fn complete(
        &self,
        call: &Call,
        variable: &str,
        value: &str,
    ) -> Result<Completion, ToolError> {
        self.resource.complete(call, variable, value).await
    }
}

impl fmt::Debug for BoundResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoundResource").field(&self.uri()).finish()
    }
}

trait ErasedResource: Send + Sync {
    fn read<'a>(
        &'a self,
        call: &'a Call,
        uri: &'a MatchedUri,
    ) -> BoxFuture<'a, Result<Vec<ResourceContents>, ToolError>>;
    fn list<'a>(
        &'a self,
        call: &'a Call,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ResourcePage, ToolError>>;
    fn complete<'a>(
        &'a self,
        call: &'a Call,
        variable: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<Completion, ToolError>>;
}

impl<S: Send + Sync + 'static> ErasedResource for Bound<S, dyn AnyResource<S>> {
    fn read<'a>(
        &'a self,
        call: &'a Call,
        uri: &'a MatchedUri,
    ) -> BoxFuture<'a, Result<Vec<ResourceContents>, ToolError>> {
        self.implementation.read(call, &self.state, uri)
    }

    fn list<'a>(
        &'a self,
        call: &'a Call,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ResourcePage, ToolError>> {
        self.implementation.list(call, &self.state, cursor)
    }

    fn complete<'a>(
        &'a self,
        call: &'a Call,
        variable: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<Completion, ToolError>> {
        self.implementation.complete(call, &self.state, variable, value)
    }
}
