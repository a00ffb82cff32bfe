//! N133: new signing keys under load. Clients use their tokens all the time, and refresh them as they
//! go, while the keys are replaced: on schedule, with a month in a few seconds, and by an operator who
//! regenerates `JWT_SIGNING_SECRET` and restarts the instances one after the other. Nobody notices.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::TimeDelta;
use entity::oauth_signing_keys::{Column, Entity as Keys, Model, State};
use oauth::signing_keys::{PREPUBLISHED, RETIRING_FOR, ROTATE_EVERY, SCHEDULED_AHEAD};
use sea_orm::{EntityTrait as _, QueryOrder as _};
use serde_json::json;
use tests::{
    browser::{ClientApp, visitor},
    client::{Page, Web},
    in_time,
};
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{Stage, text};

/// Clients that are at it at the same time.
const CLIENTS: usize = 4;

/// How often each of them sends something: all together, 100 requests a second.
const EVERY: Duration = Duration::from_millis(40);

/// How many rounds each client has to go at each moment that is looked at: one may have begun before
/// it, the next one refreshes if it is time for that.
const AT_EACH_STEP: u64 = 2;

/// How far the clock is moved at once: a third of the life of a token.
const STEP: Duration = Duration::from_mins(20);

/// How long a token lives, so that there are not too many steps in a day.
const TTL: (&str, &str) = ("ACCESS_TOKEN_TTL", "1h");

/// A client refreshes when its token has lived for more than this many steps.
const REFRESH_AFTER: u64 = 1;

const OLD: &str = "the signing secret that all instances began with";
const NEW: &str = "the signing secret that an operator has made anew";

/// Clients at a steady rate, behind a load balancer.
struct Load {
    /// The instances that get requests.
    targets: Arc<Mutex<Vec<Web>>>,
    /// How many rounds each client has gone.
    rounds: Vec<Arc<AtomicU64>>,
    /// How often the clock was moved.
    steps: Arc<AtomicU64>,
    end: CancellationToken,
    running: Vec<JoinHandle<()>>,
}

impl Load {
    async fn start(stage: &Stage) -> Self {
        let mut load = Self {
            targets: Arc::new(Mutex::new(vec![stage.one().clone(), stage.other().clone()])),
            rounds: Vec::new(),
            steps: Arc::default(),
            end: CancellationToken::new(),
            running: Vec::new(),
        };
        for number in 0..CLIENTS {
            let client_app = stage.client_app().await;
            let tokens = client_app.connect(&stage.browser()).await;
            let rounds: Arc<AtomicU64> = Arc::default();
            load.rounds.push(Arc::clone(&rounds));
            let client = Client {
                registered: client_app,
                access: text(&tokens, "access_token"),
                refresh: text(&tokens, "refresh_token"),
                refreshed_at: 0,
                turn: number,
                targets: Arc::clone(&load.targets),
                rounds,
                steps: Arc::clone(&load.steps),
            };
            load.running.push(tokio::spawn(client.run(load.end.clone())));
        }
        load
    }

    /// Time passes, and the instances look after their keys, as they do every few seconds. Meanwhile
    /// and afterwards, requests come.
    async fn pass(&self, stage: &Stage, instances: &[usize], time: Duration) {
        stage.cluster.clock().advance(time);
        self.steps.fetch_add(1, Ordering::Relaxed);
        for &index in instances {
            stage.cluster.service_of(index).oauth().keys().keep_up().await.unwrap();
        }
        self.goes_on().await;
    }

    /// Every client has gone a few more rounds.
    async fn goes_on(&self) {
        let targets: Vec<u64> = self.gone().iter().map(|it| it + AT_EACH_STEP).collect();
        tests::eventually("requests are answered", async || {
            let broken = self.running.iter().any(JoinHandle::is_finished);
            assert!(!broken, "a client was refused");
            self.gone().iter().zip(&targets).all(|(gone, target)| gone >= target).then_some(())
        })
        .await;
    }

    fn gone(&self) -> Vec<u64> {
        self.rounds.iter().map(|it| it.load(Ordering::Relaxed)).collect()
    }

    fn send_to(&self, targets: &[&Web]) {
        *self.targets.lock().unwrap() = targets.iter().map(|&it| it.clone()).collect();
    }

    /// Ends it, and gives how many rounds were gone. Every request of them was answered well.
    async fn stop(self) -> u64 {
        self.end.cancel();
        let rounds = self.gone().iter().sum();
        for client in self.running {
            in_time("a client ends", client).await.expect("no client was ever refused");
        }
        rounds
    }
}

struct Client {
    registered: ClientApp,
    access: String,
    refresh: String,
    refreshed_at: u64,
    turn: usize,
    targets: Arc<Mutex<Vec<Web>>>,
    rounds: Arc<AtomicU64>,
    steps: Arc<AtomicU64>,
}

