//! `POST /token`

use app::App;
use oauth::{
    client::Client,
    client_credentials,
    code::{self, RedeemError, Redemption},
    dpop::{ProvenKey, Thumbprint},
    grant::TokenSet,
    id_jag,
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
    dpop,
    error::{
        ErrorCode, OAuthErrorResponse, invalid, invalid_request, respond, sentence, unavailable,
    },
    form_request::FormRequest,
    machine,
};
use crate::{
    http::{error::ApiError, request_id::RequestId, request_info::request_info},
    instance::Instance,
};

/// The token endpoint: exchanges authorization codes, refresh tokens and assertions for tokens, and
/// issues tokens for client credentials.
#[derive(Clone)]
pub(crate) struct Token {
    app: App,
}

#[derive(Clone, Copy)]
enum Grant {
    Code,
    RefreshToken,
    ClientCredentials,
    IdentityAssertion,
}

impl Grant {
    /// Returns the grant of this type. `None`: it is not supported, or not turned on.
    fn of_type(grant_type: &str, oauth: &oauth::Server) -> Option<Self> {
        match grant_type {
            "authorization_code" => Some(Self::Code),
            "refresh_token" => Some(Self::RefreshToken),
            client_credentials::GRANT_TYPE if oauth.settings().client_credentials => {
                Some(Self::ClientCredentials)
            }
            id_jag::GRANT_TYPE if oauth.accepts_id_jags() => Some(Self::IdentityAssertion),
            _ => None,
        }
    }
}

/// Returns the supported grant types.
pub(super) fn grant_types(oauth: &oauth::Server) -> Vec<&'static str> {
    let mut all = vec!["authorization_code", "refresh_token"];
    all.extend(oauth.settings().client_credentials.then_some(client_credentials::GRANT_TYPE));
    all.extend(oauth.accepts_id_jags().then_some(id_jag::GRANT_TYPE));
    all
}

/// A token request.
#[derive(Object)]
struct TokenParameters {
    /// One of `grant_types_supported` in the metadata: `authorization_code`, `refresh_token`, and, if
    /// turned on, `client_credentials` or `urn:ietf:params:oauth:grant-type:jwt-bearer`.
    grant_type: String,
    /// The client. May be omitted if it is in the `Authorization` header or in `client_assertion`.
    client_id: Option<String>,
    /// The client's secret, if it has one and does not send it in the header.
    client_secret: Option<String>,
    /// The assertion of a client that authenticates with a key (RFC 7523).
    client_assertion: Option<String>,
    /// With `client_assertion`: `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    client_assertion_type: Option<String>,
    /// The identity assertion (ID-JAG) of the user's identity provider.
    assertion: Option<String>,
    /// The authorization code.
    code: Option<String>,
    /// The PKCE code verifier.
    code_verifier: Option<String>,
    /// Where the code was sent. May be omitted; if present, it must match.
    redirect_uri: Option<String>,
    /// The refresh token.
    refresh_token: Option<String>,
    /// Except with a code: fewer scopes than were granted, or than the client may have. Unknown names are
    /// ignored.
    scope: Option<String>,
    /// What the tokens are for. May be omitted; there is one resource.
    resource: Option<String>,
}

/// New tokens.
#[derive(Object)]
struct Tokens {
    /// For the `Authorization` header of requests to the MCP endpoint.
    access_token: String,
    /// `DPoP` if the tokens are bound to the key of the proof in the request, otherwise `Bearer`.
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
        /// A new nonce for the DPoP proofs of the client, if that of the request is ageing.
        #[oai(header = "DPoP-Nonce")]
        Option<String>,
    ),
}

#[OpenApi(tag = "Tag::SignIn")]
impl Token {
    /// Exchange a code, a refresh token, credentials or an assertion for tokens
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
        Some(client_credentials::GRANT_TYPE) => "client_credentials",
        Some(id_jag::GRANT_TYPE) => "jwt_bearer",
        Some(_) => "other",
    }
}

/// Handles a token request.
async fn exchange(request: &FormRequest<'_>) -> Result<TokenResponse, ApiError> {
    let oauth = request.app.oauth();
    let grant = Grant::of_type(request.required("grant_type")?, oauth);
    let grant = grant.ok_or_else(|| {
        let description = format!("grant_type must be {}.", grant_types(oauth).join(" or "));
        invalid(ErrorCode::UnsupportedGrantType, description)
    })?;
    // First: a client whose proof needs a nonce repeats the request, perhaps with the same assertion,
    // which is used up by the authentication.
    let proven = dpop::proven_key(request).await?;
    let client = request.authenticate(&request.presented()?).await?;
    dpop::require_proof(&client, proven.as_ref())?;
    let (dpop_key, next_nonce) = match proven {
        Some(ProvenKey { key, next_nonce }) => (Some(key), next_nonce),
        None => (None, None),
    };
    let tokens = match grant {
        Grant::Code => redeem(request, &client, dpop_key).await?,
        Grant::RefreshToken => refresh(request, &client, dpop_key).await?,
        Grant::ClientCredentials => machine::client_credentials(request, &client, dpop_key).await?,
        Grant::IdentityAssertion => machine::identity_assertion(request, &client, dpop_key).await?,
    };
    let tokens = Tokens {
        access_token: tokens.access_token.expose().to_owned(),
        token_type: if tokens.dpop_key.is_some() { "DPoP" } else { "Bearer" }.to_owned(),
        expires_in: tokens.expires_in.as_secs(),
        refresh_token: tokens.refresh_token.map(|token| token.expose().to_owned()),
        scope: tokens.scope.to_string(),
    };
    Ok(TokenResponse::Issued(Json(tokens), "no-store".to_owned(), next_nonce))
}

/// Exchanges an authorization code.
async fn redeem(
    request: &FormRequest<'_>,
    client: &Client,
    dpop_key: Option<Thumbprint>,
) -> Result<TokenSet, ApiError> {
    let redemption = Redemption {
        code: request.required("code")?,
        verifier: request.required("code_verifier")?,
        redirect_uri: request.form.get("redirect_uri"),
        resource: &request.form.resources(),
        dpop_key,
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
        RedeemError::ProofMissing => dpop::bound_without_proof(request),
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
async fn refresh(
    request: &FormRequest<'_>,
    client: &Client,
    dpop_key: Option<Thumbprint>,
) -> Result<TokenSet, ApiError> {
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
        dpop_key,
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
        RefreshError::ProofMissing => dpop::bound_without_proof(request),
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
