//! `/authorize`: N01 to N42.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    browser::{Asked, ClientApp, form, visitor},
    client::{Page, Web},
    github::Question,
};

use super::{Stage, sent_back, shown};

async fn ask(web: &Web, asked: &Asked) -> Page {
    let request = web.request(Method::GET, &asked.path());
    Page::read(request.header("x-forwarded-for", visitor())).await
}

#[tokio::test]
async fn what_names_no_client_and_target_is_answered_with_a_page() {
    let stage = Stage::new().await;
    let client_app = stage.client_app().await;
    let right = client_app.asks();
    let elsewhere = "https://app.example.com/cb";
    ClientApp::register_with(stage.one(), json!({ "redirect_uris": [elsewhere] })).await;
    let two = [&client_app.redirect_uri, "http://localhost/cb"];
    let two = ClientApp::register_with(stage.one(), json!({ "redirect_uris": two })).await.asks();
    let long = "x".repeat(20_000);
    let cases: Vec<(&str, Asked)> = vec![
        ("N01", right.clone().without("client_id")),
        ("N02 form", right.clone().with("client_id", "mcl_unknown")),
        ("N02 random", right.clone().with("client_id", "who knows")),
        ("N02 long", right.clone().with("client_id", &long)),
        ("N03", right.clone().with("redirect_uri", elsewhere)),
        ("N05", two.clone().without("redirect_uri")),
        ("N05", two.with("redirect_uri", "")),
        ("N11", right.clone().and("client_id", &client_app.id)),
        ("N11", right.clone().and("redirect_uri", &client_app.redirect_uri)),
        ("N38", right.clone().and("x", &long)),
    ];
    for (case, asked) in cases {
        let page = ask(stage.other(), &asked).await;
        shown(case, &page, 400);
        assert!(page.headers.get("set-cookie").is_none(), "{case}");
    }
}

#[tokio::test]
async fn a_target_is_compared_as_it_is_written() {
    let stage = Stage::new().await;
    let local = ClientApp::register_with(
        stage.one(),
        json!({ "redirect_uris": ["http://127.0.0.1:33418/cb", "http://localhost/cb"] }),
    )
    .await;
    let site = ClientApp::register_with(
        stage.one(),
        json!({ "redirect_uris": ["https://good.example.com/cb"] }),
    )
    .await;
    for (case, client_app, target) in [
        ("N04 path", &local, "http://127.0.0.1:33418/other"),
        ("N04 query", &local, "http://127.0.0.1:33418/cb?x=1"),
        ("N04 https", &local, "https://127.0.0.1:33418/cb"),
        ("N04 swap", &local, "http://127.0.0.2:33418/cb"),
        ("N04 suffix", &local, "http://127.0.0.1.evil.com/cb"),
        ("N04 suffix", &local, "http://localhost.evil.com/cb"),
        ("N04 dot", &local, "http://localhost./cb"),
        ("N06 JaVaScRiPt", &local, "JaVaScRiPt:alert(1)"),
        ("N06 data", &local, "data:text/html,x"),
        ("N06 vbscript", &local, "vbscript:x"),
        ("N06 file", &local, "file:///etc/passwd"),
        ("N06 blob", &local, "blob:x"),
        ("N06 about", &local, "about:blank"),
        ("N06 view-source", &local, "view-source:x"),
        ("N07 space", &local, " http://127.0.0.1:33418/cb"),
        ("N07 tab", &local, "\thttp://127.0.0.1:33418/cb"),
        ("N07 line", &local, "http://127.0.0.1:33418/cb\n"),
        ("N07 NUL", &local, "http://127.0.0.1:33418/cb\0"),
        ("N07 control", &local, "\u{1}javascript:x"),
        ("N07 backslash", &site, "https:\\\\good.example.com\\cb"),
        ("N07 one slash", &site, "https:/good.example.com/cb"),
        ("N08 user", &site, "https://good.example.com@evil.example/cb"),
        ("N08 password", &site, "https://good.example.com:pw@evil.example/cb"),
        ("N09 case", &site, "https://Good.example.com/cb"),
        ("N09 slash", &site, "https://good.example.com/cb/"),
        ("N09 port", &site, "https://good.example.com:443/cb"),
        ("N09 encoded", &site, "https://good.example.com%2Fcb"),
        ("N09 encoded", &site, "https://good%2eexample.com/cb"),
        ("N10", &site, "https://good.example.com/cb#frag"),
        ("N10 empty", &site, "https://good.example.com/cb#"),
        ("N13", &site, "https://good.example.com/a/../cb"),
        ("N13 encoded", &site, "https://good.example.com/a/%2e%2e/cb"),
        ("N13 here", &site, "https://good.example.com/./cb"),
        ("N14", &local, "http://example.com/cb"),
        ("N14 network", &local, "http://192.168.1.5/cb"),
        ("N14 any", &local, "http://0.0.0.0/cb"),
        ("N15", &site, "https://*.example.com/cb"),
    ] {
        let page = ask(stage.one(), &client_app.asks().with("redirect_uri", target)).await;
        shown(&format!("{case} {target}"), &page, 400);
    }
}

