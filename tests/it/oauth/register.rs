//! `/register`: N12, N15 and N113 to N122.

use entity::oauth_clients;
use oauth::{limits, sweep};
use reqwest::Method;
use sea_orm::{ConnectionTrait as _, DbBackend, EntityTrait as _, PaginatorTrait as _, Statement};
use serde_json::{Value, json};
use tests::{
    browser::{ClientApp, REDIRECT_URI, register, visitor},
    client::Page,
};

use super::{Stage, shown, told};

fn with(member: &str, value: Value) -> String {
    let mut metadata = json!({ "redirect_uris": [REDIRECT_URI] });
    metadata[member] = value;
    metadata.to_string()
}

#[tokio::test]
async fn metadata_that_cannot_be_served_is_refused() {
    let stage = Stage::new().await;
    let uris = "invalid_redirect_uri";
    let metadata = "invalid_client_metadata";
    let many: Vec<String> = (0..11).map(|it| format!("http://127.0.0.1/{it}")).collect();
    let long = format!("https://app.example.com/{}", "x".repeat(2_000));
    let one = |uri: &str| with("redirect_uris", json!([uri]));
    for (case, body, error) in [
        ("N06", one("javascript:alert(1)"), uris),
        ("N06", one("data:text/html,x"), uris),
        ("N12", one("https://app.example.com/cb?code=1"), uris),
        ("N12", one("https://app.example.com/cb?state=1"), uris),
        ("N12", one("https://app.example.com/cb?iss=1"), uris),
        ("N12", one("https://app.example.com/cb?error=1"), uris),
        ("N14", one("http://example.com/cb"), uris),
        ("N15", one("https://*.example.com/cb"), uris),
        ("N15", one("https://example.com/*"), uris),
        ("N114", json!({}).to_string(), uris),
        ("N114", with("redirect_uris", json!([])), uris),
        ("N114", with("redirect_uris", json!(REDIRECT_URI)), uris),
        ("N114", with("redirect_uris", json!(null)), uris),
        ("N114", with("redirect_uris", json!([1])), uris),
        ("N115", with("redirect_uris", json!(many)), uris),
        ("N115", one(&long), uris),
        ("N115", with("redirect_uris", json!([REDIRECT_URI, REDIRECT_URI])), uris),
        ("N116", with("grant_types", json!(["implicit"])), metadata),
        ("N116", with("grant_types", json!(["password"])), metadata),
        ("N116", with("grant_types", json!(["client_credentials"])), metadata),
        ("N117", with("response_types", json!(["token"])), metadata),
        ("N118", with("token_endpoint_auth_method", json!("private_key_jwt")), metadata),
        ("N118", with("token_endpoint_auth_method", json!("tls_client_auth")), metadata),
        ("N118", with("token_endpoint_auth_method", json!("client_secret_jwt")), metadata),
        ("N119 not JSON", "{".to_owned(), metadata),
        ("N119 array", "[]".to_owned(), metadata),
        (
            "N119 twice",
            r#"{"redirect_uris":["http://127.0.0.1/"],"redirect_uris":[]}"#.to_owned(),
            metadata,
        ),
        ("N119 deep", "[".repeat(200), metadata),
        ("N119 BOM", format!("\u{feff}{}", one(REDIRECT_URI)), metadata),
        ("N120", with("application_type", json!("web")), uris),
        ("N122", with("software_statement", json!("x.y.z")), "unapproved_software_statement"),
        ("N122", with("jwks", json!({ "keys": [{ "kty": "EC", "d": "x" }] })), metadata),
    ] {
        told(&format!("{case} {body:.80}"), &register(stage.one(), body).await, 400, error);
    }
    let invalid = register(stage.one(), vec![b'{', 0xff, b'}']).await;
    told("N119 UTF-8", &invalid, 400, metadata);
    let large = register(stage.one(), with("client_name", json!("x".repeat(65 * 1024)))).await;
    assert_eq!(large.status, 413, "N119");
}

