//! Clients without a user: the grant type `client_credentials`, with a secret and with a key, on two
//! instances with Redis and PostgreSQL.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use oauth::{
    account,
    audit::RequestInfo,
    listing,
    scope::Scopes,
    service_client::{self, ASSERTION_TYPE, Created, CredentialsOf, NewServiceClient, ServiceName},
};
use platform::fetch::Address;
use serde_json::{Value, json};
use tests::{
    browser::{encode, owned, post, post_request},
    client::{Page, Web},
    cluster::{Database, Setup},
    documents::{DocumentHost, Reply},
    dpop::{DpopKey, token_request},
    fixtures::items::{READ, WRITE},
    github::GitHub,
    openid::OpenId,
    signing_key::SigningKey,
};

use super::{Stage, text, told};

/// Two instances, with client credentials turned on.
async fn stage() -> Stage {
    let github = GitHub::start().await;
    let setup = Setup::new(Database::Postgres).on_redis().await.instances(2).with_github(&github);
    Stage { cluster: setup.with("CLIENT_CREDENTIALS", "true").start().await, github }
}

/// Creates a client, as the command `clients create` does.
async fn create(stage: &Stage, name: &str, scope: &str, credentials: CredentialsOf) -> Created {
    let name = ServiceName::parse(name).expect("it is a name");
    let new = NewServiceClient { name, scope: Scopes::named(scope), credentials };
    let oauth = stage.cluster.app().oauth();
    service_client::create(oauth, new, &RequestInfo::none()).await.expect("the database is there")
}

fn keys_of(key: &SigningKey) -> CredentialsOf {
    let keys = json!({ "keys": [key.jwk()] }).to_string();
    CredentialsOf::Keys(service_client::parse_keys(&keys).expect("they are public"))
}

/// The claims of a good assertion.
fn claims(stage: &Stage, client: &str) -> Value {
    let now = platform::clock::Clock::now(stage.cluster.clock()).timestamp();
    json!({
        "iss": client, "sub": client, "aud": stage.one().origin(), "iat": now, "exp": now + 300,
        "jti": format!("{:032x}", rand::random::<u128>()),
    })
}

fn header(key: &SigningKey) -> Value {
    json!({ "alg": "ES256", "kid": key.id, "typ": "JWT" })
}

fn with(mut object: Value, member: &str, value: Value) -> Value {
    match value {
        Value::Null => drop(object.as_object_mut().expect("it is an object").remove(member)),
        value => object[member] = value,
    }
    object
}

/// A token request with an assertion.
fn form(assertion: &str) -> Vec<(String, String)> {
    owned(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion),
    ])
}

/// A token request with a secret in the header.
async fn with_secret(web: &Web, id: &str, secret: &str, more: &[(&str, &str)]) -> Page {
    let mut form = owned(&[("grant_type", "client_credentials")]);
    form.extend(owned(more));
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    Page::read(post_request(web, "/token").header("authorization", basic).body(encode(&form))).await
}

fn secret(created: &Created) -> &str {
    created.secret.as_ref().expect("it has a secret").expose()
}

