//! The names and texts of a product.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mcp::{Icon, Implementation, ServerInfo};
use platform::public_url::PublicUrl;

/// The names and texts of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brand {
    /// The name of the program, such as `notes-mcp`: lower case, letters, digits and dashes. Clients,
    /// log lines, user agents and commands show it.
    pub program: &'static str,
    /// The name of the worker program, such as `notes-mcp-worker`.
    pub worker_program: &'static str,
    /// The version of the product.
    pub version: &'static str,
    /// The title for users, such as `Notes`.
    pub title: &'static str,
    /// The plural noun for what users store, in lower case, such as `notes`. Also the name under
    /// which clients add the server, the prefix of keys in Redis, and the name of the SQLite file.
    pub things: &'static str,
    /// One sentence about the server, for users.
    pub description: &'static str,
    /// Instructions for the system prompt of the model.
    pub instructions: &'static str,
    /// The icon: an SVG document.
    pub icon: &'static str,
}

impl Brand {
    /// Returns how the server identifies itself to MCP clients.
    pub fn server_info(&self, public_url: &PublicUrl) -> ServerInfo {
        let implementation = Implementation {
            name: self.program.into(),
            title: Some(self.title.into()),
            version: self.version.into(),
            description: Some(self.description.into()),
            website_url: Some(public_url.as_str().to_owned()),
            icons: vec![Icon {
                src: format!("data:image/svg+xml;base64,{}", STANDARD.encode(self.icon)),
                mime_type: Some("image/svg+xml".into()),
                sizes: vec!["any".into()],
            }],
        };
        ServerInfo { implementation, instructions: Some(self.instructions.into()) }
    }
}
