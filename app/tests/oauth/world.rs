//! An app with an empty SQLite database, a fake GitHub, and a host of client metadata documents.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use app::{App, Dependencies, config::Config};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use mcp::{
    Bus, Signal, StoreError,
    store::{CatalogDigest, Subscription, Topic},
};
use oauth::{
    audit::RequestInfo,
    authorize::{self, Begun},
    cimd::Resolver,
    consent::{self, ConsentView, Decision, Next},
    login::{self, CallbackError, FinishedLogin, StartedLogin},
    register,
    scope::Scopes,
};
use platform::clock::MockClock;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
};

use crate::host::{Host, ReceivedRequest, Reply};

pub(crate) const ISSUER: &str = "http://localhost:8080";
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// A public IP address: the default result of the fake resolver for every host name.
pub(crate) const PUBLIC: &str = "93.184.216.34";

pub(crate) struct World {
    pub(crate) app: App,
    pub(crate) clock: Arc<MockClock>,
    pub(crate) github: Host,
    pub(crate) documents: Host,
    pub(crate) resolver: Arc<FakeResolver>,
    dependencies: Dependencies,
    config: Config,
    variables: HashMap<String, String>,
    _data: TempDir,
}

/// A resolver with configurable results. Every address that passes the checks is connected to one
/// local host.
#[derive(Debug)]
pub(crate) struct FakeResolver {
    answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    host: Mutex<SocketAddr>,
    pub(crate) lookups: AtomicUsize,
}

impl FakeResolver {
    /// Sets the results of the next lookups of a name; the last one is repeated.
    pub(crate) fn set(&self, name: &str, answers: &[&[&str]]) {
        let answers = answers
            .iter()
            .map(|addresses| addresses.iter().map(|address| address.parse().unwrap()).collect())
            .collect();
        self.answers.lock().unwrap().insert(name.to_owned(), answers);
    }

    /// Connects every checked address to this host from now on.
    pub(crate) fn route_to(&self, host: SocketAddr) {
        *self.host.lock().unwrap() = host;
    }
}

#[async_trait]
impl Resolver for FakeResolver {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        if host == "silent.example.com" {
            std::future::pending::<()>().await;
        }
        let mut answers = self.answers.lock().unwrap();
        let Some(answers) = answers.get_mut(host) else {
            return Ok(vec![PUBLIC.parse().unwrap()]);
        };
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }

    fn route(&self, _: IpAddr) -> SocketAddr {
        *self.host.lock().unwrap()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// Starts an app with further variables. The value `-` removes a variable.
    pub(crate) async fn with(variables: &[(&str, &str)]) -> Self {
        let data = TempDir::new().unwrap();
        let github = Host::plain(octocat).await;
        let (acceptor, roots) = certificate();
        let documents = Host::tls(acceptor, |request| {
            Reply::json(200, &document(&format!("https://app.example.com{}", request.target)))
        })
        .await;
        let resolver = Arc::new(FakeResolver {
            answers: Mutex::default(),
            host: Mutex::new(documents.address),
            lookups: AtomicUsize::new(0),
        });
        let url = format!("http://{}", github.address);
        let mut all: HashMap<&str, String> = HashMap::from([
            ("PUBLIC_URL", ISSUER.to_owned()),
            ("DATA_DIR", data.path().to_str().unwrap().to_owned()),
            ("JWT_SIGNING_SECRET", "the signing secret of all these tests".to_owned()),
            ("DATA_KEYS", "the data key of all of these tests".to_owned()),
            ("GITHUB_CLIENT_ID", "our-github-app".to_owned()),
            ("GITHUB_CLIENT_SECRET", "our-github-secret".to_owned()),
            ("GITHUB_URL", url.clone()),
            ("GITHUB_API_URL", url),
        ]);
        for (name, value) in variables {
            if *value == "-" {
                all.remove(name);
            } else {
                all.insert(name, (*value).to_owned());
            }
        }
        let config =
            Config::read(&tests::fixtures::product(), |name| all.get(name).cloned()).unwrap();
        let clock = Arc::new(MockClock::at(start_time()));
        let mut dependencies = Dependencies::in_process(Arc::clone(&clock) as _, Arc::new(NoBus));
        dependencies.resolver = Arc::clone(&resolver) as _;
        dependencies.roots = Some(roots.into());
        let app = App::connect_with(&config, dependencies.clone()).await.unwrap();
        let schema = app.db().schema_connection().await.unwrap();
        tests::fixtures::product().schema().migrate(&schema).await.unwrap();
        Self {
            app,
            clock,
            github,
            documents,
            resolver,
            dependencies,
            config,
            variables: all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            _data: data,
        }
    }

    /// Connects another instance to the same stores and the same database.
    pub(crate) async fn another(&self) -> App {
        App::connect_with(&self.config, self.dependencies.clone()).await.unwrap()
    }

    /// Connects another instance with some variables changed.
    pub(crate) async fn another_with(&self, variables: &[(&str, &str)]) -> App {
        let changed = |name: &str| variables.iter().find(|(other, _)| *other == name);
        let config = Config::read(&tests::fixtures::product(), |name| match changed(name) {
            Some((_, value)) => Some((*value).to_owned()),
            None => self.variables.get(name).cloned(),
        });
        App::connect_with(&config.unwrap(), self.dependencies.clone()).await.unwrap()
    }

    /// Registers a client with these redirect URIs, and returns its id.
    pub(crate) async fn client(&self, redirect_uris: &[&str]) -> String {
        self.registered(&json!({"client_name": "App", "redirect_uris": redirect_uris})).await
    }

    pub(crate) async fn registered(&self, metadata: &Value) -> String {
        register::register(self.app.oauth(), metadata.to_string().as_bytes(), &request())
            .await
            .unwrap()
            .client_id
    }

    /// Begins an authorization with a valid request.
    pub(crate) async fn begin(&self, client: &str, redirect_uri: &str) -> Begun {
        authorize::begin(self.app.oauth(), &valid_request(client, redirect_uri), &request())
            .await
            .unwrap()
    }

    /// Begins and approves an authorization. Returns the state and the nonce of the login at
    /// GitHub.
    pub(crate) async fn start_login(&self, client: &str, redirect_uri: &str) -> (String, String) {
        let begun = self.begin(client, redirect_uri).await;
        match self.decide(&begun, approve()).await {
            Next::ToSignIn(StartedLogin { state, nonce, .. }) => (state, nonce),
            other @ Next::ToClient { .. } => panic!("the login was not started: {other:?}"),
        }
    }

    /// Returns the content of the consent page.
    pub(crate) async fn view(&self, begun: &Begun) -> ConsentView {
        let nonce = Some(&*begun.browser_nonce);
        consent::view(self.app.oauth(), &begun.transaction, nonce).await.unwrap()
    }

    pub(crate) async fn decide(&self, begun: &Begun, decision: Decision) -> Next {
        let nonce = Some(&*begun.browser_nonce);
        let view = self.view(begun).await;
        consent::decide(
            self.app.oauth(),
            &begun.transaction,
            &view.csrf,
            nonce,
            decision,
            &request(),
        )
        .await
        .unwrap()
    }

    /// Returns from GitHub with a code.
    pub(crate) async fn finish_login(
        &self,
        started: &(String, String),
    ) -> Result<FinishedLogin, CallbackError> {
        let pairs = pairs(&[("state", &started.0), ("code", "a-code-of-github")]);
        login::callback(self.app.oauth(), "github", &pairs, Some(&started.1), &request()).await
    }

    /// Returns the number of entries of this event in the audit log.
    pub(crate) async fn audit_count(&self, event: &str) -> usize {
        use sea_orm::EntityTrait as _;

        let rows = entity::oauth_audit::Entity::find().all(self.app.db()).await.unwrap();
        rows.iter().filter(|row| row.event == event).count()
    }
}

