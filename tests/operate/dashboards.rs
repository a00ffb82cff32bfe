//! Dashboards and rules as files: everything that they name is there.

use std::collections::BTreeSet;

use crate::{
    queries::{self, DASHBOARDS, Query, named, rules},
    read,
    watchlist::WATCHDOG,
};

#[test]
fn dashboards_and_rules_name_only_metrics_and_labels_that_there_are() {
    let known = queries::known();
    let in_rules = rules().into_iter().map(|rule| rule.query);
    let mut used = BTreeSet::new();
    for Query { place, text } in queries::of_dashboards().into_iter().chain(in_rules) {
        let named = named(&text);
        assert!(
            !named.metrics.is_empty() || ["vector(15e9)", "vector(1)"].contains(&&*text),
            "{place}: {text}"
        );
        let mut labels = BTreeSet::from(["instance".to_owned(), "job".to_owned()]);
        for (metric, asked) in named.metrics {
            let there = known.get(&metric);
            let there = there.unwrap_or_else(|| panic!("{place}: there is no {metric}: {text}"));
            labels.extend(there.iter().cloned());
            for label in asked {
                let is_there = there.contains(&label) || ["instance", "job"].contains(&&*label);
                assert!(is_there, "{place}: {metric} has no label {label}: {text}");
            }
            used.insert(metric);
        }
        for label in named.grouped {
            assert!(labels.contains(&label), "{place}: grouped by {label}: {text}");
        }
    }
    let unused: Vec<_> = app::metrics::ALL
        .iter()
        .map(|it| it.name)
        .filter(|name| !used.iter().any(|it| it.starts_with(name)))
        .collect();
    assert!(unused.is_empty(), "counted, and shown nowhere: {unused:?}");
}

#[test]
fn every_dashboard_can_be_provisioned() {
    let mut ids = BTreeSet::new();
    for name in DASHBOARDS {
        let dashboard = queries::dashboard(name);
        assert_eq!(dashboard["uid"], format!("notes-{name}"), "links need a fixed uid");
        let panels = dashboard["panels"].as_array().unwrap();
        for panel in panels {
            let title = panel["title"].as_str().unwrap();
            assert!(!title.is_empty());
            assert!(ids.insert((name, panel["id"].as_u64().unwrap())), "{name}: {title}");
            let place = &panel["gridPos"];
            assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{title}");
            if panel["type"] != "row" {
                assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}");
                let targets = panel["targets"].as_array().unwrap();
                assert!(!targets.is_empty(), "{name}: {title}");
                for target in targets {
                    // A line for 0 would have none of the labels of its legend.
                    let is_labeled = target["legendFormat"].as_str().unwrap().contains("{{");
                    let has_default = target["expr"].as_str().unwrap().contains("vector(0)");
                    assert!(!is_labeled || !has_default, "{name}: {title} draws a nameless line");
                }
                assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{name}: {title}");
            }
        }
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        assert!(variables.iter().any(|it| it["name"] == "instance"), "{name}");
        let marks = dashboard["annotations"]["list"].as_array().unwrap();
        assert!(marks.iter().any(|it| it["name"] == "Deploys"), "{name}");
    }
}

#[test]
fn every_alert_leads_to_a_dashboard_and_to_what_to_do() {
    let runbook = read("docs/runbook.md");
    let stories = read("grafana/prometheus/rules_test.yml");
    let guide = read("grafana/README.md");
    let mut watchlist = 0;
    for rule in rules().into_iter().filter(|it| it.is_alert) {
        let name = &rule.name;
        let text = |of: &str, key: &str| rule.yaml[of][key].as_str().unwrap_or_default().to_owned();
        let severity = text("labels", "severity");
        let allowed: &[&str] = if name == WATCHDOG { &["none"] } else { &["page", "ticket"] };
        assert!(allowed.contains(&&*severity), "{name}: {severity}");
        let description = text("annotations", "description");
        assert!(
            description.ends_with('.') && description.contains("{{ $value | humanize"),
            "{name}"
        );
        let page = "{{ $externalLabels.source }}/docs/runbook.md#";
        let anchor = name.to_lowercase();
        assert_eq!(text("annotations", "runbook_url"), format!("{page}{anchor}"), "{name}");
        assert!(text("annotations", "summary").ends_with('.'), "{name}");
        assert!(text("annotations", "runbook").ends_with('.'), "{name}");
        let dashboard = text("annotations", "dashboard");
        let dashboard = dashboard.strip_prefix("/d/notes-").unwrap_or_default();
        assert!(DASHBOARDS.contains(&dashboard), "{name}: {dashboard}");
        assert!(runbook.contains(&format!("### {name}\n")), "docs/runbook.md lacks {name}");
        assert!(stories.contains(&format!("alertname=\"{name}\"")), "no story lets {name} fire");
        watchlist += usize::from(text("labels", "watchlist") == "yes");
    }
    assert_eq!(watchlist, 6, "the watchlist has six conditions");
    for name in DASHBOARDS {
        let title = queries::dashboard(name)["title"].as_str().unwrap().to_owned();
        let (_, title) = title.split_once(" / ").unwrap();
        assert!(guide.contains(&format!("## {title}\n")), "grafana/README.md lacks {title}");
    }
}
