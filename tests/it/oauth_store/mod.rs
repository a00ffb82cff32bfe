//! What signing in leaves in the database, on both databases: codes, grants, refresh tokens,
//! revocations, signing keys and the audit log. Every story runs on SQLite and on Postgres, without
//! HTTP; several services on one database are several instances.

#![expect(clippy::unwrap_used, reason = "a story that does not go on as told is a failure")]

pub(crate) mod account;
mod calls;
mod code;
mod keys;
mod plans;
mod refresh;
mod revocation;
mod security;
mod signing_keys;
mod sweep;
mod users;

use std::time::Duration;

use app::App;
use entity::{GrantId, oauth_audit, oauth_grants};
use mcp::UserId;
use oauth::{
    audit::Kind,
    client::Client,
    code::{NewCode, RedeemError, Redemption},
    grant::TokenSet,
    login::{self, users::SignIn},
    pkce::{Challenge, Verifier},
    refresh::{RefreshError, Rotation},
    token_format::PlainCode,
};
use sea_orm::{EntityTrait as _, PaginatorTrait as _, QueryFilter as _};
use tests::oauth_client::{public_client as client, request};

use crate::world::{self, World, on_both, user};

/// Where the client of these stories receives codes.
const REDIRECT_URI: &str = "http://127.0.0.1:33418/callback";

/// How many try the same thing at once, and how often that is tried.
const RACERS: usize = 16;
const ROUNDS: usize = 6;

/// A code on its way to a client.
struct Issued {
    code: PlainCode,
    verifier: Verifier,
}

impl Issued {
    /// What the client sends when it does everything right.
    fn redemption(&self) -> Redemption<'_> {
        Redemption {
            code: self.code.expose(),
            verifier: self.verifier.expose(),
            redirect_uri: Some(REDIRECT_URI),
            resource: &[],
            dpop_key: None,
            request: request(),
        }
    }

    async fn redeem(&self, app: &App, client: &Client) -> Result<TokenSet, RedeemError> {
        oauth::code::redeem(app.oauth(), client, self.redemption()).await
    }
}

/// Somebody signs in and agrees to everything.
async fn agree(app: &App, client: &Client, person: &UserId) -> Issued {
    let now = app.clock().now();
    let sign_in = SignIn { user: person.clone(), login: "ada".to_owned(), display_name: None };
    login::users::upsert(app.db(), now, sign_in).await.unwrap();
    let verifier = Verifier::generate();
    let new = NewCode {
        client: client.id.clone(),
        redirect_uri: REDIRECT_URI.to_owned(),
        challenge: Challenge::of(&verifier),
        scope: tests::fixtures::product().scopes().all(),
        user: person.clone(),
        auth_time: now,
        gate_checked_at: Some(now),
        dpop_key: None,
        request: request(),
    };
    let code = oauth::code::issue(app.oauth(), new).await.unwrap();
    Issued { code, verifier }
}

/// Somebody connects a client, and these are its tokens.
async fn connect(app: &App, client: &Client, person: &UserId) -> TokenSet {
    let issued = agree(app, client, person).await;
    issued.redeem(app, client).await.unwrap()
}

/// The refresh token of an answer.
fn refresh_token(tokens: &TokenSet) -> String {
    tokens.refresh_token.as_ref().unwrap().expose().to_owned()
}

async fn refresh(app: &App, client: &Client, token: &str) -> Result<TokenSet, RefreshError> {
    refresh_for(app, client, token, None).await
}

async fn refresh_for(
    app: &App,
    client: &Client,
    token: &str,
    scope: Option<&str>,
) -> Result<TokenSet, RefreshError> {
    let rotation = Rotation { token, scope, resource: &[], dpop_key: None, request: request() };
    oauth::refresh::rotate(app.oauth(), client, rotation).await
}

/// The grant that an access token belongs to, by an instance that trusts it.
async fn grant_of(app: &App, tokens: &TokenSet) -> GrantId {
    let claims = app.oauth().tokens().verify(tokens.access_token.expose()).await.unwrap();
    claims.session_id.parse().unwrap()
}

async fn is_accepted(app: &App, tokens: &TokenSet) -> bool {
    let verified = app.oauth().tokens().verify(tokens.access_token.expose()).await;
    verified.is_ok()
}

async fn row(app: &App, grant: GrantId) -> oauth_grants::Model {
    let found = oauth_grants::Entity::find_by_id(grant).one(app.db());
    found.await.unwrap().unwrap()
}

/// How often something stands in the audit log.
async fn told(app: &App, kind: Kind) -> u64 {
    oauth_audit::Entity::find()
        .filter(oauth_audit::COLUMN.event.eq(kind.as_str()))
        .count(app.db())
        .await
        .unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

fn days(days: u64) -> Duration {
    Duration::from_hours(24 * days)
}
