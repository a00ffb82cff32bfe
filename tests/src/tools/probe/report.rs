//! The rows of the result.

use std::{fmt, fmt::Write as _};

/// What happened in a scenario.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// It works.
    Yes(String),
    /// It does not.
    No(String),
    /// The server does not offer what the scenario needs, or the probe was not told how to do it.
    NotRun(String),
    /// A figure.
    Measured(String),
}

/// A scenario and its outcome.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What was done.
    pub(super) scenario: &'static str,
    pub(super) outcome: Outcome,
}

impl Row {
    /// Whether the server does not do what the scenario expects.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::No(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes(detail) => write!(f, "yes: {detail}"),
            Self::No(detail) => write!(f, "no: {detail}"),
            Self::NotRun(why) => write!(f, "not run: {why}"),
            Self::Measured(figure) => f.write_str(figure),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    {}", self.scenario, self.outcome)
    }
}

/// All rows as a Markdown table.
pub(super) fn table(rows: &[Row]) -> String {
    let mut table = "| scenario | outcome |\n|---|---|\n".to_owned();
    for Row { scenario, outcome } in rows {
        let outcome = outcome.to_string().replace('|', "\\|").replace('\n', " ");
        writeln!(table, "| {scenario} | {outcome} |").expect("a string can be written to");
    }
    table
}
