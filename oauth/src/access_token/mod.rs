//! Access tokens: JWTs after RFC 9068, signed with ES256, verified without the database.
//!
//! Verification is written out here rather than left to the library, whose defaults accept tokens
//! without an audience or issuer, of any type, with any critical extension, and from the future.
//! RFC 9068 asks an authorization server to support RS256 as well; we are the only verifier of these
//! tokens, so there is nobody to need it.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use entity::Kid;
use jsonwebtoken::{DecodingKey, crypto};
use mcp::{Caller, UserId};
use moka::sync::Cache;
use platform::{clock::Clock, db::Failure};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

pub use super::lifetimes::{LEEWAY, MAX_CONFIGURED_TTL, MAX_TTL};
use super::{
    access::Denied,
    revoked::{RevokedGrants, Token},
    signing_keys::{ALGORITHM, JWT_ALGORITHM, Signer, SigningKeys},
};

/// Our tokens have about 600 bytes. Whatever is longer than this is not hashed or parsed.
pub const MAX_BYTES: usize = 8 * 1024;

/// Bytes of an ES256 signature: two numbers of 256 bits.
const SIGNATURE_BYTES: usize = 64;

/// How long verified claims are remembered. Expiry, revocation and the trust in the key are checked
/// anew at each use all the same.
const REMEMBERED: Duration = Duration::from_mins(1);

/// How many verified tokens are remembered, of about 500 bytes each. One more only costs its
/// verification.
const MAX_REMEMBERED: u64 = 10_000;

/// The media type of access tokens, with and without the prefix that RFC 7515 allows to leave out.
const TYPES: [&str; 2] = ["at+jwt", "application/at+jwt"];

/// Mints and verifies the tokens of one issuer. Cheap to clone.
#[derive(Clone)]
pub struct AccessTokens {
    issuer: Arc<str>,
    audience: Arc<str>,
    ttl: Duration,
    keys: SigningKeys,
    revoked: RevokedGrants,
    clock: Arc<dyn Clock>,
    verified: Cache<[u8; 32], Arc<Claims>>,
}

/// What a new token shall say.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The person.
    pub user: UserId,
    /// The `client_id` of the client that will hold it.
    pub client: String,
    /// What it may do.
    pub scopes: BTreeSet<String>,
    /// What it is revoked by: the grant, or anything unique for a token without one.
    pub session_id: String,
    /// When the person signed in, if they did.
    pub signed_in_at: Option<DateTime<Utc>>,
    /// How long it lives, if not as long as configured; cut to [`MAX_TTL`].
    pub ttl: Option<Duration>,
}

/// What a verified token says.
#[derive(Clone, PartialEq, Eq)]
pub struct Claims {
    /// The person.
    pub user: UserId,
    /// The `client_id` of the client that holds it.
    pub client: Arc<str>,
    /// What it may do.
    pub scopes: BTreeSet<String>,
    /// What it is revoked by.
    pub session_id: Arc<str>,
    /// The token's own name, for the log.
    pub id: Arc<str>,
    /// When it was issued, in seconds since the Unix epoch.
    pub issued_at: i64,
    /// When it expires, in seconds since the Unix epoch.
    pub expires_at: i64,
    /// When the person signed in, in seconds since the Unix epoch, if the token says so.
    pub signed_in_at: Option<i64>,
    /// Which key signed it.
    kid: Kid,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not a token of ours at all.
    #[error("the token is malformed")]
    Malformed,
    /// It looks like one but must not be trusted; says why, for the log.
    #[error("the token is invalid: {0}")]
    Invalid(&'static str),
    /// It was good until it expired.
    #[error("the token has expired")]
    Expired,
    /// Nothing can be concluded: the key that it names could not be looked up.
    #[error("the token cannot be verified at the moment")]
    Unavailable,
}

impl Claims {
    /// The principal of a request that brought the token.
    pub fn caller(&self) -> Caller {
        Caller {
            user: self.user.clone(),
            client: Arc::clone(&self.client),
            scopes: self.scopes.clone(),
            grant: Arc::clone(&self.session_id),
            key: self.kid.as_str().into(),
            issued_at: self.issued_at,
            expires_at: self.expires_at,
            request: None,
        }
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims")
            .field("user", &self.user)
            .field("client", &self.client)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessTokens").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl AccessTokens {
    /// `issuer` and `audience` are compared byte by byte; `ttl` is the life of a token that asks for
    /// none of its own.
    pub fn new(
        issuer: &str,
        audience: &str,
        ttl: Duration,
        keys: SigningKeys,
        revoked: RevokedGrants,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            ttl,
            keys,
            revoked,
            clock,
            verified: Cache::builder()
                .max_capacity(MAX_REMEMBERED)
                .time_to_live(REMEMBERED)
                .build(),
        }
    }

