//! `/account`: lists and disconnects the user's connected apps, and deletes the account.

use std::sync::Arc;

use app::App;
use askama::Template;
use http::{Method, StatusCode};
use oauth::{
    account::{self, ConnectedApp},
    calls, consent, limits,
    login::{self, IdentityProvider, Session, StartError},
    redirect_uri::{self, Destination},
};
use poem::{Endpoint, Request, Response};

use super::sign_in;
use crate::{
    http::{
        cookies::{Cookies, SESSION},
        error::ApiError,
        request_info::{log_context, request_info},
    },
    instance::Instance,
    pages::{
        error_page,
        fields::Fields,
        frame::Frame,
        respond::see_other,
        signed_in::{
            session,
            tabs::{self, Tab},
            unavailable,
        },
        visit::PageVisit,
        words,
    },
};

/// The accepted methods.
pub(crate) const METHODS: &str = "GET, HEAD, POST";

/// The page that asks for confirmation before the account is deleted.
pub(crate) const DELETE_PATH: &str = "/account/delete";

const PATH: &str = tabs::APPS;

/// The pages.
#[derive(Clone)]
pub(crate) struct Account {
    app: App,
}

#[derive(Template)]
#[template(path = "account_out.html")]
struct SignedOutPage<'a> {
    frame: &'a Frame,
    /// The buttons that start the sign-in. Empty: the server has no identity provider.
    buttons: &'a [Button],
    done: Option<String>,
}

/// A button that starts the sign-in.
struct Button {
    /// The id of the identity provider.
    provider: String,
    text: String,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    frame: &'a Frame,
    tabs: &'a [Tab],
    session: &'a Session,
    apps: &'a [ShownApp],
    /// The number of days whose calls are shown.
    days: i32,
    used: Option<String>,
    jobs: String,
    done: Option<String>,
}

#[derive(Template)]
#[template(path = "account_delete.html")]
struct DeletePage<'a> {
    frame: &'a Frame,
    session: &'a Session,
    /// Whether the typed name did not match.
    refused: bool,
}

/// A connected app as text.
struct ShownApp {
    grant: String,
    name: String,
    may: String,
    /// Where access goes. `None`: to the app, without a redirect.
    destination: Option<String>,
    /// The identity provider that connected it.
    through: Option<String>,
    used: String,
    calls: String,
    connected: String,
    bound_to_key: bool,
}

