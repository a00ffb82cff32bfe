//! What a modern client reads of the messages that it receives.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;
use serde_json::value::RawValue;

/// A JSON-RPC message.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Params<'a> {
    progress: Option<f64>,
    #[serde(borrow)]
    uri: Option<Cow<'a, str>>,
    #[serde(borrow)]
    notifications: Option<Accepted<'a>>,
    #[serde(flatten)]
    task: Task,
    #[serde(rename = "_meta")]
    meta: Option<Meta>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accepted<'a> {
    #[serde(default, borrow)]
    task_ids: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/subscriptionId")]
    subscription: Option<i64>,
}

/// A task, or the part of another message that is named like it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Task {
    #[serde(rename = "taskId")]
    pub(super) id: String,
    pub(super) status: String,
    /// The open questions, by the tool's key.
    input_requests: BTreeMap<String, serde_json::Value>,
    result: Option<ToolResult>,
    error: Option<serde_json::Value>,
}

impl Task {
    pub(super) fn has_ended(&self) -> bool {
        ["completed", "failed", "cancelled"].contains(&self.status.as_str())
    }

    /// The keys of the open questions.
    pub(super) fn questions(&self) -> Vec<String> {
        self.input_requests.keys().cloned().collect()
    }

    /// The outcome of a task that has ended.
    pub(super) fn outcome(self) -> Result<String, String> {
        match (self.result, self.error) {
            (Some(result), _) => result.outcome(),
            (None, Some(error)) => Err(error.to_string()),
            (None, None) => Err(self.status),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ToolResult {
    content: Vec<Content>,
    is_error: bool,
}

impl ToolResult {
    fn outcome(self) -> Result<String, String> {
        let text = self.content.into_iter().next().map_or_else(String::new, |it| it.text);
        if self.is_error { Err(text) } else { Ok(text) }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Content {
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyResult {
    result_type: String,
    request_state: Option<String>,
    #[serde(flatten)]
    tool: ToolResult,
    #[serde(flatten)]
    task: Task,
}

/// The meaning of a message.
#[derive(Debug)]
pub(super) enum Meaning {
    /// The response to the request with this id.
    Response(String, Answer),
    Progress(f64),
    /// A stream for changes is open, with these tasks.
    Acknowledged(Vec<String>),
    /// The state of a task, for the request with this id.
    TaskChanged(Task, Option<i64>),
    /// A resource has changed, for the request with this id.
    Updated(String, Option<i64>),
    Other,
}

/// A response.
#[derive(Debug)]
pub(super) enum Answer {
    /// The result of a tool, or an error.
    Complete(Result<String, String>),
    /// The answers to these questions are needed, and this state with them.
    Asked(Vec<String>, String),
    /// The call continues as a task.
    Started(Task),
    /// The state of a task.
    Read(Task),
}

impl Meaning {
    /// Reads a message. `None`: it is malformed.
    pub(super) fn of(text: &str) -> Option<Self> {
        let message: Message<'_> = serde_json::from_str(text).ok()?;
        let Some(method) = message.method else {
            let id = message.id?.get().trim_matches('"').to_owned();
            return Some(Self::Response(id, answer(message.result, message.error)?));
        };
        if message.id.is_some() {
            return None; // a server sends no requests in this revision
        }
        let Some(params) = message.params else {
            return Some(Self::Other);
        };
        let subscription = params.meta.as_ref().and_then(|meta| meta.subscription);
        Some(match &*method {
            "notifications/progress" => Self::Progress(params.progress?),
            "notifications/subscriptions/acknowledged" => {
                let tasks = params.notifications?.task_ids;
                Self::Acknowledged(tasks.into_iter().map(Cow::into_owned).collect())
            }
            "notifications/tasks" => Self::TaskChanged(params.task, subscription),
            "notifications/resources/updated" => {
                Self::Updated(params.uri?.into_owned(), subscription)
            }
            _ => Self::Other,
        })
    }
}

fn answer(result: Option<&RawValue>, error: Option<&RawValue>) -> Option<Answer> {
    let Some(result) = result else {
        return Some(Answer::Complete(Err(error?.get().to_owned())));
    };
    let AnyResult { result_type, request_state, tool, task } =
        serde_json::from_str(result.get()).ok()?;
    Some(match &*result_type {
        "complete" if task.id.is_empty() => Answer::Complete(tool.outcome()),
        "complete" => Answer::Read(task),
        "input_required" => Answer::Asked(task.questions(), request_state?),
        "task" => Answer::Started(task),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_told_apart() {
        let read = |result: &str| {
            let text = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#);
            match Meaning::of(&text) {
                Some(Meaning::Response(id, answer)) if id == "7" => answer,
                other => panic!("{other:?}"),
            }
        };
        let asked =
            r#"{"resultType":"input_required","inputRequests":{"a":{}},"requestState":"s"}"#;
        assert!(matches!(read(asked), Answer::Asked(keys, state) if keys == ["a"] && state == "s"));
        let text = r#"{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#;
        assert!(matches!(read(text), Answer::Complete(Ok(text)) if text == "done"));
        let task = r#"{"resultType":"task","taskId":"t","status":"working"}"#;
        assert!(matches!(read(task), Answer::Started(task) if task.id == "t"));
    }
}
