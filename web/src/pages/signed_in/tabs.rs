//! The navigation of the account pages.

use app::Product;

/// The path of the page with the connected apps. Those of the other pages begin with it.
pub(crate) const APPS: &str = "/account";

/// The path of the page with the jobs.
pub(crate) const JOBS: &str = "/account/jobs";

/// The path of the page with the security events.
pub(crate) const SECURITY: &str = "/account/security";

/// A link of the navigation.
pub(crate) struct Tab {
    pub(crate) path: String,
    pub(crate) title: &'static str,
    /// Whether it is the page that is shown.
    pub(crate) is_current: bool,
}

/// The links to the pages of the base and to the sections of the product. The link to the path
/// `current` is marked.
pub(crate) fn list(product: &Product, current: &str) -> Vec<Tab> {
    let tab = |path: String, title| Tab { is_current: path == current, path, title };
    let sections = product.sections().map(|it| tab(section(it.name()), it.title()));
    let mut tabs = vec![tab(APPS.to_owned(), "Apps")];
    tabs.extend(sections);
    tabs.extend([tab(JOBS.to_owned(), "Jobs"), tab(SECURITY.to_owned(), "Security")]);
    tabs
}

/// The path of a section of the product.
pub(crate) fn section(name: &str) -> String {
    format!("{APPS}/{name}")
}
