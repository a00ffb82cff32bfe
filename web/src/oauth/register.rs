//! `POST /register`

use std::time::Duration;

use app::App;
use http::header;
use oauth::{
    client::Method,
    limits,
    register::{self, RegisterError, Registered},
};
use poem::{Request, web::Data};
use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};

use super::{
    Tag,
    deferred_body::DeferredBody,
    error::{ErrorCode, OAuthErrorResponse, invalid, respond, sentence, unavailable},
};
use crate::{
    http::{
        body::bounds::Bounds,
        error::ApiError,
        rate_limit::{self, RateLimitKey},
        request_id::RequestId,
        request_info::request_info,
    },
    instance::Instance,
};

const BODY: Bounds = Bounds { bytes: register::MAX_BYTES, time: Duration::from_secs(10) };

/// The client registration endpoint (RFC 7591).
#[derive(Clone)]
pub(crate) struct Register {
    app: App,
}

/// The metadata of a client. Other members are ignored.
#[derive(Object)]
struct ClientMetadata {
    /// Redirect URIs: https, loopback, or the scheme of a known program.
    redirect_uris: Vec<String>,
    /// The name that the consent page shows.
    client_name: Option<String>,
    /// Default: `none`.
    token_endpoint_auth_method: Option<String>,
    /// Default: `authorization_code` and `refresh_token`.
    grant_types: Option<Vec<String>>,
    /// `code`.
    response_types: Option<Vec<String>>,
    /// The maximum scope of the client. Unknown scopes are ignored.
    scope: Option<String>,
    /// `native` or `web`.
    application_type: Option<String>,
    /// Whether it gets only tokens that are bound to a key (RFC 9449). Ignored if this server does not
    /// support DPoP.
    dpop_bound_access_tokens: Option<bool>,
}

/// A registered client.
#[derive(Object)]
struct RegisteredClient {
    client_id: String,
    /// Seconds since the Unix epoch.
    client_id_issued_at: i64,
    /// Shown once.
    #[oai(skip_serializing_if_is_none)]
    client_secret: Option<String>,
    /// Zero, which means never.
    #[oai(skip_serializing_if_is_none)]
    client_secret_expires_at: Option<i64>,
    client_name: String,
    redirect_uris: Vec<String>,
    grant_types: Vec<String>,
    response_types: Vec<String>,
    token_endpoint_auth_method: String,
    /// The scopes that it may request: the known part of its registration, or all.
    scope: String,
    /// Whether it gets only tokens that are bound to a key (RFC 9449). Absent if this server does not
    /// support DPoP.
    #[oai(skip_serializing_if_is_none)]
    dpop_bound_access_tokens: Option<bool>,
}

#[derive(ApiResponse)]
enum RegisterResponse {
    /// The client is registered. It is deleted within a day unless a user signs in with it.
    #[oai(status = 201)]
    Registered(
        Json<RegisteredClient>,
        /// Always `no-store`.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

#[OpenApi(tag = "Tag::SignIn")]
impl Register {
    /// Register a client
    ///
    /// RFC 7591. Registration is open, so it proves nothing about the client: the consent page
    /// shows the name, the destination of the redirect, and that neither is verified.
    #[oai(path = "/register", method = "post", operation_id = "register")]
    async fn register(
        &self,
        id: Data<&RequestId>,
        request: &Request,
        body: DeferredBody<Json<ClientMetadata>>,
    ) -> Result<RegisterResponse, OAuthErrorResponse> {
        let response = self.register_client(request, body).await;
        respond("/register", "none", &id, response)
    }
}

impl Register {
    /// The endpoint of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { app: instance.app.clone() }
    }

    async fn register_client(
        &self,
        request: &Request,
        body: DeferredBody<Json<ClientMetadata>>,
    ) -> Result<RegisterResponse, ApiError> {
        let network = rate_limit::network(&self.app, request);
        rate_limit::take(&self.app, &limits::REGISTER, &network).await?;
        let all = RateLimitKey::for_everyone();
        rate_limit::take(&self.app, &limits::REGISTER_ALL, &all).await?;
        if !is_json(request) {
            return Err(invalid(
                ErrorCode::InvalidClientMetadata,
                "Send the metadata as application/json.",
            ));
        }
        let body = body.read(request, BODY).await?;
        let info = request_info(&self.app, request);
        let error = match register::register(self.app.oauth(), &body, &info).await {
            Ok(client) => {
                info.log_context.set_client(&client.client_id);
                let no_store = "no-store".to_owned();
                return Ok(RegisterResponse::Registered(Json(client.into()), no_store));
            }
            Err(error) => error,
        };
        let code = match error {
            RegisterError::Unavailable => return Err(unavailable()),
            RegisterError::RedirectUri(_) => ErrorCode::InvalidRedirectUri,
            RegisterError::Metadata(_) => ErrorCode::InvalidClientMetadata,
            RegisterError::SoftwareStatement => ErrorCode::UnapprovedSoftwareStatement,
        };
        Err(invalid(code, sentence(&error)))
    }
}

impl From<Registered> for RegisteredClient {
    fn from(client: Registered) -> Self {
        let strings = |all: &[&str]| all.iter().map(ToString::to_string).collect();
        Self {
            client_id: client.client_id,
            client_id_issued_at: client.client_id_issued_at,
            client_secret: client.client_secret.map(|secret| secret.expose().to_owned()),
            client_secret_expires_at: client.client_secret_expires_at,
            client_name: client.client_name.to_string(),
            redirect_uris: client.redirect_uris.iter().map(ToString::to_string).collect(),
            grant_types: strings(&client.grant_types),
            response_types: strings(&client.response_types),
            token_endpoint_auth_method: method(client.token_endpoint_auth_method).to_owned(),
            scope: client.scope.to_string(),
            dpop_bound_access_tokens: client.dpop_bound_access_tokens,
        }
    }
}

fn method(method: Method) -> &'static str {
    match method {
        Method::None => "none",
        Method::SecretBasic => "client_secret_basic",
        Method::SecretPost => "client_secret_post",
    }
}

fn is_json(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}
