//! `notes_import`: imports many notes, each exactly once.

use serde_json::{Value, json};
use tests::{
    client::Modern,
    cluster::{Cluster, Database, Setup},
    documents::{DocumentHost, Reply},
    eventually,
    schema::Revision,
};

use super::{alone, answered, body, notes_on, titles};

on_both_databases!(
    a_document_becomes_notes,
    thousands_of_notes_are_imported_with_progress,
    a_document_that_is_none_changes_nothing,
    nothing_that_a_person_wrote_is_lost,
    one_note_is_called_one_note,
    what_is_there_stays_unless_the_user_says_otherwise,
    the_user_is_asked_once_what_to_do,
    notes_of_one_title_replace_each_other_one_by_one,
    subscribers_hear_of_an_import,
    no_address_inside_is_fetched,
    a_document_is_fetched_from_its_address,
    a_host_in_trouble_is_asked_again,
    a_name_that_leads_inside_is_not_followed,
);

const MARKDOWN: &str = "---\ntitle: Tea\ntags: [kitchen, 'hot']\ncreated_at: 2020-02-03T04:05:06Z\n\
    ---\n\nGreen, 70 °C\n<!-- notes-mcp: next note -->\n# Bread\n\nRye\n";

async fn a_document_becomes_notes(database: Database) {
    let cluster = notes_on(database).await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    let imported = ada.tool("notes_import", json!({ "text": MARKDOWN })).await;
    let counts = json!({ "total": 2, "created": 2, "replaced": 0, "skipped": 0 });
    assert_eq!(imported.output(), &counts);
    assert_eq!(titles(&ada).await, ["Bread", "Tea"]);
    assert_eq!(body(&ada, "Bread").await, "Rye");
    let tagged = ada.tool("notes_list", json!({ "tag": "hot" })).await;
    let tea = &tagged.output()["notes"][0];
    assert_eq!(
        (&tea["title"], &tea["created_at"]),
        (&json!("Tea"), &json!("2020-02-03T04:05:06Z"))
    );
    let found = ada.tool("notes_search", json!({ "query": "rye" })).await;
    assert_eq!(found.output()["notes"][0]["title"], "Bread", "what is imported is found");

    let text = json!([{ "title": "Jam", "body": "Plum", "tags": ["kitchen"] }]).to_string();
    ada.tool("notes_import", json!({ "text": text })).await.output();
    assert_eq!(titles(&ada).await, ["Bread", "Jam", "Tea"]);
    let bob = cluster.web(0).modern(cluster.token("bob").await);
    assert_eq!(titles(&bob).await, [] as [&str; 0], "they are hers alone");

    let reads = cluster.web(0).modern(cluster.token_for("ada", &["notes:read"]).await);
    let refused =
        reads.call("tools/call", json!({ "name": "notes_import", "arguments": {} })).await;
    assert_eq!(refused.status, 403);
}

async fn thousands_of_notes_are_imported_with_progress(database: Database) {
    let cluster = notes_on(database).await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    let notes: Vec<Value> = (0..2_345)
        .map(|it| json!({ "title": format!("Note {it:05}"), "body": format!("Number {it}.") }))
        .collect();
    let text = json!({ "notes": notes }).to_string();
    let call = json!({
        "name": "notes_import", "arguments": { "text": text },
        "_meta": { "progressToken": "import" },
    });
    let imported = ada.call("tools/call", call).await;
    assert_eq!(imported.output()["created"], 2_345);
    let told: Vec<f64> = imported
        .before
        .iter()
        .filter(|it| it["method"] == "notifications/progress")
        .map(|it| it["params"]["progress"].as_f64().unwrap())
        .collect();
    assert!(told.is_sorted() && told.contains(&500.0), "{told:?}");
    let expected: Vec<_> = (0..2_345).map(|it| format!("Note {it:05}")).collect();
    assert_eq!(titles(&ada).await, expected, "each exactly once");
}

