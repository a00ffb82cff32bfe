//! The report of a failed test about the jobs that it left unfinished.

use entity::jobs as job_rows;
use sea_orm::{EntityTrait as _, QueryFilter as _, QuerySelect as _};

/// The maximum number of jobs in the report of a failed test.
const MAX_REPORTED: u64 = 20;

/// Prints the unfinished jobs of a database to standard error, for a test that has failed. On a thread of its
/// own, because the runtime of the test is not available while the test is being dropped.
#[expect(clippy::print_stderr, reason = "the output of a failed test")]
pub(crate) fn report(url: String) {
    let report = async {
        let db = sea_orm::Database::connect(url).await?;
        let unfinished = job_rows::Entity::find().filter(job_rows::COLUMN.ended_at.is_null());
        for job in unfinished.limit(MAX_REPORTED).all(&db).await? {
            let job_rows::Model { id, tool, status, attempt, .. } = job;
            eprintln!("unfinished job {id}: {tool}, {status:?}, attempt {attempt}");
        }
        db.close().await
    };
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be built").block_on(report)
    });
    match thread.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => eprintln!("The unfinished jobs are not known: {error}"),
        Err(_panic) => eprintln!("The unfinished jobs are not known: the query panicked"),
    }
}
