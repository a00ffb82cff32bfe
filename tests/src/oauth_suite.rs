//! What every implementation of the stores of a sign-in must do, as a test that any of them can run.

use std::time::Duration;

use futures_util::future::join_all;
use oauth::{
    Stores,
    cimd::Documents,
    limits::{AUTHORIZE, Limiter, REGISTER, REGISTER_ALL, Verdict},
    pending::{Key, PENDING_TTL, PendingStore},
    used_ids::{IdKind, UsedId, UsedIds},
};
use platform::clock::MockClock;

/// How many try at once to get what only one of them may have.
const RACERS: usize = 16;

/// Runs the whole suite on the stores of two instances, in which nothing is yet.
///
/// # Panics
/// When the implementation breaks a promise.
pub async fn run(one: &Stores, other: &Stores, clock: &MockClock) {
    a_value_can_be_looked_at_often_and_taken_once(&*one.pending, &*other.pending).await;
    a_value_ends(&*one.pending, &*other.pending, clock).await;
    of_several_callers_one_gets_it(&*one.pending, &*other.pending).await;
    a_burst_is_as_large_as_the_limit(&*one.limiter, &*other.limiter, clock).await;
    several_are_taken_together_or_not_at_all(&*one.limiter, &*other.limiter).await;
    many_at_once_get_no_more_than_there_is(&*one.limiter, &*other.limiter).await;
    a_document_is_kept_for_its_time(&*one.documents, &*other.documents, clock).await;
    an_id_is_new_once_until_it_is_forgotten(&*one.used_ids, &*other.used_ids).await;
}

fn key(name: &str) -> Key {
    Key::new("suite", name)
}

async fn a_value_can_be_looked_at_often_and_taken_once(
    one: &dyn PendingStore,
    other: &dyn PendingStore,
) {
    let value = vec![1, 0, 255];
    one.put(&key("often"), value.clone(), PENDING_TTL).await.expect("put");
    for store in [one, other, one] {
        assert_eq!(store.peek(&key("often")).await.expect("peek").as_ref(), Some(&value));
        assert_eq!(store.peek(&key("never")).await.expect("peek"), None);
    }
    assert_eq!(other.take(&key("often")).await.expect("take"), Some(value));
    for store in [one, other] {
        assert_eq!(store.take(&key("often")).await.expect("take"), None);
        assert_eq!(store.peek(&key("often")).await.expect("peek"), None);
    }
}

async fn a_value_ends(one: &dyn PendingStore, other: &dyn PendingStore, clock: &MockClock) {
    one.put(&key("ends"), vec![1], PENDING_TTL).await.expect("put");
    clock.advance(PENDING_TTL.saturating_sub(Duration::from_secs(1)));
    assert!(other.peek(&key("ends")).await.expect("peek").is_some());
    clock.advance(Duration::from_secs(1));
    assert!(other.peek(&key("ends")).await.expect("peek").is_none());
    assert!(one.take(&key("ends")).await.expect("take").is_none());
}

async fn of_several_callers_one_gets_it(one: &dyn PendingStore, other: &dyn PendingStore) {
    for round in 0..20 {
        let key = key(&format!("round {round}"));
        one.put(&key, vec![1], PENDING_TTL).await.expect("put");
        let racers = (0..RACERS).map(|it| if it % 2 == 0 { one } else { other });
        let taken = join_all(racers.map(|it| it.take(&key))).await;
        let winners = taken.into_iter().filter_map(|it| it.expect("take")).count();
        assert_eq!(winners, 1);
    }
}

