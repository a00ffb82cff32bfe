//! Consent: the user decides once, in the browser in which the authorization began.

use std::{sync::Arc, time::Duration};

use oauth::{
    authorize,
    client::{self, ClientKind},
    code::{self, Redemption},
    consent::{self, ConsentError, Decision, Next},
    login::{FinishedLogin, StartedLogin},
    redirect_uri::Destination,
    scope::Scopes,
};

use crate::world::{VERIFIER, World, approve, query, request, valid_request};

#[tokio::test]
async fn the_page_shows_the_client_and_the_scopes() {
    let world = World::new().await;
    let client = world.client(&["http://localhost/cb"]).await;
    let begun = world.begin(&client, "http://localhost:7/cb").await;
    let view = consent::view(world.app.oauth(), &begun.transaction, Some(&begun.browser_nonce))
        .await
        .unwrap();
    assert_eq!(view.client_name.as_str(), "App");
    assert_eq!(view.client_kind, ClientKind::Dynamic);
    assert_eq!(view.destination, Destination::ThisMachine);
    assert_eq!(view.resource, "http://localhost:8080/mcp");
    assert!(view.sign_in.unwrap().contains("you sign in with GitHub"));
    let writes: Vec<_> =
        view.permissions.iter().map(|permission| (permission.scope, permission.writes)).collect();
    assert_eq!(writes, [("items:read", false), ("items:write", true)]);
}

#[tokio::test]
async fn the_user_chooses_the_scopes_if_the_client_requests_none() {
    let world = World::new().await;
    let client = world.client(&["http://localhost/cb"]).await;
    let write = Scopes::named(tests::fixtures::items::WRITE);
    for (asked, added, granted) in [
        (None, Scopes::default(), tests::fixtures::product().scopes().default_request()),
        (None, write.clone(), tests::fixtures::product().scopes().all()),
        (Some("openid offline_access"), write.clone(), tests::fixtures::product().scopes().all()),
        // A client that requests scopes cannot get others.
        (Some("items:read"), write, tests::fixtures::product().scopes().default_request()),
    ] {
        let mut request_of = valid_request(&client, "http://localhost/cb");
        request_of.retain(|(name, _)| name != "scope");
        request_of.extend(asked.map(|scope| ("scope".to_owned(), scope.to_owned())));
        let begun = authorize::begin(world.app.oauth(), &request_of, &request()).await.unwrap();
        let view = world.view(&begun).await;
        let scopes = |permissions: &[consent::Permission]| -> Vec<_> {
            permissions.iter().map(|permission| permission.scope).collect()
        };
        let offered =
            if asked == Some("items:read") { vec![] } else { vec![tests::fixtures::items::WRITE] };
        assert_eq!(scopes(&view.permissions), [tests::fixtures::items::READ], "{asked:?}");
        assert_eq!(scopes(&view.optional), offered, "{asked:?}");

        let Next::ToSignIn(StartedLogin { state, nonce, .. }) =
            world.decide(&begun, Decision::Approve { added, provider: None }).await
        else {
            panic!("not redirected to GitHub");
        };
        let Ok(FinishedLogin::ToClient { uri, .. }) = world.finish_login(&(state, nonce)).await
        else {
            panic!("not redirected to the client");
        };
        let redemption = Redemption {
            code: &query(&uri)["code"],
            verifier: VERIFIER,
            redirect_uri: None,
            resource: &[],
            dpop_key: None,
            request: request(),
        };
        let client = client::find(world.app.oauth(), &client).await.unwrap();
        let tokens = code::redeem(world.app.oauth(), &client, redemption).await.unwrap();
        assert_eq!(tokens.scope, granted, "{asked:?}");
    }
}

#[tokio::test]
async fn viewing_the_page_has_no_effect_and_flows_are_independent() {
    let world = World::new().await;
    let client = world.client(&["http://localhost/cb"]).await;
    let begun = world.begin(&client, "http://localhost/cb").await;
    let other = world.begin(&client, "http://localhost/cb").await;
    let nonce = Some(&*begun.browser_nonce);
    let first = consent::view(world.app.oauth(), &begun.transaction, nonce).await.unwrap();
    for _ in 0..3 {
        let again = consent::view(world.app.oauth(), &begun.transaction, nonce).await.unwrap();
        assert_eq!(again.csrf, first.csrf);
    }
    // Two flows of one browser, decided in reverse order.
    assert!(matches!(world.decide(&other, approve()).await, Next::ToSignIn(_)));
    let next = consent::decide(
        world.app.oauth(),
        &begun.transaction,
        &first.csrf,
        nonce,
        approve(),
        &request(),
    )
    .await;
    assert!(matches!(next, Ok(Next::ToSignIn(_))));
    assert_eq!(world.audit_count("consent_given").await, 2);
    assert!(world.github.seen().is_empty(), "no request to GitHub before the callback");
}

