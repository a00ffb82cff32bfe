//! Measures everything that must not grow.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Seek as _, SeekFrom},
    path::PathBuf,
    time::Duration,
};

use super::{
    METRICS_TOKEN,
    growth::{Bound, Growth},
    rows,
};
use crate::{
    client::{Page, Web},
    processes::Fleet,
};

/// Bytes of a mebibyte.
const MEBIBYTE: f64 = 1_048_576.0;

/// A kind of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Memory,
    Files,
    Tasks,
    Keys,
    KeysWithoutTtl,
    RedisMemory,
    Rows,
    LogLines,
}

impl Kind {
    fn bound(self) -> Bound {
        let (per_hour, noise, why) = match self {
            Self::Memory => (
                24.0,
                2.0,
                "MiB: the allocator keeps some pages that it has used; a leak of 500 bytes per \
                 request is more",
            ),
            Self::Files => (
                12.0,
                3.0,
                "open files: pools open and close some connections; one file lost per ten rounds \
                 is more",
            ),
            Self::Tasks => {
                (12.0, 3.0, "tasks: a few end a moment later; one left per ten rounds is more")
            }
            Self::Keys => (
                600.0,
                50.0,
                "keys: their number depends on the traffic of the last 15 minutes; the traffic of \
                 an hour leaves thousands",
            ),
            Self::KeysWithoutTtl => (0.5, 0.5, "keys: every key has a TTL"),
            Self::RedisMemory => (
                6.0,
                1.0,
                "MiB: it depends on the keys of the last 15 minutes, and fragments; a stream that \
                 stays per session is more",
            ),
            Self::Rows => (
                12.0,
                1.0,
                "rows: those of a round are deleted after it; one that stays per ten rounds is more",
            ),
            Self::LogLines => {
                (0.3, 0.2, "lines per request: a request has one line, a job some more")
            }
        };
        Bound { per_hour, noise, why }
    }

    /// Whether it depends on the keys in Redis, which live for some minutes.
    fn depends_on_keys(self) -> bool {
        matches!(self, Self::Keys | Self::RedisMemory)
    }
}

/// The values so far.
#[derive(Debug, Default)]
pub(super) struct Meter {
    series: BTreeMap<(Kind, String), Vec<(Duration, f64)>>,
    /// How far each log has been read.
    logs: BTreeMap<PathBuf, u64>,
    /// Requests and log lines at the last sample.
    last: (f64, f64),
}

impl Meter {
    /// Measures everything. Returns a summary of one line.
    pub(super) async fn sample(&mut self, fleet: &mut Fleet, now: Duration) -> String {
        let mut requests = 0.0;
        for index in 0..fleet.len() {
            let metrics = metrics(fleet.web(index), Some(METRICS_TOKEN)).await;
            requests += requests_in(&metrics);
            self.process(now, &format!("web {index}"), fleet.instance(index).pid(), &metrics);
        }
        for index in 0..fleet.workers() {
            let metrics = metrics(fleet.probes(index), None).await;
            self.process(now, &format!("worker {index}"), fleet.worker(index).pid(), &metrics);
        }
        self.redis(fleet, now).await;
        for (table, rows) in rows::count(fleet).await {
            self.add(Kind::Rows, format!("rows of {table}"), now, rows);
        }
        let lines = self.last.1 + self.new_lines(fleet);
        let per_request = (lines - self.last.1) / (requests - self.last.0).max(1.0);
        self.add(Kind::LogLines, "log lines per request".to_owned(), now, per_request);
        self.last = (requests, lines);
        self.summary(requests)
    }

    /// The growth of every value since `from`.
    pub(super) fn growth(&self, from: Duration, are_keys_constant: bool) -> Vec<Growth> {
        let of = |((kind, name), samples): (&(Kind, String), &Vec<(Duration, f64)>)| {
            let half: Vec<_> = samples.iter().filter(|(at, _)| *at >= from).copied().collect();
            let judged = are_keys_constant || !kind.depends_on_keys();
            Growth::of(name, &half, kind.bound(), judged)
        };
        self.series.iter().map(of).collect()
    }

    fn add(&mut self, kind: Kind, name: String, now: Duration, value: f64) {
        self.series.entry((kind, name)).or_default().push((now, value));
    }

    fn process(&mut self, now: Duration, name: &str, pid: u32, metrics: &str) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let resident = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
        let kibibytes = resident.and_then(|it| it.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        let memory = kibibytes.unwrap_or_default() / 1_024.0;
        self.add(Kind::Memory, format!("resident MiB of {name}"), now, memory);
        let files = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        let files = f64::from(u32::try_from(files).unwrap_or(u32::MAX));
        self.add(Kind::Files, format!("open files of {name}"), now, files);
        let tasks = sum(metrics, "tokio_alive_tasks");
        self.add(Kind::Tasks, format!("tasks of {name}"), now, tasks);
    }

