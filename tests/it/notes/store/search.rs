//! The same questions, and the same answers, on both databases.

use notes::store::{self, Body, Changes, Hit, PageSize, SearchQuery, Title};

use super::{World, note, on_both, tags, world::user};

on_both!(
    of notes::product:
    words_phrases_alternatives_and_exclusions,
    titles_count_for_more_than_text,
    what_was_found_is_marked,
    the_index_follows_every_change,
    no_question_is_an_error,
    no_text_is_expensive_to_search,
    phrases_are_found_wherever_they_stand,
    phrases_end_with_their_field,
    there_may_be_more,
);

async fn found(world: &World, question: &str) -> Vec<Hit> {
    let words = SearchQuery::parse(question).unwrap();
    store::search(world.app.db(), &user("ada"), &words, PageSize::default())
        .await
        .unwrap_or_else(|error| panic!("“{question}”: {error:?}"))
        .notes
}

async fn titles(world: &World, question: &str) -> Vec<String> {
    let mut titles: Vec<_> = found(world, question).await.into_iter().map(|it| it.title).collect();
    titles.sort();
    titles
}

async fn words_phrases_alternatives_and_exclusions(world: World) {
    let ada = user("ada");
    note(&world, &ada, "Tea", "We drink green tea at meetings", &["drinks"]).await;
    note(&world, &ada, "Coffee", "Black coffee, no green beans", &["drinks", "beans"]).await;
    note(&world, &ada, "To be or not to be", "Grüße aus Köln", &[]).await;
    note(&world, &user("eve"), "Eve's tea", "green tea", &["drinks"]).await;

    for (question, expected) in [
        ("tea", &["Tea"][..]),
        ("TEA", &["Tea"]),
        ("green", &["Coffee", "Tea"]),
        ("green coffee", &["Coffee"]),
        ("green missing", &[]),
        ("meeting", &["Tea"]), // stemmed alike
        ("drinking", &["Coffee", "Tea"]),
        ("\"green tea\"", &["Tea"]),
        ("\"tea green\"", &[]),
        ("tea or coffee", &["Coffee", "Tea"]),
        ("green -coffee", &["Tea"]),
        ("-coffee", &["Tea", "To be or not to be"]),
        ("-\"green tea\" -köln", &["Coffee"]),
        ("\"to be\"", &["To be or not to be"]), // no word is too common
        ("not", &["To be or not to be"]),
        ("grüße", &["To be or not to be"]),
        ("beans", &["Coffee"]),
        ("dev", &[]),
        ("ada", &[]),
    ] {
        assert_eq!(titles(&world, question).await, expected, "{question}");
    }
}

async fn titles_count_for_more_than_text(world: World) {
    let ada = user("ada");
    let text = note(&world, &ada, "First", "all about sailing and sailing", &[]).await;
    let title = note(&world, &ada, "Sailing", "all about the sea", &[]).await;
    let tag = note(&world, &ada, "Second", "all about the sea", &["sailing"]).await;
    let order: Vec<_> = found(&world, "sailing").await.into_iter().map(|it| it.id).collect();
    assert_eq!(order, [title.id, tag.id, text.id]);

    // Of equally good ones, the newest first.
    let newer = note(&world, &ada, "Sailing", "all about the sea", &[]).await;
    let order: Vec<_> = found(&world, "sailing").await.into_iter().map(|it| it.id).collect();
    assert_eq!(order[..2], [newer.id, title.id]);
}

async fn what_was_found_is_marked(world: World) {
    let ada = user("ada");
    let filler = "lorem ipsum dolor sit amet ".repeat(40);
    let body = format!("{filler} the hidden treasure lies here {filler}");
    note(&world, &ada, "Map", &body, &[]).await;

    let hits = found(&world, "treasures").await;
    let snippet = &hits[0].snippet;
    assert!(snippet.contains("hidden **treasure** lies"), "{snippet}");
    assert!(snippet.len() < 500, "a passage, not the text: {snippet}");

    let hits = found(&world, "map").await;
    let snippet = &hits[0].snippet;
    assert!(snippet.starts_with("lorem ipsum") && !snippet.contains("**"), "{snippet}");

    let hits = found(&world, "-nothing").await;
    assert!(hits[0].snippet.starts_with("lorem ipsum"), "{:?}", hits[0].snippet);
}

async fn the_index_follows_every_change(world: World) {
    let ada = user("ada");
    let note = note(&world, &ada, "Alpha", "bravo", &["charlie"]).await;
    for word in ["alpha", "bravo", "charlie"] {
        assert_eq!(found(&world, word).await.len(), 1, "{word}");
    }
    let changes = Changes {
        title: Some(Title::parse("Delta").unwrap()),
        body: Some(Body::parse("echo").unwrap()),
        tags: Some(tags(&["foxtrot"])),
    };
    store::update(world.app.state(), &ada, note.id, changes).await.unwrap();
    for word in ["alpha", "bravo", "charlie"] {
        assert_eq!(found(&world, word).await, [], "{word}");
    }
    for word in ["delta", "echo", "foxtrot"] {
        assert_eq!(found(&world, word).await.len(), 1, "{word}");
    }
    store::delete(world.app.state(), &ada, note.id).await.unwrap();
    assert_eq!(found(&world, "delta").await, []);
}

