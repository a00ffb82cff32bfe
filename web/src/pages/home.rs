//! `/`: describes the server, and how to connect each client.

use app::App;
use askama::Template;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use platform::one_of;
use poem::{Endpoint, Request, Response};
use serde_json::json;
use url::form_urlencoded;

use crate::{instance::Instance, pages::frame::Frame};

/// How users sign in while the server has no identity provider.
const NO_PROVIDER: &str = "you sign in, once the operator has set that up";

/// The page.
pub(crate) struct Home {
    app: App,
}

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage<'a> {
    frame: &'a Frame,
    /// The MCP endpoint.
    url: &'a str,
    /// Whether the server is reachable from this machine only.
    local: bool,
    /// How users sign in.
    sign_in: &'a str,
    /// Links that add this server to a client.
    cursor: String,
    vscode: String,
}

impl Home {
    /// The page of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { app: instance.app.clone() }
    }
}

impl Endpoint for Home {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let public_url = &self.app.config().public_url;
        let url = public_url.mcp();
        let things = self.app.product().brand().things;
        let sign_in = match self.app.oauth().providers() {
            [] => NO_PROVIDER.to_owned(),
            [provider] => provider.texts(things).home,
            several => {
                let labels: Vec<&str> = several.iter().map(|provider| provider.label()).collect();
                format!("you sign in with {}", one_of(&labels))
            }
        };
        let frame = Frame::of(&request);
        let page = HomePage {
            frame: &frame,
            url: &url,
            local: public_url.is_loopback(),
            sign_in: &sign_in,
            cursor: cursor_link(frame.brand.things, &url),
            vscode: vscode_link(frame.brand.things, &url),
        };
        Ok(frame.show(StatusCode::OK, &page))
    }
}

fn cursor_link(name: &str, url: &str) -> String {
    let config = STANDARD.encode(json!({"url": url}).to_string());
    let config: String = form_urlencoded::byte_serialize(config.as_bytes()).collect();
    format!("cursor://anysphere.cursor-deeplink/mcp/install?name={name}&config={config}")
}

fn vscode_link(name: &str, url: &str) -> String {
    let config = json!({"name": name, "type": "http", "url": url}).to_string();
    let config: String = form_urlencoded::byte_serialize(config.as_bytes()).collect();
    format!("vscode:mcp/install?{config}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://notes.example/mcp";

    #[test]
    fn an_install_link_contains_the_whole_configuration() {
        let link = cursor_link("notes", URL);
        let config = link.split_once("&config=").unwrap().1.replace("%3D", "=");
        let config = STANDARD.decode(config).unwrap();
        assert_eq!(config, br#"{"url":"https://notes.example/mcp"}"#);

        let link = vscode_link("notes", URL);
        let query = link.strip_prefix("vscode:mcp/install?").unwrap();
        let (config, _) = form_urlencoded::parse(query.as_bytes()).next().unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config["url"], URL);
        assert_eq!(config["type"], "http");
    }
}
