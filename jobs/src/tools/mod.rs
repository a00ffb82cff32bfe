//! Tools for the jobs of a user, which any product can use. Each job also requires the scope of its
//! own tool: a token that may start a job may also see and cancel it.

mod cancel;
mod get;
mod list;
mod status;
mod view;

use mcp::AnyTool;

/// All tools. The product chooses their scope
/// ([`mcp::Catalog::with_scoped_tools`]).
pub const ALL: &[&dyn AnyTool<()>] =
    &[&list::ListJobs, &get::GetJob, &cancel::CancelJob, &status::JobStatusForViews];

/// A script for views: `followJob` shows the progress of a job, a button to cancel it, and its result.
pub const PROGRESS_SCRIPT: &str = include_str!("../views/progress.js");

/// The name of the tool with which a model gets the result of a job.
pub const RESULT_TOOL: &str = "jobs_get";
