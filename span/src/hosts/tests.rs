use super::*;
use crate::fleet::List;
use crate::hello::{Echo, OnSpan, PROTOCOL};

const MS: u64 = 1_000_000;
const HERE: BusHere<'static> = BusHere { adapter: None, bridge: false };

fn at(ms: u64) -> Now {
    Now { moment: Moment(1_000_000 * MS + ms * MS), wall: 1_800_000_000 + ms / 1000 }
}

fn list(version: u64) -> List {
    serde_json::from_value(serde_json::json!({
        "fleet": "f",
        "version": version,
        "hosts": [
            { "name": "bench", "spans": ["*"], "certificates": [{ "serial": "b1", "expires": 2_000_000_000 }] },
            { "name": "cell", "spans": ["body"], "certificates": [{ "serial": "c1", "expires": 2_000_000_000 }] },
            { "name": "rack", "spans": ["*"], "certificates": [{ "serial": "r1", "expires": 2_000_000_000 }] },
        ],
        "revoked": [],
    }))
    .unwrap()
}

fn hosts() -> Hosts {
    Hosts::new("bench", "b1", 1, at(0), list(4), BTreeMap::new())
}

fn link(host: &str, serial: &str) -> Link {
    Link {
        session: format!("session of {host}"),
        host: host.to_owned(),
        serial: serial.to_owned(),
        address: "10.0.0.2:7447".to_owned(),
    }
}

fn on(span: &str) -> OnSpan {
    OnSpan { span: span.to_owned(), adapter: None, bridge: false, frames: None }
}

fn hello(instance: u64, uptime_ms: u64) -> Hello {
    Hello { protocol: PROTOCOL, instance, uptime_ms, list: 4, spans: vec![on("body")], ..Hello::default() }
}

fn known<'a>(hosts: &'a Hosts, name: &str) -> Known<'a> {
    hosts.known_on("body").find(|known| known.name == name).unwrap()
}

#[test]
fn a_host_is_online_from_its_hello_until_its_connection_is_gone() {
    let mut hosts = hosts();
    assert!(!known(&hosts, "cell").online);
    assert_eq!(known(&hosts, "cell").record.heard, None, "never heard");
    assert_eq!(hosts.connected(link("cell", "c1"), at(10)), []);
    assert!(!known(&hosts, "cell").online, "connected, and not heard");
    assert_eq!(hosts.heard("cell", &hello(2, 0).encode(), at(1000)), [Change::Online("cell".to_owned())]);
    assert_eq!(hosts.heard("cell", &hello(2, 500).encode(), at(1500)), []);
    assert!(known(&hosts, "cell").online);
    assert_eq!(
        (known(&hosts, "cell").record.since, known(&hosts, "cell").record.heard),
        (at(1000).wall, Some(at(1500).wall))
    );
    let gone = hosts.disconnected(&link("cell", "c1"), at(2000));
    assert_eq!(gone, [Change::Offline("cell".to_owned(), "its connection is gone")]);
    assert_eq!(hosts.admission("body", "cell", &HERE), Admission::Unheard);
    assert_eq!(
        hosts.heard("cell", &hello(3, 0).encode(), at(2100)).len(),
        1,
        "it started again, and is no second one"
    );
}

#[test]
fn a_connected_host_that_says_nothing_is_offline_in_two_seconds() {
    let mut hosts = hosts();
    hosts.connected(link("cell", "c1"), at(0));
    hosts.heard("cell", &hello(2, 0).encode(), at(0));
    assert_eq!(hosts.tick(at(1500)), []);
    assert_eq!(
        hosts.tick(at(1700)),
        [Change::Offline("cell".to_owned(), "it says nothing, though it is connected")]
    );
    assert_eq!(hosts.tick(at(2700)), [], "told once");
}

