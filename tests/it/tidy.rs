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
    ("allocator", &[]),
    ("entity", &[]),
    ("mcp", &[]),
    ("migration", &[]),
    ("platform", &["allocator", "mcp"]),
    ("runner", &["mcp"]),
    ("jobs", &["entity", "mcp", "platform", "runner"]),
    ("oauth", &["entity", "mcp", "platform"]),
    ("app", &["entity", "jobs", "mcp", "migration", "oauth", "platform"]),
    ("notes", &["app", "entity", "jobs", "mcp", "migration", "oauth", "platform"]),
    // The second product, and what it needs of the base.
    ("bookmarks", &["app", "jobs", "mcp", "migration", "platform", "web", "worker"]),
    // `worker` is for the one-process mode. Only `main.rs` names the product.
    ("web", &["app", "mcp", "notes", "oauth", "platform", "worker"]),
    ("worker", &["app", "jobs", "mcp", "notes", "oauth", "platform", "runner"]),
    // A test: no program that ships contains it.
    ("simulation", &["allocator", "mcp", "runner"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a crate of the workspace").to_owned()
}

/// What Cargo says about the workspace.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs the tests, so it is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn crates_import_only_whom_they_may() {
    let metadata = metadata();
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
        assert!(known || ["fuzz", "tests"].contains(name), "where does `{name}` belong?");
    }
}

#[test]
fn only_main_names_the_product() {
    for name in ["web", "worker"] {
        for file in sources(name) {
            let is_test = file.components().any(|part| part.as_os_str() == "tests");
            if !is_test && !file.ends_with("src/main.rs") {
                let code = code_of(&file);
                assert!(!code.contains("notes::"), "{} names the product", file.display());
            }
        }
    }
}

/// What the base may still say about notes: names in the schema that cannot change, and an example in
/// the documentation of a variable.
const NAMES_NOTES: &[&str] = &[
    "app/src/config/variables.rs",
    "entity/src/downloads.rs",
    "migration/src/m20261123_000012_exports.rs",
];

#[test]
fn nothing_below_the_product_names_it() {
    let base = ["app", "entity", "jobs", "mcp", "migration", "oauth", "platform", "web", "worker"];
    for file in base.iter().flat_map(|name| sources_in(&root().join(name).join("src"))) {
        let path = file.to_string_lossy();
        let may = ["src/main.rs", "tests.rs"].iter().chain(NAMES_NOTES);
        if may.into_iter().any(|exception| path.ends_with(exception)) {
            continue;
        }
        let code = code_of(&file);
        let mut words = code.split(|letter: char| !letter.is_alphanumeric());
        let found = words.find(|word| word.eq_ignore_ascii_case("notes"));
        assert!(found.is_none(), "{path} names notes");
    }
}

/// Tests that name notes: those of the product, of its deployment, and of the repository; and the benchmarks.
const TESTS_OF_NOTES: &[&str] = &[
    "tests/it/circles.rs",
    "tests/it/main.rs",
    "tests/it/notes",
    "tests/it/tidy.rs",
    "tests/operate",
    "tests/src/tools/bench_bare.rs",
    "tests/src/tools/bench_database",
    "tests/src/tools/bench_instructions",
    "tests/src/tools/bench_jobs.rs",
    "tests/src/tools/bench_search.rs",
    "tests/src/tools/bench_users.rs",
    "tests/src/tools/bench_web.rs",
    "tests/src/tools/sign_in_web.rs",
];

/// Tests of the base use the product `tests::fixtures`, so that they remain when notes are replaced.
#[test]
fn tests_of_the_base_do_not_name_the_product() {
    let root = root();
    let notes = ["notes::", "notes_create", "notes_list", "notes:read", "notes-mcp"];
    for name in ["app", "tests", "web", "worker"] {
        for file in sources(name) {
            let is_test = name == "tests" || file.components().any(|it| it.as_os_str() == "tests");
            let is_excused = TESTS_OF_NOTES.iter().any(|path| file.starts_with(root.join(path)));
            if is_test && !is_excused {
                let code = code_of(&file);
                let named = notes.iter().find(|name| code.contains(**name));
                assert!(named.is_none(), "{} names {named:?}", file.display());
            }
        }
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
        let names = ["app::", "notes::"].into_iter().find(|name| code.contains(name));
        assert!(names.is_none(), "{} names {names:?}", file.display());
    }
}

/// Files outside `oauth/src/login` that may contain the name of an identity provider, and why.
const MAY_NAME_A_PROVIDER: [(&str, &str); 5] = [
    ("platform/src/db/rights.rs", "the name of a table"),
    ("platform/src/metrics/names.rs", "the names of metrics"),
    ("web/src/commands/audit.rs", "an example of an identity, in the help"),
    ("web/src/commands/people.rs", "an example of an identity, in the help"),
    ("web/src/commands/token.rs", "an example of an identity, in the help"),
];

