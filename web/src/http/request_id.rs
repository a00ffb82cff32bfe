//! The id of a request: in its log lines, its trace, its response, and the audit log.

use std::{fmt, sync::Arc};

use http::HeaderMap;

/// The header that carries the request id, both ways.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// Longest request id that is taken from a client or a proxy, in characters.
const REQUEST_ID_MAX: usize = 64;

/// Finds one request in the logs of all processes. It proves nothing, so a client may choose it.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(Arc<str>);

impl RequestId {
    /// The one that the request brought, if it is well-formed, or a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let well_formed = |id: &&str| {
            !id.is_empty()
                && id.len() <= REQUEST_ID_MAX
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let brought = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        Self(match brought.filter(well_formed) {
            Some(id) => id.into(),
            None => uuid::Uuid::new_v4().simple().to_string().into(),
        })
    }

    /// The id.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The id, for what outlives the request.
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
