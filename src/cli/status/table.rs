//! Human-readable status, in 80 columns.

use std::time::Duration;

use super::{
    super::{
        hosts::program,
        lines::{WIDTH, cut, short, wrap},
    },
    Sample, span,
};
use crate::{
    attachment::MemberKind,
    clock::roughly,
    endpoint::Stage,
    network::Ownership,
    status::{
        AdapterStatus, BusStatus, Count, ExpectationState, ExpectationStatus, Loss, MemberStatus, Status,
        Traffic,
    },
};

/// This many losses per bus are shown.
const LOSSES: usize = 5;

/// The columns of a member's name.
const NAME: usize = 28;
/// The same where a column shows the pace.
const PACED_NAME: usize = 21;

/// Renders the status; rates are those between the two samples.
pub(super) fn render(before: &Sample, now: &Sample) -> String {
    let status = &now.status;
    let mut text = head(status);
    if status.buses.is_empty() {
        text += "\nNo buses yet. To create one and connect a container:\n\
                 \x20 docker network create -d canhub --ipam-driver null -o hub=vcan-body body\n\
                 \x20 docker run -d --network body IMAGE\n";
    }
    if let Some(own) = status.span.as_ref().filter(|own| !own.running || own.problem.is_some()) {
        text += &program(own);
    }
    let seconds = now.taken.duration_since(before.taken).as_secs_f64();
    for bus in &status.buses {
        text += "\n";
        text += &render_bus(before.bus(bus), bus, seconds);
        for one in status.faults.iter().filter(|one| one.network == bus.network) {
            text += &wrap("  ", &format!("fault {}: {}", one.id, one.reason));
        }
        for one in status.expectations.iter().filter(|one| one.network.as_ref() == Some(&bus.network)) {
            text += &expected(one);
        }
    }
    let homeless: Vec<_> = status.expectations.iter().filter(|one| one.network.is_none()).collect();
    if !homeless.is_empty() {
        text += "\n";
        homeless.into_iter().for_each(|one| text += &expected(one));
    }
    if !status.late.is_empty() {
        text += "\n";
        let names = status.late.join(" ");
        text += &wrap(
            "! ",
            &format!(
                "Docker failed to start these containers because canhub was not running: docker start {names}"
            ),
        );
    }
    text
}

fn head(status: &Status) -> String {
    let heal = if status.heal { "on" } else { "off" };
    let looked = match status.audit_age_s {
        Some(age) => format!("checked {} ago", roughly(Duration::try_from_secs_f64(age).unwrap_or_default())),
        None => "first check in progress".into(),
    };
    let up = roughly(Duration::from_secs(status.uptime_s));
    cut(&format!("canhub {}  up {up}  healing {heal}  {looked}", status.version), WIDTH) + "\n"
}

