//! Questions of a tool to the client, and their answers.
//!
//! The engine transmits a question in the result of the call to a modern client (2026-07-28, multi
//! round-trip requests), and as a JSON-RPC request on the call's stream to a legacy client.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    catalog::{arguments, schema},
    json,
    rpc::RpcError,
    types::{ClientCapabilities, ElicitationCapability, PromptMessage},
    version::ProtocolVersion,
};

/// A question to the client. Its serialization is for storage, not for the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Asks the user with a form (`elicitation/create`).
    Elicit {
        /// The reason for the question, shown to the user.
        message: String,
        /// A flat object schema of primitives and enums.
        schema: Value,
    },
    /// Asks the user to open a URL (`elicitation/create`, mode `url`; 2025-11-25 and later). For
    /// secrets, which must not pass through the client.
    ElicitUrl {
        /// The reason for the question, shown to the user.
        message: String,
        /// The URL. Its page must check that the visitor is the user of the call.
        url: String,
    },
    /// Runs messages through the client's model (`sampling/createMessage`).
    Sample(SampleRequest),
    /// Asks for the folders that the user works in (`roots/list`).
    Roots,
}

/// Parameters of `sampling/createMessage`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SampleRequest {
    /// The conversation.
    pub messages: Vec<PromptMessage>,
    /// The system prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// The maximum number of tokens to generate.
    pub max_tokens: u32,
}

impl SampleRequest {
    /// Creates a request with one user message.
    pub fn new(text: impl Into<String>, max_tokens: u32) -> Self {
        Self { messages: vec![PromptMessage::user(text)], system_prompt: None, max_tokens }
    }

    /// Sets the system prompt.
    #[must_use]
    pub fn system(mut self, prompt: impl Into<String>) -> Self {
        self.system_prompt = Some(prompt.into());
        self
    }
}

/// A client capability that a question requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Elicitation with a form.
    ElicitationForm,
    /// Elicitation with a URL.
    ElicitationUrl,
    /// Sampling.
    Sampling,
    /// Roots.
    Roots,
}

impl Capability {
    /// The declaration in `data.requiredCapabilities` of the error `-32021`.
    pub(crate) fn declaration(self) -> Value {
        match self {
            Self::ElicitationForm => json!({ "elicitation": { "form": {} } }),
            Self::ElicitationUrl => json!({ "elicitation": { "url": {} } }),
            Self::Sampling => json!({ "sampling": {} }),
            Self::Roots => json!({ "roots": {} }),
        }
    }

    /// The name for messages.
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
                    && elicitation.is_some_and(|capability| capability.url.is_some())
            }
            Self::Sampling => client.sampling.is_some(),
            Self::Roots => client.roots.is_some(),
        }
    }
}

impl Question {
    /// Creates a form with the fields of `T`: strings, numbers, booleans and unit enums.
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

    /// Checks that an answer has the format that the question requires. The error says what is
    /// wrong.
    pub(crate) fn check(&self, answer: &ClientAnswer) -> Result<(), String> {
        let checked = match self {
            Self::Elicit { schema, .. } => answer.elicited::<Value>(schema).map(drop),
            Self::ElicitUrl { .. } => answer.elicited_url().map(drop),
            Self::Sample(_) => answer.sampled().map(drop),
            Self::Roots => answer.roots().map(drop),
        };
        match checked {
            // The tool handles a refusal.
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

    /// The `params` of the request. `elicitation_id`: for legacy clients only, where it relates a
    /// URL elicitation to its completion.
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

/// The user's response to an elicitation.
#[derive(Clone, Debug, PartialEq)]
pub enum Elicited<T> {
    /// The user accepted, with this content.
    Accepted(T),
    /// The user declined.
    Declined,
    /// The user dismissed the question.
    Cancelled,
}

impl<T> Elicited<T> {
    /// The content. `None`: declined or cancelled.
    pub fn accepted(self) -> Option<T> {
        match self {
            Self::Accepted(content) => Some(content),
            Self::Declined | Self::Cancelled => None,
        }
    }
}

/// The result of sampling.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sampled {
    /// The name of the model.
    pub model: String,
    /// A content block, or (from 2025-11-25) an array of them.
    content: Value,
    /// The stop reason, such as `endTurn` or `maxTokens`.
    pub stop_reason: Option<String>,
}

impl Sampled {
    /// The text blocks, joined with line breaks.
    pub fn text(&self) -> String {
        let blocks = match &self.content {
            Value::Array(blocks) => blocks.as_slice(),
            block => std::slice::from_ref(block),
        };
        let texts: Vec<&str> = blocks
            .iter()
            .filter(|block| block.get("type").is_some_and(|kind| kind == "text"))
            .filter_map(|block| block.get("text")?.as_str())
            .collect();
        texts.join("\n")
    }
}

/// A folder that the user works in.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Root {
    /// A `file:` URI.
    pub uri: String,
    /// The display name.
    pub name: Option<String>,
}

/// The maximum size of the answer to a question, in bytes of JSON: more than a user types, and
/// about the maximum output of a model.
pub(crate) const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Checks that an answer in `inputResponses` has at most [`MAX_ANSWER_BYTES`].
pub(crate) fn check_response_size(key: &str, response: &Value) -> Result<(), RpcError> {
    let length = serde_json::to_vec(response).map_or(0, |json| json.len());
    if length > MAX_ANSWER_BYTES {
        return Err(RpcError::invalid_params(format!(
            "`inputResponses.{key}` has {length} bytes; the maximum is {MAX_ANSWER_BYTES}"
        )));
    }
    Ok(())
}

/// The client's answer to a question, as sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAnswer {
    /// The `result` of the response.
    Result(Value),
    /// The `error` of the response: the client could not or did not want to answer. Legacy only.
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
    /// It does not have the format that the question requires.
    Malformed(String),
    /// The client answered with an error.
    Refused(String),
}

impl ClientAnswer {
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

    /// Parses the answer to a form. `schema`: the schema of the form, or a more complete one for
    /// parsing.
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
                arguments::normalize(schema, &mut content)
                    .map_err(|problems| malformed(problems.to_string()))?;
                if !content.is_object() {
                    return Err(malformed("expected an object".to_owned()));
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

/// A question in `inputRequests`.
#[derive(Serialize)]
pub(crate) struct InputRequest {
    method: &'static str,
    params: Value,
}

/// Encodes questions for `inputRequests` (2026-07-28).
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
        assert_eq!(ClientAnswer::Result(one).sampled().unwrap().text(), "a");
        assert_eq!(ClientAnswer::Result(many).sampled().unwrap().text(), "a\nb");
    }

    #[test]
    fn an_answer_that_is_not_an_elicitation_result_is_malformed() {
        for bad in [json!(12345), json!(null), json!({}), json!({"action":"maybe"})] {
            let answer = ClientAnswer::Result(bad).elicited::<Value>(&json!({}));
            assert!(matches!(answer, Err(BadAnswer::Malformed(_))));
        }
    }
}
