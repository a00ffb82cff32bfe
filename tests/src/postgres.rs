//! A private PostgreSQL server, started from the installed binaries, and a fresh database for each
//! test.
//!
//! The server listens on a free port of 127.0.0.1, keeps its data in a temporary folder and stops
//! when the process that started it ends, even by SIGKILL. `scripts/test` starts one for
//! the whole run (`test-tools with-servers`); without it every test process starts its own.

use std::{
    env, fs,
    io::Read as _,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use app::Product;
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection};
use tokio::sync::OnceCell;

use crate::eventually::eventually;

/// Names a running server, so that the processes of one test run share it.
pub const URL_VARIABLE: &str = "TEST_POSTGRES_URL";

/// The advisory lock under which one process per server creates a template: a migrated database, of which
/// every test gets a copy.
const TEMPLATE_LOCK: i64 = 7_208_134;

/// Attempts to start: another process may take the free port before the server binds it.
const START_ATTEMPTS: usize = 3;

/// Creates an empty database with the schema of a product, and returns its URL. It is deleted with the
/// server.
pub async fn fresh_database(product: &Product) -> String {
    let url = server().await;
    let name = fresh_name();
    let template = format!("{}_template", product.brand().things);
    let admin = connect(&database_url(url, "postgres")).await.expect("the server was reachable");
    admin
        .execute_unprepared(&format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})"))
        .await
        .expect("the lock can be taken");
    make_template(product, &template, url, &admin).await;
    admin
        .execute_unprepared(&format!("SELECT pg_advisory_unlock({TEMPLATE_LOCK})"))
        .await
        .expect("the lock was held");
    admin
        .execute_unprepared(&format!("CREATE DATABASE {name} TEMPLATE {template}"))
        .await
        .expect("the template can be copied");
    admin.close().await.expect("closing cannot fail");
    database_url(url, &name)
}

/// A new name for a database.
fn fresh_name() -> String {
    format!("test_{:032x}", rand::random::<u128>())
}

/// The URL of the server, which is started at the first use.
async fn server() -> &'static str {
    static SERVER: OnceCell<(String, Option<Server>)> = OnceCell::const_new();
    let (url, _) = SERVER
        .get_or_init(|| async {
            match env::var(URL_VARIABLE) {
                Ok(url) => (url, None),
                Err(_unset) => {
                    let server = Server::start().await;
                    (server.url.clone(), Some(server))
                }
            }
        })
        .await;
    url
}

async fn make_template(product: &Product, template: &str, url: &str, admin: &DatabaseConnection) {
    let exists = admin
        .query_one_raw(sea_orm::Statement::from_string(
            sea_orm::DatabaseBackend::Postgres,
            format!("SELECT 1 FROM pg_database WHERE datname = '{template}'"),
        ))
        .await
        .expect("pg_database can be read")
        .is_some();
    if exists {
        return;
    }
    // Renamed only when complete: a killed process leaves no partial template.
    for sql in [
        format!("DROP DATABASE IF EXISTS {template}_draft"),
        format!("CREATE DATABASE {template}_draft"),
    ] {
        admin.execute_unprepared(&sql).await.expect("an empty database can be made");
    }
    migrate(product, &database_url(url, &format!("{template}_draft"))).await;
    admin
        .execute_unprepared(&format!("ALTER DATABASE {template}_draft RENAME TO {template}"))
        .await
        .expect("nobody else uses the draft");
}

/// Creates the tables of a product in an empty database.
pub async fn migrate(product: &Product, url: &str) {
    let empty = connect(url).await.expect("the new database is reachable");
    product.schema().migrate(&empty).await.expect("the migrations run on an empty database");
    empty.close().await.expect("closing cannot fail");
}

/// Opens a pool of one connection, so that a session lock is taken and released in the same session.
pub(crate) async fn connect(url: &str) -> Result<DatabaseConnection, sea_orm::DbErr> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await
}

fn database_url(server: &str, database: &str) -> String {
    format!("{server}/{database}")
}

/// A running server. It stops and deletes its data when it is dropped or this process ends.
pub struct Server {
    url: String,
    /// Stops the server when its standard input, held by this process, is closed ([`GUARD`]).
    guard: Child,
}

impl Server {
    /// Starts a server and waits until it answers.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts a server with additional settings, such as `max_connections=20`.
    pub async fn with(settings: &[&str]) -> Self {
        let binaries = find_binaries().expect(
            "PostgreSQL's server programs (initdb, postgres) are needed: scripts/test installs them",
        );
        for _ in 1..START_ATTEMPTS {
            if let Ok(server) = Self::try_start(&binaries, settings).await {
                return server;
            }
        }
        match Self::try_start(&binaries, settings).await {
            Ok(server) => server,
            Err(log) => panic!("PostgreSQL did not start:\n{log}"),
        }
    }

