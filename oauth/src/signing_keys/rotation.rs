//! The rules for when a key begins to sign, stops, and is deleted, without a database.

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    Kid,
    oauth_signing_keys::{Column, Entity, Model, State},
};
use sea_orm::sea_query::Expr;

use crate::lifetimes::{LEEWAY, MAX_CONFIGURED_TTL, MAX_TTL};

/// How long a key signs before it is replaced.
pub const ROTATE_EVERY: TimeDelta = TimeDelta::days(30);

/// How long before its activation time a scheduled successor is published: a day, so that every
/// cached copy of the JWK Set contains it.
pub const SCHEDULED_AHEAD: TimeDelta = TimeDelta::hours(24);

/// The minimum time for which a successor is published before it signs: the time for which others
/// may cache the JWK Set (5 min), or the duration of a deploy in which an instance with older code
/// can still start, whichever is longer.
pub const PREPUBLISHED: TimeDelta = TimeDelta::minutes(10);

/// How long a key is trusted after it last signed: the maximum lifetime of a token, plus a margin.
pub const RETIRING_FOR: TimeDelta =
    TimeDelta::seconds(MAX_TTL.as_secs().cast_signed() + 60 * LEEWAY);

/// How long the row of an untrusted key is kept, without its private key, so that an investigation
/// can identify tokens that it signed.
pub const KEPT_FOR_FORENSICS: TimeDelta = TimeDelta::days(90);

/// A key that has not signed for this long, while a key of another secret has, belongs to instances
/// that no longer exist. Longer than the lifetime of a token, so that an instance with clients has
/// signed since; an instance without clients, whose key is ended too early, creates another one.
pub const ABANDONED_AFTER: TimeDelta =
    TimeDelta::seconds(2 * MAX_CONFIGURED_TTL.as_secs().cast_signed());

/// A step that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Request a successor: the key has signed for long enough.
    RequestSuccessor(Kid),
    /// Create a successor: a key of this instance's secret is to be replaced, and has none.
    CreateSuccessor { activate_at: DateTime<Utc> },
    /// Activate a pending key whose time has come.
    Activate { kid: Kid, kek_id: String },
    /// Stop signing with a key: no instance has its secret any more.
    Abandon(Kid),
    /// Retire a key: all tokens that it signed have expired.
    Retire(Kid),
}

/// Returns the steps that are due for the trusted keys. `kek_id` identifies the secret of this
/// instance.
pub(super) fn due(rows: &[Model], kek_id: &str, now: DateTime<Utc>) -> Vec<Step> {
    let pending_under =
        |kek_id: &str| rows.iter().any(|row| row.state == State::Pending && row.kek_id == kek_id);
    let mut steps = Vec::new();
    for row in rows {
        match row.state {
            State::Pending if row.activate_at <= now => {
                steps.push(Step::Activate { kid: row.kid.clone(), kek_id: row.kek_id.clone() });
            }
            State::Active if is_abandoned(row, rows, now) => {
                steps.push(Step::Abandon(row.kid.clone()));
            }
            State::Active => match row.replace_at {
                None if row.activate_at + ROTATE_EVERY <= now => {
                    steps.push(Step::RequestSuccessor(row.kid.clone()));
                }
                Some(at) if row.kek_id == kek_id && !pending_under(kek_id) => {
                    let activate_at = Ord::max(at, now + PREPUBLISHED);
                    steps.push(Step::CreateSuccessor { activate_at });
                }
                _ => {}
            },
            State::Retiring => {
                let expired = row.retire_at.is_some_and(|it| it <= now)
                    && row.last_signed_at.is_none_or(|it| it <= now - RETIRING_FOR);
                if expired {
                    steps.push(Step::Retire(row.kid.clone()));
                }
            }
            State::Pending | State::Retired | State::Revoked => {}
        }
    }
    steps
}

/// Returns whether the instances that could sign with a key no longer exist: instances with another
/// secret have signed since it last did.
fn is_abandoned(key: &Model, rows: &[Model], now: DateTime<Utc>) -> bool {
    let last_signed_at = key.last_signed_at.unwrap_or(key.activate_at);
    last_signed_at <= now - ABANDONED_AFTER
        && rows.iter().any(|other| {
            other.state == State::Active
                && other.kek_id != key.kek_id
                && other.activate_at <= now - ABANDONED_AFTER
                && other.last_signed_at.is_some_and(|it| it > last_signed_at)
        })
}

/// Returns whether a key may sign, according to its row. A pending key may sign from its activation
/// time on, whether or not the activation has been recorded yet.
pub(super) fn signs(row: &Model, now: DateTime<Utc>) -> bool {
    matches!(row.state, State::Pending | State::Active) && row.activate_at <= now
}

/// Returns the key that an instance with this secret signs with.
pub(super) fn newest_that_signs<'a>(
    rows: &'a [Model],
    kek_id: &str,
    now: DateTime<Utc>,
) -> Option<&'a Model> {
    rows.iter()
        .filter(|row| row.kek_id == kek_id && signs(row, now))
        .max_by(|a, b| (a.activate_at, &a.kid).cmp(&(b.activate_at, &b.kid)))
}

