//! The lists of a catalog: rendering per protocol revision, and pagination.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::{
    Map, Value, json,
    value::{RawValue, to_raw_value},
};
use sha2::{Digest as _, Sha256};

use crate::{
    catalog::{
        Catalog, PromptDefinition, ResourceKind, ResourceTemplate, RunMode, ToolDefinition,
        ToolEntry,
    },
    rpc::RpcError,
    store::CatalogDigest,
    types::ResourceEntry,
    version::ProtocolVersion,
};

/// The definitions of tools, prompts and templates as JSON, rendered once for each protocol
/// revision.
pub(super) struct Rendered {
    by_version: Vec<(ProtocolVersion, RenderedLists)>,
}

struct RenderedLists {
    tools: Vec<Box<RawValue>>,
    /// The tools for clients that show views: with the tools that only views call.
    tools_with_views: Vec<Box<RawValue>>,
    prompts: Vec<Box<RawValue>>,
    templates: Vec<Box<RawValue>>,
}

impl Rendered {
    /// `with_jobs`: whether the engine runs tools as jobs.
    pub(super) fn new(catalog: &Catalog, with_jobs: bool) -> Self {
        let by_version = ProtocolVersion::ALL
            .into_iter()
            .map(|version| (version, RenderedLists::new(catalog, version, with_jobs)))
            .collect();
        Self { by_version }
    }

    fn lists(&self, version: ProtocolVersion) -> &RenderedLists {
        let found = self.by_version.iter().find(|lists| lists.0 == version);
        &found.expect("every version was rendered").1
    }

    /// The digest of the lists, to compare them with those of other server versions.
    pub(super) fn digest(&self) -> CatalogDigest {
        let digest = |list: fn(&RenderedLists) -> &[Box<RawValue>]| {
            let mut hash = Sha256::new();
            for (_, lists) in &self.by_version {
                for definition in list(lists) {
                    hash.update(definition.get());
                    hash.update([0]);
                }
            }
            // 72 bits distinguish versions; an intentional collision would be of no use.
            URL_SAFE_NO_PAD.encode(&hash.finalize()[..9])
        };
        // The list with views contains everything that the other one does.
        CatalogDigest {
            tools: digest(|it| &it.tools_with_views),
            prompts: digest(|it| &it.prompts),
        }
    }

    /// `with_views`: for a client that shows views.
    pub(super) fn tools(&self, version: ProtocolVersion, with_views: bool) -> &[Box<RawValue>] {
        let lists = self.lists(version);
        if with_views { &lists.tools_with_views } else { &lists.tools }
    }

    pub(super) fn prompts(&self, version: ProtocolVersion) -> &[Box<RawValue>] {
        &self.lists(version).prompts
    }

    pub(super) fn templates(&self, version: ProtocolVersion) -> &[Box<RawValue>] {
        &self.lists(version).templates
    }
}

impl RenderedLists {
    fn new(catalog: &Catalog, version: ProtocolVersion, with_jobs: bool) -> Self {
        let titles = version >= ProtocolVersion::V2025_06_18;
        let icons = version >= ProtocolVersion::V2025_11_25;
        let list_tool = |tool: &ToolEntry, with_views: bool| {
            let mut definition: ToolDefinition = tool.definition.clone();
            if !titles {
                definition.title = None;
                definition.output_schema = None;
            }
            if !icons {
                definition.icons = Vec::new();
            }
            // Only 2025-11-25 declares task support per tool; in later revisions the client does.
            let execution = match tool.run {
                RunMode::Job { .. } if with_jobs && version == ProtocolVersion::V2025_11_25 => {
                    let task_support = if tool.needs_task { "required" } else { "optional" };
                    Some(Execution { task_support })
                }
                _ => None,
            };
            let meta = if with_views { tool_meta(tool) } else { None };
            raw(&Listed { definition: &definition, execution, meta })
        };
        let tools = catalog.tools().filter(|tool| !tool.view_only);
        let tools = tools.map(|tool| list_tool(tool, false));
        let tools_with_views = catalog.tools().map(|tool| list_tool(tool, true));
        let prompts = catalog.prompts().map(|prompt| {
            let mut definition: PromptDefinition = prompt.definition.clone();
            if !titles {
                definition.title = None;
            }
            raw(&definition)
        });
        let templates = catalog.resources().filter_map(|resource| match &resource.kind {
            ResourceKind::Single(_) => None,
            ResourceKind::Template(template) => Some(raw(&ResourceTemplate {
                title: template.title.filter(|_| titles),
                ..template.clone()
            })),
        });
        Self {
            tools: tools.collect(),
            tools_with_views: tools_with_views.collect(),
            prompts: prompts.collect(),
            templates: templates.collect(),
        }
    }
}

