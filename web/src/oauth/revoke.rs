//! `POST /revoke`

use poem::{Request, web::Data};
use poem_openapi::{ApiResponse, Object, OpenApi, payload::Form as FormPayload};
use service::{
    Service,
    oauth::{
        limits,
        revoke::{self, RevokeError},
    },
};

use super::{
    Tag,
    answer::{Fail, Failed, counted, sentence},
    credentials::Presented,
    form::Form,
    token::{BODY, authenticated},
    unread::Unread,
};
use crate::{
    http::{error::ApiError, rate_limit, request_id::RequestId, request_info::request_info},
    instance::Instance,
};

/// Where a client gives a token back (RFC 7009).
#[derive(Clone)]
pub(crate) struct Revoke {
    service: Service,
}

/// What a client gives back.
#[derive(Object)]
struct RevokeParameters {
    /// An access token or a refresh token.
    token: String,
    /// Not needed: a token shows what it is.
    token_type_hint: Option<String>,
    /// The client. May be left out if it is in the `Authorization` header.
    client_id: Option<String>,
    /// The client's secret, if it has one and does not send it in the header.
    client_secret: Option<String>,
}

#[derive(ApiResponse)]
enum Answer {
    /// The token is worth nothing any more, or never was.
    #[oai(status = 200)]
    Revoked,
}

#[OpenApi(tag = "Tag::SignIn")]
impl Revoke {
    /// Give a token back
    ///
    /// RFC 7009. Ends everything that came from the same sign-in: the access tokens, the refresh
    /// tokens, and open streams.
    #[oai(path = "/revoke", method = "post", operation_id = "revoke")]
    async fn revoke(
        &self,
        id: Data<&RequestId>,
        request: &Request,
        body: Unread<FormPayload<RevokeParameters>>,
    ) -> Result<Answer, Failed> {
        let answer = self.answer(&id, request, body).await;
        counted("/revoke", "none", answer)
    }
}

impl Revoke {
    /// The endpoint of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { service: instance.service.clone() }
    }

    async fn answer(
        &self,
        id: &RequestId,
        request: &Request,
        body: Unread<FormPayload<RevokeParameters>>,
    ) -> Result<Answer, Failed> {
        let fail = Fail(id);
        let refused = |refusal: ApiError| fail.refusal(&refusal);
        let network = rate_limit::network(&self.service, request);
        let body = body.read(request, BODY).await.map_err(refused)?;
        let form = Form::parse(request.original_uri(), request.headers(), &body)
            .map_err(|error| fail.form(error))?;
        let presented =
            Presented::of(request.headers(), &form).map_err(|error| fail.credentials(error))?;
        let count_guess = || async {
            rate_limit::take(&self.service, &limits::TOKEN_FAILURES, &network)
                .await
                .map_err(refused)
        };
        let client = authenticated(&self.service, &presented, request, fail).await;
        if let Err(Failed::Client(..)) = client {
            count_guess().await?;
        }
        let client = client?;
        let token = form.get("token").ok_or_else(|| fail.request("token is required."))?;
        let info = request_info(&self.service, request);
        match revoke::token(&self.service, &client, token, &info).await {
            Ok(()) => {
                if info.parties.user().is_none() {
                    // No token of anybody.
                    count_guess().await?;
                }
                Ok(Answer::Revoked)
            }
            Err(error @ RevokeError::OtherClient) => {
                Err(fail.invalid("unauthorized_client", sentence(&error)))
            }
            Err(RevokeError::Unavailable(failure)) => {
                tracing::error!(
                    dependency = failure.dependency(), error = ?failure,
                    "A token could not be revoked: {failure}"
                );
                Err(fail.unavailable())
            }
        }
    }
}
