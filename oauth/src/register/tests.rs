use serde_json::json;

use super::*;

fn parsed(registration: &Value) -> Result<Metadata, RegisterError> {
    parse(registration.to_string().as_bytes(), &Schemes::default())
}

fn with(member: &str, value: Value) -> Result<Metadata, RegisterError> {
    let mut registration = json!({"redirect_uris": ["https://app.example.com/cb"]});
    registration[member] = value;
    parsed(&registration)
}

fn code(result: Result<Metadata, RegisterError>) -> Option<&'static str> {
    result.err().and_then(|it| it.code())
}

#[test]
fn omitted_members_have_defaults() {
    let least = parsed(&json!({"redirect_uris": ["http://localhost/cb"]})).unwrap();
    assert_eq!(least.method, Method::None);
    assert!(least.may_refresh && least.scope.is_none());
    assert_eq!(least.client_name.as_str(), "An app without a name");
}

#[test]
fn a_member_that_is_null_or_empty_is_absent() {
    let least = parsed(&json!({"redirect_uris": ["http://localhost/cb"]}));
    for absent in [Value::Null, json!("")] {
        let mut registration = json!({"redirect_uris": ["http://localhost/cb"]});
        for member in [
            "application_type",
            "client_id",
            "client_name",
            "client_secret",
            "client_uri",
            "contacts",
            "grant_types",
            "jwks",
            "jwks_uri",
            "logo_uri",
            "policy_uri",
            "response_types",
            "scope",
            "software_id",
            "software_statement",
            "software_version",
            "token_endpoint_auth_method",
            "tos_uri",
        ] {
            registration[member] = absent.clone();
        }
        assert_eq!(parsed(&registration), least, "{absent}");
    }
    let public = json!({"keys": [{"kty": "EC", "x": "x", "d": null, "k": null}]});
    assert!(with("jwks", public).is_ok());
}

#[test]
fn registrations_of_known_clients_are_accepted() {
    let vs_code = json!({
        "client_name": "Visual Studio Code",
        "client_uri": "https://code.visualstudio.com",
        "grant_types": ["authorization_code", "refresh_token",
            "urn:ietf:params:oauth:grant-type:device_code"],
        "response_types": ["code"],
        "redirect_uris": ["https://vscode.dev/redirect", "http://127.0.0.1/",
            "http://127.0.0.1:33418/"],
        "scope": "notes:read notes:write",
        "token_endpoint_auth_method": "none",
        "application_type": "native",
        "contacts": ["a@example.com"],
    });
    let metadata = parsed(&vs_code).unwrap();
    assert_eq!(metadata.redirect_uris.len(), 3);
    assert_eq!(metadata.scope, Some(Scopes::named("notes:read notes:write")));
}

#[test]
fn redirect_uris_are_checked() {
    let long = format!("https://app.example.com/{}", "a".repeat(2_000));
    let many: Vec<_> = (0..11).map(|it| format!("https://app.example.com/{it}")).collect();
    for bad in [
        json!(null),
        json!([]),
        json!("https://app.example.com/cb"),
        json!([1]),
        json!([null]),
        json!(many),
        json!([long]),
        json!(["https://app.example.com/cb", "https://app.example.com/cb"]),
        json!(["https://app.example.com/cb?code=1"]),
        json!(["javascript:alert(1)"]),
        json!(["https://*.example.com/cb"]),
        json!(["http://example.com/cb"]),
        json!(["https://app.example.com/cb", "data://x/y"]),
    ] {
        assert_eq!(code(with("redirect_uris", bad.clone())), Some("invalid_redirect_uri"), "{bad}");
    }
    assert_eq!(code(parsed(&json!({}))), Some("invalid_redirect_uri"));
}

#[test]
fn a_web_application_must_not_use_loopback() {
    let of =
        |kind: &str, uri: &str| parsed(&json!({"application_type": kind, "redirect_uris": [uri]}));
    assert_eq!(code(of("web", "http://localhost/cb")), Some("invalid_redirect_uri"));
    assert!(of("web", "https://app.example.com/cb").is_ok());
    assert!(of("native", "https://app.example.com/cb").is_ok());
    assert!(of("native", "http://localhost/cb").is_ok());
    assert_eq!(code(of("service", "http://localhost/cb")), Some("invalid_client_metadata"));
}

#[test]
fn unsupported_metadata_is_refused() {
    for (member, bad) in [
        ("grant_types", json!(["implicit"])),
        ("grant_types", json!(["password"])),
        ("grant_types", json!(["client_credentials"])),
        ("grant_types", json!(["refresh_token"])),
        ("grant_types", json!([])),
        ("grant_types", json!("authorization_code")),
        ("grant_types", json!([1])),
        ("response_types", json!(["token"])),
        ("response_types", json!([])),
        ("token_endpoint_auth_method", json!("private_key_jwt")),
        ("token_endpoint_auth_method", json!("tls_client_auth")),
        ("token_endpoint_auth_method", json!("client_secret_jwt")),
        ("token_endpoint_auth_method", json!(["none"])),
        ("client_name", json!({"en": "x"})),
        ("scope", json!(["notes:read"])),
        ("application_type", json!(1)),
        ("jwks", json!({"keys": [{"kty": "EC", "crv": "P-256", "d": "x"}]})),
        ("jwks", json!({"keys": [{"kty": "oct", "k": "x"}]})),
    ] {
        let result = with(member, bad.clone());
        assert_eq!(code(result), Some("invalid_client_metadata"), "{member} {bad}");
    }
    let statement = with("software_statement", json!("a.b.c"));
    assert_eq!(code(statement), Some("unapproved_software_statement"));
}

#[test]
fn unused_metadata_is_not_stored() {
    for (member, value) in [
        ("client_uri", json!("javascript:alert(1)")),
        ("logo_uri", json!("data:image/svg+xml,<svg onload=alert(1)>")),
        ("tos_uri", json!("data:text/html,x")),
        ("policy_uri", json!("javascript:alert(1)")),
        ("jwks_uri", json!("http://169.254.169.254/")),
        ("client_id", json!("chosen")),
        ("client_secret", json!("chosen")),
        ("jwks", json!({"keys": [{"kty": "EC", "x": "x"}]})),
    ] {
        let stored = serde_json::to_string(&with(member, value).unwrap()).unwrap();
        for word in ["alert", "169.254", "chosen", member] {
            assert!(!stored.contains(word), "{stored}");
        }
    }
    let named = with("client_name", json!("<b>\u{202e}x")).unwrap();
    assert_eq!(named.client_name.as_str(), "<b>x");
}

#[test]
fn the_body_is_one_plain_object() {
    let valid = br#"{"redirect_uris": ["https://app.example.com/cb"]}"#;
    assert!(parse(valid, &Schemes::default()).is_ok());
    let duplicate = br#"{"redirect_uris": ["https://a.example.com/cb"], "redirect_uris": []}"#;
    let bom = [b"\xef\xbb\xbf", &valid[..]].concat();
    let large = format!("{{\"x\": \"{}\"}}", "x".repeat(MAX_BYTES));
    for bad in
        [&b""[..], b"x", b"[]", b"null", duplicate, &bom, b"{\"a\": \"\xff\"}", large.as_bytes()]
    {
        let refused = parse(bad, &Schemes::default()).err().and_then(|it| it.code());
        assert_eq!(refused, Some("invalid_client_metadata"));
    }
}
