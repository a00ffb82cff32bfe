//! The plans that `auto_explain` sends, and their table.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use serde_json::Value;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt as _},
    registry,
    util::SubscriberInitExt as _,
};

/// The target of the events in which the driver logs notices.
const NOTICES: &str = "sqlx::postgres::notice";

/// Executions of a path whose plans are not shown: a prepared statement gets its final plan at the sixth
/// execution on a connection.
const WARM_UP: u64 = 14;

/// Executions of a path whose plans are shown.
const SHOWN: u64 = 10;

/// The pages that a statement may read beyond one for each row that it returns or writes.
const TARGET: f64 = 10.0;

/// The plans of the statements that were executed on explaining connections.
#[derive(Clone, Default)]
pub(super) struct Plans(Arc<Mutex<Vec<String>>>);

/// What one execution of a statement read.
#[derive(Clone, Debug)]
struct Execution {
    rows: f64,
    pages: f64,
    milliseconds: f64,
}

impl Execution {
    fn beyond(&self) -> f64 {
        (self.pages - self.rows).max(0.0)
    }
}

impl Plans {
    /// Receives the notices of all connections of this process.
    pub(super) fn install() -> anyhow::Result<Self> {
        let plans = Self::default();
        let notices = plans.clone().with_filter(Targets::new().with_target(NOTICES, Level::INFO));
        registry().with(notices).try_init().context("could not receive the plans")?;
        Ok(plans)
    }

    /// Explains a path: runs it with the numbers from 0, and prints for each of its statements the execution
    /// that read most pages.
    pub(super) async fn explain(
        &self,
        path: &str,
        run: impl AsyncFn(u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut worst: BTreeMap<(usize, String), Execution> = BTreeMap::new();
        for number in 0..WARM_UP + SHOWN {
            self.take();
            run(number).await.with_context(|| format!("{path} failed"))?;
            let executed = self.take();
            if number < WARM_UP {
                continue;
            }
            for (index, message) in executed.iter().enumerate() {
                let (sql, execution) = parse(message)?;
                let known = worst.entry((index, label(&sql))).or_insert_with(|| execution.clone());
                if execution.beyond() > known.beyond() {
                    *known = execution;
                }
            }
        }
        for ((_, label), execution) in worst {
            print(path, &label, &execution);
        }
        Ok(())
    }

    /// Removes the plans that have arrived. Discards those of the statements before a path.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the plans that have arrived by those of one of the steps of a path.
    pub(super) fn put(&self, plans: Vec<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = plans;
    }
}

impl<S: Subscriber> Layer<S> for Plans {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        if message.0.contains("plan:") {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message.0);
        }
    }
}

/// The text of an event.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

fn parse(message: &str) -> anyhow::Result<(String, Execution)> {
    let (duration, plan) = message.split_once("plan:").context("a notice without a plan")?;
    let milliseconds = duration.trim().trim_start_matches("duration: ").trim_end_matches(" ms");
    let explained: Value = serde_json::from_str(plan).context("a plan that is not JSON")?;
    let sql = explained["Query Text"].as_str().context("a plan without its statement")?;
    let root = &explained["Plan"];
    let number = |plan: &Value, field: &str| plan[field].as_f64().unwrap_or_default();
    // A statement that writes without RETURNING returns no rows; its input are the rows that it writes.
    let written = if root["Node Type"] == "ModifyTable" { &root["Plans"][0] } else { root };
    let rows = number(root, "Actual Rows").max(number(written, "Actual Rows"));
    let pages = number(root, "Shared Hit Blocks") + number(root, "Shared Read Blocks");
    Ok((sql.to_owned(), Execution { rows, pages, milliseconds: milliseconds.parse()? }))
}

/// Names a statement by its verb and its first table.
fn label(sql: &str) -> String {
    let mut words =
        sql.split_whitespace().map(|word| word.trim_matches(['"', '(', ',', ')', '\'']));
    let verb = words.next().unwrap_or_default().to_uppercase();
    if verb == "UPDATE" {
        return format!("UPDATE {}", words.find(|word| *word != "ONLY").unwrap_or_default());
    }
    let mut previous = "";
    let table = words.find(|word| {
        let found = ["from", "into", "update"].contains(&previous.to_lowercase().as_str());
        previous = word;
        found && !word.is_empty() && *word != "SELECT"
    });
    format!("{verb} {}", table.unwrap_or_default().replace('"', ""))
}

pub(super) fn print_head() {
    println!("| path | statement | rows | pages | beyond | ms |");
    println!("|---|---|---|---|---|---|");
}

fn print(path: &str, label: &str, execution: &Execution) {
    let Execution { rows, pages, milliseconds } = execution;
    let beyond = execution.beyond();
    let mark = if beyond > TARGET { "**" } else { "" };
    println!(
        "| {path} | {label} | {rows:.0} | {pages:.0} | {mark}{beyond:.0}{mark} | {milliseconds:.2} |"
    );
}
