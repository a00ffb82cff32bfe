use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::state::{Memory, Stream};
use crate::{
    id::{JobId, SessionId, StreamId},
    rpc::RequestId,
    store::{
        EventNumber, Mark, Orphan, Page, STREAM_TTL, Signal, StoreError, StoredCall, StreamKey,
        StreamLog, Writer,
    },
};

#[async_trait]
impl StreamLog for Memory {
    async fn open(
        &self,
        key: &StreamKey,
        requests: &[(RequestId, Option<StoredCall>)],
        lease: Duration,
    ) -> Result<(), StoreError> {
        self.state().streams.insert(key.clone(), Stream::new(requests, lease));
        Ok(())
    }

    async fn append(&self, session: &SessionId, message: &str) -> Result<(), StoreError> {
        let key = StreamKey { session: session.clone(), stream: StreamId::standalone() };
        {
            let mut state = self.state();
            let stream = state.streams.entry(key.clone());
            stream.or_insert_with(|| Stream::new(&[], Duration::ZERO)).push(message);
        }
        self.deliver(Signal::StreamChanged(key));
        Ok(())
    }

    async fn write(&self, writer: &Writer, number: u64, message: &str) -> Result<bool, StoreError> {
        {
            let mut state = self.state();
            let Some(stream) = state.streams.get_mut(&writer.key) else {
                return Ok(false);
            };
            let Some(pending) = stream.pending(writer) else {
                return Ok(false);
            };
            if number <= pending.written {
                return Ok(true);
            }
            pending.written = number;
            stream.push(message);
        }
        self.deliver(Signal::StreamChanged(writer.key.clone()));
        Ok(true)
    }

    async fn finish(&self, writer: &Writer, answer: Option<&str>) -> Result<(), StoreError> {
        {
            let mut state = self.state();
            let Some(stream) = state.streams.get_mut(&writer.key) else {
                return Ok(());
            };
            if stream.pending(writer).is_none() {
                return Ok(());
            }
            stream.pending.retain(|pending| pending.request != writer.request);
            if let Some(answer) = answer {
                stream.push(answer);
            }
        }
        self.deliver(Signal::StreamChanged(writer.key.clone()));
        Ok(())
    }

    async fn cancel(&self, session: &SessionId, request: &RequestId) -> Result<(), StoreError> {
        let mut changed = Vec::new();
        for (key, stream) in &mut self.state().streams {
            let before = stream.pending.len();
            if key.session == *session {
                stream
                    .pending
                    .retain(|pending| pending.request != *request || pending.job.is_some());
            }
            if stream.pending.len() < before {
                changed.push(key.clone());
            }
        }
        for key in changed {
            self.deliver(Signal::StreamChanged(key));
        }
        Ok(())
    }

    async fn renew(&self, writer: &Writer, lease: Duration) -> Result<bool, StoreError> {
        let mut state = self.state();
        let Some(stream) = state.streams.get_mut(&writer.key) else {
            return Ok(false);
        };
        let Some(pending) = stream.pending(writer) else {
            return Ok(false);
        };
        let now = Instant::now();
        pending.lapses = now + lease;
        pending.started = true;
        stream.expires = stream.expires.max(now + lease + STREAM_TTL);
        Ok(true)
    }

    async fn read(
        &self,
        key: &StreamKey,
        after: EventNumber,
        max: usize,
    ) -> Result<Option<Page>, StoreError> {
        let state = self.state();
        let standalone = key.stream.is_standalone();
        let Some(stream) = state.streams.get(key) else {
            return Ok(standalone.then(Page::default));
        };
        let events: Vec<_> =
            stream.events.iter().filter(|(number, _)| *number > after).take(max).cloned().collect();
        let complete = events.last().map_or(after, |it| it.0) >= stream.last;
        let open = standalone || !stream.pending.is_empty();
        let lapses = stream.pending.iter().map(|it| it.lapses).min();
        let jobs = stream
            .pending
            .iter()
            .filter_map(|pending| Some((pending.writer(key), pending.job.clone()?)));
        Ok(Some(Page {
            jobs: jobs.collect(),
            events,
            last: stream.last,
            ended: complete && !open,
            lapses: lapses.map(|lapses_at| lapses_at.saturating_duration_since(Instant::now())),
        }))
    }

    async fn take_over(&self, key: &StreamKey, lease: Duration) -> Result<Vec<Orphan>, StoreError> {
        let mut state = self.state();
        let now = Instant::now();
        let Some(stream) = state.streams.get_mut(key) else {
            return Ok(Vec::new());
        };
        let lapsed = stream.pending.iter_mut().filter(|it| it.lapses <= now);
        let taken = lapsed.map(|pending| {
            pending.term += 1;
            pending.lost += 1;
            pending.written = 0;
            pending.lapses = now + lease;
            Orphan {
                writer: pending.writer(key),
                lost: pending.lost,
                call: pending.call.clone(),
                started: pending.started,
            }
        });
        Ok(taken.collect())
    }

    async fn hand_over(
        &self,
        writer: &Writer,
        job: &JobId,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        {
            let mut state = self.state();
            let stream = state.streams.get_mut(&writer.key);
            let Some(pending) = stream.and_then(|stream| stream.pending(writer)) else {
                return Ok(false);
            };
            pending.job = Some(job.clone());
            pending.call = None;
        }
        self.renew(writer, lease).await
    }

    async fn job_of(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<(Writer, JobId)>, StoreError> {
        let state = self.state();
        let streams = state.streams.iter().filter(|(key, _)| key.session == *session);
        let mut all = streams
            .flat_map(|(key, stream)| stream.pending.iter().map(move |pending| (key, pending)));
        let found = all.find(|(_, pending)| pending.request == *request && pending.job.is_some());
        Ok(found.and_then(|(key, pending)| Some((pending.writer(key), pending.job.clone()?))))
    }

    async fn write_for_job(
        &self,
        writer: &Writer,
        mark: Option<&Mark>,
        message: &str,
    ) -> Result<bool, StoreError> {
        {
            let mut state = self.state();
            let Some(stream) = state.streams.get_mut(&writer.key) else {
                return Ok(false);
            };
            let Some(pending) = stream.pending(writer) else {
                return Ok(false);
            };
            if let Some(Mark { name, value }) = mark {
                if pending.marks.get(name).is_some_and(|before| value <= before) {
                    return Ok(true);
                }
                pending.marks.insert(name.clone(), *value);
            }
            stream.push(message);
        }
        self.deliver(Signal::StreamChanged(writer.key.clone()));
        Ok(true)
    }

    async fn forget(&self, session: &SessionId) -> Result<(), StoreError> {
        self.state().streams.retain(|key, _| key.session != *session);
        Ok(())
    }

    async fn forget_stream(&self, key: &StreamKey) -> Result<(), StoreError> {
        self.state().streams.remove(key);
        Ok(())
    }

    async fn call_streams(&self, session: &SessionId) -> Result<Vec<StreamId>, StoreError> {
        let state = self.state();
        let streams = state.streams.keys().filter(|key| key.session == *session);
        let calls = streams.map(|key| key.stream.clone()).filter(|it| !it.is_standalone());
        Ok(calls.collect())
    }
}
