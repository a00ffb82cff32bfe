//! `POST /token`

use std::time::Duration;

use poem::{Request, web::Data};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    payload::{Form as FormPayload, Json},
};
use service::{
    Service,
    oauth::{
        client::{self, Client, ClientError},
        code::{self, RedeemError, Redemption},
        grant::TokenSet,
        limits,
        refresh::{self, RefreshError, Rotation},
    },
};

use super::{
    Tag,
    answer::{Fail, Failed, counted, sentence},
    credentials::Presented,
    form::Form,
    unread::Unread,
};
use crate::{
    http::{
        body::bounds::Bounds,
        error::ApiError,
        rate_limit,
        request_id::RequestId,
        request_info::{log_context, request_info},
    },
    instance::Instance,
};

/// Parameters are short: the longest one that means anything is a resource.
pub(super) const BODY: Bounds = Bounds { bytes: 16 * 1024, time: Duration::from_secs(10) };

/// Where a client exchanges a code, or a refresh token, for tokens.
#[derive(Clone)]
pub(crate) struct Token {
    service: Service,
}

/// What a client can exchange.
#[derive(Clone, Copy)]
enum Grant {
    Code,
    RefreshToken,
}

/// What a client presents.
#[derive(Object)]
struct TokenParameters {
    /// `authorization_code` or `refresh_token`.
    grant_type: String,
    /// The client. May be left out if it is in the `Authorization` header.
    client_id: Option<String>,
    /// The client's secret, if it has one and does not send it in the header.
    client_secret: Option<String>,
    /// The code.
    code: Option<String>,
    /// What the code's challenge was made of.
    code_verifier: Option<String>,
    /// Where the code was sent. May be left out; if it is there, it has to be right.
    redirect_uri: Option<String>,
    /// The refresh token.
    refresh_token: Option<String>,
    /// For a refresh: fewer scopes than were granted. Unknown names are ignored.
    scope: Option<String>,
    /// What the tokens are for. May be left out; there is one resource.
    resource: Option<String>,
}

/// New tokens.
#[derive(Object)]
struct Tokens {
    /// For the `Authorization` header of requests to the MCP endpoint.
    access_token: String,
    /// Always `Bearer`.
    token_type: String,
    /// How long the access token is good for, in seconds.
    expires_in: u64,
    /// For the next tokens. It takes the place of the one that was presented.
    #[oai(skip_serializing_if_is_none)]
    refresh_token: Option<String>,
    /// What the access token may do.
    scope: String,
}

#[derive(ApiResponse)]
enum Answer {
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
    /// answer was lost or another of its processes was faster, gets the same successor.
    #[oai(path = "/token", method = "post", operation_id = "token")]
    async fn token(
        &self,
        id: Data<&RequestId>,
        request: &Request,
        body: Unread<FormPayload<TokenParameters>>,
    ) -> Result<Answer, Failed> {
        let mut grant_type = "none";
        let answer = self.answer(&id, request, body, &mut grant_type).await;
        counted("/token", grant_type, answer)
    }
}

