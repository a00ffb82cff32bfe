//! The catalog of a server: its tools, resources and prompts.
//!
//! A product implements each as a type ([`Tool`], [`Resource`], [`Prompt`]) and adds lists of them,
//! with the state that they use, to a [`Catalog`]. A request resolves its entry once, to a
//! [`BoundTool`], [`BoundResource`] or [`BoundPrompt`].

pub(crate) mod arguments;
pub(crate) mod schema;

mod bound;
mod prompt;
mod publish;
mod resource;
mod tool;
pub(crate) mod view;

use std::{collections::HashMap, sync::Arc};

pub(crate) use self::bound::{BoundPrompt, BoundResource, BoundTool};
pub use self::{
    prompt::{AnyPrompt, Prompt, PromptArgument, PromptDefinition, PromptEntry},
    resource::{
        AnyResource, MatchedUri, Resource, ResourceKind, ResourcePage, ResourceSlot,
        ResourceTemplate,
    },
    schema::HeaderParam,
    tool::{AnyTool, NoInput, RunMode, Text, Tool, ToolDefinition, ToolEntry, ToolOutput},
    view::View,
};
use crate::types::Implementation;

/// The name of the server and its instructions for models.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// Name, version, icons.
    pub implementation: Implementation,
    /// Instructions for the system prompt of the model.
    pub instructions: Option<String>,
}

/// The tools, resources and prompts of a server, in the order of the lists that clients receive.
///
/// ```
/// # use mcp::{AnyTool, Call, Catalog, Implementation, NoInput, ServerInfo, Text, Tool, ToolError};
/// struct Whoami;
///
/// // For every state: the catalog decides which one, and which scope.
/// impl<S: Send + Sync + 'static> Tool<S> for Whoami {
///     const NAME: &'static str = "account_whoami";
///     const TITLE: &'static str = "Who am I";
///     const DESCRIPTION: &'static str = "Returns the id of the user.";
///     type Input = NoInput;
///     type Output = Text;
///
///     async fn call(&self, call: &Call, _: &S, _: NoInput) -> Result<Text, ToolError> {
///         Ok(Text(call.user().to_string()))
///     }
/// }
///
/// # let implementation = Implementation {
/// #     name: "example".to_owned(),
/// #     title: None,
/// #     version: "1.0.0".to_owned(),
/// #     description: None,
/// #     website_url: None,
/// #     icons: Vec::new(),
/// # };
/// # let info = ServerInfo { implementation, instructions: None };
/// static TOOLS: &[&dyn AnyTool<()>] = &[&Whoami];
///
/// let catalog =
///     Catalog::new(info).with_scoped_tools("account:read", (), TOOLS).with_dotted_aliases();
/// assert_eq!(catalog.tools().next().unwrap().scope, "account:read");
/// ```
pub struct Catalog {
    info: ServerInfo,
    tools: Vec<Arc<BoundTool>>,
    tools_by_name: HashMap<&'static str, Arc<BoundTool>>,
    prompts: Vec<Arc<BoundPrompt>>,
    resources: Vec<Arc<BoundResource>>,
    /// The views of the tools.
    views: Vec<(&'static View, Arc<BoundResource>)>,
    dotted_aliases: bool,
    read_only: bool,
}

impl Catalog {
    /// Creates an empty catalog.
    #[must_use]
    pub fn new(info: ServerInfo) -> Self {
        Self {
            info,
            tools: Vec::new(),
            tools_by_name: HashMap::new(),
            prompts: Vec::new(),
            resources: Vec::new(),
            views: Vec::new(),
            dotted_aliases: false,
            read_only: false,
        }
    }

