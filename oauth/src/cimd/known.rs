//! Documents that are not fetched: those that the operator has configured, and, for when a host
//! cannot be reached, those of a few clients that run on users' own machines.

use std::collections::HashMap;

use serde_json::{Value, value::RawValue};

use super::document;
use crate::{client::Metadata, metadata_url::MetadataUrl, redirect_uri::Schemes};

/// The documents of well-known clients, with their redirect URIs as of 2026-11. Each client sends
/// its authorization responses to the user's own machine or to the site of its publisher, so that
/// an outdated entry is no advantage for an attacker.
const BUILT_IN: &str = include_str!("known.json");

/// Documents by URL.
#[derive(Clone, Debug, Default)]
pub struct KnownDocuments(HashMap<String, Metadata>);

impl KnownDocuments {
    /// Parses one JSON document or an array of them. The error is for the operator and quotes
    /// nothing but the `client_id` of the invalid document.
    pub fn parse(text: &str, own_host: &str, schemes: &Schemes) -> Result<Self, String> {
        let expected = "must be a client metadata document in JSON, or an array of them";
        let documents: serde_json::Result<Vec<&RawValue>> = if text.trim_start().starts_with('[') {
            serde_json::from_str(text)
        } else {
            serde_json::from_str(text).map(|document| vec![document])
        };
        let documents = documents
            .map_err(|error| format!("{expected}; it is not valid JSON (line {})", error.line()))?;
        let mut known = HashMap::new();
        for (index, document) in documents.into_iter().enumerate() {
            let (id, metadata) = read(document.get(), own_host, schemes)
                .map_err(|why| format!("{expected}; number {} cannot be used: {why}", index + 1))?;
            if known.insert(id.clone(), metadata).is_some() {
                return Err(format!("{expected}; {id} occurs more than once"));
            }
        }
        Ok(Self(known))
    }

    /// Returns the documents of well-known clients.
    pub(super) fn built_in(own_host: &str, schemes: &Schemes) -> Self {
        Self::parse(BUILT_IN, own_host, schemes).unwrap_or_default()
    }

    /// Returns the metadata of the document at a URL.
    pub(super) fn get(&self, url: &MetadataUrl) -> Option<&Metadata> {
        self.0.get(url.as_str())
    }

    /// Returns the number of documents.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no documents.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Parses a document. Returns its URL and its metadata.
fn read(document: &str, own_host: &str, schemes: &Schemes) -> Result<(String, Metadata), String> {
    let value: Value = serde_json::from_str(document).map_err(|error| error.to_string())?;
    let id = value.get("client_id").and_then(Value::as_str).ok_or("it has no client_id")?;
    let url = MetadataUrl::parse(id, own_host)
        .map_err(|error| format!("its client_id is not the URL of a metadata document: {error}"))?;
    let metadata = document::parse(document.as_bytes(), &url, schemes)
        .map_err(|why| format!("{id}: {why}"))?;
    Ok((id.to_owned(), metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<KnownDocuments, String> {
        KnownDocuments::parse(text, "notes.example.com", &Schemes::default())
    }

    #[test]
    fn well_known_clients_are_built_in() {
        let built_in = parse(BUILT_IN).unwrap();
        assert_eq!(built_in.len(), 4);
        for (id, redirect_uri) in [
            (
                "https://claude.ai/oauth/claude-code-client-metadata",
                "http://localhost:53111/callback",
            ),
            ("https://chatgpt.com/oauth/codex/client.json", "http://127.0.0.1:1455/callback"),
            ("https://vscode.dev/oauth/client-metadata.json", "http://127.0.0.1:33418/"),
            ("https://opencode.ai/oauth/opencode/client.json", "http://127.0.0.1:9/callback"),
        ] {
            let url = MetadataUrl::parse(id, "notes.example.com").unwrap();
            let metadata = built_in.get(&url).unwrap();
            assert!(metadata.may_refresh, "{id}");
            assert!(metadata.redirect_uris.iter().any(|it| it.matches(redirect_uri)), "{id}");
            // Responses go to the user's machine or to the site that the document is on.
            for uri in &metadata.redirect_uris {
                let at_its_site = uri.to_string().starts_with(&format!("https://{}/", url.host()));
                assert!(uri.is_loopback() || at_its_site, "{id}: {uri}");
            }
        }
    }

    #[test]
    fn configured_documents_are_parsed() {
        let document = r#"{"client_id": "https://a.example.com/c", "client_name": "A",
            "redirect_uris": ["http://localhost/cb"], "contacts": ["x"]}"#;
        assert_eq!(parse(document).unwrap().len(), 1);
        assert_eq!(parse(&format!("[{document}]")).unwrap().len(), 1);
        assert!(parse("[]").unwrap().is_empty());
        for (bad, why) in [
            ("{", "not valid JSON"),
            ("[1]", "number 1 cannot be used: it has no client_id"),
            (&format!("[{document},{document}]"), "https://a.example.com/c occurs more than once"),
            (&document.replace("https://a.example.com/c", "my-app"), "not the URL"),
            (&document.replace("https://a.example", "https://notes.example"), "not the URL"),
            (&document.replace("http://localhost/cb", "http://a.example.com/cb"), "redirect_uris"),
            (&document.replace("\"contacts\"", "\"client_secret\""), "must not contain a secret"),
        ] {
            let problem = parse(bad).unwrap_err();
            assert!(problem.starts_with("must be ") && problem.contains(why), "{problem}");
        }
    }
}
