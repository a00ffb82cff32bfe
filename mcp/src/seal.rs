//! Encrypted data that a client holds, and can neither read nor modify. The `requestState` of a multi
//! round-trip request is one: the data that the next round needs (2026-07-28, basic/patterns/mrtr).

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    caller::Caller, environment::Environment, job::JobId, json, question::ClientAnswer,
    rpc::RpcError,
};

/// How long a state is valid: the time for one round.
pub(crate) const LIFETIME_SECONDS: i64 = 600;

/// The maximum length of a state, in bytes.
const MAX_LENGTH: usize = 1 << 20;

/// The maximum size of all answers in a state, in bytes of JSON. The rest of [`MAX_LENGTH`] is for the
/// encoding, which adds a third, and for the other fields.
const MAX_ANSWERS_BYTES: usize = 640 * 1024;

/// Long enough to be random for any number of messages, so that instances share no counter.
pub(crate) const NONCE_LENGTH: usize = 24;

/// The associated data of the encryption: purpose and format version.
const PURPOSE: &[u8] = b"mcp/request-state/v1";

/// A key that encrypts data that a client holds, such as request states. All instances must have the same keys.
#[derive(Clone)]
pub struct SealKey([u8; 32]);

impl SealKey {
    /// Creates a key from 256 secret bits that are used for no other purpose.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.0.into())
    }

    /// Decrypts a message. `None`: it was not encrypted with this key for this purpose.
    pub(crate) fn open(&self, purpose: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, msg) = sealed.split_first_chunk::<NONCE_LENGTH>()?;
        self.cipher().decrypt(&XNonce::from(*nonce), Payload { msg, aad: purpose }).ok()
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey")
    }
}

/// What is needed to seal data for a client.
pub(crate) struct Sealing {
    /// The first key encrypts, all of them decrypt.
    pub(crate) keys: Vec<SealKey>,
    /// The clock, in seconds since the Unix epoch.
    pub(crate) now: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// The source of nonces.
    pub(crate) environment: Environment,
}

impl Sealing {
    pub(crate) fn now(&self) -> i64 {
        (self.now)()
    }

    /// Encrypts a message for a purpose. Only [`Self::decrypt`] with the same purpose decrypts it.
    pub(crate) fn encrypt(&self, purpose: &[u8], message: &[u8]) -> String {
        encrypt(&self.keys, self.environment.random(), purpose, message)
    }

    /// Decrypts a message. `None`: it was not encrypted by this server for this purpose.
    pub(crate) fn decrypt(&self, purpose: &[u8], text: &str) -> Option<Vec<u8>> {
        decrypt(&self.keys, purpose, text)
    }

    /// Encrypts a `requestState`.
    pub(crate) fn seal(&self, binding: &Binding<'_>, kept: &SealedAnswers) -> String {
        seal(&self.keys, self.now(), self.environment.random(), binding, kept)
    }

    /// Decrypts a `requestState`, and checks that it belongs to this request.
    pub(crate) fn open(
        &self,
        binding: &Binding<'_>,
        text: &str,
    ) -> Result<SealedAnswers, InvalidState> {
        open(&self.keys, self.now(), binding, text)
    }
}

/// Encrypts a message with the first key. `nonce` must be random.
fn encrypt(keys: &[SealKey], nonce: [u8; NONCE_LENGTH], purpose: &[u8], message: &[u8]) -> String {
    let key = keys.first().expect("an engine has at least one key");
    let sealed = key
        .cipher()
        .encrypt(&XNonce::from(nonce), Payload { msg: message, aad: purpose })
        .expect("a message that fits into memory can be sealed");
    URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat())
}

/// Decrypts a message with any of the keys.
fn decrypt(keys: &[SealKey], purpose: &[u8], text: &str) -> Option<Vec<u8>> {
    let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
    keys.iter().find_map(|key| key.open(purpose, &sealed))
}

/// The request that a state is bound to.
pub(crate) struct Binding<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) method: &'a str,
    /// The tool or prompt name or the resource URI.
    pub(crate) target: &'a str,
    pub(crate) arguments: &'a str,
}

impl Binding<'_> {
    fn digest(&self) -> String {
        // Whitespace and the order of keys are not significant.
        let canonical = json::from_str::<serde_json::Value>(self.arguments)
            .map_or_else(|_| self.arguments.to_owned(), |it| it.to_string());
        URL_SAFE_NO_PAD.encode(digest_of([self.method, self.target, &canonical]))
    }
}

/// The digest of several texts and of where each one ends.
pub(crate) fn digest_of(parts: [&str; 3]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[derive(Serialize, Deserialize)]
struct SealedState {
    user: String,
    client: String,
    request: String,
    expires: i64,
    #[serde(flatten)]
    kept: SealedAnswers,
}

/// The data that one round passes to the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SealedAnswers {
    /// The answers so far.
    pub(crate) answers: BTreeMap<String, ClientAnswer>,
    /// The job that asks, if the request became a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) job: Option<JobId>,
    /// When the questions of the last round were asked, in seconds since the Unix epoch.
    #[serde(skip)]
    pub(crate) asked_at: Option<i64>,
}

/// The error of a state that was not created by this server, belongs to another request, or has
/// expired.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidState(pub(crate) &'static str);

