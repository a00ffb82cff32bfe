use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::state::{Memory, WaitingCall};
use crate::{
    id::SessionId,
    question::ClientAnswer,
    rpc::RequestId,
    store::{
        Answered, OpenQuestion, Questions, STREAM_TTL, Signal, StoreError, StoredCall, Writer,
    },
};

#[async_trait]
impl Questions for Memory {
    async fn suspend(
        &self,
        writer: &Writer,
        call: &StoredCall,
        open: &[OpenQuestion],
        ttl: Duration,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let mut state = self.state();
        let is_stored = state.calls.iter().any(|call| call.writer == *writer);
        let Some(stream) = state.streams.get_mut(&writer.key) else {
            return Ok(false);
        };
        let Some(pending) = stream.pending(writer) else {
            return Ok(false);
        };
        if is_stored {
            return Ok(true);
        }
        let now = Instant::now();
        pending.lapses = now + ttl + lease;
        pending.call = None;
        stream.expires = stream.expires.max(now + ttl + lease + STREAM_TTL);
        for question in open {
            stream.push(&question.message);
        }
        let open =
            open.iter().map(|question| (question.id.clone(), question.key.clone())).collect();
        let (writer, call) = (writer.clone(), call.clone());
        let signal = Signal::StreamChanged(writer.key.clone());
        state.calls.push(WaitingCall { writer, call, open, expires: now + ttl });
        drop(state);
        self.deliver(signal);
        Ok(true)
    }

    async fn answer(
        &self,
        session: &SessionId,
        question: &str,
        answer: ClientAnswer,
        lease: Duration,
    ) -> Result<Answered, StoreError> {
        let mut state = self.state();
        let now = Instant::now();
        let found = state.calls.iter_mut().enumerate().find_map(|(index, waiting)| {
            let alive = waiting.writer.key.session == *session && now < waiting.expires;
            let key = alive.then(|| waiting.open.remove(question)).flatten()?;
            waiting.call.answers.insert(key, answer.clone());
            Some((index, waiting.open.is_empty()))
        });
        let Some((index, complete)) = found else {
            return Ok(Answered::Unknown);
        };
        if !complete {
            return Ok(Answered::Waiting);
        }
        let WaitingCall { mut writer, call, .. } = state.calls.swap_remove(index);
        let pending = state.streams.get_mut(&writer.key).and_then(|stream| stream.pending(&writer));
        let Some(pending) = pending else {
            return Ok(Answered::Unknown);
        };
        pending.term += 1;
        pending.written = 0;
        pending.lapses = now + lease;
        pending.call = Some(call.clone());
        pending.started = false;
        writer.term = pending.term;
        Ok(Answered::Complete(writer, call))
    }

    async fn withdraw(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<Writer>, StoreError> {
        let mut state = self.state();
        let found = state.calls.iter().position(|call| {
            call.writer.key.session == *session && call.writer.request == *request
        });
        Ok(found.map(|index| state.calls.swap_remove(index).writer))
    }
}
