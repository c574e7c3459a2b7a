//! Hosts on the loopback address, each with a session and a certificate of its own: who hears whom, and who is refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod versions;

use std::{
    net::TcpListener,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use canhub_span::{
    engine::{
        Engine, Event, Topic,
        zenoh::{Settings, Troubles, Zenoh},
    },
    fleet::{Authority, Invitation, Spans, Store, time::now},
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// A connection is there, or refused, within this time on a busy machine.
const SOON: Duration = Duration::from_secs(10);
/// What has not come after this time does not come.
const NEVER: Duration = Duration::from_secs(1);

/// A fleet with its CA.
struct Fleet {
    dir: TempDir,
    ca: Authority,
}

/// A host with an open session.
struct Host {
    engine: Zenoh,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Fleet {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = Authority::create(&dir.path().join("ca"), now()).unwrap();
        Self { dir, ca }
    }

    /// A host that may use these spans.
    fn invite(&mut self, host: &str, spans: &[&str]) -> PathBuf {
        self.invite_at(host, spans, now())
    }

    fn invite_at(&mut self, host: &str, spans: &[&str], at: i64) -> PathBuf {
        let spans: Spans =
            spans.iter().map(|span| (*span).to_owned()).collect::<Vec<_>>().try_into().unwrap();
        let identity = self.ca.issue(&host.parse().unwrap(), Some(spans), at).unwrap();
        let invitation = Invitation::new(identity, self.ca.certificate(), self.ca.list(), Vec::new());
        let folder = self.dir.path().join(host);
        Store::new(&folder).join(&invitation).unwrap();
        folder
    }

    /// The settings of a host, with the newest list.
    fn settings(&self, host: &str, listen: Option<u16>, connect: Option<u16>) -> Settings {
        let folder = self.dir.path().join(host);
        let identity = Store::new(folder).identity().unwrap().unwrap();
        let address = |port: u16| format!("127.0.0.1:{port}");
        Settings {
            host: host.to_owned(),
            listen: listen.map(address).into_iter().collect(),
            connect: connect.map(address).into_iter().collect(),
            ca: identity.ca_file,
            identity: identity.identity_file,
            list: (**self.ca.list()).clone(),
        }
    }
}

impl Host {
    async fn open(settings: &Settings, span: &str) -> Self {
        let (send, events) = mpsc::unbounded_channel();
        let sink = Arc::new(move |event| drop(send.send(event)));
        let engine = Zenoh::open(settings, sink).await.unwrap();
        engine.join(span).unwrap();
        Self { engine, events }
    }

    /// Waits for an event.
    async fn wait<T>(&mut self, limit: Duration, wanted: impl Fn(Event) -> Option<T>) -> Option<T> {
        let until = Instant::now() + limit;
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            let event = tokio::time::timeout(rest, self.events.recv()).await.ok()??;
            if let Some(found) = wanted(event) {
                return Some(found);
            }
        }
    }

    /// Waits for a host's payload on a topic.
    async fn hears(&mut self, limit: Duration, from: &str, about: &Topic) -> Option<Vec<u8>> {
        self.wait(limit, |event| match event {
            Event::Received { topic, host, payload } if host == from && topic == *about => Some(payload),
            _ => None,
        })
        .await
    }

    /// Sends until the other one hears it: subscriptions travel, too.
    async fn reaches(&self, other: &mut Self, from: &str, topic: &Topic) -> bool {
        let until = Instant::now() + SOON;
        while Instant::now() < until {
            self.engine.send(topic, b"x".to_vec()).unwrap();
            if other.hears(Duration::from_millis(100), from, topic).await.is_some() {
                return true;
            }
        }
        false
    }
}

/// A port that is free now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn data(span: &str) -> Topic {
    Topic::Data(span.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_both_hosts_arrive_once_and_in_order() {
    let (mut fleet, port) = (Fleet::new(), free_port());
    fleet.invite("bench", &["*"]);
    fleet.invite("cell", &["body"]);
    let mut bench = Host::open(&fleet.settings("bench", Some(port), None), "body").await;
    let mut cell = Host::open(&fleet.settings("cell", None, Some(port)), "body").await;
    let connected = |event| match event {
        Event::Connected(link) => Some((link.host, link.serial, link.address)),
        _ => None,
    };
    let (host, serial, address) = cell.wait(SOON, connected).await.unwrap();
    let expected = Store::new(fleet.dir.path().join("bench")).identity().unwrap().unwrap().certificate.serial;
    assert_eq!((host, serial, address), ("bench".to_owned(), expected, format!("127.0.0.1:{port}")));
    assert_eq!(bench.wait(SOON, connected).await.unwrap().0, "cell");
    let body = data("body");
    assert!(bench.reaches(&mut cell, "bench", &body).await);
    assert!(cell.reaches(&mut bench, "cell", &body).await);
    assert!(bench.reaches(&mut cell, "bench", &Topic::Hello).await);
    assert!(cell.reaches(&mut bench, "cell", &Topic::Fleet).await);
    assert!(cell.reaches(&mut bench, "cell", &Topic::Refusal).await);

    // More than it may have is not kept.
    bench.engine.send(&body, vec![7; 300_000]).unwrap();
    let too_long = |event| match event {
        Event::Received { payload, .. } if payload.len() > 1000 => Some(payload.len()),
        _ => None,
    };
    assert_eq!(cell.wait(SOON, too_long).await, Some(body.longest() + 1));

    // Slower than a machine that does other things can be: an engine that never waits would drop some.
    for number in 0..500_u32 {
        for sender in [&bench, &cell] {
            sender.engine.send(&body, [&number.to_be_bytes()[..], &[7; 300]].concat()).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for (receiver, from) in [(&mut bench, "cell"), (&mut cell, "bench")] {
        let mut numbers = Vec::new();
        while let Some(payload) = receiver.hears(NEVER, from, &body).await {
            if let Some((number, [7, ..])) = payload.split_first_chunk::<4>() {
                numbers.push(u32::from_be_bytes(*number));
            }
        }
        assert!(numbers.is_sorted_by(|one, next| one < next), "from {from}: {numbers:?}");
        assert!(numbers.len() > 250, "from {from}: {} of 500", numbers.len());
    }
    bench.engine.close().await;
    let gone = |event| matches!(event, Event::Disconnected(link) if link.host == "bench").then_some(());
    assert!(cell.wait(SOON, gone).await.is_some());
    cell.engine.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_reach_each_other_by_ipv6_addresses() {
    let (mut fleet, port) = (Fleet::new(), free_port());
    fleet.invite("bench", &["*"]);
    fleet.invite("cell", &["body"]);
    let address = format!("[::1]:{port}");
    let bench = Settings { listen: vec![address.clone()], ..fleet.settings("bench", None, None) };
    let cell = Settings { connect: vec![address.clone()], ..fleet.settings("cell", None, None) };
    let bench = Host::open(&bench, "body").await;
    let mut cell = Host::open(&cell, "body").await;
    let connected = |event| match event {
        Event::Connected(link) => Some(link.address),
        _ => None,
    };
    assert_eq!(cell.wait(SOON, connected).await, Some(address));
    assert!(bench.reaches(&mut cell, "bench", &data("body")).await);
    bench.engine.close().await;
    cell.engine.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_without_the_right_for_a_span_neither_speaks_nor_listens_there() {
    let (mut fleet, port) = (Fleet::new(), free_port());
    fleet.invite("bench", &["*"]);
    fleet.invite("cell", &["seat"]);
    let mut bench = Host::open(&fleet.settings("bench", Some(port), None), "body").await;
    let mut cell = Host::open(&fleet.settings("cell", None, Some(port)), "body").await;
    assert!(cell.reaches(&mut bench, "cell", &Topic::Hello).await, "it is a host of the fleet");
    for host in [&bench, &cell] {
        host.engine.send(&data("body"), b"secret".to_vec()).unwrap();
    }
    assert_eq!(cell.hears(NEVER, "bench", &data("body")).await, None);
    assert_eq!(bench.hears(NEVER, "cell", &data("body")).await, None);

    // Even with a list of its own that says otherwise: each host enforces its own.
    let mut lenient = fleet.settings("cell", None, Some(port));
    lenient.list.hosts.iter_mut().for_each(|host| host.spans = Spans::All);
    cell.engine.close().await;
    let mut cell = Host::open(&lenient, "body").await;
    assert!(cell.reaches(&mut bench, "cell", &Topic::Hello).await);
    for host in [&bench, &cell] {
        host.engine.send(&data("body"), b"secret".to_vec()).unwrap();
    }
    assert_eq!(cell.hears(NEVER, "bench", &data("body")).await, None);
    assert_eq!(bench.hears(NEVER, "cell", &data("body")).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_host_is_connected_and_can_only_be_told_why() {
    let (mut fleet, port) = (Fleet::new(), free_port());
    fleet.invite("bench", &["*"]);
    fleet.invite("cell", &["*"]);
    let before = fleet.settings("cell", None, Some(port));
    fleet.ca.revoke(&"cell".parse().unwrap(), now()).unwrap();
    let mut bench = Host::open(&fleet.settings("bench", Some(port), None), "body").await;
    let mut cell = Host::open(&before, "body").await;
    assert!(bench.reaches(&mut cell, "bench", &Topic::Refusal).await);
    for topic in [data("body"), Topic::Hello] {
        for host in [&bench, &cell] {
            host.engine.send(&topic, b"secret".to_vec()).unwrap();
        }
        assert_eq!(cell.hears(NEVER, "bench", &topic).await, None, "{topic:?}");
        assert_eq!(bench.hears(NEVER, "cell", &topic).await, None, "{topic:?}");
    }
    bench.engine.send(&Topic::Fleet, b"names of all hosts".to_vec()).unwrap();
    assert_eq!(cell.hears(NEVER, "bench", &Topic::Fleet).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_cannot_be_sent_for_another_host() {
    let (mut fleet, port) = (Fleet::new(), free_port());
    for host in ["bench", "cell", "rack"] {
        fleet.invite(host, &["*"]);
    }
    let mut bench = Host::open(&fleet.settings("bench", Some(port), None), "body").await;
    let mut liar = fleet.settings("cell", None, Some(port));
    liar.host = "rack".to_owned();
    let liar = Host::open(&liar, "body").await;
    assert!(liar.reaches(&mut bench, "rack", &Topic::Refusal).await, "anybody may claim anything there");
    for topic in [Topic::Hello, data("body")] {
        liar.engine.send(&topic, b"x".to_vec()).unwrap();
        assert_eq!(bench.hears(NEVER, "rack", &topic).await, None, "{topic:?}");
    }
}

/// One test, because the log of a program is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_are_refused_are_told_on_both_sides() {
    let (send, mut refused) = mpsc::unbounded_channel();
    let troubles = Troubles::default();
    troubles.tell(Arc::new(move |event| {
        if let Event::Refused { address, reason } = event {
            let _ = send.send((address, reason));
        }
    }));
    tracing_subscriber::registry().with(troubles.layer().boxed()).init();
    let (mut fleet, mut other) = (Fleet::new(), Fleet::new());
    fleet.invite("bench", &["*"]);
    other.invite("cell", &["*"]);
    fleet.invite_at("expired", &["*"], now() - 3 * 365 * 86_400);
    let port = free_port();
    let mut bench = Host::open(&fleet.settings("bench", Some(port), None), "body").await;

    // The host that connects checks first, so that its own CA has to be right for the other one to check.
    let mut foreign = other.settings("cell", None, Some(port));
    let ours = format!("127.0.0.1:{port}");
    let theirs = "its certificate is not of this host's fleet";
    let ours_expired = "it says that the certificate of this host has expired";
    for (settings, connecting, accepting) in [
        (foreign.clone(), theirs, "it says that the certificate of this host is not of its fleet"),
        (
            {
                foreign.ca = fleet.settings("bench", None, None).ca;
                foreign
            },
            "it says that the certificate of this host is not of its fleet",
            theirs,
        ),
        (fleet.settings("expired", None, Some(port)), ours_expired, "its certificate has expired"),
    ] {
        while refused.try_recv().is_ok() {}
        let _host = Host::open(&settings, "body").await;
        let (mut here, mut there) = (None, None);
        let until = Instant::now() + SOON;
        while (here.is_none() || there.is_none()) && Instant::now() < until {
            match tokio::time::timeout(SOON, refused.recv()).await.unwrap().unwrap() {
                (Some(address), reason) if address == ours => there = Some(reason),
                (Some(address), reason) => panic!("{address}: {reason}"),
                (None, reason) => here = Some(reason),
            }
        }
        assert_eq!((there.as_deref(), here.as_deref()), (Some(connecting), Some(accepting)));
        let connected = |event| matches!(event, Event::Connected(_)).then_some(());
        assert_eq!(bench.wait(NEVER, connected).await, None);
    }
}
