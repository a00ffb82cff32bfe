//! The product: notes that users keep across conversations and clients.
//!
//! | Task | Module |
//! |---|---|
//! | list everything that the product consists of | [`product`] |
//! | add a tool, resource or prompt | [`tools`], [`resources`], [`prompts`] |
//! | change what clients show in the conversation | [`views`] |
//! | read and write notes | [`store`] |
//! | change what users see on the account page | `pages` |
//! | read and write documents of notes | [`transfer`] |
//! | notify clients of a change | [`changes`], [`uris`] |

use std::time::Duration;

use app::{Brand, Done, Product, ProductStep, Schedule};

pub mod changes;
pub mod entity;
mod errors;
pub mod exports;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod limits;
mod migrations;
mod note_id;
mod pages;
mod progress;
pub mod prompts;
pub mod resources;
pub mod scopes;
mod settings;
mod state;
pub mod store;
mod summary;
pub mod tools;
pub mod transfer;
pub mod uris;
pub mod views;
mod words;

pub use self::state::State;

const BRAND: Brand = Brand {
    program: "notes-mcp",
    worker_program: "notes-mcp-worker",
    version: env!("CARGO_PKG_VERSION"),
    title: "Notes",
    things: "notes",
    description: "Reads and writes your own notes.",
    instructions: include_str!("instructions.txt"),
    // A sheet of paper with a folded corner.
    icon: include_str!("icon.svg"),
};

/// The tables of the product.
const TABLES: &[&str] = &["note_usage", "notes"];

const SCHEDULES: &[Schedule<ProductStep<State>>] = &[Schedule {
    name: "search-index",
    when: "2/10 * * * * *",
    what: "indexes notes that were written by an earlier version",
    why: "during a deploy, while the earlier version still writes notes, and once for all notes after it",
    spacing: Duration::from_secs(5),
    step: |state| {
        Box::pin(async move {
            let count = store::index::refresh(state).await?;
            Ok(Done { count, more: count >= store::index::REFRESH_BATCH })
        })
    },
}];

/// Describes the product to the server and the worker.
pub fn product() -> Product {
    Product::of::<State>(BRAND)
        .scopes(scopes::ALL)
        .tools(tools::ALL)
        .job_tools(scopes::READ)
        .dotted_aliases()
        .resources(resources::ALL)
        .prompts(prompts::ALL)
        .sections(&[&pages::NotesSection])
        .migrations(migrations::all)
        .tables(TABLES)
        .schedules(SCHEDULES)
        .rate_limits(limits::ALL)
        .variables(settings::VARIABLES)
        .build()
}

#[cfg(test)]
mod tests {
    use app::config::env_example;

    use super::*;

    #[test]
    fn the_example_file_lists_every_variable() {
        let file = include_str!("../../.env.example");
        assert_eq!(file, env_example(&product()), "replace .env.example by the right-hand text");
    }

    #[test]
    fn every_tool_has_a_scope_that_exists_and_a_useful_contract() {
        for tool in tools::ALL {
            let entry = tool.entry();
            let name = entry.definition.name;
            let description = entry.definition.description;
            assert!((30..=1_000).contains(&description.len()), "{name}: {description}");
            assert_eq!(entry.definition.input_schema["type"], "object", "{name}");
            let output = entry.definition.output_schema.expect("every tool has an output schema");
            assert_eq!(output["type"], "object", "{name}: legacy clients know objects only");
            let annotations = entry.definition.annotations;
            let reads = annotations.read_only_hint == Some(true);
            // Read access suffices to cancel a job that only reads.
            if name != "jobs_cancel" {
                assert_eq!(reads, entry.scope == scopes::READ, "{name}");
            }
        }
    }
}
