//! Spans: what `canhub-span` tells, as status, events, metrics and health. A real socket, with a test in place of
//! `canhub-span`; `tests/hosts` has the real one.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    thread,
    time::{Duration, Instant},
};

use canhub::{
    health::Health,
    kernel::Kernel,
    reconcile::Memory,
    span::protocol::{Delay, Frames, FromSpan, HostState, Refused, SpanState, State, encode},
};
use serde_json::{Value, json};

use super::{
    ask::{Listener, get, send},
    bodies,
    rig::Rig,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A connection of canhub's, at the end where `canhub-span` is.
pub struct FakeSpan {
    stream: BufReader<UnixStream>,
}

impl FakeSpan {
    /// Listens until canhub connects. The socket is gone afterwards, as after a crash.
    pub fn accept(rig: &Rig) -> Self {
        let path = rig.span_socket();
        let listener = UnixListener::bind(&path).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        fs::remove_file(path).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// The next line.
    fn told(&mut self) -> Value {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn say(&mut self, state: &State) {
        let line = encode(FromSpan::State(state.clone())).unwrap();
        self.stream.get_mut().write_all(&line).unwrap();
    }
}

/// A host of which everything is known.
fn host(name: &str, online: bool) -> HostState {
    HostState {
        name: name.into(),
        online,
        since: 1_800_000_000,
        heard: Some(1_800_000_000),
        path: Some("192.0.2.2".into()),
        frames: Some(Frames::Fd),
        version: Some(env!("CARGO_PKG_VERSION").into()),
        delay_us: Some(Delay { p50: 300, p99: 900, max: 5000 }),
        frames_in: 70,
        frames_out: 30,
        lost: 2,
        clock_offset_us: Some(-1500),
        clock_uncertainty_us: Some(40),
        certificate_expires: Some(4_000_000_000),
        ..HostState::default()
    }
}

fn state(network: &str, hosts: Vec<HostState>) -> State {
    let span = SpanState::new("power".parse().unwrap(), network.to_owned().try_into().unwrap());
    State {
        version: env!("CARGO_PKG_VERSION").into(),
        host: "a".into(),
        started: 1_800_000_000,
        certificate_expires: Some(4_000_000_000),
        spans: vec![SpanState { hosts, ..span }],
        ..State::default()
    }
}

/// A network with a span and a host on it, told by a `canhub-span`.
pub fn spanned(rig: &Rig, number: u32) -> FakeSpan {
    let network = rig.network(number, json!({ "span": "power" }));
    rig.manager.reconcile(&Memory::default()).unwrap();
    let mut span = FakeSpan::accept(rig);
    let mut told = state(&network, vec![host("b", true)]);
    told.refused = vec![Refused { host: "192.0.2.9".into(), reason: "it has no certificate".into() }];
    span.say(&told);
    until(rig, |status| status["span"]["running"] == true);
    span
}

/// Waits for a status.
#[track_caller]
fn until(rig: &Rig, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = rig.status();
        if holds(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{status:#}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The next event of one of these kinds.
fn next(events: &mut Listener, kinds: &[&str]) -> Value {
    loop {
        let event = events.next().unwrap();
        if kinds.contains(&event["event"].as_str().unwrap()) {
            return event;
        }
    }
}

fn span_of(status: &Value) -> Value {
    status["buses"][0]["span"].clone()
}

fn is_online(status: &Value) -> bool {
    span_of(status)["hosts"][0]["online"] == true
}

#[test]
fn canhub_span_is_told_the_ports_and_each_change_of_them() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "span": "power", "span-age": "250ms", "frames": "classic" }));
    rig.manager.reconcile(&Memory::default()).unwrap();
    let mut span = FakeSpan::accept(&rig);
    let inner = format!("cs{}", &network[..10]);
    assert_eq!(
        span.told(),
        json!({ "protocol": 1, "ports": [{
            "span": "power", "network": network, "network_name": &network[..12], "interface": inner,
            "frames": "classic", "age_ms": 250, "adapter": null, "bridge": false, "bitrate": null, "dbitrate": null,
        }]})
    );
    assert!(rig.link(&inner).is_some());
    let wired =
        rig.network(2, json!({ "span": "wire", "span-bridge": "on", "adapter": "can0", "bitrate": "500k" }));
    rig.manager.reconcile(&Memory::default()).unwrap();
    let ports = span.told()["ports"].clone();
    let port = ports.as_array().unwrap().iter().find(|port| port["network"] == *wired).unwrap();
    assert_eq!(
        (&port["adapter"], &port["bridge"], &port["bitrate"]),
        (&json!("can0"), &json!(true), &json!(500_000))
    );

    let refused =
        rig.call("CreateNetwork", &bodies::create_network(&bodies::network(3), json!({ "span": "Wire" })));
    let why = refused.json()["Err"].as_str().unwrap().to_owned();
    assert!(why.contains("span wire is already that of network"), "{why}");
    for id in [&network, &wired] {
        rig.call("DeleteNetwork", &json!({ "NetworkID": id })).ok();
    }
    rig.manager.reconcile(&Memory::default()).unwrap();
    assert_eq!(span.told(), json!({ "protocol": 1, "ports": [] }));
    rig.assert_clean();
}

#[test]
fn a_host_is_shown_counted_and_told_and_counters_never_fall() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "span": "power" }));
    rig.manager.reconcile(&Memory::default()).unwrap();
    let mut events = Listener::start(&rig.admin(), 0);
    let mut span = FakeSpan::accept(&rig);
    span.say(&state(&network, vec![host("b", true), HostState { heard: None, ..host("c", false) }]));
    let status = until(&rig, is_online);
    let shown = span_of(&status);
    assert_eq!((&shown["name"], &shown["age_ms"]), (&json!("power"), &json!(100)));
    assert_eq!(shown["hosts"][0]["delay_us"], json!({ "p50": 300, "p99": 900, "max": 5000 }));
    assert_eq!((&shown["hosts"][1]["online"], &shown["hosts"][1]["heard"]), (&json!(false), &Value::Null));
    assert_eq!((&status["span"]["host"], &status["span"]["problem"]), (&json!("a"), &Value::Null));
    let online = next(&mut events, &["host-online", "host-offline"]);
    assert_eq!(
        (&online["host"], &online["span"]),
        (&json!("b"), &json!("power")),
        "never heard is no news: {online}"
    );
    let sample = |labels: &str| rig.sample(&format!("canhub_span_{labels}"));
    let of_b =
        |more: &str| format!("{{span=\"power\",network_name=\"{}\",host=\"b\"{more}}}", &network[..12]);
    assert_eq!(sample("up"), 1.0);
    assert_eq!(sample(&format!("host_up{}", of_b(""))), 1.0);
    assert_eq!(sample(&format!("frames_total{}", of_b(",direction=\"in\""))), 70.0);
    assert_eq!(sample(&format!("host_frames_lost_total{}", of_b(",cause=\"lost\""))), 2.0);
    assert_eq!(sample(&format!("delay_seconds{}", of_b(",quantile=\"0.99\""))), 0.0009);
    assert_eq!(sample(&format!("clock_offset_seconds{}", of_b(""))), -0.0015);

    // It crashes: nobody is online any more, buses work on.
    drop(span);
    let status = until(&rig, |status| status["span"]["running"] == false);
    assert!(!is_online(&status) && status["buses"][0]["problems"] == json!([]), "{status:#}");
    let why = status["span"]["problem"].as_str().unwrap();
    assert!(
        why.contains("closed the connection") || why.contains("systemctl enable --now canhub-span"),
        "{why}"
    );
    assert_eq!(next(&mut events, &["span-lost", "host-offline"])["event"], "span-lost");
    assert_eq!(next(&mut events, &["host-offline"])["host"], "b");
    assert_eq!((sample("up"), sample(&format!("host_up{}", of_b("")))), (0.0, 0.0));

    // It starts again, and counts from 0.
    let mut span = FakeSpan::accept(&rig);
    span.say(&state(&network, vec![HostState { frames_in: 5, ..host("b", true) }]));
    until(&rig, is_online);
    assert_eq!(next(&mut events, &["span-found", "host-online"])["event"], "span-found");
    assert_eq!(next(&mut events, &["host-online"])["host"], "b");
    assert_eq!(sample(&format!("frames_total{}", of_b(",direction=\"in\""))), 75.0);
}

