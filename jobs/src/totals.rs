//! Counts ended jobs and attempts, for operators.
//!
//! Jobs end in many processes, and on some platforms a worker cannot be scraped. The totals are
//! therefore kept in the database, where every process can read them. Each process collects its
//! counts in memory and adds them every few seconds ([`write_totals`]): if each job updated the
//! row, jobs would wait for each other's locks. Counts that a killed process has not written are
//! lost.

use std::collections::BTreeMap;

use entity::job_totals::Entity;
pub use entity::job_totals::What;
use platform::{
    db::{Failure, dialect},
    metrics::{JOB_ENDS, JOB_OUTCOMES},
};
use sea_orm::{ActiveEnum as _, EntityTrait as _};
use serde_json::{Value, json};

use crate::{counts::Counted, queue::Queue};

/// The label of a tool that is not in the catalog, for example one of another version.
const OTHER: &str = "other";

impl Queue {
    /// The tool's label in metrics: the name of a tool that runs as a job, or `other`.
    pub fn tool_label(&self, tool: &str) -> &'static str {
        self.tools().get(tool).copied().unwrap_or(OTHER)
    }

    /// Counts an attempt with one of the outcomes in [`JOB_ENDS`].
    pub(crate) fn count_attempt(&self, tool: &str, end: &'static str) {
        self.totals().attempt(self.tool_label(tool), end);
    }

    /// Counts an ended job with one of the outcomes in [`JOB_OUTCOMES`].
    pub(crate) fn count_job(&self, tool: &str, outcome: &'static str) {
        self.totals().job(self.tool_label(tool), outcome);
    }
}

/// Adds the counts of this process to the database. Counts that cannot be written are kept for the
/// next call.
pub async fn write_totals(queue: &Queue) -> Result<(), Failure> {
    let gathered = std::mem::take(&mut *queue.totals().gathered());
    if gathered.is_empty() {
        return Ok(());
    }
    let written = write(queue, &gathered).await;
    if written.is_err() {
        let mut kept = queue.totals().gathered();
        for (counted, more) in gathered {
            *kept.entry(counted).or_default() += more;
        }
    }
    written
}

async fn write(queue: &Queue, gathered: &BTreeMap<Counted, u64>) -> Result<(), Failure> {
    let backend = queue.db().get_database_backend();
    // Always in the same order, so that two concurrent writers do not deadlock.
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
    dialect::written(queue.db(), sql, [given.into()]).await?;
    Ok(())
}

/// A total over all processes and all time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Total {
    /// What was counted.
    pub what: What,
    /// The tool, or `other`.
    pub tool: String,
    /// The outcome: one of [`JOB_ENDS`] or [`JOB_OUTCOMES`].
    pub how: String,
    /// The count.
    pub total: u64,
}

/// All totals in the database, and 0 for every known tool and outcome without one.
pub async fn totals(queue: &Queue) -> Result<Vec<Total>, Failure> {
    let mut totals = BTreeMap::new();
    for tool in queue.tools() {
        for (what, all) in [(What::Attempt, &JOB_ENDS[..]), (What::Job, &JOB_OUTCOMES[..])] {
            for how in all {
                totals.insert((what, (*tool).to_owned(), (*how).to_owned()), 0);
            }
        }
    }
    for row in Entity::find().all(queue.db()).await? {
        let total = u64::try_from(row.total).unwrap_or(0);
        totals.insert((row.what, row.tool, row.how), total);
    }
    let total = |((what, tool, how), total)| Total { what, tool, how, total };
    Ok(totals.into_iter().map(total).collect())
}
