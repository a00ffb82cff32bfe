use aws_lc_rs::hmac;
use platform::{
    clock::MockClock,
    db::{self, DatabaseSettings},
    secret::Secret,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

const ISSUER: &str = "https://notes.example.com";
const AUDIENCE: &str = "https://notes.example.com/mcp";

/// An issuer on an empty database, and a way to forge tokens with its real key.
struct Forge {
    tokens: AccessTokens,
    clock: Arc<MockClock>,
    _directory: TempDir,
}

impl Forge {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let url = Secret::new(format!("sqlite:{}/notes.db", directory.path().display()));
        let db = db::connect(&DatabaseSettings { url, max_connections: 1, program: "test" })
            .await
            .unwrap();
        migration::Schema::base().migrate(&db.schema_connection().await.unwrap()).await.unwrap();
        let clock = Arc::new(MockClock::at(now()));
        let shared = || Arc::clone(&clock) as Arc<dyn Clock>;
        let keys = SigningKeys::new(db.clone(), shared(), &Secret::new("a secret"));
        let revoked = RevokedGrants::new(db, shared());
        let ttl = Duration::from_mins(30);
        let tokens = AccessTokens::new(ISSUER, AUDIENCE, ttl, keys, revoked, shared());
        Self { tokens, clock, _directory: directory }
    }

    async fn header(&self) -> Value {
        let kid = self.tokens.keys.signer().await.unwrap().kid.clone();
        json!({ "typ": "at+jwt", "alg": "ES256", "kid": kid })
    }

    async fn sign(&self, header: &Value, claims: &Value) -> String {
        let key = self.tokens.keys.signer().await.unwrap();
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = crypto::sign(signed.as_bytes(), &key.key, JWT_ALGORITHM).unwrap();
        format!("{signed}.{signature}")
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

fn encode(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn new_token() -> NewToken {
    NewToken {
        user: UserId::new("github:1"),
        client: "a-client".to_owned(),
        scopes: BTreeSet::from(["notes:read".to_owned(), "notes:write".to_owned()]),
        session_id: "a-session".to_owned(),
        signed_in_at: Some(now()),
        ttl: None,
        dpop_key: None,
    }
}

fn claims() -> Value {
    let iat = now().timestamp();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "dev:ada", "client_id": "a-client",
        "scope": "notes:read", "iat": iat, "exp": iat + 600, "jti": "an-id", "sid": "a-session",
    })
}

/// Sets one member, or removes it if the value is null.
fn with(mut json: Value, member: &str, value: Value) -> Value {
    let members = json.as_object_mut().unwrap();
    match value {
        Value::Null => members.remove(member),
        value => members.insert(member.to_owned(), value),
    };
    json
}

#[tokio::test]
async fn a_minted_token_is_verified() {
    let forge = Forge::new().await;
    let token = forge.tokens.mint(new_token()).await.unwrap();
    for _ in 0..2 {
        let claims = forge.tokens.verify(&token).await.unwrap();
        let caller = claims.caller();
        assert_eq!(caller.user.as_str(), "github:1");
        assert_eq!(&*caller.client, "a-client");
        assert!(caller.may("notes:read") && caller.may("notes:write") && !caller.may("admin"));
        assert_eq!(caller.expires_at, now().timestamp() + 1800);
        assert_eq!(&*claims.session_id, "a-session");
        assert_eq!(claims.signed_in_at, Some(now().timestamp()));
    }
    assert!(token.len() < 1024, "{}", token.len());
}

#[tokio::test]
async fn a_cached_token_expires() {
    let forge = Forge::new().await;
    let token = forge.tokens.mint(new_token()).await.unwrap();
    let unseen = forge.tokens.mint(new_token()).await.unwrap();
    assert!(forge.tokens.verify(&token).await.is_ok());
    forge.clock.advance(Duration::from_secs(1800 + 4));
    assert!(forge.tokens.verify(&token).await.is_ok(), "clocks may differ by 5 s");
    forge.clock.advance(Duration::from_secs(1));
    for token in [&token, &unseen] {
        assert_eq!(forge.tokens.verify(token).await, Err(TokenError::Expired));
    }
}

#[tokio::test]
async fn a_lifetime_is_limited_to_the_maximum() {
    let forge = Forge::new().await;
    let new = NewToken { ttl: Some(Duration::from_hours(1000)), ..new_token() };
    let token = forge.tokens.mint(new).await.unwrap();
    let claims = forge.tokens.verify(&token).await.unwrap();
    assert_eq!(claims.expires_at - claims.issued_at, 24 * 60 * 60);
}

#[tokio::test]
async fn an_unexpected_header_is_refused() {
    let forge = Forge::new().await;
    let header = forge.header().await;
    assert!(forge.tokens.verify(&forge.sign(&header, &claims()).await).await.is_ok());
    for typ in ["AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        let header = with(header.clone(), "typ", typ.into());
        let token = forge.sign(&header, &claims()).await;
        assert!(
            forge.tokens.verify(&token).await.is_ok(),
            "media types are case-insensitive: {typ}"
        );
    }
    for (member, value) in [
        ("typ", json!(null)),
        ("typ", json!("JWT")),
        ("typ", json!("id_token")),
        ("typ", json!("at+jwt; x")),
        ("typ", json!(["at+jwt"])),
        ("alg", json!(null)),
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("ES384")),
        ("alg", json!("es256")),
        ("kid", json!(null)),
        ("kid", json!("unknown")),
        ("kid", json!("../../etc/passwd")),
        ("kid", json!("' OR 1=1 --")),
        ("kid", json!("a\u{0}b")),
        ("kid", json!(7)),
        ("crit", json!(["exp"])),
        ("jwk", json!({ "kty": "EC" })),
        ("jku", json!("https://evil.example.com/keys")),
        ("x5u", json!("https://evil.example.com/keys")),
        ("x5c", json!(["MII"])),
        ("b64", json!(false)),
        ("cty", json!("JWT")),
        ("zip", json!("DEF")),
    ] {
        let token = forge.sign(&with(header.clone(), member, value.clone()), &claims()).await;
        let verified = forge.tokens.verify(&token).await;
        assert!(
            matches!(verified, Err(TokenError::Malformed | TokenError::Invalid(_))),
            "{member}: {value} gave {verified:?}"
        );
    }
}

