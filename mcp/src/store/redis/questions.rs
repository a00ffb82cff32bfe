//! Calls that wait for answers: one hash per call, and one key per open question.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    Redis,
    value::{assemble, field, millis, stored_text, unreadable, write},
};
use crate::{
    id::random_id,
    json,
    question::ClientAnswer,
    rpc::RequestId,
    store::{
        Answered, MAX_EVENTS, MAX_STREAM_BYTES, OpenQuestion, Questions, STREAM_TTL, SessionId,
        StoreError, StoredCall, StreamId, StreamKey, Writer, count_appended,
    },
};

/// Field: the JSON-RPC id of the call, as [`field`] encodes it.
const REQUEST: &str = "request";
/// Field: the stream of the call.
const STREAM: &str = "stream";
/// Field: the run of the call.
const TERM: &str = "term";

/// Reads the writer of a call hash. `Ok(None)`: the hash is incomplete.
fn writer(
    session: &SessionId,
    fields: &HashMap<String, String>,
) -> Result<Option<Writer>, StoreError> {
    let (Some(request), Some(stream), Some(term)) =
        (fields.get(REQUEST), fields.get(STREAM), fields.get(TERM))
    else {
        return Ok(None);
    };
    Ok(Some(Writer {
        key: StreamKey { session: session.clone(), stream: StreamId::from_stored(stream) },
        request: json::from_str(request).map_err(unreadable)?,
        term: term.parse().map_err(unreadable)?,
    }))
}

#[async_trait]
impl Questions for Redis {
    async fn suspend(
        &self,
        writer: &Writer,
        call: &StoredCall,
        open: &[OpenQuestion],
        ttl: Duration,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let session = &writer.key.session;
        // Derived from the questions, so that a repeated call uses the same id.
        let id = open.first().map_or_else(random_id, |question| question.id.clone());
        let (channel, signal) = self.wake(&writer.key)?;
        let stored = StoredCall { answers: BTreeMap::new(), ..call.clone() };
        let mut suspend = self.scripts.question_suspend.prepare_invoke();
        suspend
            .key(self.meta_key(&writer.key))
            .key(self.log_key(&writer.key))
            .key(self.running_key(writer))
            .key(self.key(session, &format!("call:{id}")))
            .key(self.key(session, "waiting"))
            .arg(field(&writer.request))
            .arg(writer.term)
            .arg(millis(ttl))
            .arg(millis(lease))
            .arg(millis(STREAM_TTL))
            .arg(&id)
            .arg(writer.key.stream.as_str())
            .arg(self.key(session, "ask:"))
            .arg(write(&stored)?)
            .arg(MAX_EVENTS)
            .arg(channel)
            .arg(signal)
            .arg(open.len())
            .arg(MAX_STREAM_BYTES);
        for question in open {
            suspend.arg(&question.id).arg(&question.key).arg(stored_text(&question.message));
        }
        for (name, answer) in &call.answers {
            suspend.arg(name).arg(write(answer)?);
        }
        let suspended = self.script("question_ask", &suspend).await?;
        if suspended {
            count_appended(open.len());
        }
        Ok(suspended)
    }

    async fn answer(
        &self,
        session: &SessionId,
        question: &str,
        answer: ClientAnswer,
        lease: Duration,
    ) -> Result<Answered, StoreError> {
        let mut take = self.scripts.question_answer.prepare_invoke();
        take.key(self.key(session, &format!("ask:{question}")))
            .key(self.key(session, "waiting"))
            .arg(self.key(session, "call:"))
            .arg(self.key(session, "meta:"))
            .arg(self.key(session, "running:"))
            .arg(write(&answer)?)
            .arg(millis(lease))
            .arg(millis(STREAM_TTL));
        let taken: Option<HashMap<String, String>> = self.script("question_answer", &take).await?;
        let fields = match taken {
            None => return Ok(Answered::Unknown),
            Some(fields) if fields.is_empty() => return Ok(Answered::Waiting),
            Some(fields) => fields,
        };
        match (writer(session, &fields)?, assemble(&fields)?) {
            (Some(writer), Some(call)) => Ok(Answered::Complete(writer, call)),
            _ => Err(unreadable("a waiting call is incomplete")),
        }
    }

    async fn withdraw(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<Writer>, StoreError> {
        let mut take = self.scripts.question_withdraw.prepare_invoke();
        take.key(self.key(session, "waiting")).arg(self.key(session, "call:")).arg(field(request));
        let taken: Option<(Option<String>, Option<u64>)> =
            self.script("question_withdraw", &take).await?;
        let Some((Some(stream), Some(term))) = taken else {
            return Ok(None);
        };
        let stream = StreamId::from_stored(&stream);
        let key = StreamKey { session: session.clone(), stream };
        Ok(Some(Writer { key, request: request.clone(), term }))
    }
}