    /// How long tokens live that ask for no time of their own.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Signs a new token.
    pub async fn mint(&self, new: NewToken) -> Result<String, Failure> {
        let minter = self.minter().await?;
        let now = self.clock.now().timestamp();
        // One without a grant is void if it is not later than the person's last cutoff.
        let issued_at = self.revoked.issue_at(&new.user, now);
        minter.mint_at(new, issued_at)
    }

    /// Whatever signing needs of the database, so that a token can be signed within a transaction
    /// that holds the only connection, or, on SQLite, the only right to write.
    pub(crate) async fn minter(&self) -> Result<Minter, Failure> {
        let signer = self.keys.signer().await?;
        self.keys.has_signed(&signer.kid).await?;
        Ok(Minter { tokens: self.clone(), signer })
    }

    /// Checks a token in every respect but what it may do. Touches the database only when the token
    /// names a key that this instance has not seen.
    pub async fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::Malformed);
        }
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some(claims) = self.verified.get(&hash) {
            if !self.keys.still_trusts(&claims.kid) {
                self.verified.invalidate(&hash);
                return Err(TokenError::Invalid("its key is no longer trusted"));
            }
            self.check_times(claims.issued_at, claims.expires_at, None)?;
            self.check_revocation(&claims).await?;
            return Ok(claims);
        }
        let token = Parts::split(token).ok_or(TokenError::Malformed)?;
        let kid = token.header()?;
        let key = self.key(&kid).await?;
        token.check_signature(&key)?;
        let claims = Arc::new(self.check_claims(json(token.claims)?, kid)?);
        self.check_revocation(&claims).await?;
        self.verified.insert(hash, Arc::clone(&claims));
        Ok(claims)
    }

    /// Asks memory, except for the very first time.
    async fn check_revocation(&self, claims: &Claims) -> Result<(), TokenError> {
        let token = Token {
            user: &claims.user,
            session_id: &claims.session_id,
            key: &claims.kid,
            issued_at: claims.issued_at,
        };
        match self.revoked.denied(&token).await {
            Ok(None) => Ok(()),
            Ok(Some(Denied::GrantRevoked)) => Err(TokenError::Invalid("it was revoked")),
            Ok(Some(Denied::KeyRevoked)) => Err(TokenError::Invalid("its key was revoked")),
            Ok(Some(Denied::Blocked | Denied::CutOff)) => {
                Err(TokenError::Invalid("its person was shut out"))
            }
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = ?error,
                    "The revoked grants could not be read: {error}"
                );
                Err(TokenError::Unavailable)
            }
        }
    }

    async fn key(&self, kid: &Kid) -> Result<Arc<DecodingKey>, TokenError> {
        match self.keys.verifier(kid).await {
            Ok(Some(key)) => Ok(key),
            Ok(None) => Err(TokenError::Invalid("its key is unknown")),
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = ?error,
                    "The key of a token could not be looked up: {error}"
                );
                Err(TokenError::Unavailable)
            }
        }
    }

    fn check_claims(&self, claims: WireClaims, kid: Kid) -> Result<Claims, TokenError> {
        if claims.iss != *self.issuer {
            return Err(TokenError::Invalid("another issuer made it"));
        }
        let (Audience::One(audience) | Audience::Array([audience])) = &claims.aud;
        if *audience != *self.audience {
            return Err(TokenError::Invalid("it is for another audience"));
        }
        if [&claims.sub, &claims.client_id, &claims.sid, &claims.jti].iter().any(|it| it.is_empty())
        {
            return Err(TokenError::Invalid("a claim is empty"));
        }
        self.check_times(claims.iat, claims.exp, claims.nbf)?;
        Ok(Claims {
            user: UserId::new(claims.sub),
            client: claims.client_id.into(),
            scopes: claims.scope.split_ascii_whitespace().map(str::to_owned).collect(),
            session_id: claims.sid.into(),
            id: claims.jti.into(),
            issued_at: claims.iat,
            expires_at: claims.exp,
            signed_in_at: claims.auth_time,
            kid,
        })
    }

    fn check_times(&self, iat: i64, exp: i64, nbf: Option<i64>) -> Result<(), TokenError> {
        let now = self.clock.now().timestamp();
        let lives_too_long = match exp.checked_sub(iat) {
            Some(life) => life > i64::try_from(MAX_TTL.as_secs()).unwrap_or(i64::MAX),
            None => true,
        };
        if iat > now + LEEWAY || nbf.is_some_and(|nbf| nbf > now + LEEWAY) {
            Err(TokenError::Invalid("it is from the future"))
        } else if exp <= iat || lives_too_long {
            Err(TokenError::Invalid("its life is not one that we give"))
        } else if exp <= now - LEEWAY {
            Err(TokenError::Expired)
        } else {
            Ok(())
        }
    }
}

