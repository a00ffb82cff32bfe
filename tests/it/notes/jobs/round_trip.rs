//! Exported notes that are deleted and imported again are identical byte for byte, in each format and with
//! each way to pass the file.

use std::time::Duration;

use mcp::UserId;
use notes::store::{self, Body, Draft, Listing, Note, PageSize, Tag, Tags, Title};
use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use sea_orm::{EntityTrait as _, QueryFilter as _};
use serde_json::json;
use tests::{
    cluster::{Cluster, Database, Setup},
    documents::{DocumentHost, Reply},
};

use super::alone;

on_both_databases!(a_thousand_notes_survive_a_round_trip);

const COUNT: usize = 1_000;

/// What people write, and what a format could take for its own.
fn any_draft() -> impl Strategy<Value = Draft> {
    let word =
        "([^\\pC]|[\\p{Cf}\\p{Co}]|[-#:'\"\\[\\]{},&*!|>%@`~\\\\]|null|---|[א-ת]|🎉|é){1,20}";
    let title = word.prop_filter_map("a title", |it| Title::parse(&it).ok());
    let tags = vec(word.prop_filter_map("a tag", |it| Tag::parse(&it).ok()), 0..4);
    let piece = "([^\\x00]|[\\x01-\\x1f]|\u{feff}|\n\n|\r\n|\r|---\n|\\+\\+\\+\n|\\.\\.\\.\n|title: x\n\
                 |tags: \\[a\\]\n|created_at: 2020-01-01\n|```\n|# |## a\n|- \\[ \\] |\\{\"notes\": \\[\
                 |\\\\|\t|PK\x03\x04|<!-- notes-mcp: next note -->\n?|\\\\<!-- notes-mcp: next note -->\n\
                 |\u{2028}|\u{85}|[\\p{Arabic}]|\u{202e}|👩‍👩‍👧|日本語|https://example.com/?a=b&c#d){0,12}";
    let long = "[a-zé ]{9}".prop_map(|it| it.repeat(11_111));
    let body = prop_oneof![60 => piece.prop_map(|it| it.replace('\0', "")), 1 => long];
    (title, body, tags).prop_map(|(title, body, tags)| Draft {
        title,
        body: Body::parse(body).expect("it is short and holds no U+0000"),
        tags: Tags::parse(tags).expect("a few tags"),
    })
}

/// The same ones in every run.
fn drafts() -> Vec<Draft> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let all = vec(any_draft(), COUNT).new_tree(&mut runner).expect("notes can be made");
    all.current()
}

/// All notes of a person but their ids, in an order of their own.
async fn all(cluster: &Cluster, owner: &UserId) -> Vec<String> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store::list_full(cluster.app().db(), owner, None, after, 50).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.cursor());
        found.extend(page);
    }
    let plain = |it: &Note| {
        let Note { title, body, tags, created_at, updated_at, .. } = it;
        format!("{title:?} {body:?} {tags:?} {created_at} {updated_at}")
    };
    let mut texts: Vec<_> = found.iter().map(plain).collect();
    texts.sort_unstable();
    texts
}

async fn a_thousand_notes_survive_a_round_trip(database: Database) {
    let host = DocumentHost::start().await;
    let cluster =
        Setup::new(database).product(notes::product).workers(1).with_documents(&host).start().await;
    let owner = UserId::new("dev:ada");
    for draft in drafts() {
        store::create(cluster.app().state(), &owner, draft).await.unwrap();
        cluster.clock().advance(Duration::from_micros(1_500_001));
    }
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    let before = all(&cluster, &owner).await;
    assert_eq!(before.len(), COUNT);
    for format in ["zip", "json", "markdown"] {
        let made = ada.tool("notes_export", json!({ "format": format })).await.output().clone();
        let path = made["download_url"].as_str().unwrap();
        let path = &path[path.find("/exports/").unwrap()..];
        let file = cluster.web(0).get(path).await.body;
        host.serves(Reply::Bytes(file));
        let elsewhere = json!("https://files.example.com/x");
        let ways = [&made["download_url"], &made["uri"], &elsewhere];
        for url in ways.into_iter().take(if format == "zip" { ways.len() } else { 1 }) {
            notes::entity::Entity::delete_many()
                .filter(notes::entity::COLUMN.owner_sub.eq(owner.as_str()))
                .exec(cluster.app().db())
                .await
                .unwrap();
            let imported = ada.tool("notes_import", json!({ "url": url })).await.output().clone();
            assert_eq!(imported["created"], COUNT, "{format} from {url}: {imported}");
            assert_eq!(imported.get("warnings"), None, "{format} from {url}");
            let after = all(&cluster, &owner).await;
            assert_eq!(after.len(), COUNT, "{format} from {url}");
            for (after, before) in after.iter().zip(&before) {
                assert!(after == before, "{format} from {url}: {after} was {before}");
            }
        }
    }
    let listing = Listing { limit: PageSize::new(1).unwrap(), ..Listing::default() };
    let bob = UserId::new("dev:bob");
    assert!(store::list(cluster.app().db(), &bob, listing).await.unwrap().notes.is_empty());
    let bob = alone(&cluster.web(0).modern(cluster.token("bob").await));
    let made = ada.tool("notes_export", json!({})).await.output().clone();
    let refused = bob.tool("notes_import", json!({ "url": made["uri"] })).await;
    assert!(refused.tool_error().contains("no export at this URL"), "{}", refused.tool_error());
}
