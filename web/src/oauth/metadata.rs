//! `GET /.well-known/oauth-authorization-server`

#![expect(clippy::unused_async, reason = "poem-openapi requires async endpoints")]

use app::App;
use oauth::{client, id_jag, service_client};
use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};

use super::{Tag, token::grant_types};
use crate::{http::dpop, instance::Instance};

/// The authorization server metadata (RFC 8414).
#[derive(Clone)]
pub(crate) struct Metadata {
    app: App,
}

/// The metadata document.
#[derive(Object)]
struct AuthorizationServer {
    /// The issuer of the tokens. Clients compare it byte for byte.
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    registration_endpoint: String,
    revocation_endpoint: String,
    /// The public keys of access tokens.
    jwks_uri: String,
    response_types_supported: Vec<String>,
    response_modes_supported: Vec<String>,
    grant_types_supported: Vec<String>,
    code_challenge_methods_supported: Vec<String>,
    /// Profiles of grants with an assertion. Absent if no identity assertions are accepted.
    #[oai(skip_serializing_if_is_none)]
    authorization_grant_profiles_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Vec<String>,
    /// The signature algorithms of clients that authenticate with a key. Absent if none can.
    #[oai(skip_serializing_if_is_none)]
    token_endpoint_auth_signing_alg_values_supported: Option<Vec<String>>,
    revocation_endpoint_auth_methods_supported: Vec<String>,
    /// Like `token_endpoint_auth_signing_alg_values_supported`.
    #[oai(skip_serializing_if_is_none)]
    revocation_endpoint_auth_signing_alg_values_supported: Option<Vec<String>>,
    scopes_supported: Vec<String>,
    /// Authorization responses contain `iss` (RFC 9207).
    authorization_response_iss_parameter_supported: bool,
    /// A client id may be the URL of a client metadata document. Absent if this server does not
    /// fetch such documents, so that clients register.
    #[oai(skip_serializing_if_is_none)]
    client_id_metadata_document_supported: Option<bool>,
    /// The signature algorithms of DPoP proofs (RFC 9449). Absent if DPoP is off.
    #[oai(skip_serializing_if_is_none)]
    dpop_signing_alg_values_supported: Option<Vec<String>>,
    /// The resources that the tokens are for (RFC 9728).
    protected_resources: Vec<String>,
}

#[derive(ApiResponse)]
enum MetadataResponse {
    /// The document.
    #[oai(status = 200)]
    Found(
        Json<AuthorizationServer>,
        /// How long the document may be cached.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

impl Metadata {
    /// The endpoint of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { app: instance.app.clone() }
    }
}

#[OpenApi(tag = "Tag::SignIn")]
impl Metadata {
    /// The authorization server of the MCP endpoint
    ///
    /// RFC 8414.
    #[oai(
        path = "/.well-known/oauth-authorization-server",
        method = "get",
        operation_id = "authorization_server"
    )]
    async fn authorization_server(&self) -> MetadataResponse {
        let config = self.app.config();
        let url = &config.public_url;
        let strings = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut methods = strings(&client::Method::NAMES);
        let oauth = self.app.oauth();
        let has_keys = service_client::is_enabled(oauth);
        methods.extend(has_keys.then(|| service_client::PRIVATE_KEY_JWT.to_owned()));
        let algorithms = has_keys.then(|| strings(&service_client::SIGNING_ALGORITHMS));
        let profiles = oauth.accepts_id_jags().then(|| strings(&[id_jag::GRANT_PROFILE]));
        let document = AuthorizationServer {
            issuer: url.to_string(),
            authorization_endpoint: format!("{url}/authorize"),
            token_endpoint: format!("{url}/token"),
            registration_endpoint: format!("{url}/register"),
            revocation_endpoint: format!("{url}/revoke"),
            jwks_uri: format!("{url}/.well-known/jwks.json"),
            response_types_supported: strings(&["code"]),
            response_modes_supported: strings(&["query"]),
            grant_types_supported: strings(&grant_types(oauth)),
            authorization_grant_profiles_supported: profiles,
            code_challenge_methods_supported: strings(&["S256"]),
            token_endpoint_auth_methods_supported: methods.clone(),
            token_endpoint_auth_signing_alg_values_supported: algorithms.clone(),
            revocation_endpoint_auth_methods_supported: methods,
            revocation_endpoint_auth_signing_alg_values_supported: algorithms,
            scopes_supported: config
                .product
                .scopes()
                .defaults()
                .iter()
                .map(str::to_owned)
                .collect(),
            authorization_response_iss_parameter_supported: true,
            client_id_metadata_document_supported: config.oauth.client_documents.then_some(true),
            dpop_signing_alg_values_supported: dpop::algorithms(&self.app),
            protected_resources: vec![url.mcp()],
        };
        MetadataResponse::Found(Json(document), "public, max-age=300".to_owned())
    }
}
