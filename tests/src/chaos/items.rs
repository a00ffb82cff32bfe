//! What one user has written, and whether it is there.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt as _, rngs::StdRng};
use serde_json::{Value, json};

use super::{
    World,
    modern::{Asker, Outcome},
};

/// The items of one client.
#[derive(Debug)]
pub(super) struct Items {
    token: String,
    user: String,
    written: usize,
    acknowledged: BTreeSet<String>,
    /// Nobody said whether these were written.
    unknown: BTreeSet<String>,
}

impl Items {
    pub(super) fn of(token: &str, user: String) -> Self {
        Self {
            token: token.to_owned(),
            user,
            written: 0,
            acknowledged: BTreeSet::new(),
            unknown: BTreeSet::new(),
        }
    }

    /// The title of the next item.
    pub(super) fn next_title(&mut self) -> String {
        self.written += 1;
        format!("{} wrote {}", self.user, self.written)
    }

    pub(super) fn was_acknowledged(&mut self, world: &World, title: String) {
        world.tally.count("items acknowledged");
        self.acknowledged.insert(title);
    }

    pub(super) fn is_unknown(&mut self, world: &World, title: String) {
        world.tally.count("items created with an unknown outcome");
        self.unknown.insert(title);
    }

    /// The titles of this many new items.
    pub(super) fn titles(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.next_title()).collect()
    }

    /// The title of an item that is there, if there is one.
    pub(super) fn any(&self, random: &mut StdRng) -> Option<String> {
        let index = random.random_range(0..self.acknowledged.len().max(1));
        self.acknowledged.iter().nth(index).cloned()
    }

    /// An import has ended, with all of these.
    pub(super) fn were_imported(&mut self, world: &World, titles: Vec<String>) {
        world.tally.add("items imported", titles.len());
        self.acknowledged.extend(titles);
    }

    /// An import was cancelled, or nobody said what became of it.
    pub(super) fn may_be_there(&mut self, titles: impl IntoIterator<Item = String>) {
        self.unknown.extend(titles);
    }

    /// Every acknowledged item is there once, and no other item more than once.
    pub(super) async fn verify(self, world: &World) {
        let mut asker = Asker::new(&self.token);
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        let mut cursor = Value::Null;
        loop {
            let mut arguments = json!({ "limit": 100 });
            if !cursor.is_null() {
                arguments["cursor"] = cursor;
            }
            let Outcome::Answer { message, .. } =
                asker.tool(world, "items_list", arguments, None).await
            else {
                world.tally.broken(format!("the items of {} cannot be listed", self.user));
                return;
            };
            let output = &message["result"]["structuredContent"];
            for item in output["items"].as_array().into_iter().flatten() {
                *found.entry(item["title"].as_str().unwrap_or_default().to_owned()).or_default() +=
                    1;
            }
            cursor = output["next_cursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        for title in &self.acknowledged {
            match found.get(title) {
                Some(1) => world.tally.promise_kept(),
                Some(times) => world.tally.broken(format!("`{title}` is there {times} times")),
                None => world.tally.broken(format!("`{title}` was acknowledged and is lost")),
            }
        }
        for (title, times) in found {
            if !self.acknowledged.contains(&title) && !self.unknown.contains(&title) {
                world.tally.broken(format!("`{title}` is there though nobody wrote it"));
            } else if times > 1 {
                world.tally.broken(format!("`{title}` is there {times} times"));
            }
        }
    }
}
