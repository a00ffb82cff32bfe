//! Creating, reading, listing, changing and deleting, and that none of it crosses from one person to
//! another.

use std::{collections::HashSet, time::Duration};

use app::health::Health;
use mcp::Signal;
use notes::store::{
    self, Changes, Cursor, Listing, NoteId, NotesError, PageSize, SearchQuery, Tag, Title,
};
use notes::uris;
use oauth::{account, audit::RequestInfo};

use super::{
    World, draft, note, on_both, tags,
    world::{beginning, user},
};

use crate::oauth_store::account::rows_of;

on_both!(
    of notes::product:
    an_account_is_deleted_with_its_notes,
    a_note_is_kept_as_it_was_written,
    an_update_changes_only_what_it_names,
    what_belongs_to_another_does_not_exist,
    pages_hold_every_note_once_however_long_it_takes,
    a_list_can_be_narrowed_to_a_tag,
    any_cursor_that_parses_is_a_place_in_the_list,
    of_many_deletions_one_succeeds,
    every_committed_change_is_published,
    suggestions_come_from_ids_and_titles,
    the_largest_notes_fit,
    without_a_database_notes_are_unavailable,
);

async fn a_note_is_kept_as_it_was_written(world: World) {
    let ada = user("ada");
    let title = "Grüße, 世界 🌍 \\ ' \" % _";
    let body = "line 1\r\n\tline 2 \u{7f} 🦀\n";
    let made = note(&world, &ada, title, body, &["b", "a", "it's \\ \"quoted\""]).await;

    assert_eq!((made.title.as_str(), made.body.as_str()), (title, body));
    assert_eq!(made.tags, ["b", "a", "it's \\ \"quoted\""]);
    assert_eq!((made.created_at, made.updated_at), (beginning(), beginning()));
    let db = world.app.db();
    assert_eq!(store::get(db, &ada, made.id).await.unwrap(), made);

    let page = store::list(db, &ada, Listing::default()).await.unwrap();
    let [listed] = &page.notes[..] else { panic!("one note: {page:?}") };
    assert_eq!((listed.id, &listed.title, &listed.tags), (made.id, &made.title, &made.tags));
    assert_eq!((listed.excerpt.as_str(), listed.created_at), (body, made.created_at));
    assert_eq!(page.next_cursor, None);
}

async fn an_update_changes_only_what_it_names(world: World) {
    let ada = user("ada");
    let made = note(&world, &ada, "Title", "Body", &["tag"]).await;

    let unchanged =
        store::update(world.app.state(), &ada, made.id, Changes::default()).await.unwrap();
    assert_eq!(unchanged, made, "not even the time");

    let changes = Changes { title: Some(Title::parse("New title").unwrap()), ..Changes::default() };
    let renamed = store::update(world.app.state(), &ada, made.id, changes).await.unwrap();
    assert_eq!((renamed.title.as_str(), renamed.body.as_str()), ("New title", "Body"));
    assert_eq!(renamed.updated_at, beginning() + Duration::from_secs(1));
    assert_eq!((renamed.created_at, &renamed.tags), (made.created_at, &made.tags));

    let tagged =
        store::set_tags(world.app.state(), &ada, made.id, tags(&["x", "y"])).await.unwrap();
    assert_eq!(
        (tagged.title.as_str(), &tagged.tags[..]),
        ("New title", &["x".into(), "y".into()][..])
    );
    assert_eq!(store::get(world.app.db(), &ada, made.id).await.unwrap(), tagged);
}

