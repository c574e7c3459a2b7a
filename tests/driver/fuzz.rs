//! Random calls in random order: never a panic, always a response, and nothing left at the end.
//!
//! `CANHUB_FUZZ_CASES` sets the number of sequences; a failure prints the shortest failing one.

use std::{collections::BTreeSet, fmt};

use canhub::{
    kernel::Kernel,
    options::{DOCKER_IFNAME, network_keys},
};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::Config};
use serde_json::{Value, json};

use super::{bodies, rig::Rig};

/// Enough to cover most pairs of calls, and fast.
const CASES: u32 = 200;

/// One action.
#[derive(Clone)]
enum Event {
    /// A call with this body.
    Call { method: &'static str, body: Vec<u8> },
    /// Someone deletes a link of canhub, chosen modulo their number.
    Deleted(usize),
    /// A container's namespace is created, or deleted with all its contents.
    Sandbox { number: u32, there: bool },
}

/// Failures are read by people.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { method, body } => write!(f, "{method} {}", String::from_utf8_lossy(body).trim_end()),
            Self::Deleted(which) => write!(f, "our link {which} is deleted"),
            Self::Sandbox { number, there } => write!(f, "sandbox {number} is there: {there}"),
        }
    }
}

const METHODS: [&str; 13] = [
    "NetworkDriver.CreateNetwork",
    "NetworkDriver.DeleteNetwork",
    "NetworkDriver.CreateEndpoint",
    "NetworkDriver.DeleteEndpoint",
    "NetworkDriver.EndpointOperInfo",
    "NetworkDriver.Join",
    "NetworkDriver.Leave",
    "NetworkDriver.DiscoverNew",
    "NetworkDriver.ProgramExternalConnectivity",
    "NetworkDriver.AllocateNetwork",
    "NetworkDriver.GetCapabilities",
    "Plugin.Activate",
    "Plugin.Deactivate",
];

/// Few IDs, so that calls interact. The last two differ only after the part that names are derived from.
fn endpoint_ids() -> Vec<String> {
    let twins = ["1", "2"].map(|end| format!("{}{end}", "a".repeat(63)));
    (0..4).map(bodies::endpoint).chain(twins).collect()
}

fn network_ids() -> Vec<String> {
    (0..3).map(bodies::network).chain(["zvw77n67u0we1q9ueksjlx5an".into()]).collect()
}

fn options() -> impl Strategy<Value = Value> {
    let value = select(vec![
        json!("vcan-a"),
        json!("vcan-b"),
        json!("eth0"),
        json!("can0"),
        json!("can7"),
        json!("classic"),
        json!("fd"),
        json!("off"),
        json!("on"),
        json!("0"),
        json!("vcan"),
        json!(""),
        json!("a,b"),
        json!(3),
        json!(true),
        json!(null),
        json!([]),
        json!("ein-sehr-langer-name"),
    ]);
    let odd = ["HUB", "wombat", DOCKER_IFNAME];
    let key = select(network_keys().chain(odd).collect::<Vec<_>>());
    let few = vec((key, value), 0..3)
        .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
    // Mostly none: then most calls succeed, and later ones meet existing objects.
    prop_oneof![3 => Just(json!({})), 1 => few.prop_map(Value::Object)]
}

/// A call as Docker would make it.
fn sound() -> impl Strategy<Value = (&'static str, Value)> {
    (select(&METHODS[..7]), select(network_ids()), select(endpoint_ids()), 0..3_u32, options()).prop_map(
        |(method, network, endpoint, sandbox, options)| {
            let body = match method.trim_start_matches("NetworkDriver.") {
                "CreateNetwork" => bodies::create_network(&network, options),
                "DeleteNetwork" => bodies::delete_network(&network),
                "CreateEndpoint" => bodies::create_endpoint(&network, &endpoint, options),
                "Join" => bodies::join(&network, &endpoint, &bodies::sandbox(sandbox)),
                _ => bodies::both(&network, &endpoint),
            };
            (method, body)
        },
    )
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        select(endpoint_ids()).prop_map(Value::from),
    ];
    let key = prop_oneof![
        select(vec!["NetworkID", "EndpointID", "SandboxKey", "Options", "Interface", "IPv6Data"])
            .prop_map(str::to_owned),
        "\\PC{0,8}",
    ];
    leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key.clone(), inner), 0..6).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Replaces one field at any depth. Each digit of `at` selects a field one level down.
