//! A PostgreSQL server of one test, which the test can kill and start again.
//!
//! Unlike the server that tests share ([`crate::postgres`]) it is as durable as in production: `fsync`,
//! `synchronous_commit` and `full_page_writes` are on.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use app::Product;
use rustix::process::{Pid, kill_process};
use sea_orm::ConnectionTrait as _;
use tempfile::TempDir;

use super::{Program, Recipe, Signal, SmallDisk, free_port};
use crate::{
    eventually,
    postgres::{connect, find_binaries, migrate, unprivileged},
};

/// The name of the database that [`Postgres::database`] creates.
const DATABASE: &str = "crashes";

/// Settings of every server. Shared memory in files is deleted with the folder, even after a kill.
const SETTINGS: [&str; 6] = [
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "max_connections=100",
    "shared_buffers=32MB",
    "dynamic_shared_memory_type=mmap",
];

/// Settings of a server on a small disk, so that the write-ahead log takes little of it.
const SMALL_LOG: [&str; 2] = ["min_wal_size=2MB", "max_wal_size=4MB"];

/// A PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    // Dropped before the disk and the folder with its data.
    program: Program,
    port: u16,
    disk: Option<SmallDisk>,
    _folder: TempDir,
}

impl Postgres {
    /// Starts a server and waits until it answers.
    pub async fn start() -> Self {
        Self::with(None).await
    }

    /// Starts a server whose data is on a disk of this size ([`Self::disk`]).
    pub async fn on_small_disk(mebibytes: u32) -> Self {
        Self::with(Some(mebibytes)).await
    }

    async fn with(mebibytes: Option<u32>) -> Self {
        let binaries = find_binaries().expect("PostgreSQL's server programs are needed");
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir();
        let folder = folder.expect("a temporary folder can be made");
        let account = unprivileged(folder.path());
        let mut settings = SETTINGS.to_vec();
        let (mut data, mut words) = (folder.path().join("data"), Vec::new());
        let mut disk = None;
        if let Some(mebibytes) = mebibytes {
            let mounted = folder.path().join("disk");
            fs::create_dir(&mounted).expect("the folder is new");
            data = mounted.join("data");
            let small = SmallDisk::mount(&mounted, mebibytes, folder.path()).await;
            words = small.enter();
            settings.extend(SMALL_LOG);
            disk = Some(small);
        }
        if let Some((user, group)) = account {
            words.push("setpriv".into());
            words.push(format!("--reuid={user}").into());
            words.push(format!("--regid={group}").into());
            words.push("--clear-groups".into());
        }
        init(&words, &binaries, &data);

        let port = free_port();
        words.push(binaries.join("postgres").into());
        words.extend(["-D".into(), data.into()]);
        words.extend(["-k", "", "-h", "127.0.0.1", "-p", &port.to_string()].map(OsString::from));
        words.extend(settings.iter().flat_map(|setting| ["-c".into(), setting.into()]));
        let program = Program::start(Recipe {
            name: "postgres".to_owned(),
            program: words.remove(0).into(),
            arguments: words,
            environment: HashMap::new(),
            folder: folder.path().to_owned(),
        });
        let server = Self { program, port, disk, _folder: folder };
        server.ready().await;
        server
    }

    /// Creates a database with the schema of a product, and returns its URL.
    pub async fn database(&self, product: &Product) -> String {
        let admin = connect(&self.url("postgres")).await.expect("the server answers");
        let created = admin.execute_unprepared(&format!("CREATE DATABASE {DATABASE}")).await;
        created.expect("the server has no such database yet");
        admin.close().await.expect("closing cannot fail");
        let url = self.url(DATABASE);
        migrate(product, &url).await;
        url
    }

    /// The disk of the server, if it is a small one. Panics otherwise.
    pub fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("the test has asked for a small disk")
    }

    /// Kills the server process and all its backends at once (`SIGKILL`), and waits for their end. What is
    /// in the memory of the server is lost; what it has written is kept by the operating system, so this is
    /// a crash of the server, not of the machine.
    pub async fn kill(&mut self) {
        // A stopped server starts no backend meanwhile.
        self.program.stop().await;
        for backend in children(self.program.pid()) {
            if let Err(error) = kill_process(backend, Signal::KILL) {
                tracing::debug!(%error, "A backend has ended by itself");
            }
        }
        self.program.kill().await;
    }

    /// Whether the server process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.program.has_ended()
    }

    /// Starts the server again, and waits until it answers.
    pub async fn start_again(&mut self) {
        if self.program.is_running() {
            self.program.ended().await;
        }
        self.program.start_again();
        self.ready().await;
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    async fn ready(&self) {
        eventually("PostgreSQL answers", async || {
            let connection = connect(&self.url("postgres")).await.ok()?;
            connection.close().await.ok()
        })
        .await;
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // An immediate shutdown, which also ends the backends.
        self.program.end_by(Signal::QUIT);
    }
}

/// Creates the files of a server, with the smallest segments of the write-ahead log.
fn init(words: &[OsString], binaries: &Path, data: &Path) {
    let mut words = words.to_vec();
    words.push(binaries.join("initdb").into());
    let output = Command::new(&words[0])
        .args(&words[1..])
        .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"])
        .args(["--wal-segsize=1", "-D"])
        .arg(data)
        .stdin(Stdio::null())
        .output()
        .expect("initdb can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The processes that a process has started and that run.
fn children(parent: u32) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("this test needs Linux");
    let parent_of = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses and may hold anything; then come the state and the parent.
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let pids = processes.flatten().filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).filter_map(Pid::from_raw).collect()
}
