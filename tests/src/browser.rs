//! A browser and an OAuth client: the steps of a sign-in as separate functions, so that a test can perform
//! any of them incorrectly.

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
    fixtures::items::{READ, WRITE},
};

/// The redirect URI of the default client.
pub const REDIRECT_URI: &str = "http://127.0.0.1:33418/callback";

/// Returns a client address that no request has used, so that no rate limit is used up.
pub fn visitor() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let [_, b, c, d] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    format!("10.{b}.{c}.{d}")
}

/// A browser with cookies. Clones share them, as tabs do.
#[derive(Clone, Debug)]
pub struct Browser {
    /// The public URL of the instances.
    public: String,
    /// The instance to which requests are sent.
    web: Web,
    cookies: Arc<Mutex<BTreeMap<String, String>>>,
}

/// The form of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// The URL that receives it.
    pub action: String,
    /// Its fields, without unchecked checkboxes.
    pub fields: Vec<(String, String)>,
    /// Its unchecked checkboxes.
    pub unchecked: Vec<(String, String)>,
}

impl Form {
    /// The form of the account page that starts a sign-in. `provider`: which button is clicked, if there
    /// are several.
    pub fn sign_in(provider: Option<&str>) -> Self {
        let mut fields = owned(&[("action", "sign_in")]);
        fields.extend(provider.map(|id| ("provider".to_owned(), id.to_owned())));
        Self { action: "/account".to_owned(), fields, unchecked: Vec::new() }
    }

    /// Checks all checkboxes.
    #[must_use]
    pub fn check_all(mut self) -> Self {
        self.fields.append(&mut self.unchecked);
        self
    }
}

impl Browser {
    /// A browser without cookies, at the first instance of a cluster.
    pub fn new(cluster: &Cluster) -> Self {
        Self::of(cluster.web(0).origin(), cluster.web(0))
    }

    /// A browser without cookies, at an instance with this public URL.
    pub fn of(public: &str, web: &Web) -> Self {
        Self { public: public.to_owned(), web: web.clone(), cookies: Arc::default() }
    }

    /// The same browser at another instance, as a load balancer may choose.
    #[must_use]
    pub fn at(&self, web: &Web) -> Self {
        Self { web: web.clone(), ..self.clone() }
    }

    /// The names of its cookies.
    pub fn cookies(&self) -> Vec<String> {
        self.jar().keys().cloned().collect()
    }

    /// The values of its cookies, which are secret.
    pub fn secrets(&self) -> Vec<String> {
        self.jar().values().cloned().collect()
    }

    /// Sends a GET request and does not follow redirects. The address may be a path.
    pub async fn get(&self, address: &str) -> Page {
        self.read(self.request(Method::GET, address)).await
    }

    /// Submits a form from a page of the product.
    pub async fn submit(&self, form: &Form, decision: &str) -> Page {
        let request = self
            .form_request(form, decision)
            .header("sec-fetch-site", "same-origin")
            .header("origin", &self.public);
        self.read(request).await
    }

    /// A form as a request, without the headers `Origin` and `Sec-Fetch-Site`.
    pub fn form_request(&self, form: &Form, decision: &str) -> RequestBuilder {
        let mut fields = form.fields.clone();
        fields.push(("decision".to_owned(), decision.to_owned()));
        self.request(Method::POST, &form.action).header("content-type", FORM).body(encode(&fields))
    }

    /// Builds a request with the cookies of this browser.
    pub fn request(&self, method: Method, address: &str) -> RequestBuilder {
        let path = address.strip_prefix(&self.public).unwrap_or(address);
        assert!(path.starts_with('/'), "not an address of ours: {address}");
        let cookies: Vec<String> =
            self.jar().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.web.request(method, path).header("x-forwarded-for", visitor());
        if cookies.is_empty() { request } else { request.header("cookie", cookies.join("; ")) }
    }

    /// Sends a request and stores the cookies of the response.
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

    /// Starts an authorization and returns the form of the consent page.
    pub async fn to_consent(&self, asked: &Asked) -> Form {
        let begun = self.get(&asked.path()).await;
        assert_eq!(begun.status, 303, "{}", begun.text());
        let page = self.get(begun.header("location")).await;
        assert_eq!(page.status, 200, "{}", page.text());
        form(&page)
    }

