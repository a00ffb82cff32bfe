//! Ids of rows.

use chrono::{DateTime, Utc};
use uuid::{NoContext, Timestamp, Uuid};

/// Generates a UUID of version 7, so that ids sort by creation time.
pub(crate) fn uuid_at(now: DateTime<Utc>) -> Uuid {
    Uuid::new_v7(Timestamp::from_unix(
        NoContext,
        now.timestamp().try_into().unwrap_or_default(),
        now.timestamp_subsec_nanos(),
    ))
}
