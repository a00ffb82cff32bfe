//! Resources: data with a URI that a client can list, read and subscribe to.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::{
    call::Call,
    error::ToolError,
    types::{Completion, ResourceContents, ResourceEntry},
};

/// A resource or a template for resources, for both protocol eras.
///
/// A URI with `{variables}` is a template (RFC 6570 level 1): each variable matches one
/// percent-encoded segment.
pub trait Resource<S>: Send + Sync + 'static {
    /// The URI or URI template.
    const URI: &'static str;
    /// The programmatic name.
    const NAME: &'static str;
    /// The display name.
    const TITLE: &'static str;
    /// The description for the model.
    const DESCRIPTION: &'static str;
    /// The media type, such as `text/markdown`.
    const MIME_TYPE: &'static str;
    /// The OAuth scope that the access token must have. Empty: none.
    const SCOPE: &'static str = "";

    /// Reads the contents. Must not return an empty list: use [`ToolError::NotFound`].
    fn read(
        &self,
        call: &Call,
        state: &S,
        uri: &MatchedUri,
    ) -> impl Future<Output = Result<Vec<ResourceContents>, ToolError>> + Send;

    /// Lists the caller's resources of this template, for `resources/list`. Not called for a
    /// resource without variables. An invalid cursor is a [`ToolError::Input`].
    fn list(
        &self,
        _call: &Call,
        _state: &S,
        _cursor: Option<&str>,
    ) -> impl Future<Output = Result<ResourcePage, ToolError>> + Send {
        async { Ok(ResourcePage::default()) }
    }

    /// Completes a variable of the template.
    fn complete(
        &self,
        _call: &Call,
        _state: &S,
        _variable: &str,
        _value: &str,
    ) -> impl Future<Output = Result<Completion, ToolError>> + Send {
        async { Ok(Completion::default()) }
    }
}

/// The dyn-compatible form of [`Resource`].
pub trait AnyResource<S>: Send + Sync {
    /// The definition for clients, and the scope.
    fn slot(&self) -> ResourceSlot;
    /// Reads the contents.
    fn read<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        uri: &'a MatchedUri,
    ) -> BoxFuture<'a, Result<Vec<ResourceContents>, ToolError>>;
    /// Lists the caller's resources of this template.
    fn list<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ResourcePage, ToolError>>;
    /// Completes a variable of the template.
    fn complete<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        variable: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<Completion, ToolError>>;
}

impl<S: Sync, R: Resource<S>> AnyResource<S> for R {
    fn slot(&self) -> ResourceSlot {
        let kind = if R::URI.contains('{') {
            ResourceKind::Template(ResourceTemplate {
                uri_template: R::URI,
                name: R::NAME,
                title: Some(R::TITLE),
                description: R::DESCRIPTION,
                mime_type: R::MIME_TYPE,
            })
        } else {
            ResourceKind::Single(ResourceEntry {
                title: Some(R::TITLE.to_owned()),
                description: Some(R::DESCRIPTION.to_owned()),
                mime_type: Some(R::MIME_TYPE.to_owned()),
                ..ResourceEntry::new(R::URI, R::NAME)
            })
        };
        ResourceSlot { kind, scope: R::SCOPE }
    }

    fn read<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        uri: &'a MatchedUri,
    ) -> BoxFuture<'a, Result<Vec<ResourceContents>, ToolError>> {
        Box::pin(Resource::read(self, call, state, uri))
    }

    fn list<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ResourcePage, ToolError>> {
        Box::pin(Resource::list(self, call, state, cursor))
    }

    fn complete<'a>(
        &'a self,
        call: &'a Call,
        state: &'a S,
        variable: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<Completion, ToolError>> {
        Box::pin(Resource::complete(self, call, state, variable, value))
    }
}

/// An entry of the list of resources.
#[derive(Clone, Debug)]
pub struct ResourceSlot {
    /// The element of `resources/list` or `resources/templates/list`.
    pub kind: ResourceKind,
    /// The scope that the access token must have.
    pub scope: &'static str,
}

/// A resource with a fixed URI, or a template.
#[derive(Clone, Debug)]
pub enum ResourceKind {
    /// A resource with a fixed URI.
    Single(ResourceEntry),
    /// A template.
    Template(ResourceTemplate),
}

/// A page of resources of a template.
#[derive(Debug, Default)]
pub struct ResourcePage {
    /// The entries.
    pub entries: Vec<ResourceEntry>,
    /// The cursor of the next page, in a format that the template chooses.
    pub next: Option<String>,
}

/// A URI that matches a resource or template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchedUri {
    /// The URI as the client sent it.
    pub uri: String,
    /// The decoded values of the template's variables.
    pub variables: BTreeMap<String, String>,
}

impl MatchedUri {
    /// The value of a variable of the template. Empty if the template has no such variable.
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
    /// The display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<&'static str>,
    /// The description for the model.
    pub description: &'static str,
    /// The media type, such as `text/markdown`.
    pub mime_type: &'static str,
}

/// Matches a URI against a fixed URI or a template of level 1. `None`: no match.
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
    (pattern_rest == uri_rest).then(|| MatchedUri { uri: uri.to_owned(), variables })
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
        assert_eq!(match_uri(template, "notes://by-id/7").unwrap().variable("id"), "7");
        for uri in ["notes://by-id/", "notes://by-id/7/x", "notes://recent", "notes://by-id/%zz"] {
            assert_eq!(match_uri(template, uri), None, "{uri}");
        }
    }

    #[test]
    fn a_plain_uri_matches_itself_only() {
        assert!(match_uri("notes://recent", "notes://recent").is_some());
        assert!(match_uri("notes://recent", "notes://recent2").is_none());
    }
}
