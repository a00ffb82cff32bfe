//! Stream logs: a Redis stream for the events, and a hash for the state of the open requests.
//!
//! The Redis stream is created with the first event, because even an almost empty one uses 4 kB.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::streams::StreamRangeReply;

use super::{
    Redis,
    call_hash::{CallFields, assemble, seal_call},
    sealed::Content,
    value::{FORMAT, field, millis, stored_text, unreadable, write},
};
use crate::{
    job::JobId,
    json,
    rpc::RequestId,
    store::{
        EventNumber, MAX_EVENTS, MAX_STREAM_BYTES, Mark, Orphan, Page, STREAM_TTL, SessionId,
        Signal, StoreError, StoredCall, StreamId, StreamKey, StreamLog, Writer, count_appended,
    },
};

/// Field: the number of the last event.
const LAST: &str = "last";
/// Field: the number of unanswered requests.
const OPEN: &str = "open";
/// Prefix of the fields that represent one unanswered request each. The value consists of four
/// numbers: the run, the time when its lease lapses (in ms since the Unix epoch by the clock of
/// Redis), the number of the run's last message, and how many times the call was lost.
const PENDING: &str = "pending:";

/// Prefix of the fields that hold the job of one unanswered request each.
const JOB: &str = "job:";
/// The key of the hash of a session's requests that jobs answer: stream, run and job of each.
const JOBS: &str = "jobs";

/// Field of the hash of a running call: its current run has not started.
const UNSTARTED: &str = "unstarted";

/// The key of the set of a session's streams.
const STREAMS: &str = "streams";

/// The time when the lease of a pending request lapses, in ms since the Unix epoch.
fn lapses(pending: &str) -> Option<u64> {
    pending.split(' ').nth(1)?.parse().ok()
}

/// The replies to the pipeline of [`StreamLog::read`].
type Read = (StreamRangeReply, BTreeMap<String, String>, (u64, u64));

/// A taken over call in the reply of the script: request, run, losses, call hash.
type Taken = (String, u64, u64, CallFields);

impl Redis {
    pub(super) fn log_key(&self, key: &StreamKey) -> String {
        self.key_of(&key.session, "log:", key.stream.as_str())
    }

    pub(super) fn meta_key(&self, key: &StreamKey) -> String {
        self.key_of(&key.session, "meta:", key.stream.as_str())
    }

    /// The key prefix of the running calls of a stream.
    fn running_keys(&self, key: &StreamKey) -> String {
        self.key(&key.session, &format!("running:{}:", key.stream.as_str()))
    }

    pub(super) fn running_key(&self, writer: &Writer) -> String {
        format!("{}{}", self.running_keys(&writer.key), field(&writer.request))
    }

    fn sealed_event(&self, key: &StreamKey, message: &str) -> Vec<u8> {
        self.content.seal(&Content::of_event(key), message)
    }

    /// The channel and the encoded signal that announce a change of a stream.
    pub(super) fn wake(&self, key: &StreamKey) -> Result<(String, String), StoreError> {
        let signal = Signal::StreamChanged(key.clone());
        Ok((self.connection.channel(&signal.topic()), write(&signal)?))
    }
}

#[async_trait]
impl StreamLog for Redis {
    async fn open(
        &self,
        key: &StreamKey,
        requests: &[(RequestId, Option<StoredCall>)],
        lease: Duration,
    ) -> Result<(), StoreError> {
        let mut open = self.scripts.stream_open.prepare_invoke();
        open.key(self.meta_key(key))
            .key(self.key(&key.session, STREAMS))
            .arg(self.running_keys(key))
            .arg(millis(lease))
            .arg(millis(STREAM_TTL))
            .arg(key.stream.as_str());
        for (request, call) in requests {
            let writer = Writer { key: key.clone(), request: request.clone(), term: 0 };
            let call = call.as_ref().map(|call| seal_call(&self.content, &writer, call, &[]));
            let call = call.transpose()?;
            open.arg(field(request)).arg(call.unwrap_or_default());
        }
        self.script("stream_open", &open).await
    }

    async fn append(&self, session: &SessionId, message: &str) -> Result<(), StoreError> {
        let key = StreamKey { session: session.clone(), stream: StreamId::standalone() };
        let (channel, signal) = self.wake(&key)?;
        let mut append = self.scripts.stream_append.prepare_invoke();
        append
            .key(self.log_key(&key))
            .key(self.meta_key(&key))
            .key(self.key(session, STREAMS))
            .arg(self.sealed_event(&key, message))
            .arg(MAX_EVENTS)
            .arg(millis(STREAM_TTL))
            .arg(key.stream.as_str())
            .arg(channel)
            .arg(signal)
            .arg(MAX_STREAM_BYTES);
        self.script::<()>("stream_append", &append).await?;
        count_appended(1);
        Ok(())
    }