#[tokio::test]
async fn a_client_is_told_its_mistakes() {
    let stage = Stage::new().await;
    let issuer = stage.one().origin();
    let right = stage.client_app().await.asks();
    let challenge = tests::browser::challenge(&right.verifier);
    let set = |name: &str, value: &str| right.clone().with(name, value);
    let ours = format!("{issuer}/mcp");
    let with_fragment = format!("{ours}#x");
    let with_user = ours.replace("http://", "http://me@");
    let cases: Vec<(&str, Asked, &str)> = vec![
        ("N11", right.clone().and("scope", "items:read"), "invalid_request"),
        ("N11", right.clone().and("code_challenge", &challenge), "invalid_request"),
        ("N11", right.clone().and("response_type", "code"), "invalid_request"),
        ("N16", right.clone().without("response_type"), "invalid_request"),
        ("N17", set("response_type", "token"), "unsupported_response_type"),
        ("N17", set("response_type", "id_token"), "unsupported_response_type"),
        ("N17", set("response_type", "code token"), "unsupported_response_type"),
        ("N17", set("response_type", "none"), "unsupported_response_type"),
        ("N18", set("response_mode", "fragment"), "invalid_request"),
        ("N18", set("response_mode", "form_post"), "invalid_request"),
        ("N18", set("response_mode", "web_message"), "invalid_request"),
        ("N19", set("request", "x.y.z"), "request_not_supported"),
        ("N19", set("request_uri", stage.github.origin()), "request_uri_not_supported"),
        (
            "N20",
            right.clone().without("code_challenge").without("code_challenge_method"),
            "invalid_request",
        ),
        ("N21", right.clone().without("code_challenge_method"), "invalid_request"),
        ("N22", set("code_challenge_method", "plain"), "invalid_request"),
        ("N23", set("code_challenge_method", "s256"), "invalid_request"),
        ("N23", set("code_challenge_method", "S512"), "invalid_request"),
        ("N23", set("code_challenge_method", ""), "invalid_request"),
        ("N23", set("code_challenge_method", "S256 "), "invalid_request"),
        ("N24 42", set("code_challenge", &challenge[..42]), "invalid_request"),
        ("N24 44", set("code_challenge", &format!("{challenge}A")), "invalid_request"),
        ("N24 padded", set("code_challenge", &format!("{}=", &challenge[..42])), "invalid_request"),
        ("N24 plus", set("code_challenge", &format!("+/{}", &challenge[2..])), "invalid_request"),
        ("N24 last", set("code_challenge", &format!("{}B", &challenge[..42])), "invalid_request"),
        ("N25", right.clone().without("code_challenge"), "invalid_request"),
        ("N27", set("scope", "notes:\"read"), "invalid_scope"),
        ("N27", set("scope", "notes:\\read"), "invalid_scope"),
        ("N27", set("scope", "notes:\u{1}read"), "invalid_scope"),
        ("N27", set("scope", "items:read\titems:write"), "invalid_scope"),
        ("N30 host", set("resource", "https://other.example/mcp"), "invalid_target"),
        ("N30 path", set("resource", &format!("{issuer}/other")), "invalid_target"),
        ("N30 scheme", set("resource", &ours.replace("http", "https")), "invalid_target"),
        ("N30 port", set("resource", "http://127.0.0.1:1/mcp"), "invalid_target"),
        ("N31 fragment", set("resource", &with_fragment), "invalid_target"),
        ("N31 relative", set("resource", "/mcp"), "invalid_target"),
        ("N31 user", set("resource", &with_user), "invalid_target"),
        (
            "N32",
            set("resource", &ours).and("resource", "https://other.example/mcp"),
            "invalid_target",
        ),
        ("N34", set("prompt", "none"), "interaction_required"),
    ];
    for (case, asked, error) in cases {
        let page = ask(stage.other(), &asked).await;
        let name = format!("{case} {}", asked.path());
        sent_back(&name, &page, issuer, error, Some(&right.state));
        assert!(page.headers.get("set-cookie").is_none(), "{case}");
    }
    for long in [2_049, 5_000, 10_000] {
        let long = "x".repeat(long);
        let page = ask(stage.one(), &right.clone().with("state", &long)).await;
        sent_back("N29 long", &page, issuer, "invalid_request", Some(&long));
    }
    // A state that could do harm is not given back.
    for (case, asked) in [
        ("N11", right.clone().and("state", "another")),
        ("N29 lines", right.clone().with("state", "a\r\nb")),
    ] {
        let page = ask(stage.one(), &asked).await;
        sent_back(case, &page, issuer, "invalid_request", None);
    }
    assert_eq!(stage.github.asked(Question::Authorize), 0);

    // Nobody vouches for this one, and it would have us send people to a web site.
    let site = json!({ "redirect_uris": ["https://good.example.com/cb"] });
    let site = ClientApp::register_with(stage.one(), site).await;
    let page = ask(stage.one(), &site.asks().with("prompt", "none")).await;
    shown("a link, not a redirect", &page, 400);
    assert!(page.text().contains("good.example.com"));
}

