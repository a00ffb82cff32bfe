//! Access tokens that we did not write, over HTTP: N99 to N104 and N133b. They are signed with a real
//! key, which the test puts among the others, so that nothing but the rule in question refuses them.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use entity::{
    Kid,
    oauth_signing_keys::{ActiveModel, COLUMN, Column, Entity, State},
};
use platform::clock::Clock as _;
use sea_orm::{
    ActiveEnum as _, ColumnTrait as _, EntityTrait as _, QueryFilter as _, Set, sea_query::Expr,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::{
    browser::visitor,
    client::{ACCEPT, Page, Web},
};

use super::Stage;

/// Whoever has this can sign as we do.
struct Forge {
    kid: String,
    jwk: Value,
    pkcs8: Vec<u8>,
    pair: EcdsaKeyPair,
}

impl Forge {
    /// A key that all instances trust, in this state.
    async fn new(stage: &Stage, life: State) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let pkcs8 = pair.to_pkcs8v1().unwrap().as_ref().to_vec();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let required = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(required));
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig", "alg": "ES256", "kid": kid,
        });
        let now = stage.cluster.clock().now();
        let row = ActiveModel {
            kid: Set(Kid(kid.clone())),
            alg: Set("ES256".to_owned()),
            public_jwk: Set(jwk.clone()),
            private_sealed: Set(None),
            kek_id: Set(format!("of the test, {kid}")),
            state: Set(life),
            created_at: Set(now),
            activate_at: Set(now),
            retire_at: Set(None),
            wiped_at: Set(None),
            last_signed_at: Set(Some(now)),
            replace_at: Set(None),
        };
        Entity::insert(row).exec_without_returning(stage.cluster.app().db()).await.unwrap();
        Self { kid, jwk, pkcs8, pair }
    }

    fn header(&self) -> Value {
        json!({ "typ": "at+jwt", "alg": "ES256", "kid": self.kid })
    }

    fn signature(&self, signed: &str) -> Vec<u8> {
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        signature.as_ref().to_vec()
    }

    /// A token with this header and these claims, both as they are written.
    fn token(&self, header: &str, claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.signature(&signed));
        format!("{signed}.{signature}")
    }
}

/// Claims in which everything is right.
fn claims(stage: &Stage) -> Value {
    let issuer = stage.one().origin();
    let now = stage.cluster.clock().now().timestamp();
    json!({
        "iss": issuer, "aud": format!("{issuer}/mcp"), "sub": "github:1", "client_id": "an-app",
        "scope": "items:read", "iat": now, "exp": now + 600, "jti": "an-id", "sid": "a-session",
    })
}

/// With one member set, or taken away if it is null.
fn with(json: &Value, member: &str, value: &Value) -> Value {
    let mut json = json.clone();
    let members = json.as_object_mut().unwrap();
    match value {
        Value::Null => drop(members.remove(member)),
        value => drop(members.insert(member.to_owned(), value.clone())),
    }
    json
}

async fn present(web: &Web, token: &str) -> Page {
    let request = web
        .request(reqwest::Method::POST, "/mcp")
        .header("x-forwarded-for", visitor())
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("accept", ACCEPT)
        .body(json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string());
    Page::read(request).await
}

async fn accepted(case: &str, stage: &Stage, token: &str) {
    for web in [stage.one(), stage.other()] {
        let page = present(web, token).await;
        assert_ne!(page.status, 401, "{case}: {}", page.text());
    }
}

