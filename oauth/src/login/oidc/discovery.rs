//! The discovery document of a provider (OpenID Connect Discovery 1.0).

use platform::public_url::is_loopback;
use serde_json::{Map, Value};
use url::Url;

use super::error::OidcError;
use crate::{jwt::algorithm_named, pkce::METHOD};

/// The path of the document, after the issuer.
const PATH: &str = "/.well-known/openid-configuration";

/// What this server needs of a discovery document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) jwks_uri: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    pub(super) client_auth: ClientAuth,
    /// Whether every authorization response has the parameter `iss` (RFC 9207).
    pub(super) sends_issuer: bool,
    /// The supported values of `prompt`. `None`: the provider does not say.
    pub(super) prompts: Option<Vec<String>>,
}

/// How this server authenticates at the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAuth {
    /// `client_secret_basic`.
    Basic,
    /// `client_secret_post`.
    Post,
    /// Not at all: a public client, which PKCE protects.
    None,
}

/// Returns the URL of the document of an issuer.
pub(super) fn url(issuer: &str) -> String {
    format!("{}{PATH}", issuer.trim_end_matches('/'))
}

impl Metadata {
    /// Reads the document of an issuer. `has_secret`: whether this server has a client secret.
    pub(super) fn read(
        document: &Map<String, Value>,
        issuer: &str,
        has_secret: bool,
    ) -> Result<Self, OidcError> {
        let wrong = |what| Err(OidcError::Discovery(what));
        match document.get("issuer").and_then(Value::as_str) {
            Some(named) if named == issuer => {}
            Some(named) if named.trim_end_matches('/') == issuer.trim_end_matches('/') => {
                return wrong("its issuer and OIDC_<NAME>_ISSUER differ by a trailing slash");
            }
            Some(_) => return wrong("its issuer is not OIDC_<NAME>_ISSUER"),
            None => return wrong("it has no issuer"),
        }
        // A provider on a loopback address is a test or a development server.
        let plain = issuer.starts_with("http://");
        let endpoint = |member| match document.get(member).and_then(Value::as_str) {
            Some(text) => endpoint(text, plain).map(Some),
            None => Ok(None),
        };
        let needed = |member, missing| endpoint(member)?.ok_or(OidcError::Discovery(missing));
        let algorithms = strings(document, "id_token_signing_alg_values_supported");
        if algorithms.is_some_and(|all| !all.iter().any(|it| algorithm_named(it).is_some())) {
            return wrong(
                "it offers no signature algorithm for ID tokens that this server accepts",
            );
        }
        let challenges = strings(document, "code_challenge_methods_supported");
        if !has_secret && challenges.is_some_and(|all| !all.iter().any(|it| it == METHOD)) {
            return wrong("it does not offer PKCE, which a client without a secret needs");
        }
        Ok(Self {
            authorization_endpoint: needed(
                "authorization_endpoint",
                "it has no authorization_endpoint",
            )?,
            token_endpoint: needed("token_endpoint", "it has no token_endpoint")?,
            jwks_uri: needed("jwks_uri", "it has no jwks_uri")?,
            userinfo_endpoint: endpoint("userinfo_endpoint")?,
            client_auth: client_auth(document, has_secret)?,
            sends_issuer: document.get("authorization_response_iss_parameter_supported")
                == Some(&Value::Bool(true)),
            prompts: strings(document, "prompt_values_supported"),
        })
    }
}

/// Parses the URL of an endpoint: https, or, if `plain`, http on a loopback address.
fn endpoint(text: &str, plain: bool) -> Result<Url, OidcError> {
    let url =
        Url::parse(text).map_err(|_not_a_url| OidcError::Discovery("an endpoint is not a URL"))?;
    let is_encrypted =
        url.scheme() == "https" || (plain && url.scheme() == "http" && is_loopback(&url));
    let is_bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if is_encrypted && is_bare {
        Ok(url)
    } else {
        Err(OidcError::Discovery("an endpoint is not https, or has a user or a fragment"))
    }
}

/// Chooses how to authenticate: as RFC 6749 prefers it, by the header, unless the provider offers
/// only the body.
fn client_auth(document: &Map<String, Value>, has_secret: bool) -> Result<ClientAuth, OidcError> {
    if !has_secret {
        return Ok(ClientAuth::None);
    }
    // The default according to OpenID Connect Discovery, section 3.
    let Some(methods) = strings(document, "token_endpoint_auth_methods_supported") else {
        return Ok(ClientAuth::Basic);
    };
    let offers = |method: &str| methods.iter().any(|it| it == method);
    match (offers("client_secret_basic"), offers("client_secret_post")) {
        (true, _) => Ok(ClientAuth::Basic),
        (false, true) => Ok(ClientAuth::Post),
        (false, false) => Err(OidcError::Discovery(
            "it offers neither client_secret_basic nor client_secret_post",
        )),
    }
}

