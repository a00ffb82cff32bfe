//! `POST /revoke`

use app::App;
use oauth::revoke::{self, RevokeError};
use poem::{Request, web::Data};
use poem_openapi::{ApiResponse, Object, OpenApi, payload::Form as FormPayload};

use super::{
    Tag,
    deferred_body::DeferredBody,
    error::{ErrorCode, OAuthErrorResponse, invalid, respond, sentence, unavailable},
    form_request::FormRequest,
};
use crate::{
    http::{error::ApiError, request_id::RequestId, request_info::request_info},
    instance::Instance,
};

/// The revocation endpoint (RFC 7009).
#[derive(Clone)]
pub(crate) struct Revoke {
    app: App,
}

/// A revocation request.
#[derive(Object)]
struct RevokeParameters {
    /// An access token or a refresh token.
    token: String,
    /// Ignored: the kind of a token is visible in the token.
    token_type_hint: Option<String>,
    /// The client. May be omitted if it is in the `Authorization` header.
    client_id: Option<String>,
    /// The client's secret, if it has one and does not send it in the header.
    client_secret: Option<String>,
}

#[derive(ApiResponse)]
enum RevokeResponse {
    /// The token is not valid any more, or never was.
    #[oai(status = 200)]
    Revoked,
}

#[OpenApi(tag = "Tag::SignIn")]
impl Revoke {
    /// Revoke a token
    ///
    /// RFC 7009. Revokes everything from the same sign-in: access tokens and refresh tokens. Its
    /// open streams are closed.
    #[oai(path = "/revoke", method = "post", operation_id = "revoke")]
    async fn revoke(
        &self,
        id: Data<&RequestId>,
        request: &Request,
        body: DeferredBody<FormPayload<RevokeParameters>>,
    ) -> Result<RevokeResponse, OAuthErrorResponse> {
        let response = self.revoke_token(request, body).await;
        respond("/revoke", "none", &id, response)
    }
}

impl Revoke {
    /// The endpoint of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { app: instance.app.clone() }
    }

    async fn revoke_token(
        &self,
        request: &Request,
        body: DeferredBody<FormPayload<RevokeParameters>>,
    ) -> Result<RevokeResponse, ApiError> {
        let request = FormRequest::read(&self.app, request, body).await?;
        let presented = request.presented()?;
        let client = request.finish(request.authenticate(&presented).await).await?;
        let token = request.required("token")?;
        let info = request_info(&self.app, request.http);
        match revoke::token(self.app.oauth(), &client, token, &info).await {
            Ok(()) => {
                // An unknown token may be a guess.
                if info.log_context.user().is_none() {
                    request.count_failure().await?;
                }
                Ok(RevokeResponse::Revoked)
            }
            Err(error @ RevokeError::OtherClient) => {
                Err(invalid(ErrorCode::UnauthorizedClient, sentence(&error)))
            }
            Err(RevokeError::Unavailable(failure)) => {
                tracing::error!(
                    dependency = failure.dependency(), error = ?failure,
                    "Could not revoke a token; the client may retry"
                );
                Err(unavailable())
            }
        }
    }
}
