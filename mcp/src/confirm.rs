//! Confirmation of a step that cannot be undone.
//!
//! A client with form elicitation shows the question to the user. Many clients have no elicitation,
//! and some that have it decline every question without showing it, for example when they run
//! without a terminal. For them the tool returns the question as text, with a token; the client
//! shows the question in the conversation, and confirms by calling the tool again with the token.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    call::Call,
    catalog::schema,
    error::ToolError,
    json,
    question::{BadAnswer, Capability, Elicited, Question},
    seal::digest_of,
};

/// How long a token is valid, in seconds.
const LIFETIME_SECONDS: i64 = 600;

/// The maximum number of seconds between a question and a refusal of a client that did not show it.
/// A user cannot read a question in this time.
const UNREAD_SECONDS: i64 = 1;

/// The associated data of the encryption: purpose and format version.
const PURPOSE: &[u8] = b"mcp/confirm-token/v1";

/// The key of the question, for `inputRequests` (2026-07-28).
const KEY: &str = "confirm";

/// A step that the user has to confirm.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The name of the tool.
    pub tool: &'a str,
    /// What the step changes: every argument that matters, as text. A token is valid for this
    /// subject only.
    pub subject: &'a str,
    /// The question to the user. It must name what the step changes.
    pub question: &'a str,
}

/// A token of an earlier call. Encrypted, and valid for ten minutes for the same user, client, tool
/// and subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ConfirmToken(String);

/// Whether the user has confirmed a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The user has confirmed.
    Given,
    /// The user was asked and has refused. A sentence that says how.
    Refused(&'static str),
    /// The user could not be asked. The tool must return this and change nothing.
    Wanted(ConfirmationWanted),
}

/// A question that the client must ask the user, and the token with which it confirms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmationWanted {
    /// Why the user was not asked, and what to do, for the model.
    pub reason: String,
    /// The question to the user.
    pub question: String,
    /// The token for the next call.
    pub token: ConfirmToken,
}

/// The form. Accepting it is a yes, unless the answer in it is a no.
#[derive(Deserialize, JsonSchema)]
struct Form {
    /// Yes, go on.
    confirm: Option<bool>,
}

/// The content of a token.
#[derive(Serialize, Deserialize)]
struct Sealed {
    user: String,
    client: String,
    step: [u8; 32],
    expires: i64,
}

impl Call {
    /// Asks the user to confirm a step, at most once per call. Re-entrant like [`Self::elicit`].
    ///
    /// `token` is the argument of the tool in which a client returns the token of
    /// [`ConfirmationWanted`]. A token that has expired or belongs to another step is ignored: the
    /// user is asked again.
    pub fn confirm(
        &self,
        step: &Step<'_>,
        token: Option<&ConfirmToken>,
    ) -> Result<Confirmation, ToolError> {
        if token.is_some_and(|token| self.is_confirmed(step, token)) {
            return Ok(Confirmation::Given);
        }
        if !self.can_ask(Capability::ElicitationForm) {
            let reason = if token.is_some() {
                "This `confirm` has expired or belongs to another call."
            } else {
                "The client cannot show a question."
            };
            return Ok(self.wanted(step, reason));
        }
        let answer = self.require(KEY, || Question::elicit::<Form>(step.question))?;
        let refused = match answer.elicited::<Form>(&schema::form::<Form>()) {
            Ok(Elicited::Accepted(Form { confirm: None | Some(true) })) => {
                return Ok(Confirmation::Given);
            }
            Ok(Elicited::Accepted(Form { confirm: Some(false) })) => "The user declined.",
            Ok(_) if self.seconds_since_asked().is_some_and(|it| it <= UNREAD_SECONDS) => {
                let reason = "The client answered the question at once, without the user.";
                return Ok(self.wanted(step, reason));
            }
            Ok(Elicited::Declined) => "The user declined.",
            Ok(Elicited::Cancelled) => "The user closed the question without answering.",
            Err(BadAnswer::Refused(_)) => {
                return Ok(self.wanted(step, "The client could not show the question."));
            }
            Err(bad @ BadAnswer::Malformed(_)) => return Err(self.bad_answer(KEY, bad)),
        };
        Ok(Confirmation::Refused(refused))
    }

    /// Creates a token for the step.
    fn wanted(&self, step: &Step<'_>, why: &str) -> Confirmation {
        let sealing = self.sealing();
        let sealed = Sealed {
            user: self.user().as_str().to_owned(),
            client: self.caller().client.to_string(),
            step: digest(step),
            expires: sealing.now() + LIFETIME_SECONDS,
        };
        let token = sealing.encrypt(PURPOSE, &crate::rpc::encode(&sealed));
        Confirmation::Wanted(ConfirmationWanted {
            reason: format!(
                "{why} Nothing was changed. Ask the user the question yourself. Only if they agree, \
                 call `{}` again within ten minutes with the same arguments and this `confirm`.",
                step.tool
            ),
            question: step.question.to_owned(),
            token: ConfirmToken(token),
        })
    }

    fn is_confirmed(&self, step: &Step<'_>, ConfirmToken(token): &ConfirmToken) -> bool {
        let sealing = self.sealing();
        let sealed = sealing.decrypt(PURPOSE, token);
        let Some(sealed) = sealed.and_then(|it| json::from_slice::<Sealed>(&it).ok()) else {
            return false;
        };
        sealed.user == self.user().as_str()
            && sealed.client == *self.caller().client
            && sealed.step == digest(step)
            && sealing.now() < sealed.expires
    }
}

fn digest(step: &Step<'_>) -> [u8; 32] {
    digest_of([step.tool, step.subject, step.question])
}
