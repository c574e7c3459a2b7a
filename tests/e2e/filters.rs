//! `allow-tx` and `allow-rx` in the real kernel: exactly the allowed frames arrive, once and in order.

use std::{
    fs::{self, File},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use ::canhub::{
    filters::{Filters, IdList},
    frames::CanAnyFrame,
};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns},
};
use socketcan::{
    CanDataFrame, CanFdFrame, CanFdSocket, CanRemoteFrame, EmbeddedFrame as _, ExtendedId, Frame as _, Id,
    Socket as _, StandardId,
};

use crate::support::{
    canhub::{self, Configured, is_service, program},
    dice::Dice,
    docker::{Container, docker, try_docker},
    host,
    scene::{Scene, unique},
    shell::{assert_refused, eventually, sh},
};

const EXTENDED: u32 = 0x1FFF_FFFF;
/// Random extended IDs of each round, besides all standard ones.
const RANDOM: usize = 2000;

/// A frame that was sent or heard: its ID, whether it is extended, remote, FD.
type Seen = (u32, bool, bool, bool);

/// An entry of a list, and what it names.
struct Entry {
    text: String,
    out: bool,
    extended: bool,
    names: Box<dyn Fn(u32) -> bool>,
}

struct List(Vec<Entry>);

impl List {
    fn random(dice: &mut Dice) -> Self {
        let mut list = Vec::new();
        let only_out = dice.below(4) == 0;
        for _ in 0..=dice.below(4) {
            let extended = dice.below(3) == 0;
            let max = if extended { EXTENDED } else { 0x7FF };
            let (a, b) = (dice.below(max as usize + 1) as u32, dice.below(max as usize + 1) as u32);
            let show = |id: u32| if extended { format!("{id:08X}") } else { format!("{id:03X}") };
            let out = only_out || dice.below(4) == 0;
            let bang = if out { "!" } else { "" };
            let (text, names): (String, Box<dyn Fn(u32) -> bool>) = match dice.below(3) {
                0 => (show(a), Box::new(move |id| id == a)),
                1 => {
                    let (a, b) = (a.min(b), a.max(b));
                    (format!("{}-{}", show(a), show(b)), Box::new(move |id| (a..=b).contains(&id)))
                }
                _ => {
                    // The upper or the lower bits, so that not too many filters are needed.
                    let mask = max & *dice.pick(&[!0x3f, 0x7, !0x1ff, 0xf]);
                    (format!("{}:{}", show(a), show(mask)), Box::new(move |id| (id ^ a) & mask == 0))
                }
            };
            list.push(Entry { text: format!("{bang}{text}"), out, extended, names });
        }
        Self(list)
    }

    fn text(&self) -> String {
        self.0.iter().map(|entry| entry.text.clone()).collect::<Vec<_>>().join(" ")
    }

    fn allows(&self, id: u32, extended: bool) -> bool {
        let names =
            |out| self.0.iter().any(|one| one.out == out && one.extended == extended && (one.names)(id));
        (self.0.iter().all(|entry| entry.out) || names(false)) && !names(true)
    }
}

/// Everything that was heard until now and does not come later.
fn heard(socket: &CanFdSocket) -> Vec<Seen> {
    heard_for(socket, 300)
}

/// Everything that is heard until nothing comes for so many milliseconds.
fn heard_for(socket: &CanFdSocket, silence: u64) -> Vec<Seen> {
    socket.set_read_timeout(Duration::from_millis(silence)).expect("it can be set");
    let mut all = Vec::new();
    while let Ok(frame) = socket.read_frame() {
        let fd = matches!(frame, CanAnyFrame::Fd(_));
        all.push((frame.raw_id(), frame.is_extended(), frame.is_remote_frame(), fd));
    }
    all
}

fn id(id: u32, extended: bool) -> Id {
    match extended {
        true => ExtendedId::new(id).expect("it has 29 bits").into(),
        false => StandardId::new(id as u16).expect("it has 11 bits").into(),
    }
}

fn send(socket: &CanFdSocket, (number, extended, remote, fd): Seen) -> bool {
    let id = id(number, extended);
    let sent = match (remote, fd) {
        (true, _) => socket.write_frame(&CanRemoteFrame::new_remote(id, 0).expect("it is short")),
        (_, true) => socket.write_frame(&CanFdFrame::new(id, &[1; 12]).expect("it is short")),
        _ => socket.write_frame(&CanDataFrame::new(id, &[1, 2]).expect("it is short")),
    };
    sent.is_ok()
}

