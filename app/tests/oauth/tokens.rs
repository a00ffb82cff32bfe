//! Redeeming codes and refreshing tokens, with rechecks of the access policy.

use std::{collections::BTreeSet, time::Duration};

use app::App;
use oauth::{
    client::{self, Client},
    code::{self, RedeemError, Redemption},
    grant::TokenSet,
    login::FinishedLogin,
    refresh::{self, RefreshError, Rotation},
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    host::Reply,
    world::{VERIFIER, World, octocat, query, request},
};

const URI: &str = "http://localhost/cb";
const ORG: (&str, &str) = ("ALLOWED_GITHUB_ORG", "octo-org");
const MEMBERSHIP: &str = "/user/memberships/orgs/octo-org";
/// The number of concurrent requests in each round.
const RACERS: usize = 16;

const ROUNDS: usize = 4;

/// Returns a client that has returned from GitHub, and its code.
async fn client_with_code(world: &World) -> (Client, String) {
    let id = world.client(&[URI]).await;
    let started = world.start_login(&id, URI).await;
    let Ok(FinishedLogin::ToClient { uri, .. }) = world.finish_login(&started).await else {
        panic!("not redirected to the client");
    };
    let client = client::find_snapshot(world.app.oauth(), &id).await.unwrap();
    (client, query(&uri).remove("code").unwrap())
}

async fn redeem(app: &App, client: &Client, code: &str) -> Result<TokenSet, RedeemError> {
    let redemption = Redemption {
        code,
        verifier: VERIFIER,
        redirect_uri: Some(URI),
        resource: &["http://localhost:8080/mcp"],
        dpop_key: None,
        request: request(),
    };
    code::redeem(app.oauth(), client, redemption).await
}

async fn refresh(app: &App, client: &Client, token: &str) -> Result<TokenSet, RefreshError> {
    let rotation =
        Rotation { token, scope: None, resource: &[], dpop_key: None, request: request() };
    refresh::rotate(app.oauth(), client, rotation).await
}

fn refresh_token(tokens: &TokenSet) -> String {
    tokens.refresh_token.as_ref().unwrap().expose().to_owned()
}

/// Returns a connected client and its refresh token.
async fn connected(world: &World) -> (Client, String) {
    let (client, code) = client_with_code(world).await;
    let tokens = redeem(&world.app, &client, &code).await.unwrap();
    (client, refresh_token(&tokens))
}

/// Sets the reply of GitHub to membership requests from now on.
fn membership(world: &World, reply: Reply) {
    world.github.answer(move |request| {
        if request.target == MEMBERSHIP { reply.clone() } else { octocat(request) }
    });
}

/// Returns the number of membership requests that GitHub has received.
fn membership_requests(world: &World) -> usize {
    let seen = world.github.seen();
    seen.iter().filter(|request| request.target == MEMBERSHIP).count()
}

