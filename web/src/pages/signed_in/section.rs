//! `/account/…`: the sections of the product ([`app::section`]).

use app::section::{AnySection, Fragment, Next, SectionError, SectionVisit};
use askama::Template;
use http::StatusCode;
use poem::Response;

use super::{
    UserPage, UserVisit,
    tabs::{self, Tab},
    unavailable,
};
use crate::{
    http::error::ApiError,
    pages::{error_page, fields::Fields, frame::Frame, respond::see_other},
};

/// The path of a section.
pub(crate) const PATH: &str = "/account/:section";

/// The path of an item of a section.
pub(crate) const ITEM_PATH: &str = "/account/:section/:item";

/// The accepted methods.
pub(crate) const METHODS: &str = "GET, HEAD, POST";

/// The pages of all sections.
pub(crate) struct SectionPage;

#[derive(Template)]
#[template(path = "section.html")]
struct Page<'a> {
    frame: &'a Frame,
    tabs: &'a [Tab],
    fragment: &'a Fragment,
}

impl UserPage for SectionPage {
    async fn show(&self, visit: UserVisit) -> Result<Response, ApiError> {
        let app = visit.app.clone();
        let section = find(&visit)?;
        let asked = section_visit(section, &visit, &visit.query);
        let fragment = section.show(app.any_state(), &asked).await;
        let fragment = fragment.map_err(|error| api_error(error, &asked))?;
        let tabs = tabs::list(app.product(), &asked.path);
        let page = Page { frame: &visit.frame, tabs: &tabs, fragment: &fragment };
        Ok(visit.frame.show(StatusCode::OK, &page))
    }

    async fn act(&self, visit: UserVisit, form: Fields) -> Result<Response, ApiError> {
        let section = find(&visit)?;
        let asked = section_visit(section, &visit, &form);
        let next = section.act(visit.app.any_state(), &asked).await;
        match next.map_err(|error| api_error(error, &asked))? {
            Next::Section(done) => see_other(&format!("{}?done={done}", asked.path)),
            Next::Jobs => see_other(&format!("{}?done=started", tabs::JOBS)),
        }
    }
}

/// Finds the section that a path names.
fn find(visit: &UserVisit) -> Result<&dyn AnySection, ApiError> {
    let name = visit.section.as_deref().unwrap_or_default();
    let mut sections = visit.app.product().sections();
    sections.find(|section| section.name() == name).ok_or_else(|| not_found(tabs::APPS))
}

fn section_visit(section: &dyn AnySection, visit: &UserVisit, fields: &Fields) -> SectionVisit {
    // A field that occurs more than once is left out.
    let names = fields.0.iter().map(|(name, _)| name);
    let field = |name: &String| Some((name.clone(), fields.one(name)?.to_owned()));
    SectionVisit {
        path: tabs::section(section.name()),
        item: visit.item.clone(),
        fields: names.filter_map(field).collect(),
        session: visit.session.clone(),
    }
}

fn api_error(error: SectionError, visit: &SectionVisit) -> ApiError {
    match error {
        SectionError::NotFound => not_found(&visit.path),
        SectionError::Refused(why) => {
            error_page::bad_request("This is not possible", why, "Go back to change it.")
        }
        SectionError::Failed(failure) => unavailable(&failure),
    }
}

fn not_found(back: &str) -> ApiError {
    error_page::new(
        StatusCode::NOT_FOUND,
        "There is nothing here",
        "It was deleted, or never existed.",
        "Go back to the list.",
    )
    .with_link("Back", back)
}
