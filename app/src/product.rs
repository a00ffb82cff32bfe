//! The product: everything that the base has to know about what it serves, as data.
//!
//! A product is one crate. Its public function builds a [`Product`], which the `main` functions of the
//! web server and of the worker pass on:
//!
//! ```no_run
//! # use app::{Brand, Platform, Product, Reader, Removed};
//! # use mcp::UserId;
//! # use platform::db::{Failure, Transaction};
//! # #[derive(Clone)] struct State;
//! # #[async_trait::async_trait]
//! # impl app::State for State {
//! #     type Settings = ();
//! #     fn settings(_: &mut Reader<'_>) {}
//! #     fn new(_: Platform, (): ()) -> Self { Self }
//! #     async fn delete_owned(&self, _: &Transaction, _: &UserId) -> Result<Removed, Failure> {
//! #         Ok(Removed { count: 0, one: "bookmark", many: "bookmarks" })
//! #     }
//! # }
//! # const BRAND: Brand = Brand { program: "bookmarks-mcp",
//! #     worker_program: "bookmarks-mcp-worker", version: "1.0.0", title: "Bookmarks",
//! #     things: "bookmarks", description: "", instructions: "", icon: "<svg/>" };
//! pub fn product() -> Product {
//!     Product::of::<State>(BRAND)
//!         .scopes(&[])
//!         .tools(&[])
//!         .resources(&[])
//!         .prompts(&[])
//!         .build()
//! }
//! ```

use std::{any::Any, collections::BTreeSet, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::BoxFuture;
use jobs::Queue;
use mcp::{
    AnyPrompt, AnyResource, AnyTool, Bus, Catalog, Icon, Implementation, RunMode, ServerInfo,
    UserId,
};
use migration::{MigrationTrait, Schema};
use oauth::{
    Removed,
    limits::Limiter,
    scope::{Scope, ScopeList},
};
use platform::{
    clock::Clock,
    db::{Database, Failure, Transaction},
    fetch::Fetcher,
    public_url::PublicUrl,
};

use crate::{
    config::{Reader, Variable},
    downloads::Downloads,
    model::Model,
};

/// The names and texts of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brand {
    /// The name of the program, such as `notes-mcp`: lower case, letters, digits and dashes. Clients,
    /// log lines, user agents and commands show it.
    pub program: &'static str,
    /// The name of the worker program, such as `notes-mcp-worker`.
    pub worker_program: &'static str,
    /// The version of the product.
    pub version: &'static str,
    /// The title for users, such as `Notes`.
    pub title: &'static str,
    /// What users keep here, in the plural and in lower case, such as `notes`. Also the name under
    /// which clients add the server, the prefix of keys in Redis, and the name of the SQLite file.
    pub things: &'static str,
    /// One sentence about the server, for users.
    pub description: &'static str,
    /// Instructions for the system prompt of the model.
    pub instructions: &'static str,
    /// The icon: an SVG document.
    pub icon: &'static str,
}

impl Brand {
    /// How the server introduces itself to MCP clients.
    pub fn server_info(&self, public_url: &PublicUrl) -> ServerInfo {
        let implementation = Implementation {
            name: self.program.into(),
            title: Some(self.title.into()),
            version: self.version.into(),
            description: Some(self.description.into()),
            website_url: Some(public_url.as_str().to_owned()),
            icons: vec![Icon {
                src: format!("data:image/svg+xml;base64,{}", STANDARD.encode(self.icon)),
                mime_type: Some("image/svg+xml".into()),
                sizes: vec!["any".into()],
            }],
        };
        ServerInfo { implementation, instructions: Some(self.instructions.into()) }
    }
}

/// What the base gives to the state of a product.
#[derive(Clone)]
pub struct Platform {
    /// The database. For what a user asks for, use [`Database::of_person`].
    pub db: Database,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Publishes changes to clients of all instances; see [`platform::signals::publish`].
    pub bus: Arc<dyn Bus>,
    /// Rate limits that all instances share.
    pub limiter: Arc<dyn Limiter>,
    /// Fetches documents whose URL comes from a request.
    pub fetcher: Arc<Fetcher>,
    /// The language model of the operator, if one is configured.
    pub model: Option<Arc<Model>>,
    /// The queue of jobs.
    pub jobs: Queue,
    /// Files for download.
    pub downloads: Downloads,
    /// The public URL of the server.
    pub public_url: PublicUrl,
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Platform")
    }
}

