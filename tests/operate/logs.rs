//! The log: what stands in it, and what never does. Real processes, so that it is the log that an
//! operator would read, with every library as talkative as it can be.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};
use tests::{
    browser::{Browser, ClientApp, form, post, register},
    client::{Page, Web},
    eventually,
    github::{self, GitHub},
    postgres,
    processes::{Fleet, Kind, Plan, Program},
    schema::Revision,
};

/// Everything, also what `LOG=trace` leaves out.
const LOUDEST: &str = "trace,sqlx=trace,sea_orm=trace,sea_orm_migration=trace,mcp::traced=trace";

const SIGNING_SECRET: &str = "the-signing-secret-of-a-fleet-that-logs-all";
const DATA_KEY: &str = "the-data-key-of-a-fleet-that-logs-everything";
const DATABASE_PASSWORD: &str = "the-password-of-the-database";
const BODY: &str = "Wotan sings of the spear";
const TITLE: &str = "Walkuere, second act";
const WORD: &str = "spearshaft";

/// The lines of a log that are JSON; the others are for whoever started the program.
fn lines(program: &Program) -> Vec<Value> {
    let log = program.log();
    let lines = log.lines().filter(|it| it.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The line of a request, once it is there.
async fn line_of(program: &Program, request: &str) -> Value {
    eventually(&format!("the line of {request}"), async || {
        lines(program)
            .into_iter()
            .find(|it| it["span"]["request_id"] == request && it.get("route").is_some())
    })
    .await
}

/// What must not be in any log.
#[derive(Default)]
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn add(&mut self, what: &'static str, secret: impl Into<String>) {
        let secret = secret.into();
        assert!(secret.len() >= 8, "{what} is so short that it proves nothing: {secret:?}");
        self.0.push((what, secret));
    }

    fn add_tokens(&mut self, tokens: &Value) {
        for what in ["access_token", "refresh_token"] {
            self.add(what, tokens[what].as_str().unwrap());
        }
    }

    /// Whether a log is free of them, as they are and as they look in an address.
    fn are_not_in(&self, log: &str) {
        for (what, secret) in &self.0 {
            let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            for text in [secret, &encoded] {
                if let Some(line) = log.lines().find(|it| it.contains(text.as_str())) {
                    panic!("{what} is in the log: {line}");
                }
            }
        }
    }
}

#[tokio::test]
async fn no_secret_and_no_note_is_in_a_log_whatever_people_do() {
    let github = GitHub::start().await;
    let database = postgres::fresh_database(&notes::product()).await;
    let database = database.replacen("postgres@", &format!("postgres:{DATABASE_PASSWORD}@"), 1);
    let mut fleet = Plan::new(Kind::Product(notes::product))
        .instances(2)
        .workers(1)
        .with_github(&github)
        .with("DATABASE_URL", database)
        .with("JWT_SIGNING_SECRET", SIGNING_SECRET)
        .with("DATA_KEYS", DATA_KEY)
        .with("METRICS_TOKEN", "the-token-for-metrics-of-a-fleet-that-logs")
        .with("LOG", LOUDEST)
        .start()
        .await;
    let mut secrets = Secrets::default();
    secrets.add("the signing secret", SIGNING_SECRET);
    secrets.add("a data key", DATA_KEY);
    secrets.add("the password of the database", DATABASE_PASSWORD);
    secrets.add("the token for metrics", "the-token-for-metrics-of-a-fleet-that-logs");
    secrets.add("the secret of our app at GitHub", github::CLIENT_SECRET);
    secrets.add("an e-mail", github::EMAIL);
    for (what, text) in [("a body", BODY), ("a title", TITLE), ("a word that is searched", WORD)] {
        secrets.add(what, text);
    }

    let browser = Browser::of(fleet.origin(), fleet.web(0));
    let tokens = sign_in(&fleet, &browser, &mut secrets).await;
    let access = tokens["access_token"].as_str().unwrap().to_owned();
    modern(fleet.web(0), &access, &mut secrets).await;
    legacy(&fleet, &access, &mut secrets).await;
    trouble(fleet.web(1), &access, &mut secrets).await;
    account(&browser, &mut secrets).await;

    for secret in github.secrets() {
        secrets.add("a code or token of GitHub", secret);
    }
    for cookie in browser.secrets() {
        secrets.add("a cookie", cookie);
    }
    let mut libraries_log = false;
    let mut changed = BTreeSet::new();
    for index in 0..2 {
        fleet.drain(index).await;
        let log = fleet.instance(index).log();
        libraries_log |= log.contains(r#""target":"hyper"#);
        secrets.are_not_in(&log);
        changed.extend(changes(&lines(fleet.instance(index))));
    }
    assert!(libraries_log, "the log holds lines of libraries, too");
    let worker = fleet.worker(0);
    assert!(!lines(worker).is_empty());
    secrets.are_not_in(&worker.log());
    changed.extend(changes(&lines(worker)));
    let tools = ["notes_create", "notes_delete", "notes_import", "notes_update"];
    assert_eq!(changed, tools.map(str::to_owned).into(), "every change is audited");
}

/// The tools that have changed notes, according to the audit lines.
fn changes(lines: &[Value]) -> BTreeSet<String> {
    let audited = lines.iter().filter(|line| line["audit"] == "data_changed");
    let tool = |line: &Value| {
        for field in ["user", "client", "changed"] {
            assert!(line[field].is_string(), "{field}: {line}");
        }
        line["tool"].as_str().expect("a change is made by a tool").to_owned()
    };
    audited.map(tool).collect()
}

/// Everything that `/register`, `/authorize`, `/consent`, the way back from GitHub, `/token` and
/// `/revoke` do.
async fn sign_in(fleet: &Fleet, browser: &Browser, secrets: &mut Secrets) -> Value {
    let (one, other) = (fleet.web(0), fleet.web(1));
    let app = ClientApp::register(one).await;
    let confidential = json!({
        "redirect_uris": ["https://app.example/callback"],
        "token_endpoint_auth_method": "client_secret_post",
    });
    let page = register(one, confidential.to_string()).await;
    secrets.add("a client's secret", page.json()["client_secret"].as_str().unwrap());

    let asked = app.asks();
    secrets.add("a verifier", asked.verifier.clone());
    secrets.add("a state", asked.state.clone());
    let consent = browser.to_consent(&asked).await;
    for (_, value) in consent.fields.iter().filter(|(_, value)| value.len() > 20) {
        secrets.add("a field of the page of consent", value.clone());
    }
    let address = browser.approve(&consent).await;
    for cookie in browser.secrets() {
        secrets.add("a cookie of a step", cookie);
    }
    let callback = browser.at_github(&address).await;
    let page = browser.get(&callback).await;
    let code = asked.code(&page);
    secrets.add("a code", code.clone());
    let code = tests::browser::Code { code, verifier: asked.verifier, client_app: app.clone() };
    let tokens = code.redeem(one).await.json();
    secrets.add_tokens(&tokens);
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let refreshed = app.refresh(other, refresh).await;
    assert_eq!(refreshed.status, 200, "{}", refreshed.text());
    secrets.add_tokens(&refreshed.json());

    // Another grant, which ends badly in every way.
    let second = app.code(browser).await;
    secrets.add("a second code", second.code.clone());
    let given = second.redeem(other).await.json();
    secrets.add_tokens(&given);
    assert_eq!(second.redeem(one).await.status, 400, "a code is good for once");
    let third = app.connect(browser).await;
    secrets.add_tokens(&third);
    let access = third["access_token"].as_str().unwrap();
    assert_eq!(app.revoke(other, access).await.status, 200);
    app.refresh(one, third["refresh_token"].as_str().unwrap()).await;
    refreshed.json()
}

/// Notes, resources, prompts, jobs and files, by a modern client.
async fn modern(web: &Web, token: &str, secrets: &mut Secrets) {
    let client = web.modern(token).with_capabilities(json!({}));
    let note = json!({ "title": TITLE, "body": BODY, "tags": [] });
    let made = client.tool("notes_create", note).await;
    let id = made.output()["id"].clone();
    client.tool("notes_update", json!({ "id": id, "body": format!("{BODY} again") })).await;
    client.tool("notes_search", json!({ "query": WORD })).await.output();
    client.tool("notes_list", json!({})).await.output();
    client.call("resources/list", json!({})).await.result();
    let uri = format!("notes://by-id/{}", id.as_str().unwrap());
    client.call("resources/read", json!({ "uri": uri })).await;
    client.call("prompts/list", json!({})).await.result();

    let text = json!([{ "title": format!("{TITLE} 2"), "body": format!("{BODY} at length") }]);
    let import = json!({ "text": text.to_string() });
    client.tool("notes_import", import).await.output();
    let exported = client.tool("notes_export", json!({})).await;
    let url = exported.output()["download_url"].as_str().unwrap().to_owned();
    let (_, file) = url.rsplit_once('/').unwrap();
    secrets.add("the address of a file", file);
    assert_eq!(web.get(&format!("/exports/{file}")).await.status, 200);
    client.tool("jobs_list", json!({})).await.output();

    // A question, whose state comes back sealed.
    let asking = web.modern(token);
    let asked = asking.tool("notes_delete", json!({ "id": id })).await;
    let state = asked.result()["requestState"].as_str().unwrap().to_owned();
    secrets.add("a sealed state", state.clone());
    let answer = json!({
        "name": "notes_delete", "arguments": { "id": id }, "requestState": state,
        "inputResponses": { "confirm": { "action": "accept", "content": { "confirm": true } } },
    });
    asking.call("tools/call", answer).await.result();
}

/// The same by a session.
async fn legacy(fleet: &Fleet, token: &str, secrets: &mut Secrets) {
    let client = fleet.web(0).legacy(token, Revision::November2025).await;
    secrets.add("a session", client.session());
    let elsewhere = client.at(fleet.web(1));
    let note = json!({ "title": TITLE, "body": BODY, "tags": [] });
    let id = elsewhere.tool("notes_create", note).await.output()["id"].clone();
    let mut stream = client
        .open("tools/call", json!({ "name": "notes_delete", "arguments": { "id": id } }))
        .await;
    let question = stream.message().await;
    let answer = json!({ "action": "accept", "content": { "confirm": true } });
    elsewhere.respond(&question, answer).await;
    while stream.next().await.is_some() {}
    client.end().await;
}

/// What clients and strangers do wrong.
async fn trouble(web: &Web, token: &str, secrets: &mut Secrets) {
    let forged = format!("{}{}", &token[..token.len() - 8], "AAAAAAAA");
    secrets.add("a forged token", forged.clone());
    assert_eq!(Page::read(web.post(&forged, "{}")).await.status, 401);
    let garbage = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{BODY}\",\"params\":{{");
    Page::read(web.post(token, garbage)).await;
    let client = web.modern(token);
    let wrong = json!({ "title": [TITLE], "body": { BODY: 1 }, BODY: TITLE });
    let call = json!({ "name": "notes_create", "arguments": wrong });
    let body = client.body("tools/call", call);
    Page::read(
        web.post(token, body.to_string())
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "notes_create"),
    )
    .await;
    let guessed = "a-refresh-token-that-somebody-guessed";
    secrets.add("a guessed token", guessed);
    for endpoint in ["/token", "/revoke"] {
        let fields = [("grant_type", "refresh_token"), ("client_id", "nobody")];
        let mut fields = tests::browser::owned(&fields);
        fields.push(("refresh_token".to_owned(), guessed.to_owned()));
        fields.push(("token".to_owned(), guessed.to_owned()));
        post(web, endpoint, &fields).await;
    }
    let address = format!("/oauth/github/callback?code={guessed}&state={guessed}");
    assert!(web.get(&address).await.status.is_client_error());
    assert_eq!(web.get(&format!("/exports/{guessed}")).await.status, 404);
    assert_eq!(web.get(&format!("/{guessed}?q={guessed}")).await.status, 404);
    let metrics = web.request(Method::GET, "/metrics").bearer_auth(guessed);
    assert_eq!(Page::read(metrics).await.status, 404);
}

