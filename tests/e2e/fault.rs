//! Faults on purpose, as seen by programs that know nothing of canhub; what is left of them afterwards: nothing.

use std::{
    fs,
    thread::sleep,
    time::{Duration, SystemTime},
};

use ::canhub::clock::rfc3339;
use serde_json::Value;
use socketcan::{CanDataFrame, CanFdSocket, EmbeddedFrame as _, Socket as _, StandardId};

use crate::support::{
    canhub::{self, says},
    dice::Dice,
    docker::{Container, Network, docker},
    frames::assert_all_hear_all,
    host::Journal,
    member::{Member, Running},
    report::{Kind, Sent},
    scene::{Scene, unique},
    shell::{eventually, number_from, say, sh},
};

mod schedule;

/// How a bus is named: the managed plugin does not learn the names of networks.
fn name(bus: &Network) -> String {
    if canhub::is_plugin() { bus.id[..12].to_owned() } else { bus.name.clone() }
}

/// How a member is named: nor those of containers.
fn member(container: &Container) -> String {
    match canhub::is_plugin() {
        true => container.endpoint()[..12].to_owned(),
        false => container.name.clone(),
    }
}

/// Lets a fault begin.
#[track_caller]
fn begin(bus: &Network, words: &str) {
    let said = says(&format!("fault {} {words} --json", name(bus)));
    assert!(said.contains("on purpose until"), "{said}");
}

fn lasting() -> Vec<Value> {
    let said: Value = serde_json::from_str(&says("fault list --json")).expect("it is JSON");
    said["faults"].as_array().expect("it is a list").clone()
}

#[track_caller]
fn until_over() {
    eventually("all faults have ended", || {
        let last = lasting();
        if last.is_empty() { Ok(()) } else { Err(format!("{last:?}")) }
    });
}

/// A program that prints every frame and what controllers report, also when its interface was down meanwhile.
struct Ear {
    candump: Running,
    pid: String,
    member: Member,
}

impl Ear {
    #[track_caller]
    fn of(container: &Container, number: u8) -> Self {
        let member = container.member("can0", number);
        let (candump, pid) = member.start_tool("candump -D -L can0,0:0,#FFFFFFFF");
        Self { candump, pid, member }
    }

    #[track_caller]
    fn send(&self, frame: &str) {
        self.member.run(&["cansend", "can0", frame]);
    }

    /// The frames, in order.
    #[track_caller]
    fn heard(self) -> Vec<String> {
        // What was sent last is on its way.
        sleep(Duration::from_millis(100));
        self.member.run(&["kill", &self.pid]);
        let said = self.candump.finish();
        said.lines().filter_map(|line| line.split(' ').nth(2)).map(str::to_owned).collect()
    }
}

