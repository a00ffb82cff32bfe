//! What a person sees who opens the server in a browser.

use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderValue, header};
use poem::{Endpoint, Response, endpoint::make_sync};

use crate::{Instance, api};

/// `/`: what this is and where its MCP endpoint is.
pub(crate) fn welcome(instance: &Instance) -> impl Endpoint + use<> {
    let url = escape(&instance.service.config().public_url.mcp());
    let page = Bytes::from(WELCOME.replace("{url}", &url));
    make_sync(move |_| html(page.clone(), WELCOME_POLICY))
}

/// `/openapi.json`.
pub(crate) fn document(json: String) -> impl Endpoint {
    let json = Bytes::from(json);
    make_sync(move |_| {
        Response::builder()
            .content_type("application/json")
            .header(header::CACHE_CONTROL, "public, max-age=300")
            .body(json.clone())
    })
}

/// `/docs`: the same document, to read and to try out. The page is 3 MB of script that no MCP
/// client ever asks for, so it is put together when somebody does.
pub(crate) fn reference(instance: &Instance) -> impl Endpoint + use<> {
    let instance = instance.clone();
    let page = OnceLock::new();
    make_sync(move |_| {
        let page = page.get_or_init(|| Bytes::from(api::service(&instance).scalar_html()));
        html(page.clone(), REFERENCE_POLICY)
    })
}

fn html(page: Bytes, policy: &'static str) -> Response {
    let mut response = Response::builder()
        .content_type("text/html; charset=utf-8")
        .body(page);
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(policy),
    );
    response
}

/// Text for an HTML page or a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

const WELCOME_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

/// The reference page carries its script with it; it may call this server and nobody else.
const REFERENCE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; \
     style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; connect-src 'self'; \
     base-uri 'none'; frame-ancestors 'none'";

const WELCOME: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>notes-mcp</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem }
  code { background: #8882; padding: .15rem .35rem; border-radius: .25rem; overflow-wrap: anywhere }
  @media (prefers-color-scheme: dark) { body { background: #111; color: #ddd } a { color: #8bf } }
</style>
<h1>notes-mcp</h1>
<p>Your notes, for the assistant of your choice, over the Model Context Protocol.</p>
<p>Give this address to your MCP client:</p>
<p><code>{url}</code></p>
<p>The client has to send an access token. Whoever runs this server can print one for you.</p>
<p>The other endpoints of this server are described at <a href="/docs">/docs</a>.</p>
</html>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_in_a_page() {
        assert_eq!(
            escape(r#"<a href="x">'&"#),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;"
        );
    }
}
