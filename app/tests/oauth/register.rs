//! Dynamic client registration.

use oauth::{
    client::{self, Authentication, BadCredentials, ClientError, ClientKind, Credentials},
    register::{self, RegisterError},
};
use serde_json::{Value, json};

use crate::world::{World, request};

async fn register(world: &World, metadata: &Value) -> Result<Value, RegisterError> {
    let body = metadata.to_string();
    let registered = register::register(world.app.oauth(), body.as_bytes(), &request()).await?;
    Ok(serde_json::to_value(registered).unwrap())
}

#[tokio::test]
async fn the_response_contains_the_registered_metadata() {
    let world = World::new().await;
    let answer = register(
        &world,
        &json!({
            "client_name": "App\u{202e}",
            "redirect_uris": ["http://localhost/cb"],
            "logo_uri": "javascript:alert(1)",
            "client_id": "chosen",
        }),
    )
    .await
    .unwrap();
    let id = answer["client_id"].as_str().unwrap();
    assert_eq!(
        answer,
        json!({
            "client_id": id,
            "client_id_issued_at": 1_700_000_000,
            "client_name": "App",
            "redirect_uris": ["http://localhost/cb"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "scope": "items:read items:write",
        })
    );
    let client = client::find(world.app.oauth(), id).await.unwrap();
    assert_eq!(client.kind, ClientKind::Dynamic);
    assert_eq!(client.authentication, Authentication::None);
    assert_eq!(client::find_snapshot(world.app.oauth(), id).await, Ok(client));
    assert_eq!(world.audit_count("client_registered").await, 1);
}

#[tokio::test]
async fn the_response_contains_only_known_scopes() {
    let world = World::new().await;
    for (scope, registered) in [
        (json!("items:read"), "items:read"),
        (json!("openid items:write email"), "items:write"),
        (json!("openid"), "items:read items:write"),
        (json!(""), "items:read items:write"),
        (json!(null), "items:read items:write"),
    ] {
        let metadata = json!({"redirect_uris": ["http://localhost/cb"], "scope": scope});
        let answer = register(&world, &metadata).await.unwrap();
        assert_eq!(answer["scope"], registered, "{scope}");
    }
}

#[tokio::test]
async fn a_secret_is_returned_once_and_stored_as_a_hash() {
    let world = World::new().await;
    for method in ["client_secret_basic", "client_secret_post"] {
        let answer = register(
            &world,
            &json!({
                "redirect_uris": ["https://app.example.com/cb"],
                "token_endpoint_auth_method": method,
                "grant_types": ["authorization_code"],
            }),
        )
        .await
        .unwrap();
        assert_eq!(answer["client_secret_expires_at"], 0);
        assert_eq!(answer["token_endpoint_auth_method"], method);
        let secret = answer["client_secret"].as_str().unwrap();
        let id = answer["client_id"].as_str().unwrap();
        let client = client::find_snapshot(world.app.oauth(), id).await.unwrap();
        assert!(!client.may_refresh);
        assert!(!format!("{client:?}").contains(secret));
        let basic = |text| Credentials::Basic { decoded: text, verbatim: text };
        assert_eq!(client::authenticate(&client, basic(secret)), Ok(()));
        assert_eq!(client::authenticate(&client, Credentials::Post(secret)), Ok(()));
        let none = client::authenticate(&client, Credentials::None);
        assert_eq!(none, Err(BadCredentials));
        let wrong = client::authenticate(&client, basic("mcs_wrong"));
        assert_eq!(wrong, Err(BadCredentials));
    }
}

#[tokio::test]
async fn a_client_expires_when_it_is_not_used() {
    let world = World::new().await;
    let id = world.client(&["http://localhost/cb"]).await;
    let client = client::find(world.app.oauth(), &id).await.unwrap();
    let now = || platform::clock::Clock::now(&*world.clock);
    client::used(world.app.db(), now(), &client).await.unwrap();
    let row = async || {
        use sea_orm::EntityTrait as _;
        entity::oauth_clients::Entity::find_by_id(client.id.clone())
            .one(world.app.db())
            .await
            .unwrap()
            .unwrap()
    };
    let first = row().await;
    assert_eq!(first.last_used_at, Some(now()));
    assert_eq!(first.expires_at, Some(now() + client::IDLE_LIFETIME));
    // Recorded at most once an hour.
    world.clock.advance(std::time::Duration::from_mins(59));
    client::used(world.app.db(), now(), &client).await.unwrap();
    assert_eq!(row().await, first);
    world.clock.advance(std::time::Duration::from_mins(2));
    client::used(world.app.db(), now(), &client).await.unwrap();
    assert_eq!(row().await.last_used_at, Some(now()));

    world.clock.advance(std::time::Duration::from_hours(90 * 24));
    assert_eq!(client::find(world.app.oauth(), &id).await, Err(ClientError::Unknown));
}

#[tokio::test]
async fn a_disabled_client_is_unknown() {
    use sea_orm::{ActiveModelTrait as _, EntityTrait as _, IntoActiveModel as _, Set};

    let world = World::new().await;
    let dynamic = world.client(&["http://localhost/cb"]).await;
    let document = "https://app.example.com/client".to_owned();
    client::find(world.app.oauth(), &document).await.unwrap();
    for id in [dynamic, document] {
        let row = entity::oauth_clients::Entity::find_by_id(client::ClientId(id.clone()))
            .one(world.app.db())
            .await
            .unwrap()
            .unwrap();
        let mut row = row.into_active_model();
        row.disabled_at = Set(Some(crate::world::start_time()));
        row.update(world.app.db()).await.unwrap();
        assert_eq!(client::find(world.app.oauth(), &id).await, Err(ClientError::Unknown));
        let snapshot = client::find_snapshot(world.app.oauth(), &id).await;
        assert_eq!(snapshot, Err(ClientError::Unknown));
    }
}