async fn no_question_is_an_error(world: World) {
    let ada = user("ada");
    note(&world, &ada, "Plain", "some plain words", &[]).await;
    for question in [
        "\"",
        "\"\"",
        "'",
        "\\",
        "(",
        ")",
        "NEAR(a, b)",
        "a AND",
        "AND",
        "OR",
        "NOT",
        "or or or",
        "title:plain",
        "plain*",
        "^plain",
        "{title body}: plain",
        "plain + words",
        "a & b | !c",
        "<->",
        ":*",
        "plain:A",
        "--",
        "-",
        "- plain",
        "-\"",
        "\"-\"",
        "\"unclosed phrase",
        "%",
        "_",
        "; DROP TABLE notes",
        "$1",
        "?",
        "\u{0}",
        "a\u{0}b",
        "🦀",
        "\u{301}",
        "\u{903}",
        "…",
        "· – —",
        "http://example.com/a?b=c#d",
        "user@example.com",
        "1.5e300",
        "<b>x</b>",
    ] {
        found(&world, question).await;
    }
    for question in ["\"…\"", "🦀", "…", "- --", "\u{301}"] {
        assert_eq!(found(&world, question).await, [], "{question} is in no note");
    }
    found(&world, &"x".repeat(store::MAX_QUERY)).await;
    found(&world, &"ß ".repeat(store::MAX_QUERY_WORDS)).await;
    found(&world, &"-a ".repeat(store::MAX_QUERY_WORDS)).await;
    found(&world, &"a or ".repeat(store::MAX_QUERY_WORDS)).await;
    assert_eq!(titles(&world, "plain; DROP -table").await, [""; 0]);
}

/// Long texts of few words: what the databases' own ways of cutting passages choke on.
async fn no_text_is_expensive_to_search(world: World) {
    let ada = user("ada");
    for body in
        ["a ".repeat(50_000), "a b ".repeat(25_000), "a ".repeat(25_000) + &"b ".repeat(25_000)]
    {
        note(&world, &ada, "Title", &body, &[]).await;
    }
    let long_phrase = format!("\"{}\"", "a ".repeat(32));
    for question in
        ["a", "\"a a\"", "a b", "\"a b\" or \"b a\"", &long_phrase, &"a b ".repeat(16), "a -c"]
    {
        // Bounded by patience alone: with the database's own snippets this took half a minute.
        let found = tests::in_time("the search", found(&world, question)).await;
        assert_ne!(found, [], "{question}");
    }
}

/// Postgres keeps 16,383 positions of a text, and 255 of a word.
async fn phrases_are_found_wherever_they_stand(world: World) {
    let ada = user("ada");
    let words: Vec<String> = (0..20_000).map(|it| format!("{it:x}")).collect();
    let words = words.join(" ");
    note(&world, &ada, "Words", &format!("{words} green tea at last"), &[]).await;
    let repeated = format!("{} the last tea", "the tea of ".repeat(1_000));
    note(&world, &ada, "Repeated", &repeated, &[]).await;
    let characters: String = ('一'..='鿋').take(20_000).collect();
    note(&world, &ada, "Characters", &format!("{characters}。本周数据库迁移"), &[]).await;
    note(&world, &ada, "Short", "green tea", &[]).await;
    for (question, expected) in [
        ("\"green tea\"", &["Short", "Words"][..]),
        ("\"tea green\"", &[]),
        ("\"tea green\" or short", &["Short"]),
        ("\"last tea\"", &["Repeated"]),
        ("tea -\"green tea\"", &["Repeated"]),
        ("-\"green tea\"", &["Characters", "Repeated"]),
        ("数据库迁移", &["Characters"]),
        ("数据迁库", &[]),
    ] {
        assert_eq!(titles(&world, question).await, expected, "{question}");
    }
    let hits = found(&world, "数据库").await;
    assert!(hits[0].snippet.contains("本周**数据库**迁移"), "{}", hits[0].snippet);
}

async fn phrases_end_with_their_field(world: World) {
    let ada = user("ada");
    note(&world, &ada, "Green tea", "black coffee", &["one two", "three"]).await;
    for (question, count) in [
        ("\"green tea\" \"black coffee\" \"one two\"", 1),
        ("\"tea black\"", 0),
        ("\"tea one\"", 0),
        ("\"two three\"", 0),
        ("\"three black\"", 0),
    ] {
        assert_eq!(titles(&world, question).await.len(), count, "{question}");
    }
}

async fn there_may_be_more(world: World) {
    let ada = user("ada");
    for _ in 0..4 {
        note(&world, &ada, "Same", "words", &[]).await;
    }
    let words = SearchQuery::parse("same").unwrap();
    for (limit, more) in [(3, true), (4, false)] {
        let limit = PageSize::new(limit).unwrap();
        let hits = store::search(world.app.db(), &ada, &words, limit).await.unwrap();
        assert_eq!((hits.notes.len(), hits.more), (usize::from(limit.get()), more));
    }
}