#[test]
fn an_address_that_is_not_reached_is_told_until_it_is() {
    let mut hosts = hosts();
    let address = link("cell", "c1").address;
    let not_reached = |hosts: &mut Hosts, why: &str, millis| {
        hosts.not_reached(address.clone(), why.to_owned(), at(millis)).len()
    };
    assert_eq!(not_reached(&mut hosts, "Connection refused", 0), 1);
    assert_eq!(not_reached(&mut hosts, "Connection refused", 500), 0, "logged once");
    assert_eq!(not_reached(&mut hosts, "it does not answer", 9000), 1);
    hosts.tick(at(12_000));
    assert_eq!(hosts.unreachable()[0].reason, "it does not answer");
    hosts.connected(link("cell", "c1"), at(13_000));
    assert_eq!(hosts.unreachable(), []);
    not_reached(&mut hosts, "it does not answer", 20_000);
    hosts.tick(at(31_000));
    assert_eq!(hosts.unreachable(), [], "the settings have another address now");
}

#[test]
fn another_version_is_refused_and_told_once() {
    let mut hosts = hosts();
    hosts.connected(link("cell", "c1"), at(0));
    let newer = br#"{"protocol":2,"instance":7}"#;
    let [Change::Refused(refused)] = &*hosts.heard("cell", newer, at(0)) else { panic!("not refused") };
    assert!(
        refused.reason.contains("version 2") && refused.reason.contains("install the same canhub"),
        "{refused:?}"
    );
    assert_eq!(hosts.heard("cell", newer, at(500)), []);
    assert_eq!(hosts.refused().len(), 1);
    assert!(!known(&hosts, "cell").online);
    hosts.tick(at(40_000));
    assert_eq!(hosts.refused(), [], "it is over");
}

#[test]
fn of_two_hosts_of_one_name_the_one_that_started_later_is_refused_and_told() {
    let mut hosts = hosts();
    hosts.connected(link("cell", "c1"), at(0));
    hosts.heard("cell", &hello(2, 60_000).encode(), at(0));
    let changes = hosts.heard("cell", &hello(3, 1000).encode(), at(100));
    let [Change::Refused(refused), Change::Tell(told)] = &*changes else { panic!("{changes:?}") };
    assert!(refused.reason.contains("two hosts of the fleet are called cell"), "{refused:?}");
    assert_eq!((told.host.as_str(), told.instance), ("cell", Some(3)));
    assert!(known(&hosts, "cell").online, "the first one is not disturbed");

    // This host's own name.
    assert!(!hosts.is_second());
    hosts.heard("bench", &hello(9, 3_600_000).encode(), at(200));
    assert!(hosts.is_second() && hosts.problem().unwrap().contains("called bench"));
    assert_eq!(hosts.admission("body", "cell", &HERE), Admission::Refused, "it takes no part");
    hosts.tick(at(5000));
    assert!(!hosts.is_second(), "the other one is gone");
    let changes = hosts.heard("bench", &hello(9, 1).encode(), at(6000));
    assert!(!hosts.is_second());
    assert!(
        changes.iter().any(|change| matches!(change, Change::Tell(told) if told.instance == Some(9))),
        "{changes:?}"
    );
}

#[test]
fn whatever_a_hello_says_canhub_accepts_the_reason_of_the_refusal() {
    use canhub::span::protocol::{FromSpan, State, decode, encode};

    let mut hosts = hosts();
    let long = "x".repeat(5000);
    for text in [&*long, "two\nlines\u{1b}[2J"] {
        let strange = serde_json::json!({ "protocol": 1, "instance": 2, "list": text }).to_string();
        hosts.heard("cell", strange.as_bytes(), at(0));
        let refused = hosts.refused();
        assert!(refused[0].reason.starts_with("cell is refused: its hello cannot be read"), "{refused:?}");
        let line = encode(FromSpan::State(State { refused, ..State::default() })).unwrap();
        decode::<FromSpan>(&line).unwrap();
    }
}

#[test]
fn a_host_that_claims_to_run_forever_is_one_like_others() {
    let mut hosts = hosts();
    hosts.heard("cell", &hello(2, u64::MAX).encode(), at(0));
    let changes = hosts.heard("cell", &hello(3, 5).encode(), at(100));
    assert!(matches!(&*changes, [Change::Refused(_), Change::Tell(_)]), "{changes:?}");
}

