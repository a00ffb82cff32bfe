//! Properties of the repository that no compiler checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Who may import whom. Nothing else may; `tests` sees everything.
const ARROWS: &[(&str, &[&str])] = &[
    ("entity", &[]),
    ("mcp", &[]),
    ("migration", &[]),
    ("platform", &["mcp"]),
    ("service", &["entity", "mcp", "platform"]),
    // `migration` and `worker` are for the one-process mode.
    ("web", &["mcp", "migration", "platform", "service", "worker"]),
    ("worker", &["mcp", "migration", "platform", "service"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn crates_import_only_whom_they_may() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs the tests, so it is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages: BTreeMap<&str, &Value> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["name"].as_str().unwrap(), package))
        .collect();
    for (name, allowed) in ARROWS {
        let imported: BTreeSet<&str> = packages[name]["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            // Tests of a crate may use more than the crate.
            .filter(|dependency| dependency["kind"] != "dev")
            .map(|dependency| dependency["name"].as_str().unwrap())
            .filter(|dependency| packages.contains_key(dependency))
            .collect();
        let forbidden: Vec<_> = imported.iter().filter(|it| !allowed.contains(it)).collect();
        assert!(forbidden.is_empty(), "`{name}` may not import {forbidden:?}");
    }
    for name in packages.keys() {
        let known = ARROWS.iter().any(|(crate_name, _)| crate_name == name);
        assert!(known || ["bench", "tests"].contains(name), "where does `{name}` belong?");
    }
}

#[test]
fn web_never_names_the_database_library_and_mcp_never_names_notes() {
    for file in sources("web") {
        let code = code_of(&file);
        assert!(!code.contains("sea_orm"), "{} names sea_orm", file.display());
    }
    for file in sources("mcp") {
        let code = code_of(&file);
        assert!(!code.contains("service::"), "{} names the service", file.display());
    }
}

/// `mcp::json` takes no array for an object, which serde does by itself.
#[test]
fn mcp_reads_json_in_one_place() {
    for file in sources("mcp") {
        if !file.components().any(|it| it.as_os_str() == "json") {
            let code = code_of(&file);
            let read = ["serde_json::from_", "serde_json::Deserializer", "serde_path_to_error"];
            for call in read {
                assert!(!code.contains(call), "{} reads JSON by `{call}`", file.display());
            }
        }
    }
}

#[test]
fn every_tool_resource_and_prompt_is_in_its_list() {
    for folder in ["tools", "resources", "prompts"] {
        let folder = root().join("service/src").join(folder);
        let list = fs::read_to_string(folder.join("mod.rs")).unwrap();
        let (_, all) = list.split_once("pub const ALL").expect("there is a list");
        let (all, _) = all.split_once("];").expect("the list ends");
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if module != "mod" {
                assert!(all.contains(&format!("&{module}::")), "{} is in no list", path.display());
            }
        }
    }
}

#[test]
fn nothing_is_left_to_do_later() {
    let marks = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("];
    for name in ["entity", "mcp", "migration", "platform", "service", "tests", "web", "worker"] {
        for file in sources(name) {
            if file.ends_with("tidy.rs") {
                continue;
            }
            let code = fs::read_to_string(&file).unwrap();
            for mark in marks {
                assert!(!code.contains(mark), "{mark} in {}", file.display());
            }
        }
    }
}

/// What `deny.toml` bans, as far as the lock file alone tells: `cargo deny` needs to be installed. A
/// lock file also names what no feature turns on, so `ring` may stand there.
#[test]
fn nothing_that_is_banned_is_in_the_lock_file() {
    let rules = fs::read_to_string(root().join("deny.toml")).unwrap();
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for banned in ["rsa", "openssl-sys", "native-tls"] {
        assert!(rules.contains(&format!("crate = \"{banned}\"")), "deny.toml bans {banned}");
        assert!(!lock.contains(&format!("name = \"{banned}\"")), "{banned} is in the tree");
    }
}

/// All Rust files of a crate.
fn sources(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(name)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("node_modules") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "`{name}` has sources");
    found
}

/// A file without its comments and its tests.
fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}
