//! What the clients of calls have seen of them.

use super::plan::ToolKind;

/// Part of the error of a call that had no effect because a store did not answer.
pub(super) const UNAVAILABLE: &str = "unavailable right now; please try again";

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The client has its response.
    Answered,
    /// The client has cancelled it and has seen the end of the stream.
    Cancelled,
    /// The connection was lost before the client could resume.
    Unknown,
    /// The session or the stream was lost with the data of the store.
    Lost,
}

/// A call, after its client has seen its end.
#[derive(Clone, Debug)]
pub(super) struct CallRecord {
    pub(super) key: String,
    pub(super) tool: ToolKind,
    /// The number of steps of the tool.
    pub(super) steps: u64,
    pub(super) request: i64,
    pub(super) session: String,
    pub(super) stream: Option<String>,
    pub(super) events: Vec<String>,
    pub(super) response: Option<Result<String, String>>,
    pub(super) fate: Fate,
    pub(super) answers: Vec<SentAnswer>,
    /// How long the call took, in milliseconds.
    pub(super) duration: u64,
    /// How long the tool and the user needed, in milliseconds.
    pub(super) needed: u64,
    /// The last event of the stream when the cancellation was acknowledged.
    pub(super) cancelled_after: Option<u64>,
}

impl CallRecord {
    pub(super) fn new(
        key: String,
        (tool, steps): (ToolKind, u64),
        request: i64,
        session: String,
        needed: u64,
    ) -> Self {
        Self {
            key,
            tool,
            steps,
            request,
            session,
            stream: None,
            events: Vec::new(),
            response: None,
            fate: Fate::Unknown,
            answers: Vec::new(),
            duration: 0,
            needed,
            cancelled_after: None,
        }
    }
}

/// An answer that a client has sent.
#[derive(Clone, Debug)]
pub(super) struct SentAnswer {
    pub(super) value: String,
    /// Sent after another answer to the same question was accepted.
    pub(super) is_late: bool,
}

/// A call or a task of a modern client.
#[derive(Clone, Debug)]
pub(super) struct ModernRecord {
    pub(super) key: String,
    pub(super) tool: ToolKind,
    /// The number of steps of the tool.
    pub(super) steps: u64,
    /// The responses with a result or an error; several if the client has answered twice.
    pub(super) responses: Vec<Result<String, String>>,
    /// The answers that the client has sent.
    pub(super) answers: Vec<String>,
    /// The number of requests with all answers that the tool needs.
    pub(super) complete_requests: usize,
    /// Whether there is another request with the same questions.
    pub(super) is_repeated: bool,
    /// When the client closed its connection, or its cancellation was acknowledged, in milliseconds.
    pub(super) closed_at: Option<u64>,
    /// Whether the client has a task handle.
    pub(super) is_task: bool,
    pub(super) fate: Fate,
    /// How long the call took, in milliseconds.
    pub(super) duration: u64,
    /// How long the tool and the user needed, in milliseconds.
    pub(super) needed: u64,
}

impl ModernRecord {
    pub(super) fn new(key: String, tool: ToolKind, steps: u64, needed: u64) -> Self {
        Self {
            key,
            tool,
            steps,
            responses: Vec::new(),
            answers: Vec::new(),
            complete_requests: 0,
            is_repeated: false,
            closed_at: None,
            is_task: false,
            fate: Fate::Unknown,
            duration: 0,
            needed,
        }
    }
}

/// A stream for changes of a modern client, while it was open.
#[derive(Clone, Debug)]
pub(super) struct ListenRecord {
    /// When it was acknowledged, and when it ended, in milliseconds.
    pub(super) open: (u64, u64),
    /// When it has told of changes.
    pub(super) updates: Vec<u64>,
}
