//! The section “Bookmarks” of the account page: the newest bookmarks.

use app::section::{Fragment, Section, SectionError, SectionVisit};
use askama::Template;
use async_trait::async_trait;
use platform::db::Failure;

use crate::{
    state::State,
    store::{self, Bookmark},
};

/// The number of bookmarks that are shown.
const SHOWN: u64 = 100;

pub(crate) struct BookmarksSection;

#[derive(Template)]
#[template(path = "bookmarks.html")]
struct Page {
    bookmarks: Vec<Bookmark>,
}

#[async_trait]
impl Section<State> for BookmarksSection {
    fn name(&self) -> &'static str {
        "bookmarks"
    }

    fn title(&self) -> &'static str {
        "Bookmarks"
    }

    async fn show(&self, state: &State, visit: &SectionVisit) -> Result<Fragment, SectionError> {
        if visit.item.is_some() {
            return Err(SectionError::NotFound);
        }
        let db = state.db_of(visit.user());
        let bookmarks = store::list(&db, visit.user(), None, SHOWN).await.map_err(Failure::from)?;
        let html = Page { bookmarks }.render().expect("writing to a string does not fail");
        Ok(Fragment { title: "Your bookmarks".to_owned(), html })
    }
}