async fn what_belongs_to_another_does_not_exist(world: World) {
    let (ada, eve) = (user("ada"), user("eve"));
    let secret = note(&world, &ada, "Ada's secret", "hidden treasure", &["private"]).await;
    let nowhere: NoteId = "00000000-0000-7000-8000-000000000000".parse().unwrap();
    let (app, db) = (&world.app, world.app.db());
    let changes = || Changes { title: Some(Title::parse("Taken").unwrap()), ..Changes::default() };
    world.published();

    for id in [secret.id, nowhere] {
        assert!(matches!(store::get(db, &eve, id).await, Err(NotesError::NotFound)));
        for changes in [Changes::default(), changes()] {
            let update = store::update(app.state(), &eve, id, changes).await;
            assert!(matches!(update, Err(NotesError::NotFound)));
        }
        assert!(matches!(store::delete(app.state(), &eve, id).await, Err(NotesError::NotFound)));
    }
    for tag in [None, Some(Tag::parse("private").unwrap())] {
        let listing = Listing { tag, ..Listing::default() };
        assert_eq!(store::list(db, &eve, listing).await.unwrap().notes, []);
    }
    for words in ["treasure", "secret", "private", "-nothing", "dev ada", "=dev:ada", "'=dev:ada'"]
    {
        let words = SearchQuery::parse(words).unwrap();
        let found = store::search(db, &eve, &words, PageSize::default()).await.unwrap();
        assert_eq!(found.notes, [], "{words}");
    }
    for typed in ["", "Ada", &secret.id.to_string()] {
        assert_eq!(store::complete_ids(db, &eve, typed).await.unwrap(), []);
        assert_eq!(store::complete_titles(db, &eve, typed).await.unwrap(), [""; 0]);
    }
    assert_eq!(world.published(), [], "nothing happened");
    assert_eq!(store::get(db, &ada, secret.id).await.unwrap(), secret);
}

async fn pages_hold_every_note_once_however_long_it_takes(world: World) {
    let ada = user("ada");
    let mut expected = Vec::new();
    for number in 0..23 {
        // Several notes of the same microsecond: then the id decides.
        if number % 4 == 0 {
            world.clock.advance(Duration::from_micros(1));
        }
        let draft = draft(&format!("Note {number}"), "", &[]);
        expected.push(store::create(world.app.state(), &ada, draft).await.unwrap());
    }
    expected.sort_by_key(|it| std::cmp::Reverse((it.created_at, it.id)));
    note(&world, &user("eve"), "Another user's", "", &[]).await;

    for size in [1, 5, 22, 23, 24, 100] {
        let mut listed = Vec::new();
        let mut cursor = None;
        loop {
            let listing =
                Listing { limit: PageSize::new(size).unwrap(), cursor, ..Listing::default() };
            let page = store::list(world.app.db(), &ada, listing).await.unwrap();
            assert!(u64::try_from(page.notes.len()).unwrap() <= size);
            listed.extend(page.notes.into_iter().map(|it| it.id));
            // As a client would hand it back.
            cursor = page.next_cursor.map(|it| it.to_string().parse().unwrap());
            if cursor.is_none() {
                break;
            }
        }
        let expected: Vec<_> = expected.iter().map(|it| it.id).collect();
        assert_eq!(listed, expected, "pages of {size}");
    }

    // A new note and a deleted one, between two pages, change nothing else of the second.
    let listing = |cursor| Listing { limit: PageSize::new(10).unwrap(), cursor, tag: None };
    let first = store::list(world.app.db(), &ada, listing(None)).await.unwrap();
    note(&world, &ada, "New", "", &[]).await;
    store::delete(world.app.state(), &ada, expected[9].id).await.unwrap();
    let second = store::list(world.app.db(), &ada, listing(first.next_cursor)).await.unwrap();
    let ids = |notes: &[store::NoteSummary]| notes.iter().map(|it| it.id).collect::<Vec<_>>();
    let unseen: Vec<_> = expected[10..20].iter().map(|it| it.id).collect();
    assert_eq!(ids(&second.notes), unseen);
}

async fn a_list_can_be_narrowed_to_a_tag(world: World) {
    let ada = user("ada");
    let awkward = "it's \\ \"#=&|!:*\" 100%";
    let both = note(&world, &ada, "Both", "", &["work", awkward]).await;
    let work = note(&world, &ada, "Work", "home", &["work"]).await;
    note(&world, &ada, "Neither", "work", &["Work", "wor", "workshop"]).await;
    note(&world, &user("eve"), "Another user's", "", &["work"]).await;

    for (tag, expected) in
        [("work", vec![work.id, both.id]), (awkward, vec![both.id]), ("home", vec![])]
    {
        let listing = Listing { tag: Some(Tag::parse(tag).unwrap()), ..Listing::default() };
        let page = store::list(world.app.db(), &ada, listing).await.unwrap();
        let found: Vec<_> = page.notes.iter().map(|it| it.id).collect();
        assert_eq!(found, expected, "{tag}");
    }
    let listing = Listing {
        limit: PageSize::new(1).unwrap(),
        tag: Some(Tag::parse("work").unwrap()),
        cursor: None,
    };
    let first = store::list(world.app.db(), &ada, listing.clone()).await.unwrap();
    let listing = Listing { cursor: first.next_cursor, ..listing };
    let second = store::list(world.app.db(), &ada, listing).await.unwrap();
    assert_eq!((second.notes[0].id, second.next_cursor), (both.id, None));
}

