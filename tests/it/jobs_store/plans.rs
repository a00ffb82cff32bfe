//! Query plans on Postgres: the statements of workers and clients use indexes, however many jobs exist.

use sea_orm::{ConnectionTrait as _, DatabaseBackend, Statement};

use super::*;

#[tokio::test]
async fn no_verb_of_a_queue_reads_its_table_from_end_to_end() {
    let world = World::postgres(&tests::fixtures::product()).await;
    enqueue(&world.app, new_job(&user("p7"))).await;
    fill(&world.app).await;
    let ada = user("p8"); // has nothing in the queue
    // The statistics of a session are visible once the session has ended.
    let app = world.another().await;
    let before = scans(&world).await;
    everything(&world, &app, &ada).await;
    app.close().await;
    let after = tests::eventually("the table was asked by index", async || {
        let after = scans(&world).await;
        (after.by_index > before.by_index).then_some(after)
    })
    .await;
    assert_eq!(before.whole, after.whole, "the jobs were read from end to end");
}

/// Every operation that a client, a worker or a schedule can cause.
async fn everything(world: &World, app: &App, ada: &UserId) {
    let store = jobs::store(app.jobs());
    let id = enqueue(app, streamed_job(ada)).await;
    get(app, ada, &id).await.unwrap();
    let page = store.list(ada, None, 20).await.unwrap().unwrap();
    store.list(ada, page.next.as_deref(), 20).await.unwrap();
    store.cancel(ada, &id).await.unwrap();

    let mut turn = Turn::default();
    let mut ends = Vec::new();
    for round in 0..20 {
        let busy = [ada.as_str().to_owned()];
        let excluded_owners = (round % 2 == 1).then_some(&busy[..]);
        let what = Claim { excluded_owners, ..claims(16) };
        for claimed in jobs::claim(app.jobs(), &mut turn, what).await.unwrap() {
            let children = children(&claimed, &["one"]);
            let end = match ends.len() % 5 {
                0 => End::Children(children),
                1 => End::InputRequired(questions(&["a"])),
                2 => End::Retry("not now".to_owned()),
                3 => End::Released,
                _ => End::Answered(text("done")),
            };
            ends.push((claimed.lease, end));
        }
    }
    let attempts: Vec<_> = ends.iter().map(|(it, _)| (it.job.clone(), it.number)).collect();
    assert!(attempts.len() >= 160, "{}", attempts.len());
    jobs::renew(app.jobs(), &attempts, LEASE).await.unwrap();
    let progress = mcp::job::Progress { done: 1.0, total: None, message: None };
    let progress: Vec<_> =
        attempts.iter().map(|(job, number)| (job.clone(), *number, progress.clone())).collect();
    jobs::record_progress(app.jobs(), &progress).await.unwrap();
    jobs::checkpoint(app.jobs(), app.db(), &attempts[0].0, attempts[0].1, &json!(1)).await.unwrap();
    jobs::finish(app.jobs(), &ends).await.unwrap();
    let (asking, _) = &ends[1];
    let owner = UserId::new(asking.owner.as_str());
    store.answer(&owner, &asking.job, answers(&["a"])).await.unwrap();
    let (parent, _) = &ends[0];
    store.cancel(&UserId::new(parent.owner.as_str()), &parent.job).await.unwrap();

    jobs::claim(app.jobs(), &mut turn, claims(16)).await.unwrap();
    world.clock.advance(Duration::from_hours(25));
    while jobs::reclaim(app.jobs()).await.unwrap() > 0 {}
    let silence = Duration::from_secs(10);
    for untold in jobs::unnotified(app.jobs(), None, silence).await.unwrap() {
        jobs::mark_notified(app.jobs(), &untold).await.unwrap();
    }
    jobs::stats(app.jobs()).await.unwrap();
    jobs::sweep::finished(app.jobs()).await.unwrap();
}

/// Number of sequential scans of the table.
struct Scans {
    whole: i64,
    by_index: i64,
}

async fn scans(world: &World) -> Scans {
    let sql = "SELECT coalesce(seq_scan, 0) AS whole, coalesce(idx_scan, 0) AS by_index \
               FROM pg_stat_user_tables WHERE relname = 'jobs'";
    let statement = Statement::from_string(DatabaseBackend::Postgres, sql);
    let row = world.app.db().query_one_raw(statement).await.unwrap().unwrap();
    Scans {
        whole: row.try_get("", "whole").unwrap(),
        by_index: row.try_get("", "by_index").unwrap(),
    }
}

/// A hundred thousand jobs that are done, and ten thousand that wait: nine thousand of one person,
/// the others of five hundred.
async fn fill(app: &App) {
    let columns = "client_id, tool, call, max_attempts, timeout_ms, run_at, pending, announced, \
                   keep_ms, created_at, updated_at";
    // Ids have the form of ours.
    let id = "rpad(translate(encode(sha256(('j' || n)::bytea), 'base64'), '+/=', '-_'), 22)";
    let sql = format!(
        "INSERT INTO jobs (id, owner_sub, status, attempt, failures, ended_at, expires_at,
             {columns})
         SELECT substr({id}, 1, 22), 'dev:p' || n % 500, 'completed', 1, 0, created_at,
             created_at + n * interval '1 second', {columns}
         FROM jobs, generate_series(1, 100000) n;
         INSERT INTO jobs (id, owner_sub, status, attempt, failures, {columns})
         SELECT substr({id}, 1, 22),
             'dev:p' || CASE WHEN n % 10 = 0 THEN n % 500 ELSE 7 END, 'queued', 0, 0, {columns}
         FROM (SELECT * FROM jobs WHERE status = 'queued') one, generate_series(100001, 110000) n;
         ANALYZE jobs;"
    );
    // More rows than any statement of the product writes, so longer than one may take.
    let transaction = app.db().begin().await.unwrap();
    transaction.execute_unprepared("SET LOCAL statement_timeout = 0").await.unwrap();
    transaction.execute_unprepared(&sql).await.unwrap();
    transaction.commit().await.unwrap();
}
