//! How much one person may keep. The database counts (`note_usage`) in the transaction that writes,
//! and keeps a person's row locked until the commit, so what is read there before the commit is exact:
//! two instances that write at the same moment take turns, and neither goes beyond the quota.
//!
//! Whoever has more than the quota, because it was lowered, can read, export, shorten and delete.

use std::fmt;

use mcp::UserId;
use platform::{
    counted::{MEGABYTE, grouped},
    db::Transaction,
};
use sea_orm::{ConnectionTrait, DbErr, Statement};

/// How many notes there are or may be, and how many bytes of titles, tags and texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Notes.
    pub notes: u64,
    /// Bytes.
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

/// What a person uses of the quota, such as “1,203 of 50,000 notes, 12 of 500 MB”.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaUsage {
    /// What there is.
    pub used: Amount,
    /// What there may be.
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

/// How much a person has now.
pub async fn usage(db: &impl ConnectionTrait, owner: &UserId) -> Result<Amount, DbErr> {
    const SQL: &str = "SELECT notes, bytes FROM note_usage WHERE owner_sub = $1";
    let backend = db.get_database_backend();
    let statement = Statement::from_sql_and_values(backend, SQL, [owner.as_str().into()]);
    let Some(row) = db.query_one_raw(statement).await? else { return Ok(Amount::default()) };
    let count = |column| row.try_get::<i64>("", column).map(|it| u64::try_from(it).unwrap_or(0));
    Ok(Amount { notes: count("notes")?, bytes: count("bytes")? })
}

/// Whether a person now has more than the quota. After a statement of the same transaction that wrote
/// notes of theirs.
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
    fn what_is_used_is_said_in_words() {
        let used = Amount { notes: 1_203, bytes: 11_000_001 };
        let used = QuotaUsage { used, quota: Amount::new(50_000, 500) };
        assert_eq!(used.to_string(), "1,203 of 50,000 notes, 12 of 500 MB");
    }

    #[test]
    fn either_bound_holds() {
        let most = Amount { notes: 2, bytes: 10 };
        assert!(!most.exceeds(most));
        assert!(Amount { notes: 3, bytes: 0 }.exceeds(most));
        assert!(Amount { notes: 0, bytes: 11 }.exceeds(most));
    }
}
