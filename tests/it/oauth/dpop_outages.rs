//! The record of used proofs while it is unavailable, and in one process: N198 and N199.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use oauth::used_ids::{UsedId, UsedIds, UsedIdsUnavailable};
use serde_json::json;
use tests::{
    browser::{Browser, ClientApp},
    cluster::{Database, Setup},
    dpop::{DpopKey, token_request},
    github::GitHub,
    redis,
};

use super::{
    Stage,
    dpop::{challenged, let_in, modern, ping, present, proof},
    text, told,
};

/// A record of used proofs that is unavailable for a time.
#[derive(Debug, Default)]
struct Unreliable {
    is_away: AtomicBool,
}

#[async_trait]
impl UsedIds for Unreliable {
    async fn record(&self, _: &UsedId, _: Duration) -> Result<bool, UsedIdsUnavailable> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(UsedIdsUnavailable("for a test".to_owned()));
        }
        Ok(true)
    }

    async fn forget(&self, _: &UsedId) -> Result<(), UsedIdsUnavailable> {
        Ok(())
    }
}

#[tokio::test]
async fn n198_no_proof_is_accepted_while_the_used_ones_are_unknown() {
    let (key, github) = (DpopKey::generate(), GitHub::start().await);
    let record = Arc::new(Unreliable::default());
    let shared = Arc::clone(&record);
    let setup = Setup::new(Database::Sqlite).with_github(&github).with("DPOP", "allowed");
    let setup = setup.given(move |given| given.oauth.used_ids = Arc::clone(&shared) as _);
    let cluster = setup.start().await;
    let (web, browser) = (cluster.web(0), Browser::new(&cluster));
    let client_app = ClientApp::register(web).await;
    let sign = |path| key.sign(&proof(&cluster, &key, "POST", path));
    let code = client_app.code(&browser).await;
    let page = token_request(web, &code.form(), &[&sign("/token")]).await;
    let token = text(&page.json(), "access_token");

    record.is_away.store(true, Ordering::SeqCst);
    let code = client_app.code(&browser).await;
    let page = token_request(web, &code.form(), &[&sign("/token")]).await;
    told("N198", &page, 503, "temporarily_unavailable");
    let signed = key.sign(&proof(&cluster, &key, "POST", "/mcp").for_token(&token));
    let page = present(web, &token, &signed).await;
    assert_eq!(page.status, 503, "N198 {}", page.text());
    assert_ne!(page.header("retry-after"), "", "N198");
    // Bearer tokens need no such record, and the code is not used up.
    let page = code.redeem(web).await;
    assert_eq!(page.status, 200, "N198 {}", page.text());
    let bearer = format!("Bearer {}", text(&page.json(), "access_token"));
    let_in("N198", &ping(web, &[&bearer], &[]).await);
    record.is_away.store(false, Ordering::SeqCst);
    let_in("N198", &present(web, &token, &signed).await);
}

#[tokio::test]
async fn n198_no_proof_is_accepted_while_redis_is_away() {
    let (server, github) = (redis::Server::start().await, GitHub::start().await);
    let setup = Setup::new(Database::Postgres).instances(2).with_github(&github);
    let setup = setup.with("DPOP", "allowed").on_redis_at(server.url());
    let stage = Stage { cluster: setup.start().await, github };
    let key = DpopKey::generate();
    let (client_app, token, refresh) = stage.connected(&key).await;
    let unbound = text(&client_app.connect(&stage.browser()).await, "access_token");

    drop(server);
    for web in [stage.one(), stage.other()] {
        let proof = key.sign(&stage.mcp_proof(&key, &token));
        let page = present(web, &token, &proof).await;
        assert_eq!(page.status, 503, "N198 {}", page.text());
        assert_ne!(page.header("retry-after"), "", "N198");
    }
    let page = stage.refresh(&client_app, &refresh, &key).await;
    told("N198", &page, 503, "temporarily_unavailable");
    let page =
        modern(stage.other(), &format!("Bearer {unbound}"), &[], "items_list", json!({})).await;
    assert_eq!(page.status, 200, "N198 a bearer token needs no record: {}", page.text());
}

#[tokio::test]
async fn n199_one_process_accepts_a_proof_once_too() {
    let github = GitHub::start().await;
    let setup = Setup::new(Database::Sqlite).with_github(&github).with("DPOP", "allowed");
    let cluster = setup.start().await;
    let (web, key) = (cluster.web(0), DpopKey::generate());
    let code = ClientApp::register(web).await.code(&Browser::new(&cluster)).await;
    let signed = key.sign(&proof(&cluster, &key, "POST", "/token"));
    let page = token_request(web, &code.form(), &[&signed]).await;
    let token = text(&page.json(), "access_token");
    told("N199", &token_request(web, &code.form(), &[&signed]).await, 400, "invalid_dpop_proof");
    let signed = key.sign(&proof(&cluster, &key, "POST", "/mcp").for_token(&token));
    let_in("N199", &present(web, &token, &signed).await);
    challenged("N199", &present(web, &token, &signed).await, "invalid_dpop_proof");
}
