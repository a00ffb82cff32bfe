//! Protocol types that are used by tools, resources and prompts.

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
    /// The media type, such as `image/svg+xml`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// The sizes, such as `48x48`, or `any` for vector images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<String>,
}

/// Name and version of a client or server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Implementation {
    /// The programmatic name.
    pub name: String,
    /// The display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The version of the software, not of the protocol.
    pub version: String,
    /// A one-sentence description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A web page about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website_url: Option<String>,
    /// Icons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub icons: Vec<Icon>,
}

/// The maximum length of the texts in `clientInfo` that are stored with every session, in
/// characters.
const MAX_CLIENT_TEXT: usize = 200;

/// The maximum size of the `capabilities` of a legacy client, in bytes of JSON: they are stored
/// with the session. Known clients send less than 1 KiB.
pub(crate) const MAX_CAPABILITIES_BYTES: usize = 16 * 1024;

impl Implementation {
    /// Reads `clientInfo` leniently: invalid members are omitted. `None`: absent, or not an object.
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
        /// The media type, such as `image/png`.
        mime_type: String,
    },
    /// A sound.
    Audio {
        /// Standard base64.
        data: String,
        /// The media type, such as `audio/wav`.
        mime_type: String,
    },
    /// A link to a resource (2025-06-18 and later).
    ResourceLink(ResourceEntry),
    /// An embedded resource.
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
    /// The media type, such as `text/markdown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Text or bytes.
    #[serde(flatten)]
    pub data: ResourceData,
    /// Metadata by namespaced key.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Value>,
}

/// The data of a resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ResourceData {
    /// Text in UTF-8.
    Text(String),
    /// Bytes in standard base64.
    Blob(String),
}

impl ResourceContents {
    /// Creates the contents of a text resource.
    pub fn text(
        uri: impl Into<String>,
        mime_type: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self {
            uri: uri.into(),
            mime_type: Some(mime_type.into()),
            data: ResourceData::Text(text.into()),
            meta: None,
        }
    }

    /// Creates the contents of a binary resource. `base64`: standard base64.
    pub fn blob(
        uri: impl Into<String>,
        mime_type: impl Into<String>,
        base64: impl Into<String>,
    ) -> Self {
        Self {
            uri: uri.into(),
            mime_type: Some(mime_type.into()),
            data: ResourceData::Blob(base64.into()),
            meta: None,
        }
    }
}

/// A resource in a list or behind a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceEntry {
    /// The URI for `resources/read`.
    pub uri: String,
    /// The programmatic name.
    pub name: String,
    /// The display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A description for the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The media type, such as `text/markdown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Size of the contents in bytes, before any encoding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Audience, priority and time of change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// Metadata by namespaced key.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Value>,
}

impl ResourceEntry {
    /// Creates an entry with the required fields.
    pub fn new(uri: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            name: name.into(),
            title: None,
            description: None,
            mime_type: None,
            size: None,
            annotations: None,
            meta: None,
        }
    }
}

/// Hints for the selection of content by a client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Annotations {
    /// The intended audience.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<Role>,
    /// The importance, from 0 (optional) to 1 (required).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<f64>,
    /// The time of the last change, in ISO 8601 (2025-06-18 and later).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// The sender of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The user.
    User,
    /// The model.
    Assistant,
}

/// One message of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptMessage {
    /// The sender.
    pub role: Role,
    /// The content.
    pub content: Content,
}

impl PromptMessage {
    /// Creates a text message of the user.
    pub fn user(text: impl Into<String>) -> Self {
        Self { role: Role::User, content: Content::text(text) }
    }
}

/// The result of `prompts/get`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PromptResult {
    /// A description of the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The messages, in order.
    pub messages: Vec<PromptMessage>,
}

/// The result of `tools/call`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallToolResult {
    /// The content for the model.
    pub content: Vec<Content>,
    /// The structured result, which conforms to the tool's output schema (2025-06-18 and later).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured_content: Option<Box<RawValue>>,
    /// Whether the tool failed; `content` tells the model why.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
    /// Whether the error is a failure of the server. For metrics; not sent to clients.
    #[serde(skip)]
    pub is_fault: bool,
}

