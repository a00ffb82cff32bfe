//! The values of the protocol that tools, resources and prompts are made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::{failure::CallFailure, json, rpc};

/// An icon of the server, a tool, a resource or a prompt (2025-11-25 and later).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Icon {
    /// An `https:` or `data:` URI.
    pub src: String,
    /// Such as `image/svg+xml`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Such as `48x48`, or `any` for vector images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<String>,
}

/// Name and version of a client or server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Implementation {
    /// The programmatic name.
    pub name: String,
    /// The name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The version of the software, not of the protocol.
    pub version: String,
    /// What it is, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where to read more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website_url: Option<String>,
    /// Pictures for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub icons: Vec<Icon>,
}

/// The longest text that is kept of what a client says about itself, in characters: it is in the
/// record of every session.
const MAX_CLIENT_TEXT: usize = 200;

/// The longest `capabilities` of a client whose session is kept, in bytes of JSON. Those of known
/// clients have less than 1 KiB.
pub(crate) const MAX_CAPABILITIES_BYTES: usize = 16 * 1024;

impl Implementation {
    /// Reads what a client says about itself. Nothing in it is an error: what cannot be read is left
    /// out, and the result is `None` if it is not an object.
    pub(crate) fn declared(sent: Option<&RawValue>) -> Option<Self> {
        let mut sent: Map<String, Value> = json::from_str(sent?.get()).ok()?;
        let mut text = |field: &str| match sent.remove(field)? {
            Value::String(text) => Some(rpc::shorten_to(&text, MAX_CLIENT_TEXT).into_owned()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        Some(Self {
            name: text("name").unwrap_or_default(),
            title: text("title"),
            version: text("version").unwrap_or_default(),
            description: None,
            website_url: None,
            icons: Vec::new(),
        })
    }
}

/// One block of content in a result or a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Content {
    /// Plain text or Markdown.
    Text {
        /// The text.
        text: String,
    },
    /// An image.
    Image {
        /// Standard base64.
        data: String,
        /// Such as `image/png`.
        mime_type: String,
    },
    /// A sound.
    Audio {
        /// Standard base64.
        data: String,
        /// Such as `audio/wav`.
        mime_type: String,
    },
    /// A pointer to a resource (2025-06-18 and later).
    ResourceLink(ResourceEntry),
    /// A resource, contents and all.
    Resource {
        /// The contents.
        resource: ResourceContents,
    },
}

impl Content {
    /// A block of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

/// The contents of one resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceContents {
    /// The resource's URI.
    pub uri: String,
    /// Such as `text/markdown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Text or bytes.
    #[serde(flatten)]
    pub data: ResourceData,
}

/// What a resource holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ResourceData {
    /// Text in UTF-8.
    Text(String),
    /// Bytes in standard base64.
    Blob(String),
}

impl ResourceContents {
    /// A resource that is text.
    pub fn text(
        uri: impl Into<String>,
        mime_type: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self {
            uri: uri.into(),
            mime_type: Some(mime_type.into()),
            data: ResourceData::Text(text.into()),
        }
    }

    /// A resource that is bytes, given in standard base64.
    pub fn blob(
        uri: impl Into<String>,
        mime_type: impl Into<String>,
        base64: impl Into<String>,
    ) -> Self {
        Self {
            uri: uri.into(),
            mime_type: Some(mime_type.into()),
            data: ResourceData::Blob(base64.into()),
        }
    }
}

/// A resource in a list or behind a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceEntry {
    /// What `resources/read` takes.
    pub uri: String,
    /// The programmatic name.
    pub name: String,
    /// The name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it holds, for the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Such as `text/markdown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Size of the contents in bytes, before any encoding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// For whom it is and when it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
}

impl ResourceEntry {
    /// An entry with the two fields that every entry has.
    pub fn new(uri: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            name: name.into(),
            title: None,
            description: None,
            mime_type: None,
            size: None,
            annotations: None,
        }
    }
}

/// Hints for a client that chooses what to show.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Annotations {
    /// For whom the content is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<Role>,
    /// From 0 (optional) to 1 (required).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<f64>,
    /// ISO 8601 (2025-06-18 and later).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One message of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Content,
}

impl PromptMessage {
    /// The person says a text.
    pub fn user(text: impl Into<String>) -> Self {
        Self { role: Role::User, content: Content::text(text) }
    }
}

/// The result of `prompts/get`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PromptResult {
    /// What the prompt does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The messages, in order.
    pub messages: Vec<PromptMessage>,
}

/// The result of `tools/call`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallToolResult {
    /// What the model reads.
    pub content: Vec<Content>,
    /// What a program reads: conforms to the tool's output schema (2025-06-18 and later).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured_content: Option<Box<RawValue>>,
    /// Whether the tool failed in a way that the model should know about.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
    /// Whether the server, and not the caller, is to blame for the error. For metrics: clients do not
    /// see it.
    #[serde(skip)]
    pub is_fault: bool,
}

impl CallToolResult {
    /// A result of blocks of content.
    pub fn content(content: Vec<Content>) -> Self {
        Self { content, ..Self::default() }
    }

