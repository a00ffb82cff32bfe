//! The views of the tools: what clients with MCP Apps show in the conversation.

use jobs::tools::PROGRESS_SCRIPT;
use mcp::{View, views::MARKDOWN};

const NOTES_STYLE: &str = include_str!("notes.css");
const READER: &str = include_str!("reader.js");
const JOB: &str = include_str!("job.js");

/// Notes as cards, with search and a filter by tag; opens a note.
pub(crate) static BOARD: View = View {
    uri: "ui://notes/board.html",
    name: "notes_board",
    title: "Notes",
    description: "Shows notes as cards, searches and filters them, and opens one.",
    styles: &[NOTES_STYLE],
    scripts: &[MARKDOWN, READER, include_str!("board.js")],
};

/// One note, which can be changed and deleted.
pub(crate) static NOTE: View = View {
    uri: "ui://notes/note.html",
    name: "notes_note",
    title: "Note",
    description: "Shows one note. The user can change and delete it.",
    styles: &[NOTES_STYLE],
    scripts: &[MARKDOWN, READER, include_str!("note.js")],
};

/// The progress and the result of an import.
pub(crate) static IMPORT: View = View {
    uri: "ui://notes/import.html",
    name: "notes_import_progress",
    title: "Import",
    description: "Shows the progress and the result of an import. The user can cancel it.",
    styles: &[NOTES_STYLE],
    scripts: &[PROGRESS_SCRIPT, "const TOOL = 'notes_import';", JOB],
};

/// The progress of an export, and its file.
pub(crate) static EXPORT: View = View {
    uri: "ui://notes/export.html",
    name: "notes_export_progress",
    title: "Export",
    description: "Shows the progress of an export, and its file for download. The user can cancel it.",
    styles: &[NOTES_STYLE],
    scripts: &[PROGRESS_SCRIPT, "const TOOL = 'notes_export';", JOB],
};

/// The progress of a digest, and its text.
pub(crate) static DIGEST: View = View {
    uri: "ui://notes/digest.html",
    name: "notes_digest_progress",
    title: "Digest",
    description: "Shows the progress of a digest, and its text. The user can cancel it.",
    styles: &[NOTES_STYLE],
    scripts: &[MARKDOWN, PROGRESS_SCRIPT, "const TOOL = 'notes_digest';", JOB],
};

/// Charts of the notes per week and per tag, and the storage used.
pub(crate) static STATS: View = View {
    uri: "ui://notes/stats.html",
    name: "notes_statistics",
    title: "Statistics",
    description: "Shows charts of the notes per week and per tag, and the storage used.",
    styles: &[include_str!("stats.css")],
    scripts: &[include_str!("stats.js")],
};