fn assert_same(what: &str, heard: &[Seen], wanted: &[Seen]) {
    let differs = heard.iter().zip(wanted).position(|(one, other)| one != other);
    let at = differs.unwrap_or(heard.len().min(wanted.len()));
    assert!(
        heard == wanted,
        "{what}: {} frames instead of {}, different from {at} on: {:x?} instead of {:x?}",
        heard.len(),
        wanted.len(),
        heard.get(at),
        wanted.get(at)
    );
}

#[test]
fn exactly_the_allowed_frames_of_twenty_random_lists_arrive() {
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-filters"]);
    let (one, other) = (scene.container_with(&[]), scene.container_with(&[]));
    let host = CanFdSocket::open("vcan-filters").expect("the hub exists");
    let mut dice = Dice::new(13);
    for _ in 0..10 {
        let (tx, rx) = loop {
            let [tx, rx] = [List::random(&mut dice), List::random(&mut dice)];
            // Not those that need too many rules, which canhub refuses.
            let list = |list: &List| list.text().parse::<IdList>().ok();
            if let (Some(tx_ids), Some(rx_ids)) = (list(&tx), list(&rx)) {
                let sends = Filters { tx: Some(tx_ids), ..Filters::default() };
                if sends.fit(&Filters { rx: Some(rx_ids), ..Filters::default() }).is_ok() {
                    break (tx, rx);
                }
            }
        };
        bus.connect(&one, &[&format!("allow-tx={}", tx.text())]);
        bus.connect(&other, &[&format!("allow-rx={}", rx.text())]);
        let (sender, listener) = (one.socket("can0"), other.socket("can0"));
        let standard = (0..0x800).map(|id| (id, false));
        let random: Vec<_> = (0..RANDOM).map(|_| (dice.below(EXTENDED as usize + 1) as u32, true)).collect();
        let all: Vec<Seen> = standard
            .chain(random)
            .enumerate()
            .map(|(at, (id, extended))| (id, extended, at % 3 == 1, at % 3 == 2))
            .collect();
        for frame in &all {
            assert!(send(&sender, *frame), "{frame:x?} is sent");
        }
        let what = format!("allow-tx={} allow-rx={}", tx.text(), rx.text());
        let passed = |ids: &[&List]| -> Vec<Seen> {
            all.iter()
                .filter(|(id, wide, ..)| ids.iter().all(|list| list.allows(*id, *wide)))
                .copied()
                .collect()
        };
        assert_same(&format!("the host, {what}"), &heard(&host), &passed(&[&tx]));
        assert_same(&format!("the other, {what}"), &heard(&listener), &passed(&[&tx, &rx]));
        bus.disconnect(&one);
        bus.disconnect(&other);
    }
}

#[test]
fn no_frame_passes_that_neither_the_old_nor_the_new_list_allows() {
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-change"]);
    let ecu = scene.container_with(&[]);
    let done = Arc::new(AtomicBool::new(false));
    let (flood, listen) = (flood(&ecu, &done), listen("vcan-change", &done));
    for option in ["allow-tx=100", "allow-tx=200", "allow-tx=100"] {
        bus.connect(&ecu, &[option]);
        thread::sleep(Duration::from_millis(300));
        bus.disconnect(&ecu);
        thread::sleep(Duration::from_millis(400));
    }
    // A network's own list: it is created again, and both the container and the listener are back as soon as they can.
    for option in ["allow-tx=200", "allow-tx=300"] {
        docker(&["network", "rm", &bus.name]);
        let create = ["network", "create", "--driver", canhub::driver(), "--ipam-driver", "null"];
        docker(&[&create[..], &["-o", "hub=vcan-change", "-o", option, &bus.name]].concat());
        bus.connect(&ecu, &[]);
        thread::sleep(Duration::from_millis(600));
        bus.disconnect(&ecu);
    }
    done.store(true, Ordering::Relaxed);
    flood.join().expect("it does not panic");
    let mut all = listen.join().expect("it does not panic");
    assert!(all.len() > 100, "it floods: {} frames", all.len());
    all.dedup();
    assert_eq!(all, [0x100, 0x200, 0x100, 0x200, 0x300], "each list passes its ID and nothing else");
}

