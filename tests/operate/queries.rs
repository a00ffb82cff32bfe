//! What stands in dashboards and rules, and a reader of `PromQL` that knows names from labels.

use std::collections::{BTreeMap, BTreeSet};

use app::metrics::{self, Kind};
use serde_json::Value;

use crate::read;

/// The dashboards.
pub(crate) const DASHBOARDS: [&str; 7] =
    ["overview", "mcp", "oauth", "sessions", "jobs", "stores", "process"];

pub(crate) const RULES: &str = "grafana/prometheus/rules.yml";

/// A query and where it stands.
pub(crate) struct Query {
    pub(crate) place: String,
    pub(crate) text: String,
}

pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) is_alert: bool,
    pub(crate) yaml: serde_yaml::Value,
    pub(crate) query: Query,
}

pub(crate) fn dashboard(name: &str) -> Value {
    serde_json::from_str(&read(&format!("grafana/dashboards/{name}.json"))).unwrap()
}

/// Every query of every dashboard, as Prometheus would get it.
pub(crate) fn of_dashboards() -> Vec<Query> {
    fn find(place: &str, value: &Value, found: &mut Vec<Query>) {
        match value {
            Value::Object(members) => {
                let title = members.get("title").or(members.get("name")).and_then(Value::as_str);
                let place = title.map_or(place.to_owned(), |title| format!("{place} / {title}"));
                for (name, value) in members {
                    match value {
                        Value::String(text) if name == "expr" => {
                            found.push(Query { place: place.clone(), text: filled_in(text) });
                        }
                        _ => find(&place, value, found),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|it| find(place, it, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for name in DASHBOARDS {
        find(name, &dashboard(name), &mut found);
    }
    assert!(found.len() > 80, "the dashboards are read");
    found
}

fn filled_in(query: &str) -> String {
    query.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$tool", ".*")
}

pub(crate) fn rules() -> Vec<Rule> {
    let file: serde_yaml::Value = serde_yaml::from_str(&read(RULES)).unwrap();
    let groups = file["groups"].as_sequence().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_sequence().unwrap());
    rules
        .map(|rule| {
            let is_alert = rule.get("alert").is_some();
            let name = rule[if is_alert { "alert" } else { "record" }].as_str().unwrap().to_owned();
            let text = rule["expr"].as_str().unwrap().to_owned();
            let query = Query { place: name.clone(), text };
            Rule { name, is_alert, yaml: rule.clone(), query }
        })
        .collect()
}

/// Words of `PromQL` that are neither a metric nor a label.
const WORDS: &str = "abs absent and avg bool by changes count group_left group_right \
    histogram_quantile ignoring increase max min offset on or predict_linear rate sum time unless \
    vector without e9";

/// The metrics that a query names, each with the labels that are asked of it; and the labels that
/// it groups by.
pub(crate) struct Named {
    pub(crate) metrics: BTreeMap<String, BTreeSet<String>>,
    pub(crate) grouped: BTreeSet<String>,
}

pub(crate) fn named(query: &str) -> Named {
    let mut named = Named { metrics: BTreeMap::new(), grouped: BTreeSet::new() };
    let mut rest = query;
    let (mut last_metric, mut last_word) = (String::new(), "");
    let (mut in_braces, mut in_group, mut pending_label) = (false, false, String::new());
    while let Some(first) = rest.chars().next() {
        let word: &str = {
            let end = rest.find(|it: char| !(it.is_ascii_alphanumeric() || "_:".contains(it)));
            &rest[..end.unwrap_or(rest.len())]
        };
        if first == '"' {
            let end = rest[1..].find('"').expect("a string ends");
            rest = &rest[end + 2..];
            continue;
        }
        if first == '[' {
            rest = &rest[rest.find(']').expect("a range ends") + 1..];
            continue;
        }
        if first.is_ascii_alphabetic() || first == '_' {
            if in_group {
                named.grouped.insert(word.to_owned());
            } else if in_braces {
                word.clone_into(&mut pending_label);
            } else if !WORDS.split_whitespace().any(|it| it == word) && last_word != "offset" {
                word.clone_into(&mut last_metric);
                named.metrics.entry(last_metric.clone()).or_default();
            }
            last_word = word;
            rest = &rest[word.len()..];
            continue;
        }
        if first.is_ascii_digit() {
            let end = rest.find(|it: char| !(it.is_ascii_alphanumeric() || it == '.'));
            rest = &rest[end.unwrap_or(rest.len())..];
            continue;
        }
        match first {
            '{' => in_braces = true,
            '}' => in_braces = false,
            '=' | '!' if in_braces && !pending_label.is_empty() => {
                let label = std::mem::take(&mut pending_label);
                named.metrics.get_mut(&last_metric).unwrap().insert(label);
            }
            '(' if ["by", "on", "without", "ignoring"].contains(&last_word) => in_group = true,
            ')' => in_group = false,
            _ => {}
        }
        if !first.is_whitespace() {
            last_word = "";
        }
        rest = &rest[first.len_utf8()..];
    }
    named
}

/// Every series that there may be, with its labels: ours, the recorded ones, and those of Prometheus
/// and Render.
pub(crate) fn known() -> BTreeMap<String, BTreeSet<String>> {
    let labels = |labels: &[&str]| labels.iter().map(|&it| it.to_owned()).collect::<BTreeSet<_>>();
    let mut known = BTreeMap::from([
        ("up".to_owned(), labels(&[])),
        ("ALERTS".to_owned(), labels(&["alertname", "alertstate", "severity"])),
        ("render_service_cpu_time".to_owned(), labels(&["service_id"])),
        ("render_service_cpu_limit".to_owned(), labels(&["service_id"])),
    ]);
    for metric in metrics::ALL {
        match metric.kind {
            Kind::Counter | Kind::Gauge => {
                known.insert(metric.name.to_owned(), labels(metric.labels));
            }
            Kind::Histogram => {
                for (end, more) in [("_bucket", &["le"][..]), ("_count", &[]), ("_sum", &[])] {
                    let all = [metric.labels, more].concat();
                    known.insert(format!("{}{end}", metric.name), labels(&all));
                }
            }
        }
    }
    for rule in rules().into_iter().filter(|it| !it.is_alert) {
        known.insert(rule.name, labels(&["service_id"]));
    }
    known
}

#[test]
fn a_query_is_read_as_prometheus_reads_it() {
    let read = named(
        "sum by (a, le) (rate(x_bucket{b=\"c{\",d!~\"e\"}[5m])) / on () max(y:z offset 5m) > 14.4 * 0.001",
    );
    assert_eq!(read.metrics.keys().collect::<Vec<_>>(), ["x_bucket", "y:z"]);
    assert_eq!(Vec::from_iter(&read.metrics["x_bucket"]), ["b", "d"]);
    assert_eq!(Vec::from_iter(&read.grouped), ["a", "le"]);
}