#[test]
fn a_program_that_knows_nothing_of_canhub_sees_each_fault() {
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-fault"]);
    let (first, second) = (scene.container(&bus), scene.container(&bus));
    let who = member(&first);
    let before = scene.traces();
    let journal = Journal::mark();
    let (door, lock) = (Ear::of(&first, 1), Ear::of(&second, 2));

    begin(&bus, &format!("{who} cut --until-cleared"));
    door.send("101#01");
    lock.send("201#01");
    says(&format!("fault clear {} {who}", name(&bus)));
    door.send("102#01");
    lock.send("202#01");

    begin(&bus, &format!("{who} bus-off --for 300ms"));
    door.send("103#01");
    lock.send("203#01");
    until_over();
    door.send("104#01");
    lock.send("204#01");

    begin(&bus, &format!("{who} error=passive --for 100ms"));
    begin(&bus, &format!("{who} error=ack@20 --for 200ms"));
    until_over();
    begin(&bus, &format!("{who} flood=321@500 --for 1s"));
    begin(&bus, "flood=18FEF100@100 --for 100ms");
    until_over();

    begin(&bus, &format!("{who} loss=100% --until-cleared"));
    door.send("111#01");
    lock.send("211#01");
    says("fault clear");
    begin(&bus, &format!("{who} rx-loss=100% --until-cleared"));
    door.send("112#01");
    lock.send("212#01");
    says("fault clear");
    door.send("113#01");
    lock.send("213#01");

    begin(&bus, &format!("{who} down --until-cleared"));
    let refused = door.member.attempt(&["cansend", "can0", "105#01"]).expect_err("the interface is down");
    assert!(refused.contains("Network is down"), "{refused}");
    lock.send("205#01");
    let status = says("status").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(status.contains("is down on purpose until") && !status.contains("PROBLEM"), "{status}");
    says("fault clear");
    door.send("106#01");
    lock.send("206#01");

    let (door, lock) = (door.heard(), lock.heard());
    let errors = |heard: &[String]| -> Vec<String> {
        let mut errors: Vec<String> =
            heard.iter().filter(|frame| frame.starts_with("2000")).cloned().collect();
        errors.dedup();
        errors
    };
    let frames = |heard: &[String]| -> Vec<String> {
        let of_others = |frame: &&String| !frame.starts_with("2000") && frame.ends_with("#01");
        heard.iter().filter(of_others).map(|frame| frame[..3].to_owned()).collect()
    };
    // Each hears its own frames too, as programs on one machine do.
    assert_eq!(
        frames(&door),
        ["101", "102", "202", "103", "104", "204", "111", "211", "112", "113", "213", "106", "206"]
    );
    assert_eq!(
        frames(&lock),
        ["201", "102", "202", "203", "104", "204", "211", "112", "212", "113", "213", "205", "106", "206"]
    );
    assert_eq!(errors(&lock), Vec::<String>::new(), "error frames are for one member only");
    let reported = errors(&door);
    let [off, restarted, rest @ ..] = &reported[..] else { panic!("{reported:?}") };
    assert_eq!([off, restarted], ["20000040#0000000000000000", "20000100#0000000000000000"]);
    let of = |frame: &str| door.iter().filter(|heard| *heard == frame).count();
    let [passive, active, ack] =
        ["20000204#0020000000008000", "20000204#0040000000000000", "200000A8#0000001900000000"];
    assert!(rest.iter().all(|frame| [passive, active, ack].contains(&frame.as_str())), "{reported:?}");
    assert_eq!((of(passive), of(active)), (1, 1));
    assert!((1..=5).contains(&of(ack)), "{} in 200 ms at 20 per second", of(ack));
    let flood = |heard: &[String], id: &str| heard.iter().filter(|frame| frame.starts_with(id)).count();
    let (floods, of_host) = (flood(&lock, "321#"), flood(&lock, "18FEF100#"));
    say(&format!("a flood of 500 frames per second for 1 s: {floods} frames; of 100 for 0.1 s: {of_host}"));
    assert!((50..=501).contains(&floods) && (1..=11).contains(&of_host), "{floods} {of_host}");
    assert_eq!(flood(&door, "321#"), floods, "it is what the member sends");

    let told = journal.until("all faults", |told| told.matches("fault on purpose ended").count() >= 9);
    assert_eq!(told.matches("fault on purpose began").count(), 9, "{told}");
    assert!(!told.contains("healed") && !told.contains("frames lost"), "{told}");
    assert_eq!(scene.traces(), before, "nothing is left of the faults");
    assert_all_hear_all(
        &[&first.member("can0", 1), &second.member("can0", 2), &Member::host("vcan-fault", 9)],
        &[Kind::Classic, Kind::Fd],
        20,
    );
}

/// The short form; `make soak` has more.
const RANDOM: u64 = 12;