    /// A failure that the model reads and may correct.
    pub fn error(message: impl Into<String>) -> Self {
        Self { is_error: true, ..Self::content(vec![Content::text(message)]) }
    }

    /// How the call failed, if it did.
    pub(crate) fn failure(&self) -> Option<CallFailure> {
        self.is_error.then_some(if self.is_fault { CallFailure::Fault } else { CallFailure::Tool })
    }

    /// A failure for which the server is to blame.
    pub(crate) fn fault(message: impl Into<String>) -> Self {
        Self { is_fault: true, ..Self::error(message) }
    }
}

/// Suggestions for an argument (`completion/complete`).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Completion {
    /// At most [`Completion::MAX`] values, best first.
    pub values: Vec<String>,
    /// How many there are in all, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Whether there are more than were returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_more: Option<bool>,
}

impl Completion {
    /// The protocol's limit on `values`.
    pub const MAX: usize = 100;

    /// Takes the first [`Self::MAX`] values and says whether there were more.
    pub fn of(values: impl IntoIterator<Item = String>) -> Self {
        let mut values: Vec<String> = values.into_iter().take(Self::MAX + 1).collect();
        let has_more = values.len() > Self::MAX;
        values.truncate(Self::MAX);
        Self { values, total: None, has_more: Some(has_more) }
    }
}

/// What the client says it can do. Legacy: once, in `initialize`. Modern: with every request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientCapabilities {
    /// Can run a prompt through its model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Value>,
    /// Can ask its user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elicitation: Option<ElicitationCapability>,
    /// Can name the folders that the user works in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roots: Option<Value>,
    /// Extensions by name (2026-07-28).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, Value>,
}

/// How the client can ask its user. `{}` means forms (2025-11-25, client/elicitation).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ElicitationCapability {
    /// By a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Value>,
    /// By opening a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Value>,
}

impl ClientCapabilities {
    /// Reads what a client declares, in whatever form: `null` and `false` stand for a capability that
    /// it does not have, and anything else for one that it has. Some languages write an empty object
    /// as `[]`.
    pub(crate) fn declared(sent: Option<&RawValue>) -> Self {
        let sent = sent.and_then(|it| json::from_str::<Value>(it.get()).ok());
        let Some(Value::Object(mut sent)) = sent else {
            return Self::default();
        };
        let elicitation = capability(&mut sent, "elicitation");
        let extensions = match sent.remove("extensions") {
            Some(Value::Object(extensions)) => extensions.into_iter().collect(),
            _ => BTreeMap::new(),
        };
        Self {
            sampling: capability(&mut sent, "sampling").map(Value::Object),
            elicitation: elicitation.and_then(ElicitationCapability::declared),
            roots: capability(&mut sent, "roots").map(Value::Object),
            extensions,
        }
    }
}

/// A capability of a client as an object, if the client has it.
fn capability(declared: &mut Map<String, Value>, name: &str) -> Option<Map<String, Value>> {
    match declared.remove(name)? {
        Value::Null | Value::Bool(false) => None,
        Value::Object(details) => Some(details),
        _ => Some(Map::new()),
    }
}

impl ElicitationCapability {
    fn declared(mut sent: Map<String, Value>) -> Option<Self> {
        let refuses_forms = sent.contains_key("form");
        let form = capability(&mut sent, "form").map(Value::Object);
        let url = capability(&mut sent, "url").map(Value::Object);
        let nothing = form.is_none() && url.is_none() && refuses_forms;
        (!nothing).then_some(Self { form, url })
    }

    pub(crate) fn has_form(&self) -> bool {
        self.form.is_some() || self.url.is_none()
    }
}

/// Severity of a log message to the client, as in RFC 5424. Ordered by severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are those of RFC 5424")]
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

/// Hints to the client about what a tool does. Not a promise that a client may rely on for safety.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolAnnotations {
    /// The tool changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_hint: Option<bool>,
    /// The tool may destroy something (matters only when it is not read-only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destructive_hint: Option<bool>,
    /// Calling it again with the same arguments changes nothing more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent_hint: Option<bool>,
    /// The tool reaches beyond this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_world_hint: Option<bool>,
}

impl ToolAnnotations {
    /// Says nothing.
    pub const NONE: Self = Self {
        read_only_hint: None,
        destructive_hint: None,
        idempotent_hint: None,
        open_world_hint: None,
    };

    /// Only reads, and only here.
    pub const READ_ONLY: Self = Self {
        read_only_hint: Some(true),
        destructive_hint: None,
        idempotent_hint: None,
        open_world_hint: Some(false),
    };

    /// Adds something new at every call.
    pub const ADDITIVE: Self = Self {
        read_only_hint: Some(false),
        destructive_hint: Some(false),
        idempotent_hint: Some(false),
        open_world_hint: Some(false),
    };

    /// Replaces or removes; again with the same arguments changes nothing more.
    pub const DESTRUCTIVE: Self = Self {
        read_only_hint: Some(false),
        destructive_hint: Some(true),
        idempotent_hint: Some(true),
        open_world_hint: Some(false),
    };
}
