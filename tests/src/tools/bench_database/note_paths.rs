//! The paths of notes.

use anyhow::Context as _;
use app::App;
use mcp::UserId;
use notes::store::{
    self, Body, Changes, Cursor, Draft, Listing, Note, PageSize, SearchQuery, Tag, Tags, Title,
};

use super::{Size, large, person, plans::Plans, texts};

/// What the searches of a person look for.
pub(super) struct Queries(pub(super) Vec<(&'static str, String)>);

impl Queries {
    /// Builds the queries for a person, one of whose notes is given.
    pub(super) fn of(note: &Note) -> anyhow::Result<Self> {
        let words: Vec<&str> = note.body.split(' ').collect();
        let last = words.last().context("a text has words")?;
        let (common, second) = (texts::word(1), texts::word(2));
        Ok(Self(vec![
            ("a word of one note", (*last).to_owned()),
            ("a word in every 4th note", texts::word(24)),
            ("a word in nearly every note", common.clone()),
            ("two frequent words", format!("{common} {second}")),
            ("a phrase", format!("\"{}\"", words[..2].join(" "))),
            ("a phrase of frequent words", format!("\"{common} {second}\"")),
            ("Chinese, three characters", "数据库".to_owned()),
            ("Chinese, one character", "库".to_owned()),
            ("a word of no note", "absent".to_owned()),
        ]))
    }
}

/// Returns one note of a person.
pub(super) async fn some_note(app: &App, owner: &UserId) -> anyhow::Result<Note> {
    let notes = store::list_full(app.db(), owner, None, None, 10).await?;
    notes.into_iter().next_back().context("the person has notes")
}

pub(super) async fn run(app: &App, plans: &Plans, size: Size) -> anyhow::Result<()> {
    let typical = |number| person(number, size);
    reads(app, plans, "", &typical).await?;
    writes(app, plans, &typical).await?;
    searches(app, plans, "", &typical).await?;
    reads(app, plans, " (10,000 notes)", &|_| large()).await?;
    searches(app, plans, " (10,000 notes)", &|_| large()).await
}

async fn reads(
    app: &App,
    plans: &Plans,
    whose: &str,
    of: &impl Fn(u64) -> UserId,
) -> anyhow::Result<()> {
    let tag = Tag::parse("tag7")?;
    for (what, tag) in [("", None), (" with a tag", Some(tag))] {
        let listing =
            |cursor: Option<Cursor>| Listing { tag: tag.clone(), cursor, ..Listing::default() };
        plans
            .explain(&format!("list{what}{whose}"), async |number| {
                store::list(app.db(), &of(number), listing(None)).await?;
                Ok(())
            })
            .await?;
        plans
            .explain(&format!("list{what}, after a cursor{whose}"), async |number| {
                let cursor = some_note(app, &of(number)).await?.cursor();
                plans.take();
                store::list(app.db(), &of(number), listing(Some(cursor))).await?;
                Ok(())
            })
            .await?;
    }
    for typed in ["", "ba", "absent"] {
        let what = if typed.is_empty() { "nothing typed" } else { typed };
        plans
            .explain(&format!("complete ids, {what}{whose}"), async |number| {
                store::complete_ids(app.db(), &of(number), typed).await?;
                Ok(())
            })
            .await?;
        plans
            .explain(&format!("complete titles, {what}{whose}"), async |number| {
                store::complete_titles(app.db(), &of(number), typed).await?;
                Ok(())
            })
            .await?;
    }
    Ok(())
}

/// Gets, creates, updates and deletes notes. A note that is created is deleted again.
async fn writes(app: &App, plans: &Plans, of: &impl Fn(u64) -> UserId) -> anyhow::Result<()> {
    plans
        .explain("get, read a resource", async |number| {
            let note = some_note(app, &of(number)).await?;
            plans.take();
            store::get(app.db(), &of(number), note.id).await?;
            Ok(())
        })
        .await?;
    plans
        .explain("create", async |number| {
            create(app, &of(number), number).await?;
            Ok(())
        })
        .await?;
    plans
        .explain("update the text", async |number| {
            let note = create(app, &of(number), number).await?;
            plans.take();
            let body = Some(Body::parse(&*format!("{} More words.", note.body))?);
            let changes = Changes { body, ..Changes::default() };
            store::update(app.state(), &of(number), note.id, changes).await?;
            Ok(())
        })
        .await?;
    plans
        .explain("update the tags", async |number| {
            let note = some_note(app, &of(number)).await?;
            plans.take();
            let tags = Tags::parse([Tag::parse(&format!("new{number}"))?])?;
            store::set_tags(app.state(), &of(number), note.id, tags).await?;
            Ok(())
        })
        .await?;
    plans
        .explain("delete", async |number| {
            let note = create(app, &of(number), number).await?;
            plans.take();
            store::delete(app.state(), &of(number), note.id).await?;
            Ok(())
        })
        .await
}

/// Creates a note with one of the generated texts.
pub(super) async fn create(app: &App, owner: &UserId, number: u64) -> anyhow::Result<Note> {
    let text = texts::text(number);
    let draft = Draft {
        title: Title::parse(&text.title)?,
        body: Body::parse(text.body)?,
        tags: Tags::default(),
    };
    Ok(store::create(app.state(), owner, draft).await?)
}

async fn searches(
    app: &App,
    plans: &Plans,
    whose: &str,
    of: &impl Fn(u64) -> UserId,
) -> anyhow::Result<()> {
    let count = Queries::of(&some_note(app, &of(0)).await?)?.0.len();
    for index in 0..count {
        let what = Queries::of(&some_note(app, &of(0)).await?)?.0[index].0;
        plans
            .explain(&format!("search: {what}{whose}"), async |number| {
                let query = &Queries::of(&some_note(app, &of(number)).await?)?.0[index].1;
                plans.take();
                let words = SearchQuery::parse(query)?;
                store::find(app.state(), &of(number), &words, PageSize::default()).await?;
                Ok(())
            })
            .await?;
    }
    Ok(())
}