async fn any_cursor_that_parses_is_a_place_in_the_list(world: World) {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    let ada = user("ada");
    note(&world, &ada, "One", "", &[]).await;
    for (micros, expected) in [(0_i64, 0), (1_700_000_000_123_457, 1), (253_402_300_799_999_999, 1)]
    {
        for id in [[0; 16], [0xff; 16]] {
            let bytes = [&[1][..], &micros.to_be_bytes(), &id].concat();
            let cursor: Cursor = URL_SAFE_NO_PAD.encode(bytes).parse().unwrap();
            let listing = Listing { cursor: Some(cursor), ..Listing::default() };
            let page = store::list(world.app.db(), &ada, listing).await.unwrap();
            assert_eq!(page.notes.len(), expected, "{micros}");
        }
    }
}

async fn of_many_deletions_one_succeeds(world: World) {
    let ada = user("ada");
    let other = world.another().await;
    let note = note(&world, &ada, "Once", "", &[]).await;
    let deletions = (0..8).map(|number| {
        let app = if number % 2 == 0 { &world.app } else { &other };
        store::delete(app.state(), &ada, note.id)
    });
    let outcomes = futures_util::future::join_all(deletions).await;
    let deleted: Vec<_> = outcomes.iter().filter_map(|it| it.as_ref().ok()).collect();
    assert_eq!(deleted, [&note], "{outcomes:?}");
    assert!(
        outcomes
            .iter()
            .filter_map(|it| it.as_ref().err())
            .all(|it| matches!(it, NotesError::NotFound))
    );
}

async fn every_committed_change_is_published(world: World) {
    let ada = user("ada");
    let updated = |uri: String| Signal::ResourceUpdated { user: user("ada"), uri };
    let recent = || updated(uris::RECENT.to_owned());
    let list = || Signal::ResourceListChanged { user: user("ada") };

    let note = note(&world, &ada, "Title", "", &[]).await;
    assert_eq!(world.published(), [recent(), list()]);

    store::set_tags(world.app.state(), &ada, note.id, tags(&["x"])).await.unwrap();
    assert_eq!(world.published(), [updated(uris::note(note.id)), recent()]);

    let title = Changes { title: Some(Title::parse("New").unwrap()), ..Changes::default() };
    store::update(world.app.state(), &ada, note.id, title).await.unwrap();
    assert_eq!(world.published(), [updated(uris::note(note.id)), recent(), list()]);

    store::update(world.app.state(), &ada, note.id, Changes::default()).await.unwrap();
    assert_eq!(world.published(), [], "nothing changed");

    store::delete(world.app.state(), &ada, note.id).await.unwrap();
    assert_eq!(world.published(), [updated(uris::note(note.id)), recent(), list()]);
}

async fn suggestions_come_from_ids_and_titles(world: World) {
    let ada = user("ada");
    let tea = note(&world, &ada, "Green tea", "", &[]).await;
    let cake = note(&world, &ada, "100% cake_recipe", "tea", &[]).await;
    let again = note(&world, &ada, "Green tea", "", &[]).await;
    let db = world.app.db();

    let all = [again.id, cake.id, tea.id];
    assert_eq!(store::complete_ids(db, &ada, "").await.unwrap(), all);
    assert_eq!(store::complete_ids(db, &ada, &cake.id.to_string()).await.unwrap(), [cake.id]);
    let shared = &tea.id.to_string()[..8];
    assert_eq!(store::complete_ids(db, &ada, shared).await.unwrap(), all);
    assert_eq!(store::complete_ids(db, &ada, "gREEN").await.unwrap(), [again.id, tea.id]);

    assert_eq!(
        store::complete_titles(db, &ada, "e").await.unwrap(),
        ["Green tea", "100% cake_recipe"]
    );
    assert_eq!(store::complete_titles(db, &ada, "%").await.unwrap(), ["100% cake_recipe"]);
    for typed in ["_tea", "\\", "'", "zzz", "\0"] {
        assert_eq!(store::complete_titles(db, &ada, typed).await.unwrap(), [""; 0], "{typed}");
        assert_eq!(store::complete_ids(db, &ada, typed).await.unwrap(), [], "{typed}");
    }
}

