//! The tap and `canhub record`: who sent each frame, what is lost, and what is left when something goes wrong.

mod recorder;

use std::{fs, thread::sleep, time::Duration};

use canhub::frames::{Sender, Timestamp};

use crate::support::{
    canhub::{is_plugin, knows_names, program},
    cost::Cost,
    dice::Dice,
    docker::{Container, docker},
    host::{configure_adapter, ip_link},
    member::Member,
    report::{Heard, Kind, Sent},
    scene::Scene,
    shell::{attempt, eventually, not_run, number_from, run, say, sh},
    slcan::Wire,
};
use recorder::Recorder;

/// The program of a managed plugin is in a folder of Docker's that only root may enter.
fn anybody_can_run_it(test: &str) -> bool {
    if is_plugin() {
        not_run(test, "only root can run the program of a managed plugin");
    }
    !is_plugin()
}

/// Frames of each of the five senders.
const EACH: u32 = 4000;

#[test]
fn each_of_twenty_thousand_frames_has_its_sender_on_a_bus_with_an_adapter() {
    if !knows_names("tap::each_of_twenty_thousand_frames_has_its_sender_on_a_bus_with_an_adapter") {
        return;
    }
    let wire = Wire::default();
    let [near, far] = ["slcan-tap", "slcan-far"].map(|name| wire.plug(name));
    configure_adapter("slcan-far", 1_000_000);
    let scene = Scene::new();
    let bus = scene.network(&["adapter=slcan-tap", "bitrate=1000000", "frames=classic"]);
    let ecus: Vec<Container> = (0..3).map(|_| scene.container(&bus)).collect();
    let mut all: Vec<(Sender, Member)> = (1..)
        .zip(&ecus)
        .map(|(number, ecu)| (Sender::Member(ecu.name.as_str().into()), ecu.member("can0", number)))
        .collect();
    all.push((Sender::Host, Member::host("slcan-tap", 4)));
    all.push((Sender::Wire, Member::host("slcan-far", 5)));

    let listener = all[0].1.listen();
    let recorder = Recorder::start(&bus.name, "log", &[]);
    let count = EACH.to_string();
    // A serial line has no flow control in this direction.
    let paced = |sender: &Sender| if *sender == Sender::Wire { "1" } else { "0" };
    let senders: Vec<_> = all
        .iter()
        .map(|(sender, member)| member.start_sending(&["--count", &count, "--gap", paced(sender)]))
        .collect();
    for sending in senders {
        assert_eq!(sending.end::<Sent>().sent, EACH);
    }
    let heard: Heard = listener.heard();
    // The adapter still sends what is queued.
    eventually("the adapter has sent everything", || {
        let queued = sh("tc -s qdisc show dev slcan-tap | grep -c 'backlog 0b 0p' || true");
        if queued.trim() == "1" { Ok(()) } else { Err(queued) }
    });
    sleep(Duration::from_secs(1));
    let recording = recorder.finish();

    assert_eq!(recording.lost, 0);
    for (sender, member) in &all {
        let of_host = matches!(sender, Sender::Host | Sender::Member(_));
        recording.assert_unbroken(member.number, sender, of_host.then_some(EACH));
    }
    let from_wire = heard.streams.iter().find(|stream| stream.from == 5).map_or(0, |stream| stream.frames);
    let recorded = recording.of(5).len() as u32;
    say(&format!(
        "{} frames of five senders, {recorded} of them from the wire, where another member heard {from_wire}",
        recording.records.len()
    ));
    assert_eq!((recorded, recording.strangers()), (from_wire, 0));
    drop(scene);
    drop((near, far));
}

#[test]
fn senders_stay_right_while_a_pair_is_healed_and_a_container_restarts() {
    if !knows_names("tap::senders_stay_right_while_a_pair_is_healed_and_a_container_restarts") {
        return;
    }
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let cut = scene.container(&bus);
    let steady = scene.container(&bus);
    // Sends from its first instruction on, in each of its lives.
    let restarted = scene
        .try_run(
            &["--network", &bus.name],
            &["sh", "-c", "/probe send can0 --from 3 --count 100 && exec sleep infinity"],
        )
        .unwrap_or_else(|err| panic!("{err}"));
    let members = [cut.member("can0", 1), steady.member("can0", 2), bus.host(4)];
    let hub = bus.hub();

    let recorder = Recorder::start(&hub, "pcapng", &[]);
    let mut sending: Vec<_> =
        members.iter().map(|member| member.start_sending(&["--gap", "2", "--persist"])).collect();
    for _ in 0..3 {
        sleep(Duration::from_millis(500));
        ip_link(&["del", &cut.host_end("can0").ifname]);
        eventually("the pair is healed", || match cut.can_links()[..] {
            [_] => Ok(()),
            ref links => Err(format!("{links:?}")),
        });
        docker(&["restart", "--time", "0", &restarted]);
    }
    sleep(Duration::from_millis(500));
    sending.iter_mut().for_each(|sending| sending.stop());
    let sent: Vec<Sent> = sending.into_iter().map(|sending| sending.end()).collect();
    sleep(Duration::from_secs(1));
    let recording = recorder.finish();

    assert_eq!((recording.lost, recording.strangers()), (0, 0));
    recording.assert_sender(1, &Sender::Member(cut.name.as_str().into()));
    assert!(recording.of(1).len() as u32 > sent[0].sent / 2, "{} of {sent:?}", recording.of(1).len());
    recording.assert_unbroken(2, &Sender::Member(steady.name.as_str().into()), Some(sent[1].sent));
    recording.assert_unbroken(4, &Sender::Host, Some(sent[2].sent));
    recording.assert_sender(3, &Sender::Member(restarted.as_str().into()));
    let lives: Vec<u32> = (0..3).flat_map(|_| 0..100).collect();
    assert_eq!(recording.of(3), lives, "each life from its first frame on");
}

