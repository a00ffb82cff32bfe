//! The catalog of a server: its tools, resources and prompts.
//!
//! A product implements each as a type ([`Tool`], [`Resource`], [`Prompt`]) and registers it in a
//! list. [`CatalogOf`] combines the lists with the state of the product; the engine uses only
//! [`Catalog`].

pub(crate) mod arguments;
pub(crate) mod schema;

mod prompt;
mod publish;
mod resource;
mod tool;

use std::{
    collections::{BTreeMap, HashMap},
    future::ready,
};

use futures_util::future::BoxFuture;
use serde_json::value::RawValue;

pub use self::{
    prompt::{AnyPrompt, Prompt, PromptArgument, PromptDefinition, PromptEntry},
    resource::{
        AnyResource, MatchedUri, Resource, ResourceKind, ResourcePage, ResourceSlot,
        ResourceTemplate,
    },
    schema::HeaderParam,
    tool::{AnyTool, NoInput, RunMode, Text, Tool, ToolDefinition, ToolEntry, ToolOutput},
};
use crate::{
    call::Call,
    error::ToolError,
    types::{CallToolResult, Completion, Implementation, PromptResult, ResourceContents},
};

/// The name of the server and its instructions for models.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// Name, version, icons.
    pub implementation: Implementation,
    /// Instructions for the system prompt of the model.
    pub instructions: Option<String>,
}

/// A catalog, as the engine uses it. Entries are addressed by their index in a list; the lists do
/// not change at run time.
pub trait Catalog: Send + Sync + 'static {
    /// Name and instructions of the server.
    fn info(&self) -> &ServerInfo;
    /// All tools, in the order of `tools/list`.
    fn tools(&self) -> &[ToolEntry];
    /// Finds a tool by its name, or by its alias with a dot (`notes.create` for `notes_create`).
    fn find_tool(&self, name: &str) -> Option<usize>;
    /// Runs [`Tool::prepare`], before a call becomes a job.
    fn prepare_tool<'a>(
        &'a self,
        index: usize,
        call: &'a Call,
        arguments: &'a RawValue,
    ) -> BoxFuture<'a, Result<(), ToolError>>;
    /// Calls a tool.
    fn call_tool<'a>(
        &'a self,
        index: usize,
        call: &'a Call,
        arguments: &'a RawValue,
    ) -> BoxFuture<'a, Result<CallToolResult, ToolError>>;

    /// All prompts, in the order of `prompts/list`.
    fn prompts(&self) -> &[PromptEntry];
    /// Finds a prompt by its name.
    fn find_prompt(&self, name: &str) -> Option<usize>;
    /// Generates the messages of a prompt.
    fn get_prompt<'a>(
        &'a self,
        index: usize,
        call: &'a Call,
        arguments: &'a RawValue,
    ) -> BoxFuture<'a, Result<PromptResult, ToolError>>;
    /// Completes an argument of a prompt.
    fn complete_prompt<'a>(
        &'a self,
        index: usize,
        call: &'a Call,
        argument: &'a str,
        value: &'a str,
        given: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<Completion, ToolError>>;

    /// All resources and templates, in the order of the lists.
    fn resources(&self) -> &[ResourceSlot];
    /// Finds the resource or template that a URI matches.
    fn find_resource(&self, uri: &str) -> Option<(usize, MatchedUri)>;
    /// Lists the caller's resources of a template.
    fn list_resources<'a>(
        &'a self,
        index: usize,
        call: &'a Call,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ResourcePage, ToolError>>;
    /// Reads a resource.
    fn read_resource<'a>(
        &'a self,
        index: usize,
        call: &'a Call,
        uri: &'a MatchedUri,
    ) -> BoxFuture<'a, Result<Vec<ResourceContents>, ToolError>>;
    /// Completes a variable of a template.
    fn complete_resource<'a>(
        &'a self,
        index: usize,
        call: &'a Call,
        variable: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<Completion, ToolError>>;
}

/// The catalog of a product: its lists and its state.
pub struct CatalogOf<S: 'static> {
    info: ServerInfo,
    state: S,
    tools: &'static [&'static dyn AnyTool<S>],
    tool_entries: Vec<ToolEntry>,
    tool_names: HashMap<String, usize>,
    prompts: &'static [&'static dyn AnyPrompt<S>],
    prompt_entries: Vec<PromptEntry>,
    resources: &'static [&'static dyn AnyResource<S>],
    resource_slots: Vec<ResourceSlot>,
}

