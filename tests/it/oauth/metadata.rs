//! What a client finds before it asks: N131, N132, N134, P06 and P07.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use tests::client::Page;

use super::{Stage, text};

#[tokio::test]
async fn n131_both_documents_name_us_as_configured() {
    let stage = Stage::new().await;
    let issuer = stage.one().origin();
    for web in [stage.one(), stage.other()] {
        let server = web.get("/.well-known/oauth-authorization-server").await.json();
        assert_eq!(server["issuer"], issuer, "N131");
        for (member, path) in [
            ("authorization_endpoint", "/authorize"),
            ("token_endpoint", "/token"),
            ("registration_endpoint", "/register"),
            ("revocation_endpoint", "/revoke"),
            ("jwks_uri", "/.well-known/jwks.json"),
        ] {
            assert_eq!(server[member], format!("{issuer}{path}"), "N131 {member}");
        }
        assert_eq!(server["code_challenge_methods_supported"], json!(["S256"]));
        assert_eq!(server["response_types_supported"], json!(["code"]));
        assert_eq!(server["authorization_response_iss_parameter_supported"], true);
        assert_eq!(server["client_id_metadata_document_supported"], true);

        // P06: the same at both places.
        let root = web.get("/.well-known/oauth-protected-resource").await.json();
        let path = web.get("/.well-known/oauth-protected-resource/mcp").await.json();
        assert_eq!(root, path, "P06");
        assert_eq!(path["resource"], format!("{issuer}/mcp"), "P07");
        assert_eq!(path["authorization_servers"], json!([issuer]), "N131");
    }
}

#[tokio::test]
async fn n132_keys_are_public_and_sign_what_they_say() {
    let stage = Stage::new().await;
    let token = text(&stage.client_app().await.connect(&stage.browser()).await, "access_token");
    let part = |number| -> Value {
        let part = token.split('.').nth(number).expect("a token has three parts");
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("it is base64url");
        serde_json::from_slice(&bytes).expect("it is JSON")
    };
    let (header, claims) = (part(0), part(1));
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(header["alg"], "ES256");
    assert_eq!(claims["sub"], "github:583231");
    assert_eq!(claims["aud"], format!("{}/mcp", stage.one().origin()), "P07");
    let page = stage.other().get("/.well-known/jwks.json").await;
    assert!(page.header("cache-control").contains("max-age=300"), "N132");
    let document = page.json();
    let keys = document["keys"].as_array().expect("there are keys");
    assert!(keys.iter().any(|key| key["kid"] == header["kid"]), "N132");
    for key in keys {
        for private in ["d", "p", "q", "k"] {
            assert_eq!(key.get(private), None, "N132");
        }
        assert_eq!((&key["alg"], &key["use"]), (&json!("ES256"), &json!("sig")), "N132");
    }
}

#[tokio::test]
async fn n134_a_page_from_elsewhere_is_not_let_in() {
    let stage = Stage::new().await;
    let token = text(&stage.client_app().await.connect(&stage.browser()).await, "access_token");
    for (name, value, status) in
        [("origin", "https://evil.example", 403), ("host", "evil.example", 421)]
    {
        let request = stage.one().request(Method::POST, "/mcp").bearer_auth(&token);
        let request = request
            .header(name, value)
            .header("content-type", "application/json")
            .header("accept", tests::client::ACCEPT)
            .body(json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string());
        assert_eq!(Page::read(request).await.status, status, "N134 {name}");
    }
}
