//! The parts of views ([`View`](crate::View)) that every server needs: plain JavaScript and CSS, without
//! a framework and without a build step.
//!
//! [`STYLE`], [`BRIDGE`] and [`ELEMENTS`] are part of every view; a view that shows text of users also
//! names [`MARKDOWN`].

/// The style sheet: the theme variables of the host with defaults, and the elements.
pub const STYLE: &str = include_str!("style.css");

/// `host`: the connection to the host, with its theme, tool calls and links.
pub const BRIDGE: &str = include_str!("bridge.js");

/// `el`, `show`, `run`, …: building the document, and formatting.
pub const ELEMENTS: &str = include_str!("elements.js");

/// `renderMarkdown`: Markdown as elements. HTML in it stays text.
pub const MARKDOWN: &str = include_str!("markdown.js");
