//! Assertions with which clients authenticate (RFC 7523, section 3).

use crate::jwt::{self, Claims, JwtError, Unverified, check_times, text, time};

/// The value of `client_assertion_type`.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The media types that an assertion may have, if it has one.
const TYPES: [&str; 2] = ["jwt", "client-authentication+jwt"];

/// How far ahead an assertion may expire, in seconds.
const MAX_LIFETIME: i64 = 5 * 60;

/// How long ago an assertion may have been issued, in seconds.
const MAX_AGE: i64 = 10 * 60;

/// The parts of a valid assertion by which a replay is detected.
pub(super) struct CheckedAssertion<'a> {
    pub(super) id: &'a str,
    /// In seconds since the Unix epoch.
    pub(super) expires_at: i64,
}

/// Returns the client that an assertion names. Nothing is verified. `None`: it names none.
pub fn claimed_client(assertion: &str) -> Option<String> {
    let claims = Unverified::read(assertion).ok()?.unverified_claims().ok()?;
    text(&claims, "sub").map(str::to_owned)
}

/// Checks that an assertion was issued by this client about itself. Its signature need not be verified
/// yet: it shows whose keys verify it.
pub(super) fn check_client(token: &Unverified<'_>, client: &str) -> Result<(), JwtError> {
    if token.typ.is_some() && !TYPES.iter().any(|media_type| token.is_of_type(media_type)) {
        return Err(JwtError("its type (typ) is not that of a client assertion"));
    }
    let claims = token.unverified_claims()?;
    if text(&claims, "sub") != Some(client) || text(&claims, "iss") != Some(client) {
        return Err(JwtError("its issuer (iss) and subject (sub) are not the client_id"));
    }
    Ok(())
}

/// Checks the claims of an assertion. Its signature need not be verified yet. `issuer` is this server, and `now` in
/// seconds since the Unix epoch.
pub(super) fn check_claims<'a>(
    claims: &'a Claims,
    issuer: &str,
    now: i64,
) -> Result<CheckedAssertion<'a>, JwtError> {
    // A token with another audience would be valid elsewhere, too.
    let audience =
        jwt::audience(claims).ok_or(JwtError("it has not exactly one audience (aud)"))?;
    let is_for_us = audience == issuer || audience.strip_prefix(issuer) == Some("/token");
    if !is_for_us {
        return Err(JwtError(
            "its audience (aud) is neither the issuer nor the token endpoint of this server",
        ));
    }
    let expires_at = check_times(claims, now)?;
    if expires_at > now.saturating_add(MAX_LIFETIME + jwt::SKEW) {
        return Err(JwtError("it expires (exp) more than 5 minutes ahead"));
    }
    if let Some(issued) = time(claims, "iat")? {
        if issued > expires_at {
            return Err(JwtError("it was issued (iat) after it expires (exp)"));
        }
        if issued < now.saturating_sub(MAX_AGE) {
            return Err(JwtError("it was issued (iat) more than 10 minutes ago"));
        }
    }
    let id = jwt::id(claims).ok_or(JwtError("it has no id (jti) of 1 to 255 bytes"))?;
    Ok(CheckedAssertion { id, expires_at })
}
