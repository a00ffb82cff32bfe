//! What a simulated client reads of the messages that it receives.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A JSON-RPC message.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ProgressParams {
    progress: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolResult<'a> {
    #[serde(borrow)]
    content: Vec<TextContent<'a>>,
    #[serde(default)]
    is_error: bool,
}

#[derive(Deserialize)]
struct TextContent<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

/// The meaning of a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meaning {
    /// A response to the request with this id. `Ok`: the text of a result without `isError`.
    Response(String, Result<String, String>),
    Progress(f64),
    /// A request of the server, with this id.
    Question(String),
    Other,
}

impl Meaning {
    /// Reads a message.
    pub(super) fn of(text: &str) -> Option<Self> {
        let message: Message<'_> = serde_json::from_str(text).ok()?;
        let id = message.id.map(|id| id.get().trim_matches('"').to_owned());
        Some(match (message.method.as_deref(), id) {
            (Some("notifications/progress"), _) => {
                let params: ProgressParams = serde_json::from_str(message.params?.get()).ok()?;
                Self::Progress(params.progress)
            }
            (Some(_), Some(id)) => Self::Question(id),
            (Some(_), None) => Self::Other,
            (None, Some(id)) => Self::Response(id, outcome(message.result, message.error)),
            (None, None) => return None,
        })
    }
}

fn outcome(result: Option<&RawValue>, error: Option<&RawValue>) -> Result<String, String> {
    let Some(result) = result else {
        return Err(error.map_or_else(String::new, |error| error.get().to_owned()));
    };
    let Ok(result) = serde_json::from_str::<ToolResult<'_>>(result.get()) else {
        return Ok(String::new()); // not the result of a tool
    };
    let text = result.content.into_iter().next().map_or_else(String::new, |it| it.text.into());
    if result.is_error { Err(text) } else { Ok(text) }
}