/// Sends 100, 200 and 300 in turn on the container's can0, as soon as it is there and until it is gone, again and again.
fn flood(ecu: &Container, done: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (namespace, done) = (format!("/proc/{}/ns/net", ecu.pid), Arc::clone(done));
    thread::spawn(move || {
        setns(File::open(namespace).expect("it runs"), CloneFlags::CLONE_NEWNET).expect("root may");
        while !done.load(Ordering::Relaxed) {
            let Ok(socket) = CanFdSocket::open("can0") else {
                thread::sleep(Duration::from_micros(200));
                continue;
            };
            let ids = [0x100, 0x200, 0x300].into_iter().cycle();
            for id in ids.take_while(|_| !done.load(Ordering::Relaxed)) {
                if !send(&socket, (id, false, false, false)) {
                    break;
                }
                thread::sleep(Duration::from_micros(100));
            }
        }
    })
}

/// The IDs of all frames on the hub, also when another one takes its place.
fn listen(hub: &'static str, done: &Arc<AtomicBool>) -> JoinHandle<Vec<u32>> {
    let done = Arc::clone(done);
    thread::spawn(move || {
        let (mut all, mut open) = (Vec::new(), None);
        while !done.load(Ordering::Relaxed) {
            let now = if_nametoindex(hub).ok();
            if open.as_ref().map(|(index, _)| *index) != now {
                open = now.zip(CanFdSocket::open(hub).ok());
            }
            match &open {
                Some((_, socket)) => all.extend(heard_for(socket, 20).into_iter().map(|(id, ..)| id)),
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
        all
    })
}

/// Sends frames that are allowed (123) and not (456). Which of them are heard, without repetition?
fn passes(from: &CanFdSocket, to: &CanFdSocket) -> Vec<u32> {
    heard(to);
    for number in [0x456, 0x123, 0x456] {
        send(from, (number, false, false, false));
    }
    heard(to).into_iter().map(|(id, ..)| id).collect()
}

#[test]
fn rules_that_somebody_removes_or_adds_are_healed_by_the_audit_alone() {
    if !is_service("filters::rules_that_somebody_removes_or_adds_are_healed_by_the_audit_alone") {
        return;
    }
    // Rules have no events.
    let _configured = Configured::with(&["CANHUB_AUDIT_INTERVAL=1"]);
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-heal"]);
    let ecu = scene.container_with(&[]);
    bus.connect(&ecu, &["allow-tx=123"]);
    let before = host::rules();
    let end = ecu.host_end("can0").ifname;
    let of_tx = |rule: &&String| rule.contains(&format!("-s {end} ")) && rule.contains("-f ");
    let rule = before.iter().find(of_tx).unwrap_or_else(|| panic!("{before:#?}"));
    // Its exit status says nothing.
    sh(&format!("{}; cangw -A -s {end} -d vcan-heal -e -i -l 1; true", rule.replacen("-A", "-D", 1)));
    assert_ne!(host::rules(), before);
    let sorted = |mut rules: Vec<String>| {
        rules.sort();
        rules
    };
    eventually("the rules are as before", || match sorted(host::rules()) {
        now if now == sorted(before.clone()) => Ok(()),
        now => Err(format!("{now:#?}")),
    });
    let host = CanFdSocket::open("vcan-heal").expect("the hub exists");
    assert_eq!(passes(&ecu.socket("can0"), &host), [0x123]);
}

#[test]
fn root_with_net_admin_cannot_send_what_its_list_does_not_allow() {
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-root"]);
    let ecu = scene.container_with(&["--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW", "--user", "0"]);
    bus.connect(&ecu, &["allow-tx=123"]);
    let host = CanFdSocket::open("vcan-root").expect("the hub exists");
    for attempt in [
        "ip link set can0 down; ip link set can0 up",
        "ip link set can0 mtu 16; ip link set can0 mtu 72",
        "ip link set can0 alias 'canhub net=nothing'",
        "ip link set can0 txqueuelen 5000",
        "ip link add vcan9 type vcan; ip link set vcan9 up",
        "ip link set can0 name other; ip link set other up",
        "ip link del can0",
    ] {
        // Whether it may do this does not matter.
        let _ = try_docker(&["exec", &ecu.name, "sh", "-c", attempt]);
        eventually("it has its interface again", || {
            match ecu.links().iter().find(|link| link.ifname == "can0") {
                Some(link) if link.is_up() => Ok(()),
                _ => Err(format!("{:?}", ecu.links())),
            }
        });
        eventually(
            "it sends what it may, and nothing else",
            || match passes(&ecu.socket("can0"), &host)[..] {
                [0x123] => Ok(()),
                ref other if other.contains(&0x456) => panic!("after {attempt:?}: {other:x?}"),
                ref other => Err(format!("after {attempt:?}: {other:x?}")),
            },
        );
    }
}

#[test]
fn lists_that_are_lost_with_the_records_open_nobody_up() {
    if !is_service("filters::lists_that_are_lost_with_the_records_open_nobody_up") {
        return;
    }
    let scene = Scene::new();
    let (bus, quiet) =
        (scene.network(&["hub=vcan-lists"]), scene.network(&["hub=vcan-quiet", "allow-tx=none"]));
    let (own, of_network) = (scene.container_with(&[]), scene.container(&quiet));
    bus.connect(&own, &["allow-tx=none"]);
    let hubs = ["vcan-lists", "vcan-quiet"].map(|hub| CanFdSocket::open(hub).expect("the hub exists"));
    let assert_mute = || {
        for (ecu, hub) in [&own, &of_network].into_iter().zip(&hubs) {
            assert_eq!(passes(&ecu.socket("can0"), hub), [0_u32; 0], "{}", ecu.name);
        }
    };
    assert_mute();
    canhub::stop();
    fs::remove_file(canhub::state_dir().join("state.json")).expect("the state file is there");
    host::records().iter().for_each(|record| fs::remove_file(record).expect("root may delete it"));
    canhub::start();
    assert_mute();
    let lost = |said: &str| said.matches("start the container again").count();
    // Docker tells the network's lists, and nobody tells those of a container.
    eventually("one container must be started again", || match canhub::ask("/v1/status") {
        said if lost(&said) == 1 => Ok(()),
        said => Err(said),
    });
    assert_mute();
    bus.disconnect(&own);
    bus.connect(&own, &["allow-tx=none"]);
    assert_mute();
    let said = canhub::ask("/v1/status");
    assert_eq!(lost(&said), 0, "{said}");
    let shown = sh(&format!("{} status || true", program()));
    assert!(shown.contains("may send nothing and hear everything"), "{shown}");
}

#[test]
fn a_recording_has_no_frame_that_was_kept_from_the_bus() {
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-kept"]);
    let ecu = scene.container_with(&[]);
    bus.connect(&ecu, &["allow-tx=123"]);
    let file = format!("/tmp/{}.log", unique("kept"));
    let recorder = format!("timeout --signal INT 3 {} record vcan-kept -o {file} 2>&1 || true", program());
    let recorder = thread::spawn(move || sh(&recorder));
    thread::sleep(Duration::from_secs(1));
    let socket = ecu.socket("can0");
    for _ in 0..20 {
        send(&socket, (0x123, false, false, false));
        send(&socket, (0x456, false, false, false));
        thread::sleep(Duration::from_millis(10));
    }
    let said = recorder.join().expect("it does not panic");
    let recorded = fs::read_to_string(&file).unwrap_or_else(|err| panic!("{err}: {said}"));
    fs::remove_file(&file).expect("it is there");
    assert_eq!((recorded.matches(" 123#").count(), recorded.matches(" 456#").count()), (20, 0), "{recorded}");
}

#[test]
fn lists_that_are_wrong_or_too_long_are_refused_with_one_sentence() {
    let scene = Scene::new();
    for (list, words) in [
        ("12", "entry 1"),
        ("123 18FEF1", "entry 2"),
        ("123;12G", "not a hexadecimal"),
        ("123 456 800", "entry 3"),
        ("20000000", "beyond 1FFFFFFF"),
        ("1FF-100", "ends before it starts"),
        ("100-18FEF100", "different numbers of digits"),
        ("123:1FFFFFFF", "different numbers of digits"),
        ("123 none", "cannot be combined"),
        ("!", "entry 1"),
        ("00000001-1FFFFFFE !01234567 !0BADCAFE", "at most 64"),
    ] {
        let option = format!("allow-tx={list}");
        assert_refused(scene.try_bus(&[&option]), &["allow-tx=", words, "100-1FF"]);
    }
}