#[test]
fn fifty_thousand_frames_at_full_speed_are_recorded_or_counted_as_lost() {
    const COUNT: u32 = 50_000;
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let ecu = scene.container(&bus).member("can0", 1);
    let recorder = Recorder::start(&bus.name, "blf", &[]);
    let sent = ecu.send(&[Kind::Classic], COUNT);
    assert_eq!(sent.sent, COUNT);
    let recording = recorder.finish();
    let recorded = recording.records.len() as u64;
    say(&format!("{recorded} of {COUNT} frames recorded at full speed, {} lost", recording.lost));
    assert_eq!(recorded + recording.lost, u64::from(COUNT));
}

#[test]
fn frames_that_a_recorder_could_not_read_are_counted_exactly() {
    const COUNT: u32 = 3000;
    if !anybody_can_run_it("tap::frames_that_a_recorder_could_not_read_are_counted_exactly") {
        return;
    }
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-slow"]);
    let ecu = scene.container(&bus).member("can0", 1);
    // Without privileges its buffer is no larger than this, which is the kernel's default.
    run("sysctl", &["-qw", "net.core.rmem_max=212992"]);
    let recorder = Recorder::start_as_nobody("vcan-slow", "log");
    run("sysctl", &["-qw", "net.core.rmem_max=33554432"]);
    recorder.signal("STOP");
    assert_eq!(ecu.send(&[Kind::Classic], COUNT).sent, COUNT);
    recorder.signal("CONT");
    sleep(Duration::from_secs(1));
    let recording = recorder.finish();
    let recorded = recording.records.len() as u64;
    say(&format!("{recorded} of {COUNT} frames fitted, {} lost", recording.lost));
    assert!(recording.lost > 0 && recorded > 0);
    assert_eq!(recorded + recording.lost, u64::from(COUNT));
}

#[test]
fn a_killed_recorder_leaves_a_file_without_the_last_second_at_most() {
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let ecu = scene.container(&bus).member("can0", 1);
    let mut sending = ecu.start_sending(&["--gap", "1"]);
    let mut dice = Dice::new(number_from("CANHUB_SEED").unwrap_or(u64::from(std::process::id())));
    for round in 0..10 {
        let ending = ["log", "asc", "blf", "pcapng"][round % 4];
        let recorder = Recorder::start(&bus.name, ending, &[]);
        sleep(Duration::from_millis(1000 + dice.below(1500) as u64));
        let killed = recorder.kill();
        let last = killed.records.last().map(|record| record.time);
        let missing = Timestamp::from(killed.ended).since(last.unwrap_or_default());
        say(&format!("{ending}: {} frames, {} ms missing", killed.records.len(), missing.as_millis()));
        assert!(missing < Duration::from_millis(1500), "{ending}: the last {missing:?} are missing");
        killed.assert_sender(1, &Sender::Member(ecu.name.as_str().into()));
        let numbers = killed.of(1);
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{ending}: a gap");
    }
    sending.stop();
}

#[test]
fn a_full_disk_is_one_sentence_and_a_whole_file() {
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let ecu = scene.container(&bus).member("can0", 1);
    let folder = "/run/canhub-e2e-small";
    fs::create_dir_all(folder).expect("root may write /run");
    run("mount", &["-t", "tmpfs", "-o", "size=3m", "tmpfs", folder]);
    scene.undo(move || {
        run("umount", &[folder]);
    });
    for ending in ["log", "asc", "blf", "pcapng"] {
        let mut sending = ecu.start_sending(&[]);
        let recorder = Recorder::start_in(folder, &bus.name, ending, &[]);
        let full = recorder.wait();
        sending.stop();
        assert_eq!((full.code, full.ended.as_str()), (Some(1), "unwritable"), "{}", full.complaint);
        assert_eq!(full.complaint.lines().count(), 1, "{}", full.complaint);
        assert!(full.complaint.contains("No space left on device"), "{}", full.complaint);
        assert_eq!(full.records.len() as u64, full.frames, "{ending}: {}", full.complaint);
        assert!(full.frames > 100 && !full.is_cut, "{ending}: {} frames", full.frames);
        fs::remove_file(&full.path).expect("it was written");
    }
}

