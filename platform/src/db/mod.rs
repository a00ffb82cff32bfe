//! Access to the database. Every statement goes through [`Database`] or [`Transaction`], and both
//! limit every wait, whatever the server or the network does.
//!
//! | limit | where |
//! |---|---|
//! | a free connection | `ACQUIRE_TIMEOUT` |
//! | connecting | `CONNECT_TIMEOUT` |
//! | a statement | on Postgres `STATEMENT_TIMEOUT`, then here `STATEMENT_LIMIT` |
//! | closing | `CLOSE_TIMEOUT` |
//! | connections of one person at once | `person` |

mod database;
pub mod dialect;
mod failure;
mod limits;
mod link;
mod measured;
mod person;
mod pool;
mod rights;
mod search;
mod target;
mod transaction;

pub use self::{
    database::{Database, DatabaseSettings, connect},
    failure::{DATABASE, Failure, is_lock_timeout, is_statement_timeout},
    person::{Busy, Permit},
    pool::PoolStatus,
    rights::{TABLES, check_rights},
    search::OneSearch,
    transaction::{PersonLock, Transaction, begin, begin_locked, begin_long_running},
};
