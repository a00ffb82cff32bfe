//! What a tool may ask the client, and what comes back.
//!
//! How a question travels is the engine's business: in the result of the call for a modern client
//! (2026-07-28, multi round-trip requests), as a JSON-RPC request on the call's stream for a legacy
//! one.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    catalog::{arguments, schema},
    json,
    types::{ClientCapabilities, ElicitationCapability, PromptMessage},
    version::ProtocolVersion,
};

/// A question to the client. Its JSON is for stores of ours, not for the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Asks the user by a form (`elicitation/create`).
    Elicit {
        /// Why we ask.
        message: String,
        /// A flat object schema of primitives and enums.
        schema: Value,
    },
    /// Asks the user to open a URL (`elicitation/create`, mode `url`; 2025-11-25 and later). For
    /// anything secret: it never passes through the client.
    ElicitUrl {
        /// Why we ask.
        message: String,
        /// Where to go. Whoever opens it must be checked to be the user of the call.
        url: String,
    },
    /// Runs messages through the client's model (`sampling/createMessage`).
    Sample(SampleRequest),
    /// Asks which folders the user works in (`roots/list`).
    Roots,
}

/// Parameters of `sampling/createMessage`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SampleRequest {
    /// The conversation.
    pub messages: Vec<PromptMessage>,
    /// What the model should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// The most tokens that the answer may have.
    pub max_tokens: u32,
}

impl SampleRequest {
    /// One user message.
    pub fn new(text: impl Into<String>, max_tokens: u32) -> Self {
        Self { messages: vec![PromptMessage::user(text)], system_prompt: None, max_tokens }
    }

    /// Says what the model should be.
    #[must_use]
    pub fn system(mut self, prompt: impl Into<String>) -> Self {
        self.system_prompt = Some(prompt.into());
        self
    }
}

/// Something a client may be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Ask its user by a form.
    ElicitationForm,
    /// Ask its user to open a URL.
    ElicitationUrl,
    /// Run its model for us.
    Sampling,
    /// Name the user's folders.
    Roots,
}

impl Capability {
    /// What a client must declare, as `-32021` names it in `data.requiredCapabilities`.
    pub(crate) fn declaration(self) -> Value {
        match self {
            Self::ElicitationForm => json!({ "elicitation": { "form": {} } }),
            Self::ElicitationUrl => json!({ "elicitation": { "url": {} } }),
            Self::Sampling => json!({ "sampling": {} }),
            Self::Roots => json!({ "roots": {} }),
        }
    }

    /// The name in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::ElicitationForm => "form elicitation",
            Self::ElicitationUrl => "URL elicitation",
            Self::Sampling => "sampling",
            Self::Roots => "roots",
        }
    }

    pub(crate) fn declared_in(self, client: &ClientCapabilities, version: ProtocolVersion) -> bool {
        let elicitation = client.elicitation.as_ref();
        match self {
            Self::ElicitationForm => {
                version >= ProtocolVersion::V2025_06_18
                    && elicitation.is_some_and(ElicitationCapability::has_form)
            }
            Self::ElicitationUrl => {
                version >= ProtocolVersion::V2025_11_25
                    && elicitation.is_some_and(|it| it.url.is_some())
            }
            Self::Sampling => client.sampling.is_some(),
            Self::Roots => client.roots.is_some(),
        }
    }
}

impl Question {
    /// A form whose fields are those of `T`: strings, numbers, booleans and unit enums.
    pub fn elicit<T: JsonSchema>(message: impl Into<String>) -> Self {
        Self::Elicit { message: message.into(), schema: schema::form::<T>() }
    }

    pub(crate) fn capability(&self) -> Capability {
        match self {
            Self::Elicit { .. } => Capability::ElicitationForm,
            Self::ElicitUrl { .. } => Capability::ElicitationUrl,
            Self::Sample(_) => Capability::Sampling,
            Self::Roots => Capability::Roots,
        }
    }

