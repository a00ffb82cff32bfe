//! Files and directories that only their owner may read: the database file and the generated
//! secret.

use std::{fs, io, path::Path};

/// Creates a directory, with its parents, that only its owner can enter. The permissions of an
/// existing directory are restricted as well, unless it is shared by all users (the sticky bit is
/// set, as on `/tmp`) or is the working directory or the root.
pub fn create_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    restrict_directory(path);
    Ok(())
}

/// Creates an empty file, if it does not exist, that only its owner can read. The permissions of an
/// existing file are restricted as well.
pub fn create_file(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    if !path.exists() {
        options.open(path)?;
    }
    restrict(path, 0o600);
    Ok(())
}

#[cfg(unix)]
fn restrict_directory(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;

    const STICKY: u32 = 0o1000;
    let is_shared = fs::metadata(path).is_ok_and(|it| it.permissions().mode() & STICKY != 0);
    let canonical = fs::canonicalize(path).ok();
    let is_working_directory = canonical.is_some_and(|path| {
        path.parent().is_none() || fs::canonicalize(".").is_ok_and(|here| here == path)
    });
    if !is_shared && !is_working_directory {
        restrict(path, 0o700);
    }
}

#[cfg(not(unix))]
fn restrict_directory(_path: &Path) {}

/// Removes the permissions of group and others. A file of another owner cannot be changed; that is
/// logged.
#[cfg(unix)]
fn restrict(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;

    let is_open = |metadata: &fs::Metadata| metadata.permissions().mode() & 0o077 != 0;
    if fs::metadata(path).is_ok_and(|it| is_open(&it))
        && let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(mode))
    {
        let path = path.display();
        tracing::warn!(
            %error,
            "Could not restrict the permissions of {path}; other users can read it"
        );
    }
}

#[cfg(not(unix))]
fn restrict(_path: &Path, _mode: u32) {}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("the file exists").permissions().mode() & 0o777
    }

    #[test]
    fn new_and_existing_files_are_private() {
        let folder = tempfile::TempDir::new().unwrap();
        let (new, old) = (folder.path().join("a/new"), folder.path().join("old"));
        fs::create_dir(&old).unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
        for directory in [&new, &old] {
            create_directory(directory).unwrap();
            assert_eq!(mode(directory), 0o700);
        }
        let (fresh, kept) = (new.join("data.db"), old.join("data.db"));
        fs::write(&kept, "kept").unwrap();
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o644)).unwrap();
        for file in [&fresh, &kept] {
            create_file(file).unwrap();
            assert_eq!(mode(file), 0o600);
        }
        assert_eq!(fs::read(&kept).unwrap(), b"kept");
    }

    #[test]
    fn a_shared_directory_is_not_restricted() {
        let folder = tempfile::TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        create_directory(folder.path()).unwrap();
        assert_eq!(mode(folder.path()), 0o777);
    }
}
