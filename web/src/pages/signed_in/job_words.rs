//! Jobs and files in words.

use app::{Product, downloads::Download};
use chrono::{DateTime, Utc};
use mcp::job::{Job, JobOutcome, JobStatus, Progress};
use serde_json::Value;

use crate::pages::words;

/// The maximum length of the error of a job, in characters.
const MAX_ERROR: usize = 500;

/// A job as text.
pub(super) struct ShownJob {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) status: &'static str,
    /// Whether it has not ended.
    pub(super) is_running: bool,
    /// Whether it ended without a usable result.
    pub(super) has_failed: bool,
    pub(super) started: String,
    /// The start for programs (`datetime`).
    pub(super) started_iso: String,
    pub(super) progress: Option<ShownProgress>,
    /// What it does or did last.
    pub(super) message: Option<String>,
    /// Why it failed.
    pub(super) error: Option<String>,
}

/// The progress of a running job.
pub(super) struct ShownProgress {
    pub(super) value: String,
    /// `None`: it is unknown how much is left.
    pub(super) max: Option<String>,
}

impl ShownJob {
    /// Describes a job.
    pub(super) fn of(job: &Job, product: &Product) -> Self {
        let started = DateTime::from_timestamp_millis(job.created_at).unwrap_or_default();
        let is_running = !job.status.is_final();
        let error = job.outcome.as_ref().filter(|_| job.has_failed()).and_then(error);
        Self {
            id: job.id.to_string(),
            title: product.job_title(&job.tool).unwrap_or(&job.tool).to_owned(),
            status: status(job),
            is_running,
            has_failed: job.has_failed(),
            started: words::time(started),
            started_iso: started.to_rfc3339(),
            progress: is_running.then(|| progress(job.progress.as_ref())),
            message: job.progress.as_ref().and_then(|progress| progress.message.clone()),
            error,
        }
    }
}

fn status(job: &Job) -> &'static str {
    match job.status {
        JobStatus::Queued => "Waiting to start",
        JobStatus::Running => "Running",
        JobStatus::InputRequired => "Waiting for your answer in the app that started it",
        JobStatus::Completed if !job.has_failed() => "Finished",
        JobStatus::Completed | JobStatus::Failed => "Failed",
        JobStatus::Cancelled => "Cancelled",
    }
}

fn progress(progress: Option<&Progress>) -> ShownProgress {
    let (value, total) = progress.map_or((0.0, None), |progress| (progress.done, progress.total));
    // A progress bar must have an end above 0.
    let max = total.filter(|total| *total > 0.0).map(|total| total.to_string());
    ShownProgress { value: value.max(0.0).to_string(), max }
}

fn error(outcome: &JobOutcome) -> Option<String> {
    let text = outcome.output::<Value>().err()?;
    let mut short: String = text.chars().take(MAX_ERROR).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    Some(short)
}

/// A file for download as text.
pub(super) struct ShownFile {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) size: String,
    pub(super) expires: String,
}

impl ShownFile {
    /// Describes a file.
    pub(super) fn of(file: &Download, now: DateTime<Utc>) -> Self {
        let minutes = (file.expires_at - now).num_minutes().max(1);
        Self {
            id: file.id.to_string(),
            name: file.file_name.clone(),
            size: size(file.bytes),
            expires: platform::counted(minutes.unsigned_abs(), "minute", "minutes"),
        }
    }
}

/// A size in bytes, in words.
fn size(bytes: u64) -> String {
    match bytes {
        ..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_described_in_words() {
        for (bytes, words) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "1 kB"),
            (1_001, "2 kB"),
            (1_250_000, "1.2 MB"),
        ] {
            assert_eq!(size(bytes), words);
        }
    }

    #[test]
    fn an_unknown_total_has_no_end() {
        let shown = |done, total| {
            let shown = progress(Some(&Progress { done, total, message: None }));
            (shown.value, shown.max)
        };
        assert_eq!(shown(3.0, Some(12.0)), ("3".to_owned(), Some("12".to_owned())));
        assert_eq!(shown(3.0, Some(0.0)), ("3".to_owned(), None));
        assert_eq!(shown(-1.0, None), ("0".to_owned(), None));
    }
}
