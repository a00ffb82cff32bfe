//! Access tokens for tests, minted without a sign-in.

use std::{collections::BTreeSet, time::Duration};

use app::App;
use mcp::UserId;
use oauth::access_token::NewToken;

/// Mints a token of the user `dev:<user>`. `ttl`: `None` for the configured lifetime.
pub(crate) async fn mint(
    app: &App,
    user: &str,
    scopes: BTreeSet<String>,
    ttl: Option<Duration>,
) -> String {
    let new = NewToken {
        user: UserId::new(format!("dev:{user}")),
        client: "tests".to_owned(),
        scopes,
        session_id: "tests".to_owned(),
        signed_in_at: None,
        ttl,
        dpop_key: None,
    };
    app.oauth().tokens().mint(new).await.expect("a token can be minted")
}

/// The names of all scopes of the product.
pub(crate) fn all_scopes(app: &App) -> BTreeSet<String> {
    app.product().scopes().all().to_set()
}

/// These names as the scopes of a token.
pub(crate) fn these_scopes(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}
