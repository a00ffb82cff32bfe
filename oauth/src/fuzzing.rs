//! Properties that hold for any input: the fuzz targets of the rules that need no server. `fuzz`
//! searches for an input that violates one, and `tests/it/corpus.rs` runs the inputs that are kept in
//! `fuzz/corpus`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp::fuzzing::Target;
use serde_json::Value;
use url::{Host, Url};

use crate::{
    cimd::parse_document,
    client::{Metadata, Method},
    display_name::{DisplayName, MAX_CHARS},
    dpop::fuzzing::{accepts_form, is_target},
    metadata_url::MetadataUrl,
    redirect_uri::{Destination, KNOWN_SCHEMES, RedirectUri, Schemes, destination, with_response},
};

/// The targets of this crate.
pub const TARGETS: &[Target] = &[
    ("client_document", client_document),
    ("dpop_proof", dpop_proof),
    ("redirect_uri", redirect_uri),
];

/// The host of this server.
const OWN_HOST: &str = "mcp.example.com";

/// The URL from which documents are fetched that do not have a URL as their `client_id`.
const DOCUMENT_URL: &str = "https://app.example.com/client";

/// The header and the claims of a DPoP proof, separated by a zero byte: an accepted form has a public key
/// for its algorithm (RFC 9449, section 4.3), and its `htu` leads to this server.
fn dpop_proof(bytes: &[u8]) {
    let Some(zero) = bytes.iter().position(|byte| *byte == 0) else { return };
    let (header, claims) = (&bytes[..zero], &bytes[zero + 1..]);
    let part = |json| URL_SAFE_NO_PAD.encode(json);
    if !accepts_form(&format!("{}.{}.AAAA", part(header), part(claims))) {
        return;
    }
    let json = |part| serde_json::from_slice::<Value>(part).expect("an accepted part is JSON");
    let (header, claims) = (json(header), json(claims));
    let key = match header["alg"].as_str().expect("the algorithm is a text") {
        "ES256" => "EC",
        "PS256" | "RS256" => "RSA",
        "EdDSA" | "Ed25519" => "OKP",
        other => panic!("{other} is accepted"),
    };
    assert_eq!(header["jwk"]["kty"], key);
    for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        assert!(header["jwk"].get(private).is_none(), "a private key is accepted");
    }
    let jti = claims["jti"].as_str().expect("the jti is a text");
    assert!((1..=256).contains(&jti.len()));
    let htu = claims["htu"].as_str().expect("the htu is a text");
    if is_target(htu, "https://mcp.example.com", "/mcp") {
        let url = Url::parse(htu).expect("an accepted htu is a URL");
        assert_eq!((url.scheme(), url.host_str(), url.port()), ("https", Some(OWN_HOST), None));
        assert!(url.username().is_empty() && url.password().is_none());
    }
}

/// A metadata document: a valid one is that of its URL, has no secret, and sends the authorization
/// response only to allowed places (draft-ietf-oauth-client-id-metadata-document, RFC 8252).
fn client_document(bytes: &[u8]) {
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else {
        let url = MetadataUrl::parse(DOCUMENT_URL, OWN_HOST).expect("it is a valid URL");
        assert!(parse_document(bytes, &url, &Schemes::default()).is_err(), "it is not JSON");
        return;
    };
    let id = document["client_id"].as_str().unwrap_or(DOCUMENT_URL);
    let Ok(url) = MetadataUrl::parse(id, OWN_HOST) else { return };
    check_document_url(&url);
    let Ok(metadata) = parse_document(bytes, &url, &Schemes::default()) else { return };
    assert_eq!(document["client_id"], url.as_str());
    for secret in ["client_secret", "client_secret_expires_at"] {
        let is_absent = document[secret].is_null() || document[secret] == "";
        assert!(is_absent, "{secret} is accepted");
    }
    if let Some(keys) = document.pointer("/jwks/keys").and_then(Value::as_array) {
        // RFC 7518, sections 6.2.2, 6.3.2 and 6.4: the private parts of a key.
        let is_private = |key: &Value| ["d", "k"].iter().any(|part| !key[*part].is_null());
        assert!(!keys.iter().any(is_private), "a private key is accepted");
    }
    assert_eq!(metadata.method, Method::None);
    check_metadata(&metadata, &document);
    let stored = serde_json::to_value(&metadata).expect("metadata can be serialized");
    let read: Metadata = serde_json::from_value(stored).expect("stored metadata can be read");
    assert_eq!(read, metadata);
}

