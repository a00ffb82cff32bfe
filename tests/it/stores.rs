//! The stores in Redis keep the promises of the suite that the ones in memory keep.

use std::time::Duration;

use mcp::{
    Stores,
    store::{redis::Settings, suite},
};
use tests::redis;

async fn stores(session_ttl: Duration) -> Stores {
    let settings = Settings {
        url: redis::shared().await.to_owned(),
        prefix: redis::fresh_prefix(),
        session_ttl,
    };
    Stores::in_redis(&settings).expect("the URL is good")
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "time of a real server cannot be advanced")]
async fn redis_passes_the_suite_of_the_stores() {
    suite::run(stores, tokio::time::sleep).await;
}