    /// `postgres://…@127.0.0.1:port`, without a database.
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn try_start(binaries: &Path, settings: &[&str]) -> Result<Self, String> {
        let folder = tempfile::Builder::new()
            .prefix("test-postgres-")
            .tempdir()
            .expect("a temporary folder can be made")
            .keep();
        let account = unprivileged(&folder);
        let command = |program: &Path| {
            let mut command = Command::new(program);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            if let Some((user, group)) = account {
                command.uid(user).gid(group);
            }
            command
        };

        let log = folder.join("log");
        let initdb = command(&binaries.join("initdb"))
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(folder.join("data"))
            .output()
            .expect("initdb can be started");
        if !initdb.status.success() {
            return Err(String::from_utf8_lossy(&initdb.stderr).into_owned());
        }

        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("loopback has free ports")
            .port();
        let guard = command(Path::new("/bin/sh"))
            .args(["-c", GUARD, "guard"])
            .arg(&folder)
            .arg("QUIT")
            .arg(binaries.join("postgres"))
            .args(["-D", "data", "-k", "", "-h", "127.0.0.1", "-p", &port.to_string()])
            // The data does not have to survive a crash, and many clusters share one server.
            .args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"])
            .args(["-c", "max_connections=300", "-c", "shared_buffers=64MB"])
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .stdin(Stdio::piped())
            // Its own process group, so that Ctrl-C reaches it only through this process.
            .process_group(0)
            .spawn()
            .expect("/bin/sh can be started");
        let mut server = Self { url: format!("postgres://postgres@127.0.0.1:{port}"), guard };

        let started = eventually("PostgreSQL starts", async || {
            if let Ok(connection) = connect(&database_url(&server.url, "postgres")).await {
                connection.close().await.expect("closing cannot fail");
                return Some(true);
            }
            read(&log).contains("database system is shut down").then_some(false)
        })
        .await;
        if started {
            return Ok(server);
        }
        let log = read(&log);
        server.stop();
        Err(log)
    }

    fn stop(&mut self) {
        drop(self.guard.stdin.take());
        if let Err(error) = self.guard.wait() {
            tracing::warn!(%error, "Could not wait for the end of PostgreSQL");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A shell script that runs a server as a child and sends it the signal for an immediate shutdown when
/// standard input is closed, which happens when the process that holds the other end exits, even by
/// SIGKILL. The folder is removed in the background, because removing hundreds of databases takes
/// minutes. Arguments: the folder, the signal, the command.
pub(crate) const GUARD: &str = r#"
cd "$1" || exit
folder=$1
signal=$2
shift 2
"$@" >log 2>&1 &
cat >/dev/null
kill -"$signal" $!
wait $!
cd / && nice rm -rf "$folder" &
"#;

fn read(path: &Path) -> String {
    let mut text = String::new();
    match fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)) {
        Ok(_) => text,
        Err(error) => format!("no log: {error}"),
    }
}

/// Finds the folder with `initdb` and `postgres`: on the PATH, or where Debian and Homebrew install
/// them.
pub(crate) fn find_binaries() -> Option<PathBuf> {
    let on_path = env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = env::split_paths(&on_path).collect();
    for (parent, child) in
        [("/usr/lib/postgresql", "bin"), ("/opt/homebrew/opt", "bin"), ("/usr/local/opt", "bin")]
    {
        let mut found: Vec<PathBuf> = fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join(child))
            .collect();
        // The newest version is the last by name.
        found.sort();
        candidates.extend(found.into_iter().rev());
    }
    candidates
        .into_iter()
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

/// Returns an unprivileged user and group, and gives them the folder, if this process runs as root, as
/// which PostgreSQL refuses to run. `None` otherwise.
pub(crate) fn unprivileged(folder: &Path) -> Option<(u32, u32)> {
    // This process created the folder, so its owner is the user of this process.
    if fs::metadata(folder).expect("the folder was just made").uid() != 0 {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").expect("a root account implies /etc/passwd");
    let (user, group) = ["postgres", "nobody"]
        .iter()
        .find_map(|name| {
            let line = accounts.lines().find(|line| line.starts_with(&format!("{name}:")))?;
            let fields: Vec<&str> = line.split(':').collect();
            Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
        })
        .expect("every system has the account `nobody`");
    chown(folder, Some(user), Some(group)).expect("root may give the folder away");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("it is ours to set");
    Some((user, group))
}
