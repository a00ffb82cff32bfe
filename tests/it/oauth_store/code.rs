//! Codes: each becomes one grant, at most, and only for who can prove that it is theirs.

use entity::{oauth_audit, oauth_codes, oauth_grants, oauth_refresh_tokens};
use futures_util::future::join_all;
use mcp::Signal;
use oauth::{
    access_token::TokenError,
    account,
    audit::Kind,
    client::Client,
    code::{self, RedeemError},
    pkce::Verifier,
    token_format::PlainCode,
};
use sea_orm::{
    ConnectionTrait as _, EntityTrait as _, PaginatorTrait as _, QueryOrder as _, sea_query::Expr,
};

use super::{
    Issued, RACERS, ROUNDS, World, agree, client, connect, days, grant_of, is_accepted, on_both,
    refresh, refresh_token, request, row, seconds, told, user,
};

on_both!(
    a_code_becomes_a_grant_and_its_tokens,
    what_is_wrong_does_not_burn_a_code,
    the_third_wrong_verifier_ends_a_code,
    a_code_is_good_for_a_minute,
    a_code_is_redeemed_once_however_many_try,
    a_double_submit_has_no_consequences,
    a_code_that_is_replayed_later_ends_its_grant,
    a_code_that_is_replayed_after_a_refresh_ends_its_grant,
    nobody_ends_a_grant_without_the_verifier,
    a_client_may_be_one_that_gets_no_refresh_token,
    who_is_shut_out_gets_nothing_for_a_code,
    trouble_with_the_database_burns_nothing,
    a_code_without_a_challenge_cannot_be_stored,
);

#[expect(clippy::needless_pass_by_value, reason = "what was refused is of no further use")]
fn is_invalid<T>(result: Result<T, RedeemError>) -> bool {
    matches!(result, Err(RedeemError::InvalidGrant(_)))
}

async fn a_code_becomes_a_grant_and_its_tokens(world: World) {
    let app = &world.app;
    let (client_app, ada) = (client("an-app"), user("ada"));
    app.oauth().keys().jwks().await.unwrap(); // there is a key, and it is written down
    // Rows of the same millisecond have no order.
    world.clock.advance(seconds(1));
    let signed_in = app.clock().now();
    let issued = agree(app, &client_app, &ada).await;
    world.clock.advance(seconds(5));
    let tokens = issued.redeem(app, &client_app).await.unwrap();

    assert_eq!(tokens.scope, tests::fixtures::product().scopes().all());
    assert_eq!(tokens.expires_in, app.oauth().tokens().ttl());
    let token = tokens.access_token.expose();
    let claims = app.oauth().tokens().verify(token).await.unwrap();
    assert_eq!((&claims.user, &*claims.client), (&ada, "an-app"));
    assert_eq!(claims.scopes, tests::fixtures::product().scopes().all().to_set());
    assert_eq!(claims.signed_in_at, Some(signed_in.timestamp()));

    let grant = row(app, grant_of(app, &tokens).await).await;
    assert_eq!(grant.user_sub, ada.as_str());
    assert_eq!(grant.auth_time, signed_in);
    assert_eq!(grant.created_at, app.clock().now());
    assert_eq!((grant.generation, grant.revoked_at), (1, None));
    assert!(oauth_codes::Entity::find().one(app.db()).await.unwrap().is_none());

    // What happened is written down, where it came from, and no secret of it.
    let told = oauth_audit::Entity::find()
        .order_by_asc(oauth_audit::Column::Id)
        .all(app.db())
        .await
        .unwrap();
    let events: Vec<&str> = told.iter().map(|it| it.event.as_str()).collect();
    assert_eq!(events, ["key_created", "code_issued", "token_issued"]);
    for row in &told[1..] {
        assert_eq!(row.user_sub.as_deref(), Some(ada.as_str()));
        assert_eq!(row.request_id.as_deref(), Some("a-request"));
        assert_eq!(row.ip.as_deref(), Some("203.0.113.7"));
        let text = format!("{row:?}");
        for secret in
            [issued.code.expose(), issued.verifier.expose(), token, &refresh_token(&tokens)]
        {
            assert!(!text.contains(secret));
        }
    }
}