/// Ends the trust in a key, and deletes its private key.
pub(super) fn end(
    update: sea_orm::UpdateMany<Entity>,
    state: State,
    now: DateTime<Utc>,
) -> sea_orm::UpdateMany<Entity> {
    update
        .col_expr(Column::State, Expr::value(state))
        .col_expr(Column::PrivateSealed, Expr::value(None::<Vec<u8>>))
        .col_expr(Column::WipedAt, Expr::value(now))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{super::key_set::ALGORITHM, *};

    fn day(n: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(n)
    }

    /// Builds a key without content, for rules that use states and times only.
    fn bare(kid: &str, kek_id: &str, state: State, activate_at: DateTime<Utc>) -> Model {
        Model {
            kid: Kid(kid.to_owned()),
            alg: ALGORITHM.to_owned(),
            public_jwk: Value::Null,
            private_sealed: None,
            kek_id: kek_id.to_owned(),
            state,
            created_at: activate_at,
            activate_at,
            retire_at: None,
            wiped_at: None,
            last_signed_at: None,
            replace_at: None,
        }
    }

    #[test]
    fn due_steps_follow_from_the_rows() {
        let kid = |it: &str| Kid(it.to_owned());
        let now = day(100);
        let minutes = |n| now - TimeDelta::minutes(n);
        let active = bare("a", "this-kek", State::Active, day(90));
        let old = Model { activate_at: day(70), ..active.clone() };
        let to_replace = |at| Model { replace_at: Some(at), ..old.clone() };
        let pending = |at| bare("p", "this-kek", State::Pending, at);
        let retiring =
            |at| Model { retire_at: Some(at), ..bare("r", "old-kek", State::Retiring, day(1)) };
        let signed = |at, key: &Model| Model { last_signed_at: Some(at), ..key.clone() };
        let elsewhere = bare("e", "other-kek", State::Active, day(99));
        let recently = now - ABANDONED_AFTER + TimeDelta::seconds(1);
        let create = |activate_at| Step::CreateSuccessor { activate_at };
        let activate = || Step::Activate { kid: kid("p"), kek_id: "this-kek".to_owned() };

        for (why, rows, expected) in [
            ("nothing to do", vec![active.clone()], vec![]),
            ("old enough", vec![old.clone()], vec![Step::RequestSuccessor(kid("a"))]),
            (
                "almost old enough",
                vec![Model { activate_at: day(70) + TimeDelta::microseconds(1), ..old.clone() }],
                vec![],
            ),
            ("a successor is requested", vec![to_replace(day(101))], vec![create(day(101))]),
            (
                "a successor is requested at short notice",
                vec![to_replace(now)],
                vec![create(now + PREPUBLISHED)],
            ),
            ("the successor exists", vec![to_replace(day(101)), pending(day(101))], vec![]),
            ("the activation is due", vec![to_replace(now), pending(now)], vec![activate()]),
            ("killed half-way", vec![retiring(day(101)), pending(now)], vec![activate()]),
            (
                "the key is encrypted with another secret",
                vec![Model { kek_id: "other-kek".to_owned(), ..to_replace(day(101)) }],
                vec![],
            ),
            ("still valid", vec![retiring(now + TimeDelta::seconds(1))], vec![]),
            ("expired", vec![retiring(now)], vec![Step::Retire(kid("r"))]),
            (
                "signed late",
                vec![signed(now - RETIRING_FOR + TimeDelta::seconds(1), &retiring(now))],
                vec![],
            ),
            (
                "signed long ago",
                vec![signed(now - RETIRING_FOR, &retiring(now))],
                vec![Step::Retire(kid("r"))],
            ),
            (
                "abandoned",
                vec![signed(now - ABANDONED_AFTER, &active), signed(minutes(1), &elsewhere)],
                vec![Step::Abandon(kid("a"))],
            ),
            (
                "abandoned without ever having signed",
                vec![active.clone(), signed(minutes(1), &elsewhere)],
                vec![Step::Abandon(kid("a"))],
            ),
            (
                "abandoned, and younger than the other one",
                vec![
                    signed(now - ABANDONED_AFTER, &active),
                    signed(minutes(1), &Model { activate_at: day(80), ..elsewhere.clone() }),
                ],
                vec![Step::Abandon(kid("a"))],
            ),
            (
                "signed recently",
                vec![signed(recently, &active), signed(minutes(1), &elsewhere)],
                vec![],
            ),
            (
                "the other one does not sign",
                vec![signed(day(98), &active), elsewhere.clone()],
                vec![],
            ),
            (
                "the other key is abandoned",
                vec![
                    signed(day(98), &active),
                    signed(day(97), &Model { activate_at: day(95), ..elsewhere.clone() }),
                ],
                vec![Step::Abandon(kid("e"))],
            ),
            (
                "the other one is young",
                vec![
                    signed(day(98), &active),
                    signed(minutes(1), &Model { activate_at: recently, ..elsewhere.clone() }),
                ],
                vec![],
            ),
        ] {
            assert_eq!(due(&rows, "this-kek", now), expected, "{why}");
        }
    }

    #[test]
    fn the_newest_activated_key_signs() {
        let now = day(100);
        let rows = [
            bare("retiring", "this-kek", State::Retiring, day(99)),
            bare("old", "this-kek", State::Active, day(1)),
            bare("due", "this-kek", State::Pending, now),
            bare("not yet", "this-kek", State::Pending, now + TimeDelta::seconds(1)),
            bare("other-kek", "other-kek", State::Active, now),
        ];
        let signing = |rows| newest_that_signs(rows, "this-kek", now).map(|it| it.kid.as_str());
        assert_eq!(signing(&rows), Some("due"));
        assert_eq!(signing(&rows[..2]), Some("old"));
        assert_eq!(signing(&rows[..1]), None);
        assert_eq!(signing(&rows[3..]), None);
    }

    #[test]
    fn a_key_is_trusted_for_longer_than_any_token_lives() {
        assert!(RETIRING_FOR > TimeDelta::from_std(MAX_TTL).unwrap());
        assert!(SCHEDULED_AHEAD > PREPUBLISHED && ROTATE_EVERY > SCHEDULED_AHEAD);
    }
}
