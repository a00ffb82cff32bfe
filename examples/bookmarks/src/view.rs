//! The view of `bookmarks_list` and `bookmarks_search`: what clients with MCP Apps show in the
//! conversation.

use mcp::View;

/// Bookmarks as a list of links.
pub(crate) static BOOKMARKS: View = View {
    uri: "ui://bookmarks/list.html",
    name: "bookmarks_list_view",
    title: "Bookmarks",
    description: "Shows bookmarks as a list of links, and searches them.",
    styles: &[include_str!("view.css")],
    scripts: &[include_str!("view.js")],
};