/// Returns the texts of an array. `None`: there is no such array.
fn strings(document: &Map<String, Value>, member: &str) -> Option<Vec<String>> {
    let texts = document.get(member)?.as_array()?.iter();
    Some(texts.filter_map(|text| text.as_str().map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://login.example.com/realms/a";

    fn document() -> Value {
        json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://login.example.com/authorize?p=policy",
            "token_endpoint": "https://tokens.example.com/token",
            "jwks_uri": "https://login.example.com/keys",
            "userinfo_endpoint": "https://login.example.com/userinfo",
            "id_token_signing_alg_values_supported": ["RS512", "RS256"],
        })
    }

    #[expect(clippy::needless_pass_by_value, reason = "each test writes the changes in the call")]
    fn read(changes: Value, issuer: &str, has_secret: bool) -> Result<Metadata, OidcError> {
        let mut all = document();
        for (member, value) in changes.as_object().unwrap() {
            all[member] = value.clone();
        }
        Metadata::read(all.as_object().unwrap(), issuer, has_secret)
    }

    #[test]
    fn the_document_is_below_the_issuer() {
        let expected = "https://a.example/x/.well-known/openid-configuration";
        assert_eq!(url("https://a.example/x"), expected);
        assert_eq!(url("https://a.example/x/"), expected);
    }

    #[test]
    fn a_document_is_read() {
        let metadata = read(json!({}), ISSUER, true).unwrap();
        assert_eq!(metadata.token_endpoint.as_str(), "https://tokens.example.com/token");
        assert_eq!(metadata.client_auth, ClientAuth::Basic);
        assert!(!metadata.sends_issuer && metadata.prompts.is_none());

        let supported = json!({
            "authorization_response_iss_parameter_supported": true,
            "prompt_values_supported": ["login"],
        });
        let metadata = read(supported, ISSUER, true).unwrap();
        assert!(metadata.sends_issuer);
        assert_eq!(metadata.prompts, Some(vec!["login".to_owned()]));
        let slash = "https://tenant.auth0.example/";
        assert!(read(json!({ "issuer": slash }), slash, true).is_ok());
    }

    #[test]
    fn a_client_authenticates_as_the_provider_offers_it() {
        let methods =
            |methods: &[&str]| json!({ "token_endpoint_auth_methods_supported": methods });
        for (offered, has_secret, expected) in [
            (&["client_secret_post", "client_secret_basic"][..], true, Some(ClientAuth::Basic)),
            (&["private_key_jwt", "client_secret_post"], true, Some(ClientAuth::Post)),
            (&["private_key_jwt"], true, None),
            (&["client_secret_basic"], false, Some(ClientAuth::None)),
        ] {
            let found = read(methods(offered), ISSUER, has_secret);
            assert_eq!(found.ok().map(|it| it.client_auth), expected, "{offered:?}");
        }
    }

    #[test]
    fn a_document_that_cannot_be_used_is_refused() {
        for changes in [
            json!({ "issuer": "https://login.example.com/realms/b" }),
            json!({ "issuer": format!("{ISSUER}/") }),
            json!({ "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0" }),
            json!({ "issuer": null }),
            json!({ "token_endpoint": null }),
            json!({ "jwks_uri": 7 }),
            json!({ "token_endpoint": "http://tokens.example.com/token" }),
            json!({ "token_endpoint": "http://127.0.0.1/token" }),
            json!({ "token_endpoint": "https://me@tokens.example.com/token" }),
            json!({ "userinfo_endpoint": "/userinfo" }),
            json!({ "jwks_uri": "file:///etc/passwd" }),
            json!({ "id_token_signing_alg_values_supported": ["none", "HS256"] }),
        ] {
            let found = read(changes.clone(), ISSUER, true);
            assert!(matches!(found, Err(OidcError::Discovery(_))), "{changes}: {found:?}");
        }
        let plain = json!({ "code_challenge_methods_supported": ["plain"] });
        assert!(read(plain.clone(), ISSUER, true).is_ok(), "the secret protects it");
        assert!(read(plain, ISSUER, false).is_err());
    }
}
