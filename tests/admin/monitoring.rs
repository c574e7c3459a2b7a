//! The dashboard and the alert rules in `docs/` only use what `/metrics` really exports, so they cannot rot.

use std::collections::{BTreeMap, BTreeSet};

use canhub::{
    events::{Event, Kind},
    health::Health,
    kernel::{Controller, ErrorCounters, Identity, Kernel},
    reconcile::Memory,
};
use serde_json::{Value, json};

use super::{ask::get, openmetrics::Exposition, rig::Rig};

/// The labels of each metric, with all their values.
type Samples = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The content of `/metrics` with every kind of sample.
fn told() -> Samples {
    let watch = super::health::no_docker();
    let health = Health::new(super::health::eager(), None);
    let rig = Rig::watched(canhub::driver::server::TIME_LIMIT, health, Some(watch), |kernel| kernel);
    let network = rig.network(1, json!({ "hub": "vcan-body" }));
    rig.member(&network, 1);
    rig.network(2, json!({ "adapter": "can7" }));
    let errors = Some(ErrorCounters { tx: 1, rx: 2 });
    rig.kernel.plug(Identity::default(), Controller { errors, ..Controller::default() });
    rig.network(3, json!({ "adapter": "can0" }));
    super::expectations::expected_and_heard(&rig, "vcan-body", "1A0");
    super::faults::cut_off(&rig, "vcan-body");
    let _span = super::hosts::spanned(&rig, 4);
    rig.kernel.delete_link(None, rig.link("vcan-body").unwrap().index).unwrap();
    rig.manager.reconcile(&Memory::default()).unwrap();
    rig.manager
        .events()
        .tell(Event { reason: Some("the hub was missing".into()), ..Event::new(Kind::HealFailed) });
    super::health::until(&rig, "overall", "degraded");
    let text = get(&rig.admin(), "/metrics").body;
    let mut told = Samples::new();
    for sample in Exposition::parse(&text).unwrap().samples {
        let labels = told.entry(sample.name).or_default();
        for (label, value) in sample.labels {
            labels.entry(label).or_default().insert(value);
        }
    }
    told
}

/// Labels that Prometheus adds.
const ADDED: [&str; 2] = ["instance", "job"];

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The errors in an expression and in the labels of its texts.
fn faults(told: &Samples, expr: &str, named: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut labels: BTreeSet<&str> = ADDED.into();
    let mut metrics = 0;
    for (at, _) in expr.match_indices("canhub_").filter(|(at, _)| !expr[..*at].ends_with(is_word)) {
        metrics += 1;
        let rest = &expr[at..];
        let (name, rest) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
        let Some(known) = told.get(name) else {
            faults.push(format!("metric {name} does not exist"));
            continue;
        };
        labels.extend(known.keys().map(String::as_str));
        let matchers =
            rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        for matcher in matchers.split(',').filter(|matcher| !matcher.is_empty()) {
            let (label, test) = matcher.split_at(matcher.find(|c| !is_word(c)).unwrap_or(matcher.len()));
            match (known.get(label), test.strip_prefix("=\"").and_then(|value| value.strip_suffix('"'))) {
                (None, _) if ADDED.contains(&label) => {}
                (None, _) => faults.push(format!("{name} has no label {label}")),
                (Some(values), Some(value)) if !values.contains(value) => {
                    faults.push(format!("{name} has no {label}={value:?}, only {values:?}"));
                }
                _ => {}
            }
        }
    }
    if metrics == 0 && !expr.starts_with("up{") {
        faults.push("no metric of canhub's is in it".to_owned());
    }
    let grouped = expr.split(" by (").skip(1).filter_map(|rest| rest.split_once(')'));
    let grouped = grouped.flat_map(|(inside, _)| inside.split(", ").map(str::to_owned));
    for label in grouped.chain(named.iter().cloned()) {
        if !labels.contains(label.as_str()) {
            faults.push(format!("no metric of it has a label {label}"));
        }
    }
    if expr.matches(['(', '{', '[']).count() != expr.matches([')', '}', ']']).count() {
        faults.push("a bracket is open".to_owned());
    }
    faults
}

/// The words between two markers.
fn between(text: &str, open: &str, close: &str) -> Vec<String> {
    let pieces = text.split(open).skip(1).filter_map(|rest| rest.split_once(close));
    pieces.map(|(inside, _)| inside.trim().to_owned()).collect()
}

#[test]
fn the_dashboard_uses_exactly_the_existing_metrics() {
    let told = told();
    let dashboard: Value = serde_json::from_str(include_str!("../../docs/grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    let mut used = String::new();
    for panel in panels {
        for target in panel["targets"].as_array().unwrap() {
            let (expr, legend) = (target["expr"].as_str().unwrap(), target["legendFormat"].as_str().unwrap());
            let expr = expr.replace("[$__rate_interval]", "[1m]");
            let named = between(legend, "{{", "}}");
            assert_eq!(faults(&told, &expr, &named), Vec::<String>::new(), "{}: {expr}", panel["title"]);
            used += &expr;
        }
    }
    // And it shows every metric.
    let parts = ["_sum", "_count"];
    for name in told.keys().filter(|name| !parts.iter().any(|part| name.ends_with(part))) {
        assert!(used.contains(name.as_str()), "{name} is on no panel");
    }
}

#[test]
fn the_alerts_use_only_existing_metrics() {
    let told = told();
    let rules = include_str!("../../docs/alerts.yml");
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    for alert in &alerts {
        let field =
            |name: &str| alert.lines().find_map(|line| line.trim_start().strip_prefix(name)).map(str::trim);
        let (Some(expr), Some(_), Some(_), Some(_)) =
            (field("expr:"), field("summary:"), field("description:"), field("labels: { severity: "))
        else {
            panic!("{alert} has no expr, severity, summary or description")
        };
        let named: Vec<String> = between(alert, "{{ $labels.", "}}");
        assert_eq!(faults(&told, expr, &named), Vec::<String>::new(), "{expr}");
    }
    for about in [
        "SpanDown",
        "HostOffline",
        "CertificateExpires",
        "Down",
        "Unhealthy",
        "Problem",
        "HealsKeepComing",
        "FramesLost",
        "AuditOld",
    ] {
        assert!(alerts.iter().any(|alert| alert.lines().next().unwrap().contains(about)), "{about}");
    }
    for state in ["waiting", "bus-off", "error-passive"] {
        assert!(rules.contains(&format!("state=\"{state}\"")), "{state}");
    }
}

#[test]
fn the_expression_parser_is_strict() {
    let told: Samples =
        [("canhub_a_total".to_owned(), [("way".to_owned(), ["in".to_owned()].into())].into())].into();
    let check = |expr: &str, named: &str| faults(&told, expr, &between(named, "{{", "}}"));
    assert_eq!(
        check("sum by (way) (rate(canhub_a_total{way=\"in\"}[5m])) > 0", "{{way}} {{instance}}"),
        Vec::<String>::new()
    );
    for (expr, named) in [
        ("canhub_b_total > 0", ""),
        ("canhub_a > 0", ""),
        ("canhub_a_total{way=\"out\"}", ""),
        ("canhub_a_total{other=\"in\"}", ""),
        ("sum by (other) (canhub_a_total)", ""),
        ("canhub_a_total", "{{other}}"),
        ("rate(canhub_a_total[5m]", ""),
        ("other_total", ""),
    ] {
        assert_ne!(check(expr, named), Vec::<String>::new(), "{expr} {named}");
    }
}
