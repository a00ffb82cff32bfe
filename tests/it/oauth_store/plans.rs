//! How Postgres finds what it is asked for: by index, however much other people keep.

use entity::GrantId;
use oauth::{
    account, calls,
    client::ClientId,
    grant::Reason,
    revoke, security, sweep,
    token_format::{PlainCode, PlainToken},
};
use sea_orm::{ConnectionTrait as _, DatabaseBackend, Statement};

use super::{
    Issued, World, agree, client, connect, days, grant_of, refresh, refresh_token, request,
    seconds, user,
};

#[tokio::test]
async fn no_verb_reads_a_table_from_end_to_end() {
    let world = World::postgres(&tests::fixtures::product()).await;
    let crowded = &world.app;
    fill(crowded).await;
    // Whatever a session has counted is there for all to see once the session has ended.
    let app = world.another().await;
    let before = scans(&world).await;
    everything(&world, &app).await;
    app.close().await;
    let after = tests::eventually("every table was asked by index", async || {
        let after = scans(&world).await;
        let asked = before.iter().zip(&after);
        asked.into_iter().all(|(before, after)| after.by_index > before.by_index).then_some(after)
    })
    .await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.whole, after.whole, "{} was read from end to end", after.table);
    }
}

/// Every verb that a request, a person or a schedule can cause.
async fn everything(world: &World, app: &app::App) {
    let client_app = client("c17");
    let ada = user("p17");
    let issued = agree(app, &client_app, &ada).await;
    let tokens = issued.redeem(app, &client_app).await.unwrap();
    assert!(issued.redeem(app, &client_app).await.is_err());
    let never_issued = Issued { code: PlainCode::generate(), verifier: issued.verifier.clone() };
    assert!(never_issued.redeem(app, &client_app).await.is_err());

    let first = refresh_token(&tokens);
    let second = refresh_token(&refresh(app, &client_app, &first).await.unwrap());
    refresh(app, &client_app, &first).await.unwrap();
    world.clock.advance(seconds(600));
    refresh(app, &client_app, &first).await.unwrap();
    assert!(refresh(app, &client_app, &second).await.is_err());
    let never_issued = PlainToken::generate();
    assert!(refresh(app, &client_app, never_issued.expose()).await.is_err());

    let tokens = connect(app, &client_app, &ada).await;
    let grant: GrantId = grant_of(app, &tokens).await;
    super::calls::call(app, &tokens, 1).await;
    calls::write(app.oauth()).await.unwrap();
    let connected = account::connected(app.oauth(), &ada).await.unwrap();
    assert!(connected.iter().any(|it| it.grant == grant));
    account::disconnect(app.oauth(), &ada, grant, &request()).await.unwrap();
    let events = security::events(app.oauth(), &ada, None).await.unwrap();
    assert!(!events.events.is_empty());
    app.oauth().revoked().poll().await.unwrap();
    let token = refresh_token(&connect(app, &client_app, &ada).await);
    revoke::token(app.oauth(), &client_app, &token, &request()).await.unwrap();
    let id = ClientId("c18".to_owned());
    revoke::client(app.oauth(), &id, Reason::Operator, &request()).await.unwrap();
    account::block(app.oauth(), &user("p19"), &request()).await.unwrap();
    account::unblock(app.oauth(), &user("p19"), &request()).await.unwrap();
    account::delete(app.oauth(), &user("p20"), &request()).await.unwrap();

    world.clock.advance(days(1));
    sweep::codes(app.oauth()).await.unwrap();
    sweep::refresh_tokens(app.oauth()).await.unwrap();
    sweep::grants(app.oauth()).await.unwrap();
    sweep::clients(app.oauth()).await.unwrap();
    sweep::audit(app.oauth()).await.unwrap();
    calls::sweep(app.oauth()).await.unwrap();
}

/// How often a table was read.
struct Scan {
    table: String,
    whole: i64,
    by_index: i64,
}