fn spoil(body: &mut Value, at: usize, with: Value) {
    match body {
        Value::Object(fields) if at > 0 && !fields.is_empty() => {
            let count = fields.len();
            if let Some(field) = fields.values_mut().nth(at % count) {
                spoil(field, at / count, with);
            }
        }
        body => *body = with,
    }
}

fn event() -> impl Strategy<Value = Event> {
    let call = |(method, body): (&'static str, Vec<u8>)| Event::Call { method, body };
    let text = |body: Value| format!("{body}\n").into_bytes();
    let spoilt = (sound(), 0..500_usize, any_json()).prop_map(move |((method, mut body), at, with)| {
        spoil(&mut body, at, with);
        (method, text(body))
    });
    let cut = (sound(), any::<prop::sample::Index>()).prop_map(move |((method, body), at)| {
        let mut bytes = text(body);
        bytes.truncate(at.index(bytes.len()));
        (method, bytes)
    });
    let deep = (
        select(&METHODS),
        select(vec!["[", "{\"a\":", "{\"NetworkID\":[", "{\"Options\":{\"a\":"]),
        1..9000_usize,
    )
        .prop_map(|(method, open, depth)| (method, open.repeat(depth).into_bytes()));
    prop_oneof![
        12 => sound().prop_map(move |(method, body)| (method, text(body))).prop_map(call),
        2 => spoilt.prop_map(call),
        1 => cut.prop_map(call),
        1 => select(&METHODS).prop_map(|method| (method, Vec::new())).prop_map(call),
        1 => (select(&METHODS), any_json()).prop_map(move |(method, body)| (method, text(body))).prop_map(call),
        1 => (select(&METHODS), vec(any::<u8>(), 0..200)).prop_map(call),
        1 => deep.prop_map(call),
        1 => any::<usize>().prop_map(Event::Deleted),
        1 => (0..3_u32, any::<bool>()).prop_map(|(number, there)| Event::Sandbox { number, there }),
    ]
}

/// The IDs in a body, where the driver would read them.
fn used(body: &[u8], networks: &mut BTreeSet<String>, endpoints: &mut BTreeSet<String>) {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return };
    networks.extend(body.get("NetworkID").and_then(Value::as_str).map(str::to_owned));
    endpoints.extend(body.get("EndpointID").and_then(Value::as_str).map(str::to_owned));
}

fn run(events: &[Event]) {
    let rig = Rig::new();
    let mut client = rig.client();
    let (mut networks, mut endpoints) = (BTreeSet::new(), BTreeSet::new());
    for event in events {
        match event {
            Event::Call { method, body } => {
                used(body, &mut networks, &mut endpoints);
                let reply = client.call_raw(method, body);
                assert!(reply.status == 200 || reply.status == 404, "{method}: {reply:?}");
                assert!(!reply.body.contains("internal error in canhub"), "{method} panicked: {reply:?}");
                assert!(serde_json::from_str::<Value>(&reply.body).unwrap().is_object(), "{reply:?}");
            }
            Event::Deleted(which) => {
                let links = rig.kernel.links().unwrap();
                let ours: Vec<_> = links.iter().filter(|link| canhub::plan::is_ours(link)).collect();
                if let Some(link) = ours.get(which % ours.len().max(1)) {
                    rig.kernel.delete_link(None, link.index).unwrap();
                }
            }
            Event::Sandbox { number, there: true } => rig.kernel.add_sandbox(bodies::sandbox(*number)),
            Event::Sandbox { number, there: false } => {
                rig.kernel.end_sandbox(bodies::sandbox(*number).as_ref());
            }
        }
    }
    // An invalid ID was refused, and is refused again.
    for endpoint in &endpoints {
        for method in ["Leave", "DeleteEndpoint"] {
            rig.call(method, &bodies::both(&bodies::network(0), endpoint)).err();
        }
    }
    for network in &networks {
        rig.call("DeleteNetwork", &bodies::delete_network(network)).err();
    }
    rig.assert_clean();
    for number in 0..3 {
        assert_eq!(rig.inside(&bodies::sandbox(number)), Vec::<String>::new());
    }
}

#[test]
fn random_calls_are_all_answered_and_leave_nothing() {
    let cases = std::env::var("CANHUB_FUZZ_CASES").map_or(CASES, |text| text.parse().unwrap());
    // Nobody would find a seed file next to the sources; the failing sequence is printed.
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    proptest!(config, |(events in vec(event(), 1..40))| run(&events));
}
