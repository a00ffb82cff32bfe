use std::{collections::HashMap, net::IpAddr};

use ::oauth::data_keys::KeySource;
use tempfile::TempDir;

use async_trait::async_trait;
use mcp::UserId;
use platform::db::{Failure, Transaction};

use super::{variables::VARIABLES, *};
use crate::{Brand, Platform, Product, Removed, State};

/// The state of a product without data.
#[derive(Clone)]
struct NoState;

#[async_trait]
impl State for NoState {
    type Settings = ();

    fn settings(_: &mut Reader<'_>) {}

    fn new(_: Platform, (): ()) -> Self {
        Self
    }

    async fn delete_owned(&self, _: &Transaction, _: &UserId) -> Result<Removed, Failure> {
        Ok(Removed { count: 0, one: "thing", many: "things" })
    }
}

fn product() -> Product {
    let brand = Brand {
        program: "things-mcp",
        worker_program: "things-mcp-worker",
        version: "0",
        title: "Things",
        things: "things",
        description: "",
        instructions: "",
        icon: "",
    };
    Product::of::<NoState>(brand).build()
}

fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    Config::read(&product(), |name| variables.get(name).map(ToString::to_string))
}

fn path(directory: &TempDir) -> &str {
    directory.path().to_str().expect("temporary paths are UTF-8")
}

const SECRET: &str = "an-example-of-a-secret-of-32-byte";

#[test]
fn documented_defaults_are_the_actual_ones() {
    let directory = TempDir::new().unwrap();
    let mut documented: Vec<_> = VARIABLES
        .iter()
        .map(|variable| (variable.name, variable.default))
        .filter(|(name, _)| *name != "DATA_DIR")
        .collect();
    documented.push(("DATA_DIR", path(&directory)));
    let documented = read(&documented).unwrap();
    let absent = read(&[("DATA_DIR", path(&directory))]).unwrap();
    assert_eq!(format!("{documented:?}"), format!("{absent:?}"));
    assert_eq!(documented.jwt_signing_secret, absent.jwt_signing_secret);
    assert_eq!(documented.database, absent.database);
}

#[test]
fn without_variables_the_program_is_embedded() {
    let directory = TempDir::new().unwrap();
    let config = read(&[("DATA_DIR", path(&directory)), ("DATABASE_URL", " ")]).unwrap();
    assert_eq!(config.mode, Mode::Embedded);
    assert_eq!(config.public_url.mcp(), "http://127.0.0.1:8080/mcp");
    assert!(config.http.host.is_loopback());
    assert_eq!(config.logging.format, LogFormat::Pretty);
    let url = format!("sqlite:{}/things.db", path(&directory));
    assert_eq!(config.database.url.expose(), url);
}

#[test]
fn the_default_public_url_follows_the_port() {
    let directory = TempDir::new().unwrap();
    let config = read(&[("DATA_DIR", path(&directory)), ("PORT", "9000")]).unwrap();
    assert_eq!(config.public_url.as_str(), "http://127.0.0.1:9000");
}

#[test]
fn a_deployed_program_requires_what_instances_share() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let public =
        [("PUBLIC_URL", "https://notes.example.com"), ("DATA_DIR", data.to_str().unwrap())];
    let lines = read(&public).unwrap_err().0;
    let problems = [
        "DATABASE_URL is missing: ",
        "REDIS_URL is missing: ",
        "GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET, or OIDC_<NAME>_ISSUER and ",
        "JWT_SIGNING_SECRET is missing: ",
    ];
    assert_eq!(lines.len(), problems.len(), "{lines:?}");
    for (line, problem) in lines.iter().zip(problems) {
        assert!(line.starts_with(problem), "{line}");
    }
    assert!(!data.exists(), "an invalid configuration creates no files");

    let mut complete = public.to_vec();
    complete.push(("DATABASE_URL", "postgresql://me:hunter2@db/notes"));
    complete.push(("REDIS_URL", "rediss://me:hunter2@redis"));
    complete.push(("JWT_SIGNING_SECRET", SECRET));
    complete.push(("GITHUB_CLIENT_ID", "Iv1.0123456789abcdef"));
    complete.push(("GITHUB_CLIENT_SECRET", "hunter2"));
    let config = read(&complete).unwrap();
    assert_eq!(config.http.trusted_proxy_hops, 1);
    assert_eq!(config.oauth.github.as_ref().unwrap().url, "https://github.com");
    assert_eq!(config.mode, Mode::Deployed);
    assert_eq!(config.http.host, IpAddr::from([0, 0, 0, 0]));
    assert_eq!(config.logging.format, LogFormat::Json);
    let printed = format!("{config:?}");
    assert!(!printed.contains("hunter2") && !printed.contains(SECRET), "{printed}");
}