impl CallToolResult {
    /// Creates a result with content.
    pub fn content(content: Vec<Content>) -> Self {
        Self { content, ..Self::default() }
    }

    /// Creates an error result, whose text goes to the model.
    pub fn error(message: impl Into<String>) -> Self {
        Self { is_error: true, ..Self::content(vec![Content::text(message)]) }
    }

    /// The failure of the call. `None`: it succeeded.
    pub(crate) fn failure(&self) -> Option<CallFailure> {
        self.is_error.then_some(if self.is_fault { CallFailure::Fault } else { CallFailure::Tool })
    }

    /// Creates an error result for a failure of the server.
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
    /// The total number of values, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Whether there are more values than were returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_more: Option<bool>,
}

impl Completion {
    /// The maximum number of `values` in the protocol.
    pub const MAX: usize = 100;

    /// Creates a completion from the first [`Self::MAX`] values.
    pub fn of(values: impl IntoIterator<Item = String>) -> Self {
        let mut values: Vec<String> = values.into_iter().take(Self::MAX + 1).collect();
        let has_more = values.len() > Self::MAX;
        values.truncate(Self::MAX);
        Self { values, total: None, has_more: Some(has_more) }
    }
}

/// The capabilities that a client declares. Legacy: in `initialize`. Modern: with every request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientCapabilities {
    /// Sampling with the client's model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Value>,
    /// Elicitation: asking the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elicitation: Option<ElicitationCapability>,
    /// Roots: the folders that the user works in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roots: Option<Value>,
    /// Extensions by name (2026-07-28).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, Value>,
}

/// The modes of elicitation. `{}` means forms (2025-11-25, client/elicitation).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ElicitationCapability {
    /// With a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Value>,
    /// By opening a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Value>,
}

impl ClientCapabilities {
    /// Reads capabilities leniently: `null` and `false` mean that the client lacks a capability,
    /// any other value that it has it. Some languages encode an empty object as `[]`.
    pub(crate) fn declared(sent: Option<&RawValue>) -> Self {
        let sent = sent.and_then(|sent| json::from_str::<Value>(sent.get()).ok());
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

/// Reads a capability as an object. `None`: the client lacks it.
fn capability(declared: &mut Map<String, Value>, name: &str) -> Option<Map<String, Value>> {
    match declared.remove(name)? {
        Value::Null | Value::Bool(false) => None,
        Value::Object(details) => Some(details),
        _ => Some(Map::new()),
    }
}

impl ElicitationCapability {
    fn declared(mut sent: Map<String, Value>) -> Option<Self> {
        let has_form_key = sent.contains_key("form");
        let form = capability(&mut sent, "form").map(Value::Object);
        let url = capability(&mut sent, "url").map(Value::Object);
        let is_empty = form.is_none() && url.is_none() && has_form_key;
        (!is_empty).then_some(Self { form, url })
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

/// Hints about the behavior of a tool. A client must not rely on them for safety.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolAnnotations {
    /// The tool changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_hint: Option<bool>,
    /// The tool may destroy something (matters only when it is not read-only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destructive_hint: Option<bool>,
    /// Repeating the call with the same arguments has no further effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent_hint: Option<bool>,
    /// The tool interacts with systems other than this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_world_hint: Option<bool>,
}

impl ToolAnnotations {
    /// No hints.
    pub const NONE: Self = Self {
        read_only_hint: None,
        destructive_hint: None,
        idempotent_hint: None,
        open_world_hint: None,
    };

    /// Reads only data of this server.
    pub const READ_ONLY: Self = Self {
        read_only_hint: Some(true),
        destructive_hint: None,
        idempotent_hint: None,
        open_world_hint: Some(false),
    };

    /// Adds something with every call.
    pub const ADDITIVE: Self = Self {
        read_only_hint: Some(false),
        destructive_hint: Some(false),
        idempotent_hint: Some(false),
        open_world_hint: Some(false),
    };

    /// Replaces or removes; repeating the call has no further effect.
    pub const DESTRUCTIVE: Self = Self {
        read_only_hint: Some(false),
        destructive_hint: Some(true),
        idempotent_hint: Some(true),
        open_world_hint: Some(false),
    };
}