/// The state of a product: what its tools, resources, prompts and schedules share, and what the base
/// calls when an account changes. Cheap to clone.
#[async_trait]
pub trait State: Clone + Send + Sync + 'static {
    /// The settings of the product.
    type Settings: Clone + Send + Sync + 'static;

    /// Reads the settings from the environment. Problems are collected by the reader, and are
    /// reported together with those of the base.
    fn settings(reader: &mut Reader<'_>) -> Self::Settings;

    /// Creates the state of one process.
    fn new(platform: Platform, settings: Self::Settings) -> Self;

    /// Deletes everything that a user owns, in the transaction that deletes the account. If this
    /// fails, the transaction is rolled back. Jobs and downloads are deleted by the base.
    async fn delete_owned(
        &self,
        transaction: &Transaction,
        user: &UserId,
    ) -> Result<Removed, Failure>;

    /// Cleans up after the deletion was committed: deletes what a concurrent call wrote. Logs
    /// failures.
    async fn account_deleted(&self, _user: &UserId) {}

    /// Describes how much a user keeps, and the quota, for the account page: such as “1,203 of
    /// 50,000 notes, 12 of 500 MB”. `Ok(None)`: the page does not show it.
    async fn usage(&self, _user: &UserId) -> Result<Option<String>, Failure> {
        Ok(None)
    }
}

/// A schedule of a product: work that one of all workers repeats at certain times. Running it twice
/// must be safe.
#[derive(Debug)]
pub struct Schedule<S: 'static> {
    /// The name, for logs, metrics and the command `once` of the worker.
    pub name: &'static str,
    /// The cron expression: second, minute, hour, day of the month, month, day of the week; in UTC.
    pub when: &'static str,
    /// What it does.
    pub what: &'static str,
    /// Why it runs at this time.
    pub why: &'static str,
    /// Minimum time between two runs: less than the interval of the cron expression, so that the
    /// clocks of workers may differ, and more than they differ.
    pub spacing: Duration,
    /// Does a bounded part of the work.
    pub step: for<'a> fn(&'a S) -> BoxFuture<'a, Result<Done, Failure>>,
}

/// The result of a step of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The number of items that were processed.
    pub count: u64,
    /// Whether there may be more to do now.
    pub more: bool,
}

/// A schedule with its state.
#[derive(Clone)]
pub struct BoundSchedule {
    /// See [`Schedule::name`].
    pub name: &'static str,
    /// See [`Schedule::when`].
    pub when: &'static str,
    /// See [`Schedule::what`].
    pub what: &'static str,
    /// See [`Schedule::why`].
    pub why: &'static str,
    /// See [`Schedule::spacing`].
    pub spacing: Duration,
    step: Arc<dyn Fn(&AnyState) -> BoxFuture<'static, Result<Done, Failure>> + Send + Sync>,
}

impl BoundSchedule {
    /// Does a part of the work with the state of this process.
    pub async fn step(&self, state: &AnyState) -> Result<Done, Failure> {
        (self.step)(state).await
    }
}

impl fmt::Debug for BoundSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoundSchedule").field(&self.name).finish()
    }
}

/// Settings of a product, of a type that only the product knows.
#[derive(Clone)]
pub struct AnySettings(Arc<dyn Any + Send + Sync>);

impl fmt::Debug for AnySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnySettings")
    }
}

/// The state of a product, of a type that only the product knows.
#[derive(Clone)]
pub struct AnyState(Arc<dyn Any + Send + Sync>, Arc<dyn Owner>);

impl AnyState {
    fn new<S: State>(state: S) -> Self {
        Self(Arc::new(state.clone()), Arc::new(state))
    }

    /// The state as the type of the product.
    ///
    /// # Panics
    /// If the product has another type of state.
    pub fn of<S: State>(&self) -> &S {
        self.0.downcast_ref().expect("the caller knows the product")
    }

    pub(crate) fn owner(&self) -> &dyn Owner {
        &*self.1
    }
}

impl fmt::Debug for AnyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyState")
    }
}

/// The object-safe part of [`State`].
#[async_trait]
pub(crate) trait Owner: Send + Sync {
    async fn delete_owned(
        &self,
        transaction: &Transaction,
        user: &UserId,
    ) -> Result<Removed, Failure>;
    async fn account_deleted(&self, user: &UserId);
    async fn usage(&self, user: &UserId) -> Result<Option<String>, Failure>;
}

