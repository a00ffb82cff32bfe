//! The clock of a machine that jumps by an hour, for one instance or one worker. libfaketime changes the
//! clock of a running process; the monotonic clock and those of the servers stay right.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::json;
use tests::{
    browser::{Browser, ClientApp},
    eventually,
    github::GitHub,
    processes::{Fleet, Kind, Plan},
};

use crate::{REVISION, ended, item, lasts, shown};

/// Longer than the interval of the schedule that takes jobs away from silent workers.
const LOST_JOBS: Duration = Duration::from_secs(12);

/// The clock of one process.
struct FakeClock(tempfile::NamedTempFile);

impl FakeClock {
    fn new() -> Self {
        let clock = Self(tempfile::NamedTempFile::new().unwrap());
        clock.set("+0");
        clock
    }

    /// Moves the clock, as in `+3600`.
    fn set(&self, offset: &str) {
        // At once: the process may read it at any time.
        let draft = self.0.path().with_extension("draft");
        fs::write(&draft, format!("{offset}\n")).unwrap();
        fs::rename(&draft, self.0.path()).unwrap();
    }

    /// The environment of a process with this clock.
    fn settings(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.0.path().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }
}

/// Where Debian installs the library.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().flatten();
    let paths = folders.map(|it| it.path().join("faketime/libfaketimeMT.so.1"));
    paths
        .into_iter()
        .find(|it| it.is_file())
        .expect("libfaketime is needed: scripts/test installs it")
}

/// Restarts the first instance with a clock of its own.
async fn with_own_clock(fleet: &mut Fleet) -> FakeClock {
    let clock = FakeClock::new();
    fleet.kill(0).await;
    for (variable, value) in clock.settings() {
        fleet.instance(0).set(variable, &value);
    }
    fleet.start_again(0).await;
    clock
}

#[tokio::test]
async fn an_instance_whose_clock_jumps_refuses_tokens_and_forgets_no_session() {
    let github = GitHub::start().await;
    let plan = Plan::new(Kind::Fixtures).instances(2).with_github(&github);
    let mut fleet = plan.start().await;
    // The key that signs tokens is older than the jump, as it is after the first hour of a deployment.
    fleet.token("ada").await;
    let older = "UPDATE oauth_signing_keys SET created_at = created_at - interval '1 day', \
                 activate_at = activate_at - interval '1 day'";
    fleet.execute(older).await;
    let clock = with_own_clock(&mut fleet).await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let modern = fleet.web(0).modern(&token);
    assert!(shown::modern(&modern, "items_create", item("Tea")).await.is_success());
    let app = ClientApp::register(fleet.web(0)).await;
    let tokens = app.connect(&Browser::of(fleet.origin(), fleet.web(0))).await;
    let mut refresh = tokens["refresh_token"].as_str().unwrap().to_owned();

    for jump in ["+3600", "-3600"] {
        clock.set(jump);
        // An access token lasts for 30 minutes: it has expired, or is not valid yet.
        eventually("the token is refused", async || {
            let page = tests::client::Page::read(
                fleet.web(0).post(&token, ada.body("ping", json!(null)).to_string()),
            )
            .await;
            let challenge = page.header("www-authenticate");
            (page.status == 401 && challenge.contains("invalid_token")).then_some(())
        })
        .await;
        // A client does not lose its grant: at this instance, or at one with the right clock.
        for index in [0, 1] {
            let page = app.refresh(fleet.web(index), &refresh).await;
            assert_eq!(page.status, 200, "{jump} at {index}: {}", page.text());
            page.json()["refresh_token"].as_str().unwrap().clone_into(&mut refresh);
        }
        assert!(shown::ping(&ada.at(fleet.web(1))).await.is_success(), "{jump}");
        clock.set("+0");
        eventually("the session goes on", async || {
            shown::ping(&ada).await.is_success().then_some(())
        })
        .await;
        let created = shown::modern(&modern, "items_create", item("Tea")).await;
        assert!(created.is_success(), "{jump}: {created:?}");
    }
    let page = app.refresh(fleet.web(1), &refresh).await;
    assert_eq!(page.status, 200, "{}", page.text());
}

#[tokio::test]
async fn a_worker_whose_clock_jumps_claims_nothing_and_takes_nothing_away() {
    let mut fleet = Plan::new(Kind::Fixtures).instances(1).workers(2).start().await;
    let clock = FakeClock::new();
    fleet.kill_worker(1).await;
    for (variable, value) in clock.settings() {
        fleet.worker(1).set(variable, &value);
    }
    let modern = fleet.web(0).modern(fleet.token("ada").await).with_tasks();
    // Claimed by the worker with the right clock.
    let gate = fleet.gate("a");
    let waits = modern.call("tools/call", tests::fixtures::at_gate("test_job_gate", "a", 2)).await;
    gate.reached(1).await;
    for jump in ["+3600", "-3600"] {
        clock.set(jump);
        fleet.start_worker_again(1).await;
        // `lost-jobs` runs every 10 s.
        lasts(LOST_JOBS).await;
        for _ in 0..5 {
            let made = modern.tool("slow_compute", json!({ "label": "tea" })).await;
            let done = ended(&modern, &made.result()["taskId"]).await;
            assert_eq!(done["status"], "completed", "{jump}: {done}");
        }
        assert_eq!(gate.stops(), 0, "{jump}: a job was taken away from the worker that runs it");
        let log = fleet.worker(1).log();
        assert!(log.contains("The clock of this machine"), "{jump}: {log}");
        assert_eq!(fleet.probes(1).get("/healthz").await.status, 200, "{jump}");
        fleet.kill_worker(1).await;
    }
    gate.step();
    gate.step();
    let done = ended(&modern, &waits.result()["taskId"]).await;
    assert_eq!(done["result"]["content"][0]["text"], "passed 2 times, 0 of them before", "{done}");

    // Once the clock is right again, the worker works.
    clock.set("-3600");
    fleet.start_worker_again(1).await;
    fleet.drain_worker(0).await;
    clock.set("+0");
    let made = modern.tool("slow_compute", json!({ "label": "milk" })).await;
    let done = ended(&modern, &made.result()["taskId"]).await;
    assert_eq!(done["status"], "completed", "{done}");
}