#[tokio::test]
async fn a_service_gets_a_token_at_one_instance_and_uses_it_at_the_other() {
    let stage = stage().await;
    let key = SigningKey::generate();
    let by_key = create(&stage, "by-key", &format!("{READ} {WRITE}"), keys_of(&key)).await;
    let by_secret = create(&stage, "by-secret", READ, CredentialsOf::Secret).await;
    let token_endpoint = format!("{}/token", stage.one().origin());
    let for_endpoint = with(claims(&stage, by_key.id.as_str()), "aud", json!(token_endpoint));
    let assertion = key.token(&header(&key), &for_endpoint);
    let resource = format!("{}/mcp", stage.one().origin());
    let mut asked = form(&assertion);
    asked.extend(owned(&[("resource", &resource), ("client_id", by_key.id.as_str())]));
    let page = post(stage.one(), "/token", &asked).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(page.header("cache-control"), "no-store");
    let tokens = page.json();
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["scope"], format!("{READ} {WRITE}"), "all scopes of the client");
    assert_eq!(tokens.get("refresh_token"), None);
    let token = text(&tokens, "access_token");
    let client = stage.other().modern(&token);
    client.tool("items_create", json!({ "title": "of the service" })).await.output();

    let page = with_secret(stage.other(), by_secret.id.as_str(), secret(&by_secret), &[]).await;
    assert_eq!(page.json()["scope"], READ, "{}", page.text());
    let other = text(&page.json(), "access_token");
    let listed = stage.one().modern(&other).tool("items_list", json!({})).await;
    assert_eq!(listed.output()["items"], json!([]), "it is another account");

    // The client may revoke its own token, and get another one.
    let mut revocation = form(&key.token(&header(&key), &claims(&stage, by_key.id.as_str())));
    revocation.extend(owned(&[("token", &token)]));
    assert_eq!(post(stage.one(), "/revoke", &revocation).await.status, 200);
    stage.is_refused(&token).await;
    let again = form(&key.token(&header(&key), &claims(&stage, by_key.id.as_str())));
    let token = text(&post(stage.other(), "/token", &again).await.json(), "access_token");
    stage.is_good(&token).await;

    // The operator sees both, and ends one of them.
    let oauth = stage.cluster.service_of(0).oauth();
    let listed = listing::clients(oauth, None, 10).await.expect("the database is there");
    let shown = |created: &Created| {
        let client = listed.iter().find(|it| it.client == created.id.as_str());
        let client = client.expect("it is listed");
        (client.kind.clone(), client.name.clone(), client.connections, client.revoked.is_some())
    };
    let expected = |name: &str| ("service".to_owned(), Some(name.to_owned()), 1, false);
    assert_eq!(shown(&by_key), expected("by-key"));
    assert_eq!(shown(&by_secret), expected("by-secret"));
    let page = listing::clients(oauth, Some(&listed[0].client), 10).await.expect("listed");
    assert_eq!(page.len(), listed.len() - 1);
    assert!(service_client::revoke(oauth, &by_key.id, &RequestInfo::none()).await.unwrap());
    assert!(!service_client::revoke(oauth, &by_key.id, &RequestInfo::none()).await.unwrap());
    stage.is_refused(&token).await;
    stage.is_good(&other).await;
    let again = form(&key.token(&header(&key), &claims(&stage, by_key.id.as_str())));
    told("revoked", &post(stage.other(), "/token", &again).await, 401, "invalid_client");

    // Blocking the account ends the other one.
    assert!(account::block(oauth, &by_secret.user, &RequestInfo::none()).await.unwrap());
    stage.is_refused(&other).await;
    let page = with_secret(stage.other(), by_secret.id.as_str(), secret(&by_secret), &[]).await;
    told("blocked", &page, 400, "invalid_grant");
    for (event, count) in
        [("client_created", 2), ("client_revoked", 1), ("token_issued", 3), ("user_blocked", 1)]
    {
        assert_eq!(stage.audited(event).await, count, "{event}");
    }
}

