//! A fake OpenID Connect provider with the endpoints that a sign-in needs, which can fail and lie in many
//! ways.
//!
//! Every user is signed in already and approves at once. It is strict: the client authenticates, PKCE with
//! S256 is verified, a nonce is required, and a code or a refresh token can be exchanged once.

mod answers;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use poem::{endpoint, listener::TcpAcceptor};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use self::answers::{Inner, State};
use crate::{
    fake_endpoint::{Manner, serve},
    signing_key::SigningKey,
};

/// The client id of the product, with characters that have to be encoded.
pub const CLIENT_ID: &str = "notes: our client";

/// The client secret of the product, with characters that have to be encoded.
pub const CLIENT_SECRET: &str = "the secret%of~our app+";

/// The subject of the user who is signed in at first.
pub const SUBJECT: &str = "248289761001";

/// An endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// `/.well-known/openid-configuration`.
    Discovery,
    /// `/authorize`.
    Authorize,
    /// `/token`, with a code.
    Exchange,
    /// `/token`, with a refresh token.
    Refresh,
    /// `/userinfo`.
    Userinfo,
    /// `/keys`.
    Keys,
}

/// How an ID token is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signature {
    /// With the published key.
    #[default]
    Good,
    /// `alg: none`, without a signature.
    None,
    /// `alg: HS256`, with the published key as the secret.
    PublicKeyAsSecret,
    /// With a key that is not published, under the id of the published one.
    OtherKey,
    /// With a key that is not published, under a new id each time.
    UnknownKey,
    /// With the published key, but of other claims.
    OfOtherClaims,
}

/// A running provider. It stops when it is dropped.
pub struct OpenId {
    origin: String,
    name: &'static str,
    state: Arc<State>,
    running: JoinHandle<()>,
}

impl OpenId {
    /// Starts a provider that is configured as `ACME`.
    pub async fn start() -> Self {
        Self::named("ACME").await
    }

    /// Starts a provider that is configured under this name in upper case.
    pub async fn named(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let origin = format!("http://{}", listener.local_addr().expect("it is bound"));
        let user = json!({ "sub": SUBJECT, "email": "ada@example.com", "email_verified": true });
        let inner = Inner {
            key: SigningKey::generate(),
            manners: HashMap::new(),
            asked: HashMap::new(),
            discovery: json!({}),
            userinfo: user.clone(),
            user,
            change: None,
            signature: Signature::Good,
            refreshes: false,
            codes: HashMap::new(),
            refresh_tokens: Vec::new(),
            access_tokens: Vec::new(),
            offset: 0,
        };
        let state =
            State { origin: origin.clone(), inner: Mutex::new(inner), given: Mutex::default() };
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        let answering = endpoint::make(move |request| {
            let state = Arc::clone(&shared);
            async move { state.answer(request).await }
        });
        let acceptor = TcpAcceptor::from_tokio(listener).expect("it is a plain listener");
        let running = tokio::spawn(serve(acceptor, answering));
        Self { origin, name, state, running }
    }

    /// The settings for sign-in through this provider.
    pub fn settings(&self) -> [(&'static str, String); 3] {
        // The names of variables are static in tests, and there are few of them.
        let variable = |setting| &*format!("OIDC_{}_{setting}", self.name).leak();
        [
            (variable("ISSUER"), self.origin.clone()),
            (variable("CLIENT_ID"), CLIENT_ID.to_owned()),
            (variable("CLIENT_SECRET"), CLIENT_SECRET.to_owned()),
        ]
    }

    /// The issuer: `http://127.0.0.1:port`.
    pub fn issuer(&self) -> &str {
        &self.origin
    }

    /// The path of the callback.
    pub fn callback(&self) -> String {
        format!("/oauth/{}/callback", self.name.to_lowercase())
    }

    /// Sets the claims about the user, in the ID token and the userinfo response.
    pub fn sign_in_as(&self, user: Value) {
        let mut inner = self.state.lock();
        inner.userinfo = user.clone();
        inner.user = user;
    }

    /// Sets only the userinfo response.
    pub fn userinfo(&self, userinfo: Value) {
        self.state.lock().userinfo = userinfo;
    }

    /// Changes the claims of ID tokens before they are signed.
    pub fn claims(&self, change: impl Fn(&mut Value) + Send + Sync + 'static) {
        self.state.lock().change = Some(Arc::new(change));
    }

    /// Sets how ID tokens are signed.
    pub fn signs(&self, signature: Signature) {
        self.state.lock().signature = signature;
    }

    /// Signs a JWT of this type with these claims, such as an identity assertion (ID-JAG), as
    /// [`Self::signs`] says. A client would get it by token exchange.
    pub fn signed(&self, typ: &str, claims: &Value) -> String {
        let token = self.state.lock().sign(typ, claims);
        self.state
            .given
            .lock()
            .expect("no test panics while it holds the lock")
            .push(token.clone());
        token
    }

    /// Issues good ID tokens again.
    pub fn is_honest(&self) {
        let mut inner = self.state.lock();
        (inner.change, inner.signature) = (None, Signature::Good);
    }

    /// Replaces the key: only the new one is published.
    pub fn rotate(&self) {
        self.state.lock().key = SigningKey::generate();
    }

    /// Changes members of the discovery document.
    pub fn discovery(&self, members: Value) {
        self.state.lock().discovery = members;
    }

    /// Issues refresh tokens.
    pub fn issues_refresh_tokens(&self) {
        self.state.lock().refreshes = true;
    }

    /// Ends all sessions: no refresh token is valid any longer.
    pub fn ends_sessions(&self) {
        self.state.lock().refresh_tokens.clear();
    }

    /// Advances its clock.
    pub fn pass(&self, seconds: i64) {
        self.state.lock().offset += seconds;
    }

    /// Sets how an endpoint responds.
    pub fn answers(&self, question: Question, manner: Manner) {
        self.state.lock().manners.insert(question, manner);
    }

    /// Number of requests to an endpoint.
    pub fn asked(&self, question: Question) -> usize {
        self.state.lock().asked.get(&question).copied().unwrap_or(0)
    }

    /// Every issued code and token, which are secret.
    pub fn secrets(&self) -> Vec<String> {
        self.state.given.lock().expect("no test panics while it holds the lock").clone()
    }
}

impl fmt::Debug for OpenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenId").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Drop for OpenId {
    fn drop(&mut self) {
        self.running.abort();
    }
}