fn check_metadata(metadata: &Metadata, document: &Value) {
    assert!(!metadata.redirect_uris.is_empty());
    let given = document["redirect_uris"].as_array().expect("redirect URIs are a list");
    for uri in &metadata.redirect_uris {
        assert!(given.iter().any(|given| given == uri.as_str()), "{uri} is not in the document");
        check_redirect_uri(uri);
    }
    let name = metadata.client_name.as_str();
    assert!(!name.is_empty() && name.chars().count() <= MAX_CHARS, "{name}");
    assert!(!name.chars().any(char::is_control), "{name:?}");
    assert_eq!(
        DisplayName::sanitize(name).as_str(),
        name,
        "a displayed name is displayed unchanged"
    );
}

/// The URL is safe to fetch, and means the same for every parser.
fn check_document_url(url: &MetadataUrl) {
    let parsed = Url::parse(url.as_str()).expect("it is a URL");
    let written = url.as_str().split('?').next().expect("a split has a first part");
    assert_eq!(&parsed[..url::Position::AfterPath], written, "a parser changes the URL");
    assert_eq!(parsed.scheme(), "https");
    assert_eq!(parsed.host(), Some(Host::Domain(url.host())));
    assert_ne!(url.host(), OWN_HOST);
    assert_eq!((parsed.port(), parsed.username(), parsed.password()), (None, "", None));
    assert_eq!(parsed.fragment(), None);
    assert!(parsed.path().len() > 1);
}

/// A redirect URI to register and, after a line end, the one of a request: a valid one leads to one
/// place, and only the port of a loopback URI may differ.
fn redirect_uri(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (registered, presented) = text.split_once('\n').unwrap_or((text, text));
    let Ok(uri) = RedirectUri::parse(registered, &Schemes::default()) else { return };
    assert_eq!(uri.as_str(), registered);
    assert!(uri.matches(registered));
    check_redirect_uri(&uri);
    if !uri.matches(presented) {
        return;
    }
    assert!(presented == registered || uri.is_loopback());
    let (mut one, mut other) = (parsed(registered), parsed(presented));
    if uri.is_loopback() {
        for url in [&mut one, &mut other] {
            url.set_port(None).expect("an http URL may have a port");
        }
    }
    assert_eq!(one, other, "only the port may differ");
    assert_eq!(destination(presented), destination(registered));
}

fn check_redirect_uri(uri: &RedirectUri) {
    let url = parsed(uri.as_str());
    assert_eq!(url.fragment(), None, "{uri}");
    assert_eq!((url.username(), url.password()), ("", None), "{uri}");
    assert!(!uri.as_str().contains('*'), "{uri}");
    match (url.scheme(), destination(uri.as_str())) {
        ("https", Destination::Site { host }) => {
            assert!(host.starts_with(url.host_str().unwrap_or("?")));
        }
        ("http", Destination::ThisMachine) => {
            let is_loopback = match url.host() {
                Some(Host::Domain(name)) => name == "localhost",
                Some(Host::Ipv4(address)) => address.is_loopback(),
                Some(Host::Ipv6(address)) => address.is_loopback(),
                None => false,
            };
            assert!(is_loopback && uri.is_loopback(), "{uri}");
        }
        (scheme, Destination::App { scheme: shown }) => {
            assert_eq!(scheme, shown);
            assert!(KNOWN_SCHEMES.contains(&scheme), "{uri}");
        }
        (_, destination) => panic!("{uri} leads to {destination:?}"),
    }
    // The response does not change where the URI leads, and can be read back.
    let answered = parsed(&with_response(uri.as_str(), [("code", "a&b"), ("state", "ü =")]));
    assert_eq!((answered.host(), answered.port()), (url.host(), url.port()));
    assert_eq!(answered.path(), url.path());
    let codes = answered.query_pairs().filter(|(name, _)| name == "code");
    let codes: Vec<String> = codes.map(|(_, code)| code.into_owned()).collect();
    assert_eq!(codes, ["a&b"], "{uri}");
}

fn parsed(uri: &str) -> Url {
    Url::parse(uri).expect("a valid redirect URI is a URL")
}