/// The page on which people see and take back what they gave.
async fn account(browser: &Browser, secrets: &mut Secrets) {
    let page = browser.account().await;
    let form = form(&page);
    let (_, csrf) = form.fields.iter().find(|(name, _)| name == "csrf").expect("it has one");
    secrets.add("a field of the account page", csrf.clone());
    for cookie in browser.secrets() {
        secrets.add("a cookie", cookie);
    }
}

#[tokio::test]
async fn the_line_of_a_request_says_who_did_what_and_how_it_went() {
    let github = GitHub::start().await;
    let plan = Plan::new(Kind::Product(notes::product)).instances(1).with_github(&github);
    let mut fleet = plan.start().await;
    let browser = Browser::of(fleet.origin(), fleet.web(0));
    let app = ClientApp::register(fleet.web(0)).await;
    let tokens = app.connect(&browser).await;
    let token = tokens["access_token"].as_str().unwrap();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");

    let client = fleet
        .web(0)
        .modern(token)
        .with_header("x-request-id", "one-of-mine")
        .with_header("traceparent", &traceparent);
    client.tool("notes_list", json!({})).await.output();
    let line = line_of(fleet.instance(0), "one-of-mine").await;
    assert_eq!(line["span"]["trace_id"], trace, "{line}");
    let expected = json!({
        "level": "INFO", "method": "POST", "route": "/mcp", "status": 200, "outcome": "ok",
        "user": "github:583231", "client": app.id, "era": "modern", "mcp_method": "tools/call",
        "mcp_name": "notes_list",
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&line[field], value, "{field} of {line}");
    }
    assert!(line["duration_ms"].is_u64() && line["timestamp"].is_string(), "{line}");
    let message = line["message"].as_str().unwrap();
    assert!(message.starts_with("POST /mcp tools/call notes_list answered 200 in "), "{message}");
    let span: Vec<_> = line["span"].as_object().unwrap().keys().collect();
    assert_eq!(span, ["name", "request_id", "trace_id"], "what a trace wants is not in the log");

    // A session is recognised, and not given away.
    let session = fleet.web(0).legacy(token, Revision::November2025).await;
    let request =
        session.body("tools/call", json!({ "name": "notes_get", "arguments": { "id": "none" } }));
    let page = Page::read(
        fleet
            .web(0)
            .post(token, request.to_string())
            .header("mcp-session-id", session.session())
            .header("mcp-protocol-version", "2025-11-25")
            .header("x-request-id", "in-a-session"),
    )
    .await;
    assert_eq!(page.header("x-request-id"), "in-a-session");
    let line = line_of(fleet.instance(0), "in-a-session").await;
    assert_eq!(
        (&line["era"], &line["outcome"]),
        (&json!("legacy"), &json!("tool_error")),
        "{line}"
    );
    let hashed = line["session"].as_str().unwrap();
    assert!(hashed.len() >= 8 && !session.session().contains(hashed), "{line}");

    // What is malformed is replaced, and answered as what it became.
    let request = fleet.web(0).request(Method::GET, "/account?from=somewhere");
    let page = Page::read(request.header("x-request-id", "not/one")).await;
    let replaced = page.header("x-request-id");
    assert_ne!(replaced, "not/one");
    let line = line_of(fleet.instance(0), replaced).await;
    assert_eq!(line["route"], "/account", "{line}");
    assert!(!line.to_string().contains("somewhere"), "{line}");
    fleet.drain(0).await;
}

