//! A fake GitHub with the endpoints that a sign-in needs, which can fail in many ways.
//!
//! Every user is signed in already and approves at once; a cookie of the browser can name the account. It
//! is as strict as the real one: PKCE with S256 is verified, a code can be exchanged once, and errors of
//! the exchange have status 200.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderValue, Method, StatusCode, header};
use poem::{Request, Response, endpoint, listener::TcpAcceptor};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, task::JoinHandle};
use url::form_urlencoded;

use crate::fake_endpoint::{self, Manner, fields, found, serve};

/// The client id of the product at GitHub.
pub const CLIENT_ID: &str = "Iv1.0123456789abcdef";

/// The client secret of the product at GitHub.
pub const CLIENT_SECRET: &str = "the secret of our app at GitHub";

/// The e-mail address of every account, which the product must not store or log.
pub const EMAIL: &str = "octocat@mail.example";

/// The cookie that signs a browser in to an account; its value is the login.
pub const ACCOUNT_COOKIE: &str = "github-account";

/// The organization of [`GitHub::membership`].
pub const ORG: &str = "octo-org";

/// An endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// `/login/oauth/authorize`.
    Authorize,
    /// `/login/oauth/access_token`.
    Exchange,
    /// `/user`.
    User,
    /// `/user/memberships/orgs/{org}`.
    Membership,
    /// `DELETE /applications/{client_id}/…`: revokes a token.
    Forget,
}

/// An account at GitHub.
#[derive(Clone, Debug)]
pub struct Account {
    /// The numeric id.
    pub id: i64,
    /// The login.
    pub login: String,
}

impl Account {
    /// The account that the cookie of a request names. Its id is derived from the login. `None` without the
    /// cookie.
    fn of(request: &Request) -> Option<Self> {
        let cookies = request.headers().get(header::COOKIE)?.to_str().ok()?;
        let login = cookies
            .split("; ")
            .find_map(|it| it.strip_prefix(ACCOUNT_COOKIE)?.strip_prefix('='))?;
        let number = |id: i64, byte: u8| (id * 31 + i64::from(byte)) % 1_000_000_007;
        Some(Self { id: 1 + login.bytes().fold(7, number), login: login.to_owned() })
    }
}