/// What a program gets from a person who checks every box, or none.
async fn granted(stage: &Stage, client_app: &ClientApp, asked: &Asked, check_all: bool) -> Value {
    let browser = stage.browser();
    let form = browser.to_consent(asked).await;
    let form = if check_all { form.check_all() } else { form };
    let callback = browser.at_github(&browser.approve(&form).await).await;
    let code = client_app.received(asked, &browser.get(&callback).await);
    let page = code.redeem(stage.other()).await;
    assert_eq!(page.status, 200, "{}", page.text());
    page.json()["scope"].clone()
}

#[tokio::test]
async fn n28_when_nothing_is_asked_the_person_decides() {
    let stage = Stage::new().await;
    let client_app = stage.client_app().await;
    for scope in [None, Some(""), Some("  "), Some("openid"), Some("admin offline_access")] {
        let asked = || match scope {
            None => client_app.asks().without("scope"),
            Some(scope) => client_app.asks().with("scope", scope),
        };
        assert_eq!(
            granted(&stage, &client_app, &asked(), false).await,
            "items:read",
            "N28 {scope:?}"
        );
        let all = granted(&stage, &client_app, &asked(), true).await;
        assert_eq!(all, "items:read items:write", "N28 {scope:?}");
    }
}

#[tokio::test]
async fn n26_what_is_not_known_is_ignored_and_the_rest_is_granted() {
    let stage = Stage::new().await;
    let (client_app, many) = (stage.client_app().await, "s ".repeat(200));
    for (scope, expected) in [
        ("items:read openid", "items:read"),
        ("admin items:write", "items:write"),
        ("openid profile email items:read items:write offline_access", "items:read items:write"),
        (&format!("{many}items:read"), "items:read"),
    ] {
        let asked = client_app.asks().with("scope", scope);
        // There is nothing to check: the program has said what it needs.
        assert_eq!(granted(&stage, &client_app, &asked, true).await, expected, "N26 {scope:.60}");
    }
    let limited =
        json!({ "redirect_uris": [tests::browser::REDIRECT_URI], "scope": "items:read x" });
    let limited = ClientApp::register_with(stage.one(), limited).await;
    // Its registration is the default, and the user decides about what it asks for beyond that.
    for (asked, expected) in [
        (limited.asks().without("scope"), "items:read"),
        (limited.asks().with("scope", "items:read items:write"), "items:read items:write"),
        (limited.asks().with("scope", "items:write"), "items:write"),
    ] {
        assert_eq!(granted(&stage, &limited, &asked, true).await, expected, "N26");
    }
}