#[test]
fn recording_eight_thousand_frames_per_second_takes_little_of_the_cpu() {
    const NAME: &str = "tap::recording_eight_thousand_frames_per_second_takes_little_of_the_cpu";
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let ecus = [1, 2].map(|number| scene.container(&bus).member("can0", number));
    let _senders = [("100", &ecus[0]), ("200", &ecus[1])].map(|(id, ecu)| {
        ecu.start(&[&*ecu.probe(), "pulse", "can0", "--id", id, "--ids", "100", "25:60000"])
    });
    let recorder = Recorder::start(&bus.name, "log", &[]);
    let cost = |cost: Cost| {
        say(&format!("canhub record: {:.1} % of the CPU; {}", cost.cpu, cost.machine()));
        false
    };
    Cost::assert_below(15.0, &recorder.process(), NAME, cost);
    let recording = recorder.finish();
    say(&format!("{:.0} frames/s recorded, {} lost", recording.rate(), recording.lost));
    assert_eq!(recording.lost, 0);
}

#[test]
fn without_a_recorder_no_socket_listens_to_all_interfaces() {
    let sockets = || sh("cat /proc/net/can/rcvlist_* | grep -c '^ *any ' || true");
    let scene = Scene::new();
    let bus = scene.network(&[]);
    assert_eq!(sockets(), "0");
    let recorder = Recorder::start(&bus.name, "log", &[]);
    assert_ne!(sockets(), "0");
    recorder.finish();
    assert_eq!(sockets(), "0");
}

#[test]
fn recordings_end_by_count_and_time_are_filtered_and_rotated() {
    if !knows_names("tap::recordings_end_by_count_and_time_are_filtered_and_rotated") {
        return;
    }
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let (one, two) = (scene.container(&bus), scene.container(&bus));
    let members = [one.member("can0", 1), two.member("can0", 2)];
    let mut sending: Vec<_> =
        members.iter().map(|m| m.start_sending(&["--kind", "classic,extended,fd", "--gap", "2"])).collect();

    let counted = Recorder::start(&bus.id[..12], "log", &["--count", "100", "--only", "402"]).wait();
    assert_eq!((counted.code, counted.frames, counted.ended.as_str()), (Some(0), 100, "count"));
    assert_eq!((counted.of(2).len(), counted.of(1).len()), (100, 0), "the standard ID of the second");

    let timed = Recorder::start(&bus.name, "asc", &["--for", "1s", "--from", &one.name]).wait();
    assert_eq!((timed.code, timed.ended.as_str()), (Some(0), "time"));
    assert!(!timed.records.is_empty() && timed.strangers() == 0);
    timed.assert_sender(1, &Sender::Member(one.name.as_str().into()));
    assert!(timed.of(2).is_empty());

    let rotated = Recorder::start_rotating(&bus.name, &["--rotate-size", "20k", "--count", "2000"]).wait();
    assert!(rotated.files.len() > 2, "{:?}", rotated.files);
    assert_eq!((rotated.records.len(), rotated.frames), (2000, 2000));
    sending.iter_mut().for_each(|sending| sending.stop());

    let refused = attempt(&program(), &["record", &bus.name, "-o", &counted.path.to_string_lossy()]);
    assert!(refused.as_ref().is_err_and(|why| why.contains("--force")), "{refused:?}");
    let unknown = attempt(&program(), &["record", "e2e-bus", "-o", "/tmp/never.log"]);
    assert!(unknown.as_ref().is_err_and(|why| why.contains(&bus.name)), "{unknown:?}");
}

#[test]
fn a_person_without_privileges_records_by_the_hubs_name_with_short_ids() {
    if !anybody_can_run_it("tap::a_person_without_privileges_records_by_the_hubs_name_with_short_ids") {
        return;
    }
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-anyone"]);
    let container = scene.container(&bus);
    let ecu = container.member("can0", 1);
    let recorder = Recorder::start_as_nobody("vcan-anyone", "log");
    ecu.send(&[Kind::Classic], 10);
    sleep(Duration::from_secs(1));
    let recording = recorder.finish();
    assert!(recording.complaint.contains("IDs of their endpoints"), "{}", recording.complaint);
    assert_eq!(recording.complaint.lines().count(), 1, "{}", recording.complaint);
    let [sender] = &recording.senders()[..] else { panic!("{:?}", recording.senders()) };
    let alias = container.host_end("can0").ifalias;
    assert!(alias.contains(&format!(" ep={sender}")), "{sender} is not in {alias}");
}