impl Client {
    async fn run(mut self, end: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !end.is_cancelled() {
            ticks.tick().await;
            self.turn += 1;
            let web = {
                let targets = self.targets.lock().unwrap();
                targets[self.turn % targets.len()].clone()
            };
            let step = self.steps.load(Ordering::Relaxed);
            if step > self.refreshed_at + REFRESH_AFTER {
                self.renew(&web, step).await;
            }
            let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
            let request = web.post(&self.access, ping).header("x-forwarded-for", visitor());
            let page = Page::read(request).await;
            assert!(page.status != 401 && page.status.as_u16() < 500, "{}", page.text());
            let keys = web.get("/.well-known/jwks.json").await;
            assert_eq!(keys.status, 200, "{}", keys.text());
            let kid = kid_of(&self.access);
            let published = keys.json()["keys"].as_array().unwrap().clone();
            assert!(published.iter().any(|key| key["kid"] == *kid), "{kid} is not published");
            self.rounds.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn renew(&mut self, web: &Web, step: u64) {
        let page = self.registered.refresh(web, &self.refresh).await;
        assert_eq!(page.status, 200, "{}", page.text());
        self.access = text(&page.json(), "access_token");
        self.refresh = text(&page.json(), "refresh_token");
        self.refreshed_at = step;
    }
}

/// The name of the key that signed a token.
fn kid_of(token: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    let header = token.split('.').next().unwrap();
    let header: serde_json::Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

async fn keys(stage: &Stage) -> Vec<Model> {
    let found = Keys::find().order_by_asc(Column::ActivateAt);
    found.all(stage.cluster.app().db()).await.unwrap()
}

/// What a failure is understood by.
fn summary(key: &Model) -> String {
    let Model { kid, kek_id, state, activate_at, last_signed_at, retire_at, .. } = key;
    format!("{kid} {kek_id:.6} {state:?} {activate_at} {last_signed_at:?} {retire_at:?}")
}

async fn published(web: &Web) -> BTreeSet<String> {
    let document = web.get("/.well-known/jwks.json").await.json();
    let kids = document["keys"].as_array().unwrap();
    kids.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn steps(time: TimeDelta) -> u64 {
    time.to_std().unwrap().as_secs().div_ceil(STEP.as_secs())
}

#[tokio::test(flavor = "multi_thread")]
async fn n133_keys_are_replaced_on_schedule_and_nobody_notices() {
    let stage = Stage::with(&[("JWT_SIGNING_SECRET", OLD), TTL]).await;
    published(stage.one()).await;
    let nearly = ROTATE_EVERY.to_std().unwrap().checked_sub(2 * STEP).unwrap();
    stage.cluster.clock().advance(nearly);
    let load = Load::start(&stage).await;
    let [first] = &keys(&stage).await[..] else { panic!("one key signs") };

    for _ in 0..steps(SCHEDULED_AHEAD) + 6 {
        load.pass(&stage, &[0, 1], STEP).await;
    }
    let [_, second] = &keys(&stage).await[..] else { panic!("exactly one successor") };
    assert_eq!(second.state, State::Active);
    for _ in 0..steps(RETIRING_FOR) + 6 {
        load.pass(&stage, &[1, 0], STEP).await;
    }
    let rows = keys(&stage).await;
    let states: Vec<State> = rows.iter().map(|it| it.state).collect();
    assert_eq!(states, [State::Retired, State::Active]);
    assert_eq!((&rows[0].kid, &rows[0].private_sealed), (&first.kid, &None), "and it is wiped");
    for web in [stage.one(), stage.other()] {
        let known = BTreeSet::from([rows[1].kid.to_string()]);
        assert_eq!(published(web).await, known, "the old one is no longer published");
    }
    let rounds = load.stop().await;
    assert!(rounds > AT_EACH_STEP * steps(SCHEDULED_AHEAD), "{rounds} rounds");
}

#[tokio::test(flavor = "multi_thread")]
async fn n133_a_new_signing_secret_signs_nobody_out() {
    let mut stage = Stage::with(&[("JWT_SIGNING_SECRET", OLD), TTL]).await;
    let load = Load::start(&stage).await;
    load.goes_on().await;
    // An operator asks for new keys and, while that is under way, regenerates the secret as well.
    stage.cluster.app().oauth().keys().rotate(&oauth::audit::RequestInfo::none()).await.unwrap();
    load.pass(&stage, &[0, 1], STEP / 2).await;
    let old: Vec<String> = keys(&stage).await.iter().map(|it| it.kid.to_string()).collect();

    // The platform starts an instance with the new secret, sends requests to it, and ends an old one.
    for old in 0..2 {
        let fresh = stage.cluster.join(&[("JWT_SIGNING_SECRET", NEW)]).await;
        let serving: Vec<&Web> = (old..=fresh).map(|index| stage.cluster.web(index)).collect();
        load.send_to(&serving);
        let running: Vec<usize> = (old..=fresh).collect();
        for _ in 0..4 {
            load.pass(&stage, &running, STEP / 2).await;
        }
        load.send_to(&serving[1..]);
        load.goes_on().await;
        stage.cluster.leave(old).await;
        load.goes_on().await;
    }
    // Nobody can use the old keys any more: they are trusted until all that they signed has expired.
    for _ in 0..steps(RETIRING_FOR + PREPUBLISHED) + 12 {
        load.pass(&stage, &[2, 3], STEP).await;
    }
    let left = published(stage.cluster.web(2)).await;
    assert_eq!(left, published(stage.cluster.web(3)).await);
    let rows = Keys::find().all(stage.cluster.service_of(2).db()).await.unwrap();
    let told: Vec<_> = rows.iter().map(summary).collect();
    assert_eq!(left.len(), 1, "one key for the instances of today: {left:?} {told:#?}");
    assert!(old.iter().all(|kid| !left.contains(kid)), "{old:?} {left:?}");
    for row in rows {
        let signs = left.contains(&row.kid.to_string());
        assert_eq!(row.private_sealed.is_some(), signs, "{}: {:?}", row.kid, row.state);
    }
    load.stop().await;
}
