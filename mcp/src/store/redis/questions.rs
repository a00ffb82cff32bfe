//! Calls that wait for the client: one hash each, and one key per open question.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    Redis,
    value::{assemble, field, millis, stored_text, unavailable, write},
};
use crate::{
    id::random_id,
    json,
    question::Answer,
    rpc::RequestId,
    store::{
        Answered, MAX_EVENTS, MAX_STREAM_BYTES, OpenQuestion, Questions, STREAM_TTL, SessionId,
        StoreError, StoredCall, StreamId, StreamKey, Writer,
    },
};

/// The client's id of the call, as [`field`] writes it.
const REQUEST: &str = "request";
/// The stream of the call.
const STREAM: &str = "stream";
/// Which run of the call it is.
const TERM: &str = "term";

/// Whose the call of a hash is.
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
        request: json::from_str(request).map_err(unavailable)?,
        term: term.parse().map_err(unavailable)?,
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
        // The same whenever the same is tried again.
        let id = open.first().map_or_else(random_id, |it| it.id.clone());
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
        self.script(&suspend).await
    }

    async fn answer(
        &self,
        session: &SessionId,
        question: &str,
        answer: Answer,
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
        let taken: Option<HashMap<String, String>> = self.script(&take).await?;
        let fields = match taken {
            None => return Ok(Answered::Unknown),
            Some(fields) if fields.is_empty() => return Ok(Answered::Waiting),
            Some(fields) => fields,
        };
        match (writer(session, &fields)?, assemble(&fields)?) {
            (Some(writer), Some(call)) => Ok(Answered::Complete(writer, call)),
            _ => Err(unavailable("a waiting call has lost its contents")),
        }
    }

    async fn withdraw(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<Writer>, StoreError> {
        let mut take = self.scripts.question_withdraw.prepare_invoke();
        take.key(self.key(session, "waiting")).arg(self.key(session, "call:")).arg(field(request));
        let taken: Option<(Option<String>, Option<u64>)> = self.script(&take).await?;
        let Some((Some(stream), Some(term))) = taken else {
            return Ok(None);
        };
        let stream = StreamId::from_stored(&stream);
        let key = StreamKey { session: session.clone(), stream };
        Ok(Some(Writer { key, request: request.clone(), term }))
    }
}