    /// Approves the consent form and returns the address at GitHub.
    pub async fn approve(&self, form: &Form) -> String {
        let page = self.submit(form, "approve").await;
        assert_eq!(page.status, 303, "{}", page.text());
        page.header("location").to_owned()
    }

    /// Opens the address at GitHub and returns the callback address to which it redirects.
    pub async fn at_github(&self, address: &str) -> String {
        let url = Url::parse(address).expect("the address is whole");
        let web = Web::new(url.origin().ascii_serialization());
        let path = &address[web.origin().len()..];
        let page = web.get(path).await;
        assert_eq!(page.status, 302, "{}", page.text());
        page.header("location").to_owned()
    }

    /// Performs an authorization up to the redirect from GitHub and returns the callback address.
    pub async fn to_callback(&self, asked: &Asked) -> String {
        let form = self.to_consent(asked).await;
        let address = self.approve(&form).await;
        self.at_github(&address).await
    }

    /// Performs an authorization and returns the redirect to the client.
    pub async fn sign_in(&self, asked: &Asked) -> Page {
        let callback = self.to_callback(asked).await;
        self.get(&callback).await
    }

    /// Signs in to the account page and returns it.
    pub async fn account(&self) -> Page {
        let page = self.submit(&Form::sign_in(None), "").await;
        let callback = self.at_github(page.header("location")).await;
        assert_eq!(self.get(&callback).await.header("location"), "/account");
        self.get("/account").await
    }