impl Token {
    /// The endpoint of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { service: instance.service.clone() }
    }

    async fn answer(
        &self,
        id: &RequestId,
        request: &Request,
        body: Unread<FormPayload<TokenParameters>>,
        grant_type: &mut &'static str,
    ) -> Result<Answer, Failed> {
        let fail = Fail(id);
        let network = rate_limit::network(&self.service, request);
        let refused = |refusal: ApiError| fail.refusal(&refusal);
        let body = body.read(request, BODY).await.map_err(refused)?;
        let form = Form::parse(request.original_uri(), request.headers(), &body)
            .map_err(|error| fail.form(error))?;
        *grant_type = match form.get("grant_type") {
            None => "none",
            Some("authorization_code") => "authorization_code",
            Some("refresh_token") => "refresh_token",
            Some(_) => "other",
        };
        let answer = self.exchange(request, &form, fail).await;
        if answer.as_ref().is_err_and(is_a_guess) {
            // Only now: what is valid never waits behind guesses of the same network.
            rate_limit::take(&self.service, &limits::TOKEN_FAILURES, &network)
                .await
                .map_err(refused)?;
        }
        let tokens = answer?;
        Ok(Answer::Issued(Json(tokens), "no-store".to_owned()))
    }

    async fn exchange(
        &self,
        request: &Request,
        form: &Form,
        fail: Fail<'_>,
    ) -> Result<Tokens, Failed> {
        let grant = match form.get("grant_type") {
            Some("authorization_code") => Grant::Code,
            Some("refresh_token") => Grant::RefreshToken,
            Some(_) => {
                return Err(fail.invalid(
                    "unsupported_grant_type",
                    "grant_type must be authorization_code or refresh_token.",
                ));
            }
            None => return Err(fail.request("grant_type is required.")),
        };
        let presented =
            Presented::of(request.headers(), form).map_err(|error| fail.credentials(error))?;
        let client = authenticated(&self.service, &presented, request, fail).await?;
        let tokens = match grant {
            Grant::Code => self.redeem(request, &client, form, fail).await?,
            Grant::RefreshToken => self.rotate(request, &client, form, fail).await?,
        };
        Ok(Tokens {
            access_token: tokens.access_token.expose().to_owned(),
            token_type: "Bearer".to_owned(),
            expires_in: tokens.expires_in.as_secs(),
            refresh_token: tokens.refresh_token.map(|it| it.expose().to_owned()),
            scope: tokens.scope.to_string(),
        })
    }

    async fn redeem(
        &self,
        request: &Request,
        client: &Client,
        form: &Form,
        fail: Fail<'_>,
    ) -> Result<TokenSet, Failed> {
        let required = |name: &str| {
            let value = form.get(name);
            value.ok_or_else(|| fail.request(format!("{name} is required.")))
        };
        let redemption = Redemption {
            code: required("code")?,
            verifier: required("code_verifier")?,
            redirect_uri: form.get("redirect_uri"),
            resource: &form.resources(),
            request: request_info(&self.service, request),
        };
        let redeemed = code::redeem(&self.service, client, redemption).await;
        redeemed.map_err(|error| match error {
            RedeemError::InvalidRequest(_) => fail.request(sentence(&error)),
            RedeemError::InvalidGrant(why) => {
                tracing::info!(client = %client.id, "A code is refused: {why}");
                fail.invalid(
                    "invalid_grant",
                    "The code is not valid for this request. Start the sign-in again.",
                )
            }
            RedeemError::InvalidTarget(_) => fail.invalid("invalid_target", sentence(&error)),
            RedeemError::Unavailable(failure) => {
                tracing::error!(
                    dependency = failure.dependency(), error = ?failure,
                    "A code could not be redeemed: {failure}"
                );
                fail.unavailable()
            }
        })
    }

    async fn rotate(
        &self,
        request: &Request,
        client: &Client,
        form: &Form,
        fail: Fail<'_>,
    ) -> Result<TokenSet, Failed> {
        if !client.may_refresh {
            return Err(fail.invalid(
                "unauthorized_client",
                "The client did not register for refresh tokens.",
            ));
        }
        let token =
            form.get("refresh_token").ok_or_else(|| fail.request("refresh_token is required."))?;
        let rotation = Rotation {
            token,
            scope: form.get("scope"),
            resource: &form.resources(),
            request: request_info(&self.service, request),
        };
        let rotated = refresh::rotate(&self.service, client, rotation).await;
        rotated.map_err(|error| match error {
            RefreshError::InvalidGrant(why) => {
                tracing::info!(client = %client.id, "A refresh token is refused: {why}");
                fail.invalid(
                    "invalid_grant",
                    "The refresh token is not valid. Start the sign-in again.",
                )
            }
            RefreshError::InvalidScope(_) | RefreshError::ScopeExceeded => {
                fail.invalid("invalid_scope", sentence(&error))
            }
            RefreshError::InvalidTarget(_) => fail.invalid("invalid_target", sentence(&error)),
            RefreshError::TooOften(wait) => fail.refusal(&ApiError::TooManyRequests(wait)),
            RefreshError::GateUnknown => fail.unavailable(),
            RefreshError::Unavailable(failure) => {
                tracing::error!(
                    dependency = failure.dependency(), error = ?failure,
                    "A token could not be refreshed: {failure}"
                );
                fail.unavailable()
            }
        })
    }
}

/// The client that sends a request, once it has proved that.
pub(super) async fn authenticated(
    service: &Service,
    presented: &Presented,
    request: &Request,
    fail: Fail<'_>,
) -> Result<Client, Failed> {
    client::introduce(service, &presented.id, &log_context(request));
    let challenge = presented.by_header;
    let client = match client::find_snapshot(service, &presented.id).await {
        Ok(client) => client,
        Err(ClientError::Unavailable) => return Err(fail.unavailable()),
        Err(_no_such_client) => return Err(fail.client(challenge)),
    };
    client::authenticate(&client, presented.credentials())
        .map_err(|_bad_credentials| fail.client(challenge))?;
    Ok(client)
}

/// Whether somebody may be trying secrets.
fn is_a_guess(failed: &Failed) -> bool {
    match failed {
        Failed::Client(..) => true,
        Failed::Invalid(body) => body.error == "invalid_grant",
        _ => false,
    }
}
