//! Killing and starting the processes of a server.

use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use tests::processes::Fleet;

/// The shell commands that kill a process and start it again.
#[derive(Clone, Debug)]
pub(super) struct Commands {
    kill: String,
    start: String,
}

impl Commands {
    /// `None` unless both are given.
    pub(super) fn new(kill: Option<&String>, start: Option<&String>) -> Option<Self> {
        Some(Self { kill: kill?.clone(), start: start?.clone() })
    }
}

/// The processes of a server.
pub(super) enum Instances {
    /// This product.
    Fleet(Box<Fleet>),
    /// Processes that shell commands kill and start.
    Given { a: Option<Commands>, worker: Option<Commands>, pid_a: Option<u32> },
}

impl Instances {
    /// Whether instance A can be killed.
    pub(super) fn can_kill(&self) -> bool {
        !matches!(self, Self::Given { a: None, .. })
    }

    /// Whether the process that runs tasks can be killed.
    pub(super) fn can_restart_worker(&self) -> bool {
        !matches!(self, Self::Given { a: None, worker: None, .. })
    }

    /// The process id of instance A.
    pub(super) fn pid_a(&mut self) -> Option<u32> {
        match self {
            Self::Fleet(fleet) => Some(fleet.instance(0).pid()),
            Self::Given { pid_a, .. } => *pid_a,
        }
    }

    /// Kills instance A.
    pub(super) async fn kill_a(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Fleet(fleet) => fleet.kill(0).await,
            Self::Given { a: Some(commands), .. } => shell(&commands.kill).await?,
            Self::Given { a: None, .. } => {}
        }
        Ok(())
    }

    /// Starts instance A again. It may not answer yet.
    pub(super) async fn start_a(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Fleet(fleet) => fleet.start_again(0).await,
            Self::Given { a: Some(commands), .. } => shell(&commands.start).await?,
            Self::Given { a: None, .. } => {}
        }
        Ok(())
    }

    /// Kills the process that runs tasks and starts it again. Without one, instance A.
    pub(super) async fn restart_worker(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Fleet(fleet) => {
                // Whichever of them runs the task.
                for worker in 0..fleet.workers() {
                    fleet.kill_worker(worker).await;
                }
                for worker in 0..fleet.workers() {
                    fleet.start_worker_again(worker).await;
                }
            }
            Self::Given { worker: Some(commands), .. } | Self::Given { a: Some(commands), .. } => {
                shell(&commands.kill).await?;
                shell(&commands.start).await?;
            }
            Self::Given { .. } => {}
        }
        Ok(())
    }
}

/// Runs a shell command. What it starts in the background goes on.
async fn shell(command: &str) -> anyhow::Result<()> {
    let mut running = Command::new("sh");
    running.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::null());
    let running = tokio::task::spawn_blocking(move || running.status());
    let status = running.await?.with_context(|| format!("`{command}` cannot be started"))?;
    ensure!(status.success(), "`{command}` failed: {status}");
    Ok(())
}