#[tokio::test]
async fn invalid_decisions_do_not_end_the_flow() {
    let world = World::new().await;
    let client = world.client(&["http://localhost/cb"]).await;
    let begun = world.begin(&client, "http://localhost/cb").await;
    let other = world.begin(&client, "http://localhost/cb").await;
    let (mine, theirs) = (Some(&*begun.browser_nonce), Some(&*other.browser_nonce));
    let csrf = consent::view(world.app.oauth(), &begun.transaction, mine).await.unwrap().csrf;
    let foreign = consent::view(world.app.oauth(), &other.transaction, theirs).await.unwrap().csrf;
    for (transaction, csrf, nonce, error) in [
        (&*begun.transaction, "", mine, ConsentError::Forged),
        (&*begun.transaction, &*foreign, mine, ConsentError::Forged),
        (&*begun.transaction, &csrf[1..], mine, ConsentError::Forged),
        (&*begun.transaction, &*csrf, None, ConsentError::OtherBrowser),
        (&*begun.transaction, &*csrf, Some(""), ConsentError::OtherBrowser),
        (&*begun.transaction, &*csrf, theirs, ConsentError::OtherBrowser),
        ("unknown", &*csrf, mine, ConsentError::NotFound),
    ] {
        for decision in [approve(), Decision::Deny] {
            let decided =
                consent::decide(world.app.oauth(), transaction, csrf, nonce, decision, &request())
                    .await;
            assert_eq!(decided.unwrap_err(), error);
        }
    }
    let error = consent::view(world.app.oauth(), &begun.transaction, None).await.unwrap_err();
    assert_eq!(error, ConsentError::OtherBrowser);
    assert!(matches!(world.decide(&begun, approve()).await, Next::ToSignIn(_)));
}

#[tokio::test]
async fn one_of_many_concurrent_decisions_succeeds() {
    let world = Arc::new(World::new().await);
    let another = world.another().await;
    let client = world.client(&["http://localhost/cb"]).await;
    for _ in 0..20 {
        let begun = Arc::new(world.begin(&client, "http://localhost/cb").await);
        let nonce = Some(&*begun.browser_nonce);
        let csrf: Arc<str> =
            consent::view(world.app.oauth(), &begun.transaction, nonce).await.unwrap().csrf.into();
        let clicks: Vec<_> = (0..16)
            .map(|click| {
                let app = if click % 2 == 0 { world.app.clone() } else { another.clone() };
                let (begun, csrf) = (Arc::clone(&begun), Arc::clone(&csrf));
                tokio::spawn(async move {
                    let nonce = Some(&*begun.browser_nonce);
                    consent::decide(
                        app.oauth(),
                        &begun.transaction,
                        &csrf,
                        nonce,
                        approve(),
                        &request(),
                    )
                    .await
                })
            })
            .collect();
        let mut winners = 0;
        for click in clicks {
            match click.await.unwrap() {
                Ok(Next::ToSignIn(_)) => winners += 1,
                Ok(other) => panic!("{other:?}"),
                Err(error) => assert_eq!(error, ConsentError::NotFound),
            }
        }
        assert_eq!(winners, 1);
    }
}

#[tokio::test]
async fn denying_redirects_to_the_client_and_ends_the_flow() {
    let world = World::new().await;
    let client = world.client(&["https://app.example.com/cb?tenant=1"]).await;
    let begun = world.begin(&client, "https://app.example.com/cb?tenant=1").await;
    let Next::ToClient { uri } = world.decide(&begun, Decision::Deny).await else {
        panic!("not redirected to the client");
    };
    let answer = query(&uri);
    assert_eq!(answer["error"], "access_denied");
    assert_eq!(answer["state"], "a state & more");
    assert_eq!(answer["iss"], "http://localhost:8080");
    assert_eq!(answer["tenant"], "1");
    let again =
        consent::view(world.app.oauth(), &begun.transaction, Some(&begun.browser_nonce)).await;
    assert_eq!(again.unwrap_err(), ConsentError::NotFound);
    assert_eq!(world.audit_count("consent_denied").await, 1);
}

#[tokio::test]
async fn a_pending_authorization_expires_after_ten_minutes() {
    let world = World::new().await;
    let client = world.client(&["http://localhost/cb"]).await;
    let begun = world.begin(&client, "http://localhost/cb").await;
    world.clock.advance(Duration::from_mins(10));
    let late =
        consent::view(world.app.oauth(), &begun.transaction, Some(&begun.browser_nonce)).await;
    assert_eq!(late.unwrap_err(), ConsentError::NotFound);
}