async fn an_id_is_new_once_until_it_is_forgotten(one: &dyn UsedIds, other: &dyn UsedIds) {
    let ttl = Duration::from_mins(1);
    for kind in [IdKind::Proof, IdKind::Assertion] {
        let id = |jti: &str| UsedId::new(kind, "issuer", jti);
        for round in 0..20 {
            let id = id(&format!("round {round}"));
            let racers = (0..RACERS).map(|it| if it % 2 == 0 { one } else { other });
            let recorded = join_all(racers.map(|it| it.record(&id, ttl))).await;
            let winners = recorded.into_iter().filter(|it| *it.as_ref().expect("record")).count();
            assert_eq!(winners, 1);
        }
        let id = id("forgotten");
        assert!(one.record(&id, ttl).await.expect("record"));
        assert!(!other.record(&id, ttl).await.expect("record"));
        other.forget(&id).await.expect("forget");
        assert!(other.record(&id, ttl).await.expect("record"), "it is new again");
        let same = UsedId::new(kind, "another issuer", "forgotten");
        assert!(one.record(&same, ttl).await.expect("record"), "it is another one's");
    }
}

async fn a_burst_is_as_large_as_the_limit(
    one: &dyn Limiter,
    other: &dyn Limiter,
    clock: &MockClock,
) {
    for taken in 1..=REGISTER.limit {
        let limiter = if taken % 2 == 0 { one } else { other };
        let verdict = limiter.check(&REGISTER, "burst").await;
        let expected = Verdict::Allowed {
            remaining: REGISTER.limit - taken,
            whole_after: Duration::from_mins(6) * taken,
        };
        assert_eq!(verdict, expected);
    }
    let six_minutes = Verdict::Refused { retry_after: Duration::from_mins(6) };
    for limiter in [one, other, one] {
        assert_eq!(limiter.check(&REGISTER, "burst").await, six_minutes, "a refusal costs nothing");
    }
    assert!(one.check(&REGISTER, "somebody else").await.is_allowed());
    assert!(one.check(&REGISTER_ALL, "burst").await.is_allowed());

    clock.advance(Duration::from_mins(6));
    assert!(one.check(&REGISTER, "burst").await.is_allowed());
    assert!(!other.check(&REGISTER, "burst").await.is_allowed(), "it grows back evenly");
    clock.advance(REGISTER.window);
    let all_but_one =
        Verdict::Allowed { remaining: REGISTER.limit - 1, whole_after: Duration::from_mins(6) };
    assert_eq!(one.check(&REGISTER, "burst").await, all_but_one);
}

async fn several_are_taken_together_or_not_at_all(one: &dyn Limiter, other: &dyn Limiter) {
    let limit = REGISTER.limit;
    assert!(one.take(&REGISTER, "several", limit - 1).await.is_allowed());
    assert!(!other.take(&REGISTER, "several", 2).await.is_allowed());
    assert!(other.take(&REGISTER, "several", 1).await.is_allowed(), "a refusal takes nothing");
    let whole = one.take(&REGISTER, "too many", limit + 1).await;
    let expected = Verdict::Allowed { remaining: 0, whole_after: REGISTER.window };
    assert_eq!(whole, expected, "more than the whole share is the whole share");
}

async fn many_at_once_get_no_more_than_there_is(one: &dyn Limiter, other: &dyn Limiter) {
    let tries = (0..2 * AUTHORIZE.limit).map(|it| if it % 2 == 0 { one } else { other });
    let verdicts = join_all(tries.map(|it| it.check(&AUTHORIZE, "at once"))).await;
    let allowed = verdicts.into_iter().filter(|it| it.is_allowed()).count();
    assert_eq!(u32::try_from(allowed), Ok(AUTHORIZE.limit));
}

async fn a_document_is_kept_for_its_time(
    one: &dyn Documents,
    other: &dyn Documents,
    clock: &MockClock,
) {
    let ttl = Duration::from_mins(1);
    assert_eq!(one.get("https://a.example/x").await, None);
    one.put("https://a.example/x", b"{}".to_vec(), ttl).await;
    assert_eq!(other.get("https://a.example/x").await.as_deref(), Some(&b"{}"[..]));
    assert_eq!(other.get("https://a.example/y").await, None);
    clock.advance(ttl);
    assert_eq!(other.get("https://a.example/x").await, None);
}
