//! Identity assertions (ID-JAG) of an OpenID Connect provider, on two instances with Redis and
//! PostgreSQL.

use entity::{oauth_audit, users};
use futures_util::future::join_all;
use oauth::{
    account,
    audit::RequestInfo,
    scope::Scopes,
    service_client::{self, ASSERTION_TYPE, Created, CredentialsOf, NewServiceClient, ServiceName},
};
use platform::clock::Clock as _;
use sea_orm::EntityTrait as _;
use serde_json::{Value, json};
use tests::{
    browser::{form, owned, post},
    client::{Page, Web},
    cluster::{Database, Setup},
    fake_endpoint::Manner,
    fixtures::items::{READ, WRITE},
    github::GitHub,
    openid::{OpenId, Question, SUBJECT, Signature},
    signing_key::SigningKey,
};

use super::{Stage, text, told};

const ID_JAG: &str = "oauth-id-jag+jwt";

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Two instances, the provider `ACME` whose assertions are accepted, and a client with a secret.
struct Scene {
    stage: Stage,
    acme: OpenId,
    client: Created,
}

impl Scene {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(settings: &[(&'static str, &str)]) -> Self {
        let (acme, github) = (OpenId::start().await, GitHub::start().await);
        let setup = Setup::new(Database::Postgres).on_redis().await.instances(2);
        let setup = setup.with_openid(&acme).with("OIDC_ACME_ID_JAG", "true");
        let setup = settings.iter().fold(setup, |setup, &(name, value)| setup.with(name, value));
        let stage = Stage { cluster: setup.start().await, github };
        let scope = Scopes::named(&format!("{READ} {WRITE}"));
        let client = create(&stage, "agents", scope, CredentialsOf::Secret).await;
        Self { stage, acme, client }
    }

    fn now(&self) -> i64 {
        self.stage.cluster.clock().now().timestamp()
    }

    /// The claims of a good assertion for the client.
    fn claims(&self) -> Value {
        let origin = self.stage.one().origin();
        json!({
            "iss": self.acme.issuer(), "sub": SUBJECT, "aud": origin,
            "resource": format!("{origin}/mcp"), "client_id": self.client.id.as_str(),
            "scope": format!("{READ} {WRITE}"), "iat": self.now(), "exp": self.now() + 300,
            "jti": format!("{:032x}", rand::random::<u128>()),
        })
    }

    /// The assertion with these claims.
    fn assertion(&self, claims: &Value) -> String {
        self.acme.signed(ID_JAG, claims)
    }

    /// The request of the client with an assertion.
    fn form(&self, assertion: &str) -> Vec<(String, String)> {
        let secret = self.client.secret.as_ref().expect("it has a secret").expose();
        owned(&[
            ("grant_type", GRANT_TYPE),
            ("client_id", self.client.id.as_str()),
            ("client_secret", secret),
            ("assertion", assertion),
        ])
    }

    /// Sends an assertion with these claims.
    async fn exchange(&self, web: &Web, claims: &Value) -> Page {
        post(web, "/token", &self.form(&self.assertion(claims))).await
    }

    /// An access token for a good assertion.
    async fn token(&self) -> String {
        let page = self.exchange(self.stage.one(), &self.claims()).await;
        assert_eq!(page.status, 200, "{}", page.text());
        text(&page.json(), "access_token")
    }

    /// The request is refused with this error and a description that contains this.
    fn refused(case: &str, page: &Page, error: &str, description: &str) {
        told(case, page, 400, error);
        let found = page.json()["error_description"].clone();
        assert!(found.as_str().is_some_and(|it| it.contains(description)), "{case}: {found}");
    }
}

async fn create(stage: &Stage, name: &str, scope: Scopes, credentials: CredentialsOf) -> Created {
    let name = ServiceName::parse(name).expect("it is a name");
    let new = NewServiceClient { name, scope, credentials };
    let oauth = stage.cluster.app().oauth();
    service_client::create(oauth, new, &RequestInfo::none()).await.expect("the database is there")
}

fn with(mut object: Value, member: &str, value: Value) -> Value {
    match value {
        Value::Null => drop(object.as_object_mut().expect("it is an object").remove(member)),
        value => object[member] = value,
    }
    object
}

#[tokio::test]
async fn an_assertion_gives_access_to_the_data_of_the_person_who_signs_in_there() {
    let scene = Scene::new().await;
    let (stage, browser) = (&scene.stage, scene.stage.browser());
    let claims = with(scene.claims(), "name", json!("Ada"));
    let page = scene.exchange(stage.one(), &claims).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let tokens = page.json();
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["scope"], format!("{READ} {WRITE}"));
    assert_eq!(tokens.get("refresh_token"), None);
    let token = text(&tokens, "access_token");
    let draft = json!({ "title": "by the agent" });
    stage.other().modern(&token).tool("items_create", draft).await.output();

    // The same person connects an app in a browser.
    let app = stage.client_app().await.connect(&browser).await;
    let client = stage.one().modern(text(&app, "access_token"));
    let listed = client.tool("items_list", json!({})).await;
    assert_eq!(listed.output()["items"][0]["title"], "by the agent");

    // Another assertion uses the same grant, which the person sees and ends.
    let again = scene.token().await;
    let page = browser.account().await;
    assert_eq!(page.text().matches("agents").count(), 2, "name and button: {}", page.text());
    assert!(page.text().contains("through Acme"), "{}", page.text());
    let security = browser.at(stage.other()).get("/account/security").await;
    let expected = "“agents” was connected through Acme, as your organization decided";
    assert_eq!(security.text().matches(expected).count(), 1, "{}", security.text());
    let oauth = stage.cluster.service_of(0).oauth();
    let user = mcp::UserId::new(format!("acme:{SUBJECT}"));
    let connected = account::connected(oauth, &user).await.expect("the database is there");
    let grant = connected.iter().find(|app| app.through.is_some()).expect("it is listed").grant;
    let mut disconnect = form(&browser.account().await);
    disconnect.fields.retain(|(name, _)| name == "csrf");
    disconnect.fields.push(("grant".to_owned(), grant.to_string()));
    disconnect.fields.push(("action".to_owned(), "disconnect".to_owned()));
    assert_eq!(browser.submit(&disconnect, "").await.status, 303);
    stage.is_refused(&token).await;
    stage.is_refused(&again).await;
    stage.is_good(&text(&app, "access_token")).await;

    // The organization has decided, so a new assertion connects it again; the operator can end that.
    let token = scene.token().await;
    stage.is_good(&token).await;
    let oauth = stage.cluster.service_of(1).oauth();
    assert!(service_client::revoke(oauth, &scene.client.id, &RequestInfo::none()).await.unwrap());
    stage.is_refused(&token).await;
    let page = scene.exchange(stage.one(), &scene.claims()).await;
    told("revoked", &page, 401, "invalid_client");
    let rows = oauth_audit::Entity::find().all(stage.cluster.app().db()).await.unwrap();
    let accepted = rows.iter().filter(|row| row.event == "assertion_accepted");
    assert_eq!(accepted.filter(|row| row.user_sub.as_deref() == Some(user.as_str())).count(), 2);
}

#[tokio::test]
async fn a_wrong_assertion_is_refused() {
    let scene = Scene::new().await;
    let (origin, now) = (scene.stage.one().origin().to_owned(), scene.now());
    for (case, member, value, description) in [
        ("another issuer", "iss", json!("https://evil.example"), "its issuer (iss)"),
        ("a slash", "iss", json!(format!("{}/", scene.acme.issuer())), "its issuer (iss)"),
        ("no issuer", "iss", Value::Null, "its issuer (iss)"),
        ("no subject", "sub", Value::Null, "no valid subject"),
        ("empty subject", "sub", json!(""), "no valid subject"),
        ("long subject", "sub", json!("x".repeat(256)), "no valid subject"),
        ("another audience", "aud", json!("https://a.example"), "audience (aud) is not exactly"),
        ("the resource", "aud", json!(format!("{origin}/mcp")), "audience (aud) is not exactly"),
        ("the token endpoint", "aud", json!(format!("{origin}/token")), "audience (aud) is not"),
        ("an audience with a slash", "aud", json!(format!("{origin}/")), "audience (aud) is not"),
        ("two audiences", "aud", json!([origin, "https://a.example"]), "audience (aud) is not"),
        ("no audience", "aud", Value::Null, "audience (aud) is not exactly"),
        ("another resource", "resource", json!("https://a.example/mcp"), "resource is not the MCP"),
        ("the origin", "resource", json!(origin), "its resource is not the MCP endpoint"),
        ("no resource", "resource", Value::Null, "its resource is not the MCP endpoint"),
        ("another client", "client_id", json!("msc_other"), "client_id is not the client"),
        ("no client", "client_id", Value::Null, "client_id is not the client"),
        ("expired", "exp", json!(now - 61), "it has expired"),
        ("no expiry", "exp", Value::Null, "it has no expiry"),
        ("too long", "exp", json!(now + 3_601), "longer than an hour"),
        ("endless", "exp", json!(i64::MAX), "longer than an hour"),
        ("future", "iat", json!(now + 120), "in the future"),
        ("no time of issue", "iat", Value::Null, "when it was issued (iat)"),
        ("not yet", "nbf", json!(now + 120), "not valid yet"),
        ("no id", "jti", Value::Null, "no id (jti)"),
        ("long id", "jti", json!("x".repeat(256)), "no id (jti)"),
        ("a list of scopes", "scope", json!([READ]), "its scope is not a text"),
        ("bound to a key", "cnf", json!({ "jkt": "A".repeat(43) }), "bound to a key (cnf)"),
        ("bound to a certificate", "cnf", json!({ "x5t#S256": "x" }), "not exactly the thumbprint"),
        ("bound twice", "cnf", json!({ "jkt": "x", "kid": "y" }), "not exactly the thumbprint"),
    ] {
        let page = scene.exchange(scene.stage.one(), &with(scene.claims(), member, value)).await;
        Scene::refused(case, &page, "invalid_grant", description);
    }
    for (case, typ) in [("an ID token", "JWT"), ("an access token", "at+jwt"), ("none", "")] {
        let assertion = scene.acme.signed(typ, &scene.claims());
        let page = post(scene.stage.one(), "/token", &scene.form(&assertion)).await;
        Scene::refused(case, &page, "invalid_grant", "its type (typ)");
    }
    for (signature, description) in [
        (Signature::None, "its algorithm is not accepted"),
        (Signature::PublicKeyAsSecret, "its algorithm is not accepted"),
        (Signature::OtherKey, "its signature is wrong"),
        (Signature::OfOtherClaims, "its signature is wrong"),
        (Signature::UnknownKey, "its key is unknown"),
    ] {
        scene.acme.signs(signature);
        let page = scene.exchange(scene.stage.one(), &scene.claims()).await;
        Scene::refused(&format!("{signature:?}"), &page, "invalid_grant", description);
    }
    scene.acme.is_honest();
    let good = || scene.form(&scene.assertion(&scene.claims()));
    let more = |name: &str, value: &str| [good(), owned(&[(name, value)])].concat();
    for (case, form, error, description) in [
        ("no JWT", scene.form("x"), "invalid_grant", "not a signed JWT"),
        ("huge", scene.form(&format!("{}.x", "x".repeat(12_000))), "invalid_grant", "not a signed"),
        ("missing", scene.form(""), "invalid_request", "assertion is required"),
        ("resource", more("resource", "https://a.example/mcp"), "invalid_target", "must be"),
        ("malformed", more("scope", "a\"b"), "invalid_scope", "separated by spaces"),
        ("no known scope", more("scope", "admin"), "invalid_scope", "no requested scope"),
    ] {
        Scene::refused(case, &post(scene.stage.other(), "/token", &form).await, error, description);
    }
    let subject = format!("acme:{SUBJECT}");
    let db = scene.stage.cluster.app().db();
    let user = users::Entity::find_by_id(&subject).one(db).await.expect("the database is there");
    assert_eq!(user, None, "no user was created");

    // A wrong secret, and a client that cannot prove who it is.
    let mut wrong = good();
    wrong[2].1 = "mcs_wrong".to_owned();
    told("wrong secret", &post(scene.stage.one(), "/token", &wrong).await, 401, "invalid_client");
    let public = scene.stage.client_app().await;
    let claims = with(scene.claims(), "client_id", json!(public.id));
    let form = owned(&[
        ("grant_type", GRANT_TYPE),
        ("client_id", &public.id),
        ("assertion", &scene.assertion(&claims)),
    ]);
    let page = post(scene.stage.one(), "/token", &form).await;
    Scene::refused("public", &page, "unauthorized_client", "a secret or a key");
    scene.stage.is_good(&scene.token().await).await;
}

#[tokio::test]
async fn any_client_that_proves_who_it_is_may_exchange_what_was_issued_to_it() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let key = SigningKey::generate();
    let keys = service_client::parse_keys(&json!({ "keys": [key.jwk()] }).to_string()).unwrap();
    let by_key = create(stage, "by-key", Scopes::named(READ), CredentialsOf::Keys(keys)).await;
    let id = by_key.id.as_str();
    let proof = json!({
        "iss": id, "sub": id, "aud": stage.one().origin(), "exp": scene.now() + 60, "jti": "1",
    });
    let proof = key.token(&json!({ "alg": "ES256", "kid": key.id }), &proof);
    let assertion = scene.assertion(&with(scene.claims(), "client_id", json!(id)));
    let form = owned(&[
        ("grant_type", GRANT_TYPE),
        ("assertion", &assertion),
        ("client_assertion", &proof),
        ("client_assertion_type", ASSERTION_TYPE),
    ]);
    let page = post(stage.one(), "/token", &form).await;
    assert_eq!(page.json()["scope"], READ, "the client may have no more: {}", page.text());