    /// Whether an answer has the form that the question asks for; otherwise what is wrong with it.
    pub(crate) fn check(&self, answer: &Answer) -> Result<(), String> {
        let checked = match self {
            Self::Elicit { schema, .. } => answer.elicited::<Value>(schema).map(drop),
            Self::ElicitUrl { .. } => answer.elicited_url().map(drop),
            Self::Sample(_) => answer.sampled().map(drop),
            Self::Roots => answer.roots().map(drop),
        };
        match checked {
            // The tool decides what a refusal means.
            Ok(()) | Err(BadAnswer::Refused(_)) => Ok(()),
            Err(BadAnswer::Malformed(problem)) => Err(problem),
        }
    }

    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Elicit { .. } | Self::ElicitUrl { .. } => "elicitation/create",
            Self::Sample(_) => "sampling/createMessage",
            Self::Roots => "roots/list",
        }
    }

    /// The `params` of the request. `elicitation_id` is given to legacy clients only, where it ties
    /// a URL elicitation to its completion.
    pub(crate) fn params(
        &self,
        version: ProtocolVersion,
        elicitation_id: Option<&str>,
    ) -> Option<Value> {
        match self {
            Self::Elicit { message, schema } => {
                let mut params = json!({ "message": message, "requestedSchema": schema });
                if version >= ProtocolVersion::V2025_11_25 {
                    params["mode"] = "form".into();
                }
                Some(params)
            }
            Self::ElicitUrl { message, url } => {
                let mut params = json!({ "mode": "url", "message": message, "url": url });
                if let Some(id) = elicitation_id {
                    params["elicitationId"] = id.into();
                }
                Some(params)
            }
            Self::Sample(request) => {
                Some(serde_json::to_value(request).expect("a sampling request is plain data"))
            }
            Self::Roots => None,
        }
    }
}

/// The user's decision about a form or a URL.
#[derive(Clone, Debug, PartialEq)]
pub enum Elicited<T> {
    /// The user agreed, with this content.
    Accepted(T),
    /// The user said no.
    Declined,
    /// The user closed the question without deciding.
    Cancelled,
}

impl<T> Elicited<T> {
    /// The content, if the user agreed.
    pub fn accepted(self) -> Option<T> {
        match self {
            Self::Accepted(content) => Some(content),
            Self::Declined | Self::Cancelled => None,
        }
    }
}

/// What the client's model said.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sampled {
    /// Which model it was.
    pub model: String,
    /// One block of content, or an array of them from 2025-11-25 on.
    content: Value,
    /// Why it stopped, such as `endTurn` or `maxTokens`.
    pub stop_reason: Option<String>,
}

impl Sampled {
    /// The text blocks, joined.
    pub fn text(&self) -> String {
        let blocks = match &self.content {
            Value::Array(blocks) => blocks.as_slice(),
            block => std::slice::from_ref(block),
        };
        let texts: Vec<&str> = blocks
            .iter()
            .filter(|it| it.get("type").is_some_and(|it| it == "text"))
            .filter_map(|it| it.get("text")?.as_str())
            .collect();
        texts.join("\n")
    }
}

/// A folder that the user works in.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Root {
    /// A `file:` URI.
    pub uri: String,
    /// A name for people.
    pub name: Option<String>,
}

/// The longest answer to one question, in bytes of JSON: more than a person types, and about as much
/// text as a model writes at once.
pub(crate) const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// The client's answer to one question, as it was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The `result`.
    Result(Value),
    /// The `error`: the client could not or would not answer. Legacy only.
    Error(Value),
}

#[derive(Deserialize)]
struct ElicitResult {
    action: Action,
    content: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Accept,
    Decline,
    Cancel,
}

#[derive(Deserialize)]
struct RootsResult {
    roots: Vec<Root>,
}

/// Why an answer cannot be used.
#[derive(Debug)]
pub(crate) enum BadAnswer {
    /// It is not of the form that the question asks for.
    Malformed(String),
    /// The client answered with an error.
    Refused(String),
}

impl Answer {
    fn read<T: DeserializeOwned>(&self) -> Result<T, BadAnswer> {
        match self {
            Self::Result(value) => json::from_value(value.clone())
                .map_err(|error| BadAnswer::Malformed(error.to_string())),
            Self::Error(error) => {
                let message = error.get("message").and_then(Value::as_str);
                Err(BadAnswer::Refused(message.unwrap_or("no reason given").to_owned()))
            }
        }
    }