#[tokio::test]
async fn unexpected_claims_are_refused() {
    let forge = Forge::new().await;
    let header = forge.header().await;
    let iat = now().timestamp();
    for (member, value) in [
        ("aud", json!([AUDIENCE])),
        ("iat", json!(iat + 5)),
        ("exp", json!(iat + 24 * 60 * 60)),
        ("nbf", json!(iat)),
        ("scope", json!("")),
        ("auth_time", json!(iat - 1_000_000)),
        ("extra", json!({ "is": "ignored" })),
    ] {
        let token = forge.sign(&header, &with(claims(), member, value.clone())).await;
        let verified = forge.tokens.verify(&token).await;
        assert!(verified.is_ok(), "{member}: {value} gave {verified:?}");
    }
    for (member, value) in [
        ("iss", json!(null)),
        ("iss", json!("https://notes.example.com/")),
        ("iss", json!("https://evil.example.com")),
        ("iss", json!([ISSUER])),
        ("aud", json!(null)),
        ("aud", json!(ISSUER)),
        ("aud", json!("https://notes.example.com/mcp/")),
        ("aud", json!("https://NOTES.example.com/mcp")),
        ("aud", json!([AUDIENCE, "https://other.example.com"])),
        ("aud", json!([])),
        ("aud", json!(7)),
        ("sub", json!(null)),
        ("sub", json!("")),
        ("sub", json!({ "id": 1 })),
        ("client_id", json!(null)),
        ("client_id", json!("")),
        ("scope", json!(null)),
        ("scope", json!(["notes:read"])),
        ("jti", json!(null)),
        ("jti", json!("")),
        ("sid", json!(null)),
        ("sid", json!("")),
        ("iat", json!(null)),
        ("iat", json!(iat + 6)),
        ("iat", json!(iat.to_string())),
        ("iat", json!(i64::MIN)),
        ("exp", json!(null)),
        ("exp", json!(iat)),
        ("exp", json!(-1)),
        ("exp", json!(i64::MIN)),
        ("exp", json!(i64::MAX)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(f64::MAX)),
        ("exp", json!(600.5)),
        ("exp", json!((iat + 600).to_string())),
        ("exp", json!(iat + 24 * 60 * 60 + 1)),
        ("nbf", json!(iat + 6)),
        ("nbf", json!("soon")),
        ("auth_time", json!("then")),
    ] {
        let token = forge.sign(&header, &with(claims(), member, value.clone())).await;
        let verified = forge.tokens.verify(&token).await;
        assert!(
            matches!(verified, Err(TokenError::Malformed | TokenError::Invalid(_))),
            "{member}: {value} gave {verified:?}"
        );
    }
    let old = with(with(claims(), "iat", json!(iat - 600)), "exp", json!(iat - 5));
    let token = forge.sign(&header, &old).await;
    assert_eq!(forge.tokens.verify(&token).await, Err(TokenError::Expired));
}