    let registered = json!({
        "redirect_uris": [tests::browser::REDIRECT_URI], "client_name": "Editor",
        "token_endpoint_auth_method": "client_secret_post",
    });
    let registered = tests::browser::register(stage.one(), registered.to_string()).await.json();
    let id = registered["client_id"].as_str().expect("it is registered");
    let assertion = scene.assertion(&with(scene.claims(), "client_id", json!(id)));
    let form = owned(&[
        ("grant_type", GRANT_TYPE),
        ("client_id", id),
        ("client_secret", registered["client_secret"].as_str().expect("it has a secret")),
        ("assertion", &assertion),
    ]);
    let page = post(stage.other(), "/token", &form).await;
    assert_eq!(page.status, 200, "{}", page.text());
    stage.is_good(&text(&page.json(), "access_token")).await;
}

#[tokio::test]
async fn the_scope_is_what_assertion_client_and_request_have_in_common() {
    let scene = Scene::new().await;
    let both = format!("{READ} {WRITE}");
    for (asserted, requested, granted) in [
        (json!(both), None, Some(&*both)),
        (json!(both), Some(READ), Some(READ)),
        (json!(READ), Some(&*both), Some(READ)),
        (json!(format!("{READ} of:others")), Some("openid items:read"), Some(READ)),
        (Value::Null, Some(WRITE), Some(WRITE)),
        (Value::Null, None, Some(READ)),
        (json!(READ), Some(WRITE), None),
        (json!("of:others"), None, None),
        (json!(""), None, None),
    ] {
        let case = format!("{asserted} {requested:?}");
        let claims = with(scene.claims(), "scope", asserted);
        let mut form = scene.form(&scene.assertion(&claims));
        form.extend(requested.map(|scope| ("scope".to_owned(), scope.to_owned())));
        let page = post(scene.stage.one(), "/token", &form).await;
        match granted {
            Some(granted) => assert_eq!(page.json()["scope"], granted, "{case}: {}", page.text()),
            None => Scene::refused(&case, &page, "invalid_scope", "no requested scope"),
        }
    }
}

