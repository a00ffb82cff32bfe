//! `render.yaml`, `compose.yaml` and the Dockerfiles: nobody runs them here, so everything in them is
//! held against what they are about. A field that we do not know is refused as Render would refuse it.

use std::collections::{BTreeMap, BTreeSet};

use app::config::{Config, variables::VARIABLES};
use serde::Deserialize;
use serde_yaml::Value;

use crate::{queries, read, root};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Blueprint {
    previews: BTreeMap<String, String>,
    services: Vec<Service>,
    databases: Vec<Database>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Service {
    r#type: String,
    name: String,
    region: String,
    #[expect(dead_code, reason = "a field that there may be")]
    plan: String,
    runtime: Option<String>,
    dockerfile_path: Option<String>,
    docker_context: Option<String>,
    docker_command: Option<String>,
    pre_deploy_command: Option<String>,
    auto_deploy_trigger: Option<String>,
    build_filter: Option<BTreeMap<String, Vec<String>>>,
    health_check_path: Option<String>,
    scaling: Option<Scaling>,
    num_instances: Option<u32>,
    max_shutdown_delay_seconds: Option<u64>,
    maxmemory_policy: Option<String>,
    ip_allow_list: Option<Vec<Value>>,
    disk: Option<Disk>,
    #[serde(default)]
    env_vars: Vec<EnvVar>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Scaling {
    min_instances: u32,
    max_instances: u32,
    #[serde(rename = "targetCPUPercent")]
    target_cpu_percent: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Disk {
    #[expect(dead_code, reason = "a field that there may be")]
    name: String,
    mount_path: String,
    #[serde(rename = "sizeGB")]
    size_gb: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EnvVar {
    key: String,
    value: Option<String>,
    generate_value: Option<bool>,
    sync: Option<bool>,
    from_database: Option<Reference>,
    from_service: Option<Reference>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Reference {
    r#type: Option<String>,
    name: String,
    property: Option<String>,
    env_var_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Database {
    name: String,
    region: String,
    #[expect(dead_code, reason = "a field that there may be")]
    #[serde(rename = "databaseName")]
    initial: String,
    #[expect(dead_code, reason = "a field that there may be")]
    user: String,
    plan: String,
    postgres_major_version: String,
    #[serde(rename = "diskSizeGB")]
    disk_size_gb: u32,
    storage_autoscaling_enabled: bool,
    ip_allow_list: Vec<Value>,
}

impl Blueprint {
    fn read() -> Self {
        serde_yaml::from_str(&read("render.yaml")).expect("render.yaml has fields that we know")
    }

    fn service(&self, name: &str) -> &Service {
        let found = self.services.iter().find(|it| it.name == name);
        found.unwrap_or_else(|| panic!("there is no service {name}"))
    }
}

impl Service {
    fn variable(&self, key: &str) -> &EnvVar {
        let found = self.env_vars.iter().find(|it| it.key == key);
        found.unwrap_or_else(|| panic!("{} lacks {key}", self.name))
    }

    fn value(&self, key: &str) -> &str {
        self.variable(key).value.as_deref().unwrap_or_else(|| panic!("{key} has no value"))
    }

    /// The service as our programs would find it, with something for what Render fills in.
    fn configuration(&self) -> Config {
        let filled_in: BTreeMap<&str, String> = self
            .env_vars
            .iter()
            .map(|it| {
                let value = it.value.clone().unwrap_or_else(|| match &*it.key {
                    "PUBLIC_URL" => "https://notes-mcp.onrender.com".to_owned(),
                    "DATABASE_URL" => "postgresql://notes:secret@host/notes".to_owned(),
                    "REDIS_URL" => "redis://host:6379".to_owned(),
                    "ALLOWED_GITHUB_LOGINS" => "octocat".to_owned(),
                    "ALLOWED_GITHUB_ORG" => "octo-org".to_owned(),
                    _ => "something-that-is-long-enough-for-a-secret".to_owned(),
                });
                (&*it.key, value)
            })
            .collect();
        Config::read(&notes::product(), |name| filled_in.get(name).cloned())
            .unwrap_or_else(|problems| panic!("{} would not start: {problems}", self.name))
    }
}

/// What our programs can be told on their command lines.
const COMMANDS: [&str; 4] = [
    "/usr/local/bin/notes-mcp serve",
    "/usr/local/bin/notes-mcp migrate up",
    "/usr/local/bin/notes-mcp token --user me",
    "/usr/local/bin/notes-mcp-worker",
];

/// Connections that Postgres keeps for its superuser.
const RESERVED: u32 = 3;

/// Connections of people and tools: a console, a backup, a migration.
const SPARE: u32 = 5;

#[test]
fn the_blueprint_of_render_fits_together() {
    let blueprint = Blueprint::read();
    assert_eq!(blueprint.previews["generation"], "off");
    let names: BTreeSet<_> = blueprint.services.iter().map(|it| &it.name).collect();
    assert_eq!(names.len(), blueprint.services.len(), "a name is there twice");
    let regions: BTreeSet<_> = blueprint
        .services
        .iter()
        .map(|it| &it.region)
        .chain(blueprint.databases.iter().map(|it| &it.region))
        .collect();
    assert_eq!(regions.len(), 1, "the private network does not leave a region");
    for service in &blueprint.services {
        let name = &service.name;
        let is_known = ["web", "worker", "pserv", "keyvalue"].contains(&&*service.r#type);
        assert!(is_known, "{name}: {}", service.r#type);
        for variable in &service.env_vars {
            let key = &variable.key;
            let sources = [
                variable.value.is_some(),
                variable.generate_value == Some(true),
                variable.sync == Some(false),
                variable.from_database.is_some(),
                variable.from_service.is_some(),
            ];
            let number = sources.iter().filter(|it| **it).count();
            assert_eq!(number, 1, "{name}: {key} has one source");
            if let Some(from) = &variable.from_database {
                assert!(blueprint.databases.iter().any(|it| it.name == from.name), "{name}: {key}");
                assert_eq!(from.property.as_deref(), Some("connectionString"), "{name}: {key}");
            }
            if let Some(from) = &variable.from_service {
                let other = blueprint.service(&from.name);
                assert_eq!(from.r#type.as_deref(), Some(&*other.r#type), "{name}: {key}");
                if let Some(there) = &from.env_var_key {
                    assert_eq!(there, key, "{name}: the same variable has the same name");
                    other.variable(there);
                }
            }
            let is_secret = ["SECRET", "PASSWORD", "KEYS"].iter().any(|it| key.contains(it));
            assert!(!(is_secret && variable.value.is_some()), "{name}: {key} stands in the file");
        }
        if service.r#type == "keyvalue" {
            assert_eq!(service.maxmemory_policy.as_deref(), Some("noeviction"));
            assert_eq!(service.ip_allow_list.as_deref(), Some(&[][..]), "{name} is private");
            continue;
        }
        assert_eq!(service.runtime.as_deref(), Some("docker"), "{name}");
        assert_eq!(service.auto_deploy_trigger.as_deref(), Some("checksPass"), "{name}");
        let file = service.dockerfile_path.as_deref().unwrap();
        assert!(root().join(file).is_file(), "{name}: {file}");
        assert!(root().join(service.docker_context.as_deref().unwrap()).is_dir(), "{name}");
        let commands = [&service.docker_command, &service.pre_deploy_command];
        for command in commands.into_iter().flatten() {
            assert!(COMMANDS.contains(&&**command), "{name}: {command}");
        }
        for path in service.build_filter.iter().flat_map(|it| it.values().flatten()) {
            let folder = path.split(['*', '/']).next().unwrap();
            assert!(root().join(folder).exists(), "{name}: there is no {path}");
        }
    }
    for database in &blueprint.databases {
        assert!(database.ip_allow_list.is_empty(), "{} is private", database.name);
        assert!(database.storage_autoscaling_enabled);
        assert_eq!(database.postgres_major_version, "18");
        let recorded = format!("vector({}e9)", database.disk_size_gb);
        assert!(read(queries::RULES).contains(&recorded), "the rules know the disk: {recorded}");
    }
}

#[test]
fn our_programs_would_start_with_what_the_blueprint_gives_them() {
    let blueprint = Blueprint::read();
    let web = blueprint.service("notes-mcp");
    let worker = blueprint.service("notes-mcp-worker");
    for service in [web, worker] {
        for variable in &service.env_vars {
            let is_read = VARIABLES.iter().any(|it| it.name == variable.key);
            assert!(is_read, "{}: nobody reads {}", service.name, variable.key);
        }
        let config = service.configuration();
        let patience = service.max_shutdown_delay_seconds.unwrap();
        assert!(patience <= 300, "Render waits 300 s at most");
        let ours = config.shutdown_timeout.as_secs();
        assert!(ours + 10 <= patience, "{}: {ours} s of {patience} s", service.name);
        assert!(config.redis.is_some(), "several processes share Redis");
        assert_eq!(
            config.oauth.access_policy.org.as_deref(),
            Some("octo-org"),
            "and no other variable is needed"
        );
    }
    let steps = read("docs/deploy-render.md");
    for who in ["ALLOWED_GITHUB_LOGINS", "ALLOWED_GITHUB_ORG"] {
        assert_eq!(web.variable(who).sync, Some(false), "Render asks for {who}");
        assert!(worker.variable(who).from_service.is_some(), "{who} is the same for both");
        assert!(steps.contains(&format!("| `{who}` |")), "docs/deploy-render.md asks for {who}");
    }
    assert_eq!(web.health_check_path.as_deref(), Some("/healthz"));
    assert_eq!(web.pre_deploy_command.as_deref(), Some("/usr/local/bin/notes-mcp migrate up"));
    assert_eq!(worker.num_instances, Some(1));
    assert_ne!(web.value("PORT"), web.value("METRICS_PORT"));
    for shared in ["PUBLIC_URL", "JWT_SIGNING_SECRET", "GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET"] {
        assert!(worker.variable(shared).from_service.is_some(), "{shared} is the same for both");
    }

    // Prometheus looks for the metrics where they are, and keeps them where there is room.
    let scraped = read("grafana/prometheus/prometheus.render.yml");
    assert!(scraped.contains(&format!("names: [{}-discovery]", web.name)), "{scraped}");
    assert!(scraped.contains(&format!("port: {}", web.value("METRICS_PORT"))), "{scraped}");
    let prometheus = blueprint.service("notes-mcp-prometheus");
    let disk = prometheus.disk.as_ref().unwrap();
    let image = read("grafana/prometheus/Dockerfile");
    assert!(image.contains(&format!("--storage.tsdb.path={}", disk.mount_path)), "{image}");
    let kept: u32 = number_after(&image, "--storage.tsdb.retention.size=");
    assert!(kept < disk.size_gb, "{kept} GB on {} GB", disk.size_gb);
    let address = format!(":{}", prometheus.value("PORT"));
    assert!(image.contains(&address), "{image}");
    let grafana = blueprint.service("notes-mcp-grafana");
    assert!(grafana.value("PROMETHEUS_URL").ends_with(&format!("{}{address}", prometheus.name)));
    assert_eq!(grafana.variable("GF_SECURITY_ADMIN_PASSWORD").generate_value, Some(true));
}

#[test]
fn connections_suffice_although_a_deploy_doubles_them() {
    let blueprint = Blueprint::read();
    let [database] = &blueprint.databases[..] else { panic!("there is one database") };
    assert!(database.plan.starts_with("basic-"), "plans below 8 GB have 100 connections");
    let there = 100 - RESERVED;
    let web = blueprint.service("notes-mcp");
    let worker = blueprint.service("notes-mcp-worker");
    let scaling = web.scaling.as_ref().unwrap();
    assert_eq!((scaling.min_instances, scaling.max_instances), (2, 10));
    assert_eq!(scaling.target_cpu_percent, 70);
    let pool = |service: &Service| service.configuration().database.max_connections;
    let taken = scaling.max_instances * pool(web) + worker.num_instances.unwrap() * pool(worker);
    assert!(10 * (taken + SPARE) <= 7 * there, "{taken} of {there} are more than 70 %");
    assert!(2 * taken + SPARE <= there, "a deploy needs {} of {there}", 2 * taken);
}

#[test]
fn compose_starts_what_there_is_with_what_it_needs() {
    let mut compose: Value = serde_yaml::from_str(&read("compose.yaml")).unwrap();
    compose.apply_merge().unwrap();
    let services = compose["services"].as_mapping().unwrap();
    let name = |value: &Value| value.as_str().unwrap().to_owned();
    let names: BTreeSet<String> = services.keys().map(name).collect();
    let mut ports = BTreeMap::new();
    for (service, settings) in services {
        let service = name(service);
        if let Some(needed) = settings.get("depends_on") {
            let needed: Vec<String> = match needed {
                Value::Sequence(list) => list.iter().map(name).collect(),
                other => other.as_mapping().unwrap().keys().map(name).collect(),
            };
            assert!(needed.iter().all(|it| names.contains(it)), "{service}: {needed:?}");
        }
        // Nobody but this machine reaches anything.
        for port in settings.get("ports").and_then(Value::as_sequence).into_iter().flatten() {
            assert!(name(port).starts_with("127.0.0.1:"), "{service}: {port:?}");
        }
        for volume in settings.get("volumes").and_then(Value::as_sequence).into_iter().flatten() {
            let volume = name(volume);
            let from = volume.split(':').next().unwrap();
            let is_there = match from.strip_prefix("./") {
                Some(path) => root().join(path).exists(),
                None => compose["volumes"].get(from).is_some(),
            };
            assert!(is_there, "{service}: {volume}");
        }
        if settings.get("build").is_none() {
            assert!(name(&settings["image"]).matches(':').count() == 1, "{service} has a version");
            continue;
        }
        let command: Vec<String> =
            settings["command"].as_sequence().unwrap().iter().map(name).collect();
        assert!(COMMANDS.contains(&&*command.join(" ")), "{service}: {command:?}");
        let environment = settings["environment"].as_mapping().unwrap();
        let environment: BTreeMap<String, String> = environment
            .iter()
            .map(|(key, value)| (name(key), substituted(value.as_str().unwrap())))
            .collect();
        for key in environment.keys() {
            assert!(VARIABLES.iter().any(|it| it.name == key), "{service}: nobody reads {key}");
        }
        let config = Config::read(&notes::product(), |key| environment.get(key).cloned())
            .unwrap_or_else(|problems| panic!("{service} would not start: {problems}"));
        ports.insert(
            service.clone(),
            match &*service {
                "worker" => Some(config.worker.port),
                _ => config.metrics.port,
            },
        );
        for (url, needed) in [
            (config.database.url.expose(), "postgres"),
            (config.redis.as_ref().unwrap().url.expose(), "valkey"),
        ] {
            let host = url::Url::parse(url).unwrap().host_str().unwrap().to_owned();
            assert!(host == needed && names.contains(needed), "{service}: {url}");
        }
    }
    assert_eq!(services["web"]["deploy"]["replicas"], 2);
    let scraped: Value = serde_yaml::from_str(&read("grafana/prometheus/prometheus.yml")).unwrap();
    for job in scraped["scrape_configs"].as_sequence().unwrap() {
        let target = &job["dns_sd_configs"][0];
        let shown = ports[target["names"][0].as_str().unwrap()];
        assert_eq!(target["port"].as_u64(), shown.map(u64::from), "{job:?}");
    }
    let balancer = compose["configs"]["balancer"]["content"].as_str().unwrap();
    assert!(balancer.contains("dynamic a web 8080"), "{balancer}");
}

#[test]
fn the_image_holds_our_programs_and_nobody_is_root_in_it() {
    let image = read("Dockerfile");
    let rust = read("rust-toolchain.toml");
    let version = rust.split('"').nth(1).unwrap();
    let short = version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    assert!(image.contains(&format!("\nFROM rust:{short}-")), "the compiler is {version}");
    for program in ["notes-mcp", "notes-mcp-worker"] {
        assert!(image.contains(&format!("target/release/{program}")), "{program}");
    }
    let (_, last) = image.rsplit_once("\nFROM ").unwrap();
    let debian = image.split_once("-bookworm AS build").is_some();
    assert!(debian && last.starts_with("debian:bookworm-slim\n"), "one C library: {last}");
    assert!(last.contains("\nUSER 65532:65532\n") && !last.contains("RUN "), "{last}");
    assert!(last.contains(r#"CMD ["/usr/local/bin/notes-mcp", "serve"]"#), "{last}");
    let ignored = read(".dockerignore");
    for hidden in ["target", ".env", ".git", "data"] {
        assert!(ignored.lines().any(|it| it == hidden), "{hidden} would be sent to the builder");
    }
}

/// `${NAME:-default}` as compose reads it where nothing is set.
fn substituted(text: &str) -> String {
    match text.strip_prefix("${").and_then(|it| it.strip_suffix('}')) {
        Some(inside) => inside.split_once(":-").map_or("", |(_, default)| default).to_owned(),
        None => text.to_owned(),
    }
}

fn number_after(text: &str, mark: &str) -> u32 {
    let (_, rest) = text.split_once(mark).unwrap();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}