    /// Adds tools, resources and prompts, and the state that is passed to them. May be called
    /// several times, with states of different types.
    ///
    /// # Panics
    /// If the name of a tool or prompt or the URI of a resource or view is used twice, if common
    /// clients do not accept the name of a tool, or if a view is not well-formed.
    #[must_use]
    pub fn with<S: Send + Sync + 'static>(
        mut self,
        state: S,
        tools: &[&'static dyn AnyTool<S>],
        resources: &[&'static dyn AnyResource<S>],
        prompts: &[&'static dyn AnyPrompt<S>],
    ) -> Self {
        let state = Arc::new(state);
        for tool in tools {
            self.add_tool(Arc::new(BoundTool::new(*tool, &state)));
        }
        for resource in resources {
            self.add_resource(Arc::new(BoundResource::new(*resource, &state)));
        }
        for prompt in prompts {
            self.add_prompt(Arc::new(BoundPrompt::new(*prompt, &state)));
        }
        self
    }

    /// Adds tools that require `scope` instead of [`Tool::SCOPE`], for tools of a library whose
    /// scopes the product chooses.
    ///
    /// # Panics
    /// If a tool name is used twice, or is not accepted by common clients.
    #[must_use]
    pub fn with_scoped_tools<S: Send + Sync + 'static>(
        mut self,
        scope: &'static str,
        state: S,
        tools: &[&'static dyn AnyTool<S>],
    ) -> Self {
        let state = Arc::new(state);
        for tool in tools {
            let mut bound = BoundTool::new(*tool, &state);
            bound.entry.scope = scope;
            self.add_tool(Arc::new(bound));
        }
        self
    }

    /// Adds the entries of another catalog after those of this one. The name and instructions of
    /// the other catalog are dropped.
    ///
    /// # Panics
    /// If the name of a tool or prompt or the URI of a resource is in both catalogs.
    #[must_use]
    pub fn join(mut self, other: Self) -> Self {
        other.tools.into_iter().for_each(|tool| self.add_tool(tool));
        other.resources.into_iter().for_each(|resource| self.add_resource(resource));
        other.prompts.into_iter().for_each(|prompt| self.add_prompt(prompt));
        self.dotted_aliases |= other.dotted_aliases;
        self
    }

    /// Accepts a dot for the first underscore in the name of a tool, for models that write
    /// `notes.create` instead of `notes_create`. Off by default.
    #[must_use]
    pub fn with_dotted_aliases(mut self) -> Self {
        self.dotted_aliases = true;
        self
    }

    /// Offers only the tools whose annotations say that they change nothing, and says so in the
    /// instructions. Jobs of other tools, which were created before, still run. Call this last.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self.tools.retain(|tool| tool.is_read_only());
        let instructions = self.info.instructions.take();
        let note = "This server is read-only: it can search and read, and changes nothing.";
        self.info.instructions = Some(match instructions {
            Some(instructions) => format!("{instructions}\n\n{note}"),
            None => note.to_owned(),
        });
        self
    }

    fn add_tool(&mut self, tool: Arc<BoundTool>) {
        let name = tool.name();
        assert!(is_portable_name(name), "clients reject the tool name `{name}`");
        let previous = self.tools_by_name.insert(name, Arc::clone(&tool));
        assert!(previous.is_none(), "two tools are named `{name}`");
        if let Some(view) = tool.entry.view {
            self.add_view(view);
        }
        self.tools.push(tool);
    }

    /// Adds a view, unless another tool has added it.
    fn add_view(&mut self, view: &'static View) {
        let uri = view.uri;
        if let Some((known, _)) = self.views.iter().find(|(known, _)| known.uri == uri) {
            assert!(std::ptr::eq(*known, view), "two views have the URI `{uri}`");
            return;
        }
        assert!(uri.starts_with("ui://"), "the URI of a view must begin with ui://: `{uri}`");
        let (slot, contents) = view.as_resource();
        self.views.push((view, Arc::new(BoundResource::constant(slot, contents))));
    }

    fn add_resource(&mut self, resource: Arc<BoundResource>) {
        let uri = resource.uri();
        assert!(self.resource_by_uri(uri).is_none(), "two resources have the URI `{uri}`");
        self.resources.push(resource);
    }

    fn add_prompt(&mut self, prompt: Arc<BoundPrompt>) {
        let name = prompt.name();
        assert!(self.find_prompt(name).is_none(), "two prompts are named `{name}`");
        self.prompts.push(prompt);
    }

    /// The name and instructions of the server.
    pub fn info(&self) -> &ServerInfo {
        &self.info
    }

    /// All tools, in the order of `tools/list`.
    pub fn tools(&self) -> impl ExactSizeIterator<Item = &ToolEntry> {
        self.tools.iter().map(|tool| &tool.entry)
    }

    /// The views of the tools.
    pub fn views(&self) -> impl ExactSizeIterator<Item = &'static View> {
        self.views.iter().map(|(view, _)| *view)
    }

    /// All prompts, in the order of `prompts/list`.
    pub fn prompts(&self) -> impl ExactSizeIterator<Item = &PromptEntry> {
        self.prompts.iter().map(|prompt| &prompt.entry)
    }

    /// All resources and templates, in the order of the lists.
    pub fn resources(&self) -> impl ExactSizeIterator<Item = &ResourceSlot> {
        self.resources.iter().map(|resource| &resource.slot)
    }

    /// Finds a tool by its name or, if they are accepted, by its dotted alias.
    pub(crate) fn find_tool(&self, name: &str) -> Option<&Arc<BoundTool>> {
        self.tools_by_name.get(name).or_else(|| {
            let (before, after) = name.split_once('.').filter(|_| self.dotted_aliases)?;
            // Only the first underscore may be a dot.
            let is_first = !before.contains('_');
            self.tools_by_name.get(format!("{before}_{after}").as_str()).filter(|_| is_first)
        })
    }