#[tokio::test]
async fn only_a_valid_signature_is_accepted() {
    let forge = Forge::new().await;
    let header = forge.header().await;
    let token = forge.sign(&header, &claims()).await;
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (head, body) = signed.split_once('.').unwrap();

    let public = forge.tokens.keys.jwks().await.unwrap()["keys"][0].to_string();
    let confused = with(header.clone(), "alg", json!("HS256"));
    let confused = format!("{}.{body}", encode(&confused));
    let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, public.as_bytes());
    let hmac_signature = URL_SAFE_NO_PAD.encode(hmac::sign(&hmac_key, confused.as_bytes()));

    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[10] ^= 1;
    let tampered = URL_SAFE_NO_PAD.encode(&bytes);
    let zero = URL_SAFE_NO_PAD.encode([0; SIGNATURE_BYTES]);
    let der = [&[0x30, 0x44, 0x02, 0x20][..], &bytes[..32], &[0x02, 0x20], &bytes[32..]].concat();
    let der = URL_SAFE_NO_PAD.encode(der);
    let more = encode(&with(claims(), "scope", json!("notes:read notes:write")));
    let pretty = URL_SAFE_NO_PAD.encode(format!(" {}", claims()));
    let twice = claims().to_string().replacen('{', r#"{"sub":"dev:eve","#, 1);
    let twice = forge_raw(&forge, &header, &twice).await;
    let infinite = claims().to_string().replacen("\"exp\":", "\"exp\":1e400,\"x\":", 1);
    let infinite = forge_raw(&forge, &header, &infinite).await;

    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        "x".to_owned(),
        signed.to_owned(),
        format!("{signed}."),
        format!("{signed}.{tampered}"),
        format!("{signed}.{zero}"),
        format!("{signed}.{der}"),
        format!("{signed}.{}", &signature[..signature.len() - 2]),
        format!("{signed}.{signature}="),
        format!("{signed}.{signature}A"),
        format!("{token}.{signature}"),
        format!("{confused}.{hmac_signature}"),
        format!("{head}.{more}.{signature}"),
        format!("{head}.{pretty}.{signature}"),
        format!(" {token}"),
        format!("{token}\n"),
        token.replace('.', "。"),
        twice,
        infinite,
    ] {
        let verified = forge.tokens.verify(&bad).await;
        assert!(
            matches!(verified, Err(TokenError::Malformed | TokenError::Invalid(_))),
            "“{bad}” gave {verified:?}"
        );
    }
    assert!(forge.tokens.verify(&token).await.is_ok(), "the original token is still accepted");
}

async fn forge_raw(forge: &Forge, header: &Value, claims: &str) -> String {
    let key = forge.tokens.keys.signer().await.unwrap();
    let signed = format!("{}.{}", encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = crypto::sign(signed.as_bytes(), &key.key, JWT_ALGORITHM).unwrap();
    format!("{signed}.{signature}")
}

#[tokio::test]
async fn a_token_that_is_too_long_is_refused() {
    let forge = Forge::new().await;
    let header = forge.header().await;
    for (padding, accepted) in [(5000, true), (6000, false)] {
        let claims = with(claims(), "extra", "x".repeat(padding).into());
        let token = forge.sign(&header, &claims).await;
        assert_eq!(token.len() <= MAX_BYTES, accepted);
        let verified = forge.tokens.verify(&token).await;
        assert_eq!(verified.is_ok(), accepted, "{} bytes", token.len());
    }
}

#[test]
fn arbitrary_text_is_refused_without_a_panic() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let forge = runtime.block_on(Forge::new());
    let parts = "\\PC*|([A-Za-z0-9_-]{0,40}\\.){0,4}[A-Za-z0-9_-]{0,90}";
    proptest!(|(text in parts)| {
        prop_assert!(runtime.block_on(forge.tokens.verify(&text)).is_err());
    });
}