async fn a_document_that_is_none_changes_nothing(database: Database) {
    let cluster = notes_on(database).await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    for (arguments, sentence) in [
        (json!({ "text": "[{" }), "not a JSON array"),
        (json!({ "text": "\n" }), "no note"),
        (json!({ "text": "[1, 2]", "format": "json" }), "its items are not objects"),
        (json!({ "text": "{\"theme\": \"dark\"}" }), "not a note itself"),
        (json!({ "text": "# Tea", "format": "zip" }), "not a ZIP archive"),
        (json!({ "text": "# Tea", "format": "json" }), "not a JSON array"),
        (json!({}), "exactly one of"),
        (json!({ "text": "a", "url": "https://example.com/" }), "exactly one of"),
    ] {
        let refused = ada.tool("notes_import", arguments).await;
        assert!(refused.tool_error().contains(sentence), "{}", refused.tool_error());
    }
    assert_eq!(titles(&ada).await, [] as [&str; 0]);
}

async fn nothing_that_a_person_wrote_is_lost(database: Database) {
    let cluster = notes_on(database).await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    let title = "x".repeat(255);
    let document = json!([
        { "title": title, "body": "long" },
        { "title": "Fields", "content": "a\r\nb", "author": "Ada", "folder": "Work", "created": 0 },
        { "title": "Dates", "created_at": "next week", "updated": 1_619_887_200_000_u64 },
        { "title": "Tags", "Tags": ["#a", "[[b]]", "", "y".repeat(41)], "body": "t\u{0}t" },
        { "text": "no title" },
    ]);
    let imported = ada.tool("notes_import", json!({ "text": document.to_string() })).await;
    let output = imported.output();
    assert_eq!((&output["created"], output["warnings"].as_array().unwrap().len()), (&json!(5), 7));
    let kept = output["warnings"].to_string();
    for part in ["note 1 ", "255", "`author`", "“Work”", "“next week”", "1 tag", "U+FFFD"] {
        assert!(kept.contains(part), "{part}: {kept}");
    }
    assert_eq!(body(&ada, &format!("{}…", "x".repeat(199))).await, format!("{title}\n\nlong"));
    assert_eq!(body(&ada, "Fields").await, "---\nauthor: \"Ada\"\n---\n\na\nb");
    assert_eq!(body(&ada, "Dates").await, "---\ncreated_at: \"next week\"\n---\n\n");
    assert!(body(&ada, "Tags").await.contains("yyy"));
    for (tag, count) in [("a", 1), ("b", 1), ("Work", 1)] {
        let tagged = ada.tool("notes_list", json!({ "tag": tag })).await;
        assert_eq!(tagged.output()["notes"].as_array().unwrap().len(), count, "{tag}");
    }

    let prose = "\u{feff}---\r\nWarning: the dose is 5 mg, never 50\r\n---\r\n\r\nAsk.\r\n";
    let imported = ada.tool("notes_import", json!({ "text": prose })).await;
    assert_eq!(imported.output()["warnings"].as_array().unwrap().len(), 1);
    let kept = body(&ada, "Warning: the dose is 5 mg, never 50").await;
    assert_eq!(kept, "---\nWarning: the dose is 5 mg, never 50\n---\n\nAsk.");
}

async fn one_note_is_called_one_note(database: Database) {
    let cluster = notes_on(database).await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    for (name, arguments, sentence) in [
        ("notes_import", json!({ "text": "# Tea" }), "Imported 1 of 1 note"),
        ("notes_export", json!({}), "Exported 1 note"),
    ] {
        let meta = json!({ "progressToken": name });
        let call = json!({ "name": name, "arguments": arguments, "_meta": meta });
        let done = ada.call("tools/call", call).await;
        let told: Vec<_> = done.before.iter().map(|it| &it["params"]["message"]).collect();
        assert!(told.iter().any(|it| **it == sentence), "{told:?}");
    }
}

