//! The common part of the token and the revocation endpoint: they read a form and authenticate the
//! client that sent it.

use std::time::Duration;

use app::App;
use oauth::{
    client::{self, Client, ClientError, Credentials},
    limits,
    service_client::{self, AuthenticationError},
};
use poem::Request;
use poem_openapi::payload::Payload;

use super::{
    credentials::Presented,
    deferred_body::DeferredBody,
    error::{
        ErrorCode, invalid, invalid_client, invalid_request, may_be_guess, sentence, unavailable,
    },
    form::Form,
};
use crate::http::{
    body::bounds::Bounds,
    error::ApiError,
    rate_limit,
    request_info::{log_context, request_info},
};

/// Parameters are short: the longest meaningful one is a resource.
const BODY: Bounds = Bounds { bytes: 16 * 1024, time: Duration::from_secs(10) };

/// A request whose form has been read.
pub(super) struct FormRequest<'a> {
    pub(super) app: &'a App,
    pub(super) http: &'a Request,
    pub(super) form: Form,
}

impl<'a> FormRequest<'a> {
    /// Reads the body and parses it.
    pub(super) async fn read<P: Payload>(
        app: &'a App,
        http: &'a Request,
        body: DeferredBody<P>,
    ) -> Result<Self, ApiError> {
        let body = body.read(http, BODY).await?;
        let form = Form::parse(http.original_uri(), http.headers(), &body)?;
        Ok(Self { app, http, form })
    }

    /// The value of a required parameter.
    pub(super) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.form.get(name).ok_or_else(|| invalid_request(format!("{name} is required.")))
    }

    /// The client credentials in the request, not yet verified.
    pub(super) fn presented(&self) -> Result<Presented, ApiError> {
        let headers = self.http.headers();
        Ok(if service_client::is_enabled(self.app.oauth()) {
            Presented::with_assertion(headers, &self.form)?
        } else {
            Presented::of(headers, &self.form)?
        })
    }

    /// Verifies the credentials of a client.
    pub(super) async fn authenticate(&self, presented: &Presented) -> Result<Client, ApiError> {
        client::add_to_log_context(self.app.oauth(), &presented.id, &log_context(self.http));
        let invalid_client = || invalid_client(presented.by_header);
        let is_assertion = matches!(presented.credentials(), Credentials::Assertion(_));
        if is_assertion || service_client::is_id(&presented.id) {
            return self.authenticate_service(presented).await;
        }
        let client = match client::find_snapshot(self.app.oauth(), &presented.id).await {
            Ok(client) => client,
            Err(ClientError::Unavailable) => return Err(unavailable()),
            Err(_no_such_client) => return Err(invalid_client()),
        };
        client::authenticate(&client, presented.credentials())
            .map_err(|_bad_credentials| invalid_client())?;
        Ok(client)
    }

    /// Verifies the credentials of a service client.
    async fn authenticate_service(&self, presented: &Presented) -> Result<Client, ApiError> {
        let oauth = self.app.oauth();
        if !service_client::is_enabled(oauth) {
            return Err(invalid_client(presented.by_header));
        }
        let info = request_info(self.app, self.http);
        let (id, credentials) = (&presented.id, presented.credentials());
        let authenticated = service_client::authenticate(oauth, id, credentials, &info).await;
        authenticated.map_err(|error| match error {
            AuthenticationError::Invalid(_) => invalid_client(presented.by_header),
            AuthenticationError::Assertion(_) => {
                invalid(ErrorCode::InvalidClient, sentence(&error))
            }
            AuthenticationError::TooOften(wait) => ApiError::too_many_requests(wait),
            AuthenticationError::Keys(_) | AuthenticationError::Unavailable => unavailable(),
        })
    }

    /// Returns `result`. If it is an error and the request may have been a guess, counts the
    /// request first, and returns the error of an exceeded limit instead.
    pub(super) async fn finish<T>(&self, result: Result<T, ApiError>) -> Result<T, ApiError> {
        if result.as_ref().is_err_and(may_be_guess) {
            self.count_failure().await?;
        }
        result
    }

    /// Counts a failed request against its network. Call it only after the failure: a valid request
    /// is never refused because of guesses from the same network.
    pub(super) async fn count_failure(&self) -> Result<(), ApiError> {
        let network = rate_limit::network(self.app, self.http);
        rate_limit::take(self.app, &limits::TOKEN_FAILURES, &network).await
    }
}