async fn scans(world: &World) -> Vec<Scan> {
    let sql = "SELECT relname::text, coalesce(seq_scan, 0) AS whole, \
               coalesce(idx_scan, 0) AS by_index FROM pg_stat_user_tables \
               WHERE relname IN ('oauth_codes', 'oauth_grants', 'oauth_refresh_tokens', \
               'oauth_clients', 'oauth_audit', 'oauth_calls', 'users', 'github_tokens') ORDER BY relname";
    let statement = Statement::from_string(DatabaseBackend::Postgres, sql);
    let rows = world.app.db().query_all_raw(statement).await.unwrap();
    rows.iter()
        .map(|row| Scan {
            table: row.try_get("", "relname").unwrap(),
            whole: row.try_get("", "whole").unwrap(),
            by_index: row.try_get("", "by_index").unwrap(),
        })
        .collect()
}

/// Ten thousand people, five thousand clients, and what they have left behind.
async fn fill(app: &app::App) {
    let now = app.clock().now().to_rfc3339();
    let hash = |what: &str| format!("sha256(('{what}' || n)::bytea)");
    let sql = format!(
        "INSERT INTO users (sub, login, created_at, last_seen_at, gate_checked_at)
         SELECT 'dev:p' || n, 'p' || n, '{now}', '{now}', '{now}' FROM generate_series(1, 10000) n;
         INSERT INTO github_tokens (user_sub, sealed, updated_at)
         SELECT sub, ''::bytea, '{now}' FROM users;
         INSERT INTO oauth_clients (id, kind, metadata, metadata_hash, created_at, expires_at)
         SELECT 'c' || n, 'dynamic', '{{}}', {metadata}, '{now}',
             '{now}'::timestamptz + n * interval '1 hour' FROM generate_series(1, 5000) n;
         INSERT INTO oauth_codes (code_hash, client_id, user_sub, redirect_uri,
             redirect_uri_was_sent, code_challenge, scope, resource, auth_time, attempts,
             created_at, expires_at)
         SELECT {code}, 'c' || n % 5000, 'dev:p' || n, '', true, {challenge}, '', '', '{now}', 0,
             '{now}', '{now}'::timestamptz + n * interval '1 hour' FROM generate_series(1, 10000) n;
         INSERT INTO oauth_grants (id, user_sub, client_id, redirect_uri, scope, resource,
             code_hash, code_challenge, auth_time, created_at, last_used_at, ends_at, generation,
             revoked_at, revoked_reason)
         SELECT gen_random_uuid(), 'dev:p' || n % 10000, 'c' || n % 5000, '', '', '', {grant},
             {challenge}, '{now}', '{now}', '{now}',
             '{now}'::timestamptz + (n - 60) * interval '1 day', 3,
             CASE WHEN n % 10 = 0 THEN '{now}'::timestamptz - n * interval '1 hour' END,
             CASE WHEN n % 10 = 0 THEN 'client' END
         FROM generate_series(1, 20000) n;
         INSERT INTO oauth_refresh_tokens (token_hash, grant_id, generation, issued_at)
         SELECT sha256((id::text || n)::bytea), id, n, '{now}'
         FROM oauth_grants, generate_series(1, 3) n;
         INSERT INTO oauth_audit (id, at, event, user_sub)
         SELECT gen_random_uuid(), '{now}'::timestamptz - n * interval '345 seconds', 'token_issued',
             'dev:p' || n % 10000
         FROM generate_series(1, 100000) n;
         INSERT INTO oauth_calls (user_sub, grant_id, day, calls, last_at)
         SELECT user_sub, id, extract(epoch FROM '{now}'::timestamptz)::bigint / 86400 - n, 1, '{now}'
         FROM oauth_grants, generate_series(0, 3) n WHERE user_sub <> 'dev:p0';
         ANALYZE;",
        metadata = hash("m"),
        code = hash("c"),
        challenge = hash("x"),
        grant = hash("g"),
    );
    // More rows than any statement of the product writes, so longer than one may take.
    let transaction = app.db().begin().await.unwrap();
    transaction.execute_unprepared("SET LOCAL statement_timeout = 0").await.unwrap();
    transaction.execute_unprepared(&sql).await.unwrap();
    transaction.commit().await.unwrap();
}
