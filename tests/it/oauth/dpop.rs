//! Tokens that are bound to a key (RFC 9449): N180 to N199, P20 and P21.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    browser::{ClientApp, Code},
    client::{Page, Web},
    cluster::{Cluster, Database, Setup},
    dpop::{DpopKey, Proof, mcp_request, token_request},
    github::GitHub,
};

use super::{Stage, text};

/// Two instances on PostgreSQL and Redis, with this value of `DPOP`.
pub(super) async fn stage(mode: &str) -> Stage {
    let github = GitHub::start().await;
    let setup = Setup::new(Database::Postgres).instances(2).with_github(&github);
    let setup = setup.with("DPOP", mode).on_redis().await;
    Stage { cluster: setup.start().await, github }
}

/// A valid proof for a request to this path.
pub(super) fn proof(cluster: &Cluster, key: &DpopKey, method: &str, path: &str) -> Proof {
    // The public URL is that of the first instance.
    let url = format!("{}{path}", cluster.web(0).origin());
    key.proof(cluster.clock(), method, &url)
}

impl Stage {
    pub(super) fn token_proof(&self, key: &DpopKey) -> Proof {
        proof(&self.cluster, key, "POST", "/token")
    }

    pub(super) fn mcp_proof(&self, key: &DpopKey, token: &str) -> Proof {
        proof(&self.cluster, key, "POST", "/mcp").for_token(token)
    }

    /// Redeems a code with a valid proof.
    pub(super) async fn redeem(&self, code: &Code, key: &DpopKey) -> Value {
        let proof = key.sign(&self.token_proof(key));
        let page = token_request(self.one(), &code.form(), &[&proof]).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let tokens = page.json();
        assert_eq!(tokens["token_type"], "DPoP");
        tokens
    }

    /// A client whose tokens are bound to this key.
    pub(super) async fn connected(&self, key: &DpopKey) -> (ClientApp, String, String) {
        let client_app = self.client_app().await;
        let code = client_app.code(&self.browser()).await;
        let tokens = self.redeem(&code, key).await;
        (client_app, text(&tokens, "access_token"), text(&tokens, "refresh_token"))
    }

    /// Exchanges a refresh token with a new proof.
    pub(super) async fn refresh(&self, client_app: &ClientApp, token: &str, key: &DpopKey) -> Page {
        let proof = key.sign(&self.token_proof(key));
        token_request(self.other(), &client_app.refreshing(token), &[&proof]).await
    }
}

/// `ping`, which both eras have.
pub(super) async fn ping(web: &Web, authorizations: &[&str], proofs: &[&str]) -> Page {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    Page::read(mcp_request(web, Method::POST, authorizations, proofs).body(body)).await
}

/// A call of a tool by a client of 2026-07-28.
pub(super) async fn modern(
    web: &Web,
    authorization: &str,
    proofs: &[&str],
    tool: &str,
    arguments: Value,
) -> Page {
    let call = json!({ "name": tool, "arguments": arguments });
    let body = web.modern("unused").body("tools/call", call);
    let request = mcp_request(web, Method::POST, &[authorization], proofs)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", tool);
    Page::read(request.body(body.to_string())).await
}

/// A request with a bound token and one proof.
pub(super) async fn present(web: &Web, token: &str, proof: &str) -> Page {
    ping(web, &[&format!("DPoP {token}")], &[proof]).await
}

/// The endpoint has let the request in.
pub(super) fn let_in(case: &str, page: &Page) {
    assert_ne!(page.status, 401, "{case}: {}", page.text());
    assert_ne!(page.status, 503, "{case}: {}", page.text());
}

