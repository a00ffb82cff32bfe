//! The traffic of a long run: random clients of both eras, sign-ins, errors, and clients that stay.

use std::time::Duration;

use rand::RngExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::{
    browser::{Browser, ClientApp, visitor},
    chaos::{self, Tally},
    client::{Legacy, Page, Web},
    processes::Fleet,
    schema::Revision,
};

/// Number of clients of each era in a round, each with its own user.
const CLIENTS: usize = 3;

/// Number of sign-ins in a round.
const SIGN_INS: usize = 3;

/// The pause between two requests of a client that stays. Shorter than the lifetime of a session.
const STAY: Duration = Duration::from_secs(2);

/// The traffic of a run. It ends when it is dropped.
pub(super) struct Traffic {
    /// The load balancer.
    web: Web,
    /// The public URL of the instances.
    origin: String,
    /// The newest access token of the clients that stay.
    token: watch::Sender<String>,
    staying: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Starts the clients that stay for the whole run, one at each instance.
    pub(super) async fn start(fleet: &Fleet, origin: &str) -> Self {
        let web = Web::new(origin);
        let token = watch::Sender::new(fleet.token("stays").await);
        let mut staying = Vec::new();
        for index in 0..fleet.len() {
            let first = token.borrow().clone();
            let session = fleet.web(index).legacy(first, Revision::November2025).await;
            staying.push(tokio::spawn(stay(session, token.subscribe())));
        }
        Self { web, origin: origin.to_owned(), token, staying }
    }

    /// One round. Returns when everything that it has begun has ended.
    pub(super) async fn round(&mut self, fleet: &Fleet, number: usize, time: Duration) -> Tally {
        let mut users = Vec::new();
        for client in 0..CLIENTS {
            for era in ["legacy", "modern"] {
                users.push((era, fleet.token(&format!("{era}-{number}-{client}")).await));
            }
        }
        self.token.send_replace(fleet.token("stays").await);
        let token = fleet.token("errs").await;
        let end = Instant::now() + time;
        let (tally, (), ()) = tokio::join!(
            chaos::calm(&self.origin, users, rand::rng().random(), time),
            self.sign_in(end),
            self.err(&token, end),
        );
        let has_left = |it: &JoinHandle<()>| it.is_finished();
        assert!(!self.staying.iter().any(has_left), "a client that stays has failed");
        tally
    }

    /// Clients register, people sign in, and tokens are refreshed; some grants are revoked.
    async fn sign_in(&self, end: Instant) {
        for number in 0..SIGN_INS {
            let app = ClientApp::register(&self.web).await;
            let browser = Browser::of(&self.origin, &self.web);
            let tokens = app.connect(&browser).await;
            let mut refresh = tokens["refresh_token"].as_str().unwrap_or_default().to_owned();
            for _ in 0..3 {
                let page = app.refresh(&self.web, &refresh).await;
                assert_eq!(page.status, 200, "{}", page.text());
                let tokens = page.json();
                tokens["refresh_token"].as_str().unwrap_or_default().clone_into(&mut refresh);
                let ada = self.web.modern(tokens["access_token"].as_str().unwrap_or_default());
                ada.tool("items_list", json!({})).await.result();
            }
            if number % 2 == 0 {
                assert_eq!(app.revoke(&self.web, &refresh).await.status, 200);
            } else {
                assert_eq!(browser.account().await.status, 200);
            }
            let left = end.saturating_duration_since(Instant::now());
            let rest = u32::try_from(SIGN_INS - number).unwrap_or(1);
            sleep_until(Instant::now() + left / rest).await;
        }
    }

    /// Requests that are wrong in one way each.
    async fn err(&self, token: &str, end: Instant) {
        let modern = self.web.modern(token);
        while Instant::now() < end {
            let unknown = modern.tool("items_get", json!({ "id": uuid::Uuid::now_v7() })).await;
            assert_eq!(unknown.result()["isError"], true);
            modern.tool("items_create", json!({ "titel": 1 })).await;
            let session = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
            for (body, session, token, status) in [
                ("{", None, token, StatusCode::BAD_REQUEST),
                (&*session.to_string(), Some("no-such-session"), token, StatusCode::NOT_FOUND),
                ("{}", None, "no-token", StatusCode::UNAUTHORIZED),
            ] {
                let mut request = self.web.post(token, body.to_owned());
                request = request.header("x-forwarded-for", visitor());
                if let Some(session) = session {
                    request = request
                        .header("mcp-session-id", session)
                        .header("mcp-protocol-version", Revision::November2025.as_str());
                }
                let page = Page::read(request).await;
                assert_eq!(page.status, status, "{body}: {}", page.text());
            }
            let page = Page::read(self.web.request(Method::GET, "/nowhere")).await;
            assert_eq!(page.status, StatusCode::NOT_FOUND);
            sleep_until(Instant::now() + Duration::from_millis(500)).await;
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.staying.iter().for_each(JoinHandle::abort);
    }
}

/// A session that stays open, calls, and listens to its changes.
async fn stay(session: Legacy, token: watch::Receiver<String>) {
    let mut stream = session.listen().await;
    let mut last = String::new();
    let mut turn = tokio::time::interval(STAY);
    loop {
        turn.tick().await;
        let session = session.presented_with(token.borrow().clone());
        assert_eq!(session.call("ping", Value::Null).await.result(), &json!({}));
        session.tool("test_trigger_tool_change", json!({})).await.result();
        loop {
            let Some(event) = stream.next().await else {
                stream = session.resume(&last).await;
                continue;
            };
            last = event.id.unwrap_or(last);
            let method = event.message.map(|it| it["method"].clone());
            if method == Some(json!("notifications/tools/list_changed")) {
                break;
            }
        }
    }
}
