//! What a resource is: something with a URI that a client can read, list and follow.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Serialize;

use crate::{
    call::Call,
    error::ToolError,
    types::{Completion, ResourceContents, ResourceEntry},
};

/// A resource or a family of resources.
///
/// A URI with `{variables}` is a template (RFC 6570 level 1): each variable stands for one segment,
/// percent-encoded.
#[async_trait]
pub trait Resource<S>: Send + Sync + 'static {
    /// The URI or URI template.
    fn uri(&self) -> &'static str;
    /// The programmatic name.
    fn name(&self) -> &'static str;
    /// The name for people.
    fn title(&self) -> &'static str;
    /// What it holds, for the model.
    fn description(&self) -> &'static str;
    /// Such as `text/markdown`.
    fn mime_type(&self) -> &'static str;
    /// The OAuth scope that a token must have. Empty: any token.
    fn scope(&self) -> &'static str {
        ""
    }

    /// The caller's resources of this template, for `resources/list`. A resource without variables
    /// is listed by itself and need not implement this.
    async fn list(
        &self,
        _call: &Call,
        _state: &S,
        _cursor: Option<&str>,
    ) -> Result<ResourcePage, ToolError> {
        Ok(ResourcePage::default())
    }

    /// The contents. Never empty: what does not exist is [`ToolError::NotFound`].
    async fn read(
        &self,
        call: &Call,
        state: &S,
        uri: &MatchedUri,
    ) -> Result<Vec<ResourceContents>, ToolError>;

    /// Suggestions for a variable of the template.
    async fn complete(
        &self,
        _call: &Call,
        _state: &S,
        _variable: &str,
        _value: &str,
    ) -> Result<Completion, ToolError> {
        Ok(Completion::default())
    }
}

/// One page of a list of resources.
#[derive(Debug, Default)]
pub struct ResourcePage {
    /// The entries.
    pub entries: Vec<ResourceEntry>,
    /// Where the next page begins, in the resource's own terms.
    pub next: Option<String>,
}

/// A URI that fits a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchedUri {
    /// The URI as the client sent it.
    pub uri: String,
    /// The values of the template's variables, decoded.
    pub variables: BTreeMap<String, String>,
}

impl MatchedUri {
    /// The value of a variable of the template.
    pub fn variable(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }
}

/// One element of `resources/templates/list`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceTemplate {
    /// The template (RFC 6570).
    pub uri_template: &'static str,
    /// The programmatic name.
    pub name: &'static str,
    /// The name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<&'static str>,
    /// For the model.
    pub description: &'static str,
    /// Such as `text/markdown`.
    pub mime_type: &'static str,
}

/// Whether a URI has variables.
pub(super) fn is_template(uri: &str) -> bool {
    uri.contains('{')
}

/// Matches a URI against a URI or a template of level 1.
pub(super) fn match_uri(pattern: &str, uri: &str) -> Option<MatchedUri> {
    let mut variables = BTreeMap::new();
    let mut pattern_rest = pattern;
    let mut uri_rest = uri;
    while let Some((literal, after)) = pattern_rest.split_once('{') {
        let (name, tail) = after.split_once('}')?;
        uri_rest = uri_rest.strip_prefix(literal)?;
        let next_literal = tail.split('{').next().unwrap_or_default();
        let end = match next_literal {
            "" => uri_rest.len(),
            literal => uri_rest.find(literal)?,
        };
        let (value, rest) = uri_rest.split_at(end);
        if value.is_empty() || value.contains(['/', '?', '#']) {
            return None;
        }
        variables.insert(name.to_owned(), percent_decode(value)?);
        uri_rest = rest;
        pattern_rest = tail;
    }
    (pattern_rest == uri_rest).then(|| MatchedUri {
        uri: uri.to_owned(),
        variables,
    })
}

fn percent_decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_matches_one_segment_per_variable() {
        let matched = match_uri("test://template/{id}/data", "test://template/1%202/data").unwrap();
        assert_eq!(matched.variable("id"), "1 2");
        let template = "notes://by-id/{id}";
        assert_eq!(
            match_uri(template, "notes://by-id/7")
                .unwrap()
                .variable("id"),
            "7"
        );
        for uri in [
            "notes://by-id/",
            "notes://by-id/7/x",
            "notes://recent",
            "notes://by-id/%zz",
        ] {
            assert_eq!(match_uri(template, uri), None, "{uri}");
        }
    }

    #[test]
    fn a_plain_uri_matches_itself_only() {
        assert!(match_uri("notes://recent", "notes://recent").is_some());
        assert!(match_uri("notes://recent", "notes://recent2").is_none());
    }
}
