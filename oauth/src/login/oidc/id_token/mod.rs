//! The verification of ID tokens (OpenID Connect Core 1.0, section 3.1.3.7).
//!
//! The signature is verified by [`crate::jwt`].

use chrono::{DateTime, Utc};
use jsonwebtoken::DecodingKey;
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use super::error::OidcError;
use crate::jwt::{Claims, ID_JAG, Unverified, check_times, subject, text};

/// What a valid token has to say.
#[derive(Clone, Copy)]
pub(super) struct Expected<'a> {
    /// The configured issuer.
    pub(super) issuer: &'a str,
    /// The client id of this server.
    pub(super) client_id: &'a str,
    /// The nonce of the login. `None`: after a refresh, whose token need not have one.
    pub(super) nonce: Option<&'a str>,
    /// The current time.
    pub(super) now: DateTime<Utc>,
}

/// The claims of a verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IdToken {
    /// The `sub` claim.
    pub(super) subject: String,
    /// All claims.
    pub(super) claims: Claims,
}

impl Expected<'_> {
    /// Verifies the signature and the claims of a token.
    pub(super) fn verify(
        self,
        token: &Unverified<'_>,
        key: &DecodingKey,
    ) -> Result<IdToken, OidcError> {
        // A provider signs ID tokens and identity assertions with the same keys.
        if token.is_of_type(ID_JAG) {
            return Err(OidcError::IdToken("it is an identity assertion"));
        }
        let claims = token.verify(key)?;
        self.check(&claims)?;
        let subject =
            subject(&claims).ok_or(OidcError::IdToken("it has no valid subject"))?.to_owned();
        Ok(IdToken { subject, claims })
    }

    fn check(&self, claims: &Claims) -> Result<(), OidcError> {
        if text(claims, "iss") != Some(self.issuer) {
            return Err(OidcError::IdToken("it is from another issuer"));
        }
        self.check_audience(claims).map_err(OidcError::IdToken)?;
        if !claims.contains_key("iat") {
            return Err(OidcError::IdToken("it does not say when it was issued"));
        }
        check_times(claims, self.now.timestamp())?;
        if let Some(nonce) = self.nonce {
            let found = text(claims, "nonce").unwrap_or_default();
            if !bool::from(found.as_bytes().ct_eq(nonce.as_bytes())) {
                return Err(OidcError::IdToken("it was issued for another login"));
            }
        }
        Ok(())
    }

    fn check_audience(&self, claims: &Claims) -> Result<(), &'static str> {
        let (is_contained, is_alone) = match claims.get("aud") {
            Some(Value::String(audience)) => (audience == self.client_id, true),
            Some(Value::Array(audiences)) => {
                (audiences.iter().any(|audience| audience == self.client_id), audiences.len() == 1)
            }
            _ => (false, true),
        };
        if !is_contained {
            return Err("it is for another client");
        }
        match claims.get("azp") {
            None if is_alone => Ok(()),
            None => Err("it is for several clients, and does not say for which it was issued"),
            Some(party) if *party == self.client_id => Ok(()),
            Some(_) => Err("it was issued for another client"),
        }
    }
}

#[cfg(test)]
mod tests;