#[test]
fn of_random_faults_nothing_is_left_when_they_have_ended_although_canhub_was_killed() {
    const NAME: &str =
        "fault::of_random_faults_nothing_is_left_when_they_have_ended_although_canhub_was_killed";
    if !canhub::is_service(NAME) {
        return;
    }
    let (all, mut dice) = (number_from("CANHUB_FAULTS").unwrap_or(RANDOM), Dice::new(20_261_128));
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-random"]);
    let containers = [1, 2, 3].map(|_| scene.container(&bus));
    let members: Vec<Member> =
        (1..).zip(&containers).map(|(number, one)| one.member("can0", number)).collect();
    let qdiscs = || -> String {
        let inside = containers.iter().map(|one| format!("nsenter --net --target {} tc qdisc show", one.pid));
        inside.chain(["tc qdisc show".to_owned()]).map(|line| sh(&line)).collect()
    };
    let before = (scene.traces(), qdiscs());
    let kills = 2 + all / 30;
    let kill_every = all / kills;
    for number in 1..=all {
        let who = match dice.below(4) {
            3 => String::new(),
            at => member(&containers[at]),
        };
        let effect = *dice.pick(&[
            "cut",
            "down",
            "bus-off",
            "error=passive",
            "error=warning",
            "error=ack@50",
            "error=stuff",
            "flood=123@200",
            "flood=18FEF100@50",
            "cut error=crc",
            "bus-off flood=7FF@100",
            "loss=20% delay=5ms",
            "rx-corrupt=10% rx-delay=3ms rx-duplicate=5%",
            "cut loss=50%",
        ]);
        let lasts = 10 + dice.below(1500);
        begin(&bus, &format!("{who} {effect} --for {lasts}ms"));
        match dice.below(8) {
            0 => drop(says(&format!("fault clear {} {who}", name(&bus)))),
            1 => sleep(Duration::from_millis(dice.below(400) as u64)),
            _ => {}
        }
        if number % kill_every == 0 && number / kill_every <= kills {
            canhub::crash();
            eventually("canhub answers again", || {
                let said = sh(&format!("{} fault list --json 2>&1 || true", canhub::program()));
                if said.contains("\"faults\"") { Ok(()) } else { Err(said) }
            });
        }
    }
    until_over();
    assert_eq!((scene.traces(), qdiscs()), before);
    let status: Value = serde_json::from_str(&says("status --json")).expect("it is JSON");
    let steps: Vec<&Value> =
        status["buses"].as_array().into_iter().flatten().map(|bus| &bus["steps"]).collect();
    assert!(steps.iter().all(|steps| steps.as_array().is_some_and(Vec::is_empty)), "{steps:?}");
    let host = Member::host("vcan-random", 9);
    assert_all_hear_all(&members.iter().chain([&host]).collect::<Vec<_>>(), &[Kind::Classic, Kind::Fd], 20);
}

#[test]
fn faults_stay_when_canhub_is_replaced_or_killed_and_when_containers_get_other_names() {
    let test = "fault::faults_stay_when_canhub_is_replaced_or_killed_and_when_containers_get_other_names";
    if !canhub::is_service(test) {
        return;
    }
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-stay"]);
    let containers = [1, 2, 3].map(|_| scene.container(&bus));
    let [silent, lossy, ear] = &containers;
    begin(&bus, &format!("{} cut --for 1h", silent.name));
    begin(&bus, &format!("{} loss=100% --for 1h", lossy.name));
    let journal = Journal::mark();
    let heard = ear.member("can0", 3).listen();
    let senders = [(silent, 1), (lossy, 2)]
        .map(|(container, number)| container.member("can0", number).start_sending(&["--gap", "5"]));

    // An upgrade: the program is another file.
    let (program, new) = (canhub::program(), format!("{}.new", canhub::program()));
    fs::copy(&program, &new).expect("the program can be copied");
    fs::rename(&new, &program).expect("the program can be replaced");
    begin(&bus, &format!("{} error=warning --for 2s", ear.name));
    let (due, mut ends) = (SystemTime::now() + Duration::from_secs(2), Vec::new());
    for replace in [canhub::restart, canhub::crash] {
        replace();
        let started = SystemTime::now();
        eventually("canhub answers again and only the fault whose time is over has ended", || {
            let said = sh(&format!("{} fault list --json 2>&1 || true", canhub::program()));
            if said.matches("\"until\"").count() == 2 { Ok(()) } else { Err(said) }
        });
        let events = says("events --json");
        let ended = events.lines().filter(|line| line.contains("\"fault-ended\""));
        ends.extend(ended.map(|line| (line.to_owned(), started)));
        let known = format!("\"{}\"", ear.name);
        eventually("it knows the names of containers", || {
            let status = says("status --json");
            if status.contains(&known) { Ok(()) } else { Err(status) }
        });
    }
    // On time, or as soon as the next program runs.
    let [(ended, started)] = &ends[..] else { panic!("{ends:?}") };
    let ended: Value = serde_json::from_str(ended).expect("it is JSON");
    let (at, latest) = (ended["time"].as_str(), rfc3339(due.max(*started) + Duration::from_secs(1)));
    assert!(at.is_some_and(|at| at <= latest.as_str()), "it ended after {latest}: {ended}");
    let [before, after] = [silent.name.clone(), unique("renamed")];
    for [from, to] in [[&before, &after], [&after, &before]] {
        docker(&["rename", from, to]);
        eventually("the fault is listed with the new name", || {
            let listed = says("fault list --json");
            if listed.contains(&format!("\"member\":\"{to}\"")) { Ok(()) } else { Err(listed) }
        });
    }
    let heard = heard.heard();
    assert!(heard.streams.is_empty(), "{heard:?}");
    assert!(senders.map(|sender| sender.end::<Sent>().sent).iter().all(|sent| *sent > 0));
    let told = journal.since();
    assert!(!told.contains("healed") && !told.contains("frames lost"), "{told}");
    says("fault clear");
    let members: Vec<Member> =
        (1..).zip(&containers).map(|(number, one)| one.member("can0", number)).collect();
    assert_all_hear_all(&members.iter().collect::<Vec<_>>(), &[Kind::Classic, Kind::Fd], 20);
}