    async fn write(&self, writer: &Writer, number: u64, message: &str) -> Result<bool, StoreError> {
        let (channel, signal) = self.wake(&writer.key)?;
        let mut write = self.scripts.stream_write.prepare_invoke();
        write
            .key(self.log_key(&writer.key))
            .key(self.meta_key(&writer.key))
            .arg(field(&writer.request))
            .arg(writer.term)
            .arg(number)
            .arg(self.sealed_event(&writer.key, message))
            .arg(MAX_EVENTS)
            .arg(millis(STREAM_TTL))
            .arg(channel)
            .arg(signal)
            .arg(MAX_STREAM_BYTES);
        let written = self.script("stream_write", &write).await?;
        if written {
            count_appended(1);
        }
        Ok(written)
    }

    async fn finish(&self, writer: &Writer, answer: Option<&str>) -> Result<(), StoreError> {
        let (channel, signal) = self.wake(&writer.key)?;
        let mut finish = self.scripts.stream_finish.prepare_invoke();
        finish
            .key(self.log_key(&writer.key))
            .key(self.meta_key(&writer.key))
            .key(self.running_key(writer))
            .key(self.key(&writer.key.session, JOBS))
            .arg(field(&writer.request))
            .arg(writer.term)
            .arg(answer.map(|it| self.sealed_event(&writer.key, it)).unwrap_or_default())
            .arg(MAX_EVENTS)
            .arg(millis(STREAM_TTL))
            .arg(channel)
            .arg(signal)
            .arg(MAX_STREAM_BYTES);
        self.script::<()>("stream_finish", &finish).await?;
        if answer.is_some() {
            count_appended(1);
        }
        Ok(())
    }

    async fn cancel(&self, session: &SessionId, request: &RequestId) -> Result<(), StoreError> {
        // Only the script finds the stream: it inserts the id into the signal, which is split at a
        // placeholder.
        let key = StreamKey { session: session.clone(), stream: StreamId::random() };
        let (channel, signal) = self.wake(&key)?;
        let (before, after) = signal
            .split_once(key.stream.as_str())
            .ok_or_else(|| unreadable("a signal contains its stream"))?;
        let mut cancel = self.scripts.stream_cancel.prepare_invoke();
        cancel
            .key(self.key(session, STREAMS))
            .arg(field(request))
            .arg(self.key(session, "meta:"))
            .arg(self.key(session, "running:"))
            .arg(channel)
            .arg(before)
            .arg(after);
        self.script("stream_cancel", &cancel).await
    }

    async fn renew(&self, writer: &Writer, lease: Duration) -> Result<bool, StoreError> {
        let mut renew = self.scripts.stream_renew.prepare_invoke();
        renew
            .key(self.meta_key(&writer.key))
            .key(self.log_key(&writer.key))
            .key(self.running_key(writer))
            .key(self.key(&writer.key.session, JOBS))
            .key(self.key(&writer.key.session, STREAMS))
            .arg(field(&writer.request))
            .arg(writer.term)
            .arg(millis(lease))
            .arg(millis(STREAM_TTL));
        self.script("stream_renew", &renew).await
    }

    async fn read(
        &self,
        key: &StreamKey,
        after: EventNumber,
        max: usize,
    ) -> Result<Option<Page>, StoreError> {
        let log = self.log_key(key);
        let mut pipeline = redis::pipe();
        pipeline.cmd("XRANGE").arg(&log).arg(format!("({after}-0")).arg("+").arg("COUNT").arg(max);
        pipeline.hgetall(self.meta_key(key));
        pipeline.cmd("TIME");
        let (events, meta, (seconds, micros)): Read =
            self.pipeline("stream_read", &pipeline).await?;
        let standalone = key.stream.is_standalone();
        if !meta.contains_key(OPEN) && !standalone {
            return Ok(None);
        }
        let mut page = Page::default();
        let place = Content::of_event(key);
        for event in events.ids {
            let number = event.id.split('-').next().and_then(|number| number.parse().ok());
            let message: Option<Vec<u8>> = event.get("m");
            let (Some(number), Some(message)) = (number, message) else {
                return Err(unreadable("an event has a format that this version cannot read"));
            };
            let message = match self.content.open(&place, &message)? {
                Some(message) => message,
                // It never expires while its session is used, so one lost event must not end it.
                None if standalone => String::new(),
                // The lost event may be the response, so the stream is lost.
                None => return Ok(None),
            };
            page.events.push((number, Arc::from(message)));
        }
        let last = meta.get(LAST).and_then(|last| last.parse().ok()).unwrap_or(0);
        page.last = last;
        let complete = page.events.last().map_or(after, |it| it.0) >= last;
        let pending = meta.iter().filter(|(name, _)| name.starts_with(PENDING));
        let lapses = pending.map(|(_, it)| lapses(it).unwrap_or(0)).min();
        let now = seconds * 1_000 + micros / 1_000;
        for (name, job) in &meta {
            let Some(request) = name.strip_prefix(JOB) else {
                continue;
            };
            let pending = meta.get(&format!("{PENDING}{request}"));
            let term = pending.and_then(|pending| pending.split(' ').next()?.parse().ok());
            if let (Some(term), Some(job)) = (term, JobId::parse(job)) {
                let request = json::from_str(request).map_err(unreadable)?;
                page.jobs.push((Writer { key: key.clone(), request, term }, job));
            }
        }
        page.lapses = lapses.map(|lapses_at| Duration::from_millis(lapses_at.saturating_sub(now)));
        page.ended = complete && !standalone && lapses.is_none();
        Ok(Some(page))
    }