/// Signs tokens without touching the database. To be used at once: the key may be replaced.
pub(crate) struct Minter {
    tokens: AccessTokens,
    signer: Arc<Signer>,
}

impl Minter {
    /// Signs a new token.
    pub(crate) fn mint(&self, new: NewToken) -> Result<String, Failure> {
        self.mint_at(new, self.tokens.clock.now().timestamp())
    }

    fn mint_at(&self, new: NewToken, issued_at: i64) -> Result<String, Failure> {
        let Self { tokens, signer } = self;
        let ttl = new.ttl.unwrap_or(tokens.ttl).min(MAX_TTL).as_secs();
        let scopes: Vec<&str> = new.scopes.iter().map(String::as_str).collect();
        let claims = WireClaims {
            iss: (*tokens.issuer).to_owned(),
            aud: Audience::One((*tokens.audience).to_owned()),
            sub: new.user.as_str().to_owned(),
            client_id: new.client,
            scope: scopes.join(" "),
            iat: issued_at,
            exp: issued_at.saturating_add_unsigned(ttl),
            nbf: None,
            jti: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>()),
            sid: new.session_id,
            auth_time: new.signed_in_at.map(|it| it.timestamp()),
        };
        let header = WireHeader {
            typ: TYPES[0].to_owned(),
            alg: ALGORITHM.to_owned(),
            kid: signer.kid.as_str().to_owned(),
        };
        sign(&header, &claims, &signer.key).map_err(Failure::Internal)
    }
}

/// The header, with nothing else in it: our tokens have no other member, so `crit`, `jwk`, `jku`,
/// `x5u`, `b64` and whatever comes next need no rule of their own.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireHeader {
    typ: String,
    alg: String,
    kid: String,
}

/// The claims as they are written. Numbers are integers, as RFC 7519 allows but does not demand.
#[derive(Serialize, Deserialize)]
struct WireClaims {
    iss: String,
    aud: Audience,
    sub: String,
    client_id: String,
    scope: String,
    iat: i64,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    jti: String,
    sid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
}

/// One audience, either way of writing it. More than one is refused: such a token would be good
/// elsewhere too.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Array([String; 1]),
}

/// A token taken apart, nothing of it trusted yet.
struct Parts<'a> {
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
    signed: &'a str,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let three = !claims.contains('.');
        three.then_some(Self { header, claims, signature, signed })
    }

    /// The name of the key, after a check that the header is the one that we write.
    fn header(&self) -> Result<Kid, TokenError> {
        let header: WireHeader = json(self.header)?;
        if header.alg != ALGORITHM {
            return Err(TokenError::Invalid("its algorithm is not ours"));
        }
        if !TYPES.iter().any(|it| header.typ.eq_ignore_ascii_case(it)) {
            return Err(TokenError::Invalid("it is not an access token"));
        }
        Ok(Kid(header.kid))
    }

    fn check_signature(&self, key: &DecodingKey) -> Result<(), TokenError> {
        let bytes = URL_SAFE_NO_PAD.decode(self.signature).unwrap_or_default();
        let right = bytes.len() == SIGNATURE_BYTES
            && crypto::verify(self.signature, self.signed.as_bytes(), key, JWT_ALGORITHM)
                .unwrap_or(false);
        if right { Ok(()) } else { Err(TokenError::Invalid("its signature is wrong")) }
    }
}

/// One part of a token, decoded. What is wrong with it is of no use to anybody who made it in good
/// faith, so nothing more is told.
fn json<T: DeserializeOwned>(part: &str) -> Result<T, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_not_base64| TokenError::Malformed)?;
    mcp::json::from_slice(&bytes).map_err(|_not_ours| TokenError::Malformed)
}

fn sign(
    header: &WireHeader,
    claims: &WireClaims,
    key: &jsonwebtoken::EncodingKey,
) -> anyhow::Result<String> {
    let part = |json: serde_json::Result<Vec<u8>>| json.map(|it| URL_SAFE_NO_PAD.encode(it));
    let signed =
        format!("{}.{}", part(serde_json::to_vec(header))?, part(serde_json::to_vec(claims))?);
    let signature = crypto::sign(signed.as_bytes(), key, JWT_ALGORITHM)?;
    Ok(format!("{signed}.{signature}"))
}

#[cfg(test)]
mod tests;