#[test]
fn a_host_without_rights_is_refused_with_the_reason_and_told() {
    let mut hosts = hosts();
    let changes = hosts.connected(link("door", "d1"), at(0));
    let [Change::Refused(refused), Change::Tell(told)] = &*changes else { panic!("{changes:?}") };
    assert!(refused.reason.contains("door is not in the fleet list (version 4)"), "{refused:?}");
    assert_eq!((&*told.host, &*told.serial, told.instance), ("door", "d1", None));

    hosts.connected(link("cell", "c1"), at(0));
    let seat = Hello { spans: vec![on("body"), on("seat")], ..hello(2, 0) };
    hosts.heard("cell", &seat.encode(), at(0));
    assert_eq!(hosts.admission("body", "cell", &HERE), Admission::Accepted);
    assert_eq!(hosts.admission("seat", "cell", &HERE), Admission::Refused);
    let [refused] = &*hosts.refused_on("seat", &HERE) else { panic!("not refused") };
    assert!(refused.reason.contains("cell may not speak on span seat"), "{refused:?}");
    assert_eq!(hosts.refused_on("body", &HERE), []);
    assert_eq!(hosts.online_on("seat", &HERE), [""; 0]);

    // The reason another host gives to this one; not if another certificate is meant.
    let told = |serial: &str| Refusal {
        host: "bench".to_owned(),
        serial: serial.to_owned(),
        instance: None,
        reason: "why".to_owned(),
    };
    assert_eq!(hosts.refused_by("rack", &told("b0"), at(0)), []);
    let [Change::Refused(refused)] = &*hosts.refused_by("rack", &told("b1"), at(0)) else {
        panic!("not told")
    };
    assert_eq!(refused.reason, "rack refuses this host: why");
}

#[test]
fn two_adapters_on_a_span_are_refused_unless_both_allow_a_bridge() {
    let mut hosts = hosts();
    hosts.connected(link("cell", "c1"), at(0));
    let theirs = |bridge| Hello {
        spans: vec![OnSpan { adapter: Some("can3".to_owned()), bridge, ..on("body") }],
        ..hello(2, 0)
    };
    let ours = |bridge| BusHere { adapter: Some("can0"), bridge };
    for (there, here, is_accepted) in
        [(false, false, false), (true, false, false), (false, true, false), (true, true, true)]
    {
        hosts.heard("cell", &theirs(there).encode(), at(0));
        let admission = hosts.admission("body", "cell", &ours(here));
        assert_eq!(admission == Admission::Accepted, is_accepted, "{there} {here}");
        assert_eq!(hosts.refused_on("body", &ours(here)).is_empty(), is_accepted);
    }
    hosts.heard("cell", &theirs(false).encode(), at(0));
    assert_eq!(hosts.admission("body", "cell", &HERE), Admission::Accepted, "one adapter is fine");
    let reason = &hosts.refused_on("body", &ours(false))[0].reason;
    assert!(
        reason.contains("can3") && reason.contains("can0") && reason.contains("span-bridge=on"),
        "{reason}"
    );
}

#[test]
fn a_host_is_listed_until_it_is_forgotten_or_long_gone() {
    let mut hosts = hosts();
    hosts.heard("cell", &hello(2, 0).encode(), at(0));
    assert!(hosts.forget("cell") && known(&hosts, "cell").online, "one that is online stays");
    hosts.all_disconnected(at(10));
    let records = serde_json::from_str(&hosts.to_file()).unwrap();

    // The next run, with a list that has no cell any more.
    let mut shorter = list(5);
    shorter.hosts.retain(|host| host.name.as_str() != "cell");
    let mut hosts = Hosts::new("bench", "b1", 2, at(20), shorter, records);
    assert_eq!(known(&hosts, "cell").record.heard, Some(at(0).wall));
    assert!(hosts.forget("cell") && !hosts.forget("cell"));
    assert!(hosts.known_on("body").all(|known| known.name != "cell"));

    hosts.heard("rack", &hello(5, 0).encode(), at(30));
    hosts.all_disconnected(at(40));
    assert!(hosts.forget("rack"));
    assert!(hosts.known_on("body").all(|known| known.name != "rack"), "though it is in the fleet list");
    let records = serde_json::from_str(&hosts.to_file()).unwrap();
    let mut hosts = Hosts::new("bench", "b1", 2, at(50), list(5), records);
    assert!(hosts.known_on("body").all(|known| known.name != "rack"));
    hosts.heard("rack", &hello(6, 0).encode(), at(60));
    assert!(known(&hosts, "rack").online, "heard again");

    let mut shorter = list(6);
    shorter.hosts.retain(|host| host.name.as_str() != "rack");
    hosts.all_disconnected(at(70));
    hosts.set_list(shorter, "bench", "b1", at(80));
    hosts.tick(at(89 * 86_400_000));
    assert!(hosts.known_on("body").any(|known| known.name == "rack"));
    hosts.tick(at(91 * 86_400_000));
    assert!(hosts.known_on("body").all(|known| known.name != "rack"));
}