#[tokio::test]
async fn a_wrong_assertion_is_refused() {
    let stage = stage().await;
    let (key, other_key) = (SigningKey::generate(), SigningKey::generate());
    let client = create(&stage, "ci", READ, keys_of(&key)).await;
    let id = client.id.as_str();
    let now = platform::clock::Clock::now(stage.cluster.clock()).timestamp();
    let origin = stage.one().origin();
    let (generic, not_a_jwt) = ("The client is unknown, or its auth", "not a signed JWT");
    for (case, part, member, value, description) in [
        ("another issuer", "claims", "iss", json!("msc_other"), "issuer (iss) and subject (sub)"),
        ("no issuer", "claims", "iss", Value::Null, "issuer (iss) and subject (sub)"),
        ("another subject", "claims", "sub", json!("msc_other"), "issuer (iss) and subject (sub)"),
        ("no subject", "claims", "sub", Value::Null, not_a_jwt),
        ("another audience", "claims", "aud", json!("https://a.example"), "audience (aud) is nei"),
        ("the endpoint", "claims", "aud", json!(format!("{origin}/mcp")), "audience (aud) is nei"),
        ("a slash", "claims", "aud", json!(format!("{origin}/")), "audience (aud) is neither"),
        ("two audiences", "claims", "aud", json!([origin, "https://a.example"]), "exactly one"),
        ("no audience", "claims", "aud", Value::Null, "exactly one audience"),
        ("no expiry", "claims", "exp", Value::Null, "it has no expiry"),
        ("expired", "claims", "exp", json!(now - 61), "it has expired"),
        ("late expiry", "claims", "exp", json!(now + 361), "more than 5 minutes ahead"),
        ("text expiry", "claims", "exp", json!("soon"), "not a whole number"),
        ("future", "claims", "iat", json!(now + 120), "in the future"),
        ("too old", "claims", "iat", json!(now - 601), "more than 10 minutes ago"),
        ("not yet", "claims", "nbf", json!(now + 120), "not valid yet"),
        ("no id", "claims", "jti", Value::Null, "no id (jti)"),
        ("empty id", "claims", "jti", json!(""), "no id (jti)"),
        ("long id", "claims", "jti", json!("x".repeat(256)), "no id (jti)"),
        ("no algorithm", "header", "alg", json!("none"), not_a_jwt),
        ("HMAC", "header", "alg", json!("HS256"), not_a_jwt),
        ("ES384", "header", "alg", json!("ES384"), not_a_jwt),
        ("another algorithm", "header", "alg", json!("RS256"), generic),
        ("unknown key", "header", "kid", json!("unknown"), generic),
        ("an access token", "header", "typ", json!("at+jwt"), "its type (typ)"),
        ("an ID-JAG", "header", "typ", json!("oauth-id-jag+jwt"), "its type (typ)"),
        ("critical extension", "header", "crit", json!(["exp"]), not_a_jwt),
    ] {
        let (mut head, mut body) = (header(&key), claims(&stage, id));
        match part {
            "header" => head = with(head, member, value),
            _ => body = with(body, member, value),
        }
        let page = post(stage.one(), "/token", &form(&key.token(&head, &body))).await;
        told(case, &page, 401, "invalid_client");
        let found = page.json()["error_description"].clone();
        assert!(found.as_str().is_some_and(|it| it.contains(description)), "{case}: {found}");
    }

    let good = || key.token(&header(&key), &claims(&stage, id));
    let unknown = oauth::token_format::new_service_client_id();
    let with_a_secret = create(&stage, "other", READ, CredentialsOf::Secret).await;
    let of_another_client = key.token(&header(&key), &claims(&stage, with_a_secret.id.as_str()));
    let other_signature = {
        let (message, _) =
            good().rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        format!("{message}.{}", key.sign("another message"))
    };
    let unsigned = good().rsplit_once('.').map(|(message, _)| format!("{message}.")).unwrap();
    for (case, form, status, error, description) in [
        (
            "another key",
            form(&other_key.token(&header(&key), &claims(&stage, id))),
            401,
            "invalid_client",
            generic,
        ),
        ("another signature", form(&other_signature), 401, "invalid_client", generic),
        ("no signature", form(&unsigned), 401, "invalid_client", generic),
        (
            "unknown client",
            form(&key.token(&header(&key), &claims(&stage, unknown.as_str()))),
            401,
            "invalid_client",
            generic,
        ),
        ("a client with a secret", form(&of_another_client), 401, "invalid_client", generic),
        ("not a JWT", form("x"), 401, "invalid_client", not_a_jwt),
        (
            "no type",
            owned(&[("grant_type", "client_credentials"), ("client_assertion", &good())]),
            400,
            "invalid_request",
            "client_assertion_type must be",
        ),
        (
            "another type",
            owned(&[
                ("grant_type", "client_credentials"),
                ("client_assertion", &good()),
                (
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:saml2-bearer",
                ),
            ]),
            400,
            "invalid_request",
            "client_assertion_type must be",
        ),
        (
            "only a type",
            owned(&[
                ("grant_type", "client_credentials"),
                ("client_id", id),
                ("client_assertion_type", ASSERTION_TYPE),
            ]),
            401,
            "invalid_client",
            "or is missing",
        ),
        (
            "another client_id",
            [form(&good()), owned(&[("client_id", with_a_secret.id.as_str())])].concat(),
            401,
            "invalid_client",
            "not a signed JWT whose sub",
        ),
        (
            "a secret, too",
            [form(&good()), owned(&[("client_secret", "x")])].concat(),
            400,
            "invalid_request",
            "credentials once",
        ),
        (
            "no credentials",
            owned(&[("grant_type", "client_credentials"), ("client_id", id)]),
            401,
            "invalid_client",
            generic,
        ),
        (
            "a secret instead",
            owned(&[
                ("grant_type", "client_credentials"),
                ("client_id", id),
                ("client_secret", secret(&with_a_secret)),
            ]),
            401,
            "invalid_client",
            generic,
        ),
        (
            "another resource",
            [form(&good()), owned(&[("resource", "https://a.example/mcp")])].concat(),
            400,
            "invalid_target",
            "resource must be",
        ),
        (
            "more scopes",
            [form(&good()), owned(&[("scope", &format!("{READ} {WRITE}"))])].concat(),
            400,
            "invalid_scope",
            "may only have: items:read",
        ),
        (
            "an unknown scope",
            [form(&good()), owned(&[("scope", "admin")])].concat(),
            400,
            "invalid_scope",
            "may only have: items:read",
        ),
        (
            "a malformed scope",
            [form(&good()), owned(&[("scope", "a\"b")])].concat(),
            400,
            "invalid_scope",
            "separated by spaces",
        ),
    ] {
        let page = post(stage.other(), "/token", &form).await;
        told(case, &page, status, error);
        assert_eq!(page.header("www-authenticate"), "", "{case}");
        let found = page.json()["error_description"].clone();
        assert!(found.as_str().is_some_and(|it| it.contains(description)), "{case}: {found}");
    }
    let page = post(stage.other(), "/token", &form(&good())).await;
    assert_eq!(page.status, 200, "{}", page.text());
}

