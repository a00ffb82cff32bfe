//! The hash of a stored call: one that waits for answers, or that may be run again.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::{
    sealed::{Content, is_sealed},
    value::unreadable,
};
use crate::{
    json,
    question::ClientAnswer,
    store::{OpenQuestion, SessionId, StoreError, StoredCall, StreamId, StreamKey, Writer},
};

/// Field: the call without its answers: [`SealedCall`], or a [`StoredCall`] in plain text of an older
/// version.
const CALL: &str = "call";
/// Prefix of the fields that hold one answer each.
const ANSWER: &str = "answer:";
/// Field: the JSON-RPC id of the call, as [`field`](super::value::field) encodes it.
const REQUEST: &str = "request";
/// Field: the stream of the call.
const STREAM: &str = "stream";
/// Field: the run of the call.
const TERM: &str = "term";

/// The fields of the hash.
pub(super) type CallFields = HashMap<String, Vec<u8>>;

/// Reads the writer of a call. `Ok(None)`: the hash is incomplete.
pub(super) fn writer(
    session: &SessionId,
    fields: &CallFields,
) -> Result<Option<Writer>, StoreError> {
    let text = |name| str::from_utf8(fields.get(name)?).ok();
    let (Some(request), Some(stream), Some(term)) = (text(REQUEST), text(STREAM), text(TERM))
    else {
        return Ok(None);
    };
    Ok(Some(Writer {
        key: StreamKey { session: session.clone(), stream: StreamId::from_stored(stream) },
        request: json::from_str(request).map_err(unreadable)?,
        term: term.parse().map_err(unreadable)?,
    }))
}

#[derive(Serialize, Deserialize)]
struct SealedCall<C> {
    call: C,
    /// The ids of the questions that were open when the call was stored, by the tool's keys.
    asked: BTreeMap<String, String>,
}

/// An answer, and the id of the only question for which it is accepted.
#[derive(Serialize, Deserialize)]
struct SealedAnswer<A> {
    question: String,
    answer: A,
}

/// Encrypts a call without its answers, and the ids of its open questions.
pub(super) fn seal_call(
    content: &Content,
    writer: &Writer,
    call: &StoredCall,
    open: &[OpenQuestion],
) -> Result<Vec<u8>, StoreError> {
    let asked = open.iter().map(|asked| (asked.key.clone(), asked.id.clone())).collect();
    content.write(&Content::of_call(writer), &SealedCall { call, asked })
}

/// Encrypts the answer to an open question.
pub(super) fn seal_answer(
    content: &Content,
    session: &SessionId,
    question: &str,
    answer: &ClientAnswer,
) -> Result<Vec<u8>, StoreError> {
    let question = question.to_owned();
    content.write(&Content::of_answer(session), &SealedAnswer { question, answer })
}

/// Reads the call of `writer`. `Ok(None)`: the hash has no call, or a value of it cannot be decrypted,
/// which has been logged.
pub(super) fn assemble(
    content: &Content,
    writer: &Writer,
    fields: &CallFields,
) -> Result<Option<StoredCall>, StoreError> {
    let Some(stored) = fields.get(CALL) else {
        return Ok(None);
    };
    let place = Content::of_call(writer);
    // `asked` is unknown in a call of an older version.
    let (mut call, asked) = if is_sealed(stored) {
        let Some(SealedCall { call, asked }) = content.read(&place, stored)? else {
            return Ok(None);
        };
        (call, Some(asked))
    } else {
        let Some(call) = content.read::<StoredCall>(&place, stored)? else {
            return Ok(None);
        };
        (call, None)
    };
    for (field, stored) in fields {
        let Some(name) = field.strip_prefix(ANSWER) else {
            continue;
        };
        let question = match &asked {
            None => AnsweredQuestion::Unknown,
            Some(asked) => {
                asked.get(name).map_or(AnsweredQuestion::Earlier, |id| AnsweredQuestion::Open(id))
            }
        };
        let Some(answer) = read_answer(content, writer, name, &question, stored)? else {
            return Ok(None);
        };
        call.answers.insert(name.to_owned(), answer);
    }
    Ok(Some(call))
}

/// The question of an answer.
enum AnsweredQuestion<'a> {
    /// It was open when the call was stored, with this id.
    Open(&'a str),
    /// It was answered before the call was stored.
    Earlier,
    /// An older version stored the call.
    Unknown,
}

/// Reads an answer. `name`: the tool's key of the question. `Ok(None)`: it cannot be decrypted, or
/// belongs to another question, which has been logged.
fn read_answer(
    content: &Content,
    writer: &Writer,
    name: &str,
    question: &AnsweredQuestion<'_>,
    stored: &[u8],
) -> Result<Option<ClientAnswer>, StoreError> {
    let place = match question {
        AnsweredQuestion::Earlier => Content::of_earlier_answer(writer, name),
        AnsweredQuestion::Open(_) | AnsweredQuestion::Unknown => {
            Content::of_answer(&writer.key.session)
        }
    };
    if matches!(question, AnsweredQuestion::Earlier) || !is_sealed(stored) {
        return content.read(&place, stored);
    }
    let Some(SealedAnswer { question: of, answer }) = content.read(&place, stored)? else {
        return Ok(None);
    };
    if matches!(question, AnsweredQuestion::Open(id) if *id != of) {
        tracing::error!(
            "An answer in Redis belongs to another question; its call is treated as lost"
        );
        return Ok(None);
    }
    Ok(Some(answer))
}