/// Whether a frame that is sent on one is heard on the other.
fn hears(from: &CanFdSocket, to: &CanFdSocket) -> bool {
    to.set_read_timeout(Duration::from_millis(100)).expect("it can be set");
    let frame = CanDataFrame::new(StandardId::ZERO, &[]).expect("it is short");
    from.write_frame(&frame).expect("it is sent");
    to.read_frame().is_ok()
}

#[test]
fn containers_that_start_again_are_broken_again_although_their_bus_is_not_healed() {
    let test = "fault::containers_that_start_again_are_broken_again_although_their_bus_is_not_healed";
    if !canhub::knows_names(test) {
        return;
    }
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-off", "heal=off"]);
    let lossy = format!("name={},driver-opt=loss=100%", bus.name);
    let all =
        [&bus.name, &bus.name, &bus.name, &lossy].map(|how| scene.container_with(&["--network", how]).name);
    for (name, fault) in all.iter().zip(["cut", "loss=100%", "rx-loss=100%"]) {
        begin(&bus, &format!("{name} {fault} --for 1h"));
    }
    docker(&[&["restart", "--time", "0"], &all.each_ref().map(String::as_str)[..]].concat());
    let host = CanFdSocket::open("vcan-off").expect("the hub exists");
    let sockets = all.each_ref().map(|name| {
        let container = Container::running(name);
        container.member("can0", 1);
        container.socket("can0")
    });
    let is_heard = || -> Vec<bool> {
        let out = |at: usize| hears(&sockets[at], &host);
        vec![out(0), out(1), hears(&host, &sockets[2]), out(3)]
    };
    // Until Docker has told which containers these are, only the option of the last is known.
    eventually("the faults are in effect again", || match is_heard() {
        heard if heard == [false; 4] => Ok(()),
        heard => Err(format!("{heard:?} {:#}", bus.status())),
    });
    let status = bus.status();
    for word in ["steps", "problems"] {
        assert_eq!(status[word], Value::Array(Vec::new()), "{word}: {status:#}");
    }
    says("fault clear");
    assert_eq!(is_heard(), [true, true, true, false]);
}

#[test]
fn an_expectation_says_that_its_sender_is_cut_off_on_purpose() {
    let scene = Scene::new();
    let network = scene.network(&["hub=vcan-missed"]);
    let container = scene.container(&network);
    let (who, bus) = (member(&container), name(&network));
    let sends = "while cansend can0 1A1#01; do sleep 0.1; done";
    let _ecu = container.member("can0", 1).start(&["sh", "-c", sends]);
    says(&format!("expect add {bus} 1A1 --every 150ms --within 100% --from {who}"));
    let remove = format!("{} expect rm {bus} 1A1 --from {who} >/dev/null", canhub::program());
    scene.undo(move || drop(sh(&remove)));
    let until = |state: &str, words: &str| {
        eventually(&format!("the frame is {state}"), || {
            let listed = says("expect ls --json");
            let is_so = listed.contains(&format!("\"state\":\"{state}\"")) && listed.contains(words);
            if is_so { Ok(()) } else { Err(listed) }
        });
    };
    until("up", "");
    begin(&network, &format!("{who} cut --until-cleared"));
    until("down", "is cut off on purpose until");
    says("fault clear");
    until("up", "");
}