#[async_trait]
impl<S: State> Owner for S {
    async fn delete_owned(
        &self,
        transaction: &Transaction,
        user: &UserId,
    ) -> Result<Removed, Failure> {
        State::delete_owned(self, transaction, user).await
    }

    async fn account_deleted(&self, user: &UserId) {
        State::account_deleted(self, user).await;
    }

    async fn usage(&self, user: &UserId) -> Result<Option<String>, Failure> {
        State::usage(self, user).await
    }
}

/// A product. Cheap to clone.
#[derive(Clone)]
pub struct Product(Arc<Inner>);

struct Inner {
    brand: Brand,
    scopes: ScopeList,
    variables: &'static [Variable],
    tables: &'static [&'static str],
    migrations: fn() -> Vec<Box<dyn MigrationTrait>>,
    schedules: Vec<BoundSchedule>,
    job_tools: BTreeSet<&'static str>,
    settings: fn(&mut Reader<'_>) -> AnySettings,
    state: fn(Platform, &AnySettings) -> AnyState,
    catalog: Box<dyn Fn(ServerInfo, &AnyState) -> Catalog + Send + Sync>,
}

impl fmt::Debug for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Product").field(&self.0.brand.program).finish()
    }
}

impl Product {
    /// Begins the description of a product with this state.
    pub fn of<S: State>(brand: Brand) -> Builder<S> {
        Builder {
            brand,
            scopes: ScopeList(&[]),
            variables: &[],
            tables: &[],
            migrations: Vec::new,
            schedules: &[],
            tools: &[],
            resources: &[],
            prompts: &[],
            job_tools: None,
            dotted_aliases: false,
        }
    }

    /// The names and texts.
    pub fn brand(&self) -> &Brand {
        &self.0.brand
    }

    /// The scopes.
    pub fn scopes(&self) -> ScopeList {
        self.0.scopes
    }

    /// The environment variables of the product, besides those of the base.
    pub fn variables(&self) -> &'static [Variable] {
        self.0.variables
    }

    /// The tables of the product that the program reads and writes.
    pub fn tables(&self) -> &'static [&'static str] {
        self.0.tables
    }

    /// The schema: the migrations of the base and of the product.
    pub fn schema(&self) -> Schema {
        Schema::with(self.0.migrations)
    }

    /// The schedules of the product.
    pub fn schedules(&self) -> &[BoundSchedule] {
        &self.0.schedules
    }

    /// The names of the tools that run as jobs.
    pub(crate) fn job_tools(&self) -> BTreeSet<&'static str> {
        self.0.job_tools.clone()
    }

    pub(crate) fn settings(&self, reader: &mut Reader<'_>) -> AnySettings {
        (self.0.settings)(reader)
    }

    pub(crate) fn state(&self, platform: Platform, settings: &AnySettings) -> AnyState {
        (self.0.state)(platform, settings)
    }

    pub(crate) fn catalog(&self, public_url: &PublicUrl, state: &AnyState) -> Catalog {
        (self.0.catalog)(self.0.brand.server_info(public_url), state)
    }
}

/// Describes a product. Every part is optional.
#[derive(Clone)]
#[must_use]
pub struct Builder<S: State> {
    brand: Brand,
    scopes: ScopeList,
    variables: &'static [Variable],
    tables: &'static [&'static str],
    migrations: fn() -> Vec<Box<dyn MigrationTrait>>,
    schedules: &'static [Schedule<S>],
    tools: &'static [&'static dyn AnyTool<S>],
    resources: &'static [&'static dyn AnyResource<S>],
    prompts: &'static [&'static dyn AnyPrompt<S>],
    job_tools: Option<&'static str>,
    dotted_aliases: bool,
}

impl<S: State> fmt::Debug for Builder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Builder").field(&self.brand.program).finish()
    }
}

impl<S: State> Builder<S> {
    /// The scopes, in the order in which the consent page shows them.
    pub fn scopes(self, scopes: &'static [Scope]) -> Self {
        Self { scopes: ScopeList(scopes), ..self }
    }

