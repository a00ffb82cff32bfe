//! `POST /register`

use std::time::Duration;

use http::header;
use poem::{Request, web::Data};
use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};
use service::{
    Service,
    oauth::{
        client::Method,
        limits,
        register::{self, RegisterError, Registered},
    },
};

use super::{
    Tag,
    answer::{Fail, Failed, counted, sentence},
    unread::Unread,
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

/// Where a client says who it is (RFC 7591).
#[derive(Clone)]
pub(crate) struct Register {
    service: Service,
}

/// What a client says of itself. Whatever else it says is not kept.
#[derive(Object)]
struct ClientMetadata {
    /// Where answers may go: https, loopback, or the scheme of a known program.
    redirect_uris: Vec<String>,
    /// A name for the person who is asked.
    client_name: Option<String>,
    /// `none` unless it says otherwise.
    token_endpoint_auth_method: Option<String>,
    /// `authorization_code` and `refresh_token` unless it says otherwise.
    grant_types: Option<Vec<String>>,
    /// `code`.
    response_types: Option<Vec<String>>,
    /// The most that it will ask for. Unknown names are ignored.
    scope: Option<String>,
    /// `native` or `web`.
    application_type: Option<String>,
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
    /// What it may ask for: the known part of what it registered, or everything.
    scope: String,
}

#[derive(ApiResponse)]
enum Answer {
    /// The client is registered. It is forgotten within a day unless somebody signs in with it.
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
    /// RFC 7591. Anybody may, so a registration proves nothing: the person is shown the name, where
    /// the answer goes, and that nobody vouches for either.
    #[oai(path = "/register", method = "post", operation_id = "register")]
    async fn register(
        &self,
        id: Data<&RequestId>,
        request: &Request,
        body: Unread<Json<ClientMetadata>>,
    ) -> Result<Answer, Failed> {
        let answer = self.answer(&id, request, body).await;
        counted("/register", "none", answer)
    }
}

impl Register {
    /// The endpoint of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { service: instance.service.clone() }
    }

    async fn answer(
        &self,
        id: &RequestId,
        request: &Request,
        body: Unread<Json<ClientMetadata>>,
    ) -> Result<Answer, Failed> {
        let fail = Fail(id);
        let refused = |refusal: ApiError| fail.refusal(&refusal);
        let network = rate_limit::network(&self.service, request);
        rate_limit::take(&self.service, &limits::REGISTER, &network).await.map_err(refused)?;
        let everybody = RateLimitKey::of_everybody();
        rate_limit::take(&self.service, &limits::REGISTER_ALL, &everybody)
            .await
            .map_err(refused)?;
        let invalid = |description: String| fail.invalid("invalid_client_metadata", description);
        if !is_json(request) {
            return Err(invalid("Send the metadata as application/json.".to_owned()));
        }
        let body = body.read(request, BODY).await.map_err(refused)?;
        let info = request_info(&self.service, request);
        match register::register(&self.service, &body, &info).await {
            Ok(client) => {
                info.parties.set_client(&client.client_id);
                Ok(Answer::Registered(Json(client.into()), "no-store".to_owned()))
            }
            Err(RegisterError::Unavailable) => Err(fail.unavailable()),
            Err(error) => {
                let code = error.code().unwrap_or("invalid_client_metadata");
                Err(fail.invalid(code, sentence(&error)))
            }
        }
    }
}

impl From<Registered> for RegisteredClient {
    fn from(client: Registered) -> Self {
        let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect();
        Self {
            client_id: client.client_id,
            client_id_issued_at: client.client_id_issued_at,
            client_secret: client.client_secret.map(|it| it.expose().to_owned()),
            client_secret_expires_at: client.client_secret_expires_at,
            client_name: client.client_name.to_string(),
            redirect_uris: client.redirect_uris.iter().map(ToString::to_string).collect(),
            grant_types: texts(&client.grant_types),
            response_types: texts(&client.response_types),
            token_endpoint_auth_method: method(client.token_endpoint_auth_method).to_owned(),
            scope: client.scope.to_string(),
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
    let kind = kind.and_then(|it| it.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}