/// A running fake GitHub. It stops when it is dropped.
#[derive(Debug)]
pub struct GitHub {
    origin: String,
    state: Arc<State>,
    running: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    inner: Mutex<Inner>,
    given: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
struct Inner {
    account: Option<Account>,
    manners: HashMap<Question, Manner>,
    asked: HashMap<Question, usize>,
    codes: HashMap<String, Pending>,
    tokens: HashMap<String, Account>,
}

/// An issued code.
#[derive(Debug)]
struct Pending {
    challenge: String,
    redirect_uri: String,
    account: Account,
}

impl GitHub {
    /// Starts the server, with every user signed in as the account 583231, `octocat`.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let answering = endpoint::make(move |request| {
            let state = Arc::clone(&shared);
            async move { state.answer(request).await }
        });
        let acceptor = TcpAcceptor::from_tokio(listener).expect("it is a plain listener");
        let running = tokio::spawn(serve(acceptor, answering));
        let github = Self { origin: format!("http://{address}"), state, running };
        github.sign_in_as(583_231, "octocat");
        github
    }

    /// The settings for sign-in through this server. They also make the product trust `X-Forwarded-For`, so
    /// that a test can send requests from many client addresses, each with its own rate limit.
    pub fn settings(&self) -> [(&'static str, String); 5] {
        [
            ("GITHUB_URL", self.origin().to_owned()),
            ("GITHUB_API_URL", self.origin().to_owned()),
            ("GITHUB_CLIENT_ID", CLIENT_ID.to_owned()),
            ("GITHUB_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
            ("TRUSTED_PROXY_HOPS", "1".to_owned()),
        ]
    }

    /// `http://127.0.0.1:port`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Signs every user in as this account.
    pub fn sign_in_as(&self, id: i64, login: &str) {
        self.state.lock().account = Some(Account { id, login: login.to_owned() });
    }

    /// Sets how an endpoint responds.
    pub fn answers(&self, question: Question, manner: Manner) {
        self.state.lock().manners.insert(question, manner);
    }

    /// Sets the membership state in every organization: `active`, `pending`, …
    pub fn membership(&self, state: &str) {
        let answer = json!({ "state": state, "role": "member" });
        self.answers(Question::Membership, Manner::Json(answer));
    }

    /// Every issued code and token, which are secret.
    pub fn secrets(&self) -> Vec<String> {
        self.state.given.lock().expect("nobody panics with it").clone()
    }

    /// Number of requests to an endpoint.
    pub fn asked(&self, question: Question) -> usize {
        self.state.lock().asked.get(&question).copied().unwrap_or(0)
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics with it")
    }

    /// Issues a random code or token.
    fn fresh(&self, kind: &str) -> String {
        let word = format!("{kind}_{:032x}", rand::random::<u128>());
        self.given.lock().expect("nobody panics with it").push(word.clone());
        word
    }

    async fn answer(&self, mut request: Request) -> Response {
        let path = request.uri().path().to_owned();
        let question = match (request.method(), path.as_str()) {
            (&Method::GET, "/login/oauth/authorize") => Question::Authorize,
            (&Method::POST, "/login/oauth/access_token") => Question::Exchange,
            (&Method::GET, "/user") => Question::User,
            (&Method::GET, path) if path.starts_with("/user/memberships/orgs/") => {
                Question::Membership
            }
            (&Method::DELETE, path) if path.starts_with("/applications/") => Question::Forget,
            _ => return StatusCode::NOT_FOUND.into(),
        };
        let manner = {
            let mut inner = self.lock();
            *inner.asked.entry(question).or_default() += 1;
            inner.manners.get(&question).cloned().unwrap_or_default()
        };
        if let Some(response) = manner.response().await {
            return response;
        }
        match question {
            Question::Authorize => self.authorize(&request),
            Question::Exchange => {
                let body = request.take_body().into_bytes().await.unwrap_or_default();
                json_answer(StatusCode::OK, &self.exchange(&fields(&body)))
            }
            Question::User => self.user(&request),
            Question::Membership => json_answer(StatusCode::NOT_FOUND, &json!({})),
            Question::Forget => StatusCode::NO_CONTENT.into(),
        }
    }

    fn authorize(&self, request: &Request) -> Response {
        let query = fields(request.uri().query().unwrap_or_default().as_bytes());
        let value = |name: &str| query.get(name).cloned().unwrap_or_default();
        let (challenge, redirect_uri) = (value("code_challenge"), value("redirect_uri"));
        let right = value("client_id") == CLIENT_ID
            && value("code_challenge_method") == "S256"
            && challenge.len() == 43
            && !value("state").is_empty()
            && redirect_uri.ends_with("/oauth/github/callback");
        if !right {
            return json_answer(StatusCode::BAD_REQUEST, &json!({ "got": query }));
        }
        let code = self.fresh("code");
        let mut inner = self.lock();
        let account = Account::of(request)
            .unwrap_or_else(|| inner.account.clone().expect("somebody is signed in"));
        inner.codes.insert(
            code.clone(),
            Pending { challenge, redirect_uri: redirect_uri.clone(), account },
        );
        let answer = form_urlencoded::Serializer::new(String::new())
            .append_pair("code", &code)
            .append_pair("state", &value("state"))
            .finish();
        found(&format!("{redirect_uri}?{answer}"))
    }

    fn exchange(&self, form: &HashMap<String, String>) -> Value {
        let value = |name: &str| form.get(name).cloned().unwrap_or_default();
        if value("client_id") != CLIENT_ID || value("client_secret") != CLIENT_SECRET {
            return json!({ "error": "incorrect_client_credentials" });
        }
        let mut inner = self.lock();
        let Some(pending) = inner.codes.remove(&value("code")) else {
            return json!({ "error": "bad_verification_code" });
        };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(value("code_verifier")));
        if challenge != pending.challenge || value("redirect_uri") != pending.redirect_uri {
            return json!({ "error": "bad_verification_code" });
        }
        let token = self.fresh("gho");
        inner.tokens.insert(token.clone(), pending.account);
        json!({ "access_token": token, "token_type": "bearer", "scope": "" })
    }

    fn user(&self, request: &Request) -> Response {
        let token = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|it| it.to_str().ok()?.strip_prefix("Bearer "))
            .unwrap_or_default();
        match self.lock().tokens.get(token) {
            Some(account) => json_answer(
                StatusCode::OK,
                &json!({
                    "id": account.id, "login": account.login, "name": null, "email": EMAIL,
                }),
            ),
            None => json_answer(StatusCode::UNAUTHORIZED, &json!({ "message": "no" })),
        }
    }
}

fn json_answer(status: StatusCode, value: &Value) -> Response {
    let mut answer = fake_endpoint::json_answer(status, value);
    answer.headers_mut().insert("x-ratelimit-remaining", HeaderValue::from_static("4999"));
    answer
}