    /// Opens an authorization URL, approves, signs in, and returns the redirect URI with its parameters.
    pub async fn follow(&self, address: &str) -> String {
        let begun = self.get(address).await;
        assert_eq!(begun.status, 303, "{}", begun.text());
        let page = self.get(begun.header("location")).await;
        let next = self.approve(&form(&page)).await;
        let end = if next.starts_with('/') {
            // The development sign-in, whose form contains a name.
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

/// Encodes fields as `application/x-www-form-urlencoded`.
pub fn encode<N: AsRef<str>, V: AsRef<str>>(fields: &[(N, V)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Parses the query parameters of an address. Panics if one is repeated.
pub fn answer(address: &str) -> BTreeMap<String, String> {
    let (_, query) = address.split_once('?').unwrap_or((address, ""));
    let mut found = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
        let twice = found.insert(name, value);
        assert_eq!(twice, None, "a parameter stands twice: {address}");
    }
    found
}

/// An OAuth client.
#[derive(Clone, Debug)]
pub struct ClientApp {
    /// Its id.
    pub id: String,
    /// Its secret, if it has one.
    pub secret: Option<String>,
    /// Its redirect URI.
    pub redirect_uri: String,
    /// The scopes that it asks for, separated by spaces.
    pub scope: String,
}

impl ClientApp {
    /// Registers a client with [`REDIRECT_URI`].
    pub async fn register(web: &Web) -> Self {
        Self::register_with(web, json!({ "redirect_uris": [REDIRECT_URI] })).await
    }

    /// Registers a client with this metadata. It uses the first of its redirect URIs.
    pub async fn register_with(web: &Web, metadata: Value) -> Self {
        let page = register(web, metadata.to_string()).await;
        assert_eq!(page.status, 201, "{}", page.text());
        let client = page.json();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            id: text(&client["client_id"]).expect("a client has an id"),
            secret: text(&client["client_secret"]),
            redirect_uri: text(&metadata["redirect_uris"][0]).expect("it has a redirect URI"),
            scope: text(&client["scope"]).expect("a client has scopes"),
        }
    }

    /// A public client that is known to the server of the fixtures without registration.
    pub fn known(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secret: None,
            redirect_uri: REDIRECT_URI.to_owned(),
            scope: format!("{READ} {WRITE}"),
        }
    }

    /// A valid authorization request.
    pub fn asks(&self) -> Asked {
        let verifier = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let state = format!("{:016x} & more", rand::random::<u64>());
        let challenge = challenge(&verifier);
        let pairs = [
            ("response_type", "code"),
            ("client_id", &self.id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", &self.scope),
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

    /// Obtains an authorization code, with all consents given in this browser.
    pub async fn code(&self, browser: &Browser) -> Code {
        let asked = self.asks();
        self.received(&asked, &browser.sign_in(&asked).await)
    }

    /// The code in the redirect that answers an authorization request of this client. Panics if the
    /// redirect is not valid.
    pub fn received(&self, asked: &Asked, page: &Page) -> Code {
        Code { code: asked.code(page), verifier: asked.verifier.clone(), client_app: self.clone() }
    }

    /// Obtains tokens, with all consents given in this browser.
    pub async fn connect(&self, browser: &Browser) -> Value {
        let page = self.code(browser).await.redeem(&browser.web).await;
        assert_eq!(page.status, 200, "{}", page.text());
        page.json()
    }

    /// The token request for a refresh token.
    pub fn refreshing(&self, token: &str) -> Vec<(String, String)> {
        owned(&[("grant_type", "refresh_token"), ("client_id", &self.id), ("refresh_token", token)])
    }

    /// Exchanges a refresh token.
    pub async fn refresh(&self, web: &Web, token: &str) -> Page {
        post(web, "/token", &self.refreshing(token)).await
    }

    /// Revokes a token.
    pub async fn revoke(&self, web: &Web, token: &str) -> Page {
        let form = owned(&[("client_id", &self.id), ("token", token)]);
        post(web, "/revoke", &form).await
    }
}

/// The S256 code challenge of a verifier.
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

/// An authorization request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its parameters.
    pub pairs: Vec<(String, String)>,
    /// The PKCE code verifier.
    pub verifier: String,
    /// The `state` parameter.
    pub state: String,
}

impl Asked {
    /// The same request with another value of a parameter.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).and(name, value)
    }

    /// The same request without a parameter.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.pairs.retain(|(it, _)| it != name);
        self
    }

    /// The same request with an additional parameter, which may be a duplicate.
    #[must_use]
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.pairs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The path and query of the request.
    pub fn path(&self) -> String {
        format!("/authorize?{}", encode(&self.pairs))
    }

    /// The code in the redirect to the client. Panics if the redirect is not valid.
    pub fn code(&self, page: &Page) -> String {
        assert_eq!(page.status, 303, "{}", page.text());
        let answer = answer(page.header("location"));
        assert_eq!(answer.get("state"), Some(&self.state), "{answer:?}");
        assert!(answer.contains_key("iss"), "{answer:?}");
        answer.get("code").expect("a code came back").clone()
    }
}

/// An authorization code that a client has received.
#[derive(Clone, Debug)]
pub struct Code {
    /// The code.
    pub code: String,
    /// The PKCE code verifier.
    pub verifier: String,
    /// The client.
    pub client_app: ClientApp,
}

impl Code {
    /// The token request for the code.
    pub fn form(&self) -> Vec<(String, String)> {
        owned(&[
            ("grant_type", "authorization_code"),
            ("client_id", &self.client_app.id),
            ("code", &self.code),
            ("code_verifier", &self.verifier),
            ("redirect_uri", &self.client_app.redirect_uri),
        ])
    }

    /// Exchanges the code for tokens.
    pub async fn redeem(&self, web: &Web) -> Page {
        post(web, "/token", &self.form()).await
    }
}

/// Fields of a form.
pub fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Replaces the value of a field; `None` removes the field.
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

/// Sends a form to an endpoint for clients, from a new client address.
pub async fn post(web: &Web, path: &str, form: &[(String, String)]) -> Page {
    Page::read(post_request(web, path).body(encode(form))).await
}

/// Builds a form request to an endpoint for clients, without its body.
pub fn post_request(web: &Web, path: &str) -> RequestBuilder {
    web.request(Method::POST, path)
        .header("x-forwarded-for", visitor())
        .header("content-type", FORM)
}

/// Sends a registration from a new client address.
pub async fn register(web: &Web, body: impl Into<reqwest::Body>) -> Page {
    let request = web
        .request(Method::POST, "/register")
        .header("x-forwarded-for", visitor())
        .header("content-type", "application/json")
        .body(body);
    Page::read(request).await
}
