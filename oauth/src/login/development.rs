//! The development sign-in: users enter any name, which is not verified. It exists only while the
//! server is unreachable from other machines, and no setting can change that.

use std::sync::Arc;

use async_trait::async_trait;

use super::provider::{
    Attributes, CallbackResult, CodeExchange, Deadline, Destination, Identity, IdentityProvider,
    InvalidCallback, ProviderError, Texts,
};
use super::settings::ProviderSettings;
use crate::pkce::Verifier;

/// The parameter that contains the name.
pub(super) const NAME: &str = "name";

/// The maximum length of a name, in bytes.
const MAX_NAME: usize = 39;

/// The development sign-in.
#[derive(Clone, Copy, Debug)]
pub struct Development;

/// Returns the development sign-in if only this machine can reach the server.
pub(super) fn configured(settings: &ProviderSettings) -> Option<Arc<dyn IdentityProvider>> {
    settings.is_private.then(|| Arc::new(Development) as _)
}

#[async_trait]
impl IdentityProvider for Development {
    fn id(&self) -> &'static str {
        "dev"
    }

    fn label(&self) -> &'static str {
        "the development sign-in"
    }

    fn callback_path(&self) -> Option<&'static str> {
        None
    }

    fn texts(&self, things: &str) -> Texts {
        Texts {
            home: format!("you enter the name of the user whose {things} it gets"),
            consent: format!(
                "After “Approve” you enter the name of the user whose {things} the app gets. No \
                 password is needed, because only your own computer can reach this server."
            ),
            button: "Sign in".to_owned(),
            banner:
                "enter any name, without a password; docs/sign-in.md says how to sign in with an \
                 identity provider"
                    .to_owned(),
        }
    }

    fn who_may_sign_in(&self) -> String {
        "everyone on this machine (development sign-in)".to_owned()
    }

    async fn start(
        &self,
        _state: &str,
        _verifier: &Verifier,
        _deadline: Deadline,
    ) -> Result<Destination, ProviderError> {
        Ok(Destination::NamePage)
    }

    fn read_callback(
        &self,
        parameters: &[(String, String)],
    ) -> Result<CallbackResult, InvalidCallback> {
        let (_, name) =
            parameters.iter().find(|(key, _)| key == NAME).ok_or(InvalidCallback::Malformed)?;
        parse_name(name).map(CallbackResult::Code).ok_or(InvalidCallback::Name)
    }

    async fn finish(&self, exchange: CodeExchange<'_>) -> Result<Identity, ProviderError> {
        let name = exchange.code.to_owned();
        Ok(Identity {
            subject: name.clone(),
            listed_as: Some(name.clone()),
            login: name,
            name: None,
            attributes: Attributes::default(),
            token: None,
        })
    }

    async fn check(&self) -> anyhow::Result<String> {
        Ok("no identity provider is configured; users sign in with any name (development sign-in)"
            .to_owned())
    }
}

fn parse_name(text: &str) -> Option<String> {
    let name = text.trim().to_ascii_lowercase();
    let is_plain = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it));
    is_plain.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_validated() {
        for (text, name) in [("ada", "ada"), (" Ada ", "ada"), ("a.b-c_9", "a.b-c_9")] {
            assert_eq!(parse_name(text).as_deref(), Some(name));
        }
        let long = "a".repeat(40);
        for bad in ["", "  ", "a b", "github:1", "ä", "a\0", "<b>", &long] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
    }
}
