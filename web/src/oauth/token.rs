//! `POST /token`

use app::App;
use oauth::{
    client::Client,
    code::{self, RedeemError, Redemption},
    grant::TokenSet,
    refresh::{self, RefreshError, Rotation},
};
use poem::{Request, web::Data};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    payload::{Form as FormPayload, Json},
};

use super::{
    Tag,
    deferred_body::DeferredBody,
    error::{
        ErrorCode, OAuthErrorResponse, invalid, invalid_request, respond, sentence, unavailable,
    },
    form_request::FormRequest,
};
use crate::{
    http::{error::ApiError, request_id::RequestId, request_info::request_info},
    instance::Instance,
};

/// The token endpoint: exchanges authorization codes and refresh tokens for tokens.
#[derive(Clone)]
pub(crate) struct Token {
    app: App,
}

#[derive(Clone, Copy)]
enum Grant {
    Code,
    RefreshToken,
}

/// A token request.
#[derive(Object)]
struct TokenParameters {
    /// `authorization_code` or `refresh_token`.
    grant_type: String,
    /// The client. May be omitted if it is in the `Authorization` header.
    client_id: Option<String>,
    /// The client's secret, if it has one and does not send it in the header.
    client_secret: Option<String>,
    /// The authorization code.
    code: Option<String>,
    /// The PKCE code verifier.
    code_verifier: Option<String>,
    /// Where the code was sent. May be omitted; if present, it must match.
    redirect_uri: Option<String>,
    /// The refresh token.
    refresh_token: Option<String>,
    /// For a refresh: fewer scopes than were granted. Unknown names are ignored.
    scope: Option<String>,
    /// What the tokens are for. May be omitted; there is one resource.
    resource: Option<String>,
}

/// New tokens.
#[derive(Object)]
struct Tokens {
    /// For the `Authorization` header of requests to the MCP endpoint.
    access_token: String,
    /// Always `Bearer`.
    token_type: String,
    /// The lifetime of the access token, in seconds.
    expires_in: u64,
    /// For the next tokens. It replaces the one in the request.
    #[oai(skip_serializing_if_is_none)]
    refresh_token: Option<String>,
    /// The scopes of the access token.
    scope: String,
}

#[derive(ApiResponse)]
enum TokenResponse {
    /// The tokens.
    #[oai(status = 200)]
    Issued(
        Json<Tokens>,
        /// Always `no-store`.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

#[OpenApi(tag = "Tag::SignIn")]
impl Token {
    /// Exchange a code or a refresh token for tokens
    ///
    /// RFC 6749. A client that sends the same refresh token again within two minutes, because the
    /// response was lost or another of its processes was faster, gets the same successor.
    #[oai(path = "/token", method = "post", operation_id = "token")]
    async fn token(
        &self,
        id: Data<&RequestId>,
        request: &Request,
        body: DeferredBody<FormPayload<TokenParameters>>,
    ) -> Result<TokenResponse, OAuthErrorResponse> {
        let request = FormRequest::read(&self.app, request, body).await;
        let grant_type = request.as_ref().map_or("none", grant_type_label);
        let response = match request {
            Ok(request) => request.finish(exchange(&request).await).await,
            Err(error) => Err(error),
        };
        respond("/token", grant_type, &id, response)
    }
}

impl Token {
    /// The endpoint of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { app: instance.app.clone() }
    }
}

/// The grant type as a metric label, from a closed set.
fn grant_type_label(request: &FormRequest<'_>) -> &'static str {
    match request.form.get("grant_type") {
        None => "none",
        Some("authorization_code") => "authorization_code",
        Some("refresh_token") => "refresh_token",
        Some(_) => "other",
    }
}

/// Handles a token request.
async fn exchange(request: &FormRequest<'_>) -> Result<TokenResponse, ApiError> {
    let grant = match request.required("grant_type")? {
        "authorization_code" => Grant::Code,
        "refresh_token" => Grant::RefreshToken,
        _ => {
            return Err(invalid(
                ErrorCode::UnsupportedGrantType,
                "grant_type must be authorization_code or refresh_token.",
            ));
        }
    };
    let client = request.authenticate(&request.presented()?).await?;
    let tokens = match grant {
        Grant::Code => redeem(request, &client).await?,
        Grant::RefreshToken => refresh(request, &client).await?,
    };
    let tokens = Tokens {
        access_token: tokens.access_token.expose().to_owned(),
        token_type: "Bearer".to_owned(),
        expires_in: tokens.expires_in.as_secs(),
        refresh_token: tokens.refresh_token.map(|token| token.expose().to_owned()),
        scope: tokens.scope.to_string(),
    };
    Ok(TokenResponse::Issued(Json(tokens), "no-store".to_owned()))
}

/// Exchanges an authorization code.
async fn redeem(request: &FormRequest<'_>, client: &Client) -> Result<TokenSet, ApiError> {
    let redemption = Redemption {
        code: request.required("code")?,
        verifier: request.required("code_verifier")?,
        redirect_uri: request.form.get("redirect_uri"),
        resource: &request.form.resources(),
        request: request_info(request.app, request.http),
    };
    let redeemed = code::redeem(request.app.oauth(), client, redemption).await;
    redeemed.map_err(|error| match error {
        RedeemError::InvalidRequest(_) => invalid_request(sentence(&error)),
        RedeemError::InvalidGrant(reason) => {
            tracing::info!(client = %client.id, reason, "Refused an authorization code");
            invalid(
                ErrorCode::InvalidGrant,
                "The code is not valid for this request. Start the sign-in again.",
            )
        }
        RedeemError::InvalidTarget(_) => invalid(ErrorCode::InvalidTarget, sentence(&error)),
        RedeemError::Unavailable(failure) => {
            tracing::error!(
                dependency = failure.dependency(), error = ?failure,
                "Could not redeem an authorization code; the client may retry"
            );
            unavailable()
        }
    })
}

/// Exchanges a refresh token.
async fn refresh(request: &FormRequest<'_>, client: &Client) -> Result<TokenSet, ApiError> {
    if !client.may_refresh {
        return Err(invalid(
            ErrorCode::UnauthorizedClient,
            "The client did not register for refresh tokens.",
        ));
    }
    let rotation = Rotation {
        token: request.required("refresh_token")?,
        scope: request.form.get("scope"),
        resource: &request.form.resources(),
        request: request_info(request.app, request.http),
    };
    let rotated = refresh::rotate(request.app.oauth(), client, rotation).await;
    rotated.map_err(|error| match error {
        RefreshError::InvalidGrant(reason) => {
            tracing::info!(client = %client.id, reason, "Refused a refresh token");
            invalid(
                ErrorCode::InvalidGrant,
                "The refresh token is not valid. Start the sign-in again.",
            )
        }
        RefreshError::InvalidScope(_) | RefreshError::ScopeExceeded => {
            invalid(ErrorCode::InvalidScope, sentence(&error))
        }
        RefreshError::InvalidTarget(_) => invalid(ErrorCode::InvalidTarget, sentence(&error)),
        RefreshError::TooOften(wait) => ApiError::too_many_requests(wait),
        RefreshError::PolicyUnknown => unavailable(),
        RefreshError::Unavailable(failure) => {
            tracing::error!(
                dependency = failure.dependency(), error = ?failure,
                "Could not exchange a refresh token; the client may retry"
            );
            unavailable()
        }
    })
}
