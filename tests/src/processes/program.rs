//! One program as a process of its own, which a test can kill, stop, let go on, ask to end, and
//! start again.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    io::{self, BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::eventually;

/// How much of its log is shown of a program whose test has failed.
const SHOWN_LINES: usize = 60;

/// How to start a program.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// What the log and messages call it.
    pub name: String,
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment, besides `PATH`.
    pub environment: HashMap<String, String>,
    /// Where it runs, and where its log is.
    pub folder: PathBuf,
}

/// A program that was started. Dropping it, or the end of this process, kills it.
#[derive(Debug)]
pub struct Program {
    recipe: Recipe,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    pid: Pid,
    /// Starts the program, and kills it when its standard input ends.
    guard: Child,
    /// Held open as long as the program may run.
    leash: ChildStdin,
}

/// Starts a program, says its process id, ends as it ends, and kills it when standard input ends:
/// that is when the process that holds the other end is gone, even by `kill -9`.
const GUARD: &str = r#"
log=$1
shift
exec 3<&0
"$@" >>"$log" 2>&1 </dev/null 3<&- &
program=$!
echo $program
exec >&- 2>&-
{ cat <&3 >/dev/null; kill -9 $program; } &
exec 3<&-
wait $program
"#;

impl Program {
    /// Starts it. Whoever needs it to be ready looks for that.
    pub fn start(recipe: Recipe) -> Self {
        let mut program = Self { recipe, running: None };
        program.start_again();
        program
    }

    /// Starts it once more, after it has ended.
    pub fn start_again(&mut self) {
        assert!(self.running.is_none(), "{} runs already", self.recipe.name);
        let recipe = &self.recipe;
        let mut guard = Command::new("/bin/sh")
            .args(["-c", GUARD, "guard"])
            .arg(self.log_path())
            .arg(&recipe.program)
            .args(&recipe.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(&recipe.environment)
            .current_dir(&recipe.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Not the terminal's Ctrl-C: it ends when we end.
            .process_group(0)
            .spawn()
            .expect("/bin/sh can be started");
        let leash = guard.stdin.take().expect("it is piped");
        let mut line = String::new();
        let stdout = guard.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the guard says a process id");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw);
        let pid = pid.unwrap_or_else(|| panic!("{} did not start", recipe.name));
        self.running = Some(Running { pid, guard, leash });
    }

    /// Changes a variable of its environment, for when it is started again.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.recipe.environment.insert(variable.to_owned(), value.to_owned());
    }

    /// Whether it was started and its end was not seen yet.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Its process id; fails if it does not run.
    pub fn pid(&self) -> u32 {
        let running = self.running.as_ref().expect("it runs");
        running.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Sends it a signal. It may have ended by itself: then nothing happens.
    pub fn signal(&self, signal: Signal) {
        if let Some(running) = &self.running
            && let Err(error) = kill_process(running.pid, signal)
        {
            tracing::debug!(%error, "{} could not be sent {signal:?}", self.recipe.name);
        }
    }

    /// Stops it where it is. Returns when none of its threads runs any more, if the system tells.
    pub async fn stop(&self) {
        self.signal(Signal::STOP);
        let threads = format!("/proc/{}/task", self.pid());
        eventually("a program stops", async || {
            let Ok(mut threads) = fs::read_dir(&threads) else {
                return Some(()); // not Linux
            };
            let stopped = |thread: io::Result<fs::DirEntry>| {
                // The name is in parentheses and may hold anything; then comes the state.
                let stat = fs::read_to_string(thread?.path().join("stat"))?;
                let state = stat.rsplit(')').next().map(str::trim_start);
                io::Result::Ok(state.is_some_and(|it| it.starts_with('T')))
            };
            threads.all(|it| stopped(it).unwrap_or(true)).then_some(())
        })
        .await;
    }

    /// `kill -9`. Returns when it is gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Waits until it has ended, and says how.
    pub async fn ended(&mut self) -> ExitStatus {
        let name = self.recipe.name.clone();
        let running = self.running.as_mut().expect("it was started");
        let status = eventually(&format!("{name} ends"), async || {
            running.guard.try_wait().expect("the guard is our child")
        })
        .await;
        // Only now may the guard's helper kill by number.
        self.running = None;
        status
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Tells whoever looks at a test that failed what the program had to say at last.
    #[expect(clippy::print_stderr, reason = "nobody listens to traces of a test")]
    fn show_log(&self) {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let last = lines.len().saturating_sub(SHOWN_LINES);
        eprintln!("The log of {} ends so:\n{}", self.recipe.name, lines[last..].join("\n"));
    }

    fn log_path(&self) -> PathBuf {
        self.recipe.folder.join(format!("{}.log", self.recipe.name))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(Running { pid, mut guard, leash }) = self.running.take() {
            if let Err(error) = kill_process(pid, Signal::KILL) {
                tracing::debug!(%error, "{} has ended by itself", self.recipe.name);
            }
            if let Err(error) = guard.wait() {
                tracing::warn!(%error, "Could not wait for the end of {}", self.recipe.name);
            }
            drop(leash);
        }
        if std::thread::panicking() {
            self.show_log();
        }
    }
}
