//! The development sign-in: users enter any name, which is not verified. It exists only while the
//! server is unreachable from other machines, and no setting can change that.

use std::sync::Arc;

use async_trait::async_trait;

use super::provider::{
    CallbackResult, Deadline, Destination, Identity, IdentityProvider, InvalidCallback,
    ProviderError, Texts,
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

/// Returns the development sign-in if it is safe.
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
            home: format!("you say whose {things} it may see"),
            consent: format!(
                "After “Approve” you say whose {things} these are. This server runs on your own \
                 computer, without real sign-in."
            ),
            button: "Sign in".to_owned(),
            banner: "you type a name, no password: set GITHUB_CLIENT_ID for the real one"
                .to_owned(),
        }
    }

    fn who_may_sign_in(&self) -> String {
        "everybody on this machine, by the development sign-in".to_owned()
    }

    fn start(&self, _state: &str, _verifier: &Verifier) -> Destination {
        Destination::NamePage
    }

    fn read_callback(
        &self,
        parameters: &[(String, String)],
    ) -> Result<CallbackResult, InvalidCallback> {
        let (_, name) =
            parameters.iter().find(|(key, _)| key == NAME).ok_or(InvalidCallback::Malformed)?;
        parse_name(name).map(CallbackResult::Code).ok_or(InvalidCallback::Name)
    }

    async fn finish(
        &self,
        name: &str,
        _verifier: &str,
        _deadline: Deadline,
    ) -> Result<Identity, ProviderError> {
        Ok(Identity { subject: name.to_owned(), login: name.to_owned(), name: None, token: None })
    }

    async fn check(&self) -> anyhow::Result<String> {
        Ok("no identity provider is configured: development sign-in".to_owned())
    }
}

fn parse_name(text: &str) -> Option<String> {
    let name = text.trim().to_ascii_lowercase();
    let plain = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it));
    plain.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_development_is_plain() {
        for (text, name) in [("ada", "ada"), (" Ada ", "ada"), ("a.b-c_9", "a.b-c_9")] {
            assert_eq!(parse_name(text).as_deref(), Some(name));
        }
        let long = "a".repeat(40);
        for bad in ["", "  ", "a b", "github:1", "ä", "a\0", "<b>", &long] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
    }
}
