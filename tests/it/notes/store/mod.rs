//! The statements of notes on both databases: access control, search, query plans and the schema.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod notes;
mod plans;
mod schema;
mod search;
mod search_old_rows;
mod search_table;

use std::time::Duration;

use ::notes::store::{self, Body, Draft, Note, Tag, Tags, Title};
use mcp::UserId;

use crate::world::{self, World, on_both, user};

/// Creates a note, and advances the clock by a second.
async fn note(world: &World, owner: &UserId, title: &str, body: &str, tags: &[&str]) -> Note {
    let note = store::create(world.app.state(), owner, draft(title, body, tags)).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    note
}

pub(super) fn draft(title: &str, body: &str, tags: &[&str]) -> Draft {
    Draft {
        title: Title::parse(title).unwrap(),
        body: Body::parse(body).unwrap(),
        tags: self::tags(tags),
    }
}

fn tags(tags: &[&str]) -> Tags {
    Tags::parse(tags.iter().map(|tag| Tag::parse(tag).unwrap())).unwrap()
}
