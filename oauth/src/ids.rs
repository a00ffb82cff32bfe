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

/// Returns the smallest UUID of version 7 that [`uuid_at`] can generate at this time, with which the
/// rows since then can be selected by id.
pub(crate) fn first_uuid_at(time: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(time.timestamp_millis()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn ids_sort_by_time() {
        let time = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        let (first, next) = (first_uuid_at(time), first_uuid_at(time + TimeDelta::milliseconds(1)));
        for _ in 0..100 {
            let id = uuid_at(time);
            assert!(first <= id && id < next, "{first} {id} {next}");
        }
    }
}
