//! The endpoints of the provider.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use aws_lc_rs::hmac;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{Method, StatusCode, header};
use platform::clock::{Clock as _, SystemClock};
use poem::{Request, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;

use super::{CLIENT_ID, CLIENT_SECRET, Question, Signature};
use crate::{
    fake_endpoint::{Manner, fields, found, json_answer},
    signing_key::{SigningKey, encoded},
};

pub(super) type Change = Arc<dyn Fn(&mut Value) + Send + Sync>;

pub(super) struct State {
    pub(super) origin: String,
    pub(super) inner: Mutex<Inner>,
    pub(super) given: Mutex<Vec<String>>,
}

pub(super) struct Inner {
    pub(super) key: SigningKey,
    pub(super) manners: HashMap<Question, Manner>,
    pub(super) asked: HashMap<Question, usize>,
    /// Members of the discovery document that differ.
    pub(super) discovery: Value,
    /// Claims about the user in the ID token, with `sub`.
    pub(super) user: Value,
    /// The response of the userinfo endpoint.
    pub(super) userinfo: Value,
    pub(super) change: Option<Change>,
    pub(super) signature: Signature,
    pub(super) refreshes: bool,
    pub(super) codes: HashMap<String, Pending>,
    pub(super) refresh_tokens: Vec<String>,
    pub(super) access_tokens: Vec<String>,
    /// How much later than the system clock it is, in seconds.
    pub(super) offset: i64,
}

pub(super) struct Pending {
    pub(super) challenge: String,
    pub(super) redirect_uri: String,
    pub(super) nonce: String,
}

impl Inner {
    /// Signs a token of this type as the test has set it.
    pub(super) fn sign(&self, typ: &str, claims: &Value) -> String {
        let stranger = SigningKey::generate();
        let (algorithm, kid) = match self.signature {
            Signature::None => ("none", &self.key.id),
            Signature::PublicKeyAsSecret => ("HS256", &self.key.id),
            Signature::UnknownKey => ("ES256", &stranger.id),
            Signature::Good | Signature::OtherKey | Signature::OfOtherClaims => {
                ("ES256", &self.key.id)
            }
        };
        let header = encoded(&json!({ "alg": algorithm, "kid": kid, "typ": typ }));
        let message = format!("{header}.{}", encoded(claims));
        let signature = match self.signature {
            Signature::Good => self.key.sign(&message),
            Signature::None => String::new(),
            Signature::PublicKeyAsSecret => {
                let secret = self.key.jwk().to_string();
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()))
            }
            Signature::OtherKey | Signature::UnknownKey => stranger.sign(&message),
            Signature::OfOtherClaims => self.key.sign(&format!("{header}.e30")),
        };
        format!("{message}.{signature}")
    }
}

