//! Renders the text of a note as HTML that is safe to show: notes may come from anywhere, for example
//! from a web page that a model has read.
//!
//! Raw HTML is shown as text. Links lead only to `http`, `https` and `mailto`. Images become links,
//! because the browser may not load them. There are no other elements with an address.

use pulldown_cmark::{CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd, html};
use url::Url;

/// The schemes that a link may have.
const SCHEMES: [&str; 3] = ["http", "https", "mailto"];

/// Renders Markdown as HTML. The output is bounded: the parser adds at most 262,144 empty table cells.
pub(super) fn html(text: &str) -> String {
    let parser = Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH);
    let mut safe = Safe { level: 1, open_links: Vec::new() };
    let mut output = String::with_capacity(text.len() * 3 / 2);
    html::push_html(&mut output, parser.filter_map(|event| safe.event(event)));
    output
}

/// Makes the events of the parser safe.
struct Safe {
    /// The level of the last heading. The title of the page has level 1.
    level: usize,
    /// Whether each open link or image is shown as a link.
    open_links: Vec<bool>,
}

impl Safe {
    /// Returns the event to render instead. `None`: the event is left out.
    fn event<'a>(&mut self, event: Event<'a>) -> Option<Event<'a>> {
        Some(match event {
            Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
            Event::Start(Tag::HtmlBlock) => Event::Start(Tag::Paragraph),
            Event::End(TagEnd::HtmlBlock) => Event::End(TagEnd::Paragraph),
            Event::Start(Tag::Heading { level, .. }) => {
                // Levels are not skipped, so that screen readers can navigate.
                self.level = (level as usize + 1).min(self.level + 1).clamp(2, 6);
                let (id, classes, attrs) = (None, Vec::new(), Vec::new());
                Event::Start(Tag::Heading { level: self.heading(), id, classes, attrs })
            }
            Event::End(TagEnd::Heading(_)) => Event::End(TagEnd::Heading(self.heading())),
            Event::Start(Tag::Link { link_type, dest_url, .. }) => {
                return self.start_link(link_type, dest_url);
            }
            Event::Start(Tag::Image { dest_url, .. }) => {
                return self.start_link(LinkType::Inline, dest_url);
            }
            Event::End(TagEnd::Link | TagEnd::Image) => {
                return self.open_links.pop().unwrap_or(false).then_some(Event::End(TagEnd::Link));
            }
            other => other,
        })
    }

    fn heading(&self) -> HeadingLevel {
        HeadingLevel::try_from(self.level).unwrap_or(HeadingLevel::H6)
    }

    fn start_link<'a>(&mut self, link_type: LinkType, to: CowStr<'a>) -> Option<Event<'a>> {
        let address = if link_type == LinkType::Email { Some(to) } else { address(&to) };
        // HTML has no link within a link.
        let address = address.filter(|_| !self.open_links.contains(&true));
        self.open_links.push(address.is_some());
        let (title, id) = (CowStr::Borrowed(""), CowStr::Borrowed(""));
        Some(Event::Start(Tag::Link { link_type, dest_url: address?, title, id }))
    }
}

/// The address of a link in normalized form, so that the browser reads it in the same way. `None`: a
/// link may not lead there.
fn address(text: &str) -> Option<CowStr<'static>> {
    let url = Url::parse(text).ok().filter(|url| SCHEMES.contains(&url.scheme()))?;
    Some(CowStr::from(String::from(url)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markdown_becomes_html() {
        for (text, expected) in [
            ("*a* **b** ~~c~~", "<p><em>a</em> <strong>b</strong> <del>c</del></p>\n"),
            (
                "[a](https://a.example/?b&c)",
                "<p><a href=\"https://a.example/?b&amp;c\">a</a></p>\n",
            ),
            ("<me@a.example>", "<p><a href=\"mailto:me@a.example\">me@a.example</a></p>\n"),
            (
                "![cup](https://a.example/c.png)",
                "<p><a href=\"https://a.example/c.png\">cup</a></p>\n",
            ),
            ("# A\n\n#### B", "<h2>A</h2>\n<h3>B</h3>\n"),
            ("- [ ] a", "<ul>\n<li>[ ] a</li>\n</ul>\n"),
        ] {
            assert_eq!(html(text), expected, "{text}");
        }
    }

    #[test]
    fn nothing_that_is_active_remains() {
        for (text, expected) in [
            ("a <b onclick=x>b</b>", "<p>a &lt;b onclick=x&gt;b&lt;/b&gt;</p>\n"),
            ("<script>x</script>", "<p>&lt;script&gt;x&lt;/script&gt;</p>\n"),
            ("[a](javascript:x)", "<p>a</p>\n"),
            ("[a](JaVaScRiPt:x)", "<p>a</p>\n"),
            ("[a](data:text/html,x)", "<p>a</p>\n"),
            ("[a](//evil.example)", "<p>a</p>\n"),
            ("[a](/account)", "<p>a</p>\n"),
            ("[a](https:evil.example)", "<p><a href=\"https://evil.example/\">a</a></p>\n"),
            ("![a](javascript:x)", "<p>a</p>\n"),
            ("<javascript:x>", "<p>javascript:x</p>\n"),
            ("[a]\n\n[a]: vbscript:x", "<p>a</p>\n"),
        ] {
            assert_eq!(html(text), expected, "{text}");
        }
    }

    #[test]
    fn a_link_within_a_link_is_text() {
        let shown = html("[![cup](https://a.example/c.png)](https://b.example/)");
        assert_eq!(shown, "<p><a href=\"https://b.example/\">cup</a></p>\n");
    }

    /// The tags of elements and their attributes that the renderer may write.
    fn is_known(tag: &str) -> bool {
        const ELEMENTS: [&str; 25] = [
            "p",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "em",
            "strong",
            "del",
            "ul",
            "ol",
            "li",
            "pre",
            "code",
            "blockquote",
            "br",
            "hr",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "a",
            "",
        ];
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        ELEMENTS.contains(&name)
    }

    proptest! {
        #[test]
        fn only_known_elements_are_written(
            text in "([<>\\[\\]()!#*`|a-z:/\"'=& \n-]|<a |javascript:|https://a|<script|-->|]\\(){0,60}"
        ) {
            let shown = html(&text);
            for part in shown.split('<').skip(1) {
                let tag = part.split('>').next().unwrap_or_default();
                prop_assert!(is_known(tag), "<{tag}> in {shown}");
                if let Some((_, address)) = tag.split_once("href=\"") {
                    let is_safe = ["http://", "https://", "mailto:"]
                        .iter()
                        .any(|scheme| address.starts_with(scheme));
                    prop_assert!(is_safe, "{address}");
                }
                prop_assert!(!tag.contains(" on"), "{tag}");
            }
        }
    }
}
