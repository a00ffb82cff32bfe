//! A GitHub of our own: as much of it as a sign-in needs, and every way in which it can be wrong.
//!
//! Whoever comes is signed in already and agrees at once; a browser can say in a cookie as whom. It
//! is strict where the real one is: PKCE with S256 is checked, a code is good for one exchange, and
//! errors of the exchange have status 200.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode, header};
use poem::{
    Body, Endpoint, IntoResponse as _, Request, Response, Server, endpoint, listener::TcpAcceptor,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, task::JoinHandle};
use url::form_urlencoded;

/// What GitHub knows our app by.
pub const CLIENT_ID: &str = "Iv1.0123456789abcdef";

/// What our app proves itself with.
pub const CLIENT_SECRET: &str = "the secret of our app at GitHub";

/// The address that GitHub knows of everybody, and that we do not ask for.
pub const EMAIL: &str = "octocat@mail.example";

/// The cookie by which a browser is signed in to an account of its own: its value is the login.
pub const ACCOUNT_COOKIE: &str = "github-account";

/// The organisation that [`GitHub::membership`] is about.
pub const ORG: &str = "octo-org";

/// What can be asked.
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
    /// Giving a token back.
    Forget,
}

/// How a question is answered.
#[derive(Clone, Debug, Default)]
pub enum Manner {
    /// As the real one does.
    #[default]
    Well,
    /// This status, with a JSON object that says nothing.
    Status(u16),
    /// Status 200 and this.
    Json(Value),
    /// Status 200 and a page.
    NotJson,
    /// To somewhere else.
    Redirect(String),
    /// Without end.
    Huge,
    /// Not at all, and the connection stays open.
    Never,
    /// Half an answer.
    HangUp,
}

/// The account that whoever comes is signed in to.
#[derive(Clone, Debug)]
pub struct Account {
    /// The number.
    pub id: i64,
    /// The login.
    pub login: String,
}

impl Account {
    /// The one that the cookie of a browser names. Its number follows from its login.
    fn of(request: &Request) -> Option<Self> {
        let cookies = request.headers().get(header::COOKIE)?.to_str().ok()?;
        let login = cookies
            .split("; ")
            .find_map(|it| it.strip_prefix(ACCOUNT_COOKIE)?.strip_prefix('='))?;
        let number = |id: i64, byte: u8| (id * 31 + i64::from(byte)) % 1_000_000_007;
        Some(Self { id: 1 + login.bytes().fold(7, number), login: login.to_owned() })
    }
}

/// A running GitHub. It ends when it is dropped.
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

/// A code that was given out.
#[derive(Debug)]
struct Pending {
    challenge: String,
    redirect_uri: String,
    account: Account,
}

impl GitHub {
    /// Starts it, with everybody being the account 583231, `octocat`.
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

    /// The settings with which people sign in here. The product believes `X-Forwarded-For` then, so
    /// that a test can be many visitors, each with a share of its own.
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

    /// From now on whoever comes is signed in as this.
    pub fn sign_in_as(&self, id: i64, login: &str) {
        self.state.lock().account = Some(Account { id, login: login.to_owned() });
    }

    /// From now on a question is answered like this.
    pub fn answers(&self, question: Question, manner: Manner) {
        self.state.lock().manners.insert(question, manner);
    }

    /// What the account is in every organisation: `active`, `pending`, …
    pub fn membership(&self, state: &str) {
        let answer = json!({ "state": state, "role": "member" });
        self.answers(Question::Membership, Manner::Json(answer));
    }

    /// Every code and token that was given out, which nobody may read anywhere else.
    pub fn secrets(&self) -> Vec<String> {
        self.state.given.lock().expect("nobody panics with it").clone()
    }

    /// How often something was asked.
    pub fn asked(&self, question: Question) -> usize {
        self.state.lock().asked.get(&question).copied().unwrap_or(0)
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn serve(acceptor: TcpAcceptor, answering: impl Endpoint<Output = Response> + 'static) {
    let served = Server::new_with_acceptor(acceptor).run(answering).await;
    if let Err(error) = served {
        tracing::warn!(%error, "GitHub has ended");
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics with it")
    }

    /// A word that nobody has seen before.
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
        match manner {
            Manner::Well => {}
            Manner::Status(status) => {
                let status = StatusCode::from_u16(status).expect("a status of the test");
                return json_answer(status, &json!({ "message": "no" }));
            }
            Manner::Json(value) => return json_answer(StatusCode::OK, &value),
            Manner::NotJson => {
                return "<html>Unicorn!</html>".with_content_type("text/html").into_response();
            }
            Manner::Redirect(to) => return found(&to),
            Manner::Huge => {
                let chunk = || Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 64 * 1024]));
                return Body::from_bytes_stream(stream::repeat_with(chunk)).into_response();
            }
            Manner::Never => std::future::pending().await,
            Manner::HangUp => {
                let broken = Err::<Bytes, _>(std::io::Error::other("gone"));
                return Body::from_bytes_stream(stream::iter([broken])).into_response();
            }
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

fn fields(text: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(text).into_owned().collect()
}

fn json_answer(status: StatusCode, value: &Value) -> Response {
    Response::builder()
        .status(status)
        .content_type("application/json")
        .header("x-ratelimit-remaining", "4999")
        .body(value.to_string())
}

fn found(location: &str) -> Response {
    Response::builder().status(StatusCode::FOUND).header(header::LOCATION, location).finish()
}
