//! What people see of what they allowed, and how they end it.

use std::collections::BTreeMap;

use app::App;
use entity::{oauth_grants, upstream_tokens, users};
use mcp::{Signal, UserId};
use oauth::{account, audit::Kind};
use sea_orm::{
    ActiveModelTrait as _, ConnectionTrait, DbBackend, EntityTrait as _, PaginatorTrait as _,
    QueryFilter as _, Set, Statement,
};

use tests::fixtures::items;

use crate::jobs_store::new_job;

use super::{
    REDIRECT_URI, World, agree, client, connect, days, grant_of, hours, is_accepted, on_both,
    refresh, refresh_token, request, told, user,
};

on_both!(
    connected_apps_are_listed,
    a_person_disconnects_their_own_apps_only,
    an_account_is_deleted_with_everything,
    a_blocked_person_cannot_leave_and_come_back,
    nobody_who_was_deleted_is_connected,
);

async fn connected_apps_are_listed(world: World) {
    let app = &world.app;
    let (one, two) = (client("one"), client("two"));
    let ada = user("ada");
    assert_eq!(account::connected(app.oauth(), &ada).await.unwrap(), []);
    let first = connect(app, &one, &ada).await;
    world.clock.advance(hours(1));
    let second = connect(app, &two, &ada).await;
    let second = grant_of(app, &second).await;
    connect(app, &one, &user("bob")).await;
    world.clock.advance(hours(1));
    refresh(app, &one, &refresh_token(&first)).await.unwrap();

    let apps = account::connected(app.oauth(), &ada).await.unwrap();
    let now = app.clock().now();
    let [newest, oldest] = &apps[..] else { panic!("there are {} apps", apps.len()) };
    assert_eq!((newest.client.as_str(), oldest.client.as_str()), ("two", "one"));
    assert_eq!(newest.grant, second);
    assert_eq!(oldest.redirect_uri.as_deref(), Some(REDIRECT_URI));
    assert_eq!(oldest.scope, tests::fixtures::product().scopes().all());
    assert_eq!(oldest.last_used_at, now);
    assert_eq!(now - oldest.connected_at, chrono::TimeDelta::hours(2));
    assert_eq!(now - newest.last_used_at, chrono::TimeDelta::hours(1));

    world.clock.advance(days(30).saturating_sub(hours(1)));
    let apps = account::connected(app.oauth(), &ada).await.unwrap();
    assert_eq!(apps.len(), 1, "what nobody used has ended");
}

async fn a_person_disconnects_their_own_apps_only(world: World) {
    let app = &world.app;
    let client_app = client("an-app");
    let (ada, bob) = (user("ada"), user("bob"));
    let adas = [
        connect(app, &client_app, &ada).await,
        connect(app, &client_app, &ada).await,
        connect(app, &client_app, &ada).await,
    ];
    let bobs = connect(app, &client_app, &bob).await;
    let grant = grant_of(app, &bobs).await;
    assert!(!account::disconnect(app.oauth(), &ada, grant, &request()).await.unwrap());
    assert!(is_accepted(app, &bobs).await);

    let grant = grant_of(app, &adas[0]).await;
    assert!(account::disconnect(app.oauth(), &ada, grant, &request()).await.unwrap());
    assert!(!account::disconnect(app.oauth(), &ada, grant, &request()).await.unwrap());
    assert!(!is_accepted(app, &adas[0]).await && is_accepted(app, &adas[1]).await);
    assert_eq!(account::disconnect_all(app.oauth(), &ada, &request()).await.unwrap(), 2);
    assert_eq!(account::connected(app.oauth(), &ada).await.unwrap(), []);
    assert!(is_accepted(app, &bobs).await);
    assert_eq!(told(app, Kind::GrantRevoked).await, 2, "one for each time that she asked");
}

