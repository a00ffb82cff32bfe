//! A child process that a test can kill, stop, continue, ask to shut down, and start again.

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

/// Number of log lines that are printed when the test fails.
const SHOWN_LINES: usize = 60;

/// How to start a program.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Its name in messages and in the name of its log file.
    pub name: String,
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its environment; only `PATH` is inherited.
    pub environment: HashMap<String, String>,
    /// Its working directory, which also holds its log.
    pub folder: PathBuf,
}

/// A child process. It is killed when this value is dropped or the test process ends.
#[derive(Debug)]
pub struct Program {
    recipe: Recipe,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    pid: Pid,
    /// Starts the program, and kills it when its standard input is closed ([`GUARD`]).
    guard: Child,
    /// The standard input of the guard, open while the program may run.
    leash: ChildStdin,
}

/// A shell script that starts a program, prints its process id and exits with its status. It kills the
/// program when standard input is closed, which happens when the process that holds the other end exits,
/// even by SIGKILL.
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
    /// Starts the program. Does not wait until it is ready.
    pub fn start(recipe: Recipe) -> Self {
        let mut program = Self { recipe, running: None };
        program.start_again();
        program
    }

    /// Starts the program again after it has ended.
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
            // Its own process group, so that Ctrl-C reaches it only through this process.
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

    /// Sets an environment variable for the next start.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.recipe.environment.insert(variable.to_owned(), value.to_owned());
    }

    /// Whether it was started and [`Self::ended`] has not returned since.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it has ended, by itself or by a signal.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.running.as_mut().map(|it| it.guard.try_wait());
        ended.is_none_or(|it| it.expect("the guard is our child").is_some())
    }

    /// Its process id. Panics if it does not run.
    pub fn pid(&self) -> u32 {
        let running = self.running.as_ref().expect("it runs");
        running.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Sends it a signal. Has no effect if it has exited.
    pub fn signal(&self, signal: Signal) {
        if let Some(running) = &self.running
            && let Err(error) = kill_process(running.pid, signal)
        {
            tracing::debug!(%error, "{} could not be sent {signal:?}", self.recipe.name);
        }
    }

    /// Stops it (`SIGSTOP`) and, on Linux, waits until all its threads have stopped.
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

    /// Kills it (`SIGKILL`) and waits for its end.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Sends it a signal that ends it, and blocks until it has ended.
    pub(super) fn end_by(&mut self, signal: Signal) {
        self.signal(signal);
        if let Some(mut running) = self.running.take()
            && let Err(error) = running.guard.wait()
        {
            tracing::warn!(%error, "Could not wait for the end of {}", self.recipe.name);
        }
    }

    /// Waits for its end and returns its exit status.
    pub async fn ended(&mut self) -> ExitStatus {
        let name = self.recipe.name.clone();
        let running = self.running.as_mut().expect("it was started");
        let status = eventually(&format!("{name} ends"), async || {
            running.guard.try_wait().expect("the guard is our child")
        })
        .await;
        // Closing the leash earlier could make the guard kill another process with the same id.
        self.running = None;
        status
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Prints the end of its log, for a test that has failed.
    #[expect(clippy::print_stderr, reason = "tests have no tracing subscriber")]
    fn show_log(&self) {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let last = lines.len().saturating_sub(SHOWN_LINES);
        eprintln!("The log of {} ends so:\n{}", self.recipe.name, lines[last..].join("\n"));
    }

    /// The file with its output.
    pub fn log_path(&self) -> PathBuf {
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
