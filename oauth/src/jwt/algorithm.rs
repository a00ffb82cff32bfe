//! The signature algorithms that tokens of others may have.

use jsonwebtoken::Algorithm;

/// The accepted algorithms, all of them asymmetric: never `none`, and never HMAC, whose key would be
/// a client secret, or, by confusion, a public key.
const ACCEPTED: [(&str, Algorithm); 5] = [
    ("ES256", Algorithm::ES256),
    ("PS256", Algorithm::PS256),
    ("RS256", Algorithm::RS256),
    ("EdDSA", Algorithm::EdDSA),
    // Its name according to RFC 9864.
    ("Ed25519", Algorithm::EdDSA),
];

/// The names of the accepted algorithms, for the server's metadata.
pub const NAMES: [&str; 5] =
    [ACCEPTED[0].0, ACCEPTED[1].0, ACCEPTED[2].0, ACCEPTED[3].0, ACCEPTED[4].0];

/// The same, separated by spaces, as in a challenge.
pub(crate) const NAMES_TEXT: &str = "ES256 PS256 RS256 EdDSA Ed25519";

/// Returns the accepted algorithm of this name. `None`: it is not accepted.
pub(crate) fn named(name: &str) -> Option<Algorithm> {
    ACCEPTED.into_iter().find(|(known, _)| *known == name).map(|(_, algorithm)| algorithm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_that_are_accepted() {
        assert_eq!(NAMES_TEXT, NAMES.join(" "));
        for other in ["none", "HS256", "HS512", "ES384", "ES512", "RS384", "es256", ""] {
            assert!(named(other).is_none(), "{other}");
        }
    }
}