    async fn take_over(&self, key: &StreamKey, lease: Duration) -> Result<Vec<Orphan>, StoreError> {
        let mut take = self.scripts.stream_take_over.prepare_invoke();
        take.key(self.meta_key(key)).arg(self.running_keys(key)).arg(millis(lease));
        let taken: Vec<Taken> = self.script("stream_take_over", &take).await?;
        let orphans = taken.into_iter().map(|(request, term, lost, call)| {
            let request = json::from_str(&request).map_err(unreadable)?;
            let writer = Writer { key: key.clone(), request, term };
            let started = !call.contains_key(UNSTARTED);
            let call = assemble(&self.content, &writer, &call)?;
            Ok(Orphan { writer, lost, call, started })
        });
        orphans.collect()
    }

    async fn hand_over(
        &self,
        writer: &Writer,
        job: &JobId,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let mut hand_over = self.scripts.stream_hand_over.prepare_invoke();
        hand_over
            .key(self.meta_key(&writer.key))
            .key(self.log_key(&writer.key))
            .key(self.running_key(writer))
            .key(self.key(&writer.key.session, JOBS))
            .arg(field(&writer.request))
            .arg(writer.term)
            .arg(millis(lease))
            .arg(millis(STREAM_TTL))
            .arg(job.as_str())
            .arg(writer.key.stream.as_str());
        self.script("stream_hand_over", &hand_over).await
    }

    async fn job_of(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<(Writer, JobId)>, StoreError> {
        let mut find = redis::pipe();
        find.hget(self.key(session, JOBS), field(request));
        let (found,): (Option<String>,) = self.pipeline("stream_job_of", &find).await?;
        let Some(found) = found else {
            return Ok(None);
        };
        let mut parts = found.split(' ');
        let (Some(stream), Some(term), Some(job)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(unreadable("the job of a request is incomplete"));
        };
        let key = StreamKey { session: session.clone(), stream: StreamId::from_stored(stream) };
        let term = term.parse().map_err(unreadable)?;
        let writer = Writer { key, request: request.clone(), term };
        Ok(JobId::parse(job).map(|job| (writer, job)))
    }

    async fn write_for_job(
        &self,
        writer: &Writer,
        mark: Option<&Mark>,
        message: &str,
    ) -> Result<bool, StoreError> {
        let (channel, signal) = self.wake(&writer.key)?;
        let mut write = self.scripts.stream_write_for_job.prepare_invoke();
        write
            .key(self.log_key(&writer.key))
            .key(self.meta_key(&writer.key))
            .arg(field(&writer.request))
            .arg(writer.term)
            .arg(self.sealed_event(&writer.key, message))
            .arg(MAX_EVENTS)
            .arg(millis(STREAM_TTL))
            .arg(channel)
            .arg(signal)
            .arg(MAX_STREAM_BYTES);
        if let Some(Mark { name, value }) = mark {
            write.arg(name).arg(value.to_string());
        }
        let written = self.script("stream_write", &write).await?;
        if written {
            count_appended(1);
        }
        Ok(written)
    }

    async fn forget(&self, session: &SessionId) -> Result<(), StoreError> {
        let mut forget = self.scripts.stream_forget.prepare_invoke();
        forget
            .key(self.key(session, STREAMS))
            .arg(self.key(session, "log:"))
            .arg(self.key(session, "meta:"))
            .arg(self.key(session, "running:"));
        self.script("stream_forget", &forget).await
    }

    async fn forget_stream(&self, key: &StreamKey) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.atomic().del(self.log_key(key)).ignore().del(self.meta_key(key)).ignore();
        let streams = self.key(&key.session, STREAMS);
        pipeline.srem(streams, stored_text(key.stream.as_str())).ignore();
        self.pipeline("stream_forget", &pipeline).await
    }

    async fn call_streams(&self, session: &SessionId) -> Result<Vec<StreamId>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.smembers(self.key(session, STREAMS));
        let (streams,): (Vec<String>,) = self.pipeline("stream_list", &pipeline).await?;
        let ids = streams.iter().filter_map(|stream| stream.strip_prefix(FORMAT));
        Ok(ids.filter_map(StreamId::of_call).collect())
    }
}