    /// The tools, in the order in which clients see them.
    pub fn tools(self, tools: &'static [&'static dyn AnyTool<S>]) -> Self {
        Self { tools, ..self }
    }

    /// Adds the tools with which clients list, read and cancel jobs. They require this scope, and for
    /// each job also the scope of its own tool.
    pub fn job_tools(self, scope: &'static str) -> Self {
        Self { job_tools: Some(scope), ..self }
    }

    /// The resources and resource templates, in the order in which clients see them.
    pub fn resources(self, resources: &'static [&'static dyn AnyResource<S>]) -> Self {
        Self { resources, ..self }
    }

    /// The prompts, in the order in which clients see them.
    pub fn prompts(self, prompts: &'static [&'static dyn AnyPrompt<S>]) -> Self {
        Self { prompts, ..self }
    }

    /// The migrations. Those of base and product are applied in the order of their names, which
    /// therefore begin with a date (`m20261122_000001_…`).
    pub fn migrations(self, migrations: fn() -> Vec<Box<dyn MigrationTrait>>) -> Self {
        Self { migrations, ..self }
    }

    /// The tables that the program reads and writes, so that `check` can test the privileges.
    pub fn tables(self, tables: &'static [&'static str]) -> Self {
        Self { tables, ..self }
    }

    /// The schedules that workers run.
    pub fn schedules(self, schedules: &'static [Schedule<S>]) -> Self {
        Self { schedules, ..self }
    }

    /// Accepts `<prefix>.<rest>` as an alias of the tool `<prefix>_<rest>`, for models that write it.
    pub fn dotted_aliases(self) -> Self {
        Self { dotted_aliases: true, ..self }
    }

    /// The environment variables that [`State::settings`] reads.
    pub fn variables(self, variables: &'static [Variable]) -> Self {
        Self { variables, ..self }
    }

    /// Completes the product.
    ///
    /// # Panics
    /// If a tool, resource or prompt requires a scope that the product does not offer.
    pub fn build(self) -> Product {
        let Self { tools, resources, prompts, job_tools: job_scope, dotted_aliases, .. } = self;
        let tool_scopes = tools.iter().map(|tool| tool.entry().scope);
        let resource_scopes = resources.iter().map(|resource| resource.slot().scope);
        let prompt_scopes = prompts.iter().map(|prompt| prompt.entry().scope);
        let scopes = tool_scopes.chain(resource_scopes).chain(prompt_scopes).chain(job_scope);
        for name in scopes {
            let is_known = name.is_empty() || self.scopes.get(name).is_some();
            assert!(is_known, "the product offers no scope `{name}`");
        }
        let entries = tools.iter().map(|tool| tool.entry());
        let job_tools = entries.filter(|entry| matches!(entry.run, RunMode::Job { .. }));
        let schedules = self.schedules.iter().map(|schedule| BoundSchedule {
            name: schedule.name,
            when: schedule.when,
            what: schedule.what,
            why: schedule.why,
            spacing: schedule.spacing,
            step: {
                let step = schedule.step;
                Arc::new(move |state: &AnyState| {
                    let state = state.of::<S>().clone();
                    Box::pin(async move { step(&state).await })
                })
            },
        });
        Product(Arc::new(Inner {
            brand: self.brand,
            scopes: self.scopes,
            variables: self.variables,
            tables: self.tables,
            migrations: self.migrations,
            schedules: schedules.collect(),
            job_tools: job_tools.map(|entry| entry.definition.name).collect(),
            settings: |reader| AnySettings(Arc::new(S::settings(reader))),
            state: |platform, AnySettings(settings)| {
                let settings = settings.downcast_ref::<S::Settings>();
                let settings = settings.expect("the settings were read for this product").clone();
                AnyState::new(S::new(platform, settings))
            },
            catalog: Box::new(move |info, state| {
                let state = state.of::<S>().clone();
                let catalog = Catalog::new(info).with(state, tools, resources, prompts);
                let catalog = match job_scope {
                    Some(scope) => catalog.with_scoped_tools(scope, (), jobs::tools::ALL),
                    None => catalog,
                };
                if dotted_aliases { catalog.with_dotted_aliases() } else { catalog }
            }),
        }))
    }
}

/// The names of all tables of base and product.
pub(crate) fn all_tables(product: &Product) -> Vec<&'static str> {
    let base = platform::db::TABLES.iter();
    let mut tables: Vec<_> = base.chain(product.tables()).copied().collect();
    tables.sort_unstable();
    tables
}
