//! The settings of GitHub.

use platform::secret::Secret;

/// The OAuth app at GitHub, and the URLs of GitHub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitHubSettings {
    /// `GITHUB_CLIENT_ID`.
    pub client_id: String,
    /// `GITHUB_CLIENT_SECRET`.
    pub client_secret: Secret,
    /// `GITHUB_URL`, without a trailing slash.
    pub url: String,
    /// `GITHUB_API_URL`, without a trailing slash.
    pub api_url: String,
}