/// Everything else is written for any provider: see `IdentityProvider`. Tests may name one.
#[test]
fn identity_providers_are_named_in_one_place() {
    let root = root();
    let login = root.join("oauth/src/login");
    for name in ["oauth", "web", "worker", "jobs", "platform", "mcp"] {
        for file in sources_in(&root.join(name).join("src")) {
            let is_test = file.components().any(|it| it.as_os_str() == "tests")
                || file.file_stem().is_some_and(|it| it == "tests");
            if file.starts_with(&login) || is_test {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let named = code.to_lowercase().contains("github");
            let excused = MAY_NAME_A_PROVIDER.iter().any(|(it, _)| file == root.join(it));
            assert_eq!(named, excused, "{} names GitHub: {named}", file.display());
        }
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
        let folder = root().join("notes/src").join(folder);
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
    for name in [
        "entity",
        "jobs",
        "mcp",
        "migration",
        "notes",
        "oauth",
        "platform",
        "app",
        "runner",
        "simulation",
        "tests",
        "web",
        "worker",
    ] {
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

/// The runbook says which test checks each row of its table of faults; such a test must exist.
#[test]
fn faults_in_the_runbook_name_tests_that_exist() {
    let runbook = fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    let (_, section) = runbook.split_once("\n## When a dependency is unavailable\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let tests: BTreeSet<String> = ["crashes", "it"]
        .iter()
        .flat_map(|name| sources_in(&root().join("tests").join(name)))
        .flat_map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let functions = text.split("async fn ").skip(1).map(str::to_owned);
            functions.map(|it| it.split('(').next().unwrap().to_owned()).collect::<Vec<_>>()
        })
        .collect();
    let mut named = BTreeSet::new();
    for row in section.lines().filter(|line| line.starts_with("| ")).map(str::trim_end) {
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap().trim();
        if last == "test" {
            continue;
        }
        for name in last.split(", ").map(|it| it.trim_matches('`')) {
            assert!(tests.contains(name), "no test `{name}`: {row}");
            named.insert(name.to_owned());
        }
    }
    for file in sources_in(&root().join("tests/crashes")) {
        let text = fs::read_to_string(&file).unwrap();
        for function in text.split("#[tokio::test").skip(1) {
            let (_, function) = function.split_once("async fn ").unwrap();
            let name = function.split('(').next().unwrap();
            assert!(named.contains(name), "the runbook has no row of `{name}`");
        }
    }
}

/// A target whose tests are turned off must have none, and one that has none must say so: Cargo would
/// link a test program for it.
#[test]
fn targets_are_tested_exactly_if_they_have_tests() {
    for package in metadata()["packages"].as_array().unwrap() {
        for target in package["targets"].as_array().unwrap() {
            let kind = target["kind"][0].as_str().unwrap();
            if !["lib", "bin"].contains(&kind) {
                continue;
            }
            let file = Path::new(target["src_path"].as_str().unwrap());
            let folder = file.parent().unwrap();
            let only_main = kind == "bin" && folder.join("lib.rs").exists();
            let mut files = if only_main { vec![file.to_owned()] } else { sources_in(folder) };
            // A program in a folder of its own is another target.
            files
                .retain(|it| it.parent() == Some(folder) || !it.with_file_name("main.rs").exists());
            let contents: Vec<String> =
                files.iter().map(|it| fs::read_to_string(it).unwrap()).collect();

            let name = format!("{} `{}` of `{}`", kind, target["name"], package["name"]);
            let tests = contents.iter().any(|text| has_tests(text));
            assert_eq!(target["test"], tests, "{name} has tests: {tests}; `test` must say so");
            if kind == "lib" {
                let examples = contents.iter().any(|text| has_examples(text));
                let says = &target["doctest"];
                assert_eq!(*says, examples, "{name} has examples: {examples}; see `doctest`");
            }
        }
    }
}

/// Whether a source file has tests.
fn has_tests(text: &str) -> bool {
    text.lines().map(str::trim).any(|line| {
        line == "#[test]" || line.starts_with("#[tokio::test") || line.starts_with("proptest! {")
    })
}

/// Whether the documentation in a source file has examples that are compiled.
fn has_examples(text: &str) -> bool {
    let documentation = text.lines().map(str::trim).filter_map(|line| {
        line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim)
    });
    let fences = documentation.filter_map(|line| line.strip_prefix("```"));
    // Each opening fence is followed by its closing one.
    fences.step_by(2).any(|language| !language.starts_with("text"))
}

/// All Rust files of a crate.
fn sources(name: &str) -> Vec<PathBuf> {
    sources_in(&root().join(name))
}

/// All Rust files below a folder.
fn sources_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
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
    assert!(!found.is_empty(), "{} has sources", folder.display());
    found
}

/// A file without its comments and its tests.
fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}