pub(crate) fn start_time() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

pub(crate) fn request() -> RequestInfo {
    RequestInfo::new("a-request", Some("203.0.113.7".parse().unwrap()), Some("a browser"))
}

/// Approves the requested scopes without further ones.
pub(crate) fn approve() -> Decision {
    Decision::Approve { added: Scopes::default(), provider: None }
}

pub(crate) fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))
}

/// Returns the parameters of a valid authorization request.
pub(crate) fn valid_request(client: &str, redirect_uri: &str) -> Vec<(String, String)> {
    pairs(&[
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", redirect_uri),
        ("code_challenge", &challenge()),
        ("code_challenge_method", "S256"),
        ("scope", "items:read items:write"),
        ("state", "a state & more"),
        ("resource", "http://localhost:8080/mcp"),
    ])
}

/// Returns the query parameters of a URI.
pub(crate) fn query(uri: &str) -> HashMap<String, String> {
    let url = url::Url::parse(uri).unwrap();
    let all: Vec<_> = url.query_pairs().into_owned().collect();
    let map: HashMap<_, _> = all.iter().cloned().collect();
    assert_eq!(all.len(), map.len(), "a parameter occurs twice in {uri}");
    map
}

/// Returns a valid client metadata document for its URL.
pub(crate) fn document(url: &str) -> Value {
    json!({
        "client_id": url,
        "client_name": "Document App",
        "redirect_uris": ["https://app.example.com/cb", "http://localhost/cb"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    })
}

/// A GitHub without failures: the user is Octocat, an active member of `octo-org`.
pub(crate) fn octocat(request: &ReceivedRequest) -> Reply {
    let path = request.target.split('?').next().unwrap();
    match (request.method.as_str(), path) {
        ("POST", "/login/oauth/access_token") => Reply::json(
            200,
            &json!({"access_token": "gho_secret", "token_type": "bearer", "scope": ""}),
        ),
        ("GET", "/user") => {
            Reply::json(200, &json!({"id": 583_231, "login": "Octocat", "name": "O"}))
        }
        ("GET", "/user/memberships/orgs/octo-org") => Reply::json(200, &json!({"state": "active"})),
        ("DELETE", "/applications/our-github-app/token") => {
            Reply::Answer(204, "text/plain", String::new())
        }
        _ => Reply::json(404, &json!({"message": "Not Found"})),
    }
}

fn certificate() -> (TlsAcceptor, Vec<u8>) {
    let names = ["app.example.com", "other.example.com", "away.example.com", "claude.ai"];
    let generated = rcgen::generate_simple_self_signed(names.map(str::to_owned)).unwrap();
    let key = PrivateKeyDer::try_from(generated.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![generated.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), generated.cert.pem().into_bytes())
}

/// A bus without subscribers.
#[derive(Debug)]
struct NoBus;

#[async_trait]
impl Bus for NoBus {
    async fn publish(&self, _: Signal) -> Result<(), StoreError> {
        Ok(())
    }

    async fn subscribe(&self, _: Topic) -> Result<Subscription, StoreError> {
        Err(StoreError::new(None, "this bus has no subscriptions"))
    }

    async fn have_subscribers(&self, topics: &[Topic]) -> Result<Vec<bool>, StoreError> {
        Ok(vec![false; topics.len()])
    }

    async fn replace_catalog(
        &self,
        _: &CatalogDigest,
    ) -> Result<Option<CatalogDigest>, StoreError> {
        Ok(None)
    }
}
