//! Proof Key for Code Exchange (RFC 7636), with the `S256` method only.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The only supported method.
pub const METHOD: &str = "S256";

/// A code challenge: the SHA-256 of the client's code verifier, sent in the authorization request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Challenge(pub [u8; 32]);

/// A code verifier, sent in the token request. It is secret until then, so its `Debug` output does
/// not contain it.
#[derive(Clone)]
pub struct Verifier(Box<str>);

/// Why a challenge or a verifier is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PkceError {
    /// The challenge is missing.
    #[error("code_challenge is required")]
    ChallengeMissing,
    /// The challenge is not a SHA-256 hash in base64url.
    #[error("code_challenge must be 43 characters of base64url without padding")]
    ChallengeMalformed,
    /// The method is missing (which would mean `plain`) or not supported.
    #[error("code_challenge_method must be S256")]
    Method,
    /// The verifier violates the grammar.
    #[error("code_verifier must be 43 to 128 characters of A-Z a-z 0-9 - . _ ~")]
    Verifier,
}

impl Challenge {
    /// Parses the two parameters of an authorization request. Both are required.
    pub fn parse(challenge: Option<&str>, method: Option<&str>) -> Result<Self, PkceError> {
        let challenge = challenge.ok_or(PkceError::ChallengeMissing)?;
        if method != Some(METHOD) {
            return Err(PkceError::Method);
        }
        // The decoder refuses padding, the other base64 alphabet, and unused bits that are not
        // zero.
        match URL_SAFE_NO_PAD.decode(challenge).map(<[u8; 32]>::try_from) {
            Ok(Ok(hash)) => Ok(Self(hash)),
            _ => Err(PkceError::ChallengeMalformed),
        }
    }

    /// Computes the challenge of a verifier.
    pub fn of(verifier: &Verifier) -> Self {
        Self(Sha256::digest(verifier.0.as_bytes()).into())
    }

    /// Returns whether the verifier matches this challenge, in constant time.
    pub fn is_matched_by(&self, verifier: &Verifier) -> bool {
        self.0.ct_eq(&Self::of(verifier).0).into()
    }
}

impl Verifier {
    /// Parses the parameter of a token request.
    pub fn parse(text: &str) -> Result<Self, PkceError> {
        let is_valid = (43..=128).contains(&text.len())
            && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"-._~".contains(&it));
        if is_valid { Ok(Self(text.into())) } else { Err(PkceError::Verifier) }
    }

    /// Generates a verifier for this server's own request to an identity provider.
    pub fn generate() -> Self {
        Self(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()).into())
    }

    /// Returns the verifier as text, for the token request.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenge")
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl Serialize for Challenge {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Challenge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(Some(&text), Some(METHOD)).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7636, appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_example_of_the_specification_holds() {
        let challenge = Challenge::parse(Some(CHALLENGE), Some("S256")).unwrap();
        assert!(challenge.is_matched_by(&Verifier::parse(VERIFIER).unwrap()));
        // Sending the challenge itself as the verifier is the `plain` method.
        assert!(!challenge.is_matched_by(&Verifier::parse(CHALLENGE).unwrap()));
        assert_eq!(challenge.to_string(), CHALLENGE);
    }

    #[test]
    fn challenge_and_method_are_both_required() {
        let right = CHALLENGE.to_owned();
        let with_end = |end: &str| format!("{}{end}", &CHALLENGE[..42]);
        for (challenge, method, error) in [
            (None, None, PkceError::ChallengeMissing),
            (None, Some("S256"), PkceError::ChallengeMissing),
            (Some(right.clone()), None, PkceError::Method),
            (Some(right.clone()), Some("plain"), PkceError::Method),
            (Some(right.clone()), Some("s256"), PkceError::Method),
            (Some(right.clone()), Some("S512"), PkceError::Method),
            (Some(right.clone()), Some(""), PkceError::Method),
            (Some(right.clone()), Some("S256 "), PkceError::Method),
            (Some(String::new()), Some("S256"), PkceError::ChallengeMalformed),
            (Some(with_end("")), Some("S256"), PkceError::ChallengeMalformed),
            (Some(with_end("MA")), Some("S256"), PkceError::ChallengeMalformed),
            (Some(with_end("M=")), Some("S256"), PkceError::ChallengeMalformed),
            (Some(with_end("+")), Some("S256"), PkceError::ChallengeMalformed),
            (Some(with_end("/")), Some("S256"), PkceError::ChallengeMalformed),
            // `N` differs from `M` in bits that do not belong to the hash.
            (Some(with_end("N")), Some("S256"), PkceError::ChallengeMalformed),
        ] {
            let parsed = Challenge::parse(challenge.as_deref(), method);
            assert_eq!(parsed.err(), Some(error), "{challenge:?} {method:?}");
        }
    }

    #[test]
    fn a_verifier_has_a_grammar() {
        for good in [VERIFIER.to_owned(), "~".repeat(43), "a.b-_".repeat(25)] {
            assert!(Verifier::parse(&good).is_ok(), "{good}");
        }
        for bad in [
            String::new(),
            "a".repeat(42),
            "a".repeat(129),
            format!("{VERIFIER} "),
            format!("{VERIFIER}%"),
            format!("{VERIFIER}é"),
            format!("{VERIFIER}\0"),
            format!("{VERIFIER}+"),
        ] {
            assert!(Verifier::parse(&bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_verifier_matches_only_its_own_challenge(
            one in "[A-Za-z0-9._~-]{43,128}", other in "[A-Za-z0-9._~-]{43,128}",
        ) {
            let verifier = Verifier::parse(&one).unwrap();
            let written = Challenge::of(&verifier).to_string();
            let challenge = Challenge::parse(Some(&written), Some(METHOD)).unwrap();
            prop_assert!(challenge.is_matched_by(&verifier));
            let matches = challenge.is_matched_by(&Verifier::parse(&other).unwrap());
            prop_assert_eq!(matches, one == other);
        }

        #[test]
        fn accepted_text_is_not_changed(text in "\\PC{0,200}") {
            if let Ok(challenge) = Challenge::parse(Some(&text), Some(METHOD)) {
                prop_assert_eq!(challenge.to_string(), text.as_str());
            }
            if let Ok(verifier) = Verifier::parse(&text) {
                prop_assert_eq!(verifier.expose(), text.as_str());
            }
        }
    }

    #[test]
    fn a_generated_verifier_is_valid() {
        let generated = Verifier::generate();
        assert!(Verifier::parse(generated.expose()).is_ok());
        assert_eq!(format!("{generated:?}"), "Verifier");
    }
}