/// Checks that [`open`] will accept a state with these answers.
pub(crate) fn check_size(kept: &SealedAnswers) -> Result<(), RpcError> {
    let total = crate::rpc::encode(&kept.answers).len();
    if total > MAX_ANSWERS_BYTES {
        return Err(RpcError::invalid_params(format!(
            "the answers to the questions of this call have {total} bytes together; the maximum is \
             {MAX_ANSWERS_BYTES}"
        )));
    }
    Ok(())
}

/// Encrypts a state with the first key. `nonce` must be random.
pub(crate) fn seal(
    keys: &[SealKey],
    now: i64,
    nonce: [u8; NONCE_LENGTH],
    binding: &Binding<'_>,
    kept: &SealedAnswers,
) -> String {
    let state = SealedState {
        user: binding.caller.user.as_str().to_owned(),
        client: binding.caller.client.to_string(),
        request: binding.digest(),
        expires: now + LIFETIME_SECONDS,
        kept: kept.clone(),
    };
    encrypt(keys, nonce, PURPOSE, &crate::rpc::encode(&state))
}

/// Decrypts a state with any of the keys, and checks that it belongs to this request.
pub(crate) fn open(
    keys: &[SealKey],
    now: i64,
    binding: &Binding<'_>,
    text: &str,
) -> Result<SealedAnswers, InvalidState> {
    const FORGED: InvalidState =
        InvalidState("`requestState` was not created by this server, or was modified");
    if text.len() > MAX_LENGTH {
        return Err(InvalidState("`requestState` is too long"));
    }
    let message = decrypt(keys, PURPOSE, text).ok_or(FORGED)?;
    let state: SealedState = json::from_slice(&message).map_err(|_other_format| FORGED)?;
    if state.user != binding.caller.user.as_str() || state.client != *binding.caller.client {
        return Err(FORGED);
    }
    if state.request != binding.digest() {
        return Err(InvalidState("`requestState` belongs to a request with other parameters"));
    }
    if now >= state.expires {
        return Err(InvalidState("`requestState` has expired; send the request again without it"));
    }
    Ok(SealedAnswers { asked_at: Some(state.expires - LIFETIME_SECONDS), ..state.kept })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::caller::UserId;

    const NONCE: [u8; NONCE_LENGTH] = [3; NONCE_LENGTH];

    fn caller(user: &str) -> Caller {
        Caller {
            user: UserId::new(user),
            client: "c".into(),
            grant: "g".into(),
            scopes: BTreeSet::new(),
            key: "a-key".into(),
            issued_at: 0,
            expires_at: i64::MAX,
            request: None,
        }
    }

    fn binding<'a>(caller: &'a Caller, arguments: &'a str) -> Binding<'a> {
        Binding { caller, method: "tools/call", target: "t", arguments }
    }

    #[test]
    fn a_state_opens_for_its_own_request_only() {
        let (old, new) = (SealKey::new([1; 32]), SealKey::new([2; 32]));
        let (ada, bob) = (caller("ada"), caller("bob"));
        let answers = BTreeMap::from([("k".to_owned(), ClientAnswer::Result(true.into()))]);
        let kept = SealedAnswers { answers, job: Some(JobId::random()), asked_at: Some(100) };
        let sealed =
            seal(std::slice::from_ref(&old), 100, NONCE, &binding(&ada, r#"{"a":1,"b":2}"#), &kept);
        let keys = [new, old];
        let open =
            |caller, arguments, now| super::open(&keys, now, &binding(caller, arguments), &sealed);
        assert_eq!(open(&ada, r#"{ "b": 2, "a": 1 }"#, 101), Ok(kept));
        assert!(open(&bob, r#"{"a":1,"b":2}"#, 101).is_err());
        assert!(open(&ada, r#"{"a":1,"b":3}"#, 101).is_err());
        assert!(open(&ada, r#"{"a":1,"b":2}"#, 100 + LIFETIME_SECONDS).is_err());
    }

    #[test]
    fn the_largest_state_that_passes_the_check_opens() {
        let ada = caller("ada");
        let keys = [SealKey::new([7; 32])];
        let binding = binding(&ada, "{}");
        let of_size = |bytes: usize| {
            let answer = ClientAnswer::Result("x".repeat(bytes).into());
            SealedAnswers {
                answers: BTreeMap::from([("a".to_owned(), answer)]),
                asked_at: Some(0),
                ..SealedAnswers::default()
            }
        };
        let around = crate::rpc::encode(&of_size(0).answers).len();
        let largest = of_size(MAX_ANSWERS_BYTES - around);
        assert_eq!(check_size(&largest).map_err(|error| error.code), Ok(()));
        let sealed = seal(&keys, 0, NONCE, &binding, &largest);
        assert!(open(&keys, 1, &binding, &sealed).is_ok_and(|kept| kept == largest));
        assert!(check_size(&of_size(MAX_ANSWERS_BYTES - around + 1)).is_err());
    }

    proptest! {
        #[test]
        fn a_modified_state_does_not_open(text: String, position: usize, byte: u8) {
            let ada = caller("ada");
            let keys = [SealKey::new([1; 32])];
            let binding = binding(&ada, "{}");
            prop_assert!(open(&keys, 0, &binding, &text).is_err());
            let mut sealed = seal(&keys, 0, NONCE, &binding, &SealedAnswers::default()).into_bytes();
            let position = position % sealed.len();
            let original = std::mem::replace(&mut sealed[position], byte);
            if original != byte {
                let text = String::from_utf8_lossy(&sealed);
                prop_assert!(open(&keys, 0, &binding, &text).is_err());
            }
        }
    }
}