/// The `_meta` of a tool with a view, and of a tool that only views call (SEP-1865, "Resource
/// Discovery"). `None`: the tool has nothing to do with views.
fn tool_meta(tool: &ToolEntry) -> Option<Value> {
    let mut ui = Map::new();
    if let Some(view) = tool.view {
        ui.insert("resourceUri".to_owned(), json!(view.uri));
    }
    if tool.view_only {
        ui.insert("visibility".to_owned(), json!(["app"]));
    }
    (!ui.is_empty()).then(|| json!({ "ui": ui }))
}

/// A tool definition with the additional fields of one revision.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    definition: &'a ToolDefinition,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution: Option<Execution>,
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Execution {
    task_support: &'static str,
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).expect("a definition is plain data")
}

/// Removes the fields that the revision does not have.
pub(super) fn entry_for(mut entry: ResourceEntry, version: ProtocolVersion) -> ResourceEntry {
    if version < ProtocolVersion::V2025_06_18 {
        entry.title = None;
        if let Some(annotations) = &mut entry.annotations {
            annotations.last_modified = None;
        }
    }
    entry
}

/// Returns a page of a list and the cursor of the next page, if any.
pub(super) fn page<'a, T>(
    all: &'a [T],
    cursor: Option<&str>,
    size: usize,
) -> Result<(&'a [T], Option<String>), RpcError> {
    let start = match cursor {
        None => 0,
        Some(cursor) => {
            let (start, inner) = read_cursor(cursor)?;
            if start > all.len() || inner.is_some() {
                return Err(bad_cursor());
            }
            start
        }
    };
    let end = all.len().min(start.saturating_add(size));
    let next = (end < all.len()).then(|| write_cursor(end, None));
    Ok((&all[start..end], next))
}

/// The version of the cursor format.
const CURSOR_MARK: &str = "1";

/// Encodes a cursor: a position in a list and, if the element at it is a list itself, a cursor in
/// that list.
pub(super) fn write_cursor(position: usize, inner: Option<&str>) -> String {
    let text = match inner {
        None => format!("{CURSOR_MARK}:{position}"),
        Some(inner) => format!("{CURSOR_MARK}:{position}:{inner}"),
    };
    URL_SAFE_NO_PAD.encode(text)
}

pub(super) fn read_cursor(cursor: &str) -> Result<(usize, Option<String>), RpcError> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_not_base64| bad_cursor())?;
    let text = String::from_utf8(bytes).map_err(|_not_text| bad_cursor())?;
    let mut parts = text.splitn(3, ':');
    if parts.next() != Some(CURSOR_MARK) {
        return Err(bad_cursor());
    }
    let written = parts.next().ok_or_else(bad_cursor)?;
    // Exactly one spelling per position: no sign, no leading zero.
    let position = written.parse().ok().filter(|position: &usize| position.to_string() == written);
    let position = position.ok_or_else(bad_cursor)?;
    Ok((position, parts.next().map(str::to_owned)))
}

pub(super) fn bad_cursor() -> RpcError {
    RpcError::invalid_params("`cursor` is invalid; list again without a cursor")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pages_cover_a_list_exactly_once() {
        let all: Vec<usize> = (0..25).collect();
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let (items, next) = page(&all, cursor.as_deref(), 10).unwrap();
            seen.extend_from_slice(items);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_position_has_one_spelling() {
        for text in ["1:+10", "1:010", "1:", "1", "2:10", "1:-1"] {
            let cursor = URL_SAFE_NO_PAD.encode(text);
            assert_eq!(read_cursor(&cursor), Err(bad_cursor()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_round_trips(position: usize, inner: Option<String>) {
            let cursor = write_cursor(position, inner.as_deref());
            prop_assert_eq!(read_cursor(&cursor), Ok((position, inner)));
        }

        #[test]
        fn an_arbitrary_cursor_does_not_panic(cursor: String) {
            drop(page(&[1, 2, 3], Some(&cursor), 2));
        }
    }
}