#[tokio::test]
async fn n05_the_only_registered_target_may_be_left_out() {
    let stage = Stage::new().await;
    let client_app = stage.client_app().await;
    for (sent, status) in [
        (None, 200),
        (Some(tests::browser::REDIRECT_URI), 200),
        (Some("http://127.0.0.1:33418/other"), 400),
    ] {
        let asked = client_app.asks().without("redirect_uri");
        let answer = stage.browser().sign_in(&asked).await;
        assert!(answer.header("location").starts_with(tests::browser::REDIRECT_URI), "N05");
        let form = client_app.received(&asked, &answer).form();
        let form = tests::browser::with(&form, "redirect_uri", sent);
        let page = tests::browser::post(stage.other(), "/token", &form).await;
        assert_eq!(page.status, status, "N05 {sent:?}: {}", page.text());
    }
}

#[tokio::test]
async fn a_state_of_2048_characters_comes_back() {
    let stage = Stage::new().await;
    let client_app = stage.client_app().await;
    for (character, denied) in [("s", false), ("{", false), ("&", true), ("ü", true)] {
        let longest = character.repeat(2_048);
        let mut asked = client_app.asks().with("state", &longest);
        asked.state = longest;
        let browser = stage.browser();
        if denied {
            let form = browser.to_consent(&asked).await;
            let page = browser.at(stage.other()).submit(&form, "deny").await;
            let issuer = stage.one().origin();
            sent_back("state", &page, issuer, "access_denied", Some(&asked.state));
        } else {
            asked.code(&browser.sign_in(&asked).await);
        }
    }
}

#[tokio::test]
async fn n35_n36_a_sign_in_begins_by_going_there() {
    let stage = Stage::new().await;
    let path = stage.client_app().await.asks().path();
    let web = stage.one();
    let page = Page::read(web.request(Method::POST, &path)).await;
    assert_eq!(page.status, 405, "N35");
    assert!(page.header("allow").starts_with("GET"), "N35");

    for address in [path.as_str(), "/consent?txn=x", "/oauth/github/callback?state=x&code=y"] {
        for method in [Method::OPTIONS, Method::GET] {
            let request = web
                .request(method, address)
                .header("x-forwarded-for", visitor())
                .header("origin", "https://evil.example")
                .header("access-control-request-method", "GET");
            let page = Page::read(request).await;
            let names = page.headers.keys().map(http::HeaderName::as_str);
            let cors: Vec<_> = names.filter(|it| it.starts_with("access-control")).collect();
            assert_eq!(cors, Vec::<&str>::new(), "N36 {address}");
        }
    }
}

/// What a browser says that asks before the person does.
const AHEAD: [(&str, &str); 4] = [
    ("sec-purpose", "prefetch"),
    ("sec-purpose", "prefetch;prerender"),
    ("purpose", "preview"),
    ("x-moz", "prefetch"),
];