#[test]
fn a_bus_keeps_its_span_when_all_records_are_lost() {
    for options in [
        json!({ "span": "power", "span-age": "70ms" }),
        json!({ "span": "power", "span-age": "70ms", "adapter": "can0" }),
    ] {
        let mut rig = Rig::new();
        let network = rig.network(1, options.clone());
        // Its pair has no room for the name of the span.
        rig.member(&network, 1);
        rig.manager.reconcile(&Memory::default()).unwrap();
        let before = rig.kernel.links().unwrap();
        rig.restart_after(|state| fs::remove_dir_all(state).unwrap());
        rig.manager.reconcile(&Memory::default()).unwrap();
        let status = rig.status();
        let span = span_of(&status);
        assert_eq!((&span["name"], &span["age_ms"]), (&json!("power"), &json!(70)), "{options}: {status:#}");
        assert_eq!(status["buses"][0]["members"].as_array().unwrap().len(), 1, "{status:#}");
        assert_eq!(rig.kernel.links().unwrap(), before, "{options}: nothing was made again");
    }
}

#[test]
fn health_knows_the_span_and_each_host() {
    let watch = super::health::no_docker();
    let health = Health::new(super::health::eager(), None);
    let rig = Rig::watched(canhub::driver::server::TIME_LIMIT, health, Some(watch), |kernel| kernel);
    let network = rig.network(1, json!({ "span": "power" }));
    rig.manager.reconcile(&Memory::default()).unwrap();
    let (_, report) = super::health::until(&rig, "span:power", "unhealthy");
    assert_eq!(report["status"], "degraded", "the bus works on this host: {report:#}");
    let mut span = FakeSpan::accept(&rig);
    span.say(&state(&network, vec![host("b", true)]));
    super::health::until(&rig, "span:power", "healthy");
    super::health::until(&rig, "host:b", "healthy");
    span.say(&state(&network, vec![host("b", false)]));
    super::health::until(&rig, "host:b", "degraded");
    let mut stopped = state(&network, vec![host("b", true)]);
    stopped.spans[0].problem = Some("two adapters".into());
    stopped.spans[0].stopped = true;
    span.say(&stopped);
    let (_, report) = super::health::until(&rig, "span:power", "unhealthy");
    assert!(report.to_string().contains("span power: two adapters"), "{report:#}");
}