#[tokio::test]
async fn each_line_of_a_sign_in_says_which_client_and_who_as_soon_as_that_is_known() {
    let github = GitHub::start().await;
    let mut fleet =
        Plan::new(Kind::Product(notes::product)).instances(1).with_github(&github).start().await;
    let web = fleet.web(0).clone();
    let browser = Browser::of(fleet.origin(), &web);
    let app = ClientApp::register(&web).await;
    let tokens = app.connect(&browser).await;
    let refreshed = app.refresh(&web, tokens["refresh_token"].as_str().unwrap()).await;
    let refresh = refreshed.json()["refresh_token"].as_str().unwrap().to_owned();
    let mut disconnect = form(&browser.account().await);
    disconnect.fields.push(("action".to_owned(), "disconnect".to_owned()));
    assert_eq!(browser.submit(&disconnect, "").await.status, 303);
    assert_eq!(app.refresh(&web, &refresh).await.status, 400, "it was disconnected");
    assert_eq!(app.revoke(&web, &refresh).await.status, 200);
    assert_eq!(app.refresh(&web, "nothing of ours").await.status, 400);

    // Whoever proves nothing: an id shows who they say they are, and anything else is not repeated.
    let claimed = "https://app.example.com/client.json";
    let guess = "my-password-by-mistake";
    for id in [claimed, guess] {
        let app = ClientApp { id: id.to_owned(), ..app.clone() };
        assert_eq!(app.refresh(&web, &refresh).await.status, 401);
    }
    let asked = app.asks().with("client_id", guess);
    assert_eq!(browser.get(&asked.path()).await.status, 400);

    fleet.drain(0).await;
    let (app, ada) = (Some(&*app.id), Some("github:583231"));
    let expected = [
        ("POST", "/register", 201, app, None),
        ("GET", "/authorize", 303, app, None),
        ("GET", "/consent", 200, app, None),
        ("POST", "/consent", 303, app, None),
        ("GET", "/oauth/github/callback", 303, app, ada),
        ("POST", "/token", 200, app, ada),
        ("POST", "/token", 200, app, ada),
        ("POST", "/account", 303, None, None),
        ("GET", "/oauth/github/callback", 303, None, ada),
        ("GET", "/account", 200, None, ada),
        ("POST", "/account", 303, app, ada),
        ("POST", "/token", 400, app, ada),
        ("POST", "/revoke", 200, app, ada),
        ("POST", "/token", 400, app, None),
        ("POST", "/token", 401, Some(claimed), None),
        ("POST", "/token", 401, None, None),
        ("GET", "/authorize", 400, None, None),
    ];
    let lines = lines(fleet.instance(0));
    let lines = lines.iter().filter_map(|line| {
        let text = |name: &str| line.get(name).map(|it| it.as_str().unwrap());
        let route = text("route").filter(|it| !["/healthz", "/livez"].contains(it))?;
        let status = line["status"].as_u64().unwrap();
        Some((text("method").unwrap(), route, status, text("client"), text("user")))
    });
    assert_eq!(lines.collect::<Vec<_>>(), expected);
    assert!(!fleet.instance(0).log().contains(guess));
}