async fn what_is_wrong_does_not_burn_a_code(world: World) {
    let app = &world.app;
    let (client_app, ada) = (client("an-app"), user("ada"));
    let issued = agree(app, &client_app, &ada).await;

    assert!(is_invalid(issued.redeem(app, &client("another")).await));
    for redirect_uri in ["http://127.0.0.1:33419/callback", "", "https://evil.example.com"] {
        let mut redemption = issued.redemption();
        redemption.redirect_uri = Some(redirect_uri);
        assert!(is_invalid(code::redeem(app.oauth(), &client_app, redemption).await));
    }
    let mut redemption = issued.redemption();
    redemption.resource = &["https://other.example.com/mcp"];
    let refused = code::redeem(app.oauth(), &client_app, redemption).await;
    assert!(matches!(refused, Err(RedeemError::InvalidTarget(_))));
    for verifier in ["", "short", &"x".repeat(129), &format!("{} ", "x".repeat(43))] {
        let mut redemption = issued.redemption();
        redemption.verifier = verifier;
        let refused = code::redeem(app.oauth(), &client_app, redemption).await;
        assert!(matches!(refused, Err(RedeemError::InvalidRequest(_))));
    }
    for garbage in ["", "mac_", "mrt_x", &"x".repeat(1_000_000), "mac_\0", issued.verifier.expose()]
    {
        let mut redemption = issued.redemption();
        redemption.code = garbage;
        assert!(is_invalid(code::redeem(app.oauth(), &client_app, redemption).await));
    }
    let never_issued = Issued { code: PlainCode::generate(), verifier: Verifier::generate() };
    assert!(is_invalid(never_issued.redeem(app, &client_app).await));

    let mut redemption = issued.redemption();
    redemption.redirect_uri = None; // OAuth 2.1 does not ask for it
    let ours = [app.config().public_url.mcp()];
    let ours = [ours[0].as_str()];
    redemption.resource = &ours;
    assert!(code::redeem(app.oauth(), &client_app, redemption).await.is_ok());
}

async fn the_third_wrong_verifier_ends_a_code(world: World) {
    let app = &world.app;
    let (client_app, ada) = (client("an-app"), user("ada"));
    for wrong_times in 1..=3 {
        let issued = agree(app, &client_app, &ada).await;
        for _ in 0..wrong_times {
            let wrong = Issued { code: issued.code.clone(), verifier: Verifier::generate() };
            assert!(is_invalid(wrong.redeem(app, &client_app).await));
        }
        let right = issued.redeem(app, &client_app).await;
        assert_eq!(right.is_ok(), wrong_times < 3, "{wrong_times} wrong ones");
    }
    assert_eq!(told(app, Kind::CodeGuessed).await, 1);
}

async fn a_code_is_good_for_a_minute(world: World) {
    let app = &world.app;
    let (client_app, ada) = (client("an-app"), user("ada"));
    let (one, other) = (agree(app, &client_app, &ada).await, agree(app, &client_app, &ada).await);
    world.clock.advance(seconds(59));
    assert!(one.redeem(app, &client_app).await.is_ok());
    world.clock.advance(seconds(1));
    assert!(is_invalid(other.redeem(app, &client_app).await));
}