#[tokio::test]
async fn a_wrong_secret_is_refused() {
    let stage = stage().await;
    let client = create(&stage, "ci", READ, CredentialsOf::Secret).await;
    let by_key = create(&stage, "by-key", READ, keys_of(&SigningKey::generate())).await;
    let (id, right) = (client.id.as_str(), secret(&client));
    let unknown = oauth::token_format::new_service_client_id();
    let revoked = create(&stage, "revoked", READ, CredentialsOf::Secret).await;
    let oauth = stage.cluster.app().oauth();
    assert!(service_client::revoke(oauth, &revoked.id, &RequestInfo::none()).await.unwrap());
    for (case, id, secret) in [
        ("wrong", id, "mcs_wrong"),
        ("shorter", id, &right[1..]),
        ("of an unknown client", unknown.as_str(), right),
        ("of a revoked client", revoked.id.as_str(), secret(&revoked)),
        ("of a client with a key", by_key.id.as_str(), right),
        ("of another client", id, secret(&revoked)),
    ] {
        let page = with_secret(stage.one(), id, secret, &[]).await;
        told(case, &page, 401, "invalid_client");
        assert!(page.header("www-authenticate").starts_with("Basic"), "{case}");
        let body = owned(&[
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret),
        ]);
        let page = post(stage.other(), "/token", &body).await;
        told(case, &page, 401, "invalid_client");
        assert_eq!(page.header("www-authenticate"), "", "{case}");
    }
    // Encoded as RFC 6749, section 2.3.1, says.
    let encoded = right.replace('_', "%5F").replace('-', "%2D");
    assert_eq!(with_secret(stage.one(), id, &encoded, &[]).await.status, 200);
    // A client that users connect is not one that acts for itself, and the other way around.
    let app = stage.client_app().await;
    let body = owned(&[("grant_type", "client_credentials"), ("client_id", &app.id)]);
    told("public", &post(stage.one(), "/token", &body).await, 400, "unauthorized_client");
    for grant_type in ["authorization_code", "refresh_token"] {
        let mut body = owned(&[("grant_type", grant_type), ("client_id", id)]);
        body.extend(owned(&[("client_secret", right), ("code", "x"), ("refresh_token", "x")]));
        body.extend(owned(&[("code_verifier", &"a".repeat(43))]));
        let page = post(stage.one(), "/token", &body).await;
        assert_eq!(page.status, 400, "{grant_type}: {}", page.text());
    }
    let asked = app.asks().with("client_id", id);
    let page = stage.browser().get(&asked.path()).await;
    assert_eq!(page.status, 400, "no user can authorize it");
}