#[tokio::test]
async fn n37_looking_at_a_step_of_a_sign_in_has_no_effect() {
    let stage = Stage::new().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let asked = client_app.asks();
    let form = browser.to_consent(&asked).await;
    let txn = &form.fields.iter().find(|(name, _)| name == "txn").expect("it has one").1;
    let consent = format!("/consent?txn={txn}");
    let callback = browser.to_callback(&client_app.asks()).await;
    let with_effect = [client_app.asks().path(), callback.clone()];
    let without =
        ["/account", "/account/delete", "/", "/docs", "/exports/mex_x", "/sign-in?state=x"];

    for path in with_effect.iter().map(String::as_str).chain(without).chain([&*consent]) {
        let head = browser.read(browser.request(Method::HEAD, path)).await;
        assert!(!head.status.is_server_error() && head.body.is_empty(), "N37 HEAD {path}");
        assert!(head.headers.get("set-cookie").is_none(), "N37 HEAD {path}");

        let options = browser.read(browser.request(Method::OPTIONS, path)).await;
        assert_eq!(options.status, 204, "N37 OPTIONS {path}");
        let allowed = options.header("allow").to_owned();
        assert!(allowed.starts_with("GET, HEAD") && allowed.ends_with("OPTIONS"), "{allowed}");
    }
    for path in &with_effect {
        let head = browser.read(browser.request(Method::HEAD, path)).await;
        assert_eq!((head.status.as_u16(), head.header("location")), (200, ""), "N37 {path}");
        for (name, value) in AHEAD {
            let page = browser.read(browser.request(Method::GET, path).header(name, value)).await;
            shown(&format!("N37 {name}: {value} {path}"), &page, 425);
            assert_eq!(page.header("cache-control"), "no-store", "N37: nobody may keep it");
            assert!(page.headers.get("set-cookie").is_none(), "N37");
        }
    }
    assert_eq!(stage.github.asked(tests::github::Question::Exchange), 0, "N37");
    // Any number of looks leaves a pending sign-in as it is, and a person can begin one.
    let network = visitor();
    for _ in 0..100 {
        let look = stage.one().request(Method::HEAD, &asked.path());
        let look = Page::read(look.header("x-forwarded-for", &network)).await;
        assert_eq!(look.status, 200, "N37: a look takes nothing from a limit");
    }
    let begins = stage.one().request(Method::GET, &asked.path());
    let begun = Page::read(begins.header("x-forwarded-for", &network)).await;
    assert_eq!(begun.status, 303, "N37");
    assert_eq!(browser.get(&callback).await.status, 303, "N37");
    let callback = browser.at_github(&browser.approve(&form).await).await;
    asked.code(&browser.get(&callback).await);
}

#[tokio::test]
async fn n39_a_client_that_was_forgotten_is_unknown() {
    let stage = Stage::new().await;
    let client_app = stage.client_app().await;
    stage.pass(24 * 60 * 60 + 1);
    shown("N39", &ask(stage.one(), &client_app.asks()).await, 400);
}

#[tokio::test]
async fn n41_all_instances_count_together() {
    let stage = Stage::new().await;
    let asked = stage.client_app().await.asks();
    let me = visitor();
    let mut refused = 0;
    for number in 0..40 {
        let web = [stage.one(), stage.other()][number % 2];
        let request = web.request(Method::GET, &asked.path());
        let page = Page::read(request.header("x-forwarded-for", &me)).await;
        if page.status == 429 {
            assert_ne!(page.header("retry-after"), "", "N41");
            refused += 1;
        } else {
            assert_eq!(page.status, 303, "N41: {}", page.text());
        }
    }
    assert_eq!(refused, 10, "N41");
}

#[tokio::test]
async fn whoever_the_operator_trusts_is_not_limited() {
    let stage = Stage::with(&[("UNLIMITED_NETWORKS", "192.0.2.0/24, 2001:db8::/32")]).await;
    let asked = stage.client_app().await.asks();
    for (visitor, limited) in [
        ("192.0.2.77", false),
        ("2001:db8:1::7", false),
        ("::ffff:192.0.2.8", false),
        ("192.0.3.1", true),
        ("2001:db9::1", true),
    ] {
        let mut refused = false;
        for _ in 0..32 {
            let request = stage.one().request(Method::GET, &asked.path());
            let page = Page::read(request.header("x-forwarded-for", visitor)).await;
            refused |= page.status == 429;
        }
        assert_eq!(refused, limited, "{visitor}");
    }
}

