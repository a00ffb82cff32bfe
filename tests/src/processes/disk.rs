//! A small file system of a test, which the test can fill.
//!
//! It is a tmpfs in a mount namespace of its own, so that it needs no cleaning up: it ends with the last
//! process in the namespace. Linux only. As root this needs no other right; as another user it needs user
//! namespaces.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::{Program, Recipe};
use crate::eventually;

/// A script that mounts the file system and keeps the namespace. Arguments: the size in mebibytes, and the
/// folder.
const HOLDER: &str = r#"
mount -t tmpfs -o "size=$1m,mode=1777" tmpfs "$2" && : >"$2/mounted" && exec sleep infinity
"#;

/// The file that takes up the free space.
const BALLAST: &str = "ballast";

/// A mounted file system.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Program,
    folder: PathBuf,
    needs_user_namespace: bool,
}

impl SmallDisk {
    /// Mounts an empty file system of this size at a folder that exists. `log_folder`: for the log of the
    /// process that holds it.
    pub async fn mount(folder: &Path, mebibytes: u32, log_folder: &Path) -> Self {
        let needs_user_namespace = !rustix::process::geteuid().is_root();
        let mut arguments: Vec<OsString> = Vec::new();
        if needs_user_namespace {
            arguments.extend(["-U", "--map-current-user", "--keep-caps"].map(OsString::from));
        }
        arguments.extend(["-m", "/bin/sh", "-c", HOLDER, "holder"].map(OsString::from));
        arguments.push(mebibytes.to_string().into());
        arguments.push(folder.into());
        let holder = Program::start(Recipe {
            name: "disk".to_owned(),
            program: "unshare".into(),
            arguments,
            environment: HashMap::new(),
            folder: log_folder.to_owned(),
        });
        let disk = Self { holder, folder: folder.to_owned(), needs_user_namespace };
        eventually("a small disk is mounted", async || {
            disk.seen_from_outside("mounted").exists().then_some(())
        })
        .await;
        disk
    }

    /// The words of a command that runs a program which sees the file system.
    pub fn enter(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> =
            ["nsenter", "-t", &self.holder.pid().to_string(), "-m"].map(OsString::from).to_vec();
        if self.needs_user_namespace {
            words.extend(["-U", "--preserve-credentials"].map(OsString::from));
        }
        words
    }

    /// The path at which this process sees a file of the file system.
    pub fn seen_from_outside(&self, file: &str) -> PathBuf {
        let folder = self.folder.strip_prefix("/").unwrap_or(&self.folder);
        PathBuf::from(format!("/proc/{}/root", self.holder.pid())).join(folder).join(file)
    }

    /// Takes up all free space.
    pub fn fill(&self) {
        let file = fs::File::options().create(true).append(true).open(self.ballast());
        let mut file = file.expect("the file system is mounted");
        let block = vec![0; 64 * 1024];
        let error = loop {
            if let Err(error) = file.write_all(&block) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    }

    /// Gives the space back.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("it was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.seen_from_outside(BALLAST)
    }
}
