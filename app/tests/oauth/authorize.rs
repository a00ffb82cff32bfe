//! Authorization requests: which are valid, and where errors are shown or sent.

use oauth::{
    authorize::{self, AuthorizeError, PageError},
    consent::Permission,
    consent::{Decision, Next},
    redirect_uri::Destination,
};

use crate::world::{ISSUER, World, challenge, pairs, query, request, valid_request};

const LOOPBACK: &str = "http://localhost:5555/cb";

/// Returns a valid request in which one parameter has another value; `None` removes the parameter.
fn changed(client: &str, name: &str, value: Option<&str>) -> Vec<(String, String)> {
    let mut request = valid_request(client, LOOPBACK);
    request.retain(|(other, _)| other != name);
    request.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    request
}

async fn refused(world: &World, parameters: &[(String, String)]) -> AuthorizeError {
    authorize::begin(world.app.oauth(), parameters, &request())
        .await
        .expect_err("an invalid request")
}

/// Returns the error and the state that are sent to the client.
async fn redirected_error(
    world: &World,
    parameters: &[(String, String)],
) -> (String, Option<String>) {
    match refused(world, parameters).await {
        AuthorizeError::Redirect { uri } => {
            assert!(uri.starts_with("http://localhost:5555/cb?"), "{uri}");
            let mut answer = query(&uri);
            assert_eq!(answer.remove("iss").as_deref(), Some(ISSUER));
            (answer.remove("error").unwrap(), answer.remove("state"))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_a_valid_client_and_redirect_uri_the_error_is_shown_on_a_page() {
    let world = World::new().await;
    let client = world.client(&["http://localhost/cb", "https://app.example.com/cb"]).await;
    let other = world.client(&["https://other.example.com/cb"]).await;
    let unknown = client.replace("mcl_", "mcl-");
    let long = "x".repeat(20_000);
    let page = |error| AuthorizeError::Page(error);

    for id in [&unknown, "nobody", "a b", "mcl_"] {
        let error = refused(&world, &changed(id, "scope", None)).await;
        assert_eq!(error, page(PageError::UnknownClient), "{id}");
    }
    for wrong in [
        pairs(&[]),
        changed(&client, "client_id", None),
        changed("", "scope", None),
        changed(&client, "redirect_uri", None),
        changed(&client, "redirect_uri", Some("")),
        changed(&long, "scope", None),
        [valid_request(&client, LOOPBACK), pairs(&[("client_id", &client)])].concat(),
        [valid_request(&client, LOOPBACK), pairs(&[("redirect_uri", LOOPBACK)])].concat(),
    ] {
        let error = refused(&world, &wrong).await;
        assert!(matches!(error, AuthorizeError::Page(PageError::Request(_))), "{error:?}");
    }
    for uri in [
        "https://other.example.com/cb",
        "https://app.example.com/cb/",
        "https://App.example.com/cb",
        "https://app.example.com:443/cb",
        "https://app.example.com/cb#",
        "https://app.example.com/./cb",
        "https://good.example@app.example.com/cb",
        "https://localhost:1/cb",
        "http://127.0.0.1:1/cb",
        "http://localhost:1/cb?x",
        "http://localhost.:1/cb",
        "http://localhost.evil.com/cb",
        " http://localhost/cb",
        "http://localhost/cb\n",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
    ] {
        let error = refused(&world, &changed(&client, "redirect_uri", Some(uri))).await;
        assert_eq!(error, page(PageError::RedirectUri), "{uri}");
    }
    let error = refused(&world, &changed(&other, "scope", None)).await;
    assert_eq!(error, page(PageError::RedirectUri));
}

#[tokio::test]
async fn other_errors_are_sent_to_the_client() {
    let world = World::new().await;
    let client = world.client(&["http://localhost/cb"]).await;
    let (right, short) = (challenge(), "x".repeat(42));
    for (name, value, error) in [
        ("response_type", None, "invalid_request"),
        ("response_type", Some("token"), "unsupported_response_type"),
        ("response_type", Some("code token"), "unsupported_response_type"),
        ("response_type", Some("none"), "unsupported_response_type"),
        ("response_mode", Some("fragment"), "invalid_request"),
        ("response_mode", Some("form_post"), "invalid_request"),
        ("request", Some("x"), "request_not_supported"),
        ("request_uri", Some("https://app.example.com/r"), "request_uri_not_supported"),
        ("code_challenge", None, "invalid_request"),
        ("code_challenge", Some(short.as_str()), "invalid_request"),
        ("code_challenge_method", None, "invalid_request"),
        ("code_challenge_method", Some("plain"), "invalid_request"),
        ("code_challenge_method", Some("s256"), "invalid_request"),
        ("scope", Some("items:read\""), "invalid_scope"),
        ("scope", Some("items:read\titems:write"), "invalid_scope"),
        ("resource", Some("http://localhost:8081/mcp"), "invalid_target"),
        ("resource", Some("http://localhost:8080/mcp#x"), "invalid_target"),
        ("resource", Some("/mcp"), "invalid_target"),
        ("prompt", Some("none"), "interaction_required"),
    ] {
        let (code, state) = redirected_error(&world, &changed(&client, name, value)).await;
        assert_eq!(code, error, "{name} {value:?}");
        assert_eq!(state.as_deref(), Some("a state & more"), "{name} {value:?}");
    }
    for (name, value) in
        [("scope", "items:read"), ("code_challenge", &right), ("response_type", "code")]
    {
        let twice = [valid_request(&client, LOOPBACK), pairs(&[(name, value)])].concat();
        assert_eq!(redirected_error(&world, &twice).await.0, "invalid_request", "{name}");
    }
    let two = pairs(&[("resource", "https://other.example.com/mcp")]);
    let two = [valid_request(&client, LOOPBACK), two].concat();
    assert_eq!(redirected_error(&world, &two).await.0, "invalid_target");
}

#[tokio::test]
async fn the_state_is_returned_unless_it_is_unsafe() {
    let world = World::new().await;
    let client = world.client(&["http://localhost/cb"]).await;
    for long in [2_049, 4_096, 10_000] {
        let long = "s".repeat(long);
        let answer = redirected_error(&world, &changed(&client, "state", Some(&long))).await;
        assert_eq!(answer, ("invalid_request".to_owned(), Some(long)));
    }
    for state in ["a\r\nb", "a\0"] {
        let answer = redirected_error(&world, &changed(&client, "state", Some(state))).await;
        assert_eq!(answer, ("invalid_request".to_owned(), None));
    }
    let twice = [valid_request(&client, LOOPBACK), pairs(&[("state", "x")])].concat();
    assert_eq!(redirected_error(&world, &twice).await, ("invalid_request".to_owned(), None));
    assert!(world.begin_with(&changed(&client, "state", None)).await);
    for longest in ["s".repeat(2_048), "{".repeat(2_048), "ü".repeat(2_048)] {
        assert!(world.begin_with(&changed(&client, "state", Some(&longest))).await);
    }
}

#[tokio::test]
async fn the_only_registered_redirect_uri_may_be_omitted() {
    let world = World::new().await;
    let clients = r#"[{"client_id": "ours", "client_name": "Ours",
        "redirect_uris": ["http://localhost:5555/cb"]}]"#;
    let preregistered_world = World::with(&[("OAUTH_CLIENTS", clients)]).await;
    let registered = world.client(&[LOOPBACK]).await;
    for (world, client) in [(&world, registered.as_str()), (&preregistered_world, "ours")] {
        for value in [None, Some("")] {
            let omitted = changed(client, "redirect_uri", value);
            let begun = authorize::begin(world.app.oauth(), &omitted, &request()).await.unwrap();
            let Next::ToClient { uri } = world.decide(&begun, Decision::Deny).await else {
                panic!("not redirected to the client");
            };
            assert!(uri.starts_with("http://localhost:5555/cb?error=access_denied"), "{uri}");

            // Errors are sent there, too.
            let mut invalid = omitted;
            invalid.retain(|(name, _)| name != "response_type");
            assert_eq!(redirected_error(world, &invalid).await.0, "invalid_request");
        }
    }
}

#[tokio::test]
async fn errors_of_an_unverified_client_are_shown_before_the_redirect() {
    let world = World::new().await;
    let client = world.client(&["https://app.example.com/cb"]).await;
    let mut wrong = valid_request(&client, "https://app.example.com/cb");
    wrong.retain(|(name, _)| name != "response_type");
    let AuthorizeError::Page(PageError::Client { error, destination, back, .. }) =
        refused(&world, &wrong).await
    else {
        panic!("redirected");
    };
    assert_eq!(error, "invalid_request");
    let host = "app.example.com".to_owned();
    assert_eq!(destination, Destination::Site { host });
    assert_eq!(query(&back)["state"], "a state & more");

    // A client with a verified metadata document gets the error at once.
    let mut wrong = valid_request("https://app.example.com/client", "https://app.example.com/cb");
    wrong.retain(|(name, _)| name != "response_type");
    let error = refused(&world, &wrong).await;
    assert!(matches!(error, AuthorizeError::Redirect { .. }), "{error:?}");
}

#[tokio::test]
async fn variations_of_real_clients_are_accepted() {
    let world = World::new().await;
    let client = world
        .client(&[
            "http://localhost/callback",
            "http://127.0.0.1:33418/",
            "cursor://a.b/oauth/callback",
        ])
        .await;
    for uri in [
        "http://localhost:53111/callback",
        "http://127.0.0.1:54321/",
        "http://127.0.0.1:54321",
        "cursor://a.b/oauth/callback",
    ] {
        assert!(world.begin_with(&valid_request(&client, uri)).await, "{uri}");
    }
    let client = world.client(&["http://localhost/cb"]).await;
    for (name, value) in [
        ("scope", None),
        ("scope", Some("  ")),
        ("scope", Some("items:read offline_access")),
        ("scope", Some("items:admin")),
        ("scope", Some("openid profile email items:read")),
        ("resource", None),
        ("resource", Some("HTTP://LOCALHOST:8080/mcp/")),
        ("resource", Some("http://localhost:8080/mcp?x=1")),
        ("response_mode", Some("query")),
        ("prompt", Some("consent")),
    ] {
        assert!(world.begin_with(&changed(&client, name, value)).await, "{name} {value:?}");
    }
}

#[tokio::test]
async fn the_registered_scope_is_a_default_and_not_a_limit() {
    let world = World::new().await;
    let both = "items:read items:write";
    for (registered, asked, granted, optional) in [
        ("items:read", None, vec!["items:read"], vec![]),
        ("items:read", Some("items:read"), vec!["items:read"], vec![]),
        // The user decides: the scope may be newer than the registration.
        ("items:read", Some(both), vec!["items:read", "items:write"], vec![]),
        ("items:read", Some("items:write"), vec!["items:write"], vec![]),
        ("items:write", None, vec!["items:write"], vec![]),
        // Unknown scopes only: treated as no scope.
        ("openid", None, vec!["items:read"], vec!["items:write"]),
    ] {
        let limited =
            serde_json::json!({"redirect_uris": ["http://localhost/cb"], "scope": registered});
        let client = world.registered(&limited).await;
        let asked = changed(&client, "scope", asked);
        let begun = authorize::begin(world.app.oauth(), &asked, &request()).await.unwrap();
        let view = world.view(&begun).await;
        let names = |permissions: &[Permission]| -> Vec<_> {
            permissions.iter().map(|permission| permission.scope).collect()
        };
        let shown = (names(&view.permissions), names(&view.optional));
        assert_eq!(shown, (granted, optional), "{registered} {asked:?}");
    }
}

#[tokio::test]
async fn the_operator_limits_the_scopes_of_a_preregistered_client() {
    let clients = r#"[{"client_id": "ours", "client_name": "Ours", "scope": "items:read",
        "redirect_uris": ["http://localhost/cb"]}]"#;
    let world = World::with(&[("OAUTH_CLIENTS", clients)]).await;
    let with_scope = |scope: &str| {
        let mut pairs = valid_request("ours", LOOPBACK);
        pairs.retain(|(name, _)| name != "scope");
        pairs.push(("scope".to_owned(), scope.to_owned()));
        pairs
    };
    let asked = with_scope("items:read items:write");
    let begun = authorize::begin(world.app.oauth(), &asked, &request()).await.unwrap();
    let view = world.view(&begun).await;
    let granted: Vec<_> = view.permissions.iter().map(|permission| permission.scope).collect();
    assert_eq!((granted, view.optional), (vec!["items:read"], vec![]));
    assert_eq!(redirected_error(&world, &with_scope("items:write")).await.0, "invalid_scope");
}

