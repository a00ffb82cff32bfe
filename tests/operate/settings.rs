//! Settings that would fail silently: misspelt, empty, or cut off by a character that a URL reserves.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use reqwest::Client;
use serde_json::{Value, json};
use tests::{
    eventually,
    fake_endpoint::Manner,
    openid::{CLIENT_SECRET, OpenId, Question},
    processes::{Program, Recipe, built, free_port},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::commands::{environment, run};

const PROGRAMS: [&[&str]; 3] = [&["notes-mcp"], &["notes-mcp", "check"], &["notes-mcp-worker"]];

#[tokio::test]
async fn a_misspelt_level_is_refused_instead_of_silencing_everything() {
    for wrong in ["warming", "loud", "info,app=loud", "app", "=debug", ",", "info;debug"] {
        for words in PROGRAMS {
            let (code, said) = run(words, &environment(&[("LOG", wrong)])).await;
            assert_eq!(code, Some(64), "LOG={wrong} {words:?}: {said}");
            assert!(said.starts_with("LOG "), "LOG={wrong}: {said}");
            if wrong != "," {
                assert!(said.contains("off, error, warn, info, debug, trace"), "{said}");
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    for good in
        ["warning", "WARN", "Error", "info,web=debug", "web=trace", "off", "info,[request]=debug"]
    {
        let checked = environment(&[("LOG", good), ("DATA_DIR", data)]);
        let (code, said) = run(&["notes-mcp", "check"], &checked).await;
        assert_ne!(code, Some(64), "LOG={good}: {said}");
    }
}

#[tokio::test]
async fn a_variable_that_is_nearly_one_of_ours_is_named() {
    for (wrong, meant) in [
        ("ALLOWED_GITHUB_LOGIN", "ALLOWED_GITHUB_LOGINS"),
        ("ALLOWED_LOGINS", "ALLOWED_GITHUB_LOGINS"),
        ("ALLOWED_GITHUB_ORGS", "ALLOWED_GITHUB_ORG"),
        ("OIDC_ACME_ALLOWED_DOMAIN", "OIDC_<NAME>_ALLOWED_DOMAINS"),
    ] {
        for words in PROGRAMS {
            let (code, said) = run(words, &environment(&[(wrong, "octocat")])).await;
            assert_eq!(code, Some(64), "{wrong} {words:?}: {said}");
            assert!(said.contains(wrong) && said.contains(&format!("mean {meant}?")), "{said}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let near =
        environment(&[("RATE_LIMIT_PER_MINUTES", "5"), ("RUST_LOG", "debug"), ("DATA_DIR", data)]);
    let (_, said) = run(&["notes-mcp", "check"], &near).await;
    for (wrong, meant) in [("RATE_LIMIT_PER_MINUTES", "RATE_LIMIT_PER_MINUTE"), ("RUST_LOG", "LOG")]
    {
        let line = format!("{wrong} is not a known variable: did you mean {meant}?");
        assert!(said.contains(&line), "{said}");
    }
}

#[tokio::test]
async fn a_provider_with_another_issuer_stops_the_start_and_one_that_is_away_does_not() {
    let provider = OpenId::start().await;
    let settings = provider.settings();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let folder = tempfile::tempdir().unwrap();
    let (data, port) = (folder.path().join("data").display().to_string(), free_port().to_string());
    let all = [&settings[..], &[("DATA_DIR", &data), ("PORT", &port)]].concat();
    provider.discovery(json!({ "issuer": "https://login.example.com" }));
    for words in [&["notes-mcp"][..], &["notes-mcp", "check"]] {
        let (code, said) = run(words, &environment(&all)).await;
        assert_ne!(code, Some(0), "{words:?}: {said}");
        assert!(said.contains("its issuer is not OIDC_<NAME>_ISSUER"), "{words:?}: {said}");
    }
    provider.discovery(json!({}));
    let (_, said) = run(&["notes-mcp", "check"], &environment(&all)).await;
    let callback = format!("http://127.0.0.1:{port}/oauth/acme/callback");
    assert!(said.contains(&format!("register the redirect URI {callback}")), "{said}");
    assert!(said.contains("everyone with an Acme account may sign in"), "{said}");
    assert!(!said.contains(CLIENT_SECRET), "{said}");

    provider.answers(Question::Discovery, Manner::Status(503));
    let (program, _) = serving(&folder, &settings).await;
    let log = program.log();
    assert!(log.contains("Could not check the identity provider Acme"), "{log}");
}

#[tokio::test]
async fn a_list_without_an_entry_is_an_error() {
    for (name, value) in [
        ("ALLOWED_GITHUB_LOGINS", ""),
        ("ALLOWED_GITHUB_LOGINS", " "),
        ("ALLOWED_GITHUB_LOGINS", " , "),
        ("ALLOWED_ORIGINS", ","),
        ("UNLIMITED_NETWORKS", ", ,"),
        ("REDIRECT_SCHEMES", ","),
    ] {
        for words in PROGRAMS {
            let (code, said) = run(words, &environment(&[(name, value)])).await;
            assert_eq!(code, Some(64), "{name}={value:?} {words:?}: {said}");
            assert!(said.starts_with(name), "{said}");
        }
    }
}

#[tokio::test]
async fn no_program_prints_a_password_that_it_cannot_read() {
    const MARK: &str = "hunter2";
    let commands: [&[&str]; 6] = [
        &["notes-mcp"],
        &["notes-mcp", "check"],
        &["notes-mcp", "migrate", "status"],
        &["notes-mcp", "token", "--user", "me"],
        &["notes-mcp-worker"],
        &["notes-mcp-worker", "once", "expired-codes"],
    ];
    for name in ["DATABASE_URL", "REDIS_URL", "HTTPS_PROXY", "LLM_URL"] {
        let scheme = match name {
            "DATABASE_URL" => "postgres",
            "REDIS_URL" => "redis",
            _ => "https",
        };
        for character in ["/", "#", "?", "/1", "%zz", ":1/", "[", " "] {
            let value = format!("{scheme}://me:{character}{MARK}@127.0.0.1:1/notes");
            for words in commands {
                let (code, said) = run(words, &environment(&[(name, &value)])).await;
                assert_ne!(code, Some(0), "{name} {character} {words:?}: {said}");
                assert!(!said.contains(MARK), "{name} with {character} in {words:?}: {said}");
                if matches!(character, "/" | "#" | "?" | "/1") && scheme != "https" {
                    assert!(said.contains("percent-encode"), "{name} {character}: {said}");
                }
            }
        }
    }
}

/// A program that serves, with these variables and no others.
async fn serving(folder: &tempfile::TempDir, variables: &[(&str, &str)]) -> (Program, u16) {
    started(folder, built("notes-mcp"), vec!["serve".into()], variables).await
}

/// One that serves after these commands of the shell.
async fn serving_after(folder: &tempfile::TempDir, commands: &str) -> (Program, u16) {
    let line = format!("{commands}; exec {} serve", built("notes-mcp").display());
    started(folder, PathBuf::from("/bin/sh"), vec!["-c".into(), line.into()], &[]).await
}

async fn started(
    folder: &tempfile::TempDir,
    program: PathBuf,
    arguments: Vec<std::ffi::OsString>,
    variables: &[(&str, &str)],
) -> (Program, u16) {
    let port = free_port();
    let mut environment = environment(variables);
    environment.insert("PORT".to_owned(), port.to_string());
    environment.insert("DATA_DIR".to_owned(), folder.path().join("data").display().to_string());
    let started = Program::start(Recipe {
        name: "serving".to_owned(),
        program,
        arguments,
        environment,
        folder: folder.path().to_owned(),
    });
    let client = Client::new();
    eventually("it serves", async || {
        let asked = client.get(format!("http://127.0.0.1:{port}/healthz")).send().await;
        asked.is_ok_and(|it| it.status() == 200).then_some(())
    })
    .await;
    (started, port)
}

#[tokio::test]
async fn a_log_for_machines_has_no_banner_and_says_who_may_sign_in() {
    let folder = tempfile::tempdir().unwrap();
    let github = [
        ("LOG_FORMAT", "json"),
        ("GITHUB_CLIENT_ID", "id"),
        ("GITHUB_CLIENT_SECRET", "secret"),
        ("ALLOWED_GITHUB_LOGINS", "octocat, hubot, id:3"),
    ];
    let (program, _) = serving(&folder, &github).await;
    let log = program.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect();
    assert!(lines.iter().any(|it| it["access"] == "3 logins"), "{log}");
    assert!(lines.iter().any(|it| it["limit"].is_number()), "the limit on open files: {log}");
}

#[tokio::test]
async fn the_database_file_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("notes.db"), "").unwrap();
    fs::set_permissions(data.join("notes.db"), fs::Permissions::from_mode(0o644)).unwrap();
    let (_program, _) = serving(&folder, &[]).await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for entry in fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert_eq!(mode(&data), 0o700);
}

#[tokio::test]
async fn probes_are_answered_when_clients_use_up_the_open_files() {
    let folder = tempfile::tempdir().unwrap();
    let (program, port) = serving_after(&folder, "ulimit -S -n 300; ulimit -H -n 400").await;
    assert!(
        program.log().contains("Raised the limit on open files from 300 to 400"),
        "{}",
        program.log()
    );
    // Each holds a connection with half a request.
    let mut held = Vec::new();
    for _ in 0..500 {
        let Ok(Ok(mut stream)) =
            tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(("127.0.0.1", port)))
                .await
        else {
            break;
        };
        drop(
            stream
                .write_all(
                    b"POST /token HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\nab",
                )
                .await,
        );
        held.push(stream);
    }
    assert!(held.len() > 200, "{}", held.len());
    eventually("probes are answered", async || {
        let client = Client::builder().timeout(Duration::from_secs(2)).build().unwrap();
        for path in ["/livez", "/healthz"] {
            let asked = client.get(format!("http://127.0.0.1:{port}{path}")).send().await;
            asked.ok().filter(|it| it.status() == 200)?;
        }
        Some(())
    })
    .await;
    drop(held);
}

#[tokio::test]
async fn an_operator_lists_people_clients_and_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let here = environment(&[("DATA_DIR", data)]);
    let (code, said) = run(&["notes-mcp", "users", "block", "id:2"], &here).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["notes-mcp", "users", "block", "github:3"], &here).await;
    assert_eq!(code, Some(0), "{said}");
    let listed = async |words: &[&str]| {
        let (code, said) = run(words, &here).await;
        assert_eq!(code, Some(0), "{words:?}: {said}");
        said
    };
    let blocked = listed(&["notes-mcp", "users", "list", "--blocked", "--json"]).await;
    assert!(
        blocked.contains(r#""user":"github:2""#) && blocked.contains(r#""user":"github:3""#),
        "{blocked}"
    );
    let page = listed(&["notes-mcp", "users", "list", "--limit", "1"]).await;
    assert!(page.contains("IDENTITY") && page.contains("--after github:2"), "{page}");
    let next = listed(&["notes-mcp", "users", "list", "--after", "github:2"]).await;
    assert!(next.contains("github:3") && !next.contains("github:2"), "{next}");
    listed(&["notes-mcp", "clients", "list"]).await;
    let audit =
        listed(&["notes-mcp", "audit", "--event", "user_blocked", "--user", "id:2", "--json"])
            .await;
    assert_eq!(audit.lines().filter(|it| it.starts_with('{')).count(), 1, "{audit}");
    let (code, _) = run(&["notes-mcp", "audit", "--limit", "100000"], &here).await;
    assert_eq!(code, Some(64));
}
