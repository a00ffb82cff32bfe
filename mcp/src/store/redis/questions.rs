//! Calls that wait for answers: one hash per call, and one key per open question.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;

use super::{
    Redis,
    call_hash::{self, CallFields, assemble, seal_answer, seal_call},
    sealed::Content,
    value::{field, millis, unreadable},
};
use crate::{
    id::random_id,
    question::ClientAnswer,
    rpc::RequestId,
    store::{
        Answered, MAX_EVENTS, MAX_STREAM_BYTES, OpenQuestion, Questions, STREAM_TTL, SessionId,
        StoreError, StoredCall, StreamId, StreamKey, Writer, count_appended,
    },
};

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
        let content = &self.content;
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
            .arg(seal_call(content, writer, &stored, open)?)
            .arg(MAX_EVENTS)
            .arg(channel)
            .arg(signal)
            .arg(open.len())
            .arg(MAX_STREAM_BYTES);
        let events = Content::of_event(&writer.key);
        for question in open {
            let message = content.seal(&events, &question.message);
            suspend.arg(&question.id).arg(&question.key).arg(message);
        }
        for (name, answer) in &call.answers {
            let place = Content::of_earlier_answer(writer, name);
            suspend.arg(name).arg(content.write(&place, answer)?);
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
            .arg(seal_answer(&self.content, session, question, &answer)?)
            .arg(millis(lease))
            .arg(millis(STREAM_TTL));
        let taken: Option<CallFields> = self.script("question_answer", &take).await?;
        let fields = match taken {
            None => return Ok(Answered::Unknown),
            Some(fields) if fields.is_empty() => return Ok(Answered::Waiting),
            Some(fields) => fields,
        };
        let Some(writer) = call_hash::writer(session, &fields)? else {
            return Err(unreadable("a waiting call is incomplete"));
        };
        // A call that cannot be decrypted is answered like a lost one, once its lease has lapsed.
        let call = assemble(&self.content, &writer, &fields)?;
        Ok(call.map_or(Answered::Unknown, |call| Answered::Complete(writer, call)))
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