    async fn redis(&mut self, fleet: &mut Fleet, now: Duration) {
        let prefix = fleet.app().product().brand().things;
        let mut kinds: BTreeMap<String, f64> =
            KEYS.iter().map(|kind| ((*kind).to_owned(), 0.0)).collect();
        let redis = fleet.redis();
        let info: String =
            redis.query(::redis::cmd("INFO").arg("memory")).await.expect("Redis runs");
        let used = info.lines().find_map(|it| it.strip_prefix("used_memory:")?.parse::<f64>().ok());
        let keys: Vec<String> =
            redis.query(::redis::cmd("KEYS").arg("*")).await.expect("Redis runs");
        for key in keys {
            *kinds.entry(kind_of(&key, prefix)).or_default() += 1.0;
        }
        let forever = redis.query(::redis::cmd("EVAL").arg(WITHOUT_TTL).arg(0)).await;
        let forever: f64 = forever.expect("Redis runs");
        self.add(Kind::KeysWithoutTtl, "Redis keys without a TTL".to_owned(), now, forever);
        self.add(
            Kind::RedisMemory,
            "MiB of Redis".to_owned(),
            now,
            used.unwrap_or_default() / MEBIBYTE,
        );
        for (kind, count) in kinds {
            self.add(Kind::Keys, format!("Redis keys {kind}"), now, count);
        }
    }

    /// The number of lines that all processes have logged since the last call.
    fn new_lines(&mut self, fleet: &mut Fleet) -> f64 {
        let mut paths: Vec<_> =
            (0..fleet.len()).map(|index| fleet.instance(index).log_path()).collect();
        paths.extend((0..fleet.workers()).map(|index| fleet.worker(index).log_path()));
        let mut lines = 0;
        for path in paths {
            let read = self.logs.entry(path.clone()).or_default();
            let mut log = BufReader::new(fs::File::open(&path).expect("each process has a log"));
            log.seek(SeekFrom::Start(*read)).expect("a file can be sought in");
            let mut line = Vec::new();
            while log.read_until(b'\n', &mut line).is_ok_and(|it| it > 0) {
                lines += 1;
                *read += u64::try_from(line.len()).unwrap_or_default();
                line.clear();
            }
        }
        f64::from(lines)
    }

    fn summary(&self, requests: f64) -> String {
        let newest = |kind: Kind| {
            let values = self.series.iter().filter(move |((it, _), _)| *it == kind);
            values.filter_map(|(_, samples)| samples.last()).map(|(_, value)| value)
        };
        let memory: Vec<_> = newest(Kind::Memory).map(|it| format!("{it:.1}")).collect();
        format!(
            "{requests:.0} requests, {} MiB, {:.0} files, {:.0} tasks, {:.0} keys, {:.0} rows",
            memory.join(" + "),
            newest(Kind::Files).sum::<f64>(),
            newest(Kind::Tasks).sum::<f64>(),
            newest(Kind::Keys).sum::<f64>(),
            newest(Kind::Rows).sum::<f64>(),
        )
    }
}

/// A script that counts the keys without a TTL.
const WITHOUT_TTL: &str = "local count = 0
    for _, key in ipairs(redis.call('KEYS', '*')) do
        if redis.call('TTL', key) == -1 then count = count + 1 end
    end
    return count";

/// The labels of probes.
const PROBES: [&str; 3] =
    [r#"http_route="/healthz""#, r#"http_route="/livez""#, r#"http_route="/metrics""#];

/// Kinds of keys that are counted even if there are none at first.
const KEYS: [&str; 2] = ["mcp:{…}:session", "mcp:{…}:log"];

/// A key without the parts that differ between keys of one kind.
fn kind_of(key: &str, prefix: &str) -> String {
    let key = key.strip_prefix(prefix).unwrap_or(key).trim_start_matches(':');
    let mut parts = key.split(':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("mcp"), Some(_session), Some(kind)) => format!("mcp:{{…}}:{kind}"),
        (Some(first), Some(second), Some(_)) => format!("{first}:{second}:…"),
        (Some(first), Some(_), None) => format!("{first}:…"),
        _ => key.to_owned(),
    }
}

/// What a process exports.
async fn metrics(web: &Web, token: Option<&str>) -> String {
    let mut request = web.request(reqwest::Method::GET, "/metrics");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    Page::read(request).await.text()
}

/// The number of requests, without probes, which are logged once a minute.
fn requests_in(metrics: &str) -> f64 {
    let is_probe = |line: &&str| PROBES.iter().any(|route| line.contains(route));
    let without: Vec<_> = metrics.lines().filter(|line| !is_probe(line)).collect();
    sum(&without.join("\n"), "http_server_request_duration_seconds_count")
}

/// The sum of all series with this name.
fn sum(metrics: &str, name: &str) -> f64 {
    let of = |line: &str| {
        let rest = line.strip_prefix(name)?;
        if !rest.starts_with(['{', ' ']) {
            return None;
        }
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    metrics.lines().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_grouped_by_kind() {
        for (key, kind) in [
            ("items:mcp:{0a1b}:session", "mcp:{…}:session"),
            ("items:mcp:{0a1b}:log:17", "mcp:{…}:log"),
            ("items:rl:calls:github:1", "rl:calls:…"),
            ("items:announcement", "announcement"),
        ] {
            assert_eq!(kind_of(key, "items"), kind);
        }
    }

    #[test]
    fn series_of_one_name_are_added() {
        let text = "# HELP a x\na{b=\"1\"} 2\na{b=\"2\"} 3.5\na_b 7\na 1\n";
        assert!((sum(text, "a") - 6.5).abs() < f64::EPSILON);
    }
}
