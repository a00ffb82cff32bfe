//! Calls that wait for the client: one hash each, and one key per open question.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use async_trait::async_trait;

use super::{Redis, away, millis, read, write};
use crate::{
    question::Answer,
    rpc::RequestId,
    store::{Answered, Questions, SessionId, StoreError, SuspendedCall, random_id},
};

/// The call without its answers and open questions, as JSON.
const CALL: &str = "call";
/// The client's id of the call, as the field of the hash of waiting calls.
const REQUEST: &str = "request";
/// How many questions are open.
const OPEN: &str = "open";
/// One field per answer begins so.
const ANSWER: &str = "answer:";

fn field(request: &RequestId) -> String {
    // Tells the number 1 from the string "1".
    serde_json::to_string(request).unwrap_or_default()
}

fn assemble(fields: &HashMap<String, String>) -> Result<Option<Box<SuspendedCall>>, StoreError> {
    let Some(call) = fields.get(CALL) else {
        return Ok(None);
    };
    let mut call: SuspendedCall = read(call)?;
    for (name, answer) in fields {
        if let Some(key) = name.strip_prefix(ANSWER) {
            call.answers.insert(key.to_owned(), read(answer)?);
        }
    }
    Ok(Some(Box::new(call)))
}

#[async_trait]
impl Questions for Redis {
    async fn suspend(
        &self,
        session: &SessionId,
        call: &SuspendedCall,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let id = random_id();
        let ttl = millis(ttl);
        let key = self.key(session, &format!("call:{id}"));
        let waiting = self.key(session, "waiting");
        let request = field(&call.request);
        let stored =
            SuspendedCall { answers: BTreeMap::new(), open: BTreeMap::new(), ..call.clone() };
        let mut pipeline = redis::pipe();
        pipeline
            .atomic()
            .hset_multiple(&key, &[(CALL, write(&stored)?), (REQUEST, request.clone())])
            .ignore()
            .hset(&key, OPEN, call.open.len())
            .ignore();
        for (name, answer) in &call.answers {
            pipeline.hset(&key, format!("{ANSWER}{name}"), write(answer)?).ignore();
        }
        pipeline.cmd("PEXPIRE").arg(&key).arg(ttl).ignore();
        for (question, name) in &call.open {
            let ask = self.key(session, &format!("ask:{question}"));
            pipeline.cmd("SET").arg(ask).arg(format!("{id} {name}")).arg("PX").arg(ttl).ignore();
        }
        pipeline.hset(&waiting, request, &id).ignore();
        pipeline.cmd("PEXPIRE").arg(&waiting).arg(ttl).ignore();
        self.pipeline(&pipeline).await
    }

    async fn answer(
        &self,
        session: &SessionId,
        question: &str,
        answer: Answer,
    ) -> Result<Answered, StoreError> {
        let mut take = self.scripts.question_answer.prepare_invoke();
        take.key(self.key(session, &format!("ask:{question}")))
            .key(self.key(session, "waiting"))
            .arg(self.key(session, "call:"))
            .arg(write(&answer)?);
        let taken: Option<HashMap<String, String>> = self.script(&take).await?;
        match taken {
            None => Ok(Answered::Unknown),
            Some(fields) if fields.is_empty() => Ok(Answered::Waiting),
            Some(fields) => assemble(&fields)?
                .map(Answered::Complete)
                .ok_or_else(|| away("a waiting call has lost its contents")),
        }
    }

    async fn withdraw(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<Box<SuspendedCall>>, StoreError> {
        let mut take = self.scripts.question_withdraw.prepare_invoke();
        take.key(self.key(session, "waiting")).arg(self.key(session, "call:")).arg(field(request));
        let taken: Option<HashMap<String, String>> = self.script(&take).await?;
        assemble(&taken.unwrap_or_default())
    }
}