impl<S: Send + Sync + 'static> CatalogOf<S> {
    /// Creates a catalog.
    ///
    /// # Panics
    /// If a tool name is used twice, or is not accepted by common clients.
    pub fn new(
        info: ServerInfo,
        state: S,
        tools: &'static [&'static dyn AnyTool<S>],
        resources: &'static [&'static dyn AnyResource<S>],
        prompts: &'static [&'static dyn AnyPrompt<S>],
    ) -> Self {
        let tool_entries: Vec<_> = tools.iter().map(|it| it.entry()).collect();
        let mut tool_names = HashMap::new();
        for (index, entry) in tool_entries.iter().enumerate() {
            let name = entry.definition.name;
            assert!(is_portable_name(name), "clients reject the tool name `{name}`");
            let taken = tool_names.insert(name.to_owned(), index);
            assert!(taken.is_none(), "two tools are named `{name}`");
        }
        for (index, entry) in tool_entries.iter().enumerate() {
            // An alias for models that write `notes.create` instead of `notes_create`.
            let dotted = entry.definition.name.replacen('_', ".", 1);
            tool_names.entry(dotted).or_insert(index);
        }
        let prompt_entries: Vec<_> = prompts.iter().map(|it| it.entry()).collect();
        let resource_slots = resources.iter().map(|it| it.slot()).collect();
        Self {
            info,
            state,
            tools,
            tool_entries,
            tool_names,
            prompts,
            prompt_entries,
            resources,
            resource_slots,
        }
    }
}

/// Whether common clients accept a tool name: Claude, Cursor, Copilot CLI and Codex reject the
/// whole server for a single other name.
fn is_portable_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

impl<S: Send + Sync + 'static> Catalog for CatalogOf<S> {
    fn info(&self) -> &ServerInfo {
        &self.info
    }

    fn tools(&self) -> &[ToolEntry] {
        &self.tool_entries
    }

    fn find_tool(&self, name: &str) -> Option<usize> {
        self.tool_names.get(name).copied()
    }

    fn prepare_tool<'a>(
        &'a self,
        index: usize,
        call: &'a Call,
        arguments: &'a RawValue,
    ) -> BoxFuture<'a, Result<(), ToolError>> {
        let entry = &self.tool_entries[index];
        match tool::fit_arguments(entry.definition.name, &entry.arguments, arguments) {
            Ok(arguments) => self.tools[index].prepare(call, &self.state, arguments),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    fn call_tool<'a>(
        &'a self,
        index: usize,
        call: &'a Call,
        arguments: &'a RawValue,
    ) -> BoxFuture<'a, Result<CallToolResult, ToolError>> {
        let entry = &self.tool_entries[index];
        match tool::fit_arguments(entry.definition.name, &entry.arguments, arguments) {
            Ok(arguments) => self.tools[index].call(call, &self.state, arguments),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    fn prompts(&self) -> &[PromptEntry] {
        &self.prompt_entries
    }

    fn find_prompt(&self, name: &str) -> Option<usize> {
        self.prompt_entries.iter().position(|entry| entry.definition.name == name)
    }

    fn get_prompt<'a>(
        &'a self,
        index: usize,
        call: &'a Call,
        arguments: &'a RawValue,
    ) -> BoxFuture<'a, Result<PromptResult, ToolError>> {
        let entry = &self.prompt_entries[index];
        match tool::fit_arguments(entry.definition.name, &entry.arguments, arguments) {
            Ok(arguments) => self.prompts[index].get(call, &self.state, arguments),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    fn complete_prompt<'a>(
        &'a self,
        index: usize,
        call: &'a Call,
        argument: &'a str,
        value: &'a str,
        given: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<Completion, ToolError>> {
        self.prompts[index].complete(call, &self.state, argument, value, given)
    }

    fn resources(&self) -> &[ResourceSlot] {
        &self.resource_slots
    }

    fn find_resource(&self, uri: &str) -> Option<(usize, MatchedUri)> {
        self.resources
            .iter()
            .enumerate()
            .find_map(|(index, it)| Some((index, resource::match_uri(it.uri(), uri)?)))
    }

    fn list_resources<'a>(
        &'a self,
        index: usize,
        call: &'a Call,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ResourcePage, ToolError>> {
        self.resources[index].list(call, &self.state, cursor)
    }

    fn read_resource<'a>(
        &'a self,
        index: usize,
        call: &'a Call,
        uri: &'a MatchedUri,
    ) -> BoxFuture<'a, Result<Vec<ResourceContents>, ToolError>> {
        self.resources[index].read(call, &self.state, uri)
    }

    fn complete_resource<'a>(
        &'a self,
        index: usize,
        call: &'a Call,
        variable: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<Completion, ToolError>> {
        self.resources[index].complete(call, &self.state, variable, value)
    }
}
