//! The stores in memory and in Redis pass the same suites: Redis as one server, and as a cluster of
//! three, where all keys of one script must be on the same server.

use std::{sync::Arc, time::Duration};

use mcp::{
    Signal, Stores,
    store::{Received, Topic, redis::Connection},
};
use platform::clock::{Clock, MockClock, SystemClock};
use tests::{
    in_time, oauth_suite,
    redis::{self, Trio, content_keys},
    relay::Relay,
    store_suite,
};

fn connection(url: &str, prefix: &str) -> Connection {
    Connection::new(url, prefix).expect("the URL is good")
}

#[expect(clippy::disallowed_methods, reason = "time of a real server cannot be advanced")]
async fn stores_pass(url: &str) {
    let stores = async |session_ttl| {
        let connection = connection(url, &redis::fresh_prefix());
        Stores::in_redis(&connection, session_ttl, content_keys()).expect("the URL is good")
    };
    store_suite::run(stores, tokio::time::sleep).await;
}

async fn sign_in_passes(url: &str) {
    let clock = Arc::new(MockClock::at(SystemClock.now()));
    let prefix = redis::fresh_prefix();
    let instances = [(); 2].map(|()| {
        let connection = connection(url, &prefix);
        let clock: Arc<dyn Clock> = Arc::<MockClock>::clone(&clock);
        oauth::Stores::in_redis(&connection, &clock, content_keys())
    });
    oauth_suite::run(&instances[0], &instances[1], &clock).await;
}

#[tokio::test(start_paused = true)]
async fn the_in_process_stores_pass_the_suite() {
    store_suite::run(|ttl| async move { Stores::in_memory(ttl) }, tokio::time::advance).await;
}

#[tokio::test(start_paused = true)]
async fn the_simulated_stores_pass_the_suite() {
    store_suite::run(|ttl| async move { simulation::stores(ttl) }, tokio::time::advance).await;
}

#[tokio::test]
async fn the_sign_in_stores_of_one_process_pass_the_suite() {
    let clock = Arc::new(MockClock::at(SystemClock.now()));
    let shared: Arc<dyn Clock> = Arc::<MockClock>::clone(&clock);
    let stores = oauth::Stores::in_process(&shared);
    oauth_suite::run(&stores, &stores.clone(), &clock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_passes_the_suite_of_the_stores() {
    stores_pass(redis::shared().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_passes_the_suite_of_the_sign_in() {
    sign_in_passes(redis::shared().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_three_passes_both_suites() {
    let trio = Trio::start().await;
    stores_pass(trio.url()).await;
    sign_in_passes(trio.url()).await;
    for server in trio.servers() {
        let size = server.run("DBSIZE").await;
        assert_ne!(size.trim(), ":0", "each of the three has some of the keys");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_is_told_to_read_anew_when_the_connection_was_lost() {
    let server = redis::shared().await;
    let relay = Relay::to(server).await;
    let prefix = redis::fresh_prefix();
    let stores = |url: &str| {
        let connection = connection(url, &prefix);
        Stores::in_redis(&connection, Duration::from_mins(1), content_keys())
            .expect("the URL is good")
    };
    let (here, elsewhere) = (stores(&relay.url()), stores(server));
    let mut listening = here.bus.subscribe(Topic::Everyone).await.expect("subscribe");
    elsewhere.bus.publish(Signal::ToolListChanged).await.expect("publish");
    let heard = in_time("a signal", listening.recv()).await;
    assert_eq!(heard, Received::Signal(Signal::ToolListChanged));

    relay.cut().await;
    elsewhere.bus.publish(Signal::PromptListChanged).await.expect("publish");
    relay.mend();
    let heard = in_time("a word about what was missed", listening.recv()).await;
    assert_eq!(heard, Received::Missed, "the signal is lost, and everything is read anew");
    elsewhere.bus.publish(Signal::ToolListChanged).await.expect("publish");
    let heard = in_time("a signal over the new connection", listening.recv()).await;
    assert_eq!(heard, Received::Signal(Signal::ToolListChanged));
}