async fn a_code_is_redeemed_once_however_many_try(world: World) {
    let instances = [world.another().await, world.another().await];
    let (client_app, ada) = (client("an-app"), user("ada"));
    for round in 0..ROUNDS {
        let issued = agree(&instances[0], &client_app, &ada).await;
        let tries = (0..RACERS).map(|n| issued.redeem(&instances[n % 2], &client_app));
        let outcomes = join_all(tries).await;
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "round {round}");
        for outcome in lost {
            assert!(is_invalid(outcome));
        }
        let tokens = won.into_iter().next().unwrap().unwrap();
        for instance in &instances {
            assert!(is_accepted(instance, &tokens).await);
        }
        assert!(refresh(&instances[1], &client_app, &refresh_token(&tokens)).await.is_ok());
    }
    let db = world.app.db();
    let rounds = u64::try_from(ROUNDS).unwrap();
    assert_eq!(oauth_grants::Entity::find().count(db).await.unwrap(), rounds);
    let refresh_tokens = oauth_refresh_tokens::Entity::find().count(db).await.unwrap();
    assert_eq!(refresh_tokens, 2 * rounds, "one of the code, one of the refresh");
    assert_eq!(told(&world.app, Kind::TokenIssued).await, rounds);
    assert_eq!(told(&world.app, Kind::CodeReplayed).await, 0);
}

async fn a_double_submit_has_no_consequences(world: World) {
    let app = &world.app;
    let (client_app, ada) = (client("an-app"), user("ada"));
    let issued = agree(app, &client_app, &ada).await;
    let tokens = issued.redeem(app, &client_app).await.unwrap();
    for _ in 0..2 {
        assert!(is_invalid(issued.redeem(app, &client_app).await));
        world.clock.advance(seconds(5));
    }
    assert!(is_invalid(issued.redeem(app, &client_app).await), "10 s later");
    assert!(is_accepted(app, &tokens).await);
    assert_eq!(told(app, Kind::CodeReplayed).await, 0);
}

/// Presents a code again and checks that this ended its grant, everywhere and once.
async fn replay_ends(
    world: &World,
    client_app: &Client,
    issued: &Issued,
    tokens: &oauth::grant::TokenSet,
) {
    let app = &world.app;
    let grant = grant_of(app, tokens).await;
    let other = world.another().await;
    assert!(is_accepted(&other, tokens).await);
    world.published();

    for _ in 0..2 {
        assert!(is_invalid(issued.redeem(app, client_app).await));
    }
    let refused = app.oauth().tokens().verify(tokens.access_token.expose()).await;
    assert_eq!(refused, Err(TokenError::Invalid("it was revoked")), "remembered or not");
    assert_eq!(other.oauth().revoked().poll().await.unwrap(), [grant]);
    assert!(!is_accepted(&other, tokens).await);
    assert!(refresh(&other, client_app, &refresh_token(tokens)).await.is_err());
    let grant = grant.to_string();
    assert_eq!(world.published(), [Signal::Revoked { grant }]);
    assert_eq!(told(app, Kind::CodeReplayed).await, 1);
    assert_eq!(told(app, Kind::GrantRevoked).await, 0, "it is told once");
}

async fn a_code_that_is_replayed_later_ends_its_grant(world: World) {
    let app = &world.app;
    let (client_app, ada) = (client("an-app"), user("ada"));
    let bystander = connect(app, &client_app, &ada).await;
    let issued = agree(app, &client_app, &ada).await;
    let tokens = issued.redeem(app, &client_app).await.unwrap();
    world.clock.advance(seconds(11));
    replay_ends(&world, &client_app, &issued, &tokens).await;
    assert!(is_accepted(app, &bystander).await, "another installation goes on");
}

async fn a_code_that_is_replayed_after_a_refresh_ends_its_grant(world: World) {
    let app = &world.app;
    let (client_app, ada) = (client("an-app"), user("ada"));
    let issued = agree(app, &client_app, &ada).await;
    let tokens = issued.redeem(app, &client_app).await.unwrap();
    refresh(app, &client_app, &refresh_token(&tokens)).await.unwrap();
    replay_ends(&world, &client_app, &issued, &tokens).await;
}

