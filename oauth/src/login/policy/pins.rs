//! Pinned logins: the account that a login on the list of allowed users belongs to.

use chrono::{DateTime, Utc};
use entity::login_pins::{ActiveModel, COLUMN, Column, Entity, Model};
use platform::db::Failure;
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _, QueryFilter as _, Set,
    sea_query::OnConflict,
};

/// The only provider of the earlier version, which may run beside this one. Its rows have neither a
/// provider in the key nor a subject other than a number.
const EARLIER_PROVIDER: &str = "github";

/// Returns the key of a pin.
pub(crate) fn key(provider: &str, login: &str) -> String {
    if provider == EARLIER_PROVIDER { login.to_owned() } else { format!("{provider}:{login}") }
}

/// Returns the keys of all logins that are pinned to an account.
pub(super) async fn keys_of(
    db: &impl ConnectionTrait,
    provider: &str,
    subject: &str,
) -> Result<Vec<String>, Failure> {
    let mut pinned_to = Condition::any().add(Column::ProviderSubject.eq(subject));
    if let Some(id) = earlier_id(provider, subject) {
        pinned_to = pinned_to.add(COLUMN.github_id.eq(id));
    }
    let pins = Entity::find().filter(Column::Provider.eq(provider)).filter(pinned_to).all(db);
    Ok(pins.await?.into_iter().map(|pin| pin.login).collect())
}

/// Returns the subject of the account that a login is pinned to. `Ok(None)`: it is not pinned.
pub(super) async fn subject_of(
    db: &impl ConnectionTrait,
    provider: &str,
    login: &str,
) -> Result<Option<String>, Failure> {
    let pin = Entity::find_by_id(key(provider, login)).one(db).await?;
    // A pin without a subject, which no version writes, belongs to no account.
    Ok(pin.map(|pin| subject(pin).unwrap_or_default()))
}

/// Pins a login unless it is pinned already. Returns the subject of the account that it is pinned
/// to.
pub(super) async fn keep(
    db: &impl ConnectionTrait,
    provider: &str,
    login: &str,
    account: &str,
    now: DateTime<Utc>,
) -> Result<String, Failure> {
    let row = ActiveModel {
        login: Set(key(provider, login)),
        github_id: Set(earlier_id(provider, account)),
        pinned_at: Set(now),
        provider: Set(provider.to_owned()),
        provider_subject: Set(Some(account.to_owned())),
    };
    let on_conflict = OnConflict::column(Column::Login).do_nothing().to_owned();
    Entity::insert(row).on_conflict(on_conflict).exec_without_returning(db).await?;
    Ok(subject_of(db, provider, login).await?.unwrap_or_else(|| account.to_owned()))
}

fn subject(pin: Model) -> Option<String> {
    pin.provider_subject.or_else(|| pin.github_id.map(|id| id.to_string()))
}

/// Returns the number by which the earlier version knows an account, or `None` if it does not know
/// the provider.
fn earlier_id(provider: &str, subject: &str) -> Option<i64> {
    (provider == EARLIER_PROVIDER).then(|| subject.parse().ok()).flatten()
}