async fn an_account_is_deleted_with_everything(world: World) {
    let app = &world.app;
    let db = app.db();
    let client_app = client("an-app");
    let (ada, bob) = (user("ada"), user("bob"));
    let tokens = connect(app, &client_app, &ada).await;
    let bobs = connect(app, &client_app, &bob).await;
    let on_its_way = agree(app, &client_app, &ada).await;
    for person in [&ada, &ada, &bob] {
        let draft = ("Title".to_owned(), String::new());
        items::create(db, person, app.clock().now(), [draft]).await.unwrap();
    }
    upstream_tokens::ActiveModel {
        user_sub: Set(ada.as_str().to_owned()),
        sealed: Set(vec![0; 8]),
        updated_at: Set(app.clock().now()),
    }
    .insert(db)
    .await
    .unwrap();
    assert!(is_accepted(app, &tokens).await);
    own_a_job_and_a_download(app, &ada).await;
    super::calls::call(app, &tokens, 1).await;
    oauth::calls::write(app.oauth()).await.unwrap();
    let before = rows_of(db, &ada).await;
    assert!(before.len() > 5, "{before:?}");
    let empty: Vec<_> = before.iter().filter(|(_, rows)| **rows == 0).collect();
    assert!(empty.is_empty(), "the test has to fill each of these: {empty:?}");
    world.published();

    let deleted = account::delete(app.oauth(), &ada, &request()).await.unwrap();
    assert_eq!((deleted.things, deleted.apps), (2, 1));
    assert!(!is_accepted(app, &tokens).await);
    assert!(!is_accepted(&world.another().await, &tokens).await, "other instances learn of it");
    assert!(refresh(app, &client_app, &refresh_token(&tokens)).await.is_err());
    assert!(on_its_way.redeem(app, &client_app).await.is_err());
    let mut left = rows_of(db, &ada).await;
    left.retain(|table, rows| *rows > 0 && !KEPT.contains(&table.as_str()));
    assert!(left.is_empty(), "these survived the account: {left:?}");
    assert_eq!(items::count(db, &bob).await.unwrap(), 1);
    assert_eq!(upstream_tokens::Entity::find().count(db).await.unwrap(), 0);
    assert!(users::Entity::find_by_id(ada.as_str()).one(db).await.unwrap().is_none());
    assert_eq!(told(app, Kind::AccountDeleted).await, 1);
    assert_eq!(told(app, Kind::GrantRevoked).await, 0, "it is told once");
    assert!(world.published().contains(&Signal::ResourceListChanged { user: ada.clone() }));

    // Bob is still there, and Ada can begin anew.
    assert!(is_accepted(app, &bobs).await);
    let again = account::delete(app.oauth(), &ada, &request()).await.unwrap();
    assert_eq!((again.things, again.apps), (0, 0));
    let tokens = connect(app, &client_app, &ada).await;
    assert!(is_accepted(app, &tokens).await);
    assert_eq!(oauth_grants::Entity::owned_by(ada.as_str()).count(db).await.unwrap(), 2);
}

/// Tables whose rows outlive an account: what happened, from when on access is void, and revoked grants,
/// with which the later use of a stolen token is detected.
const KEPT: &[&str] = &["access_cutoffs", "oauth_audit", "oauth_grants"];

/// The number of a user's rows in every table with a column for its owner.
pub(crate) async fn rows_of(db: &impl ConnectionTrait, user: &UserId) -> BTreeMap<String, i64> {
    let backend = db.get_database_backend();
    let columns = match backend {
        DbBackend::Postgres => {
            "SELECT table_name AS name, column_name AS owner FROM information_schema.columns
             WHERE table_schema = current_schema() AND column_name IN ('owner_sub', 'user_sub')"
        }
        _ => {
            "SELECT m.name AS name, c.name AS owner FROM sqlite_master m, pragma_table_info(m.name) c
             WHERE m.type = 'table' AND c.name IN ('owner_sub', 'user_sub')"
        }
    };
    let mut found = BTreeMap::new();
    for row in db.query_all_raw(Statement::from_string(backend, columns)).await.unwrap() {
        let (table, owner): (String, String) =
            (row.try_get("", "name").unwrap(), row.try_get("", "owner").unwrap());
        let sql = format!("SELECT count(*) AS rows FROM {table} WHERE {owner} = $1");
        let count = Statement::from_sql_and_values(backend, sql, [user.as_str().into()]);
        let row = db.query_one_raw(count).await.unwrap().unwrap();
        found.insert(table, row.try_get("", "rows").unwrap());
    }
    // Filled only by the deletion itself.
    found.remove("access_cutoffs");
    found
}

/// Gives a user a job and a file for download.
async fn own_a_job_and_a_download(app: &App, owner: &UserId) {
    jobs::enqueue(app.jobs(), new_job(owner)).await.unwrap();
    let caller = new_job(owner).call.caller;
    let mut file = app.downloads().create(&caller, "a.txt".into(), "text/plain").await.unwrap();
    file.write(b"content").await.unwrap();
    file.finish().await.unwrap();
}

async fn a_blocked_person_cannot_leave_and_come_back(world: World) {
    let app = &world.app;
    let client_app = client("an-app");
    let eve = user("eve");
    connect(app, &client_app, &eve).await;
    account::block(app.oauth(), &eve, &request()).await.unwrap();
    account::delete(app.oauth(), &eve, &request()).await.unwrap();
    let again = agree(app, &client_app, &eve).await;
    assert!(again.redeem(app, &client_app).await.is_err());
}

async fn nobody_who_was_deleted_is_connected(world: World) {
    let (app, other) = (world.app.clone(), world.another().await);
    let (client_app, ada) = (client("an-app"), user("ada"));
    for round in 0..super::ROUNDS * 4 {
        // A client gets its tokens at the moment at which the person leaves.
        let issued = agree(&app, &client_app, &ada).await;
        let (redeemed, deleted) = futures_util::future::join(
            issued.redeem(&other, &client_app),
            account::delete(app.oauth(), &ada, &request()),
        )
        .await;
        deleted.unwrap();
        let db = app.db();
        assert!(users::Entity::find_by_id(ada.as_str()).one(db).await.unwrap().is_none());
        let live = oauth_grants::Entity::owned_by(ada.as_str())
            .filter(oauth_grants::COLUMN.revoked_at.is_null())
            .count(db)
            .await
            .unwrap();
        assert_eq!(live, 0, "round {round}: {}", redeemed.is_ok());
        if let Ok(tokens) = redeemed {
            assert!(!is_accepted(&app, &tokens).await, "round {round}");
        }
    }
}
