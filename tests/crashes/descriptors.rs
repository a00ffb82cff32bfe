//! An instance that may open only 256 files, and more clients than that.

use std::{fs, time::Duration};

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tests::{
    client::Web,
    eventually,
    processes::{Kind, Plan},
};

use crate::{REVISION, item, lasts, shown};

/// Number of open event streams of modern clients: more than the instance has connections (96).
const STREAMS: usize = 150;

/// Number of streams that are being opened at the same time.
const AT_ONCE: usize = 10;

/// Number of streams that one user may open, with a reserve.
const STREAMS_OF_A_USER: usize = 15;

/// How long the processor time of the instance is measured.
const MEASURED: Duration = Duration::from_secs(3);

/// The processor time of a process.
fn processor_time(pid: u32) -> Duration {
    /// `USER_HZ` of Linux.
    const TICKS_PER_SECOND: u64 = 100;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|it| it.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}

#[tokio::test]
async fn an_instance_with_256_files_serves_some_and_tells_the_others_to_wait() {
    let plan = Plan::new(Kind::Fixtures).instances(1).workers(1).after("ulimit -n 256");
    let mut fleet = plan.start().await;
    let mut tokens = Vec::new();
    for user in 0..STREAMS.div_ceil(STREAMS_OF_A_USER) {
        tokens.push(fleet.token(&format!("user-{user}")).await);
    }
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    // Made before: a client that is being made would keep the others from sending their requests.
    let clients = tokens.iter().cycle().take(STREAMS);
    let clients: Vec<_> =
        clients.map(|token| Web::new(fleet.web(0).origin()).modern(token)).collect();
    let listening = clients.into_iter().map(|client| async move {
        let filter = json!({ "notifications": { "toolsListChanged": true } });
        let body = client.body("subscriptions/listen", filter);
        tokio::time::timeout(Duration::from_secs(10), client.send(&body)).await.ok()
    });
    let streams: Vec<_> = stream::iter(listening).buffer_unordered(AT_ONCE).collect().await;
    let with =
        |status: u16| streams.iter().flatten().filter(|it| it.status().as_u16() == status).count();
    assert!(with(200) >= 80, "{} are served", with(200));
    let refused = streams.iter().flatten().filter(|it| it.status().as_u16() == 503);
    for stream in refused {
        assert!(stream.headers().contains_key("retry-after"));
    }
    let waiting = streams.iter().filter(|it| it.is_none()).count();
    assert_eq!(with(200) + with(503) + waiting, STREAMS, "each is served, refused or waits");
    assert!(with(503) > 0, "some are refused");

    for _ in 0..5 {
        for path in ["/livez", "/healthz"] {
            // On a new connection, as a platform does.
            let probe = Web::new(fleet.web(0).origin());
            assert_eq!(probe.get(path).await.status, 200, "{path}");
        }
    }
    let before = processor_time(fleet.instance(0).pid());
    lasts(MEASURED).await;
    let used = processor_time(fleet.instance(0).pid()).saturating_sub(before);
    assert!(used < MEASURED / 3, "{used:?} of {MEASURED:?}: no busy loop");

    drop(streams);
    let modern = fleet.web(0).modern(&tokens[0]);
    eventually("calls are served again", async || {
        let answer = fleet.web(0).request(reqwest::Method::GET, "/").send().await.ok()?;
        (answer.status() != 503).then_some(())
    })
    .await;
    let created = shown::modern(&modern, "items_create", item("Tea")).await;
    assert!(created.is_success(), "{created:?}");
    assert!(shown::ping(&ada).await.is_success());
}