#[tokio::test]
async fn of_many_copies_of_an_assertion_at_two_instances_one_counts() {
    let stage = stage().await;
    let key = SigningKey::generate();
    let client = create(&stage, "ci", READ, keys_of(&key)).await;
    let form = &form(&key.token(&header(&key), &claims(&stage, client.id.as_str())));
    let webs = [stage.one(), stage.other()];
    let copies = (0..16).map(|number| post(webs[number % 2], "/token", form));
    let pages = join_all(copies).await;
    let (won, lost): (Vec<_>, Vec<_>) = pages.iter().partition(|page| page.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 15));
    for page in lost {
        told("replayed", page, 401, "invalid_client");
        assert!(page.text().contains("used before (jti)"), "{}", page.text());
    }
    assert_eq!(stage.audited("assertion_replayed").await, 15);
    // Concurrent requests with different assertions share one grant.
    let others = (0..16).map(|number| {
        let form = self::form(&key.token(&header(&key), &claims(&stage, client.id.as_str())));
        let web = webs[number % 2];
        async move { post(web, "/token", &form).await }
    });
    for page in join_all(others).await {
        assert_eq!(page.status, 200, "{}", page.text());
    }
    assert_eq!(stage.audited("token_issued").await, 1);
    assert_eq!(stage.audited("token_refreshed").await, 16);
}

#[tokio::test]
async fn a_revocation_that_races_with_token_requests_leaves_no_token() {
    let stage = stage().await;
    for round in 0..5 {
        let name = format!("round-{round}");
        let client = create(&stage, &name, READ, CredentialsOf::Secret).await;
        let (id, secret) = (client.id.as_str(), secret(&client));
        let webs = [stage.one(), stage.other()];
        let requests = join_all((0..8).map(|it| with_secret(webs[it % 2], id, secret, &[])));
        let oauth = stage.cluster.service_of(round % 2).oauth();
        let request = RequestInfo::none();
        let revocation = service_client::revoke(oauth, &client.id, &request);
        let (pages, revoked) = tokio::join!(requests, revocation);
        assert!(revoked.expect("the database is there"));
        for page in pages.iter().filter(|page| page.status == 200) {
            stage.is_refused(&text(&page.json(), "access_token")).await;
        }
    }
}