/// Refused as the standard says, on both instances, with the way to a better one.
async fn refused(case: &str, stage: &Stage, token: &str) {
    for web in [stage.one(), stage.other()] {
        let page = present(web, token).await;
        assert_eq!(page.status, 401, "{case}: {}", page.text());
        let challenge = page.header("www-authenticate");
        assert!(challenge.starts_with("Bearer "), "{case}: {challenge}");
        assert!(challenge.contains(r#"error="invalid_token""#), "{case}: {challenge}");
        assert!(challenge.contains("resource_metadata="), "{case}: {challenge}");
    }
}

#[tokio::test]
async fn n99_n100_n101_n103_claims_that_we_would_not_write() {
    let stage = Stage::new().await;
    let forge = Forge::new(&stage, State::Active).await;
    let (header, right) = (forge.header().to_string(), claims(&stage));
    accepted("the forge works", &stage, &forge.token(&header, &right.to_string())).await;

    let issuer = stage.one().origin();
    let (audience, now) = (format!("{issuer}/mcp"), stage.cluster.clock().now().timestamp());
    let one = with(&right, "aud", &json!([audience]));
    accepted("N99 an array of one", &stage, &forge.token(&header, &one.to_string())).await;
    for (case, member, value) in [
        ("N99 missing", "aud", json!(null)),
        ("N99 other", "aud", json!("https://other.example/mcp")),
        ("N99 one too many", "aud", json!([audience, "https://other.example/mcp"])),
        ("N99 none", "aud", json!([])),
        ("N99 slash", "aud", json!(format!("{audience}/"))),
        ("N99 case", "aud", json!(audience.to_uppercase())),
        ("N100 missing", "iss", json!(null)),
        ("N100 other", "iss", json!("https://other.example")),
        ("N100 slash", "iss", json!(format!("{issuer}/"))),
        ("N101 no end", "exp", json!(null)),
        ("N101 not yet", "nbf", json!(now + 3600)),
        ("N101 tomorrow's", "iat", json!(now + 3600)),
        ("N101 ten years", "exp", json!(now + 10 * 365 * 24 * 3600)),
        ("N103 text", "exp", json!((now + 600).to_string())),
        ("N103 fraction", "exp", json!(f64::from(u32::MAX) + 0.5)),
        ("N103 large", "exp", json!(u64::MAX)),
        ("N103 negative", "exp", json!(-1)),
        ("N103 number", "aud", json!(7)),
        ("N103 array", "scope", json!(["items:read"])),
        ("N103 object", "sub", json!({ "id": 1 })),
        ("N103 nobody", "sub", json!("")),
        ("N103 no grant", "sid", json!(null)),
        ("N103 no client", "client_id", json!(null)),
        ("N103 no name", "jti", json!(null)),
    ] {
        let token = forge.token(&header, &with(&right, member, &value).to_string());
        refused(&format!("{case} {member}: {value}"), &stage, &token).await;
    }
    let late = with(&with(&right, "iat", &json!(now - 600)), "exp", &json!(now - 6));
    refused("N101 six seconds late", &stage, &forge.token(&header, &late.to_string())).await;
    // What no writer of JSON writes.
    let infinite = right.to_string().replacen(r#""exp":"#, r#""exp":1e400,"x":"#, 1);
    refused("N103 1e400", &stage, &forge.token(&header, &infinite)).await;
    let twice = right.to_string().replacen('{', r#"{"sub":"github:2","#, 1);
    refused("N103 twice", &stage, &forge.token(&header, &twice)).await;
}

#[tokio::test]
async fn n102_n104_headers_and_signatures_that_we_would_not_write() {
    let (stage, host) = Stage::with_documents().await;
    let forge = Forge::new(&stage, State::Active).await;
    let (header, claims) = (forge.header(), claims(&stage).to_string());
    for typ in ["AT+JWT", "application/at+jwt"] {
        let header = with(&header, "typ", &json!(typ)).to_string();
        accepted("N102", &stage, &forge.token(&header, &claims)).await;
    }
    let somewhere = json!("https://app.example.com/keys");
    for (case, member, value) in [
        ("N102 missing", "typ", json!(null)),
        ("N102", "typ", json!("JWT")),
        ("N102", "typ", json!("id_token")),
        ("N104 none", "alg", json!("none")),
        ("N104 HS256", "alg", json!("HS256")),
        ("N104 ES384", "alg", json!("ES384")),
        ("N104 missing", "kid", json!(null)),
        ("N104 unknown", "kid", json!("unknown")),
        ("N104 path", "kid", json!("../../x")),
        ("N104 crit", "crit", json!(["exp"])),
        ("N104 jwk", "jwk", forge.jwk.clone()),
        ("N104 jku", "jku", somewhere.clone()),
        ("N104 x5u", "x5u", somewhere),
        ("N104 b64", "b64", json!(false)),
    ] {
        let token = forge.token(&with(&header, member, &value).to_string(), &claims);
        refused(&format!("{case} {value}"), &stage, &token).await;
    }

    let token = forge.token(&header.to_string(), &claims);
    accepted("N104 the real one", &stage, &token).await;
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (_, body) = signed.split_once('.').unwrap();
    let confused = with(&header, "alg", &json!("HS256")).to_string();
    let confused = format!("{}.{body}", URL_SAFE_NO_PAD.encode(confused));
    let public = hmac::Key::new(hmac::HMAC_SHA256, forge.jwk.to_string().as_bytes());
    let with_public = URL_SAFE_NO_PAD.encode(hmac::sign(&public, confused.as_bytes()));
    let der = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &forge.pkcs8).unwrap();
    let der = der.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    let der = URL_SAFE_NO_PAD.encode(der);
    let zero = URL_SAFE_NO_PAD.encode([0; 64]);
    let stranger = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let stranger = stranger.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    let stranger = URL_SAFE_NO_PAD.encode(stranger);
    for (case, token) in [
        ("N104 signed with our public key", format!("{confused}.{with_public}")),
        ("N104 four parts", format!("{token}.{signature}")),
        ("N104 no signature", format!("{signed}.")),
        ("N104 zero", format!("{signed}.{zero}")),
        ("N104 DER", format!("{signed}.{der}")),
        ("N104 truncated", format!("{signed}.{}", &signature[..80])),
        ("N104 a stranger's", format!("{signed}.{stranger}")),
    ] {
        refused(case, &stage, &token).await;
    }
    assert_eq!((host.lookups(), host.connections()), (0, 0), "N104: nothing was asked for");
}

#[tokio::test]
async fn n104_invented_keys_are_no_load_on_the_database() {
    let stage = Stage::new().await;
    let issued = stage.cluster.token("ada").await;
    stage.is_good(&issued).await;
    // The clock stands still: one look-up in vain is all that there is in five seconds.
    let stranger = Forge::new(&stage, State::Revoked).await;
    let unknown = stranger.token(&stranger.header().to_string(), &claims(&stage).to_string());
    refused("N104 unknown", &stage, &unknown).await;
    let forge = Forge::new(&stage, State::Active).await;
    let token = forge.token(&forge.header().to_string(), &claims(&stage).to_string());
    for _ in 0..50 {
        assert_eq!(present(stage.one(), &unknown).await.status, 401, "N104");
    }
    stage.is_good(&issued).await;
    stage.pass(6);
    accepted("N104 and then it is found", &stage, &token).await;
}

#[tokio::test]
async fn n133b_a_key_counts_only_while_it_is_trusted() {
    let stage = Stage::new().await;
    stage.is_good(&stage.cluster.token("ada").await).await;
    for (state, good) in [
        (State::Retired, false),
        (State::Revoked, false),
        (State::Retiring, true),
        (State::Active, true),
    ] {
        stage.pass(6);
        let forge = Forge::new(&stage, state).await;
        let token = forge.token(&forge.header().to_string(), &claims(&stage).to_string());
        let case = format!("N133b {}", state.to_value());
        if good {
            accepted(&case, &stage, &token).await;
        } else {
            refused(&case, &stage, &token).await;
        }
    }
    // One whose time has not come cannot have signed anything.
    stage.pass(6);
    let forge = Forge::new(&stage, State::Pending).await;
    let later = stage.cluster.clock().now() + chrono::TimeDelta::hours(1);
    Entity::update_many()
        .col_expr(Column::ActivateAt, Expr::value(later))
        .filter(COLUMN.kid.eq(Kid(forge.kid.clone())))
        .exec(stage.cluster.app().db())
        .await
        .unwrap();
    let token = forge.token(&forge.header().to_string(), &claims(&stage).to_string());
    refused("N133b pending", &stage, &token).await;
}
