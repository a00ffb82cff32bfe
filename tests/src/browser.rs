//! A person with a browser, and a program that wants an access token: everything that a sign-in
//! consists of, one step at a time, so that a test can do any of them wrong.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::{Url, form_urlencoded};

use crate::{
    client::{Page, Web},
    cluster::Cluster,
};

/// Where the usual program waits for its code.
pub const REDIRECT_URI: &str = "http://127.0.0.1:33418/callback";

/// A visitor that nobody has seen before, by address: every one has shares of its own.
pub fn visitor() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let [_, b, c, d] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    format!("10.{b}.{c}.{d}")
}

/// A browser with its cookies. Clones share them, as tabs do.
#[derive(Clone, Debug)]
pub struct Browser {
    /// What the instances call themselves.
    public: String,
    /// The instance that the browser really reaches.
    web: Web,
    cookies: Arc<Mutex<BTreeMap<String, String>>>,
}

/// The form of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Where it goes.
    pub action: String,
    /// What it sends as it stands: its fields, without boxes that are not checked.
    pub fields: Vec<(String, String)>,
    /// Boxes that are not checked.
    pub unchecked: Vec<(String, String)>,
}

impl Form {
    /// Checks all its boxes.
    #[must_use]
    pub fn check_all(mut self) -> Self {
        self.fields.append(&mut self.unchecked);
        self
    }
}

impl Browser {
    /// One that was just installed.
    pub fn new(cluster: &Cluster) -> Self {
        Self::of(cluster.web(0).origin(), cluster.web(0))
    }

    /// One that reaches this instance, whose public address is another one.
    pub fn of(public: &str, web: &Web) -> Self {
        Self { public: public.to_owned(), web: web.clone(), cookies: Arc::default() }
    }

    /// The same browser, which a load balancer sends to another instance.
    #[must_use]
    pub fn at(&self, web: &Web) -> Self {
        Self { web: web.clone(), ..self.clone() }
    }

    /// The names of the cookies that it has.
    pub fn cookies(&self) -> Vec<String> {
        self.jar().keys().cloned().collect()
    }

    /// The values of its cookies, which nobody else may know.
    pub fn secrets(&self) -> Vec<String> {
        self.jar().values().cloned().collect()
    }

    /// Follows a link, without following what comes back. The address may be a path.
    pub async fn get(&self, address: &str) -> Page {
        self.read(self.request(Method::GET, address)).await
    }

    /// Submits a form of a page of ours.
    pub async fn submit(&self, form: &Form, decision: &str) -> Page {
        let request = self
            .form_request(form, decision)
            .header("sec-fetch-site", "same-origin")
            .header("origin", &self.public);
        self.read(request).await
    }

    /// A form as a request, without what a browser says about where it was.
    pub fn form_request(&self, form: &Form, decision: &str) -> RequestBuilder {
        let mut fields = form.fields.clone();
        fields.push(("decision".to_owned(), decision.to_owned()));
        self.request(Method::POST, &form.action).header("content-type", FORM).body(encode(&fields))
    }

    /// A request with the cookies of this browser.
    pub fn request(&self, method: Method, address: &str) -> RequestBuilder {
        let path = address.strip_prefix(&self.public).unwrap_or(address);
        assert!(path.starts_with('/'), "not an address of ours: {address}");
        let cookies: Vec<String> =
            self.jar().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.web.request(method, path).header("x-forwarded-for", visitor());
        if cookies.is_empty() { request } else { request.header("cookie", cookies.join("; ")) }
    }

    /// Sends a request and keeps the cookies of the answer.
    pub async fn read(&self, request: RequestBuilder) -> Page {
        let page = Page::read(request).await;
        for value in page.headers.get_all("set-cookie") {
            let text = value.to_str().expect("a cookie is ASCII");
            let (pair, attributes) = text.split_once(';').unwrap_or((text, ""));
            let (name, value) = pair.split_once('=').expect("a cookie has a name");
            if attributes.contains("Max-Age=0") {
                self.jar().remove(name);
            } else {
                self.jar().insert(name.to_owned(), value.to_owned());
            }
        }
        page
    }

    /// Begins a sign-in and looks at the page that asks for consent.
    pub async fn to_consent(&self, asked: &Asked) -> Form {
        let begun = self.get(&asked.path()).await;
        assert_eq!(begun.status, 303, "{}", begun.text());
        let page = self.get(begun.header("location")).await;
        assert_eq!(page.status, 200, "{}", page.text());
        form(&page)
    }

    /// Agrees, and gives the address at GitHub.
    pub async fn approve(&self, form: &Form) -> String {
        let page = self.submit(form, "approve").await;
        assert_eq!(page.status, 303, "{}", page.text());
        page.header("location").to_owned()
    }