#[tokio::test]
async fn of_many_copies_of_an_assertion_at_two_instances_one_counts() {
    let scene = Scene::new().await;
    let form = &scene.form(&scene.assertion(&scene.claims()));
    let webs = [scene.stage.one(), scene.stage.other()];
    let pages = join_all((0..16).map(|number| post(webs[number % 2], "/token", form))).await;
    let (won, lost): (Vec<_>, Vec<_>) = pages.iter().partition(|page| page.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 15));
    for page in lost {
        Scene::refused("replayed", page, "invalid_grant", "used before (jti)");
    }
    assert_eq!(scene.stage.audited("assertion_replayed").await, 15);
    // Many assertions about one person at once create one grant.
    let forms: Vec<_> = (0..8).map(|_| scene.form(&scene.assertion(&scene.claims()))).collect();
    let requests =
        forms.iter().enumerate().map(|(number, form)| post(webs[number % 2], "/token", form));
    for page in join_all(requests).await {
        assert_eq!(page.status, 200, "{}", page.text());
    }
    assert_eq!(scene.stage.audited("assertion_accepted").await, 1);
}

#[tokio::test]
async fn the_access_policy_decides_about_what_the_assertion_says() {
    let (email, groups) = ("OIDC_ACME_ALLOWED_USERS", "OIDC_ACME_ALLOWED_GROUPS");
    let domains = "OIDC_ACME_ALLOWED_DOMAINS";
    let ada = json!({ "email": "ada@example.com", "email_verified": true });
    for (settings, person, refusal) in [
        (&[(domains, "example.com")][..], ada.clone(), None),
        (&[(domains, "other.example")], ada.clone(), Some("is for accounts of other.example")),
        (
            &[(domains, "example.com")],
            json!({}),
            Some("does not contain; let the identity provider add them: email"),
        ),
        (
            &[(domains, "example.com")],
            json!({ "email": "ada@example.com" }),
            Some("add them: email_verified"),
        ),
        (
            &[(domains, "example.com")],
            json!({ "email": "ada@example.com", "email_verified": false }),
            Some("does not say that yours is verified"),
        ),
        (&[(email, "ada@example.com")], ada.clone(), None),
        (&[(email, "bob@example.com")], ada.clone(), Some("is not on the list")),
        (&[(email, "ada@example.com")], json!({}), Some("add them: email")),
        (&[(email, "id:248289761001")], json!({}), None),
        (&[(groups, "writers")], json!({ "groups": ["writers"] }), None),
        (&[(groups, "writers")], json!({ "groups": ["readers"] }), Some("in none of them")),
        (&[(groups, "writers")], json!({}), Some("add them: groups")),
        (
            &[(domains, "example.com"), (groups, "writers")],
            json!({}),
            Some("add them: email, groups"),
        ),
    ] {
        let scene = Scene::with(settings).await;
        let mut claims = scene.claims();
        for (claim, value) in person.as_object().expect("it is an object") {
            claims[claim] = value.clone();
        }
        let page = scene.exchange(scene.stage.one(), &claims).await;
        let case = format!("{settings:?} {person}");
        match refusal {
            None => assert_eq!(page.status, 200, "{case}: {}", page.text()),
            Some(description) => Scene::refused(&case, &page, "invalid_grant", description),
        }
    }

    // Whom the operator has blocked stays out.
    let scene = Scene::new().await;
    let token = scene.token().await;
    let oauth = scene.stage.cluster.service_of(0).oauth();
    let user = mcp::UserId::new(format!("acme:{SUBJECT}"));
    assert!(account::block(oauth, &user, &RequestInfo::none()).await.unwrap());
    scene.stage.is_refused(&token).await;
    let page = scene.exchange(scene.stage.other(), &scene.claims()).await;
    Scene::refused("blocked", &page, "invalid_grant", "has blocked this account");
}