#[test]
fn a_host_that_only_others_hear_is_found_missing() {
    let mut hosts = hosts();
    for (name, serial, instance) in [("cell", "c1", 2), ("rack", "r1", 3)] {
        hosts.connected(link(name, serial), at(0));
        hosts.heard(name, &hello(instance, 0).encode(), at(0));
    }
    hosts.disconnected(&link("rack", "r1"), at(1000));
    let hears_rack = |hears: bool| Hello {
        echoes: hears.then_some(Echo { instance: 3, sent: 0, received: 0 }).into_iter().collect(),
        ..hello(2, 0)
    };
    assert_eq!(hosts.apart(at(1000).moment), None);
    hosts.heard("cell", &hears_rack(true).encode(), at(1100));
    assert_eq!(hosts.apart(at(1100).moment), None, "it may come back by itself");
    assert_eq!(hosts.apart(at(3200).moment), Some("rack".to_owned()));
    hosts.heard("cell", &hears_rack(false).encode(), at(3300));
    assert_eq!(hosts.apart(at(9000).moment), None, "nobody hears it");
}

#[test]
fn a_host_that_joins_again_under_another_name_or_elsewhere_knows_nobody() {
    for (own, fleet) in [("door", &*list(4).fleet), ("bench", "another")] {
        let mut hosts = hosts();
        hosts.heard("cell", &hello(2, 0).encode(), at(0));
        let mut news = list(5);
        news.fleet = fleet.to_owned();
        news.hosts.retain(|host| host.name.as_str() == "rack");
        hosts.set_list(news, own, "d1", at(10));
        let names: Vec<_> = hosts.known_on("body").map(|known| known.name.to_owned()).collect();
        assert_eq!(names, ["rack"], "{own} in {fleet}");
        hosts.heard("bench", &hello(9, 3_600_000).encode(), at(20));
        assert_eq!(hosts.is_second(), own == "bench");
    }
}

#[test]
fn a_host_that_leaves_is_offline_and_marked() {
    let mut hosts = hosts();
    hosts.heard("cell", &hello(2, 0).encode(), at(0));
    let leaving = Hello { leaving: true, ..hello(2, 500) };
    let changes = hosts.heard("cell", &leaving.encode(), at(500));
    assert_eq!(
        changes,
        [Change::Left("cell".to_owned()), Change::Offline("cell".to_owned(), "it left the fleet")]
    );
    assert!(known(&hosts, "cell").record.left);
}

#[test]
fn hellos_follow_each_other_soon_until_the_clock_of_a_new_host_is_known() {
    let mut hosts = hosts();
    assert_eq!(hosts.says_hello(at(0).moment), at(0).moment + HELLO);
    hosts.heard("cell", &hello(2, 0).encode(), at(0));
    assert_eq!(hosts.hello_due(), Some(Moment(0)), "at once");
    for answer in 1..=4_u64 {
        let now = at(60 * answer);
        hosts.says_hello(now.moment);
        let there = (500 + 60 * answer) * MS;
        let echo = Echo { instance: 1, sent: now.moment.0, received: there };
        let answer = Hello { sent: there, echoes: vec![echo], ..hello(2, 0) };
        hosts.heard("cell", &answer.encode(), Now { moment: now.moment + Duration::from_micros(200), ..now });
    }
    assert!(hosts.clock("cell").unwrap().offset(at(300).moment).is_some());
    assert_eq!(hosts.says_hello(at(300).moment), at(300).moment + HELLO);
    assert_eq!(hosts.echoes(at(300).moment).len(), 1);
}