#[test]
fn a_host_is_forgotten_when_it_is_offline_and_canhub_span_agrees() {
    let rig = Rig::new();
    let network = rig.network(1, json!({ "span": "power" }));
    rig.manager.reconcile(&Memory::default()).unwrap();
    let mut span = FakeSpan::accept(&rig);
    span.told();
    span.say(&state(&network, vec![host("b", true), host("c", false)]));
    until(&rig, is_online);
    let hosts = get(&rig.admin(), "/v1/hosts").json();
    assert_eq!((&hosts["hosts"][1]["name"], &hosts["hosts"][1]["network"]), (&json!("c"), &json!(network)));
    let forget = |host: &str| send(&rig.admin(), "DELETE", "/v1/hosts", &json!({ "host": host }).to_string());
    for (host, words) in [("d", "no host \"d\" is known"), ("b", "host b is online")] {
        let reply = forget(host);
        assert!(reply.status == 400 && reply.body.contains(&words.replace('"', "\\\"")), "{reply:?}");
    }
    let told = thread::spawn(move || {
        assert_eq!(span.told(), json!({ "protocol": 1, "forget": "c" }));
        span.say(&state(&network, vec![host("b", true)]));
        span
    });
    let reply = forget("c");
    assert_eq!((reply.status, reply.json()["hosts"].as_array().unwrap().len()), (200, 1));
    drop(told.join().unwrap());
    until(&rig, |status| status["span"]["running"] == false);
    let reply = forget("b");
    assert!(reply.status == 400 && reply.body.contains("canhub-span is not running"), "{reply:?}");
}

#[test]
fn another_protocol_and_text_for_a_terminal_are_refused_with_the_reason() {
    let rig = Rig::new();
    rig.network(1, json!({ "span": "power" }));
    rig.manager.reconcile(&Memory::default()).unwrap();
    for (line, words) in [
        (r#"{"protocol":9,"state":{}}"#, "speaks protocol 9"),
        (r#"{"protocol":1,"state":{"version":"\u001b[2J","host":"a","started":1}}"#, "control character"),
    ] {
        let mut span = FakeSpan::accept(&rig);
        writeln!(span.stream.get_mut(), "{line}").unwrap();
        // canhub hangs up.
        let mut rest = String::new();
        while span.stream.read_line(&mut rest).unwrap() > 0 {}
        until(&rig, |status| status["span"]["problem"].as_str().is_some_and(|why| why.contains(words)));
    }
}
