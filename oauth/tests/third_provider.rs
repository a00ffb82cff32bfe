//! Signs users in with an identity provider that the program does not contain, to test that a
//! provider only has to implement the trait.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use entity::{login_pins, upstream_tokens};
use mcp::UserId;
use oauth::{
    Dependents, EndedAccess, Parts, Removed, Server, Settings, Stores,
    audit::RequestInfo,
    authorize,
    cimd::{KnownDocuments, SystemResolver},
    client,
    code::{self, Redemption},
    consent::{self, Decision, Next},
    data_keys::DataKeys,
    login::{
        self, CallbackError, Destination, FinishedLogin, IdentityProvider, StartedLogin,
        allow_list,
        policy::{self, AccessPolicy, Allowed, DenialReason, PolicyDecision},
        provider::{
            Attributes, CallbackResult, CodeExchange, Deadline, Identity, InvalidCallback,
            Membership, ProviderError,
        },
        users,
    },
    pkce::{Challenge, Verifier},
    redirect_uri::Schemes,
    refresh, register,
    scope::{Scope, ScopeList, Scopes},
};
use platform::{
    clock::{Clock, MockClock},
    db::{self, DatabaseSettings, Failure, Transaction},
    fetch::Fetcher,
    proxies::Proxies,
    public_url::PublicUrl,
    secret::Secret,
};
use sea_orm::{ActiveModelTrait as _, EntityTrait as _, PaginatorTrait as _, Set};
use serde_json::json;
use tempfile::TempDir;
use url::Url;

const REDIRECT_URI: &str = "http://localhost/cb";

/// The identity provider of a company. The code of a callback is the subject of a user, each of
/// whom has the login `ada`.
#[derive(Debug)]
struct Company {
    policy: AccessPolicy,
    revoked: Mutex<usize>,
}

#[async_trait]
impl IdentityProvider for Company {
    fn id(&self) -> &'static str {
        "company"
    }

    fn label(&self) -> &'static str {
        "the company"
    }

    fn callback_path(&self) -> Option<&'static str> {
        Some("/oauth/company/callback")
    }

    fn policy(&self) -> &AccessPolicy {
        &self.policy
    }

    async fn start(
        &self,
        state: &str,
        verifier: &Verifier,
        _deadline: Deadline,
    ) -> Result<Destination, ProviderError> {
        let challenge = Challenge::of(verifier);
        let url = format!("https://login.company.example/?state={state}&challenge={challenge}");
        Ok(Destination::External(url))
    }

    fn read_callback(
        &self,
        parameters: &[(String, String)],
    ) -> Result<CallbackResult, InvalidCallback> {
        let code = parameters.iter().find(|(name, _)| name == "code");
        let (_, code) = code.ok_or(InvalidCallback::Malformed)?;
        Ok(CallbackResult::Code(code.clone()))
    }

    async fn finish(&self, exchange: CodeExchange<'_>) -> Result<Identity, ProviderError> {
        Ok(Identity {
            subject: exchange.code.to_owned(),
            login: "Ada".to_owned(),
            listed_as: Some("ada".to_owned()),
            name: None,
            attributes: Attributes::default(),
            token: Some(Secret::new("a token of the company")),
        })
    }

    async fn membership(
        &self,
        token: &Secret,
        group: &str,
        _deadline: Deadline,
    ) -> Result<Membership, ProviderError> {
        assert_eq!((token.expose(), group), ("a token of the company", "engineers"));
        Ok(Membership::Active)
    }

    fn revoke_token(&self, _token: &Secret) {
        *self.revoked.lock().unwrap() += 1;
    }

    async fn check(&self) -> anyhow::Result<String> {
        Ok("available".to_owned())
    }
}

/// Dependents that own no data.
struct NoDependents;

#[async_trait]
impl Dependents for NoDependents {
    async fn delete_owned(&self, _: &Transaction, _: &UserId) -> Result<Removed, Failure> {
        Ok(Removed { count: 0, one: "note", many: "notes" })
    }

    async fn account_deleted(&self, _user: &UserId) {}

