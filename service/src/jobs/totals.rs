//! What became of jobs and of attempts at them, counted for whoever operates this.
//!
//! Jobs end in many processes, and on some platforms nothing can ask a worker for its metrics. So the
//! totals are kept in the database, where every process finds the same. A process gathers what it
//! counts and adds it up there every few seconds ([`write_totals`]): a row that each job wrote would
//! let jobs wait for each other. A process that is killed takes along what it has not written yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use entity::job_totals::Entity;
pub use entity::job_totals::What;
use mcp::Run;
use platform::db::Failure;
use sea_orm::{ActiveEnum as _, EntityTrait as _};
use serde_json::{Value, json};

use super::dialect;
use crate::{
    Service,
    metrics::{JOB_ENDS, JOB_OUTCOMES},
    tools,
};

/// The word for a tool that is not in the catalog: of another version, or of a test.
const OTHER: &str = "other";

/// The tools that run as jobs.
static TOOLS: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    let entries = tools::ALL.iter().map(|it| it.entry());
    let jobs = entries.filter(|it| matches!(it.run, Run::Job { .. }));
    jobs.map(|it| it.definition.name).collect()
});

/// The tool as metrics call it: of a closed set.
pub fn tool_label(tool: &str) -> &'static str {
    TOOLS.get(tool).copied().unwrap_or(OTHER)
}

/// What is counted: of which kind, by tool and by end.
type Counted = (What, &'static str, &'static str);

/// What a process has counted and not written yet.
#[derive(Debug, Default)]
pub(crate) struct Totals(Mutex<BTreeMap<Counted, u64>>);

impl Totals {
    fn gathered(&self) -> MutexGuard<'_, BTreeMap<Counted, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an attempt, by one of [`JOB_ENDS`].
    pub(super) fn attempt(&self, tool: &str, end: &'static str) {
        *self.gathered().entry((What::Attempt, tool_label(tool), end)).or_default() += 1;
    }

    /// Counts a job that ended, by one of [`JOB_OUTCOMES`].
    pub(super) fn job(&self, tool: &str, outcome: &'static str) {
        *self.gathered().entry((What::Job, tool_label(tool), outcome)).or_default() += 1;
    }
}

/// Adds to the database what this process has counted. What cannot be written is kept for the next
/// time.
pub async fn write_totals(service: &Service) -> Result<(), Failure> {
    let gathered = std::mem::take(&mut *service.job_totals().gathered());
    if gathered.is_empty() {
        return Ok(());
    }
    let written = write(service, &gathered).await;
    if written.is_err() {
        let mut kept = service.job_totals().gathered();
        for (counted, more) in gathered {
            *kept.entry(counted).or_default() += more;
        }
    }
    written
}

async fn write(service: &Service, gathered: &BTreeMap<Counted, u64>) -> Result<(), Failure> {
    let backend = service.db().get_database_backend();
    // Always in one order, so that two who write do not wait for each other for ever.
    let sql = format!(
        "INSERT INTO job_totals (what, tool, how, total)
        SELECT what, tool, how, more FROM {} WHERE true ORDER BY what, tool, how
        ON CONFLICT (what, tool, how) DO UPDATE SET total = job_totals.total + excluded.total",
        dialect::given(
            backend,
            &[("what", "text"), ("tool", "text"), ("how", "text"), ("more", "bigint")]
        ),
    );
    let rows = gathered.iter().map(|((what, tool, how), more)| {
        json!({ "what": what.to_value(), "tool": tool, "how": how, "more": more })
    });
    let given = rows.collect::<Value>().to_string();
    dialect::written(service.db(), sql, [given.into()]).await?;
    Ok(())
}

/// How many, over all processes and all time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Total {
    /// What was counted.
    pub what: What,
    /// Of which tool.
    pub tool: String,
    /// By one of [`JOB_ENDS`] or [`JOB_OUTCOMES`].
    pub how: String,
    /// How many.
    pub total: u64,
}

/// Everything that was counted and written. What is possible and has not happened is there as well,
/// with 0.
pub async fn totals(service: &Service) -> Result<Vec<Total>, Failure> {
    let mut totals = BTreeMap::new();
    for tool in &*TOOLS {
        for (what, all) in [(What::Attempt, &JOB_ENDS[..]), (What::Job, &JOB_OUTCOMES[..])] {
            for how in all {
                totals.insert((what, (*tool).to_owned(), (*how).to_owned()), 0);
            }
        }
    }
    for row in Entity::find().all(service.db()).await? {
        let total = u64::try_from(row.total).unwrap_or(0);
        totals.insert((row.what, row.tool, row.how), total);
    }
    let total = |((what, tool, how), total)| Total { what, tool, how, total };
    Ok(totals.into_iter().map(total).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tools_that_run_as_jobs_have_a_name_of_their_own() {
        assert_eq!(tool_label("notes_import"), "notes_import");
        for other in ["notes_list", "a_tool", ""] {
            assert_eq!(tool_label(other), OTHER);
        }
    }
}
