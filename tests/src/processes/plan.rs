//! What a fleet consists of.

use std::{collections::HashMap, ffi::OsString};

use app::Product;

use super::{Fleet, Persistence};
use crate::{fixtures, github::GitHub};

/// The programs that a fleet runs.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `test-tools fixtures-web` and `fixtures-worker`: the product of the fixtures.
    Fixtures,
    /// The programs of this product.
    Product(fn() -> Product),
}

impl Kind {
    /// The program of an instance, and its arguments.
    pub(super) fn web(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Fixtures => ("test-tools", &["fixtures-web"]),
            Self::Product(product) => (product().brand().program, &[]),
        }
    }

    /// The program of a worker, and its arguments.
    pub(super) fn worker(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Fixtures => ("test-tools", &["fixtures-worker"]),
            Self::Product(product) => (product().brand().worker_program, &[]),
        }
    }

    pub(super) fn product(self) -> Product {
        match self {
            Self::Fixtures => fixtures::product(),
            Self::Product(product) => product(),
        }
    }
}

/// Builds a [`Fleet`].
#[derive(Debug)]
pub struct Plan {
    pub(super) kind: Kind,
    pub(super) instances: usize,
    pub(super) workers: usize,
    pub(super) persistence: Persistence,
    pub(super) environment: HashMap<String, String>,
    pub(super) database: Option<String>,
    pub(super) has_own_wires: bool,
    pub(super) prefix: Vec<OsString>,
}

impl Plan {
    /// Three instances that share a database and a Redis without persistence.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            instances: 3,
            workers: 0,
            persistence: Persistence::None,
            database: None,
            has_own_wires: false,
            prefix: Vec::new(),
            environment: HashMap::from([
                ("SHUTDOWN_TIMEOUT".to_owned(), "10s".to_owned()),
                // Counted as in production, but never reached.
                ("RATE_LIMIT_PER_MINUTE".to_owned(), "100000".to_owned()),
            ]),
        }
    }

    /// Sets the number of workers, of the same kind as the instances.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Sets the number of instances.
    #[must_use]
    pub fn instances(mut self, instances: usize) -> Self {
        self.instances = instances;
        self
    }

    /// Sets whether Redis keeps its data across a restart.
    #[must_use]
    pub fn persistence(mut self, persistence: Persistence) -> Self {
        self.persistence = persistence;
        self
    }

    /// Sets an environment variable of every process.
    #[must_use]
    pub fn with(mut self, variable: &str, value: impl Into<String>) -> Self {
        self.environment.insert(variable.to_owned(), value.into());
        self
    }

    /// Uses a database of the test, `postgres://…`, with the schema of the product.
    #[must_use]
    pub fn on(mut self, database: impl Into<String>) -> Self {
        self.database = Some(database.into());
        self
    }

    /// Connects each instance to Redis and to the database through proxies of its own
    /// ([`Fleet::wires`]).
    #[must_use]
    pub fn own_wires(mut self) -> Self {
        self.has_own_wires = true;
        self
    }

    /// Starts each instance through a shell command, such as `ulimit -n 256`.
    #[must_use]
    pub fn after(mut self, command: &str) -> Self {
        let script = format!("{command}; exec \"$@\"");
        self.prefix = ["/bin/sh", "-c", &script, "sh"].map(OsString::from).to_vec();
        self
    }

    /// Configures sign-in through this GitHub.
    #[must_use]
    pub fn with_github(self, github: &GitHub) -> Self {
        github.settings().into_iter().fold(self, |it, (variable, value)| it.with(variable, value))
    }

    /// Starts all processes and waits until each of them answers.
    pub async fn start(self) -> Fleet {
        Fleet::start(self).await
    }
}
