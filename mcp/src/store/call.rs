//! Legacy calls as the stores keep them: who may write for one, and what it takes to run it again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::StreamKey;
use crate::{id::JobId, question::Answer, rpc::RequestId};

/// One run of one request of a stream: who may write for it now.
///
/// A request may be run several times: once more after each round of questions, and once more when
/// the instance that ran it has died. Each run has the next term, and the store drops what an
/// earlier one still writes, as when a machine that everybody took for dead comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// The stream that will hold the answer.
    pub key: StreamKey,
    /// The client's id of the call.
    pub request: RequestId,
    /// Which run of it: 0 is the first.
    pub term: u64,
}

impl Writer {
    /// The id of the job that answers the request. It is the same for every run of the request: a run
    /// that was lost with its instance may have created the job. As hard to guess as the id of the
    /// stream.
    pub(crate) fn job_id(&self) -> JobId {
        let named = serde_json::to_vec(&(&self.key, &self.request));
        JobId::of_hash(&Sha256::digest(named.expect("ids are plain data")).into())
    }
}

/// A legacy call as another instance needs it, to go on with it or to run it again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredCall {
    /// The method.
    pub method: String,
    /// The parameters, as they were sent.
    pub params: Option<Box<RawValue>>,
    /// The answers so far, by the tool's own key.
    #[serde(default)]
    pub answers: BTreeMap<String, Answer>,
    /// The last progress that the client saw before a question: it may only grow.
    #[serde(default)]
    pub progress: Option<f64>,
}

impl StoredCall {
    /// About how many bytes the store needs for it.
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
