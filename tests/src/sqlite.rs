//! A fresh SQLite database for each test: a copy of a template, so that the migrations run once.
//!
//! The processes of a test run share the template in the folder that [`FOLDER_VARIABLE`] names.
//! Without it, each process makes its own.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    env, fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use app::Product;
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// Names a folder in which the processes of one test run share the template.
pub const FOLDER_VARIABLE: &str = "TEST_SQLITE_FOLDER";

/// Writes a migrated, empty database to `directory`, where the product opens it when `DATABASE_URL` is not
/// set.
pub async fn fresh_database(product: &Product, directory: &Path) {
    static TEMPLATES: Mutex<BTreeMap<&str, Vec<u8>>> = Mutex::const_new(BTreeMap::new());
    let file = file(product);
    let mut templates = TEMPLATES.lock().await;
    let template = match templates.entry(product.brand().things) {
        Entry::Occupied(template) => template.into_mut(),
        Entry::Vacant(empty) => empty.insert(template(product, &file).await),
    };
    let mut options = fs::OpenOptions::new();
    // The product's own permissions; the files that SQLite writes beside it inherit them.
    let database = options.write(true).create_new(true).mode(0o600).open(directory.join(file));
    let mut database = database.expect("the directory is writable and has no database yet");
    database.write_all(template).expect("the database can be written");
}

/// The name of the database's file in `DATA_DIR`.
fn file(product: &Product) -> String {
    format!("{}.db", product.brand().things)
}

/// Reads the shared template, and makes it if no other process has.
async fn template(product: &Product, file: &str) -> Vec<u8> {
    let Some(folder) = env::var_os(FOLDER_VARIABLE).map(PathBuf::from) else {
        let folder = TempDir::new().expect("a temporary directory can be made");
        return migrated(product, &folder.path().join(file)).await;
    };
    let shared = folder.join(file);
    if let Ok(template) = fs::read(&shared) {
        return template;
    }
    // Two processes may both get here; their templates are equal, and renaming is atomic.
    let draft = TempDir::new_in(&folder).expect("the folder is writable");
    let template = migrated(product, &draft.path().join(file)).await;
    fs::rename(draft.path().join(file), shared).expect("the template was just written");
    template
}

/// Makes a migrated database at `path`, and returns its bytes.
async fn migrated(product: &Product, path: &Path) -> Vec<u8> {
    let mut options = ConnectOptions::new(format!("sqlite:{}?mode=rwc", path.display()));
    options.max_connections(1).sqlx_logging(false);
    let db = Database::connect(options).await.expect("the folder is writable");
    // The mode is stored in the file: each copy starts in the mode that the product uses.
    db.execute_unprepared("PRAGMA journal_mode = WAL").await.expect("a new file can change it");
    product.schema().migrate(&db).await.expect("the migrations run on an empty database");
    // The last connection that closes moves the write-ahead log into the file.
    db.close().await.expect("closing cannot fail");
    fs::read(path).expect("the database was just written")
}