impl State {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics while it holds the lock")
    }

    /// Issues a random code or token.
    fn fresh(&self, kind: &str) -> String {
        let word = format!("{kind}-{:032x}", rand::random::<u128>());
        self.given.lock().expect("no test panics while it holds the lock").push(word.clone());
        word
    }

    pub(super) async fn answer(&self, mut request: Request) -> Response {
        let body = request.take_body().into_bytes().await.unwrap_or_default();
        let form = fields(&body);
        let path = request.uri().path().to_owned();
        let question = match (request.method(), path.as_str()) {
            (&Method::GET, "/.well-known/openid-configuration") => Question::Discovery,
            (&Method::GET, "/authorize") => Question::Authorize,
            (&Method::POST, "/token") => match form.get("grant_type").map(String::as_str) {
                Some("refresh_token") => Question::Refresh,
                _ => Question::Exchange,
            },
            (&Method::GET, "/userinfo") => Question::Userinfo,
            (&Method::GET, "/keys") => Question::Keys,
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
            Question::Discovery => json_answer(StatusCode::OK, &self.document()),
            Question::Keys => {
                let keys = json!({ "keys": [self.lock().key.jwk()] });
                json_answer(StatusCode::OK, &keys)
            }
            Question::Authorize => self.authorize(&request),
            Question::Exchange | Question::Refresh if !is_our_client(&request) => {
                json_answer(StatusCode::UNAUTHORIZED, &json!({ "error": "invalid_client" }))
            }
            Question::Exchange => self.exchange(&form),
            Question::Refresh => self.refresh(&form),
            Question::Userinfo => self.about_the_user(&request),
        }
    }

    fn document(&self) -> Value {
        let url = |path: &str| format!("{}{path}", self.origin);
        let mut document = json!({
            "issuer": self.origin,
            "authorization_endpoint": url("/authorize"),
            "token_endpoint": url("/token"),
            "userinfo_endpoint": url("/userinfo"),
            "jwks_uri": url("/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "authorization_response_iss_parameter_supported": true,
        });
        for (member, value) in self.lock().discovery.as_object().into_iter().flatten() {
            document[member] = value.clone();
        }
        document
    }

    fn authorize(&self, request: &Request) -> Response {
        let query = fields(request.uri().query().unwrap_or_default().as_bytes());
        let value = |name: &str| query.get(name).cloned().unwrap_or_default();
        let right = value("client_id") == CLIENT_ID
            && value("response_type") == "code"
            && value("scope").split(' ').any(|scope| scope == "openid")
            && value("code_challenge_method") == "S256"
            && value("code_challenge").len() == 43
            && !value("nonce").is_empty()
            && !value("state").is_empty();
        if !right {
            return json_answer(StatusCode::BAD_REQUEST, &json!({ "got": query }));
        }
        let code = self.fresh("code");
        let pending = Pending {
            challenge: value("code_challenge"),
            redirect_uri: value("redirect_uri"),
            nonce: value("nonce"),
        };
        self.lock().codes.insert(code.clone(), pending);
        let answer = form_urlencoded::Serializer::new(String::new())
            .append_pair("code", &code)
            .append_pair("state", &value("state"))
            .append_pair("iss", &self.origin)
            .finish();
        found(&format!("{}?{answer}", value("redirect_uri")))
    }

    fn exchange(&self, form: &HashMap<String, String>) -> Response {
        let value = |name: &str| form.get(name).cloned().unwrap_or_default();
        let pending = self.lock().codes.remove(&value("code"));
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(value("code_verifier")));
        match pending {
            Some(pending)
                if pending.challenge == challenge
                    && pending.redirect_uri == value("redirect_uri") =>
            {
                self.tokens(Some(&pending.nonce))
            }
            _ => invalid_grant(),
        }
    }

    fn refresh(&self, form: &HashMap<String, String>) -> Response {
        let is_valid = {
            let tokens = &mut self.lock().refresh_tokens;
            let before = tokens.len();
            tokens.retain(|token| Some(token) != form.get("refresh_token"));
            tokens.len() < before
        };
        if is_valid { self.tokens(None) } else { invalid_grant() }
    }

    fn tokens(&self, nonce: Option<&str>) -> Response {
        let (access, refresh) = (self.fresh("access"), self.fresh("refresh"));
        let mut inner = self.lock();
        let now = SystemClock.now().timestamp() + inner.offset;
        let mut claims = json!({
            "iss": self.origin, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce,
        });
        for (claim, value) in inner.user.as_object().into_iter().flatten() {
            claims[claim] = value.clone();
        }
        if let Some(change) = &inner.change {
            change(&mut claims);
        }
        let id_token = inner.sign("JWT", &claims);
        self.given.lock().expect("no test panics while it holds the lock").push(id_token.clone());
        inner.access_tokens.push(access.clone());
        let mut answer = json!({
            "access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": id_token,
        });
        if inner.refreshes {
            inner.refresh_tokens.push(refresh.clone());
            answer["refresh_token"] = refresh.into();
        }
        json_answer(StatusCode::OK, &answer)
    }

    fn about_the_user(&self, request: &Request) -> Response {
        let inner = self.lock();
        let token = authorization(request).strip_prefix("Bearer ").unwrap_or_default();
        if inner.access_tokens.iter().any(|known| known == token) {
            json_answer(StatusCode::OK, &inner.userinfo)
        } else {
            StatusCode::UNAUTHORIZED.into()
        }
    }
}

/// Whether a request has the credentials of the product, encoded as RFC 6749, section 2.3.1, says.
fn is_our_client(request: &Request) -> bool {
    let basic = authorization(request).strip_prefix("Basic ").unwrap_or_default();
    let text = STANDARD.decode(basic).ok().and_then(|it| String::from_utf8(it).ok());
    let text = text.unwrap_or_default();
    let decoded = |part: &str| {
        let pairs = format!("x={part}");
        fields(pairs.as_bytes()).remove("x").unwrap_or_default()
    };
    text.split_once(':')
        .is_some_and(|(id, secret)| decoded(id) == CLIENT_ID && decoded(secret) == CLIENT_SECRET)
}

fn authorization(request: &Request) -> &str {
    request.headers().get(header::AUTHORIZATION).and_then(|it| it.to_str().ok()).unwrap_or_default()
}

fn invalid_grant() -> Response {
    json_answer(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_grant" }))
}
