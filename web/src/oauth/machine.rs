//! Token requests without a user at a browser: client credentials, and identity assertions of an
//! enterprise's identity provider.

use oauth::{
    client::Client,
    client_credentials::{self, ClientCredentialsError},
    dpop::Thumbprint,
    grant::TokenSet,
    id_jag::{self, IdJagError},
};

use super::{
    error::{ErrorCode, invalid, sentence, unavailable},
    form_request::FormRequest,
};
use crate::http::{error::ApiError, request_info::request_info};

/// Issues a token for the account of a service client.
pub(super) async fn client_credentials(
    request: &FormRequest<'_>,
    client: &Client,
    dpop_key: Option<Thumbprint>,
) -> Result<TokenSet, ApiError> {
    let token = client_credentials::TokenRequest {
        scope: request.form.get("scope"),
        resource: &request.form.resources(),
        dpop_key,
        request: request_info(request.app, request.http),
    };
    let issued = client_credentials::issue(request.app.oauth(), client, token).await;
    issued.map_err(|error| match error {
        ClientCredentialsError::UnauthorizedClient => {
            invalid(ErrorCode::UnauthorizedClient, sentence(&error))
        }
        ClientCredentialsError::MalformedScope(_) | ClientCredentialsError::ScopeExceeded(_) => {
            invalid(ErrorCode::InvalidScope, sentence(&error))
        }
        ClientCredentialsError::InvalidTarget(_) => {
            invalid(ErrorCode::InvalidTarget, sentence(&error))
        }
        ClientCredentialsError::Ended => {
            tracing::info!(client = %client.id, %error, "Refused client credentials");
            invalid(ErrorCode::InvalidGrant, sentence(&error))
        }
        ClientCredentialsError::Unavailable(failure) => {
            tracing::error!(
                dependency = failure.dependency(), error = ?failure,
                "Could not issue a token for client credentials; the client may retry"
            );
            unavailable()
        }
    })
}

/// Exchanges an identity assertion.
pub(super) async fn identity_assertion(
    request: &FormRequest<'_>,
    client: &Client,
    dpop_key: Option<Thumbprint>,
) -> Result<TokenSet, ApiError> {
    let token = id_jag::TokenRequest {
        assertion: request.required("assertion")?,
        scope: request.form.get("scope"),
        resource: &request.form.resources(),
        dpop_key,
        request: request_info(request.app, request.http),
    };
    let exchanged = id_jag::exchange(request.app.oauth(), client, token).await;
    exchanged.map_err(|error| {
        let code = match &error {
            IdJagError::UnauthorizedClient => ErrorCode::UnauthorizedClient,
            IdJagError::InvalidGrant(_) | IdJagError::Refused(_) | IdJagError::Undecidable(_) => {
                tracing::info!(client = %client.id, %error, "Refused an identity assertion");
                ErrorCode::InvalidGrant
            }
            IdJagError::MalformedScope(_) | IdJagError::NoScope => ErrorCode::InvalidScope,
            IdJagError::InvalidTarget(_) => ErrorCode::InvalidTarget,
            IdJagError::TooOften(wait) => return ApiError::too_many_requests(*wait),
            IdJagError::Unavailable => return unavailable(),
        };
        invalid(code, sentence(&error))
    })
}