#[tokio::test]
async fn an_outage_is_told_from_a_refusal_and_uses_up_no_assertion() {
    let scene = Scene::new().await;
    scene.acme.answers(Question::Keys, Manner::Status(503));
    let assertion = scene.form(&scene.assertion(&scene.claims()));
    let page = post(scene.stage.one(), "/token", &assertion).await;
    told("keys", &page, 503, "temporarily_unavailable");
    scene.acme.answers(Question::Keys, Manner::Well);
    scene.stage.hide("oauth_grants").await;
    let page = post(scene.stage.one(), "/token", &assertion).await;
    told("database", &page, 503, "temporarily_unavailable");
    scene.stage.bring_back("oauth_grants").await;
    let page = post(scene.stage.other(), "/token", &assertion).await;
    assert_eq!(page.status, 200, "{}", page.text());

    // A new key is found at once.
    scene.acme.rotate();
    scene.token().await;
}

#[tokio::test]
async fn an_assertion_of_a_provider_without_the_setting_is_not_trusted() {
    let (other, scene) = (OpenId::named("BETA").await, Scene::new().await);
    let claims = with(scene.claims(), "iss", json!(other.issuer()));
    let form = scene.form(&other.signed(ID_JAG, &claims));
    let page = post(scene.stage.one(), "/token", &form).await;
    Scene::refused("not configured", &page, "invalid_grant", "its issuer (iss)");

    let beta = OpenId::named("BETA").await;
    let [issuer, client_id, secret] = beta.settings();
    let scene =
        Scene::with(&[(issuer.0, &issuer.1), (client_id.0, &client_id.1), (secret.0, &secret.1)])
            .await;
    let claims = with(scene.claims(), "iss", json!(beta.issuer()));
    let form = scene.form(&beta.signed(ID_JAG, &claims));
    let page = post(scene.stage.one(), "/token", &form).await;
    Scene::refused("not turned on", &page, "invalid_grant", "its issuer (iss)");
}