#[test]
fn an_identity_provider_that_is_configured_in_part_is_one_problem() {
    for (set, missing) in [
        ("GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET is missing: "),
        ("GITHUB_CLIENT_SECRET", "GITHUB_CLIENT_ID is missing: "),
    ] {
        let ConfigErrors(lines) = read(&[
            ("PUBLIC_URL", "https://notes.example.com"),
            ("DATABASE_URL", "postgresql://db/notes"),
            ("REDIS_URL", "rediss://redis"),
            ("JWT_SIGNING_SECRET", SECRET),
            (set, "x"),
        ])
        .unwrap_err();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with(missing), "{lines:?}");
    }
}

#[test]
fn all_problems_are_reported_at_once_without_secrets() {
    let ConfigErrors(lines) = read(&[
        ("PUBLIC_URL", "http://notes.example.com"),
        ("PORT", "0"),
        ("HOST", "localhost"),
        ("ALLOWED_ORIGINS", "https://app.example.com, chrome"),
        ("DATABASE_URL", "mysql://root:hunter2@db"),
        ("DATABASE_MAX_CONNECTIONS", "many"),
        ("REDIS_URL", "http://me:hunter2@redis"),
        ("JWT_SIGNING_SECRET", "hunter2"),
        ("GITHUB_URL", "http://github.example.com"),
        ("GITHUB_API_URL", "https://me:hunter2@github.example.com"),
        ("ALLOWED_GITHUB_LOGINS", "octo cat, id:x"),
        ("ALLOWED_GITHUB_ORG", "../admin"),
        ("DATA_KEYS", "hunter2, hunter2"),
        ("REDIRECT_SCHEMES", "javascript"),
        ("OAUTH_CLIENTS", "[{\"client_secret\": \"hunter2\"}]"),
        ("CLIENT_METADATA_DOCUMENTS", "sometimes"),
        ("CLIENT_DOCUMENTS", "[{\"client_secret\": \"hunter2\"}]"),
        ("HTTPS_PROXY", "socks5://me:hunter2@proxy"),
        ("HTTP_PROXY", "http://me:hunter2@proxy/path"),
        ("TRUSTED_PROXY_HOPS", "-1"),
        ("RATE_LIMIT_PER_MINUTE", "plenty"),
        ("UNLIMITED_NETWORKS", "192.0.2.0/33"),
        ("ACCESS_TOKEN_TTL", "2h"),
        ("SESSION_TTL", "soon"),
        ("SHUTDOWN_TIMEOUT", "1w"),
        ("WORKER_CONCURRENCY", "0"),
        ("WORKER_PORT", "here"),
        ("LOG", "info,app=loud"),
        ("LOG_FORMAT", "xml"),
    ])
    .unwrap_err();
    assert_eq!(lines.len(), 29, "{lines:#?}");
    for (line, variable) in lines.iter().zip([
        "PORT",
        "PUBLIC_URL",
        "HOST",
        "ALLOWED_ORIGINS",
        "TRUSTED_PROXY_HOPS",
        "RATE_LIMIT_PER_MINUTE",
        "UNLIMITED_NETWORKS",
        "DATABASE_URL",
        "DATABASE_MAX_CONNECTIONS",
        "REDIS_URL",
        "GITHUB_URL",
        "GITHUB_API_URL",
        "ALLOWED_GITHUB_LOGINS",
        "ALLOWED_GITHUB_ORG",
        "DATA_KEYS",
        "REDIRECT_SCHEMES",
        "OAUTH_CLIENTS",
        "CLIENT_METADATA_DOCUMENTS",
        "CLIENT_DOCUMENTS",
        "ACCESS_TOKEN_TTL",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "SESSION_TTL",
        "SHUTDOWN_TIMEOUT",
        "WORKER_CONCURRENCY",
        "WORKER_PORT",
        "LOG",
        "LOG_FORMAT",
        "JWT_SIGNING_SECRET",
    ]) {
        assert!(line.starts_with(&format!("{variable} must ")), "{line}");
        assert!(!line.contains("hunter2") && !line.contains('\n'), "{line}");
    }
}

#[test]
fn variables_that_belong_together_must_be_set_together() {
    let directory = TempDir::new().unwrap();
    let data = ("DATA_DIR", path(&directory));
    for (set, missing) in [
        (("GITHUB_CLIENT_ID", "x"), "GITHUB_CLIENT_SECRET"),
        (("GITHUB_CLIENT_SECRET", "x"), "GITHUB_CLIENT_ID"),
        (("GITHUB_URL", "https://github.example.com"), "GITHUB_API_URL"),
        (("LLM_URL", "https://api.example.com/v1"), "LLM_MODEL"),
        (("LLM_MODEL", "x"), "LLM_URL"),
        (("LLM_API_KEY", "hunter2"), "LLM_URL"),
    ] {
        let ConfigErrors(lines) = read(&[data, set]).unwrap_err();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with(&format!("{missing} is missing: ")), "{lines:?}");
    }
}

