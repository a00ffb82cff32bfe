//! The creation of service clients, by an operator.

use std::fmt;

use entity::oauth_service_clients::{Entity, Model};
use mcp::{UserId, json::unique_object};
use platform::{
    db::{self, Failure},
    fetch::Address,
};
use sea_orm::{EntityTrait as _, IntoActiveModel as _};
use serde_json::Value;

use super::{ACCOUNT_PREFIX, keys::MAX_BYTES};
use crate::{
    audit::{self, Event, RequestInfo},
    client::{ClientId, has_private_key},
    jwt::KeySet,
    login::users::{self, SignIn},
    scope::Scopes,
    server::Server,
    token_format::{PlainClientSecret, new_service_client_id},
};

/// The maximum length of a name.
const MAX_NAME: usize = 40;

/// The name of a service account, part of its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName(String);

/// Why a text is not the name of a service account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "use 1 to 40 of the characters a-z 0-9 . _ -, beginning with a letter or digit, such as nightly-backup"
)]
pub struct NameError;

impl ServiceName {
    /// Parses a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_valid = (1..=MAX_NAME).contains(&text.len())
            && text.bytes().next().is_some_and(is_plain)
            && text.bytes().all(|byte| is_plain(byte) || b"._-".contains(&byte));
        if is_valid { Ok(Self(text.to_owned())) } else { Err(NameError) }
    }

    /// Returns the identity of the account.
    pub fn user(&self) -> UserId {
        UserId::new(format!("{ACCOUNT_PREFIX}:{}", self.0))
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a new client authenticates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsOf {
    /// With a secret that this server generates.
    Secret,
    /// With one of these keys; see [`parse_keys`].
    Keys(Value),
    /// With one of the keys at this URL.
    KeysAt(Address),
}

/// A client to be created.
#[derive(Clone, Debug)]
pub struct NewServiceClient {
    /// The name of its account.
    pub name: ServiceName,
    /// The scopes that it may have. Not empty.
    pub scope: Scopes,
    /// How it authenticates.
    pub credentials: CredentialsOf,
}

/// A client that was created.
#[derive(Debug)]
pub struct Created {
    /// The `client_id`.
    pub id: ClientId,
    /// Its account.
    pub user: UserId,
    /// The secret, which is shown once and stored only as a hash.
    pub secret: Option<PlainClientSecret>,
}

/// Creates a service client, and its account unless it exists.
pub async fn create(
    server: &Server,
    new: NewServiceClient,
    request: &RequestInfo,
) -> Result<Created, Failure> {
    let NewServiceClient { name, scope, credentials } = new;
    let now = server.clock().now();
    let (id, user) = (new_service_client_id(), name.user());
    let (secret, jwks, jwks_uri) = match credentials {
        CredentialsOf::Secret => (Some(PlainClientSecret::generate()), None, None),
        CredentialsOf::Keys(jwks) => (None, Some(jwks), None),
        CredentialsOf::KeysAt(address) => (None, None, Some(address.as_str().to_owned())),
    };
    let row = Model {
        id: id.clone(),
        name: name.to_string(),
        account_sub: user.as_str().to_owned(),
        scope: scope.to_string(),
        secret_hash: secret.as_ref().map(PlainClientSecret::hash),
        jwks,
        jwks_uri,
        created_at: now,
        last_used_at: None,
        revoked_at: None,
    };
    let event = Event::new(audit::Kind::ClientCreated, request)
        .user(&user)
        .client(&id)
        .detail(scope.to_string());
    let sign_in = SignIn { user: user.clone(), login: name.to_string(), display_name: None };
    let transaction = db::begin(server.db()).await?;
    users::upsert(&transaction, now, sign_in).await?;
    Entity::insert(row.into_active_model()).exec_without_returning(&transaction).await?;
    audit::write(&transaction, now, &event).await?;
    transaction.commit().await?;
    event.log();
    Ok(Created { id, user, secret })
}

/// Parses the public keys of a client: a JWK Set. The error continues a sentence that begins with the
/// name of the text, and never quotes it, because it may contain a private key.
pub fn parse_keys(text: &str) -> Result<Value, &'static str> {
    if text.len() > MAX_BYTES {
        return Err("is larger than 64 KiB");
    }
    let document = unique_object(text.as_bytes()).map_err(
        |_quotes_the_text| "is not a JWK Set, such as {\"keys\": [{\"kty\": \"EC\", …}]}",
    )?;
    if has_private_key(&document) {
        return Err(
            "contains a private key: keep that with the client, and give only the public part",
        );
    }
    match KeySet::read(&document) {
        None => Err("is not a JWK Set: it has no array \"keys\""),
        Some(keys) if keys.is_empty() => Err(
            "contains no usable key: RSA with at least 2048 bits, EC with the curve P-256, or OKP with \
             the curve Ed25519, and \"use\" absent or \"sig\"",
        ),
        Some(_) => Ok(Value::Object(document)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_part_of_an_identity() {
        assert_eq!(ServiceName::parse("ci-1.a_b").unwrap().user().as_str(), "service:ci-1.a_b");
        let long = "x".repeat(MAX_NAME + 1);
        for bad in ["", "A", "-a", ".a", "a:b", "a b", "ä", "a\n", &*long] {
            assert_eq!(ServiceName::parse(bad), Err(NameError), "{bad}");
        }
    }

    #[test]
    fn only_public_keys_that_can_verify_are_accepted() {
        let key = json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        });
        let with = |member: &str, value: &str| {
            let mut key = key.clone();
            key[member] = value.into();
            json!({ "keys": [key] }).to_string()
        };
        assert!(parse_keys(&json!({ "keys": [key] }).to_string()).is_ok());
        for (text, problem) in [
            (with("d", "hunter2"), "contains a private key"),
            (with("crv", "P-384"), "contains no usable key"),
            (with("use", "enc"), "contains no usable key"),
            (json!({ "keys": [] }).to_string(), "contains no usable key"),
            (
                json!({ "keys": [{ "kty": "oct", "k": "hunter2" }] }).to_string(),
                "contains a private",
            ),
            (key.to_string(), "is not a JWK Set"),
            ("hunter2".to_owned(), "is not a JWK Set"),
            (" ".repeat(MAX_BYTES + 1), "is larger"),
        ] {
            let found = parse_keys(&text).unwrap_err();
            assert!(found.starts_with(problem) && !found.contains("hunter2"), "{found}");
        }
    }
}
