//! The formats of exports.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The format of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Format {
    /// A ZIP file with a Markdown file for each note, with front matter.
    #[default]
    Zip,
    /// One JSON document.
    Json,
    /// One Markdown document.
    Markdown,
}

impl Format {
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Zip => "zip",
            Self::Json => "json",
            Self::Markdown => "md",
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Zip => "application/zip",
            Self::Json => "application/json",
            Self::Markdown => "text/markdown; charset=utf-8",
        }
    }
}