async fn nobody_ends_a_grant_without_the_verifier(world: World) {
    let app = &world.app;
    let (client_app, ada) = (client("an-app"), user("ada"));
    let issued = agree(app, &client_app, &ada).await;
    let tokens = issued.redeem(app, &client_app).await.unwrap();
    world.clock.advance(seconds(60));

    let without_verifier = Issued { code: issued.code.clone(), verifier: Verifier::generate() };
    for _ in 0..5 {
        assert!(is_invalid(without_verifier.redeem(app, &client_app).await));
    }
    assert!(is_invalid(issued.redeem(app, &client("another")).await));
    let another_code = Issued { code: PlainCode::generate(), verifier: issued.verifier.clone() };
    assert!(is_invalid(another_code.redeem(app, &client_app).await));
    assert!(is_accepted(app, &tokens).await);
    assert!(refresh(app, &client_app, &refresh_token(&tokens)).await.is_ok());
}

async fn a_client_may_be_one_that_gets_no_refresh_token(world: World) {
    let app = &world.app;
    let client_app = Client { may_refresh: false, ..client("an-app") };
    let tokens = connect(app, &client_app, &user("ada")).await;
    assert!(tokens.refresh_token.is_none());
    let grant = row(app, grant_of(app, &tokens).await).await;
    let ttl = grant.ends_at - grant.created_at;
    assert_eq!((grant.generation, ttl.to_std().unwrap()), (0, app.oauth().tokens().ttl()));
    assert_eq!(account::connected(app.oauth(), &user("ada")).await.unwrap().len(), 1);
    world.clock.advance(days(1));
    assert!(account::connected(app.oauth(), &user("ada")).await.unwrap().is_empty());
}

async fn who_is_shut_out_gets_nothing_for_a_code(world: World) {
    let app = &world.app;
    let (client_app, ada, bob) = (client("an-app"), user("ada"), user("bob"));
    let (before, deleted) =
        (agree(app, &client_app, &ada).await, agree(app, &client_app, &bob).await);
    assert!(account::block(app.oauth(), &ada, &request()).await.unwrap());
    account::delete(app.oauth(), &bob, &request()).await.unwrap();
    let during = agree(app, &client_app, &ada).await;
    for issued in [&before, &deleted, &during] {
        assert!(is_invalid(issued.redeem(app, &client_app).await));
    }
    assert!(account::unblock(app.oauth(), &ada, &request()).await.unwrap());
    assert!(is_invalid(before.redeem(app, &client_app).await));
    assert!(during.redeem(app, &client_app).await.is_ok());
}

async fn trouble_with_the_database_burns_nothing(world: World) {
    let app = &world.app;
    let (client_app, ada) = (client("an-app"), user("ada"));
    let cut_off = world.another().await;
    let tokens = connect(&cut_off, &client_app, &ada).await;
    assert!(is_accepted(&cut_off, &tokens).await);
    let issued = agree(app, &client_app, &ada).await;
    cut_off.close().await;

    for _ in 0..2 {
        let refused = issued.redeem(&cut_off, &client_app).await;
        assert!(matches!(refused, Err(RedeemError::Unavailable(_))), "{refused:?}");
    }
    assert!(is_accepted(&cut_off, &tokens).await, "tokens are verified without it");
    assert!(issued.redeem(app, &client_app).await.is_ok());
}

async fn a_code_without_a_challenge_cannot_be_stored(world: World) {
    let app = &world.app;
    agree(app, &client("an-app"), &user("ada")).await;
    let update = |challenge: Option<Vec<u8>>| {
        oauth_codes::Entity::update_many()
            .col_expr(oauth_codes::Column::CodeChallenge, Expr::value(challenge))
            .exec(app.db())
    };
    for bad in [None, Some(vec![]), Some(vec![0; 31]), Some(vec![0; 33])] {
        assert!(update(bad.clone()).await.is_err(), "{bad:?}");
    }
    assert!(update(Some(vec![0; 32])).await.is_ok());
    // Nor can it belong to nobody.
    let orphan = "UPDATE oauth_codes SET user_sub = 'dev:nobody'";
    assert!(app.db().execute_unprepared(orphan).await.is_err());
}
