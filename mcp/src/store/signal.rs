//! Signals between instances, and the topics on which they are published.

use serde::{Deserialize, Serialize};

use super::StreamKey;
use crate::{
    caller::UserId,
    id::{JobId, SessionId},
    rpc::RequestId,
};

/// A notification to other instances. Only a hint: the state itself is in a store, so a receiver
/// that misses a signal finds the change by reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Signal {
    /// The contents of a resource have changed.
    ResourceUpdated {
        /// The owner of the resource.
        user: UserId,
        /// The URI of the resource.
        uri: String,
    },
    /// The resource list of a user has changed.
    ResourceListChanged {
        /// The user.
        user: UserId,
    },
    /// The tool list has changed, for all users.
    ToolListChanged,
    /// The prompt list has changed, for all users.
    PromptListChanged,
    /// A grant was revoked: its tokens are invalid, and its open streams must end.
    Revoked {
        /// The grant id.
        grant: String,
    },
    /// All tokens that were issued to a user before this time are invalid.
    CutOff {
        /// The user.
        user: UserId,
        /// The time in microseconds since the Unix epoch.
        at: i64,
    },
    /// A signing key was revoked: the access tokens that it signed are invalid.
    KeyRevoked {
        /// The key id.
        key: String,
    },
    /// The client cancelled a call, or all calls of a session.
    Cancelled {
        /// The session.
        session: SessionId,
        /// The request id of the call. `None`: all calls of the session.
        request: Option<RequestId>,
    },
    /// A stream has new events or has ended.
    StreamChanged(StreamKey),
    /// The socket of a stream must be closed; the client will resume the stream.
    StreamReleased(StreamKey),
    /// Another socket serves the stream now. The previous one must close, so that each message is
    /// sent on one socket only.
    StreamTaken {
        /// The stream.
        key: StreamKey,
        /// The id of the reader that serves the stream now.
        holder: String,
    },
    /// The session was deleted.
    SessionEnded(SessionId),
    /// The progress, status or outcome of a job has changed.
    JobChanged {
        /// The job.
        job: JobId,
    },
    /// A message of a running job to a client whose call is open ([`crate::job::Origin::Call`]).
    JobMessage {
        /// The job.
        job: JobId,
        /// The progress that the message reports, if any: a message whose progress does not exceed
        /// the last one is dropped.
        progress: Option<f64>,
        /// A complete JSON-RPC notification.
        message: String,
    },
    /// A job can be claimed.
    JobQueued,
    /// A job was cancelled: its worker must stop.
    JobCancelled {
        /// The job.
        job: JobId,
    },
}

/// The topic of a [`Subscription`](super::Subscription).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Changes of the resources of one user.
    User(UserId),
    /// Changes that concern all users.
    Everyone,
    /// The streams of one session.
    Session(SessionId),
    /// Cancellations and revocations, which every instance must process.
    Control,
    /// Changes of one job.
    Job(JobId),
    /// New and cancelled jobs, for workers.
    Work,
    /// One worker, by name. No signal is published on this topic: the subscription shows that the
    /// process of the worker exists ([`Bus::have_subscribers`](super::Bus::have_subscribers)).
    Worker(String),
}

impl Signal {
    /// Whether the signal may contain content of a user, so that it must be encrypted outside the
    /// process.
    pub(super) fn has_content(&self) -> bool {
        matches!(self, Self::JobMessage { .. })
    }

    /// The topic on which the signal is published.
    pub fn topic(&self) -> Topic {
        match self {
            Self::ResourceUpdated { user, .. } | Self::ResourceListChanged { user } => {
                Topic::User(user.clone())
            }
            Self::ToolListChanged | Self::PromptListChanged => Topic::Everyone,
            Self::Cancelled { .. }
            | Self::Revoked { .. }
            | Self::CutOff { .. }
            | Self::KeyRevoked { .. } => Topic::Control,
            Self::StreamChanged(key)
            | Self::StreamReleased(key)
            | Self::StreamTaken { key, .. } => Topic::Session(key.session.clone()),
            Self::SessionEnded(session) => Topic::Session(session.clone()),
            Self::JobChanged { job } | Self::JobMessage { job, .. } => Topic::Job(job.clone()),
            Self::JobQueued | Self::JobCancelled { .. } => Topic::Work,
        }
    }
}