#[tokio::test]
async fn a_token_is_bound_to_the_key_of_a_proof_and_asking_for_a_nonce_uses_up_no_assertion() {
    let github = GitHub::start().await;
    let setup = Setup::new(Database::Postgres).on_redis().await.instances(2).with_github(&github);
    let setup = setup.with("CLIENT_CREDENTIALS", "true").with("DPOP", "required");
    let stage = Stage { cluster: setup.start().await, github };
    let (key, dpop) = (SigningKey::generate(), DpopKey::generate());
    let client = create(&stage, "bound", READ, keys_of(&key)).await;
    let assertion = form(&key.token(&header(&key), &claims(&stage, client.id.as_str())));
    let url = format!("{}/token", stage.one().origin());
    let proof = || dpop.proof(stage.cluster.clock(), "POST", &url);

    told("none", &token_request(stage.one(), &assertion, &[]).await, 400, "invalid_dpop_proof");
    let page = token_request(stage.one(), &assertion, &[&dpop.sign(&proof())]).await;
    told("no nonce", &page, 400, "use_dpop_nonce");
    let nonce = page.header("dpop-nonce").to_owned();
    let good = dpop.sign(&proof().with_nonce(&nonce));
    let page = token_request(stage.other(), &assertion, &[&good]).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(page.json()["token_type"], "DPoP");
    stage.is_refused(&text(&page.json(), "access_token")).await;
    let again = dpop.sign(&proof().with_nonce(&nonce));
    let page = token_request(stage.one(), &assertion, &[&again]).await;
    told("the assertion again", &page, 401, "invalid_client");
}

#[tokio::test]
async fn keys_at_a_url_are_fetched_within_bounds() {
    let (github, host) = (GitHub::start().await, DocumentHost::start().await);
    let setup = Setup::new(Database::Postgres).on_redis().await.instances(2).with_github(&github);
    let setup = setup.with_documents(&host).with("CLIENT_CREDENTIALS", "true");
    let stage = Stage { cluster: setup.start().await, github };
    let address =
        Address::parse("https://app.example.com/keys", "127.0.0.1").expect("it is public");
    let client = create(&stage, "ci", READ, CredentialsOf::KeysAt(address)).await;
    let (old, new) = (SigningKey::generate(), SigningKey::generate());
    let ask = async |key: &SigningKey| {
        let assertion = key.token(&header(key), &claims(&stage, client.id.as_str()));
        post(stage.one(), "/token", &form(&assertion)).await
    };
    let serves = |key: &SigningKey| host.serves(Reply::Json(json!({ "keys": [key.jwk()] })));
    for (case, reply) in [
        ("none", Reply::With(404, "", String::new())),
        ("no JSON", Reply::Bytes(b"no".to_vec())),
        ("endless", Reply::Endless),
    ] {
        host.serves(reply);
        let before = host.requests();
        let page = ask(&old).await;
        told(case, &page, 503, "temporarily_unavailable");
        assert!(page.text().contains("with a new assertion"), "{case}: {}", page.text());
        assert_eq!(host.requests(), before + 1, "{case}");
    }
    // An assertion that is not valid causes no request.
    let mut expired = claims(&stage, client.id.as_str());
    expired["exp"] = json!(1_700_000_000);
    let before = host.requests();
    let page = post(stage.one(), "/token", &form(&old.token(&header(&old), &expired))).await;
    told("expired", &page, 401, "invalid_client");
    assert_eq!(host.requests(), before);
    // An address that is not public is not connected to.
    host.resolves("app.example.com", &[&["10.0.0.1"]]);
    let connections = host.connections();
    let page = ask(&old).await;
    told("private address", &page, 503, "temporarily_unavailable");
    assert_eq!(host.connections(), connections);
    host.resolves("app.example.com", &[&[tests::documents::PUBLIC]]);

    serves(&old);
    let before = host.requests();
    for _ in 0..3 {
        assert_eq!(ask(&old).await.status, 200);
    }
    assert_eq!(host.requests(), before + 1, "they are cached");
    serves(&new);
    assert_eq!(ask(&new).await.status, 200, "a new key is found at once");
    assert_eq!(host.requests(), before + 2);
    let unknown = SigningKey::generate();
    for _ in 0..3 {
        told("unknown key", &ask(&unknown).await, 401, "invalid_client");
        told("old key", &ask(&old).await, 401, "invalid_client");
    }
    assert_eq!(host.requests(), before + 2, "invented keys cause no requests");
}

