use chrono::{DateTime, TimeDelta, Utc};
use entity::{ClientId, Digest, GrantId, oauth_grants, oauth_refresh_tokens::Model};
use uuid::Uuid;

use super::{
    case::{Case, decide},
    successor::{open, seal},
    *,
};
use crate::token_format::PlainToken;

fn at(minutes: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
}

fn token(generation: i32, used_at: Option<DateTime<Utc>>) -> Model {
    Model {
        token_hash: Digest::new([0; 32]),
        grant_id: GrantId(Uuid::nil()),
        generation,
        issued_at: at(0),
        used_at,
        superseded_at: None,
        successor_sealed: None,
    }
}

fn grant(generation: i32, recovered_at: Option<DateTime<Utc>>) -> oauth_grants::Model {
    oauth_grants::Model {
        id: GrantId(Uuid::nil()),
        user_sub: "dev:ada".to_owned(),
        client_id: ClientId("a-client".to_owned()),
        redirect_uri: "https://app.example.com/cb".to_owned(),
        scope: "notes:read".to_owned(),
        resource: "https://notes.example.com/mcp".to_owned(),
        code_hash: Digest::new([1; 32]),
        code_challenge: vec![0; 32],
        auth_time: at(0),
        created_at: at(0),
        last_used_at: at(0),
        ends_at: at(1_000_000),
        generation,
        recovered_at,
        revoked_at: None,
        revoked_reason: None,
        grant_type: None,
        dpop_jkt: None,
        dpop_since: None,
    }
}

#[test]
fn the_case_follows_from_the_rows() {
    const DAY: i64 = 24 * 60;
    let second = TimeDelta::seconds(1);
    let now = at(10 * DAY);
    let ago = |it: TimeDelta| Some(now - it);
    let superseded = Model { superseded_at: Some(at(1)), ..token(2, None) };
    for (why, token, grant, successor_used, expected) in [
        ("the newest", token(1, None), grant(1, None), false, Case::Rotate),
        ("the newest of many", token(7, None), grant(7, ago(second)), false, Case::Rotate),
        ("unused but not the newest", token(1, None), grant(2, None), false, Case::Replay),
        ("replaced", superseded.clone(), grant(3, None), false, Case::Replay),
        ("replaced, newest by mistake", superseded, grant(2, None), false, Case::Replay),
        ("just now", token(1, Some(now)), grant(2, None), false, Case::Grace),
        (
            "by a clock that is ahead",
            token(1, Some(now + second)),
            grant(2, None),
            false,
            Case::Grace,
        ),
        ("last moment of grace", token(1, ago(GRACE)), grant(2, None), false, Case::Grace),
        ("in grace, successor used", token(1, ago(GRACE)), grant(3, None), true, Case::Grace),
        (
            "in grace after a recovery",
            token(1, ago(GRACE)),
            grant(3, ago(GRACE)),
            false,
            Case::Grace,
        ),
        (
            "grace is over, successor used",
            token(1, ago(GRACE + second)),
            grant(3, None),
            true,
            Case::Replay,
        ),
        (
            "grace is over, successor lost",
            token(1, ago(GRACE + second)),
            grant(2, None),
            false,
            Case::Recover,
        ),
        (
            "last moment to recover",
            token(1, ago(RECOVERY_WINDOW)),
            grant(2, None),
            false,
            Case::Recover,
        ),
        (
            "too late to recover",
            token(1, ago(RECOVERY_WINDOW + second)),
            grant(2, None),
            false,
            Case::Replay,
        ),
        (
            "recovered already",
            token(1, ago(GRACE + second)),
            grant(3, ago(RECOVERY_WINDOW)),
            false,
            Case::Replay,
        ),
        (
            "recovered long ago",
            token(5, ago(GRACE + second)),
            grant(6, ago(RECOVERY_WINDOW + second)),
            false,
            Case::Recover,
        ),
    ] {
        assert_eq!(decide(&token, &grant, successor_used, now), expected, "{why}");
    }
}

#[test]
fn only_the_predecessor_decrypts_a_successor() {
    let (presented, successor) = (PlainToken::generate(), PlainToken::generate());
    let mut row = token(3, Some(at(1)));
    row.successor_sealed = Some(seal(&presented, &row, &successor).unwrap());
    let opened = open(&presented, &row).unwrap();
    assert_eq!(opened.expose(), successor.expose());
    assert!(
        !row.successor_sealed
            .as_ref()
            .unwrap()
            .windows(8)
            .any(|it| successor.expose().as_bytes().starts_with(it)),
        "the successor is not stored in plain text"
    );

    assert!(open(&PlainToken::generate(), &row).is_err());
    assert!(open(&successor, &row).is_err());
    for other in [
        Model { generation: 2, ..row.clone() },
        Model { grant_id: GrantId(Uuid::max()), ..row.clone() },
        Model { successor_sealed: None, ..row.clone() },
        Model { successor_sealed: Some(vec![0; 10]), ..row.clone() },
        Model { successor_sealed: Some(vec![0; 100]), ..row.clone() },
    ] {
        assert!(open(&presented, &other).is_err());
    }
}