#[test]
fn a_closed_network_can_be_configured() {
    let directory = TempDir::new().unwrap();
    let data = ("DATA_DIR", path(&directory));
    let document =
        r#"{"client_id": "https://app.example.com/c", "redirect_uris": ["http://localhost/cb"]}"#;
    let file = directory.path().join("documents.json");
    std::fs::write(&file, format!("[{document}]")).unwrap();
    for known in [document, &format!("[{document}]"), file.to_str().unwrap()] {
        let config = read(&[
            data,
            ("CLIENT_METADATA_DOCUMENTS", "OFF"),
            ("CLIENT_DOCUMENTS", known),
            ("https_proxy", "http://me:hunter2@proxy.example.com:3128"),
            ("NO_PROXY", "github.example.com"),
        ])
        .unwrap();
        assert!(!config.oauth.client_documents);
        assert_eq!(config.oauth.known_documents.len(), 1);
        let printed = format!("{config:?}");
        assert!(printed.contains("http://proxy.example.com:3128"), "{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
    let unreadable = read(&[data, ("CLIENT_DOCUMENTS", "/nowhere/documents.json")]).unwrap_err();
    let problem = &unreadable.0[0];
    assert!(problem.contains("/nowhere/documents.json cannot be read"), "{problem}");
}

#[test]
fn a_model_can_be_configured() {
    let directory = TempDir::new().unwrap();
    let config = read(&[
        ("DATA_DIR", path(&directory)),
        ("LLM_URL", "http://127.0.0.1:11434/v1/"),
        ("LLM_MODEL", "small"),
        ("LLM_API_KEY", "hunter2"),
    ])
    .unwrap();
    let model = config.model.as_ref().unwrap();
    assert_eq!((model.url.as_str(), model.model.as_str()), ("http://127.0.0.1:11434/v1", "small"));
    let printed = format!("{config:?}");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn sign_in_with_github_can_be_configured() {
    let directory = TempDir::new().unwrap();
    let keys = format!("{SECRET}, {SECRET}-2");
    let config = read(&[
        ("DATA_DIR", path(&directory)),
        ("GITHUB_CLIENT_ID", "x"),
        ("GITHUB_CLIENT_SECRET", "hunter2"),
        ("GITHUB_URL", "http://127.0.0.1:9999/"),
        ("GITHUB_API_URL", "http://127.0.0.1:9999/api/v3/"),
        ("ALLOWED_GITHUB_LOGINS", " Octocat ,id:583231, "),
        ("ALLOWED_GITHUB_ORG", "Octo-Org"),
        ("DATA_KEYS", &keys),
        ("REDIRECT_SCHEMES", "com.example.app"),
    ])
    .unwrap();
    let github = config.oauth.github.as_ref().unwrap();
    assert_eq!(github.url, "http://127.0.0.1:9999");
    assert_eq!(github.api_url, "http://127.0.0.1:9999/api/v3");
    assert_eq!(config.oauth.access_policy.logins.len(), 2);
    assert_eq!(config.oauth.access_policy.org.as_deref(), Some("Octo-Org"));
    assert_eq!(config.data_keys().seals_with(), Some(KeySource::DataKeys));
    let printed = format!("{config:?}");
    assert!(!printed.contains("hunter2") && !printed.contains(SECRET), "{printed}");
}

#[test]
fn an_organization_needs_no_further_variable() {
    let directory = TempDir::new().unwrap();
    let [old, new] = [SECRET.to_owned(), format!("{SECRET}-2")];
    let with = |signing_secret: &str| {
        read(&[
            ("DATA_DIR", path(&directory)),
            ("ALLOWED_GITHUB_ORG", "octo-org"),
            ("JWT_SIGNING_SECRET", signing_secret),
        ])
        .unwrap()
    };
    let before = with(&old);
    assert_eq!(before.data_keys().seals_with(), Some(KeySource::SigningSecret));
    let sealed = before.data_keys().seal("github:1", "gho_x").unwrap();
    let after = with(&format!("{new},{old}"));
    assert_eq!(after.jwt_signing_secret.expose(), new);
    assert_eq!(after.previous_signing_secrets, [before.jwt_signing_secret]);
    assert_eq!(after.data_keys().open("github:1", &sealed).unwrap().expose(), "gho_x");
    // The generated secret works as well.
    let generated = read(&[("DATA_DIR", path(&directory)), ("ALLOWED_GITHUB_ORG", "octo-org")]);
    assert_eq!(generated.unwrap().data_keys().seals_with(), Some(KeySource::SigningSecret));
}
