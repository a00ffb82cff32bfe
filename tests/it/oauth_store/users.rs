//! People who have signed in.

use std::time::Duration;

use oauth::login::users::{self, SignIn};

use super::{
    World, on_both,
    world::{beginning, user},
};

on_both!(a_person_is_remembered_under_their_newest_name, being_seen_never_goes_back_in_time);

async fn a_person_is_remembered_under_their_newest_name(world: World) {
    let db = world.app.db();
    let sign_in = |login: &str, name: Option<&str>| SignIn {
        user: user("ada"),
        login: login.to_owned(),
        display_name: name.map(str::to_owned),
    };
    assert_eq!(users::get(db, &user("ada")).await.unwrap(), None);

    users::upsert(db, beginning(), sign_in("ada", Some("Ada"))).await.unwrap();
    let later = beginning() + Duration::from_hours(1);
    users::upsert(db, later, sign_in("lovelace", None)).await.unwrap();

    let row = users::get(db, &user("ada")).await.unwrap().unwrap();
    assert_eq!((row.login.as_str(), row.display_name), ("lovelace", None));
    assert_eq!((row.created_at, row.last_seen_at), (beginning(), later));
    assert_eq!(users::get(db, &user("lovelace")).await.unwrap(), None);
}

async fn being_seen_never_goes_back_in_time(world: World) {
    let db = world.app.db();
    assert!(!users::seen(db, beginning(), &user("ada")).await.unwrap());

    let sign_in = SignIn { user: user("ada"), login: "ada".into(), display_name: None };
    users::upsert(db, beginning(), sign_in).await.unwrap();
    let later = beginning() + Duration::from_secs(5);
    for at in [later, beginning()] {
        assert!(users::seen(db, at, &user("ada")).await.unwrap());
    }
    assert_eq!(users::get(db, &user("ada")).await.unwrap().unwrap().last_seen_at, later);
}
