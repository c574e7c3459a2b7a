//! The settings of a zenoh session. `docs/span.md` has the measurements behind them.

use serde_json::{Value, json};

use super::{Settings, key};
use crate::fleet::{List, Spans};

/// A host is offline after this time without a sign, in milliseconds. TCP sends a lost packet again after 200 ms, and then
/// after 400 more: with less than 600, a cut of 0.2 s ends connections that would go on, and so does a busy host. With more,
/// more frames wait in the sockets of a broken connection, and must all be thrown away on arrival.
///
/// Zenoh's own messages, which it does not drop, wait for room as long and end the connection then. Meanwhile they hold a
/// thread that carries frames; but it takes some thousand spans in one message to fill their queue.
const LEASE_MS: u64 = 750;
/// Signs per lease. Four are 8 small packets a second and link.
const SIGNS_PER_LEASE: u64 = 4;
/// Bytes that a socket holds back for a host that does not read: 64 KiB are 2,000 frames.
const SEND_BUFFER: u64 = 64 << 10;
/// The largest message: the fleet list may have 256 KiB, batches are smaller.
const MESSAGE_MAX: u64 = 512 << 10;
/// Connections at once. More hosts need routers.
const SESSIONS_MAX: u64 = 256;
/// Connections whose peer has not proved yet who it is.
const PENDING_MAX: u64 = 32;
/// For TCP, TLS and zenoh to connect, in milliseconds: four round trips, also over a path of half a second each. TCP asks at
/// 0, 1 and 2 s (before Linux 6.5 at 0 and 1 s), so a longer attempt would only add a pause in which nobody asks.
const CONNECT_MS: u64 = 2_500;
/// Between two attempts to connect, in milliseconds: at first, and at most.
const RETRY_MS: (u64, u64) = (200, 500);
/// Every host with a certificate of the fleet. The blank keeps it apart from the name of a host.
const ANYBODY: &str = "any host";

/// The whole configuration.
pub(super) fn of(settings: &Settings) -> Value {
    let tls = |addresses: &[String]| -> Vec<String> {
        addresses.iter().map(|address| format!("tls/{address}")).collect()
    };
    // With its brackets, zenoh 1.10 takes an IPv6 address for the server's name, and cannot parse that; without them it is
    // resolved like a name.
    let connect: Vec<String> =
        tls(&settings.connect).into_iter().map(|address| address.replace(['[', ']'], "")).collect();
    let (first, most) = RETRY_MS;
    let retry = json!({ "period_init_ms": first, "period_max_ms": most, "period_increase_factor": 1.5 });
    json!({
        "mode": "peer",
        "connect": { "timeout_ms": -1, "exit_on_failure": false, "endpoints": connect, "retry": retry },
        // An address that cannot be had is an error at once.
        "listen": { "timeout_ms": 0, "exit_on_failure": true, "endpoints": tls(&settings.listen) },
        "open": { "return_conditions": { "connect_scouted": false, "declares": false } },
        "scouting": { "multicast": { "enabled": false }, "gossip": { "enabled": true } },
        "timestamping": { "enabled": false },
        "adminspace": { "enabled": false },
        "transport": {
            "unicast": {
                "open_timeout": CONNECT_MS,
                "accept_timeout": 3000,
                "accept_pending": PENDING_MAX,
                "max_sessions": SESSIONS_MAX,
                "max_links": 1,
                "qos": { "enabled": true },
            },
            "link": {
                "protocols": ["tls"],
                "tx": {
                    "lease": LEASE_MS,
                    "keep_alive": SIGNS_PER_LEASE,
                    "queue": {
                        "size": { "real_time": 4 },
                        "allocation": { "mode": "lazy" },
                        "congestion_control": { "block": { "wait_before_close": LEASE_MS * 1000 } },
                    },
                },
                "rx": { "max_message_size": MESSAGE_MAX },
                "tls": {
                    "root_ca_certificate": settings.ca,
                    "enable_mtls": true,
                    "listen_private_key": settings.identity,
                    "listen_certificate": settings.identity,
                    "connect_private_key": settings.identity,
                    "connect_certificate": settings.identity,
                    // Hosts are known by the name in their certificate, which the rules below check; addresses change.
                    "verify_name_on_connect": false,
                    "close_link_on_expiration": true,
                    "so_sndbuf": SEND_BUFFER,
                },
            },
        },
        "access_control": rights(&settings.host, &settings.list),
    })
}