async fn what_is_there_stays_unless_the_user_says_otherwise(database: Database) {
    let cluster = notes_on(database).await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    ada.tool("notes_create", json!({ "title": "Tea", "body": "Black" })).await.output();
    let import = async |policy: &str| {
        let arguments = json!({ "text": MARKDOWN, "on_conflict": policy });
        let counts = ada.tool("notes_import", arguments).await.output().clone();
        (counts["created"].clone(), counts["replaced"].clone(), counts["skipped"].clone())
    };
    // This client cannot ask.
    assert_eq!(import("ask").await, (json!(1), json!(0), json!(1)));
    let imported = ada.tool("notes_import", json!({ "text": MARKDOWN })).await;
    assert!(imported.output()["warnings"][0].as_str().unwrap().contains("2 notes were skipped"));
    assert_eq!(body(&ada, "Tea").await, "Black");
    assert_eq!(import("skip").await, (json!(0), json!(0), json!(2)));
    assert_eq!(import("replace").await, (json!(0), json!(2), json!(0)));
    assert_eq!(body(&ada, "Tea").await, "Green, 70 °C");
    assert_eq!(import("keep_both").await, (json!(2), json!(0), json!(0)));
    assert_eq!(titles(&ada).await, ["Bread", "Bread", "Tea", "Tea"]);
}

async fn the_user_is_asked_once_what_to_do(database: Database) {
    let cluster = notes_on(database).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let call = json!({ "name": "notes_import", "arguments": { "text": MARKDOWN } });
    let (first, rounds) = answered(&ada, &call, |_, _| panic!("there is nothing to ask")).await;
    assert_eq!((first.output()["created"].as_u64(), rounds.len()), (Some(2), 0));

    for refusal in [json!({ "action": "decline" }), json!({ "action": "cancel" })] {
        let (done, rounds) = answered(&ada, &call, |_, question| {
            let message = question["params"]["message"].as_str().unwrap();
            assert!(message.contains("“Tea”") && message.contains("“Bread”"), "{message}");
            refusal.clone()
        })
        .await;
        assert_eq!(rounds, [1], "both titles in one question");
        assert_eq!(done.output()["created"], 0);
        assert!(done.output()["reason"].is_string(), "{}", done.output());
    }
    let keep = json!({ "action": "accept", "content": { "existing": "keep_both" } });
    let (done, _) = answered(&ada, &call, |_, _| keep.clone()).await;
    assert_eq!(done.output()["created"], 2);

    let session = cluster.web(0).legacy(cluster.token("ada").await, Revision::November2025).await;
    let mut stream = session.open("tools/call", call).await;
    let question = stream.until("elicitation/create").await;
    let replace = json!({ "action": "accept", "content": { "existing": "replace" } });
    assert_eq!(session.respond(&question, replace).await, 202);
    let done = stream.message().await;
    assert_eq!(done["result"]["structuredContent"]["replaced"], 2, "{done}");
    assert_eq!(titles(&ada).await, ["Bread", "Bread", "Tea", "Tea"]);
}

async fn notes_of_one_title_replace_each_other_one_by_one(database: Database) {
    let cluster = notes_on(database).await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    // More than one batch, so that later batches meet notes that this import has made or changed.
    let document = |from: usize| {
        let notes =
            (from..from + 1_200).map(|it| json!({ "title": "Same", "body": it.to_string() }));
        Value::Array(notes.collect()).to_string()
    };
    let import = async |from: usize, policy: &str| {
        let arguments = json!({ "text": document(from), "on_conflict": policy });
        ada.tool("notes_import", arguments).await.output().clone()
    };
    assert_eq!(import(0, "skip").await["created"], 1_200, "they were not there before");
    assert_eq!(import(0, "skip").await["skipped"], 1_200);
    assert_eq!(import(10_000, "replace").await["replaced"], 1_200);
    let found = ada.tool("notes_search", json!({ "query": "11199" })).await;
    assert_eq!(found.output()["notes"].as_array().unwrap().len(), 1, "the last one took its place");
    let found = ada.tool("notes_search", json!({ "query": "7" })).await;
    assert_eq!(found.output()["notes"], json!([]), "none of the old texts is left");
    assert_eq!(titles(&ada).await.len(), 1_200);
}

async fn subscribers_hear_of_an_import(database: Database) {
    let cluster = notes_on(database).await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    let filter = json!({ "resourcesListChanged": true });
    let (mut stream, _) = ada.listen(filter).await;
    ada.tool("notes_import", json!({ "text": MARKDOWN })).await.output();
    stream.expect("notifications/resources/list_changed").await;
}