    /// Goes to GitHub, and gives the address at which it sends the person back.
    pub async fn at_github(&self, address: &str) -> String {
        let url = Url::parse(address).expect("the address is whole");
        let web = Web::new(url.origin().ascii_serialization());
        let path = &address[web.origin().len()..];
        let page = web.get(path).await;
        assert_eq!(page.status, 302, "{}", page.text());
        page.header("location").to_owned()
    }

    /// Goes all the way up to the return from GitHub, and gives that address.
    pub async fn to_callback(&self, asked: &Asked) -> String {
        let form = self.to_consent(asked).await;
        let address = self.approve(&form).await;
        self.at_github(&address).await
    }

    /// Signs in and gives the answer that the program gets.
    pub async fn sign_in(&self, asked: &Asked) -> Page {
        let callback = self.to_callback(asked).await;
        self.get(&callback).await
    }

    /// Signs in to the page that lists a person's apps, and looks at it.
    pub async fn account(&self) -> Page {
        let fields = owned(&[("action", "sign_in")]);
        let form = Form { action: "/account".to_owned(), fields, unchecked: Vec::new() };
        let page = self.submit(&form, "").await;
        let callback = self.at_github(page.header("location")).await;
        assert_eq!(self.get(&callback).await.header("location"), "/account");
        self.get("/account").await
    }

    /// Opens the address that a program asks for, agrees, signs in, and gives the address of the
    /// program where that ends.
    pub async fn follow(&self, address: &str) -> String {
        let begun = self.get(address).await;
        assert_eq!(begun.status, 303, "{}", begun.text());
        let page = self.get(begun.header("location")).await;
        let next = self.approve(&form(&page)).await;
        let end = if next.starts_with('/') {
            // The page that stands in for GitHub has a name in its field.
            self.submit(&form(&self.get(&next).await), "").await
        } else {
            let callback = self.at_github(&next).await;
            self.get(&callback).await
        };
        assert_eq!(end.status, 303, "{}", end.text());
        end.header("location").to_owned()
    }

