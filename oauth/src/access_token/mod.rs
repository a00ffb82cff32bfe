//! Access tokens: JWTs according to RFC 9068, signed with ES256, verified without the database.
//!
//! Verification is implemented here rather than left to the JWT library, whose defaults accept
//! tokens without an audience or issuer, of any type, with any critical extension, and from the
//! future. RFC 9068 requires authorization servers to support RS256 as well; this server is the
//! only verifier of its tokens, so RS256 is not needed.

use std::{collections::BTreeSet, fmt, hash::Hasher as _, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use entity::Kid;
use jsonwebtoken::{DecodingKey, crypto};
use mcp::{Caller, UserId};
use moka::sync::Cache;
use platform::{clock::Clock, db::Failure};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

pub use super::lifetimes::{LEEWAY, MAX_CONFIGURED_TTL, MAX_TTL};
use super::{
    access::Denied,
    dpop::Thumbprint,
    revoked::{RevokedGrants, Token},
    signing_keys::{ALGORITHM, JWT_ALGORITHM, Signer, SigningKeys},
};

/// The maximum length of a token, in bytes. Tokens of this server have about 600 bytes. A longer
/// one is neither hashed nor parsed.
pub const MAX_BYTES: usize = 8 * 1024;

/// The length of an ES256 signature in bytes: two numbers of 256 bits.
const SIGNATURE_BYTES: usize = 64;

/// How long verified claims are cached. Expiry, revocation and the trust in the key are still
/// checked at each use.
const CACHE_TTL: Duration = Duration::from_mins(1);

/// The maximum number of verified tokens in the cache, of about 500 bytes each. A token that does
/// not fit is verified again at each use.
const MAX_CACHED: u64 = 10_000;

/// The media type of access tokens, with and without the prefix that RFC 7515 allows to omit.
const TYPES: [&str; 2] = ["at+jwt", "application/at+jwt"];

/// Issues and verifies the tokens of one issuer. Cheap to clone.
#[derive(Clone)]
pub struct AccessTokens {
    issuer: Arc<str>,
    audience: Arc<str>,
    ttl: Duration,
    keys: SigningKeys,
    revoked: RevokedGrants,
    clock: Arc<dyn Clock>,
    verified: Cache<u128, Arc<Claims>>,
    /// The key of [`Self::cache_key`].
    cache_secret: (u64, u64),
}

/// The claims of a new token.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The user.
    pub user: UserId,
    /// The `client_id` of the client that the token is issued to.
    pub client: String,
    /// The scopes.
    pub scopes: BTreeSet<String>,
    /// The `sid` claim: the id of the grant, or any unique value for a token without a grant.
    pub session_id: String,
    /// When the user signed in. `None`: without a sign-in.
    pub signed_in_at: Option<DateTime<Utc>>,
    /// The lifetime, at most [`MAX_TTL`]. `None`: the configured lifetime.
    pub ttl: Option<Duration>,
    /// The key that the token is bound to. `None`: a bearer token.
    pub dpop_key: Option<Thumbprint>,
}

/// The claims of a verified token.
#[derive(Clone, PartialEq, Eq)]
pub struct Claims {
    /// The user.
    pub user: UserId,
    /// The `client_id` of the client that the token was issued to.
    pub client: Arc<str>,
    /// The scopes.
    pub scopes: BTreeSet<String>,
    /// The `sid` claim, by which the token is revoked.
    pub session_id: Arc<str>,
    /// The `jti` claim, for the log.
    pub id: Arc<str>,
    /// When it was issued, in seconds since the Unix epoch.
    pub issued_at: i64,
    /// When it expires, in seconds since the Unix epoch.
    pub expires_at: i64,
    /// When the user signed in, in seconds since the Unix epoch, if the token contains it.
    pub signed_in_at: Option<i64>,
    /// The key that the token is bound to: the token is valid only together with a proof of this key
    /// ([`crate::dpop`]). `None`: it is a bearer token.
    pub dpop_key: Option<Thumbprint>,
    /// The id of the key that signed the token.
    kid: Kid,
}

/// Why a token was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The text is not an access token of this server.
    #[error("the token is malformed")]
    Malformed,
    /// The token has the right form but is invalid; contains the reason, for the log.
    #[error("the token is invalid: {0}")]
    Invalid(&'static str),
    /// The token has expired. It was valid before.
    #[error("the token has expired")]
    Expired,
    /// The token could not be verified, because its key or the revocations could not be looked up.
    /// The same request may succeed later.
    #[error("the token cannot be verified at the moment")]
    Unavailable,
}