#[tokio::test]
async fn good_answers_to_probes_are_in_the_log_now_and_then() {
    let mut fleet = Plan::new(Kind::Product(notes::product)).instances(1).start().await;
    for _ in 0..20 {
        assert_eq!(fleet.web(0).get("/healthz").await.status, 200);
    }
    fleet.web(0).get("/no-probe").await;
    fleet.drain(0).await;
    let lines = lines(fleet.instance(0));
    let of = |route: &str| lines.iter().filter(|it| it["route"] == route).count();
    let minutes = 3; // how long this test may take on a busy machine
    assert!((1..=minutes).contains(&of("/healthz")), "{} lines", of("/healthz"));
    assert!((1..=minutes).contains(&of("/livez")), "{} lines", of("/livez"));
    assert_eq!(of("none"), 1, "everything else is there");
}

#[tokio::test]
async fn a_panic_is_in_the_log_with_its_back_trace_and_the_client_learns_nothing() {
    let mut fleet = Plan::new(Kind::Fixtures).instances(1).start().await;
    let token = fleet.token("ada").await;
    let client = fleet.web(0).modern(&token);
    let body = client.body("tools/call", json!({ "name": "test_panic", "arguments": {} }));
    let page = Page::read(
        fleet
            .web(0)
            .post(&token, body.to_string())
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "test_panic")
            .header("x-request-id", "the-one-that-panics"),
    )
    .await;
    assert_eq!(page.status, 200, "a tool that panics has failed");
    assert!(!page.text().contains("the fixture panics"), "{}", page.text());
    assert_eq!(page.header("x-request-id"), "the-one-that-panics");

    let line = line_of(fleet.instance(0), "the-one-that-panics").await;
    assert_eq!(line["outcome"], "failed", "{line}");
    let lines = lines(fleet.instance(0));
    let panic =
        lines.iter().find(|it| it.get("backtrace").is_some()).expect("the panic is in the log");
    assert_eq!(panic["span"]["request_id"], "the-one-that-panics", "{panic}");
    assert_eq!(panic["message"], "Panic: the fixture panics");
    assert!(panic["location"].as_str().unwrap().contains("fixtures"), "{panic}");
    let way = panic["backtrace"].as_str().unwrap();
    assert!(way.contains("Panic") && way.lines().count() > 10, "{way}");

    // Others notice nothing.
    let call = client.tool("test_simple_text", json!({})).await;
    assert_eq!(call.result()["content"][0]["type"], "text");
    fleet.drain(0).await;
}
