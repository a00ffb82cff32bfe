//! Signals between instances, and the topics on which they are published.

use serde::{Deserialize, Serialize};

use super::StreamKey;
use crate::{
    caller::UserId,
    id::{JobId, SessionId},
    rpc::RequestId,
};

/// Something that other instances may want to know now. A hint, never the only copy: whoever misses
/// one finds the same by reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Signal {
    /// A resource of this user has new contents.
    ResourceUpdated {
        /// Whose.
        user: UserId,
        /// Which.
        uri: String,
    },
    /// This user's list of resources has changed.
    ResourceListChanged {
        /// Whose.
        user: UserId,
    },
    /// The list of tools has changed, for everyone.
    ToolListChanged,
    /// The list of prompts has changed, for everyone.
    PromptListChanged,
    /// A grant was revoked: its tokens are worth nothing, and its streams end.
    Revoked {
        /// The grant.
        grant: String,
    },
    /// Everything that was issued to a person until then is void.
    CutOff {
        /// The person.
        user: UserId,
        /// In microseconds since the Unix epoch.
        at: i64,
    },
    /// A key that signs access tokens was revoked: what it signed is void.
    KeyRevoked {
        /// Its name.
        key: String,
    },
    /// The client cancelled a call, or all calls of a session.
    Cancelled {
        /// The session.
        session: SessionId,
        /// The call; all of them if absent.
        request: Option<RequestId>,
    },
    /// A stream has new events or has ended.
    StreamChanged(StreamKey),
    /// The writer asks that the socket be closed: the client will come back for the rest.
    StreamReleased(StreamKey),
    /// Another socket has taken the stream over: the old one must close, so that each message goes
    /// to one socket only.
    StreamTaken {
        /// The stream.
        key: StreamKey,
        /// Who has it now.
        holder: String,
    },
    /// The session was deleted.
    SessionEnded(SessionId),
    /// A job has changed: progress, status, outcome.
    JobChanged {
        /// Which one.
        job: JobId,
    },
    /// A message of a running job to the client whose call is open ([`crate::job::Origin::Call`]).
    JobMessage {
        /// Which job.
        job: JobId,
        /// How far it is, if the message says so: only what is more than before is passed on.
        progress: Option<f64>,
        /// A whole JSON-RPC notification.
        message: String,
    },
    /// There is a job to claim.
    JobQueued,
    /// A job was cancelled: whoever runs it stops.
    JobCancelled {
        /// Which one.
        job: JobId,
    },
}

/// What a [`Subscription`] listens to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Changes of one user's resources.
    User(UserId),
    /// Changes for everyone.
    Everyone,
    /// Streams of one session.
    Session(SessionId),
    /// What each instance must see: cancellations and revocations.
    Control,
    /// Changes of one job.
    Job(JobId),
    /// Work for workers.
    Work,
}

impl Signal {
    /// Who hears of it.
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