impl Claims {
    /// Returns the principal of a request with this token.
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
    /// Creates the issuer and verifier. `issuer` and `audience` are compared byte by byte; `ttl` is
    /// the lifetime of tokens that do not set one.
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
            verified: Cache::builder().max_capacity(MAX_CACHED).time_to_live(CACHE_TTL).build(),
            cache_secret: rand::random(),
        }
    }

    /// Returns the lifetime of tokens that do not set one.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Issues a token.
    pub async fn mint(&self, new: NewToken) -> Result<String, Failure> {
        let minter = self.minter().await?;
        let now = self.clock.now().timestamp();
        // A token without a grant is invalid unless it was issued after the user's last cutoff.
        let issued_at = self.revoked.issue_at(&new.user, now);
        minter.mint_at(new, issued_at)
    }

    /// Loads what signing needs from the database, so that a token can then be signed within a
    /// transaction that holds the only connection, or, on SQLite, the only write lock.
    pub(crate) async fn minter(&self) -> Result<Minter, Failure> {
        let signer = self.keys.signer().await?;
        self.keys.has_signed(&signer.kid).await?;
        Ok(Minter { tokens: self.clone(), signer })
    }

    /// Verifies a token, except for its scopes and for the proof of the key that it is bound to
    /// ([`Claims::dpop_key`]): the caller must check both. Accesses the database only when the token names a
    /// key that this instance has not seen.
    pub async fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::Malformed);
        }
        let cache_key = self.cache_key(token);
        if let Some(claims) = self.verified.get(&cache_key) {
            if !self.keys.still_trusts(&claims.kid) {
                self.verified.invalidate(&cache_key);
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
        self.verified.insert(cache_key, Arc::clone(&claims));
        Ok(claims)
    }

    /// Returns the key of a token in the cache of verified tokens. `SipHash` with a secret of this process
    /// is a pseudorandom function: a sender who does not know the secret cannot find a token that has the
    /// key of another one. It takes far fewer instructions than SHA-256 in software.
    fn cache_key(&self, token: &str) -> u128 {
        let (one, two) = self.cache_secret;
        let mut hasher = SipHasher13::new_with_keys(one, two);
        hasher.write(token.as_bytes());
        hasher.finish128().as_u128()
    }

    /// Checks the revocations in memory. Only the first call reads the database.
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
                Err(TokenError::Invalid("its user was blocked, or their access was ended"))
            }
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = ?error,
                    "Could not read the revocations to verify a token"
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
                    "Could not look up the signing key of a token"
                );
                Err(TokenError::Unavailable)
            }
        }
    }

    fn check_claims(&self, claims: WireClaims, kid: Kid) -> Result<Claims, TokenError> {
        if claims.iss != *self.issuer {
            return Err(TokenError::Invalid("it is from another issuer"));
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
            dpop_key: claims.cnf.map(|confirmation| confirmation.jkt),
            kid,
        })
    }

    fn check_times(&self, iat: i64, exp: i64, nbf: Option<i64>) -> Result<(), TokenError> {
        let now = self.clock.now().timestamp();
        let lifetime_is_too_long = match exp.checked_sub(iat) {
            Some(lifetime) => lifetime > i64::try_from(MAX_TTL.as_secs()).unwrap_or(i64::MAX),
            None => true,
        };
        if iat > now + LEEWAY || nbf.is_some_and(|nbf| nbf > now + LEEWAY) {
            Err(TokenError::Invalid("it was issued in the future, or is not valid yet"))
        } else if exp <= iat || lifetime_is_too_long {
            Err(TokenError::Invalid("its lifetime is not positive, or longer than the maximum"))
        } else if exp <= now - LEEWAY {
            Err(TokenError::Expired)
        } else {
            Ok(())
        }
    }
}

/// Signs tokens without accessing the database. Use it at once: the key may be replaced later.
pub(crate) struct Minter {
    tokens: AccessTokens,
    signer: Arc<Signer>,
}

impl Minter {
    /// Issues a token.
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
            cnf: new.dpop_key.map(|jkt| Confirmation { jkt }),
        };
        let header = WireHeader {
            typ: TYPES[0].to_owned(),
            alg: ALGORITHM.to_owned(),
            kid: signer.kid.as_str().to_owned(),
        };
        sign(&header, &claims, &signer.key).map_err(Failure::Internal)
    }
}

/// The header. Tokens of this server have no other member, so all others are refused: `crit`,
/// `jwk`, `jku`, `x5u`, `b64` and future ones need no separate rules.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireHeader {
    typ: String,
    alg: String,
    kid: String,
}

/// The claims in their JSON form. Numbers are integers, as RFC 7519 allows but does not require.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
}

/// The key that a token is bound to (RFC 7800; RFC 9449, section 6.1). Another way to bind a token is
/// refused, because it would have to be checked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    jkt: Thumbprint,
}

/// A single audience, as a string or as an array. Several audiences are refused: such a token would
/// be valid elsewhere, too.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Array([String; 1]),
}

/// The parts of a token, not verified yet.
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
        let has_three_parts = !claims.contains('.');
        has_three_parts.then_some(Self { header, claims, signature, signed })
    }

    /// Returns the key id, after a check that the header has the form that this server writes.
    fn header(&self) -> Result<Kid, TokenError> {
        let header: WireHeader = json(self.header)?;
        if header.alg != ALGORITHM {
            return Err(TokenError::Invalid("its algorithm is not ES256"));
        }
        if !TYPES.iter().any(|it| header.typ.eq_ignore_ascii_case(it)) {
            return Err(TokenError::Invalid("it is not an access token"));
        }
        Ok(Kid(header.kid))
    }

    fn check_signature(&self, key: &DecodingKey) -> Result<(), TokenError> {
        let bytes = URL_SAFE_NO_PAD.decode(self.signature).unwrap_or_default();
        let is_valid = bytes.len() == SIGNATURE_BYTES
            && crypto::verify(self.signature, self.signed.as_bytes(), key, JWT_ALGORITHM)
                .unwrap_or(false);
        if is_valid { Ok(()) } else { Err(TokenError::Invalid("its signature is invalid")) }
    }
}

/// Decodes one part of a token as JSON. The error has no details, because they would not help a
/// well-behaved client.
fn json<T: DeserializeOwned>(part: &str) -> Result<T, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_not_base64| TokenError::Malformed)?;
    mcp::json::from_slice(&bytes).map_err(|_details| TokenError::Malformed)
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
