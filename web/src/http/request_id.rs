//! The id of a request, as it appears in log lines, traces, responses and the audit log.

use std::{fmt, sync::Arc};

use http::HeaderMap;

/// The header of the request id, in requests and in responses.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// Maximum length of a request id from a client or a proxy, in bytes.
const REQUEST_ID_MAX: usize = 64;

/// Identifies one request in the logs of all processes. Not a secret and not trusted: clients may
/// choose it.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(Arc<str>);

impl RequestId {
    /// The id from the header `X-Request-Id` if it is well-formed, otherwise a random one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let well_formed = |id: &&str| {
            !id.is_empty()
                && id.len() <= REQUEST_ID_MAX
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let received = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        Self(match received.filter(well_formed) {
            Some(id) => id.into(),
            None => uuid::Uuid::new_v4().simple().to_string().into(),
        })
    }

    /// The id.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// A shared copy of the id, for work that outlives the request.
    pub(crate) fn share(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_request_id_is_kept_only_when_it_is_well_formed() {
        let id = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            RequestId::of(&headers).to_string()
        };
        let longest = "a".repeat(REQUEST_ID_MAX);
        for kept in ["a", "Req-1_2.3", longest.as_str()] {
            assert_eq!(id(kept), kept);
        }
        for replaced in ["", "a b", "a\"b", "ä", &format!("{longest}a"), "a/b"] {
            let new = id(replaced);
            assert_eq!(new.len(), 32, "{replaced:?} became {new:?}");
        }
        assert_eq!(RequestId::of(&HeaderMap::new()).to_string().len(), 32);
    }
}
