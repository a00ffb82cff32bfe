//! Legacy calls as the stores represent them: the fencing token of a run, and the data needed to
//! run a call again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::StreamKey;
use crate::{id::JobId, question::ClientAnswer, rpc::RequestId};

/// Identifies one run of one request of a stream, and thereby the run that may write for it.
///
/// A request may run several times: again after each round of questions, and again when the
/// instance that ran it has died. Each run has the next `term`, a fencing token: the store rejects
/// writes of earlier runs, such as those of an instance that was presumed dead and resumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// The stream that receives the response.
    pub key: StreamKey,
    /// The JSON-RPC id of the request.
    pub request: RequestId,
    /// The number of the run, from 0.
    pub term: u64,
}

impl Writer {
    /// The id of the job that answers the request. All runs of a request have the same one, because
    /// a run that was lost with its instance may have created the job already. As hard to guess as
    /// the stream id.
    pub(crate) fn job_id(&self) -> JobId {
        let named = serde_json::to_vec(&(&self.key, &self.request));
        JobId::of_hash(&Sha256::digest(named.expect("ids are plain data")).into())
    }
}

/// The data that another instance needs to resume a legacy call or to run it again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredCall {
    /// The JSON-RPC method.
    pub method: String,
    /// The parameters.
    pub params: Option<Box<RawValue>>,
    /// The answers so far, by the tool's key of the question.
    #[serde(default)]
    pub answers: BTreeMap<String, ClientAnswer>,
    /// When the last questions were asked, in seconds since the Unix epoch.
    #[serde(default)]
    pub asked_at: Option<i64>,
    /// The last progress sent before the question: progress must increase.
    #[serde(default)]
    pub progress: Option<f64>,
}

impl StoredCall {
    /// The approximate size in the store, in bytes.
    pub(crate) fn size(&self) -> usize {
        let params = self.params.as_ref().map_or(0, |params| params.get().len());
        let answers = serde_json::to_vec(&self.answers).map_or(0, |answers| answers.len());
        params + answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{SessionId, StreamId};

    #[test]
    fn every_run_of_a_request_has_the_same_job_and_no_other_request_has_it() {
        let key = || StreamKey { session: SessionId::random(), stream: StreamId::random() };
        let first = Writer { key: key(), request: RequestId::Number(1), term: 0 };
        let again = Writer { term: 1, ..first.clone() };
        assert_eq!(first.job_id(), again.job_id());
        assert_eq!(JobId::parse(first.job_id().as_str()), Some(first.job_id()));
        let text = Writer { request: RequestId::String("1".to_owned()), ..first.clone() };
        let elsewhere = Writer { key: key(), ..first.clone() };
        for other in [text, elsewhere] {
            assert_ne!(first.job_id(), other.job_id());
        }
    }
}