fn render_bus(before: Option<&BusStatus>, bus: &BusStatus, seconds: f64) -> String {
    let well = match bus.is_well() {
        true => "ok",
        false if bus.waiting => "WAITING",
        false => "PROBLEM",
    };
    let heal = if bus.heal { "" } else { "  healing off" };
    let owner = match bus.owner {
        Ownership::Owned => "hub",
        Ownership::Adapter => "adapter",
        Ownership::Shared => "vxcan hub",
    };
    // An adapter's selector can be long; the line below shows its interface.
    let hub = cut(&bus.hub, 24);
    let rest = format!("  {owner} {hub}  {}{heal}  heals {}  {well}", bus.frames, short(bus.heals));
    let name = cut(&bus.network_name, WIDTH.saturating_sub("bus ".len() + rest.chars().count()));
    let mut text = format!("bus {name}{rest}\n");
    text += &bus.adapter.as_ref().map(controller).unwrap_or_default();
    for step in &bus.steps {
        text += &wrap("  ! ", &format!("{step}; not fixed yet"));
    }
    for problem in &bus.problems {
        text += &wrap("  ! ", problem);
    }
    for loss in bus.losses.iter().take(LOSSES) {
        text += &wrap("  ! ", &lost(loss));
    }
    if let more @ 1.. = bus.losses.len().saturating_sub(LOSSES) {
        text += &format!("  ! and {more} more losses: canhub status --json\n");
    }
    let paced = bus.members.iter().any(|member| member.rate.is_some());
    let row = |columns: [&str; 6], pace: &str| row(columns, paced.then_some(pace));
    text += &row(["MEMBER", "INTERFACE", "IN/s", "OUT/s", "LOST", "HEALS"], "PACE");
    let mut members: Vec<&MemberStatus> = bus.members.iter().collect();
    members.sort_by_cached_key(|member| (who(member), &member.interface));
    for member in members {
        let old = before.and_then(|bus| bus.members.iter().find(|old| old.endpoint == member.endpoint));
        let [inward, out, lost] = rates(old.map(|old| old.traffic), member.traffic, seconds);
        let pace = member.rate.map_or("off".into(), |rate| short(u64::from(rate)));
        let name = row_name(member, if paced { PACED_NAME } else { NAME });
        text += &row([&name, &member.interface, &inward, &out, &lost, &short(member.heals)], &pace);
    }
    let filtered: Vec<String> = bus.members.iter().filter_map(allowed).collect();
    if let Some(span) = &bus.span {
        let old = before.and_then(|bus| bus.span.as_ref()).map(|span| span.traffic);
        let [inward, out, lost] = rates(old, span.traffic, seconds);
        let pace = span.rate.map_or("off".into(), |rate| short(u64::from(rate)));
        let heals = short(span.heals);
        text += &row([&span.name.member(), &span.interface, &inward, &out, &lost, &heals], &pace);
    }
    let [inward, out, lost] = rates(before.map(|bus| bus.traffic), bus.traffic, seconds);
    text += &row(["(host)", &cut(bus.interface(), 15), &inward, &out, &lost, ""], "");
    filtered.iter().for_each(|words| text += &wrap("  ", words));
    if !filtered.is_empty() {
        text += &format!("  {} can-gw rules\n", bus.rules);
    }
    bus.members.iter().filter_map(shaped).for_each(|words| text += &wrap("  ", &words));
    bus.span.iter().for_each(|span| text += &span::hosts(span));
    if bus.members.is_empty() {
        let name = &bus.network_name;
        let words = match bus.network.is_made() {
            true => format!("No members. To attach one: canhub attach {name} --netns NETNS"),
            false => format!("No containers. To connect one: docker run -d --network {name} IMAGE"),
        };
        text += &wrap("  ", &words);
    }
    text
}

/// A frame that should be on the bus.
fn expected(one: &ExpectationStatus) -> String {
    match one.state {
        ExpectationState::Down => wrap("  ! ", &one.reason),
        state => {
            let real = one.cycle_ms.map(|cycle| format!(", comes every {cycle:.1} ms")).unwrap_or_default();
            let ExpectationStatus { every, within, .. } = one;
            let name = one.name();
            wrap("  ", &format!("expects {name} every {every} within {within}: {}{real}", state.as_str()))
        }
    }
}

fn controller(adapter: &AdapterStatus) -> String {
    let AdapterStatus { interface, state, bitrate, tx_errors, rx_errors, bus_offs, restarts } = adapter;
    let bitrate = bitrate.map_or("no bitrate".into(), |rate| format!("{rate} bit/s"));
    let errors = match (tx_errors, rx_errors) {
        (Some(tx), Some(rx)) => format!(", errors tx {tx} rx {rx}"),
        _ => String::new(),
    };
    wrap(
        "  ",
        &format!(
            "{interface} is {state} at {bitrate}{errors}, bus-off {bus_offs} times, restarted {restarts} times"
        ),
    )
}