async fn no_address_inside_is_fetched(database: Database) {
    let cluster = notes_on(database).await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    for url in [
        "http://example.com/notes.json",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/",
        "https://notes.internal/",
        "https://me@example.com/",
        "https://example.com:8443/",
        "file:///etc/passwd",
        "notes.json",
    ] {
        let refused = ada.tool("notes_import", json!({ "url": url })).await;
        let sentence = refused.tool_error();
        assert!(sentence.contains("cannot be fetched from this `url`"), "{url}: {sentence}");
    }
}

const ADDRESS: &str = "https://files.example.com/notes";

/// A worker that finds its documents on this host, in real time: what is tried again is so after a
/// pause.
async fn with_documents(database: Database, host: &DocumentHost) -> (Cluster, Modern) {
    let cluster = Setup::new(database)
        .product(notes::product)
        .workers(1)
        .with_documents(host)
        .real_time()
        .start()
        .await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    (cluster, ada)
}

fn markdown() -> Reply {
    Reply::With(200, "content-type: text/markdown\r\n", MARKDOWN.to_owned())
}

async fn a_document_is_fetched_from_its_address(database: Database) {
    let host = DocumentHost::start().await;
    let (_cluster, ada) = with_documents(database, &host).await;
    host.serves(markdown());
    let import = json!({ "url": ADDRESS });
    let imported = ada.tool("notes_import", import.clone()).await;
    assert_eq!(imported.output()["created"], 2);
    assert_eq!(titles(&ada).await, ["Bread", "Tea"]);

    host.serves(Reply::Json(json!({ "notes": [{ "title": "Jam", "body": "Plum" }] })));
    ada.tool("notes_import", import.clone()).await.output();
    assert_eq!(titles(&ada).await, ["Bread", "Jam", "Tea"]);

    let before = host.requests();
    for (reply, sentence) in [
        (Reply::With(404, "", String::new()), "it responded with 404"),
        (Reply::With(302, "location: https://files.example.com/\r\n", String::new()), "redirects"),
        (Reply::With(200, "", "<html>".repeat(3 << 20)), "larger than 16 MB"),
    ] {
        host.serves(reply);
        let refused = ada.tool("notes_import", import.clone()).await;
        assert!(refused.tool_error().contains(sentence), "{}", refused.tool_error());
    }
    assert_eq!(host.requests() - before, 3, "what will not pass is not tried again");
    assert_eq!(titles(&ada).await, ["Bread", "Jam", "Tea"]);
}

async fn a_host_in_trouble_is_asked_again(database: Database) {
    let host = DocumentHost::start().await;
    let (_cluster, ada) = with_documents(database, &host).await;
    let asked = std::sync::atomic::AtomicUsize::new(0);
    host.answers(move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => Reply::With(503, "retry-after: 1\r\n", String::new()),
        _ => markdown(),
    });
    let imported = ada.tool("notes_import", json!({ "url": ADDRESS })).await;
    assert_eq!(imported.output()["created"], 2);
    assert_eq!(host.requests(), 2);
}

async fn a_name_that_leads_inside_is_not_followed(database: Database) {
    let host = DocumentHost::start().await;
    let (cluster, ada) = with_documents(database, &host).await;
    host.serves(markdown());
    host.resolves("files.example.com", &[&["93.184.216.34", "10.0.0.7"]]);
    // It is tried again for minutes, as any host that cannot be reached: nobody learns which it is.
    let session = cluster.web(0).legacy(cluster.token("ada").await, Revision::June2025).await;
    let call = json!({ "name": "notes_import", "arguments": { "url": ADDRESS } });
    drop(session.open("tools/call", call).await);
    eventually("a second attempt", async || (host.lookups() >= 2).then_some(())).await;
    assert_eq!(host.connections(), 0);
    let listed = ada.tool("jobs_list", json!({})).await;
    let id = &listed.output()["jobs"][0]["id"];
    let cancelled = ada.tool("jobs_cancel", json!({ "id": id })).await;
    assert_eq!(cancelled.output()["job"]["status"], "cancelled");
    assert_eq!(titles(&ada).await, [] as [&str; 0]);
}