    /// Whether a client may call a tool: any, or one that changes nothing if the catalog is read-only.
    pub(crate) fn offers(&self, tool: &BoundTool) -> bool {
        !self.read_only || tool.is_read_only()
    }

    /// Finds a prompt by its name.
    pub(crate) fn find_prompt(&self, name: &str) -> Option<&Arc<BoundPrompt>> {
        self.prompts.iter().find(|prompt| prompt.name() == name)
    }

    /// Finds the resource or template that a URI matches.
    pub(crate) fn find_resource(&self, uri: &str) -> Option<(&Arc<BoundResource>, MatchedUri)> {
        self.resources.iter().find_map(|resource| Some((resource, resource.matches(uri)?)))
    }

    /// Finds a view by its URI.
    pub(crate) fn find_view(&self, uri: &str) -> Option<(&Arc<BoundResource>, MatchedUri)> {
        let (_, resource) = self.views.iter().find(|(view, _)| view.uri == uri)?;
        Some((resource, resource.matches(uri)?))
    }

    /// Finds a resource by its URI, or a template by its URI template.
    pub(crate) fn resource_by_uri(&self, uri: &str) -> Option<&Arc<BoundResource>> {
        self.resources.iter().find(|resource| resource.uri() == uri)
    }

    /// All resources and templates with their implementation. A cursor of `resources/list`
    /// contains a position in this list.
    pub(crate) fn bound_resources(&self) -> &[Arc<BoundResource>] {
        &self.resources
    }

    /// All views as resources.
    pub(crate) fn bound_views(&self) -> impl Iterator<Item = &Arc<BoundResource>> {
        self.views.iter().map(|(_, resource)| resource)
    }
}

/// Whether common clients accept a tool name. Claude, Cursor, Copilot CLI and Codex reject the whole
/// server because of a single name with other characters.
fn is_portable_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{call::Call, error::ToolError};

    struct Named<const N: usize>;

    const NAMES: [&str; 3] = ["notes_create_all", "other", "not.portable"];

    impl<const N: usize, S: Send + Sync + 'static> Tool<S> for Named<N> {
        const NAME: &'static str = NAMES[N];
        const TITLE: &'static str = "";
        const DESCRIPTION: &'static str = "";
        const SCOPE: &'static str = "own";
        type Input = NoInput;
        type Output = Text;

        async fn call(&self, _: &Call, _: &S, _: NoInput) -> Result<Text, ToolError> {
            Ok(Text(NAMES[N].to_owned()))
        }
    }

    fn empty() -> Catalog {
        let implementation = Implementation {
            name: "test".to_owned(),
            title: None,
            version: "1".to_owned(),
            description: None,
            website_url: None,
            icons: Vec::new(),
        };
        Catalog::new(ServerInfo { implementation, instructions: None })
    }

    #[test]
    fn a_catalog_has_tools_of_several_states_and_a_scope_may_be_overridden() {
        let catalog = empty().with((), &[&Named::<0>], &[], &[]).with_scoped_tools(
            "given",
            7,
            &[&Named::<1>],
        );
        let scopes: Vec<_> =
            catalog.tools().map(|tool| (tool.definition.name, tool.scope)).collect();
        assert_eq!(scopes, [(NAMES[0], "own"), (NAMES[1], "given")]);
    }

    #[test]
    fn dotted_aliases_replace_the_first_underscore_and_are_off_by_default() {
        let catalog = empty().with((), &[&Named::<0>], &[], &[]);
        let found = |catalog: &Catalog, name| catalog.find_tool(name).map(|tool| tool.name());
        assert_eq!(found(&catalog, "notes_create_all"), Some(NAMES[0]));
        assert_eq!(found(&catalog, "notes.create_all"), None);
        let catalog = catalog.with_dotted_aliases();
        assert_eq!(found(&catalog, "notes_create_all"), Some(NAMES[0]));
        assert_eq!(found(&catalog, "notes.create_all"), Some(NAMES[0]));
        for unknown in ["notes_create.all", "notes.create.all", "notes.other", ".", ""] {
            assert_eq!(found(&catalog, unknown), None, "{unknown}");
        }
    }

    #[test]
    #[should_panic(expected = "two tools are named `other`")]
    fn a_tool_name_is_used_once() {
        let other = empty().with((), &[&Named::<1>], &[], &[]);
        drop(empty().with_scoped_tools("given", 7, &[&Named::<1>]).join(other));
    }

    #[test]
    #[should_panic(expected = "clients reject the tool name `not.portable`")]
    fn a_tool_name_must_be_portable() {
        drop(empty().with((), &[&Named::<2>], &[], &[]));
    }
}
