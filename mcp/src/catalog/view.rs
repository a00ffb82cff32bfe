//! Views: HTML documents that show the result of a tool in the conversation (MCP Apps, SEP-1865,
//! revision 2026-01-26).
//!
//! A tool names its view ([`Tool::VIEW`](crate::Tool::VIEW)), and the catalog serves the views of its
//! tools as resources. All of this is visible only to clients that declare the extension.

use super::resource::{ResourceKind, ResourceSlot};
use crate::{
    types::{ClientCapabilities, ResourceContents, ResourceEntry},
    views,
};

/// The name of the extension.
pub(crate) const EXTENSION: &str = "io.modelcontextprotocol/ui";

/// The media type of a view.
pub(crate) const MIME_TYPE: &str = "text/html;profile=mcp-app";

/// A view: one HTML document that needs no network. The helpers of [`views`] are part of every view.
#[derive(Debug)]
pub struct View {
    /// The URI, `ui://<server>/<name>`.
    pub uri: &'static str,
    /// The programmatic name.
    pub name: &'static str,
    /// The display name, also the title of the document.
    pub title: &'static str,
    /// What it shows.
    pub description: &'static str,
    /// Style sheets, after [`views::STYLE`].
    pub styles: &'static [&'static str],
    /// Scripts, after [`views::BRIDGE`] and [`views::ELEMENTS`]. They share one scope, and fill the
    /// element `main`.
    pub scripts: &'static [&'static str],
}

impl View {
    /// The HTML document.
    ///
    /// # Panics
    /// If the title contains markup, or a script or style sheet its own end tag.
    #[must_use]
    pub fn document(&self) -> String {
        let Self { uri, title, .. } = self;
        assert!(!title.contains(['<', '&']), "{uri}: the title contains markup");
        let mut html = format!("{HEAD}<title>{title}</title>\n<style>\n");
        for style in [views::STYLE].iter().chain(self.styles) {
            assert!(!style.contains("</style"), "{uri}: a style sheet ends early");
            html.push_str(style);
            html.push('\n');
        }
        html.push_str("</style>\n</head>\n<body>\n<main></main>\n<script>\n'use strict';\n");
        for script in [views::BRIDGE, views::ELEMENTS].iter().chain(self.scripts) {
            // `<!--` would change how the parser finds the end of the script.
            let ends_early = script.contains("</script") || script.contains("<!--");
            assert!(!ends_early, "{uri}: a script ends early");
            html.push_str(script);
            html.push('\n');
        }
        html.push_str("</script>\n</body>\n</html>\n");
        html
    }

    /// The view as a resource, and its contents. It contains no data of users, so it requires no
    /// scope.
    pub(super) fn as_resource(&self) -> (ResourceSlot, ResourceContents) {
        let html = self.document();
        let entry = ResourceEntry {
            title: Some(self.title.to_owned()),
            description: Some(self.description.to_owned()),
            mime_type: Some(MIME_TYPE.to_owned()),
            size: u64::try_from(html.len()).ok(),
            meta: Some(meta()),
            ..ResourceEntry::new(self.uri, self.name)
        };
        let contents = ResourceContents {
            meta: Some(meta()),
            ..ResourceContents::text(self.uri, MIME_TYPE, html)
        };
        let slot = ResourceSlot { kind: ResourceKind::Single(entry), scope: "" };
        (slot, contents)
    }
}

/// The beginning of a document. The policy is the one that the specification asks hosts to enforce, for
/// hosts that do not.
const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
"#;

/// The `_meta` of a view: no network (the default), and a border, because views are shown between the
/// messages of a conversation.
fn meta() -> serde_json::Value {
    serde_json::json!({ "ui": { "prefersBorder": true } })
}

/// Whether a client declares that it shows views.
pub(crate) fn declared(capabilities: &ClientCapabilities) -> bool {
    let Some(declared) = capabilities.extensions.get(EXTENSION) else { return false };
    let Some(types) = declared.get("mimeTypes") else {
        // Required by the specification; the only type that it defines is this one.
        return !matches!(declared, serde_json::Value::Null | serde_json::Value::Bool(false));
    };
    let is_view = |mime_type: &str| mime_type.replace(' ', "").eq_ignore_ascii_case(MIME_TYPE);
    let mut types = types.as_array().into_iter().flatten().filter_map(|sent| sent.as_str());
    types.any(is_view)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    static VIEW: View = View {
        uri: "ui://test/view.html",
        name: "test_view",
        title: "A view",
        description: "Shows a test.",
        styles: &["main { color: red }"],
        scripts: &[views::MARKDOWN, "show('a');"],
    };

    #[test]
    fn a_document_contains_everything_and_loads_nothing() {
        let html = VIEW.document();
        for part in [views::STYLE, views::BRIDGE, views::ELEMENTS, views::MARKDOWN] {
            assert!(html.contains(part));
        }
        assert!(html.find("main { color: red }") > html.find(views::STYLE));
        assert!(html.find("show('a');") > html.find(views::MARKDOWN));
        assert!(html.contains("<title>A view</title>"));
        for attribute in ["src=", "href=", "@import", "url("] {
            assert!(!html.contains(attribute), "{attribute}");
        }
    }

    #[test]
    #[should_panic(expected = "ui://test/view.html: a script ends early")]
    fn a_script_must_not_end_itself() {
        let scripts = &["'</script>'"];
        let _panics = View { scripts, uri: VIEW.uri, ..view() }.document();
    }

    fn view() -> View {
        View {
            uri: "ui://test/other.html",
            name: "",
            title: "",
            description: "",
            styles: &[],
            scripts: &[],
        }
    }

    #[test]
    fn a_client_declares_views_with_the_extension_and_the_media_type() {
        let shows = |declared_settings| {
            let extensions = [(EXTENSION.to_owned(), declared_settings)].into();
            declared(&ClientCapabilities { extensions, ..ClientCapabilities::default() })
        };
        assert!(shows(json!({ "mimeTypes": ["text/plain", "text/html;profile=mcp-app"] })));
        assert!(shows(json!({ "mimeTypes": ["text/html; profile=mcp-app"] })));
        assert!(shows(json!({})));
        for other in
            [json!({ "mimeTypes": ["text/html"] }), json!({ "mimeTypes": [] }), json!(null)]
        {
            assert!(!shows(other.clone()), "{other}");
        }
        assert!(!declared(&ClientCapabilities::default()));
    }
}
