//! What the token and the revocation endpoint have in common: they read a form and authenticate the
//! client that sent it.

use std::time::Duration;

use app::App;
use oauth::{
    client::{self, Client, ClientError},
    limits,
};
use poem::Request;
use poem_openapi::payload::Payload;

use super::{
    credentials::Presented,
    deferred_body::DeferredBody,
    error::{OAuthError, OAuthErrors},
    form::Form,
};
use crate::http::{body::bounds::Bounds, rate_limit, request_info::log_context};

/// Parameters are short: the longest meaningful one is a resource.
const BODY: Bounds = Bounds { bytes: 16 * 1024, time: Duration::from_secs(10) };

/// A request whose form has been read.
pub(super) struct FormRequest<'a> {
    pub(super) app: &'a App,
    pub(super) http: &'a Request,
    pub(super) form: Form,
    pub(super) errors: OAuthErrors<'a>,
}

impl<'a> FormRequest<'a> {
    /// Reads the body and parses it.
    pub(super) async fn read<P: Payload>(
        app: &'a App,
        http: &'a Request,
        body: DeferredBody<P>,
        errors: OAuthErrors<'a>,
    ) -> Result<Self, OAuthError> {
        let body = body.read(http, BODY).await.map_err(|error| errors.api(&error))?;
        let form = Form::parse(http.original_uri(), http.headers(), &body)
            .map_err(|error| errors.form(error))?;
        Ok(Self { app, http, form, errors })
    }

    /// The value of a required parameter.
    pub(super) fn required(&self, name: &str) -> Result<&str, OAuthError> {
        let missing = || self.errors.invalid_request(format!("{name} is required."));
        self.form.get(name).ok_or_else(missing)
    }

    /// The client credentials in the request, not yet verified.
    pub(super) fn presented(&self) -> Result<Presented, OAuthError> {
        Presented::of(self.http.headers(), &self.form)
            .map_err(|error| self.errors.credentials(error))
    }

    /// Verifies the credentials of a client.
    pub(super) async fn authenticate(&self, presented: &Presented) -> Result<Client, OAuthError> {
        client::introduce(self.app.oauth(), &presented.id, &log_context(self.http));
        let invalid_client = || self.errors.invalid_client(presented.by_header);
        let client = match client::find_snapshot(self.app.oauth(), &presented.id).await {
            Ok(client) => client,
            Err(ClientError::Unavailable) => return Err(self.errors.unavailable()),
            Err(_no_such_client) => return Err(invalid_client()),
        };
        client::authenticate(&client, presented.credentials())
            .map_err(|_bad_credentials| invalid_client())?;
        Ok(client)
    }

    /// Counts a failed request against its network. Call it only after the failure: a valid request
    /// is never refused because of guesses from the same network.
    pub(super) async fn count_failure(&self) -> Result<(), OAuthError> {
        let network = rate_limit::network(self.app, self.http);
        rate_limit::take(self.app, &limits::TOKEN_FAILURES, &network)
            .await
            .map_err(|error| self.errors.api(&error))
    }
}