fn broken() -> Reply {
    Reply::Answer(500, "text/plain", String::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_concurrent_requests_redeems_a_code() {
    let world = World::new().await;
    let instances = [world.app.clone(), world.another().await];
    for _ in 0..ROUNDS {
        let (client, code) = client_with_code(&world).await;
        let mut racers = JoinSet::new();
        for n in 0..RACERS {
            let (app, client, code) = (instances[n % 2].clone(), client.clone(), code.clone());
            racers.spawn(async move { redeem(&app, &client, &code).await });
        }
        let outcomes = racers.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for outcome in outcomes {
            let is_expected = matches!(outcome, Ok(_) | Err(RedeemError::InvalidGrant(_)));
            assert!(is_expected, "{outcome:?}");
        }
    }
    assert_eq!(world.audit_count("token_issued").await, ROUNDS);
    assert_eq!(world.audit_count("code_replayed").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_refreshes_return_the_same_successor() {
    let world = World::with(&[ORG]).await;
    let instances = [world.app.clone(), world.another().await];
    let (client, mut token) = connected(&world).await;
    for round in 1..=ROUNDS {
        world.clock.advance(Duration::from_hours(1));
        let before = membership_requests(&world);
        let mut racers = JoinSet::new();
        for n in 0..RACERS {
            let (app, client, token) = (instances[n % 2].clone(), client.clone(), token.clone());
            racers.spawn(
                async move { refresh_token(&refresh(&app, &client, &token).await.unwrap()) },
            );
        }
        let successors: BTreeSet<String> = racers.join_all().await.into_iter().collect();
        assert_eq!(successors.len(), 1, "round {round}");
        assert_eq!(membership_requests(&world) - before, 1, "one of them queries GitHub");
        token = successors.into_iter().next().unwrap();
    }
    assert_eq!(world.audit_count("refresh_replayed").await, 0);
}

#[tokio::test]
async fn the_policy_is_rechecked_after_15_minutes() {
    let world = World::with(&[ORG]).await;
    let (client, mut token) = connected(&world).await;
    assert_eq!(membership_requests(&world), 1, "at the sign-in");
    for (minutes, times) in [(14, 1), (1, 2), (14, 2), (60, 3)] {
        world.clock.advance(Duration::from_mins(minutes));
        token = refresh_token(&refresh(&world.app, &client, &token).await.unwrap());
        assert_eq!(membership_requests(&world), times);
    }
}

#[tokio::test]
async fn a_user_who_left_the_organization_loses_all_grants() {
    for (reply, why) in [
        (Reply::json(404, &json!({})), "gate: not_a_member"),
        (Reply::json(200, &json!({"state": "pending"})), "gate: membership_pending"),
        (Reply::json(403, &json!({})), "gate: org_refuses"),
        (Reply::json(401, &json!({})), "gate: sign_in_again"),
    ] {
        use sea_orm::{EntityTrait as _, QueryOrder as _};

        let world = World::with(&[ORG]).await;
        let (one, token) = connected(&world).await;
        let (two, other) = connected(&world).await;
        world.clock.advance(Duration::from_mins(15));
        membership(&world, reply);
        for (client, token) in [(&one, &token), (&two, &other)] {
            let refused = refresh(&world.app, client, token).await;
            assert!(matches!(refused, Err(RefreshError::InvalidGrant(_))), "{why}");
        }
        assert_eq!(world.audit_count("gate_closed").await, 1, "{why}");
        let entry = entity::oauth_audit::Entity::find()
            .order_by_desc(entity::oauth_audit::Column::Id)
            .one(world.app.db())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(entry.detail.unwrap(), format!("{why}, 2 grants"));

        // A new membership does not restore the grants.
        world.github.answer(octocat);
        assert!(refresh(&world.app, &one, &token).await.is_err());
        connected(&world).await;
    }
}

#[tokio::test]
async fn while_github_is_unavailable_the_last_result_is_valid_for_a_day() {
    let world = World::with(&[ORG]).await;
    let (client, mut token) = connected(&world).await;
    membership(&world, broken());
    for _ in 0..2 {
        world.clock.advance(Duration::from_hours(12));
        token = refresh_token(&refresh(&world.app, &client, &token).await.unwrap());
    }
    world.clock.advance(Duration::from_secs(20));
    for _ in 0..2 {
        let refused = refresh(&world.app, &client, &token).await;
        assert!(matches!(refused, Err(RefreshError::PolicyUnknown)), "{refused:?}");
    }
    // The grant still exists: once GitHub responds, it works again.
    world.github.answer(octocat);
    world.clock.advance(Duration::from_secs(20));
    assert!(refresh(&world.app, &client, &token).await.is_ok());
    assert_eq!(world.audit_count("gate_closed").await, 0);
}

#[tokio::test]
async fn changing_keys_does_not_revoke_grants() {
    const OLD: &str = "the signing secret of all these tests"; // the default of the tests
    const NEW: &str = "the signing secret that came after it";
    const KEY: &str = "a data key that an operator has set";
    const KEYS: &str = "the data key that came after it ..., a data key that an operator has set";

    let world = World::with(&[ORG, ("DATA_KEYS", "-")]).await;
    let (client, mut token) = connected(&world).await;
    let both = format!("{NEW},{OLD}");
    for (case, variables) in [
        ("one variable is enough", &[][..]),
        ("the signing secret changes", &[("JWT_SIGNING_SECRET", &*both)][..]),
        ("the old one is removed", &[("JWT_SIGNING_SECRET", NEW)][..]),
        ("DATA_KEYS is set", &[("JWT_SIGNING_SECRET", NEW), ("DATA_KEYS", KEY)][..]),
        ("both change", &[("JWT_SIGNING_SECRET", &*both), ("DATA_KEYS", KEYS)][..]),
    ] {
        let app = world.another_with(variables).await;
        world.clock.advance(Duration::from_mins(15));
        let before = membership_requests(&world);
        let refreshed = refresh(&app, &client, &token).await;
        token = refresh_token(&refreshed.unwrap_or_else(|error| panic!("{case}: {error:?}")));
        assert_eq!(membership_requests(&world), before + 1, "{case}: membership was checked");
    }
    // An instance with the old keys cannot decrypt the token: the last result is valid for a day, and
    // then the user has to sign in again.
    world.clock.advance(Duration::from_hours(20));
    token = refresh_token(&refresh(&world.app, &client, &token).await.unwrap());
    world.clock.advance(Duration::from_hours(5));
    let refused = refresh(&world.app, &client, &token).await;
    assert!(matches!(refused, Err(RefreshError::InvalidGrant(_))), "{refused:?}");
}

#[tokio::test]
async fn a_user_who_was_removed_from_the_list_cannot_refresh() {
    let listed = World::with(&[("ALLOWED_GITHUB_LOGINS", "octocat")]).await;
    let (client, token) = connected(&listed).await;
    listed.clock.advance(Duration::from_mins(20));
    assert!(refresh(&listed.app, &client, &token).await.is_ok());
    let (client, token) = connected(&listed).await;
    let app = listed.another_with(&[("ALLOWED_GITHUB_LOGINS", "somebody-else")]).await;
    listed.clock.advance(Duration::from_mins(20));
    let refused = refresh(&app, &client, &token).await;
    assert!(matches!(refused, Err(RefreshError::InvalidGrant(_))), "{refused:?}");
}

#[tokio::test]
async fn a_refresh_extends_the_registration_of_the_client() {
    use sea_orm::EntityTrait as _;

    let world = World::new().await;
    let (client, token) = connected(&world).await;
    let row = async || {
        entity::oauth_clients::Entity::find_by_id(client.id.clone())
            .one(world.app.db())
            .await
            .unwrap()
            .unwrap()
    };
    let first = row().await;
    assert_eq!(first.last_used_at, Some(world.app.clock().now()));
    world.clock.advance(Duration::from_hours(29 * 24));
    refresh(&world.app, &client, &token).await.unwrap();
    let second = row().await;
    assert_eq!(second.last_used_at, Some(world.app.clock().now()));
    assert!(second.expires_at > first.expires_at);
}