#[tokio::test]
async fn n42_our_name_comes_from_the_configuration() {
    let stage = Stage::new().await;
    let asked = stage.client_app().await.asks().with("prompt", "none");
    for (name, value) in [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "host=evil.example;proto=https"),
    ] {
        let request = stage.one().request(Method::GET, &asked.path());
        let page = Page::read(request.header(name, value)).await;
        let issuer = stage.one().origin();
        sent_back("N42", &page, issuer, "interaction_required", Some(&asked.state));
    }
    let request = stage.one().request(Method::GET, &asked.path());
    let page = Page::read(request.header("host", "evil.example")).await;
    shown("N42", &page, 421);
    for path in ["/token", "/mcp", "/account"] {
        let request = stage.other().request(Method::POST, path).header("host", "evil.example");
        assert_eq!(Page::read(request).await.status, 421, "N42 {path}");
    }
    // What is the same for everybody names us as we are configured, whoever asks for whom.
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource"]
    {
        let request = stage.other().request(Method::GET, path).header("host", "evil.example");
        let page = Page::read(request.header("x-forwarded-host", "evil.example")).await;
        assert!(!page.text().contains("evil.example"), "N42 {path}");
    }
}

#[tokio::test]
async fn targets_of_real_clients_are_accepted() {
    let stage = Stage::new().await;
    for (case, registered, used) in [
        ("P01", &["http://localhost/callback"][..], "http://localhost:53111/callback"),
        (
            "P02",
            &["https://vscode.dev/redirect", "http://127.0.0.1/", "http://127.0.0.1:33418/"],
            "http://127.0.0.1:54321/",
        ),
        ("P03", &["http://127.0.0.1:33418/"], "http://127.0.0.1:50000"),
        ("P04", &["http://127.0.0.5:1/cb"], "http://127.0.0.5:9/cb"),
        ("P04", &["http://[::1]:1/cb"], "http://[::1]:9/cb"),
        (
            "P10",
            &["cursor://anysphere.cursor-mcp/oauth/user-notes/callback"],
            "cursor://anysphere.cursor-mcp/oauth/user-notes/callback",
        ),
        ("P10", &["warp://mcp/oauth2callback"], "warp://mcp/oauth2callback"),
        ("P10", &["zed://mcp/oauth/callback"], "zed://mcp/oauth/callback"),
        (
            "P10",
            &["com.raycast:/oauth?package_name=Extension"],
            "com.raycast:/oauth?package_name=Extension",
        ),
        (
            "P10",
            &["https://claude.ai/api/mcp/auth_callback"],
            "https://claude.ai/api/mcp/auth_callback",
        ),
    ] {
        let mut client_app =
            ClientApp::register_with(stage.one(), json!({ "redirect_uris": registered })).await;
        used.clone_into(&mut client_app.redirect_uri);
        let asked = client_app.asks();
        let page = stage.browser().sign_in(&asked).await;
        asked.code(&page);
        assert!(page.header("location").starts_with(used), "{case}");
    }
    // P11, P07: what the metadata says is what is accepted, in the ways in which clients write it.
    let ours = format!("{}/mcp", stage.one().origin());
    for resource in [ours.clone(), format!("{ours}/"), ours.replace("http://", "HTTP://")] {
        let asked = stage.client_app().await.asks().with("resource", &resource);
        let page = ask(stage.one(), &asked).await;
        assert_eq!(page.status, 303, "P11 {resource}");
        assert!(page.header("location").starts_with("/consent"), "P11 {resource}");
    }
}

#[tokio::test]
async fn n59b_a_name_is_only_a_name() {
    let stage = Stage::new().await;
    for name in ["<script>alert(1)</script>", "</title><b>", "\u{202e}evil", "G\u{200b}itHub"] {
        let metadata = json!({
            "redirect_uris": [tests::browser::REDIRECT_URI], "client_name": name,
        });
        let client_app = ClientApp::register_with(stage.one(), metadata).await;
        let browser = stage.browser();
        let begun = browser.get(&client_app.asks().path()).await;
        let page = browser.get(begun.header("location")).await;
        let html = page.text();
        for bad in ["<script", "</title><b>", "\u{202e}", "\u{200b}"] {
            assert!(!html.contains(bad), "N59b {name}");
        }
        assert_eq!(form(&page).action, "/consent");
    }
}
