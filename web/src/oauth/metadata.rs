//! `GET /.well-known/oauth-authorization-server`

#![expect(clippy::unused_async, reason = "poem-openapi requires async endpoints")]

use app::App;
use oauth::client;
use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};

use super::Tag;
use crate::instance::Instance;

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
    token_endpoint_auth_methods_supported: Vec<String>,
    revocation_endpoint_auth_methods_supported: Vec<String>,
    scopes_supported: Vec<String>,
    /// Authorization responses contain `iss` (RFC 9207).
    authorization_response_iss_parameter_supported: bool,
    /// A client id may be the URL of a client metadata document. Absent if this server does not
    /// fetch such documents, so that clients register.
    #[oai(skip_serializing_if_is_none)]
    client_id_metadata_document_supported: Option<bool>,
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
        let methods = strings(&client::Method::NAMES);
        let document = AuthorizationServer {
            issuer: url.to_string(),
            authorization_endpoint: format!("{url}/authorize"),
            token_endpoint: format!("{url}/token"),
            registration_endpoint: format!("{url}/register"),
            revocation_endpoint: format!("{url}/revoke"),
            jwks_uri: format!("{url}/.well-known/jwks.json"),
            response_types_supported: strings(&["code"]),
            response_modes_supported: strings(&["query"]),
            grant_types_supported: strings(&["authorization_code", "refresh_token"]),
            code_challenge_methods_supported: strings(&["S256"]),
            token_endpoint_auth_methods_supported: methods.clone(),
            revocation_endpoint_auth_methods_supported: methods,
            scopes_supported: config
                .product
                .scopes()
                .defaults()
                .iter()
                .map(str::to_owned)
                .collect(),
            authorization_response_iss_parameter_supported: true,
            client_id_metadata_document_supported: config.oauth.client_documents.then_some(true),
            protected_resources: vec![url.mcp()],
        };
        MetadataResponse::Found(Json(document), "public, max-age=300".to_owned())
    }
}
