//! A client's key for DPoP (RFC 9449), and its proofs, which a test can make wrong in any way.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, EncodingKey, crypto,
    jwk::{Jwk, ThumbprintHash},
};
use platform::clock::Clock;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    browser::{encode, post_request},
    client::{ACCEPT, Page, Web},
    signing_key::encoded,
};

/// The length of the PKCS#8 header of an RSA key of 2048 bits, before the PKCS#1 key.
const PKCS8_HEADER: usize = 26;

/// A private key of a client.
pub struct DpopKey {
    algorithm: Algorithm,
    /// The name of the algorithm in proofs.
    name: &'static str,
    key: EncodingKey,
    jwk: Jwk,
}

/// A proof before it is signed.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The members of its header.
    pub header: Value,
    /// Its claims.
    pub claims: Value,
}

impl DpopKey {
    /// A new P-256 key.
    pub fn generate() -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let key = key.expect("the system has randomness");
        Self::of(Algorithm::ES256, "ES256", EncodingKey::from_ec_der(key.as_ref()))
    }

    /// A new key for this algorithm.
    ///
    /// # Panics
    /// If the server does not accept the algorithm.
    pub fn generate_for(name: &'static str) -> Self {
        let algorithm = match name {
            "ES256" => return Self::generate(),
            "EdDSA" | "Ed25519" => {
                let key = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new());
                let key = key.expect("the system has randomness");
                return Self::of(Algorithm::EdDSA, name, EncodingKey::from_ed_der(key.as_ref()));
            }
            "RS256" => Algorithm::RS256,
            "PS256" => Algorithm::PS256,
            other => panic!("not an accepted algorithm: {other}"),
        };
        let key = KeyPair::generate(KeySize::Rsa2048).expect("the system has randomness");
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).expect("the key can be encoded");
        Self::of(algorithm, name, EncodingKey::from_rsa_der(&der.as_ref()[PKCS8_HEADER..]))
    }

    fn of(algorithm: Algorithm, name: &'static str, key: EncodingKey) -> Self {
        let mut jwk = Jwk::from_encoding_key(&key, algorithm).expect("the key has a public half");
        jwk.common.key_algorithm = None;
        Self { algorithm, name, key, jwk }
    }

    /// The thumbprint of the public key (RFC 7638).
    pub fn thumbprint(&self) -> String {
        self.jwk.thumbprint(ThumbprintHash::SHA256).expect("the kind of key is known")
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Value {
        serde_json::to_value(&self.jwk).expect("a key can be serialized")
    }

    /// A valid proof for a request with this method and URL, made now.
    pub fn proof(&self, clock: &dyn Clock, method: &str, url: &str) -> Proof {
        let jti = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        let iat = clock.now().timestamp();
        Proof {
            header: json!({ "typ": "dpop+jwt", "alg": self.name, "jwk": self.jwk() }),
            claims: json!({ "jti": jti, "htm": method, "htu": url, "iat": iat }),
        }
    }

    /// Signs a proof, whatever it says.
    pub fn sign(&self, proof: &Proof) -> String {
        let message = format!("{}.{}", encoded(&proof.header), encoded(&proof.claims));
        let signature = crypto::sign(message.as_bytes(), &self.key, self.algorithm);
        format!("{message}.{}", signature.expect("the key can sign"))
    }
}

impl Proof {
    /// The same proof with this member of its header; `null` removes it.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: Value) -> Self {
        set(&mut self.header, name, value);
        self
    }

    /// The same proof with this claim; `null` removes it.
    #[must_use]
    pub fn with(mut self, claim: &str, value: Value) -> Self {
        set(&mut self.claims, claim, value);
        self
    }

    /// The same proof with the hash of this access token.
    #[must_use]
    pub fn for_token(self, token: &str) -> Self {
        self.with("ath", URL_SAFE_NO_PAD.encode(Sha256::digest(token)).into())
    }

    /// The same proof with this nonce.
    #[must_use]
    pub fn with_nonce(self, nonce: &str) -> Self {
        self.with("nonce", nonce.into())
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    let members = object.as_object_mut().expect("the parts of a proof are objects");
    match value {
        Value::Null => members.remove(name),
        value => members.insert(name.to_owned(), value),
    };
}

/// Sends a token request with these `DPoP` headers, from a new client address.
pub async fn token_request(web: &Web, form: &[(String, String)], proofs: &[&str]) -> Page {
    let request = with_proofs(post_request(web, "/token"), proofs);
    Page::read(request.body(encode(form))).await
}

/// Builds a request to the MCP endpoint with these `Authorization` and `DPoP` headers, from a new client
/// address, without a body.
pub fn mcp_request(
    web: &Web,
    method: Method,
    authorizations: &[&str],
    proofs: &[&str],
) -> RequestBuilder {
    let request = web
        .request(method, "/mcp")
        .header("x-forwarded-for", crate::browser::visitor())
        .header("content-type", "application/json")
        .header("accept", ACCEPT);
    let with = |request: RequestBuilder, value: &&str| request.header("authorization", *value);
    with_proofs(authorizations.iter().fold(request, with), proofs)
}

fn with_proofs(request: RequestBuilder, proofs: &[&str]) -> RequestBuilder {
    proofs.iter().fold(request, |request, proof| request.header("dpop", *proof))
}
