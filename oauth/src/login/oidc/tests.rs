use platform::{proxies::Proxies, public_url::PublicUrl};
use serde_json::json;
use url::Url;

use super::*;

const ISSUER: &str = "https://login.example.com";

fn provider(issuer: &str, scopes: &[&str]) -> Oidc {
    let settings = ProviderSettings {
        public_url: PublicUrl::on_loopback(8080),
        program: "test-mcp",
        is_private: true,
        proxies: Proxies::default(),
        github: None,
        policy: AccessPolicy::default(),
        oidc: Vec::new(),
    };
    let oidc = OidcSettings {
        name: ProviderName::parse("ACME").unwrap(),
        label: None,
        issuer: issuer.to_owned(),
        client_id: "a client".to_owned(),
        client_secret: None,
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        policy: AccessPolicy::default(),
        id_jag: false,
    };
    Oidc::new(oidc, &settings)
}

fn metadata(issuer: &str) -> Metadata {
    let document = json!({
        "issuer": issuer,
        "authorization_endpoint": "https://login.example.com/authorize?p=policy",
        "token_endpoint": "https://login.example.com/token",
        "jwks_uri": "https://login.example.com/keys",
    });
    Metadata::read(document.as_object().unwrap(), issuer, false).unwrap()
}

fn asked(provider: &Oidc, verifier: &Verifier) -> std::collections::BTreeMap<String, String> {
    let metadata = metadata(&provider.settings.issuer);
    let url = Url::parse(&provider.authorize_url(&metadata, "a state", verifier)).unwrap();
    assert!(url.as_str().starts_with("https://login.example.com/authorize?p=policy&"), "{url}");
    url.query_pairs().into_owned().collect()
}

#[test]
fn an_authorization_request_is_bound_to_the_login() {
    let provider = provider(ISSUER, &["openid", "email"]);
    let (verifier, other) = (Verifier::generate(), Verifier::generate());
    let query = asked(&provider, &verifier);
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "a client"),
        ("redirect_uri", "http://127.0.0.1:8080/oauth/acme/callback"),
        ("scope", "openid email"),
        ("state", "a state"),
        ("code_challenge", &Challenge::of(&verifier).to_string()),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(query[name], value);
    }
    assert!(!query.contains_key("prompt") && !query.contains_key("access_type"));
    assert_eq!(query["nonce"], nonce(verifier.expose()));
    assert_eq!(query["nonce"].len(), 43);
    assert_ne!(query["nonce"], asked(&provider, &other)["nonce"]);
    assert_ne!(query["nonce"], query["code_challenge"]);
}

#[test]
fn google_issues_refresh_tokens_for_a_parameter() {
    let google = "https://accounts.google.com";
    let query = asked(&provider(google, &["openid", "offline_access"]), &Verifier::generate());
    assert_eq!(query["scope"], "openid");
    assert_eq!(query["access_type"], "offline");
    assert_eq!(query["prompt"], "select_account consent");
    let query = asked(&provider(ISSUER, &["openid", "offline_access"]), &Verifier::generate());
    assert_eq!(query["scope"], "openid offline_access");
    assert_eq!(query["prompt"], "consent");
}

#[test]
fn a_callback_is_from_this_issuer_and_has_one_result() {
    let provider = provider(ISSUER, &["openid"]);
    let read = |parameters: &[(&str, &str)]| {
        let owned: Vec<_> = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        provider.read_callback(&owned)
    };
    let code = Ok(CallbackResult::Code("x".to_owned()));
    assert_eq!(read(&[("code", "x")]), code);
    assert_eq!(read(&[("code", "x"), ("iss", ISSUER)]), code);
    assert_eq!(read(&[("error", "access_denied")]), Ok(CallbackResult::Canceled));
    assert!(matches!(read(&[("error", "server_error")]), Ok(CallbackResult::Error(_))));
    let long = "x".repeat(MAX_CODE_BYTES + 1);
    for bad in [
        &[][..],
        &[("code", "")],
        &[("code", "x y")],
        &[("code", &long)],
        &[("code", "x"), ("code", "x")],
        &[("code", "x"), ("error", "access_denied")],
        &[("error", "")],
        &[("code", "x"), ("iss", "https://login.example.com/")],
        &[("code", "x"), ("iss", "https://evil.example.com")],
        &[("code", "x"), ("iss", "")],
        &[("code", "x"), ("iss", ISSUER), ("iss", ISSUER)],
        &[("error", "access_denied"), ("iss", "https://evil.example.com")],
    ] {
        assert_eq!(read(bad), Err(InvalidCallback::Malformed), "{bad:?}");
    }
}

#[test]
fn nothing_that_is_printed_contains_a_secret() {
    let mut provider = provider(ISSUER, &["openid"]);
    provider.settings.client_secret = Some(Secret::new("hunter2"));
    assert!(!format!("{provider:?}").contains("hunter2"));
}
