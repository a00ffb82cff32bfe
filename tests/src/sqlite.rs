//! A fresh SQLite database for each test: a copy of a template, so that the migrations run once.
//!
//! The processes of a test run share the template in the folder that [`FOLDER_VARIABLE`] names.
//! Without it, each process makes its own.

use std::{
    env, fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// Names a folder in which the processes of one test run share the template.
pub const FOLDER_VARIABLE: &str = "TEST_SQLITE_FOLDER";

/// The file in `DATA_DIR` that the product opens when `DATABASE_URL` is not set.
const FILE: &str = "notes.db";

/// Writes a migrated, empty database to `directory`, where the product finds it.
pub async fn fresh_database(directory: &Path) {
    static TEMPLATE: OnceCell<Vec<u8>> = OnceCell::const_new();
    let template = TEMPLATE.get_or_init(template).await;
    let mut options = fs::OpenOptions::new();
    // The product's own permissions; the files that SQLite writes beside it inherit them.
    let file = options.write(true).create_new(true).mode(0o600).open(directory.join(FILE));
    let mut file = file.expect("the directory is writable and has no database yet");
    file.write_all(template).expect("the database can be written");
}

/// Reads the shared template, and makes it if no other process has.
async fn template() -> Vec<u8> {
    let Some(folder) = env::var_os(FOLDER_VARIABLE).map(PathBuf::from) else {
        let folder = TempDir::new().expect("a temporary directory can be made");
        return migrated(folder.path()).await;
    };
    let shared = folder.join(FILE);
    if let Ok(template) = fs::read(&shared) {
        return template;
    }
    // Two processes may both get here; their templates are equal, and renaming is atomic.
    let draft = TempDir::new_in(&folder).expect("the folder is writable");
    let template = migrated(draft.path()).await;
    fs::rename(draft.path().join(FILE), shared).expect("the template was just written");
    template
}

/// Makes a migrated database in `folder`, and returns its bytes.
async fn migrated(folder: &Path) -> Vec<u8> {
    let path = folder.join(FILE);
    let mut options = ConnectOptions::new(format!("sqlite:{}?mode=rwc", path.display()));
    options.max_connections(1).sqlx_logging(false);
    let db = Database::connect(options).await.expect("the folder is writable");
    // The mode is stored in the file: each copy starts in the mode that the product uses.
    db.execute_unprepared("PRAGMA journal_mode = WAL").await.expect("a new file can change it");
    notes::product().schema().migrate(&db).await.expect("the migrations run on an empty database");
    // The last connection that closes moves the write-ahead log into the file.
    db.close().await.expect("closing cannot fail");
    fs::read(path).expect("the database was just written")
}