    async fn access_ended(&self, _ended: EndedAccess) -> Result<(), Failure> {
        Ok(())
    }
}

struct World {
    server: Server,
    company: Arc<Company>,
    client: String,
    _data: TempDir,
}

const SCOPES: &[Scope] = &[Scope::reads("things:read", "Read your things")];

impl World {
    async fn with(policy: AccessPolicy) -> Self {
        let data = TempDir::new().unwrap();
        let url = format!("sqlite:{}", data.path().join("oauth.db").display());
        let database =
            DatabaseSettings { url: Secret::new(url), max_connections: 2, program: "test" };
        let db = db::connect(&database).await.unwrap();
        migration::Schema::base().migrate(&db.schema_connection().await.unwrap()).await.unwrap();

        let beginning = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(MockClock::at(beginning));
        let public_url = PublicUrl::on_loopback(8080);
        let company = Arc::new(Company { policy, revoked: Mutex::default() });
        let secret = Secret::new("the signing secret of these tests");
        let settings = Settings {
            things: "things",
            scopes: ScopeList(SCOPES),
            public_url: public_url.clone(),
            providers: vec![Arc::clone(&company) as _],
            data_keys: DataKeys::new(&[], std::slice::from_ref(&secret)),
            redirect_schemes: Schemes::default(),
            clients: Vec::new(),
            client_documents: false,
            known_documents: KnownDocuments::default(),
            jwt_signing_secret: secret,
            client_credentials: false,
            access_token_ttl: Duration::from_hours(1),
            dpop: oauth::dpop::Mode::Off,
            audit_retention: Duration::from_hours(24),
            ended_grant_retention: Duration::from_hours(24),
        };
        let fetcher = Fetcher::new(
            Arc::new(SystemResolver),
            None,
            Proxies::default(),
            "test",
            public_url.as_str(),
        );
        let parts = Parts {
            db,
            bus: mcp::Stores::in_memory(Duration::from_hours(1)).bus,
            stores: Stores::in_process(&clock),
            clock,
            fetcher: Arc::new(fetcher),
            dependents: Arc::new(NoDependents),
        };
        let server = Server::new(settings, parts);
        let metadata = json!({ "client_name": "App", "redirect_uris": [REDIRECT_URI] });
        let registered =
            register::register(&server, metadata.to_string().as_bytes(), &request()).await;
        Self { server, company, client: registered.unwrap().client_id, _data: data }
    }