    /// What the user decided. `schema`: that of the form, or the one that its content is read by.
    pub(crate) fn elicited<T: DeserializeOwned>(
        &self,
        schema: &Value,
    ) -> Result<Elicited<T>, BadAnswer> {
        let result: ElicitResult = self.read()?;
        match result.action {
            Action::Decline => Ok(Elicited::Declined),
            Action::Cancel => Ok(Elicited::Cancelled),
            Action::Accept => {
                let mut content = result.content.unwrap_or_else(|| json!({}));
                let malformed =
                    |problem: String| BadAnswer::Malformed(format!("content: {problem}"));
                arguments::fit(schema, &mut content).map_err(|it| malformed(it.to_string()))?;
                if !content.is_object() {
                    return Err(malformed("it is not an object".to_owned()));
                }
                json::from_value(content)
                    .map(Elicited::Accepted)
                    .map_err(|error| malformed(error.to_string()))
            }
        }
    }

    pub(crate) fn elicited_url(&self) -> Result<Elicited<()>, BadAnswer> {
        let result: ElicitResult = self.read()?;
        Ok(match result.action {
            Action::Accept => Elicited::Accepted(()),
            Action::Decline => Elicited::Declined,
            Action::Cancel => Elicited::Cancelled,
        })
    }

    pub(crate) fn sampled(&self) -> Result<Sampled, BadAnswer> {
        self.read()
    }

    pub(crate) fn roots(&self) -> Result<Vec<Root>, BadAnswer> {
        self.read::<RootsResult>().map(|it| it.roots)
    }
}

/// A question in a result.
#[derive(Serialize)]
pub(crate) struct InputRequest {
    method: &'static str,
    params: Value,
}

/// Questions as a modern client gets them.
pub(crate) fn input_requests(
    questions: &BTreeMap<String, Question>,
) -> BTreeMap<String, InputRequest> {
    let request = |question: &Question| {
        let params = question.params(ProtocolVersion::V2026_07_28, None);
        let params = params.unwrap_or_else(|| serde_json::json!({}));
        InputRequest { method: question.method(), params }
    };
    questions.iter().map(|(key, question)| (key.clone(), request(question))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_elicitation_capability_means_forms() {
        let client: ClientCapabilities =
            serde_json::from_value(json!({ "elicitation": {} })).unwrap();
        let version = ProtocolVersion::V2025_11_25;
        assert!(Capability::ElicitationForm.declared_in(&client, version));
        assert!(!Capability::ElicitationUrl.declared_in(&client, version));
        let before = ProtocolVersion::V2025_03_26;
        assert!(!Capability::ElicitationForm.declared_in(&client, before));
        let client: ClientCapabilities =
            serde_json::from_value(json!({ "elicitation": { "url": {} } })).unwrap();
        assert!(!Capability::ElicitationForm.declared_in(&client, version));
        assert!(!Capability::ElicitationUrl.declared_in(&client, ProtocolVersion::V2025_06_18));
    }

    #[test]
    fn sampled_text_comes_from_one_block_or_many() {
        let one = json!({"role":"assistant","model":"m","content":{"type":"text","text":"a"}});
        let many = json!({"role":"assistant","model":"m","content":[
            {"type":"text","text":"a"}, {"type":"tool_use","id":"1","name":"x","input":{}},
            {"type":"text","text":"b"}]});
        assert_eq!(Answer::Result(one).sampled().unwrap().text(), "a");
        assert_eq!(Answer::Result(many).sampled().unwrap().text(), "a\nb");
    }

    #[test]
    fn an_answer_that_is_not_an_elicitation_result_is_malformed() {
        for bad in [json!(12345), json!(null), json!({}), json!({"action":"maybe"})] {
            let answer = Answer::Result(bad).elicited::<Value>(&json!({}));
            assert!(matches!(answer, Err(BadAnswer::Malformed(_))));
        }
    }
}
