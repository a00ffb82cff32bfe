//! The product: a description, as data, of everything that the base serves.
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

mod brand;
mod schedule;
pub mod section;
mod state;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use mcp::{AnyPrompt, AnyResource, AnyTool, Catalog, RunMode, ServerInfo};
use migration::{MigrationTrait, Schema};
use oauth::{
    limits::{self, Bucket},
    scope::{Scope, ScopeList},
};
use platform::public_url::PublicUrl;

use self::section::{AnySection, Bound, Section};
pub use self::{
    brand::Brand,
    schedule::{BoundStep, Done, ProductStep, Schedule},
    state::{AnySettings, AnyState, Platform, State},
};
use crate::config::{Reader, Variable};

/// The names of the rate limits of each user at `/mcp`.
pub(crate) const USER_RATE_LIMITS: [&str; 4] = ["calls", "light", "followups", "kept"];

/// The names of the pages of the base below `/account/`.
const ACCOUNT_PAGES: [&str; 4] = ["delete", "files", "jobs", "security"];

/// A product. Cheap to clone.
#[derive(Clone)]
pub struct Product(Arc<Inner>);

/// Creates the catalog from the lists of a product and its state.
type MakeCatalog = dyn Fn(ServerInfo, &AnyState) -> Catalog + Send + Sync;

struct Inner {
    brand: Brand,
    scopes: ScopeList,
    variables: &'static [Variable],
    tables: &'static [&'static str],
    migrations: fn() -> Vec<Box<dyn MigrationTrait>>,
    schedules: Vec<Schedule<BoundStep>>,
    rate_limits: &'static [Bucket],
    /// The tools that run as jobs, with their titles.
    job_tools: BTreeMap<&'static str, &'static str>,
    sections: Vec<Box<dyn AnySection>>,
    settings: fn(&mut Reader<'_>) -> AnySettings,
    state: fn(Platform, &AnySettings) -> AnyState,
    catalog: Box<MakeCatalog>,
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
            rate_limits: &[],
            tools: &[],
            resources: &[],
            prompts: &[],
            sections: &[],
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

    /// The tables that the program reads and writes.
    pub fn tables(&self) -> &'static [&'static str] {
        self.0.tables
    }

    /// The schema: the migrations of the base and of the product.
    pub fn schema(&self) -> Schema {
        Schema::with(self.0.migrations)
    }

    /// The schedules of the product.
    pub fn schedules(&self) -> &[Schedule<BoundStep>] {
        &self.0.schedules
    }

    /// The rate limits of the product, besides those of the base.
    pub fn rate_limits(&self) -> &'static [Bucket] {
        self.0.rate_limits
    }

    /// The names of the tools that run as jobs.
    pub(crate) fn job_tools(&self) -> BTreeSet<&'static str> {
        self.0.job_tools.keys().copied().collect()
    }

    /// The title of a tool that runs as a job. `None`: the product has no such tool.
    pub fn job_title(&self, tool: &str) -> Option<&'static str> {
        self.0.job_tools.get(tool).copied()
    }

    /// The sections of the account page.
    pub fn sections(&self) -> impl Iterator<Item = &dyn AnySection> {
        self.0.sections.iter().map(|section| &**section)
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
    schedules: &'static [Schedule<ProductStep<S>>],
    rate_limits: &'static [Bucket],
    tools: &'static [&'static dyn AnyTool<S>],
    resources: &'static [&'static dyn AnyResource<S>],
    prompts: &'static [&'static dyn AnyPrompt<S>],
    sections: &'static [&'static dyn Section<S>],
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

    /// The sections of the account page, in the order of its navigation.
    pub fn sections(self, sections: &'static [&'static dyn Section<S>]) -> Self {
        Self { sections, ..self }
    }

    /// The migrations. Those of base and product are applied in the order of their names, which
    /// therefore begin with a date (`m20261122_000001_…`).
    pub fn migrations(self, migrations: fn() -> Vec<Box<dyn MigrationTrait>>) -> Self {
        Self { migrations, ..self }
    }

    /// The tables that the program reads and writes. `check` verifies the privileges on them.
    pub fn tables(self, tables: &'static [&'static str]) -> Self {
        Self { tables, ..self }
    }

    /// The schedules that workers run.
    pub fn schedules(self, schedules: &'static [Schedule<ProductStep<S>>]) -> Self {
        Self { schedules, ..self }
    }

    /// The rate limits that the product checks with [`Platform::limiter`], so that their metrics
    /// start at 0.
    pub fn rate_limits(self, rate_limits: &'static [Bucket]) -> Self {
        Self { rate_limits, ..self }
    }

    /// Accepts `<prefix>.<rest>` as an alias of the tool `<prefix>_<rest>`, because some models
    /// write names this way.
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
    /// If a tool, resource or prompt requires a scope that the product does not offer, if two rate
    /// limits of product and base have the same name, because they would share their counts, or if the
    /// name of a section is not valid or used twice.
    pub fn build(self) -> Product {
        let Self { tools, resources, prompts, job_tools: job_scope, dotted_aliases, .. } = self;
        let entries: Vec<_> = tools.iter().map(|tool| tool.entry()).collect();
        let tool_scopes = entries.iter().map(|entry| entry.scope);
        let resource_scopes = resources.iter().map(|resource| resource.slot().scope);
        let prompt_scopes = prompts.iter().map(|prompt| prompt.entry().scope);
        let scopes = tool_scopes.chain(resource_scopes).chain(prompt_scopes).chain(job_scope);
        for name in scopes {
            let is_known = name.is_empty() || self.scopes.get(name).is_some();
            assert!(is_known, "the product offers no scope `{name}`");
        }
        let mut limits: BTreeSet<&str> = limits::ALL.iter().map(|bucket| bucket.name).collect();
        limits.extend(USER_RATE_LIMITS);
        for Bucket { name, .. } in self.rate_limits {
            assert!(limits.insert(name), "there is another rate limit with the name `{name}`");
        }
        let mut names = BTreeSet::from(ACCOUNT_PAGES);
        for section in self.sections {
            let name = section.name();
            let is_valid = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
            assert!(is_valid && names.insert(name), "a section cannot have the name `{name}`");
        }
        let job_tools = entries.iter().filter(|entry| matches!(entry.run, RunMode::Job { .. }));
        Product(Arc::new(Inner {
            brand: self.brand,
            scopes: self.scopes,
            variables: self.variables,
            tables: self.tables,
            migrations: self.migrations,
            schedules: self
                .schedules
                .iter()
                .map(|schedule| schedule.with_step(BoundStep::new(schedule.step)))
                .collect(),
            rate_limits: self.rate_limits,
            job_tools: job_tools
                .map(|entry| &entry.definition)
                .map(|tool| (tool.name, tool.title.unwrap_or(tool.name)))
                .collect(),
            sections: self.sections.iter().map(|section| Bound::boxed(*section)).collect(),
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