impl Account {
    /// The pages of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { app: instance.app.clone() }
    }

    async fn show(&self, request: &Request) -> Result<Response, ApiError> {
        let frame = Frame::of(request);
        let done = Fields::of_query(request.uri());
        let done = done.one("done").and_then(|done| notice(done, frame.brand.things));
        let Some(session) = session::find(&self.app, request).await? else {
            let button = |provider: &Arc<dyn IdentityProvider>| Button {
                provider: provider.id().to_owned(),
                text: provider.texts(frame.brand.things).button,
            };
            let buttons: Vec<_> = self.app.oauth().providers().iter().map(button).collect();
            let page = SignedOutPage { frame: &frame, buttons: &buttons, done };
            return Ok(frame.show(StatusCode::OK, &page));
        };
        if request.uri().path() == DELETE_PATH {
            let page = DeletePage { frame: &frame, session: &session, refused: false };
            return Ok(frame.show(StatusCode::OK, &page));
        }
        let apps = account::connected(self.app.oauth(), &session.user).await;
        let apps: Vec<ShownApp> = apps
            .map_err(|error| unavailable(&error))?
            .iter()
            .map(|app| self.describe(app))
            .collect();
        let used = self.app.usage(&session.user).await;
        let used = used.map_err(|error| unavailable(&error))?;
        let jobs = self.app.jobs_used(&session.user).await;
        let jobs = jobs.map_err(|error| unavailable(&error))?.to_string();
        let page = AccountPage {
            frame: &frame,
            tabs: &tabs::list(self.app.product(), PATH),
            session: &session,
            apps: &apps,
            days: calls::DAYS,
            used,
            jobs,
            done,
        };
        Ok(frame.show(StatusCode::OK, &page))
    }

    async fn act(&self, mut request: Request) -> Result<Response, ApiError> {
        let form = Fields::of_form(&mut request).await?;
        let action = form.one("action").ok_or_else(error_page::forged)?;
        if action == "sign_in" {
            return self.sign_in(&request, form.one("provider")).await;
        }
        let Some(session) = session::find(&self.app, &request).await? else {
            return see_other(PATH);
        };
        session::check_form(&session, &form)?;
        let info = request_info(&self.app, &request);
        let user = &session.user;
        match action {
            "disconnect" => {
                let grant = form.one("grant").ok_or_else(error_page::forged)?;
                let apps = account::connected(self.app.oauth(), user).await;
                let apps = apps.map_err(|error| unavailable(&error))?;
                // If it is missing, it was disconnected already, perhaps in another tab.
                if let Some(app) = apps.iter().find(|app| app.grant.to_string() == grant) {
                    info.log_context.set_client(app.client.as_str());
                    account::disconnect(self.app.oauth(), user, app.grant, &info)
                        .await
                        .map_err(|error| unavailable(&error))?;
                }
                see_other("/account?done=disconnected")
            }
            "disconnect_all" => {
                account::disconnect_all(self.app.oauth(), user, &info)
                    .await
                    .map_err(|error| unavailable(&error))?;
                see_other("/account?done=all-disconnected")
            }
            "sign_out" => self.sign_out(&request, "/account?done=signed-out").await,
            "delete" if form.one("confirm").map(str::trim) == Some(&*session.login) => {
                account::delete(self.app.oauth(), user, &info)
                    .await
                    .map_err(|error| unavailable(&error))?;
                self.sign_out(&request, "/account?done=deleted").await
            }
            "delete" => {
                let frame = Frame::of(&request);
                let page = DeletePage { frame: &frame, session: &session, refused: true };
                Ok(frame.show(StatusCode::BAD_REQUEST, &page))
            }
            _ => Err(error_page::forged()),
        }
    }

    async fn sign_in(
        &self,
        request: &Request,
        provider: Option<&str>,
    ) -> Result<Response, ApiError> {
        let info = request_info(&self.app, request);
        match login::start_for_account(self.app.oauth(), provider, &info).await {
            Ok(started) => sign_in::redirect(self.cookies(), request, &started),
            Err(StartError::NoProvider) => see_other(PATH),
            Err(StartError::Provider(label)) => Err(error_page::provider_unavailable(&label)),
            Err(StartError::Unavailable) => Err(error_page::unavailable()),
        }
    }

    async fn sign_out(&self, request: &Request, next: &str) -> Result<Response, ApiError> {
        if let Some(cookie) = self.cookies().read_named(request.headers(), SESSION) {
            let ended = login::sign_out(self.app.oauth(), cookie).await;
            ended.map_err(|error| {
                tracing::error!(%error, "Could not end a session of the account page");
                error_page::unavailable()
            })?;
        }
        let mut response = see_other(next)?;
        self.cookies().clear_named(response.headers_mut(), SESSION);
        Ok(response)
    }

    fn describe(&self, app: &ConnectedApp) -> ShownApp {
        let now = self.app.clock().now();
        let permissions = consent::permissions(self.app.oauth(), &app.scope);
        let may: Vec<&str> = permissions.iter().map(|permission| permission.words).collect();
        ShownApp {
            grant: app.grant.to_string(),
            name: match &app.name {
                Some(name) => name.to_string(),
                None => "An app that is no longer known".to_owned(),
            },
            may: may.join(". "),
            destination: app.redirect_uri.as_deref().map(destination),
            through: app.through.clone(),
            used: words::ago((now - app.last_used_at).num_minutes()),
            calls: platform::counted(app.calls, "call", "calls"),
            connected: words::time(app.connected_at),
            bound_to_key: app.bound_to_key,
        }
    }

    fn cookies(&self) -> Cookies {
        Cookies::new(&self.app.config().public_url)
    }
}

impl Endpoint for Account {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let visit = PageVisit::begin(&self.app, &request, &limits::CONSENT).await?;
        let context = log_context(&request);
        let response = match *request.method() {
            Method::POST => self.act(request).await,
            _ => self.show(&request).await,
        };
        Ok(visit.finish(context.user().is_some(), response).await?)
    }
}

/// Describes where a redirect URI leads.
fn destination(redirect_uri: &str) -> String {
    match redirect_uri::destination(redirect_uri) {
        Destination::Site { host } => host,
        Destination::ThisMachine => "your computer".to_owned(),
        Destination::App { scheme } => format!("{scheme}:// on your device"),
    }
}

/// The notice about a completed action. Values are from a closed set, so that a link cannot put
/// text on the page.
fn notice(done: &str, things: &str) -> Option<String> {
    Some(match done {
        "disconnected" => "The app is disconnected.".to_owned(),
        "all-disconnected" => "All apps are disconnected.".to_owned(),
        "signed-out" => "You are signed out.".to_owned(),
        "deleted" => format!("Your account and all your {things} are deleted."),
        _ => return None,
    })
}
