//! `GET /.well-known/oauth-authorization-server`

#![expect(clippy::unused_async, reason = "poem-openapi wants every endpoint to be async")]

use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};
use service::{
    Service,
    oauth::{client, scope},
};

use super::Tag;
use crate::instance::Instance;

/// What a client needs to know before it sends a person here (RFC 8414).
#[derive(Clone)]
pub(crate) struct Metadata {
    service: Service,
}

/// The authorization server.
#[derive(Object)]
struct AuthorizationServer {
    /// Who issues the tokens. A client compares it byte for byte.
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
    /// Every answer to an authorization request says who it comes from (RFC 9207).
    authorization_response_iss_parameter_supported: bool,
    /// A client id may be the address of a document that says who the client is. Absent where this
    /// server fetches no such documents, so that clients register.
    #[oai(skip_serializing_if_is_none)]
    client_id_metadata_document_supported: Option<bool>,
    /// What the tokens are for (RFC 9728).
    protected_resources: Vec<String>,
}

#[derive(ApiResponse)]
enum Answer {
    /// The document.
    #[oai(status = 200)]
    Found(
        Json<AuthorizationServer>,
        /// How long the document may be kept.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

impl Metadata {
    /// The endpoint of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { service: instance.service.clone() }
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
    async fn authorization_server(&self) -> Answer {
        let config = self.service.config();
        let url = &config.public_url;
        let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let methods = texts(&client::Method::NAMES);
        let document = AuthorizationServer {
            issuer: url.to_string(),
            authorization_endpoint: format!("{url}/authorize"),
            token_endpoint: format!("{url}/token"),
            registration_endpoint: format!("{url}/register"),
            revocation_endpoint: format!("{url}/revoke"),
            jwks_uri: format!("{url}/.well-known/jwks.json"),
            response_types_supported: texts(&["code"]),
            response_modes_supported: texts(&["query"]),
            grant_types_supported: texts(&["authorization_code", "refresh_token"]),
            code_challenge_methods_supported: texts(&["S256"]),
            token_endpoint_auth_methods_supported: methods.clone(),
            revocation_endpoint_auth_methods_supported: methods,
            scopes_supported: texts(scope::ALL),
            authorization_response_iss_parameter_supported: true,
            client_id_metadata_document_supported: config.client_documents.then_some(true),
            protected_resources: vec![url.mcp()],
        };
        Answer::Found(Json(document), "public, max-age=300".to_owned())
    }
}
