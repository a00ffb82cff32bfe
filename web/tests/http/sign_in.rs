//! The complete authorization of a client that knows only the URL, and its pages.

use reqwest::{Client, RequestBuilder, Response, StatusCode, header, redirect::Policy};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::server::Server;

const REDIRECT_URI: &str = "http://127.0.0.1:53111/callback";

/// The example pair of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A browser that keeps cookies but does not follow redirects, so that tests can inspect them.
struct Browser<'a> {
    server: &'a Server,
    client: Client,
    cookies: Vec<(String, String)>,
}

impl<'a> Browser<'a> {
    fn new(server: &'a Server) -> Self {
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { server, client, cookies: Vec::new() }
    }

    async fn get(&mut self, path: &str) -> Response {
        let request = self.client.get(self.address(path));
        self.send(request).await
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        let request = self
            .client
            .post(self.address(path))
            .header("sec-fetch-site", "same-origin")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form(fields));
        self.send(request).await
    }

    fn address(&self, path: &str) -> String {
        if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.server.url)
        }
    }

    async fn send(&mut self, request: RequestBuilder) -> Response {
        let cookies = self.cookies.iter().map(|(name, value)| format!("{name}={value}"));
        let cookies = cookies.collect::<Vec<_>>().join("; ");
        let response = request.header(header::COOKIE, cookies).send().await.unwrap();
        for value in response.headers().get_all(header::SET_COOKIE) {
            let value = value.to_str().unwrap();
            assert!(value.contains("; HttpOnly; SameSite=Lax"), "{value}");
            let (name, value) = value.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(other, _)| other != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        response
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn location(response: &Response) -> String {
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    response.headers()["location"].to_str().unwrap().to_owned()
}

/// The value of a hidden field in a form.
fn hidden(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

async fn register(server: &Server) -> String {
    let registered = server
        .request("POST", "/register")
        .header(header::CONTENT_TYPE, "application/json")
        .body(
            json!({"client_name": "A <b>client</b>", "redirect_uris": [REDIRECT_URI]}).to_string(),
        )
        .send()
        .await
        .unwrap();
    assert_eq!(registered.status(), StatusCode::CREATED);
    assert_eq!(registered.headers()["cache-control"], "no-store");
    let registered: Value = registered.json().await.unwrap();
    assert_eq!(registered["token_endpoint_auth_method"], "none");
    registered["client_id"].as_str().unwrap().to_owned()
}

fn authorize(server: &Server, client: &str) -> String {
    let query = form(&[
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", REDIRECT_URI),
        ("scope", "items:read items:write"),
        ("state", "a state"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("resource", &format!("{}/mcp", server.url)),
    ]);
    format!("/authorize?{query}")
}

async fn token(server: &Server, fields: &[(&str, &str)]) -> (StatusCode, Value) {
    let answer = server
        .request("POST", "/token")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ORIGIN, "https://app.example")
        .body(form(fields))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.headers()["pragma"], "no-cache");
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    (answer.status(), answer.json().await.unwrap())
}

/// Approves and signs in; returns the redirect to the client.
async fn approve(browser: &mut Browser<'_>, client: &str) -> Url {
    let begun = browser.get(&authorize(browser.server, client)).await;
    let consent = browser.get(&location(&begun)).await;
    assert_eq!(consent.status(), StatusCode::OK);
    let page = consent.text().await.unwrap();
    let fields = [
        ("txn", &*hidden(&page, "txn")),
        ("csrf", &hidden(&page, "csrf")),
        ("decision", "approve"),
    ];
    let approved = browser.post("/consent", &fields).await;
    let sign_in = browser.get(&location(&approved)).await;
    assert_eq!(sign_in.status(), StatusCode::OK);
    let state = hidden(&sign_in.text().await.unwrap(), "state");
    let refused = browser.post("/sign-in", &[("state", &state), ("name", "a b")]).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let signed_in = browser.post("/sign-in", &[("state", &state), ("name", "Ada")]).await;
    assert_eq!(browser.cookies, [], "a finished sign-in leaves no cookies");
    location(&signed_in).parse().unwrap()
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    let mut found = url.query_pairs().filter(|(other, _)| other == name);
    let (_, value) = found.next()?;
    assert!(found.next().is_none(), "{name} occurs twice in {url}");
    Some(value.into_owned())
}

#[tokio::test]
async fn a_client_that_knows_only_the_url_authorizes_refreshes_and_revokes() {
    let server = Server::start().await;

    // 401 → metadata.
    let refused = server.request("POST", "/mcp").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let metadata = server.request("GET", "/.well-known/oauth-authorization-server");
    let metadata: Value = metadata.send().await.unwrap().json().await.unwrap();
    assert_eq!(metadata["issuer"], *server.url);
    for (endpoint, path) in [
        ("authorization_endpoint", "/authorize"),
        ("token_endpoint", "/token"),
        ("registration_endpoint", "/register"),
        ("revocation_endpoint", "/revoke"),
        ("jwks_uri", "/.well-known/jwks.json"),
    ] {
        assert_eq!(metadata[endpoint], format!("{}{path}", server.url));
    }

    // Registration → browser → consent → sign-in → code.
    let client = register(&server).await;
    let mut browser = Browser::new(&server);
    let answer = approve(&mut browser, &client).await;
    assert!(answer.as_str().starts_with(REDIRECT_URI), "{answer}");
    assert_eq!(parameter(&answer, "state").as_deref(), Some("a state"));
    assert_eq!(parameter(&answer, "iss"), Some(server.url.clone()));
    let code = parameter(&answer, "code").unwrap();

    // Code → tokens.
    let exchange = [
        ("grant_type", "authorization_code"),
        ("client_id", &client),
        ("code", &code),
        ("code_verifier", VERIFIER),
        ("redirect_uri", REDIRECT_URI),
    ];
    let (status, tokens) = token(&server, &exchange).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["scope"], "items:read items:write");
    let access = tokens["access_token"].as_str().unwrap();

    // Tokens → tools.
    let arguments = json!({"title": "t", "body": "b"});
    let created = server.call(access, "items_create", &arguments);
    assert_eq!(created.send().await.unwrap().status(), StatusCode::OK);

    // A code cannot be redeemed twice.
    let (status, again) = token(&server, &exchange).await;
    assert_eq!((status, &again["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));

    // Refresh.
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let renew =
        [("grant_type", "refresh_token"), ("client_id", &*client), ("refresh_token", refresh)];
    let (status, renewed) = token(&server, &renew).await;
    assert_eq!(status, StatusCode::OK, "{renewed}");
    assert_ne!(renewed["refresh_token"], tokens["refresh_token"]);
    let access = renewed["access_token"].as_str().unwrap();
    let search = || server.call(access, "items_list", &json!({}));
    assert_eq!(search().send().await.unwrap().status(), StatusCode::OK);

    // Revocation ends both.
    let revoked = server
        .request("POST", "/revoke")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form(&[("client_id", &client), ("token", access)]))
        .send()
        .await
        .unwrap();
    assert_eq!(revoked.status(), StatusCode::OK);
    assert_eq!(search().send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let newest = renewed["refresh_token"].as_str().unwrap();
    let renew = [renew[0], renew[1], ("refresh_token", newest)];
    let (status, dead) = token(&server, &renew).await;
    assert_eq!((status, &dead["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
}

#[tokio::test]
async fn only_the_browser_of_the_request_can_decide_and_may_deny() {
    let server = Server::start().await;
    let client = register(&server).await;
    let mut browser = Browser::new(&server);
    let begun = browser.get(&authorize(&server, &client)).await;
    let address = location(&begun);

    let page = browser.get(&address).await;
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(page.headers()[name], value);
    }
    let opener = page.headers().get("cross-origin-opener-policy");
    assert_eq!(opener, None, "a client in a web page waits for its window to be closed");
    let page = page.text().await.unwrap();
    assert!(!page.contains("<b>client"), "texts of a client are escaped");
    assert!(page.contains("this computer"), "the destination of the code is shown");
    let again = browser.get(&address).await.text().await.unwrap();
    assert_eq!(hidden(&page, "csrf"), hidden(&again, "csrf"), "a reload changes nothing");

    // Another browser, and a page of another site, cannot decide.
    let fields = [
        ("txn", hidden(&page, "txn")),
        ("csrf", hidden(&page, "csrf")),
        ("decision", "deny".to_owned()),
    ];
    let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut stranger = Browser::new(&server);
    assert_eq!(stranger.get(&address).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(stranger.post("/consent", &fields).await.status(), StatusCode::FORBIDDEN);
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("origin", "null"),
        ("origin", "https://evil.example"),
        ("x-nothing", "x"),
    ] {
        let forged = browser
            .client
            .post(browser.address("/consent"))
            .header(name, value)
            .body(form(&fields));
        let forged = browser.send(forged).await;
        assert_eq!(forged.status(), StatusCode::FORBIDDEN, "{name}: {value}");
        assert!(forged.text().await.unwrap().contains("Request id"));
    }

    let denied = browser.post("/consent", &fields).await;
    let denied: Url = location(&denied).parse().unwrap();
    assert_eq!(parameter(&denied, "error").as_deref(), Some("access_denied"));
    assert_eq!(parameter(&denied, "state").as_deref(), Some("a state"));
    assert_eq!(browser.get(&address).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_request_of_an_unknown_client_ends_on_a_page() {
    let server = Server::start().await;
    let mut browser = Browser::new(&server);
    let client = register(&server).await;
    let good = authorize(&server, &client);
    for bad in [
        "/authorize".to_owned(),
        authorize(&server, "mcl_unknown"),
        format!("{good}&client_id={client}"),
        good.replace("callback", "elsewhere"),
    ] {
        let answer = browser.get(&bad).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{bad}");
        assert!(!answer.headers().contains_key("location"), "{bad}");
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
        let page = answer.text().await.unwrap();
        assert!(page.contains("What to do") && page.contains("Request id"), "{page}");
    }
    let posted = browser.post(&good, &[]).await;
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(posted.headers()["allow"], "GET, HEAD");
    let ahead = browser.client.get(browser.address(&good)).header("sec-purpose", "prefetch");
    assert_eq!(browser.send(ahead).await.status(), StatusCode::TOO_EARLY);
    assert_eq!(browser.cookies, []);
}

#[tokio::test]
async fn the_account_page_disconnects_apps_and_deletes_the_account() {
    let server = Server::start().await;
    let client = register(&server).await;
    let mut browser = Browser::new(&server);
    let answer = approve(&mut browser, &client).await;
    let code = parameter(&answer, "code").unwrap();
    let exchange = [
        ("grant_type", "authorization_code"),
        ("client_id", &client),
        ("code", &code),
        ("code_verifier", VERIFIER),
    ];
    let (_, tokens) = token(&server, &exchange).await;
    let access = tokens["access_token"].as_str().unwrap();

    let out = browser.get("/account").await.text().await.unwrap();
    assert!(out.contains("Sign in") && !out.contains("Disconnect<"), "{out}");
    let begun = browser.post("/account", &[("action", "sign_in")]).await;
    let page = browser.get(&location(&begun)).await.text().await.unwrap();
    let state = hidden(&page, "state");
    let signed_in = browser.post("/sign-in", &[("state", &state), ("name", "ada")]).await;
    assert_eq!(location(&signed_in), "/account");

    let page = browser.get("/account").await.text().await.unwrap();
    assert!(page.contains("A &#60;b&#62;client"), "{page}");
    let (csrf, grant) = (hidden(&page, "csrf"), hidden(&page, "grant"));
    let action = |action| [("csrf", &*csrf), ("grant", &*grant), ("action", action)];
    let forged = [("csrf", "x"), ("grant", &*grant), ("action", "disconnect")];
    assert_eq!(browser.post("/account", &forged).await.status(), StatusCode::FORBIDDEN);
    let list = || server.call(access, "items_list", &json!({}));
    assert_eq!(list().send().await.unwrap().status(), StatusCode::OK);
    let done = browser.post("/account", &action("disconnect")).await;
    let page = browser.get(&location(&done)).await.text().await.unwrap();
    assert!(page.contains("No app is connected"), "{page}");
    assert_eq!(list().send().await.unwrap().status(), StatusCode::UNAUTHORIZED);

    let asked = browser.get("/account/delete").await.text().await.unwrap();
    assert!(asked.contains("Type ada to confirm"), "{asked}");
    let delete = |name| [("csrf", &*csrf), ("action", "delete"), ("confirm", name)];
    let refused = browser.post("/account", &delete("bob")).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let deleted = browser.post("/account", &delete("ada")).await;
    assert_eq!(browser.cookies, []);
    let page = browser.get(&location(&deleted)).await.text().await.unwrap();
    assert!(page.contains("deleted"), "{page}");
}