#[tokio::test]
async fn an_unused_client_expires_after_a_day() {
    let world = World::new().await;
    let client = world.client(&["http://localhost/cb"]).await;
    world.clock.advance(std::time::Duration::from_hours(24));
    let error = refused(&world, &valid_request(&client, LOOPBACK)).await;
    assert_eq!(error, AuthorizeError::Page(PageError::UnknownClient));
}

#[tokio::test]
async fn a_preregistered_client_needs_no_registration() {
    let clients = r#"[{"client_id": "ours", "client_name": "Ours",
        "redirect_uris": ["https://ours.example.com/cb"]}]"#;
    let world = World::with(&[("OAUTH_CLIENTS", clients)]).await;
    assert!(world.begin_with(&valid_request("ours", "https://ours.example.com/cb")).await);
}

#[tokio::test]
async fn without_an_identity_provider_no_authorization_begins() {
    let world = World::with(&[
        ("GITHUB_CLIENT_ID", "-"),
        ("GITHUB_CLIENT_SECRET", "-"),
        ("HOST", "0.0.0.0"),
    ])
    .await;
    let client = world.client(&["http://localhost/cb"]).await;
    let error = refused(&world, &valid_request(&client, LOOPBACK)).await;
    assert_eq!(error, AuthorizeError::Page(PageError::NoSignIn));
}

impl World {
    async fn begin_with(&self, parameters: &[(String, String)]) -> bool {
        authorize::begin(self.app.oauth(), parameters, &request()).await.is_ok()
    }
}