/// Who may send and hear what. Everything else is refused, in both directions: a host that may not speak on a span may
/// not listen either. Each host enforces this for itself.
fn rights(own: &str, list: &List) -> Value {
    let anybody = json!({ "id": ANYBODY, "link_protocols": ["tls"] });
    let mut subjects = vec![anybody];
    let mut rules = vec![
        rule("may bring a fleet list", "ingress", &["put"], &[key::FLEETS.to_owned()]),
        rule("may refuse, and be told so", "both", &["put"], &[key::REFUSALS.to_owned()]),
        rule(
            "may listen to both",
            "both",
            &["declare_subscriber"],
            &[key::FLEETS.to_owned(), key::REFUSALS.to_owned()],
        ),
    ];
    let mut policies = vec![json!({
        "rules": ["may bring a fleet list", "may refuse, and be told so", "may listen to both"],
        "subjects": [ANYBODY],
    })];
    let own_spans = list.host(own).map(|host| &host.spans);
    for host in &list.hosts {
        let name = host.name.as_str();
        let common_names = list.common_names(name);
        if common_names.is_empty() {
            continue;
        }
        // A second host of our own name is told, and tells, which of us was first. It has no other rights.
        if name == own {
            let hello = [key::hello(own)];
            subjects.push(json!({ "id": name, "cert_common_names": common_names }));
            rules.push(rule("a second one says hello", "both", &["put"], &hello));
            rules.push(rule(
                "a second one hears it",
                "both",
                &["declare_subscriber"],
                &[key::HELLOS.to_owned()],
            ));
            let rules = ["a second one says hello", "a second one hears it"];
            policies.push(json!({ "rules": rules, "subjects": [name] }));
            continue;
        }
        let spans = own_spans.map(|own| common(own, &host.spans)).unwrap_or_default();
        let data = |host: &str| spans.iter().map(|span| key::data(span, host)).collect::<Vec<_>>();
        let mut heard = data(name);
        heard.push(key::hello(name));
        let mut told = data(own);
        told.extend([key::hello(own), key::fleet(own)]);
        let mut topics = data("*");
        topics.push(key::HELLOS.to_owned());
        let ids = ["speaks", "hears", "subscribes"].map(|verb| format!("{name} {verb}"));
        subjects.push(json!({ "id": name, "cert_common_names": common_names }));
        rules.push(rule(&ids[0], "ingress", &["put"], &heard));
        rules.push(rule(&ids[1], "egress", &["put"], &told));
        rules.push(rule(&ids[2], "both", &["declare_subscriber"], &topics));
        policies.push(json!({ "rules": ids, "subjects": [name] }));
    }
    json!({
        // Without this the rules are read, and not applied.
        "enabled": true,
        "default_permission": "deny",
        "rules": rules,
        "subjects": subjects,
        "policies": policies,
    })
}

fn rule(id: &str, flow: &str, messages: &[&str], keys: &[String]) -> Value {
    let flows = if flow == "both" { vec!["ingress", "egress"] } else { vec![flow] };
    json!({ "id": id, "permission": "allow", "flows": flows, "messages": messages, "key_exprs": keys })
}

/// The spans that two hosts may both use; `*` for all.
fn common(one: &Spans, other: &Spans) -> Vec<String> {
    match (one, other) {
        (Spans::All, Spans::All) => vec!["*".to_owned()],
        (Spans::All, Spans::Named(names)) | (Spans::Named(names), Spans::All) => {
            names.iter().map(ToString::to_string).collect()
        }
        (Spans::Named(one), Spans::Named(other)) => {
            one.intersection(other).map(ToString::to_string).collect()
        }
    }
}