/// The endpoint has refused the request, with this challenge for DPoP and no other.
pub(super) fn challenged(case: &str, page: &Page, error: &str) {
    assert_eq!(page.status, 401, "{case}: {}", page.text());
    let challenges: Vec<_> = page.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(challenges.len(), 1, "{case}");
    let challenge = challenges[0].to_str().expect("a challenge is ASCII");
    assert!(challenge.starts_with(&format!(r#"DPoP error="{error}""#)), "{case}: {challenge}");
    assert!(challenge.ends_with(r#"algs="ES256 PS256 RS256 EdDSA Ed25519""#), "{challenge}");
    assert!(challenge.contains("resource_metadata=") && challenge.contains("scope="), "{case}");
    assert_eq!(page.json()["error"], error, "{case}");
    let has_nonce = !page.header("dpop-nonce").is_empty();
    assert_eq!(has_nonce, error == "use_dpop_nonce", "{case}");
}

#[tokio::test]
async fn p21_every_algorithm_and_every_request_of_both_eras_works_on_any_instance() {
    let stage = stage("allowed").await;
    for name in ["ES256", "PS256", "RS256", "EdDSA", "Ed25519"] {
        let key = DpopKey::generate_for(name);
        let (_, token, _) = stage.connected(&key).await;
        for web in [stage.one(), stage.other()] {
            let proof = key.sign(&stage.mcp_proof(&key, &token));
            let_in(&format!("P21 {name}"), &present(web, &token, &proof).await);
        }
    }

    let key = DpopKey::generate();
    let (_, token, _) = stage.connected(&key).await;
    let scheme = format!("DPoP {token}");
    let sign =
        |method: &str| key.sign(&proof(&stage.cluster, &key, method, "/mcp").for_token(&token));
    for web in [stage.one(), stage.other()] {
        let page = modern(web, &scheme, &[&sign("POST")], "items_list", json!({})).await;
        let items = &page.json()["result"]["structuredContent"]["items"];
        assert_eq!(*items, json!([]), "P21 {}", page.text());
    }
    // Legacy: a session, its stream and its end, each request with its own proof.
    let initialize = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "tests", "version": "1" },
        },
    });
    let request = mcp_request(stage.one(), Method::POST, &[&scheme], &[&sign("POST")]);
    let page = Page::read(request.body(initialize.to_string())).await;
    assert_eq!(page.status, 200, "P21 {}", page.text());
    let session = page.header("mcp-session-id").to_owned();
    let in_session = |web: &Web, method: Method| {
        let signed = sign(method.as_str());
        mcp_request(web, method, &[&scheme], &[&signed])
            .header("mcp-session-id", &session)
            .header("mcp-protocol-version", "2025-11-25")
    };
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let request = in_session(stage.other(), Method::POST).body(initialized.to_string());
    assert_eq!(Page::read(request).await.status, 202, "P21");
    let stream = in_session(stage.other(), Method::GET).send().await.expect("it answers");
    assert_eq!(stream.status(), 200, "P21");
    drop(stream);
    // A stream is resumed at the other instance with a proof of its own.
    let call = json!({
        "jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": { "name": "test_tool_with_progress", "arguments": {}, "_meta": { "progressToken": 7 } },
    });
    let events = Page::read(in_session(stage.one(), Method::POST).body(call.to_string())).await;
    let first = events.text().lines().find_map(|line| line.strip_prefix("id:")).map(str::to_owned);
    let first = first.unwrap_or_else(|| panic!("P21 no event with an id: {}", events.text()));
    let resume = |request: reqwest::RequestBuilder| {
        Page::read(request.header("last-event-id", first.trim()))
    };
    let resumed = resume(in_session(stage.other(), Method::GET)).await;
    assert_eq!(resumed.status, 200, "P21 {}", resumed.text());
    assert!(resumed.text().contains(r#""id":2"#), "P21 the response: {}", resumed.text());
    let unproven = mcp_request(stage.other(), Method::GET, &[&scheme], &[])
        .header("mcp-session-id", &session)
        .header("mcp-protocol-version", "2025-11-25");
    challenged("P21", &resume(unproven).await, "invalid_dpop_proof");
    // The proof of another method is not enough.
    let signed = sign("POST");
    let request = mcp_request(stage.one(), Method::DELETE, &[&scheme], &[&signed])
        .header("mcp-session-id", &session)
        .header("mcp-protocol-version", "2025-11-25");
    challenged("P21", &Page::read(request).await, "invalid_dpop_proof");
    let ended = Page::read(in_session(stage.one(), Method::DELETE)).await;
    assert!(ended.status.is_success(), "P21 {}", ended.text());
}

#[tokio::test]
async fn the_metadata_the_preflight_and_the_challenges_depend_on_the_setting() {
    for (mode, algorithms, required, schemes) in [
        ("off", false, Value::Null, &["Bearer"][..]),
        ("allowed", true, false.into(), &["Bearer", "DPoP"]),
        ("required", true, true.into(), &["DPoP"]),
    ] {
        let cluster = Setup::new(Database::Sqlite).with("DPOP", mode).start().await;
        let web = cluster.web(0);
        let server = web.get("/.well-known/oauth-authorization-server").await.json();
        let resource = web.get("/.well-known/oauth-protected-resource/mcp").await.json();
        let expected = if algorithms {
            json!(["ES256", "PS256", "RS256", "EdDSA", "Ed25519"])
        } else {
            Value::Null
        };
        for document in [&server, &resource] {
            assert_eq!(document["dpop_signing_alg_values_supported"], expected, "{mode}");
        }
        assert_eq!(resource["dpop_bound_access_tokens_required"], required, "{mode}");
        let page = ping(web, &[], &[]).await;
        let challenges: Vec<&str> = page
            .headers
            .get_all("www-authenticate")
            .iter()
            .map(|it| it.to_str().expect("ASCII").split(' ').next().expect("a scheme"))
            .collect();
        assert_eq!(challenges, schemes, "{mode}");
        for path in ["/mcp", "/token"] {
            let request = web
                .request(Method::OPTIONS, path)
                .header("origin", web.origin())
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization, dpop");
            let page = Page::read(request).await;
            assert_eq!(page.header("access-control-allow-headers"), "authorization, dpop");
            let exposed = page.header("access-control-expose-headers");
            assert!(exposed.contains("WWW-Authenticate") && exposed.contains("DPoP-Nonce"));
        }
    }
}

#[tokio::test]
async fn users_and_operators_see_which_access_is_bound_to_a_key() {
    let stage = stage("allowed").await;
    let key = DpopKey::generate();
    let browser = stage.browser();
    let client_app = stage.client_app().await;
    let tokens = client_app.connect(&browser).await;
    assert!(!browser.account().await.text().contains("bound to a key"));
    stage.pass(1);
    let code = client_app.code(&browser).await;
    stage.redeem(&code, &key).await;
    assert_eq!(browser.get("/account").await.text().matches("bound to a key").count(), 1);
    let security = browser.get("/account/security").await.text();
    assert_eq!(security.matches("bound to a key").count(), 1, "{security}");
    let filter = oauth::listing::AuditFilter {
        event: Some("token_issued".to_owned()),
        ..Default::default()
    };
    let entries = oauth::listing::audit(stage.cluster.app().oauth(), filter, 10).await.unwrap();
    let details: Vec<_> = entries.into_iter().map(|entry| entry.detail.unwrap()).collect();
    assert_eq!(details[0], format!("items:read items:write, bound to key {}", key.thumbprint()));
    assert_eq!(details[1], "items:read items:write");

    // The app that was connected without a key gets one.
    stage.refresh(&client_app, &text(&tokens, "refresh_token"), &key).await;
    assert_eq!(browser.get("/account").await.text().matches("bound to a key").count(), 2);
    let security = browser.get("/account/security").await.text();
    assert_eq!(security.matches("was bound to a key").count(), 1, "{security}");
}

#[tokio::test]
async fn missing_scopes_are_challenged_with_the_scheme_of_the_request() {
    let stage = stage("allowed").await;
    let key = DpopKey::generate();
    let client_app = stage.client_app().await;
    let asked = client_app.asks().with("scope", "items:read");
    let code = client_app.received(&asked, &stage.browser().sign_in(&asked).await);
    let token = text(&stage.redeem(&code, &key).await, "access_token");
    let signed = key.sign(&stage.mcp_proof(&key, &token));
    let item = json!({ "title": "a", "body": "b" });
    let scheme = format!("DPoP {token}");
    let page = modern(stage.other(), &scheme, &[&signed], "items_create", item).await;
    assert_eq!(page.status, 403, "{}", page.text());
    let challenge = page.header("www-authenticate");
    assert!(challenge.starts_with(r#"DPoP error="insufficient_scope""#), "{challenge}");
}
