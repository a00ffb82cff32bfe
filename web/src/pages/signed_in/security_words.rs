//! Security events in words.

use oauth::security::{DisconnectedBy, SecurityEvent, What};
use platform::counted;

use crate::pages::words;

/// An event as text.
pub(super) struct ShownEvent {
    /// What happened.
    pub(super) title: String,
    /// What it can mean, and what to do. Empty for ordinary events.
    pub(super) advice: &'static str,
    pub(super) at: String,
    /// The time for programs (`datetime`).
    pub(super) at_iso: String,
    /// The network that the request came from. `None`: no request caused it.
    pub(super) network: Option<String>,
    /// Whether the user should check it.
    pub(super) is_alarming: bool,
}

/// Describes an event.
pub(super) fn describe(event: &SecurityEvent) -> ShownEvent {
    let (title, advice) = text(event);
    ShownEvent {
        title,
        advice,
        at: words::time(event.at),
        at_iso: event.at.to_rfc3339(),
        network: event.network.clone(),
        is_alarming: !advice.is_empty(),
    }
}

fn text(event: &SecurityEvent) -> (String, &'static str) {
    let app = match event.app.as_ref().map(|app| &app.name) {
        Some(Some(name)) => format!("“{name}”"),
        Some(None) => "an app that is no longer known".to_owned(),
        None => "an app".to_owned(),
    };
    let apps = |count: u64| if count == 1 { app.clone() } else { counted(count, "app", "apps") };
    let ordinary = |title: String| (title, "");
    match event.what {
        What::SignedIn if event.app.is_some() => {
            ordinary(format!("You signed in to connect {app}"))
        }
        What::SignedIn => ordinary("You signed in to your account page".to_owned()),
        What::SignInRefused => (
            "A sign-in was refused".to_owned(),
            "This server did not admit the account at that time.",
        ),
        What::LoginRecycled => (
            "A sign-in was refused, because the name belongs to another account".to_owned(),
            "The sign-in had an account name that was used here before with another account. Ask the \
             operator of this server if you did not expect this.",
        ),
        What::Connected => ordinary(format!("You connected {app}")),
        What::ConnectedByProvider => ordinary(format!(
            "{} was connected through {}, as your organization decided",
            capital(&app),
            event.through.as_deref().unwrap_or("your identity provider"),
        )),
        What::AssertionReplayed => (
            format!("{} sent an assertion of your identity provider twice", capital(&app)),
            "A faulty app can cause this. So can someone who has copied the assertion. The second one \
             was refused. Tell the administrator of your organization if it happens again.",
        ),
        What::ConnectedWithKey => ordinary(format!(
            "You connected {app}, whose access is bound to a key that only the app has"
        )),
        What::BoundToKey => (
            format!("The access of {app} was bound to a key that only the app has"),
            "Apps do this to protect their access. If the app stopped working at that time, someone \
             may have copied its access: disconnect it, and connect it again.",
        ),
        What::Disconnected(by, count) => ordinary(match by {
            DisconnectedBy::User => format!("You disconnected {}", apps(count)),
            DisconnectedBy::App => disconnected_itself(&apps(count), count),
            DisconnectedBy::Publisher => {
                format!("The publisher of {} withdrew it, which disconnected it", apps(count))
            }
            DisconnectedBy::Operator => {
                format!("The operator of this server disconnected {}", apps(count))
            }
        }),
        What::CodeGuessed => (
            format!("A sign-in with {app} was stopped, because the proof of the app was wrong"),
            "A faulty app can cause this. So can someone who has copied the address to which you \
             returned after the sign-in. Nothing was connected.",
        ),
        What::CodeReplayed => (
            format!("{} was disconnected, because a sign-in code was used twice", capital(&app)),
            "A faulty app can cause this. So can someone who has copied the code. Connect the app \
             again only if you trust it and your device.",
        ),
        What::RefreshReplayed => (
            format!("{} was disconnected, because an old token was used again", capital(&app)),
            "An app that was restored from a backup can cause this. So can someone who has copied its \
             files. Connect the app again only if you trust it and your device.",
        ),
        What::PolicyDenied => (
            "All access of your account ended".to_owned(),
            "This server did not admit your account any more at that time. Its operator can say why.",
        ),
        What::Blocked => (
            "The operator of this server blocked your account".to_owned(),
            "All access ended. Its operator can say why.",
        ),
        What::Unblocked => {
            ordinary("The operator of this server unblocked your account".to_owned())
        }
        What::AccountDeleted => ordinary("You deleted your account".to_owned()),
    }
}

fn disconnected_itself(apps: &str, count: u64) -> String {
    let itself = if count == 1 { "itself" } else { "themselves" };
    format!("{} disconnected {itself}", capital(apps))
}

/// The text with a capital letter at the beginning of a sentence.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use oauth::{display_name::DisplayName, security::App};

    use super::*;

    #[expect(clippy::option_option, reason = "no app, or one whose name may be unknown")]
    fn title(what: What, app: Option<Option<&str>>) -> String {
        let app = app.map(|name| App { name: name.map(DisplayName::sanitize) });
        let through = Some("Acme".to_owned());
        describe(&SecurityEvent { at: DateTime::UNIX_EPOCH, what, app, through, network: None })
            .title
    }

    #[test]
    fn an_event_names_its_app() {
        let disconnected = |by, count| What::Disconnected(by, count);
        for (what, app, expected) in [
            (What::SignedIn, None, "You signed in to your account page"),
            (What::SignedIn, Some(Some("Editor")), "You signed in to connect “Editor”"),
            (What::Connected, Some(None), "You connected an app that is no longer known"),
            (
                What::ConnectedByProvider,
                Some(Some("Editor")),
                "“Editor” was connected through Acme, as your organization decided",
            ),
            (
                What::ConnectedWithKey,
                Some(Some("Editor")),
                "You connected “Editor”, whose access is bound to a key that only the app has",
            ),
            (
                What::BoundToKey,
                Some(Some("Editor")),
                "The access of “Editor” was bound to a key that only the app has",
            ),
            (disconnected(DisconnectedBy::User, 1), Some(Some("A")), "You disconnected “A”"),
            (disconnected(DisconnectedBy::User, 3), None, "You disconnected 3 apps"),
            (disconnected(DisconnectedBy::App, 1), Some(Some("A")), "“A” disconnected itself"),
            (
                What::RefreshReplayed,
                Some(None),
                "An app that is no longer known was disconnected, because an old token was used \
                 again",
            ),
        ] {
            assert_eq!(title(what, app), expected);
        }
    }
}
