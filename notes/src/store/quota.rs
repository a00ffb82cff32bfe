//! The quota of notes for each user.
//!
//! Triggers of the database maintain `note_usage` in the transaction that writes notes, and the row
//! of the user is locked until the commit. What a transaction reads there before its commit is
//! therefore exact: concurrent writes of one user are serialized, and none can exceed the quota.
//!
//! A user who exceeds the quota because it was lowered can still read, export, shorten and delete
//! notes.

use std::fmt;

use mcp::UserId;
use platform::{
    counted::{MEGABYTE, grouped},
    db::Transaction,
};
use sea_orm::{ConnectionTrait, DbErr, Statement};

/// A number of notes, and the size of their titles, tags and texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// The number of notes.
    pub notes: u64,
    /// The size in bytes.
    pub bytes: u64,
}

impl Amount {
    /// Creates an amount from a number of notes and of megabytes (millions of bytes).
    pub(crate) fn new(notes: u64, megabytes: u64) -> Self {
        Self { notes, bytes: megabytes.saturating_mul(MEGABYTE) }
    }

    fn exceeds(self, quota: Self) -> bool {
        self.notes > quota.notes || self.bytes > quota.bytes
    }
}

/// The usage and quota of a user, displayed as “1,203 of 50,000 notes, 12 of 500 MB”.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaUsage {
    /// The current usage.
    pub used: Amount,
    /// The quota.
    pub quota: Amount,
}

impl fmt::Display for QuotaUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { used, quota } = self;
        write!(
            f,
            "{} of {} notes, {} of {} MB",
            grouped(used.notes),
            grouped(quota.notes),
            grouped(used.bytes.div_ceil(MEGABYTE)),
            grouped(quota.bytes / MEGABYTE)
        )
    }
}

/// Returns the current usage of a user.
pub async fn usage(db: &impl ConnectionTrait, owner: &UserId) -> Result<Amount, DbErr> {
    const SQL: &str = "SELECT notes, bytes FROM note_usage WHERE owner_sub = $1";
    let backend = db.get_database_backend();
    let statement = Statement::from_sql_and_values(backend, SQL, [owner.as_str().into()]);
    let Some(row) = db.query_one_raw(statement).await? else { return Ok(Amount::default()) };
    let count =
        |column| row.try_get::<i64>("", column).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(Amount { notes: count("notes")?, bytes: count("bytes")? })
}

/// Returns whether a user exceeds the quota. Call after the statements that wrote notes of the
/// user, in the same transaction.
pub(crate) async fn is_exceeded(
    transaction: &Transaction,
    owner: &UserId,
    quota: Amount,
) -> Result<bool, DbErr> {
    Ok(usage(transaction, owner).await?.exceeds(quota))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_displayed_with_units() {
        let used = Amount { notes: 1_203, bytes: 11_000_001 };
        let used = QuotaUsage { used, quota: Amount::new(50_000, 500) };
        assert_eq!(used.to_string(), "1,203 of 50,000 notes, 12 of 500 MB");
    }

    #[test]
    fn both_limits_are_enforced() {
        let most = Amount { notes: 2, bytes: 10 };
        assert!(!most.exceeds(most));
        assert!(Amount { notes: 3, bytes: 0 }.exceeds(most));
        assert!(Amount { notes: 0, bytes: 11 }.exceeds(most));
    }
}
