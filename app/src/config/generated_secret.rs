//! The signing secret that an embedded program generates.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use platform::{private_files, secret::Secret};

use super::parse::secret;

/// Returns the generated secret of a data directory. It is created at the first start and kept, so
/// that tokens survive a restart.
///
/// Processes that start at the same time agree on one secret: each writes a draft, and gives it the
/// final name by a hard link, which only one of them can create.
pub(super) fn generated_secret(data_dir: &Path) -> Result<Secret, String> {
    let file = data_dir.join("secret");
    let read = || match fs::read_to_string(&file) {
        Ok(text) => secret(text.trim()).map(Some).map_err(|_too_short| {
            format!(
                "contains a damaged file: delete {}, and a new secret is generated",
                file.display()
            )
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot be used: {} cannot be read: {error}", file.display())),
    };
    if let Some(secret) = read()? {
        return Ok(secret);
    }
    write_secret(data_dir, &file).map_err(|error| {
        format!("must be a writable directory; it is {}: {error}", data_dir.display())
    })?;
    read()?.ok_or_else(|| format!("cannot be used: {} has disappeared", file.display()))
}

fn write_secret(data_dir: &Path, file: &Path) -> std::io::Result<()> {
    private_files::create_directory(data_dir)?;
    let draft = data_dir.join(format!(".secret-{:016x}", rand::random::<u64>()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut open = options.open(&draft)?;
    let written = open
        .write_all(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()).as_bytes())
        .and_then(|()| open.sync_all())
        .and_then(|()| match fs::hard_link(&draft, file) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    fs::remove_file(&draft)?;
    written
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::config::parse::MIN_SECRET_BYTES;

    #[test]
    fn a_generated_secret_is_kept_and_readable_only_by_its_owner() {
        let directory = TempDir::new().unwrap();
        let data = directory.path().join("not/there/yet");
        let first = generated_secret(&data).unwrap();
        assert_eq!(first, generated_secret(&data).unwrap());
        assert!(first.expose().len() >= MIN_SECRET_BYTES);
        let entries = fs::read_dir(&data).unwrap();
        let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(data.join("secret")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }

        fs::write(data.join("secret"), "short").unwrap();
        let problem = generated_secret(&data).unwrap_err();
        assert!(problem.contains("delete"), "{problem}");
    }

    #[test]
    fn processes_that_start_at_the_same_time_agree_on_a_secret() {
        let directory = TempDir::new().unwrap();
        let secrets: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| generated_secret(directory.path()).unwrap()))
                .collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
    }
}