/// Postgres bounds what it can index of one text: no text within our limits may reach that bound.
async fn the_largest_notes_fit(world: World) {
    let ada = user("ada");
    let letters = || ('\u{20000}'..='\u{2a6df}').cycle();
    let words = |separator: &str, length: usize| -> String {
        let mut letters = letters();
        let mut text = String::new();
        let mut characters = 0;
        while characters + length + separator.len() <= store::MAX_BODY {
            text.extend(letters.by_ref().take(length));
            text.push_str(separator);
            characters += length + separator.len();
        }
        text
    };
    let many_tags: Vec<String> = letters()
        .step_by(37)
        .take(store::MAX_TAGS)
        .map(|it| it.to_string().repeat(store::MAX_TAG))
        .collect();
    let many_tags: Vec<&str> = many_tags.iter().map(String::as_str).collect();
    let title = words(" ", 1).chars().take(store::MAX_TITLE - 1).collect::<String>();

    for body in [
        "x".repeat(store::MAX_BODY),
        words("", 1),
        words(" ", 1),
        words(" ", 3),
        words("-", 1),
        words("-", 2),
        words("/", 1),
        words(".com/", 2),
        words("@a.de ", 2),
        (0..)
            .map(|it: u32| format!("{it:x}-"))
            .flat_map(String::into_bytes)
            .map(char::from)
            .take(store::MAX_BODY)
            .collect(),
        (0..)
            .map(|it: u32| format!("a{it:x}-b{it:x} "))
            .flat_map(String::into_bytes)
            .map(char::from)
            .take(store::MAX_BODY)
            .collect(),
        letters()
            .zip(letters().skip(1))
            .flat_map(|(a, b)| [a, '-', b, ' '])
            .take(store::MAX_BODY)
            .collect(),
    ] {
        let beginning: String = body.chars().take(12).collect();
        let made = store::create(world.app.state(), &ada, draft(&title, &body, &many_tags)).await;
        let made = made.unwrap_or_else(|error| panic!("“{beginning}…”: {error:?}"));
        assert_eq!(made.body.len(), body.len());
    }
    let listing = Listing { tag: Some(Tag::parse(many_tags[0]).unwrap()), ..Listing::default() };
    let page = store::list(world.app.db(), &ada, listing).await.unwrap();
    let ids: HashSet<_> = page.notes.iter().map(|it| it.id).collect();
    assert_eq!(ids.len(), 12);
}

async fn without_a_database_notes_are_unavailable(world: World) {
    let ada = user("ada");
    let note = note(&world, &ada, "Title", "", &[]).await;
    world.published();
    let (app, db) = (&world.app, world.app.db());
    app.close().await;

    assert!(matches!(store::get(db, &ada, note.id).await, Err(NotesError::Unavailable(_))));
    let page = store::list(db, &ada, Listing::default()).await;
    assert!(matches!(page, Err(NotesError::Unavailable(_))));
    let made = store::create(app.state(), &ada, draft("Title", "", &[])).await;
    assert!(matches!(made, Err(NotesError::Unavailable(_))));
    let words = SearchQuery::parse("title").unwrap();
    let found = store::search(db, &ada, &words, PageSize::default()).await;
    assert!(matches!(found, Err(NotesError::Unavailable(_))));
    assert_eq!(app.health().await, Health::NoDatabase);
    assert_eq!(world.published(), [], "what was not committed is not published");
}

async fn an_account_is_deleted_with_its_notes(world: World) {
    let (app, ada, eve) = (&world.app, user("ada"), user("eve"));
    note(&world, &ada, "Title", "", &["tag"]).await;
    note(&world, &eve, "Title", "", &["tag"]).await;
    let before = rows_of(app.db(), &ada).await;
    assert_eq!((before["notes"], before["note_usage"]), (1, 1));
    let request = RequestInfo::new("a-request", None, None);
    let deleted = account::delete(app.oauth(), &ada, &request).await.unwrap();
    assert_eq!(deleted.things, 1);
    let after = rows_of(app.db(), &ada).await;
    assert_eq!((after["notes"], after["note_usage"]), (0, 0));
    assert_eq!(rows_of(app.db(), &eve).await["notes"], 1);
}