#[tokio::test]
async fn the_metadata_names_what_is_turned_on() {
    let algorithms = json!(["ES256", "PS256", "RS256", "EdDSA", "Ed25519"]);
    let profile = json!(["urn:ietf:params:oauth:grant-profile:id-jag"]);
    let [credentials, bearer] =
        ["client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"];
    for (settings, grants, is_keyed, profiles) in [
        (&[][..], &[][..], false, Value::Null),
        (&[("CLIENT_CREDENTIALS", "true")], &[credentials], true, Value::Null),
        (&[("OIDC_ACME_ID_JAG", "on")], &[bearer], true, profile.clone()),
        (
            &[("CLIENT_CREDENTIALS", "on"), ("OIDC_ACME_ID_JAG", "true")],
            &[credentials, bearer],
            true,
            profile,
        ),
    ] {
        let acme = OpenId::start().await;
        let setup = Setup::new(Database::Sqlite).with_openid(&acme);
        let setup = settings.iter().fold(setup, |setup, &(name, value)| setup.with(name, value));
        let cluster = setup.start().await;
        let document = cluster.web(0).get("/.well-known/oauth-authorization-server").await.json();
        let mut all = vec!["authorization_code", "refresh_token"];
        all.extend(grants);
        assert_eq!(document["grant_types_supported"], json!(all), "{settings:?}");
        assert_eq!(document["authorization_grant_profiles_supported"], profiles, "{settings:?}");
        for endpoint in ["token", "revocation"] {
            let methods = &document[format!("{endpoint}_endpoint_auth_methods_supported")];
            let methods = methods.as_array().expect("there are methods");
            assert_eq!(methods.contains(&json!("private_key_jwt")), is_keyed, "{settings:?}");
            assert!(methods.contains(&json!("client_secret_basic")));
            let found = &document[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")];
            let expected = if is_keyed { &algorithms } else { &Value::Null };
            assert_eq!(found, expected, "{settings:?}");
        }
        for grant_type in [credentials, bearer] {
            let form = owned(&[("grant_type", grant_type), ("client_id", "x")]);
            let page = post(cluster.web(0), "/token", &form).await;
            let (status, error) = if grants.contains(&grant_type) {
                (401, "invalid_client")
            } else {
                (400, "unsupported_grant_type")
            };
            told(grant_type, &page, status, error);
        }
    }
}

#[tokio::test]
async fn a_service_client_is_unknown_while_its_grant_types_are_turned_off() {
    let stage = Stage::new().await;
    let client = create(&stage, "ci", READ, CredentialsOf::Secret).await;
    let (id, secret) = (client.id.as_str(), secret(&client));
    let page = with_secret(stage.one(), id, secret, &[]).await;
    told("off", &page, 400, "unsupported_grant_type");
    let form = owned(&[("client_id", id), ("client_secret", secret), ("token", "x")]);
    told("off", &post(stage.one(), "/revoke", &form).await, 401, "invalid_client");
}

#[tokio::test]
async fn the_requests_of_a_client_are_limited() {
    let stage = stage().await;
    let client = create(&stage, "ci", READ, CredentialsOf::Secret).await;
    let other = create(&stage, "other", READ, CredentialsOf::Secret).await;
    let limiter = stage.cluster.app().oauth().limiter();
    let all = oauth::limits::CLIENT_TOKENS.limit;
    limiter.take(&oauth::limits::CLIENT_TOKENS, client.id.as_str(), all).await;
    for web in [stage.one(), stage.other()] {
        let page = with_secret(web, client.id.as_str(), secret(&client), &[]).await;
        assert_eq!(page.status, 429, "{}", page.text());
        assert_ne!(page.header("retry-after"), "");
        let page = with_secret(web, other.id.as_str(), secret(&other), &[]).await;
        assert_eq!(page.status, 200, "the limit is per client");
    }
}