/// What a member may send and hear, if that is not everything.
fn allowed(member: &MemberStatus) -> Option<String> {
    Some(format!("{} {}", who(member), member.filters.words()?))
}

/// What happens to a member's frames on purpose, and how many of them were dropped so far.
fn shaped(member: &MemberStatus) -> Option<String> {
    let Traffic { dropped_on_purpose_in: inward, dropped_on_purpose_out: out, .. } = member.traffic;
    let dropped = match (inward, out) {
        (0, 0) => String::new(),
        (0, out) => format!(", dropped {out} frames from it"),
        (inward, 0) => format!(", dropped {inward} frames to it"),
        (inward, out) => format!(", dropped {out} frames from it and {inward} to it"),
    };
    Some(format!("{}: {} on purpose{dropped}", who(member), member.shapes.words()?))
}

/// Whose frames were lost, why, and when the last one was.
fn lost(loss: &Loss) -> String {
    let last = match loss.last_seen_s {
        Some(ago) => format!("last seen {} ago", roughly(Duration::from_secs(ago))),
        None => "before canhub started".to_owned(),
    };
    let (direction, who, cause) = (loss.direction.preposition(), loss.who(), loss.cause.sentence());
    format!("{} frames {direction} {who} were lost: {cause}; {last}", loss.frames)
}

fn who(member: &MemberStatus) -> String {
    let name = member.container.clone().unwrap_or_else(|| format!("endpoint {}", member.endpoint.short()));
    match member.stage {
        Stage::Joined { .. } => name,
        Stage::Created => format!("(starting) {name}"),
        Stage::Left => format!("(leaving) {name}"),
    }
}

/// Its name in the table, which says what it is unless Docker started it: `ecu1 (namespace)`.
fn row_name(member: &MemberStatus, width: usize) -> String {
    let kind = match member.kind {
        MemberKind::Container => String::new(),
        kind => format!(" ({})", kind.as_str()),
    };
    cut(&who(member), width - kind.len()) + &kind
}

/// 80 columns including the indent. For a bus with paced members it shows their pace in bit/s, and less of their names.
fn row([who, interface, inward, out, lost, heals]: [&str; 6], pace: Option<&str>) -> String {
    let frames = format!("{inward:>8} {out:>8} {lost:>8} {heals:>6}");
    let line = match pace {
        None => format!("  {:<NAME$} {interface:<15} {frames}", cut(who, NAME)),
        Some(pace) => format!("  {:<PACED_NAME$} {interface:<15} {pace:>6} {frames}", cut(who, PACED_NAME)),
    };
    line.trim_end().to_owned() + "\n"
}

