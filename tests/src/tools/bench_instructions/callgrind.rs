//! A server under callgrind, and what callgrind has counted.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use tests::processes::{Program, Recipe, free_port};

use super::connection::Connection;

/// How long a server may take to start: callgrind is slow, and the machine may be busy.
const START_TIMEOUT: Duration = Duration::from_mins(2);

/// The longest name that is kept: those of nested futures have thousands of characters.
const NAME_LENGTH: usize = 160;

/// A server under callgrind, which counts only inside of [`Server::count`].
pub(super) struct Server {
    program: Program,
    pub(super) port: u16,
    output: PathBuf,
    dumps: usize,
}

impl Server {
    /// Starts a program that listens on `PORT`. All that changes the number of instructions is fixed:
    /// the environment, the number of threads, the addresses. Valgrind emulates the same processor
    /// everywhere.
    pub(super) fn start(
        name: &str,
        program: PathBuf,
        arguments: &[&str],
        mut environment: HashMap<String, String>,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let port = free_port();
        let output = folder.join(format!("{name}.callgrind"));
        environment.insert("PORT".to_owned(), port.to_string());
        environment.insert("TOKIO_WORKER_THREADS".to_owned(), "1".to_owned());
        environment.insert("LC_ALL".to_owned(), "C".to_owned());
        let mut line: Vec<OsString> =
            ["-R", "valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no"]
                .map(Into::into)
                .into();
        line.push(format!("--callgrind-out-file={}", output.display()).into());
        line.push(program.into());
        line.extend(arguments.iter().map(Into::into));
        let program = Program::start(Recipe {
            name: name.to_owned(),
            program: "setarch".into(),
            arguments: line,
            environment,
            folder: folder.to_owned(),
        });
        let deadline = Instant::now() + START_TIMEOUT;
        let mut connection = loop {
            match Connection::open(port) {
                Ok(connection) => break connection,
                Err(_) if Instant::now() < deadline => pause(Duration::from_millis(100)),
                Err(error) => bail!("{name} does not start: {error}\n{}", program.log()),
            }
        };
        // The product listens before it is ready, and answers afterwards.
        connection.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")?;
        Ok(Self { program, port, output, dumps: 0 })
    }

    /// Counts what the server executes during `work`.
    pub(super) fn count<T>(
        &mut self,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<(Profile, T)> {
        self.control("-i", Some("on"))?;
        let began = Instant::now();
        let result = work()?;
        self.control("-i", Some("off"))?;
        let time = began.elapsed();
        self.control("-d", None)?;
        self.dumps += 1;
        let file = format!("{}.{}", self.output.display(), self.dumps);
        let text = fs::read_to_string(&file).with_context(|| format!("{file} is missing"))?;
        Ok((Profile::parse(&text, time)?, result))
    }

    fn control(&self, option: &str, value: Option<&str>) -> anyhow::Result<()> {
        let pid = self.program.pid().to_string();
        let output =
            Command::new("callgrind_control").arg(option).args(value).arg(&pid).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success() && text.contains("OK"), "callgrind_control: {text}");
        Ok(())
    }
}

/// The number of instructions that were executed.
pub(super) struct Profile {
    pub(super) instructions: u64,
    pub(super) allocations: u64,
    /// The instructions of each function without those of the functions that it calls.
    pub(super) functions: HashMap<String, u64>,
    pub(super) time: Duration,
}

impl Profile {
    /// Parses the “Callgrind Format” with one event and without line numbers.
    fn parse(text: &str, time: Duration) -> anyhow::Result<Self> {
        let mut names = HashMap::new();
        let mut function = String::new();
        let mut called = String::new();
        let mut is_cost_of_call = false;
        let mut profile = Self { instructions: 0, allocations: 0, functions: HashMap::new(), time };
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                function = resolve(&mut names, name);
            } else if let Some(name) = line.strip_prefix("cfn=") {
                called = resolve(&mut names, name);
            } else if let Some(calls) = line.strip_prefix("calls=") {
                let count: u64 = calls.split(' ').next().unwrap_or_default().parse()?;
                if is_allocation(&called) && !is_allocator(&function) {
                    profile.allocations += count;
                }
                is_cost_of_call = true;
            } else if line
                .starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
            {
                // The cost of a call is counted in the called function.
                if !std::mem::take(&mut is_cost_of_call) {
                    let cost: u64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
                    profile.instructions += cost;
                    *profile.functions.entry(function.clone()).or_default() += cost;
                }
            }
        }
        ensure!(profile.instructions > 0, "callgrind has counted nothing");
        Ok(profile)
    }
}

/// Resolves `(7) name`, which defines a name, and `(7)`, which repeats it.
fn resolve(names: &mut HashMap<String, String>, text: &str) -> String {
    let (id, name) = text.split_once(' ').unwrap_or((text, ""));
    if !name.is_empty() {
        names.insert(id.to_owned(), plain(name));
    }
    names.get(id).cloned().unwrap_or_default()
}

/// The name without the hash of the compiler, which changes with every version of a crate.
fn plain(name: &str) -> String {
    let name = match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 => path,
        _ => name,
    };
    name.chars().take(NAME_LENGTH).collect()
}

/// The functions with which programs allocate: of glibc, and of mimalloc. A program with another allocator needs
/// its names here.
fn is_allocation(function: &str) -> bool {
    let is_mimalloc = is_allocator(function) && function.contains("alloc");
    is_mimalloc
        || ["malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign"].contains(&function)
}

/// Whether a function belongs to mimalloc, whose functions call each other.
fn is_allocator(function: &str) -> bool {
    function.starts_with("mi_") || function.starts_with("_mi_")
}

/// Waits, without a runtime: nothing else happens in this program.
pub(super) fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "a program that polls another one")]
    thread::sleep(time);
}