    fn jar(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.cookies.lock().expect("nobody panics with it")
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// The first form of a page.
pub fn form(page: &Page) -> Form {
    let html = page.text();
    let (_, rest) = html.split_once("<form").expect("the page has a form");
    let (head, rest) = rest.split_once('>').expect("the tag ends");
    let (body, _) = rest.split_once("</form>").expect("the form ends");
    let tags = body.split("<input").skip(1).filter_map(|it| it.split_once('>'));
    let (unchecked, fields): (Vec<_>, Vec<_>) = tags.map(|(tag, _)| tag).partition(|tag| {
        attribute(tag, "type").as_deref() == Some("checkbox") && !tag.ends_with(" checked")
    });
    let pairs = |tags: Vec<&str>| {
        let pair = |tag: &&str| Some((attribute(tag, "name")?, attribute(tag, "value")?));
        tags.iter().filter_map(pair).collect()
    };
    Form {
        action: attribute(head, "action").expect("the form goes somewhere"),
        fields: pairs(fields),
        unchecked: pairs(unchecked),
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(value.replace("&#38;", "&").replace("&amp;", "&"))
}

/// Writes fields as a form does.
pub fn encode<N: AsRef<str>, V: AsRef<str>>(fields: &[(N, V)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The parameters in an address.
pub fn answer(address: &str) -> BTreeMap<String, String> {
    let (_, query) = address.split_once('?').unwrap_or((address, ""));
    let mut found = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
        let twice = found.insert(name, value);
        assert_eq!(twice, None, "a parameter stands twice: {address}");
    }
    found
}

/// A program that wants an access token.
#[derive(Clone, Debug)]
pub struct App {
    /// Its id.
    pub id: String,
    /// Its secret, if it has one.
    pub secret: Option<String>,
    /// Where it waits for its code.
    pub redirect_uri: String,
}

impl App {
    /// Registers a program that waits at [`REDIRECT_URI`].
    pub async fn register(web: &Web) -> Self {
        Self::register_with(web, json!({ "redirect_uris": [REDIRECT_URI] })).await
    }

    /// Registers a program; it will wait at the first of its addresses.
    pub async fn register_with(web: &Web, metadata: Value) -> Self {
        let page = register(web, metadata.to_string()).await;
        assert_eq!(page.status, 201, "{}", page.text());
        let client = page.json();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            id: text(&client["client_id"]).expect("a client has an id"),
            secret: text(&client["client_secret"]),
            redirect_uri: text(&metadata["redirect_uris"][0]).expect("it waits somewhere"),
        }
    }

    /// What it asks for, when it does everything right.
    pub fn asks(&self) -> Asked {
        let verifier = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let state = format!("{:016x} & more", rand::random::<u64>());
        let challenge = challenge(&verifier);
        let pairs = [
            ("response_type", "code"),
            ("client_id", &self.id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", "notes:read notes:write"),
            ("state", &state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        Asked {
            pairs: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            verifier,
            state,
        }
    }

    /// Lets somebody sign in and agree to everything.
    pub async fn code(&self, browser: &Browser) -> Code {
        let asked = self.asks();
        let page = browser.sign_in(&asked).await;
        let code = asked.code(&page);
        Code { code, verifier: asked.verifier, app: self.clone() }
    }

    /// The same up to the tokens.
    pub async fn connect(&self, browser: &Browser) -> Value {
        let page = self.code(browser).await.redeem(&browser.web).await;
        assert_eq!(page.status, 200, "{}", page.text());
        page.json()
    }

    /// The form that exchanges a refresh token.
    pub fn refreshing(&self, token: &str) -> Vec<(String, String)> {
        owned(&[("grant_type", "refresh_token"), ("client_id", &self.id), ("refresh_token", token)])
    }

    /// Exchanges a refresh token.
    pub async fn refresh(&self, web: &Web, token: &str) -> Page {
        post(web, "/token", &self.refreshing(token)).await
    }

    /// Gives a token back.
    pub async fn revoke(&self, web: &Web, token: &str) -> Page {
        let form = owned(&[("client_id", &self.id), ("token", token)]);
        post(web, "/revoke", &form).await
    }
}

/// What S256 makes of a verifier.
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

/// An authorization request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its parameters.
    pub pairs: Vec<(String, String)>,
    /// What only the program knows.
    pub verifier: String,
    /// What has to come back.
    pub state: String,
}

impl Asked {
    /// The same with another value.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).and(name, value)
    }

    /// The same without a parameter.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.pairs.retain(|(it, _)| it != name);
        self
    }

    /// The same with one more parameter, even if it is there already.
    #[must_use]
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.pairs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The path and query of the request.
    pub fn path(&self) -> String {
        format!("/authorize?{}", encode(&self.pairs))
    }

    /// The code that came back, if everything about the answer is right.
    pub fn code(&self, page: &Page) -> String {
        assert_eq!(page.status, 303, "{}", page.text());
        let answer = answer(page.header("location"));
        assert_eq!(answer.get("state"), Some(&self.state), "{answer:?}");
        assert!(answer.contains_key("iss"), "{answer:?}");
        answer.get("code").expect("a code came back").clone()
    }
}

/// A code that a program has received.
#[derive(Clone, Debug)]
pub struct Code {
    /// The code.
    pub code: String,
    /// What belongs to it.
    pub verifier: String,
    /// The program.
    pub app: App,
}

impl Code {
    /// The form that redeems it.
    pub fn form(&self) -> Vec<(String, String)> {
        owned(&[
            ("grant_type", "authorization_code"),
            ("client_id", &self.app.id),
            ("code", &self.code),
            ("code_verifier", &self.verifier),
            ("redirect_uri", &self.app.redirect_uri),
        ])
    }

    /// Redeems it.
    pub async fn redeem(&self, web: &Web) -> Page {
        post(web, "/token", &self.form()).await
    }
}

/// Fields of a form.
pub fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A form with another value for a field; nothing takes it away.
pub fn with(
    form: &[(String, String)],
    name: &str,
    value: impl Into<Option<&'static str>>,
) -> Vec<(String, String)> {
    let mut form = form.to_vec();
    form.retain(|(it, _)| it != name);
    form.extend(value.into().map(|it| (name.to_owned(), it.to_owned())));
    form
}

/// Sends a form to an endpoint for programs, as a visitor that nobody has seen before.
pub async fn post(web: &Web, path: &str, form: &[(String, String)]) -> Page {
    Page::read(post_request(web, path).body(encode(form))).await
}

/// A form to an endpoint for programs, without its body.
pub fn post_request(web: &Web, path: &str) -> RequestBuilder {
    web.request(Method::POST, path)
        .header("x-forwarded-for", visitor())
        .header("content-type", FORM)
}

/// Sends a registration, as a visitor that nobody has seen before.
pub async fn register(web: &Web, body: impl Into<reqwest::Body>) -> Page {
    let request = web
        .request(Method::POST, "/register")
        .header("x-forwarded-for", visitor())
        .header("content-type", "application/json")
        .body(body);
    Page::read(request).await
}