/// Frames per second in and out, and the total of lost ones. A counter that fell has been reset in between.
fn rates(before: Option<Traffic>, now: Traffic, seconds: f64) -> [String; 3] {
    let rate = |old: Option<Count>, new: Count| match old.and_then(|old| new.handled.checked_sub(old.handled))
    {
        Some(frames) if seconds > 0.0 => short((frames as f64 / seconds).round() as u64),
        _ => "-".into(),
    };
    [
        rate(before.map(|old| old.frames_in), now.frames_in),
        rate(before.map(|old| old.frames_out), now.frames_out),
        short(now.lost_in.total() + now.lost_out.total()),
    ]
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Instant};

    use super::*;
    use crate::filters::Filters;
    use crate::status::{Direction, LossCause, Lost};

    fn traffic(inward: u64, out: u64, lost: u64) -> Traffic {
        Traffic {
            frames_in: Count { handled: inward, dropped: lost },
            frames_out: Count { handled: out, dropped: 0 },
            lost_in: Lost { rule: lost, ..Lost::default() },
            lost_out: Lost::default(),
            ..Traffic::default()
        }
    }

    fn bus(name: &str, members: Vec<MemberStatus>) -> BusStatus {
        BusStatus {
            network: "a1".repeat(32).try_into().unwrap(),
            network_name: name.into(),
            hub: "fifteen-bytes-x".into(),
            adapter: None,
            waiting: false,
            owner: Ownership::Owned,
            frames: "classic".into(),
            heal: true,
            steps: vec![],
            leftovers: vec![],
            problems: vec![],
            adapter_problems: vec![],
            fixes: BTreeMap::new(),
            blocked: false,
            rules: 0,
            heals: 3,
            losses: vec![],
            traffic: Traffic::default(),
            members,
            span: None,
        }
    }

    fn member(container: Option<&str>, traffic: Traffic) -> MemberStatus {
        MemberStatus {
            endpoint: "e1".repeat(32).try_into().unwrap(),
            container: container.map(str::to_owned),
            kind: MemberKind::Container,
            interface: "can0".into(),
            stage: Stage::Joined { sandbox: "/run/netns/1".into() },
            rate: None,
            filters: Filters::default(),
            shapes: crate::shape::Shapes::default(),
            heals: 0,
            traffic,
        }
    }

    fn sample(buses: Vec<BusStatus>, at: u64) -> Sample {
        let status = Status {
            version: "0.1.0".into(),
            since: "2026-11-21T08:05:00.250Z".into(),
            uptime_s: 7300,
            ready: true,
            heal: true,
            audit_age_s: Some(12.3),
            buses,
            leftovers: 0,
            late: vec![],
            expectations: vec![],
            faults: vec![],
            span: None,
        };
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        Sample { status, taken: *START + Duration::from_secs(at) }
    }

    #[test]
    fn a_bus_shows_its_members_and_frames_per_second() {
        let before = sample(vec![bus("body", vec![member(Some("door"), traffic(1000, 10, 0))])], 0);
        let now = sample(vec![bus("body", vec![member(Some("door"), traffic(1200, 14, 7))])], 2);
        assert_eq!(
            render(&before, &now),
            "canhub 0.1.0  up 2 h  healing on  checked 12 s ago\n\
             \n\
             bus body  hub fifteen-bytes-x  classic  heals 3  ok\n\
             \x20 MEMBER                       INTERFACE           IN/s    OUT/s     LOST  HEALS\n\
             \x20 door                         can0                 100        2        7      0\n\
             \x20 (host)                       fifteen-bytes-x        0        0        0\n"
        );
    }

    #[test]
    fn paced_members_show_their_pace() {
        let mut members =
            vec![member(Some("door"), Traffic::default()), member(Some("lock"), Traffic::default())];
        members[0].rate = Some(500_000);
        let now = sample(vec![bus("body", members)], 0);
        let text = render(&now, &now);
        assert!(
            text.contains(
                "\n  MEMBER                INTERFACE         PACE     IN/s    OUT/s     LOST  HEALS\n"
            ),
            "{text}"
        );
        assert!(text.contains("\n  door                  can0              500k "), "{text}");
        assert!(text.contains("\n  lock                  can0               off "), "{text}");
    }

    #[test]
    fn a_member_with_lists_shows_them_and_the_rules_that_they_take() {
        let mut tool = member(Some("tool"), Traffic::default());
        tool.filters.tx = Some("7DF 7E0-7E7".parse().unwrap());
        let mut ear = member(Some("ear"), Traffic::default());
        ear.filters.tx = Some("none".parse().unwrap());
        let now = sample(vec![BusStatus { rules: 14, ..bus("body", vec![tool, ear]) }], 0);
        let text = render(&now, &now);
        let lines = "  tool may send 7DF 7E0-7E7 and hear everything\n  ear may send nothing and hear everything\n  14 can-gw rules\n";
        assert!(text.contains(lines), "{text}");
    }

    #[test]
    fn a_loss_says_whose_frames_why_and_when() {
        let loss = |direction, cause, last_seen_s| Loss {
            endpoint: None,
            container: Some("door".into()),
            interface: "can0".into(),
            direction,
            cause,
            frames: 39,
            last_seen: None,
            last_seen_s,
        };
        let losses = vec![
            loss(Direction::In, LossCause::Backlog, Some(12)),
            loss(Direction::Out, LossCause::Down, None),
        ];
        let body = BusStatus { losses, ..bus("body", vec![]) };
        let text = render(&sample(vec![body.clone()], 0), &sample(vec![body], 1));
        for line in [
            "  ! 39 frames to door were lost: the kernel's backlog was full; last seen 12 s\n    ago\n",
            "  ! 39 frames from door were lost: the other end of the pair was down; before\n    canhub started\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn nothing_is_wider_than_80_columns() {
        let long = "n".repeat(120);
        let mut wide =
            bus(&long, vec![member(Some(&long), traffic(u64::from(u32::MAX), 0, u64::from(u32::MAX)))]);
        let mut paced = member(Some(&long), Traffic::default());
        paced.rate = Some(100_000_000);
        wide.members.push(paced);
        wide.heal = false;
        wide.owner = Ownership::Adapter;
        wide.hub = "path:pci-0000:00:14.0-usb-0:2.1:1.0#1".into();
        wide.problems =
            vec!["adapter can0 is down, so its frames do not reach the bus: bring it up".repeat(3)];
        wide.steps = vec![format!("the hub was missing ({long})")];
        let mut now = sample(vec![wide.clone(), bus("empty", vec![])], 1);
        now.status.late = vec![long];
        wide.members[0].traffic = Traffic::default();
        let text = render(&sample(vec![wide], 0), &now);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{} columns: {line}", line.chars().count());
        }
        assert!(text.contains("PROBLEM") && text.contains("docker run -d --network empty"), "{text}");
    }

    #[test]
    fn a_bus_shows_what_is_expected_and_what_is_missing() {
        let expectation = |id: &str, state, network: Option<&str>| ExpectationStatus {
            component: String::new(),
            bus: "body".into(),
            network: network.map(|id| id.repeat(32).try_into().unwrap()),
            id: id.into(),
            from: Some("door".into()),
            every: "20ms".into(),
            within: "30%".into(),
            source: crate::expect::Source::Added,
            state,
            reason: format!("{id} on body from door does not come, expected every 20ms within 30%"),
            since: String::new(),
            last_seen: None,
            cycle_ms: (state == ExpectationState::Up).then_some(20.04),
        };
        let mut now = sample(vec![bus("body", vec![])], 1);
        now.status.expectations = vec![
            expectation("1A0", ExpectationState::Up, Some("a1")),
            expectation("1A1", ExpectationState::Down, Some("a1")),
            expectation("1A2", ExpectationState::NoBus, None),
        ];
        let text = render(&sample(vec![bus("body", vec![])], 0), &now);
        for line in [
            "  expects 1A0 on body from door every 20ms within 30%: up, comes every 20.0 ms",
            "  ! 1A1 on body from door does not come, expected every 20ms within 30%",
            "  expects 1A2 on body from door every 20ms within 30%: no-bus",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line:?} is not in\n{text}");
        }
        assert!(!now.status.is_well(), "a missing frame is a problem");
    }

    #[test]
    fn numbers_stay_short() {
        for (number, expected) in
            [(0, "0"), (99_999, "99999"), (100_000, "100k"), (4_294_967_295, "4294M"), (u64::MAX, "18446P")]
        {
            assert_eq!(short(number), expected);
        }
    }

    #[test]
    fn without_buses_it_shows_how_to_create_one() {
        let text = render(&sample(vec![], 0), &sample(vec![], 1));
        assert!(text.contains("docker network create -d canhub"), "{text}");
    }

    #[test]
    fn counters_that_were_reset_give_no_rate() {
        assert_eq!(rates(Some(traffic(9, 9, 0)), traffic(3, 12, 1), 1.0), ["-", "3", "1"]);
        assert_eq!(rates(None, traffic(3, 12, 1), 1.0)[0], "-");
    }
}