#[tokio::test]
async fn what_is_left_out_or_useless_does_no_harm() {
    let stage = Stage::new().await;
    for (case, member, value) in [
        ("N113", "client_uri", json!("javascript:alert(1)")),
        ("N113", "logo_uri", json!("data:image/svg+xml,x")),
        ("N113", "tos_uri", json!("javascript:alert(1)")),
        ("N113", "jwks_uri", json!("http://169.254.169.254/")),
        ("N118", "scope", json!("items:read")),
        ("N120", "application_type", json!("native")),
        ("N122", "client_id", json!("mine")),
        ("N122", "client_secret", json!("mine")),
        ("absent", "software_statement", json!(null)),
        ("absent", "software_statement", json!("")),
        ("absent", "scope", json!(null)),
        ("absent", "grant_types", json!(null)),
        ("absent", "token_endpoint_auth_method", json!(null)),
        ("absent", "jwks", json!({ "keys": [{ "kty": "EC", "d": null }] })),
    ] {
        let page = register(stage.one(), with(member, value)).await;
        assert_eq!(page.status, 201, "{case} {member}: {}", page.text());
        let client = page.json();
        assert_eq!(client["token_endpoint_auth_method"], "none", "N118");
        assert_ne!(client["client_id"], "mine", "{case}");
        assert_eq!(client.get("client_secret"), None, "{case}");
        for word in ["javascript:", "data:", "169.254"] {
            assert!(!page.text().contains(word), "{case}: {}", page.text());
        }
    }
}

#[tokio::test]
async fn a_registration_is_answered_with_the_known_part_of_its_scope() {
    let stage = Stage::new().await;
    for (scope, registered) in [
        ("items:read openid", "items:read"),
        ("openid", "items:read items:write"),
        ("items:read items:write", "items:read items:write"),
    ] {
        let page = register(stage.one(), with("scope", json!(scope))).await;
        assert_eq!(page.status, 201, "{scope}: {}", page.text());
        assert_eq!(page.json()["scope"], registered, "{scope}");
    }
}

#[tokio::test]
async fn n121_registrations_of_one_network_are_counted_together() {
    let stage = Stage::new().await;
    let me = visitor();
    for number in 0..11 {
        let web = [stage.one(), stage.other()][number % 2];
        let request = web
            .request(Method::POST, "/register")
            .header("x-forwarded-for", &me)
            .header("content-type", "application/json")
            .body(json!({ "redirect_uris": [REDIRECT_URI] }).to_string());
        let page = Page::read(request).await;
        if number < 10 {
            assert_eq!(page.status, 201, "N121: {}", page.text());
        } else {
            assert_eq!(page.status, 429, "N121");
            assert_ne!(page.header("retry-after"), "", "N121");
        }
    }
}

#[tokio::test]
async fn n121_registrations_of_everybody_have_a_limit_too() {
    let stage = Stage::new().await;
    let metadata = json!({ "redirect_uris": [REDIRECT_URI] }).to_string();
    for number in 0..limits::REGISTER_ALL.limit {
        let web = if number % 2 == 0 { stage.one() } else { stage.other() };
        let page = register(web, metadata.clone()).await;
        assert_eq!(page.status, 201, "N121 {number}: {}", page.text());
    }
    let page = register(stage.one(), metadata.clone()).await;
    assert_eq!(page.status, 429, "N121");
    assert_ne!(page.header("retry-after"), "", "N121");
    // Nobody is locked out by a flood: a share grows back every few seconds.
    stage.pass(12);
    assert_eq!(register(stage.other(), metadata).await.status, 201, "N121");
}

#[tokio::test]
async fn n122b_registrations_that_nobody_used_go_after_a_day() {
    const FLOOD: u64 = 10_000;
    /// One registered, and the others are like it.
    const COPIES: &str = "INSERT INTO oauth_clients (id, kind, metadata, metadata_hash, created_at,
            expires_at)
        SELECT id || number, kind, metadata, metadata_hash, created_at, expires_at
        FROM oauth_clients, generate_series(2, 10000) AS number WHERE id = $1";
    let stage = Stage::new().await;
    let (app, used) = (stage.cluster.app(), stage.client_app().await);
    used.connect(&stage.browser()).await;
    let one = ClientApp::register(stage.other()).await.id.into();
    let copies = Statement::from_sql_and_values(DbBackend::Postgres, COPIES, [one]);
    app.db().execute_raw(copies).await.unwrap();
    let clients = async || oauth_clients::Entity::find().count(app.db()).await.unwrap();
    assert_eq!(clients().await, FLOOD + 1, "N122b");
    stage.pass(24 * 60 * 60 + 1);
    while sweep::clients(app.oauth()).await.unwrap() == sweep::BATCH {}
    assert_eq!(clients().await, 1, "N122b");
    let begun = stage.browser().get(&used.asks().path()).await;
    assert_eq!(begun.status, 303, "N122b: a used one stays");
    let forgotten = ClientApp { id: "mcl_forgotten".to_owned(), ..used };
    shown("N122b", &stage.browser().get(&forgotten.asks().path()).await, 400);
}