    /// A user authorizes the client. Returns the query of the redirect to the client, and the
    /// verifier of the client.
    async fn sign_in(
        &self,
        subject: &str,
    ) -> Result<(HashMap<String, String>, Verifier), CallbackError> {
        let (server, verifier) = (&self.server, Verifier::generate());
        let challenge = Challenge::of(&verifier).to_string();
        let asked = pairs(&[
            ("response_type", "code"),
            ("client_id", &self.client),
            ("redirect_uri", REDIRECT_URI),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let begun = authorize::begin(server, &asked, &request()).await.unwrap();
        let (id, nonce) = (&begun.transaction, Some(&*begun.browser_nonce));
        let view = consent::view(server, id, nonce).await.unwrap();
        assert!(view.sign_in.unwrap().contains("you sign in with the company"));
        let yes = Decision::Approve { added: Scopes::default(), provider: None };
        let next = consent::decide(server, id, &view.csrf, nonce, yes, &request()).await;
        let Next::ToSignIn(StartedLogin { destination, state, nonce }) = next.unwrap() else {
            panic!("not to the provider");
        };
        let Destination::External(url) = destination else { panic!("not to the provider") };
        assert!(url.starts_with("https://login.company.example/") && url.contains(&state));

        let back = pairs(&[("state", &state), ("code", subject)]);
        for another in ["github", "dev", "unknown"] {
            let other = login::callback(server, another, &back, Some(&nonce), &request()).await;
            assert_eq!(other.unwrap_err(), CallbackError::NotFound, "{another}");
        }
        let finished = login::callback(server, "company", &back, Some(&nonce), &request()).await?;
        let FinishedLogin::ToClient { uri, .. } = finished else { panic!("not to the client") };
        Ok((Url::parse(&uri).unwrap().query_pairs().into_owned().collect(), verifier))
    }

    fn revoked(&self) -> usize {
        *self.company.revoked.lock().unwrap()
    }
}

fn request() -> RequestInfo {
    RequestInfo::new("a-request", None, None)
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn its_users_sign_in_and_stay_connected() {
    let world = World::with(AccessPolicy::default()).await;
    let server = &world.server;
    let (answer, verifier) = world.sign_in("employee-7").await.unwrap();
    let client = client::find_snapshot(server, &world.client).await.unwrap();
    let redemption = Redemption {
        code: &answer["code"],
        verifier: verifier.expose(),
        redirect_uri: Some(REDIRECT_URI),
        resource: &[],
        dpop_key: None,
        request: request(),
    };
    let tokens = code::redeem(server, &client, redemption).await.unwrap();
    let claims = server.tokens().verify(tokens.access_token.expose()).await.unwrap();
    assert_eq!(claims.user.as_str(), "company:employee-7");
    let row = users::get(server.db(), &claims.user).await.unwrap().unwrap();
    assert_eq!(row.provider.as_deref(), Some("company"));
    assert_eq!(row.provider_subject.as_deref(), Some("employee-7"));
    assert_eq!((row.login.as_str(), row.github_id), ("Ada", None));
    assert_eq!(world.revoked(), 1, "the token is not needed");

    let token = tokens.refresh_token.unwrap();
    let rotation = refresh::Rotation {
        token: token.expose(),
        scope: None,
        resource: &[],
        dpop_key: None,
        request: request(),
    };
    assert!(refresh::rotate(server, &client, rotation).await.is_ok());
    let github_user = UserId::new("github:1");
    let denied = PolicyDecision::Denied(DenialReason::SignInAgain);
    assert_eq!(policy::recheck(server, &github_user).await, denied, "it is not configured");
}

#[tokio::test]
async fn its_logins_are_pinned_beside_those_of_another_provider() {
    let policy = AccessPolicy {
        logins: vec![Allowed::Login("ada".into()), Allowed::Subject("employee-9".into())],
        ..AccessPolicy::default()
    };
    let world = World::with(policy).await;
    let db = world.server.db();
    // The same login at GitHub, pinned by the earlier version.
    login_pins::ActiveModel {
        login: Set("ada".to_owned()),
        github_id: Set(Some(7)),
        pinned_at: Set(world.server.clock().now()),
        ..Default::default()
    }
    .insert(db)
    .await
    .unwrap();

    assert!(world.sign_in("employee-7").await.is_ok());
    assert!(world.sign_in("employee-9").await.is_ok(), "listed by subject");
    let Err(CallbackError::Refused(refusal)) = world.sign_in("employee-8").await else {
        panic!("another account with the login was admitted");
    };
    assert!(refusal.sentence.contains("belonged to another account"), "{}", refusal.sentence);
    assert_eq!(login_pins::Entity::find().count(db).await.unwrap(), 2);

    assert_eq!(allow_list::enforce(&world.server).await.unwrap(), 0, "all are on the list");
    for user in ["company:employee-7", "company:employee-9"] {
        let decision = policy::recheck(&world.server, &UserId::new(user)).await;
        assert_eq!(decision, PolicyDecision::Admitted, "{user}");
    }
}

#[tokio::test]
async fn membership_in_its_groups_is_checked_again() {
    let policy = AccessPolicy { org: Some("engineers".into()), ..AccessPolicy::default() };
    let world = World::with(policy).await;
    assert!(world.sign_in("employee-7").await.is_ok());
    let tokens = upstream_tokens::Entity::find().all(world.server.db()).await.unwrap();
    assert_eq!(tokens[0].user_sub, "company:employee-7");
    assert_eq!(world.revoked(), 0, "the token is stored");
    let user = UserId::new("company:employee-7");
    assert_eq!(policy::recheck(&world.server, &user).await, PolicyDecision::Admitted);
}
