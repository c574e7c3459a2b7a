//! Frames across hosts: every kind, exactly once, in order, both ways at full speed, and the protocols on top.

use std::{thread::sleep, time::Duration};

use crate::support::{
    bus::{Bus, Member, STRAGGLERS, all_kinds, all_send, until_joined, whole},
    fleet::two,
    guest::{Guest, Running},
    report::{Heard, Kind, Message, Sent, Stream},
    shell::{say, within},
};

const ATTEMPTS: usize = 4;

/// Makes a network on both hosts one bus. On a busy machine a guest stands still for longer than the default age.
#[track_caller]
fn spanned(hosts: [&Guest; 2], name: &str) -> [Bus; 2] {
    hosts.map(|host| Bus::new(host, name, &[&format!("span={name}"), "span-age=10s"]))
}

/// Runs it while the hosts are connected. When one of them stands still for longer than a lease, which happens on a busy
/// machine, they rightly lose each other and some frames; then it is tried again.
#[track_caller]
fn while_connected(hosts: [&Guest; 2], mut attempt: impl FnMut() -> Result<(), String>) {
    let losses = || hosts.map(|host| host.sh("journalctl -q -o cat -u canhub-span -g '^offline' | wc -l"));
    for _ in 1..ATTEMPTS {
        let before = losses();
        match attempt() {
            Ok(()) => return,
            Err(err) if losses() == before => panic!("{err}"),
            Err(err) => say(&format!("they lost each other, once more: {}", &err[..err.len().min(300)])),
        }
        sleep(Duration::from_secs(3));
    }
    attempt().unwrap_or_else(|err| panic!("{err}"));
}

#[test]
fn frames_of_every_kind_both_ways_at_once_arrive_once_and_in_order() {
    // 20,000 frames each way at 8,000 a second.
    const ROUNDS: u32 = 5_000;
    const RATE: u32 = 8_000;
    let (a, b) = two();
    let buses = spanned([&a, &b], "full");
    let [one, two]: [Member; 2] = [buses[0].container(1), buses[1].container(2)];
    let [third, fourth] = [buses[0].container(3), buses[1].container(4)];
    let [hub_a, hub_b] = [buses[0].hub(5), buses[1].hub(6)];
    until_joined(&hub_a, &hub_b);

    let listeners = [&one, &two, &third, &fourth, &hub_a, &hub_b];
    let mut wanted = [all_kinds(1, ROUNDS), all_kinds(2, ROUNDS)].concat();
    wanted.sort();
    while_connected([&a, &b], || {
        for (member, heard) in listeners.iter().zip(all_send(&[&one, &two], &listeners, ROUNDS, RATE)) {
            let place = format!("{} on {}", member.interface, member.host.name);
            compare(&heard, &wanted).map_err(|err| format!("{place}: {err}"))?;
            say(&format!("20000 frames each way, {place}: age {:?}", heard.age));
        }
        Ok(())
    });
}

#[test]
fn three_buses_at_once_do_not_mix() {
    const ROUNDS: u32 = 500;
    let (a, b) = two();
    let buses: Vec<[Bus; 2]> = ["x", "y", "z"].map(|span| spanned([&a, &b], span)).into();
    let members: Vec<Member> =
        (1..).zip(buses.iter().flatten()).map(|(number, bus)| bus.hub(number)).collect();
    for pair in members.chunks(2) {
        until_joined(&pair[0], &pair[1]);
    }
    let all: Vec<&Member> = members.iter().collect();
    while_connected([&a, &b], || {
        let heard = all_send(&all, &all, ROUNDS, 1_500);
        for (pair, heard) in members.chunks(2).flat_map(|pair| [pair, pair]).zip(heard) {
            let mut wanted = [all_kinds(pair[0].number, ROUNDS), all_kinds(pair[1].number, ROUNDS)].concat();
            wanted.sort();
            compare(&heard, &wanted).map_err(|err| format!("{}: {err}", pair[0].interface))?;
        }
        Ok(())
    });
}

/// What a listener heard is what it should have heard.
fn compare(heard: &Heard, wanted: &[Stream]) -> Result<(), String> {
    match heard.streams == wanted && heard.others == 0 {
        true => Ok(()),
        false => Err(format!("{heard:?} instead of {wanted:?}")),
    }
}

#[test]
fn isotp_and_j1939_transfers_pass() {
    let (a, b) = two();
    let buses = spanned([&a, &b], "proto");
    let [one, two] = [buses[0].container(1), buses[1].container(2)];
    until_joined(&buses[0].hub(8), &buses[1].hub(9));

    for guest in [&a, &b] {
        guest.sh("modprobe can-j1939");
    }
    for (sender, receiver) in [(&one, &two), (&two, &one)] {
        while_connected([&a, &b], || isotp_transfers(sender, receiver));
        while_connected([&a, &b], || j1939_transfer(sender, receiver, 100_000));
    }
}

fn isotp_transfers(sender: &Member, receiver: &Member) -> Result<(), String> {
    const SIZES: [&str; 4] = ["7", "8", "62", "4095"];
    let count = SIZES.len().to_string();
    let mut receives = receiver.start(&["/host/probe", "isotp-receive", "can0", "1793", "1794", &count]);
    receives.wait_for("ready");
    sender.attempt(&[&["/host/probe", "isotp-send", "can0", "1794", "1793"][..], &SIZES].concat())?;
    let said = receives.finish()?;
    let messages: Vec<Message> =
        said.lines().map(|line| serde_json::from_str(line).expect("a report")).collect();
    let wanted = SIZES.map(|size| Message { size: size.parse().expect("a number"), intact: true });
    if messages == wanted { Ok(()) } else { Err(format!("{messages:?}")) }
}

fn j1939_transfer(sender: &Member, receiver: &Member, size: u32) -> Result<(), String> {
    let receives: Running =
        receiver.start(&["sh", "-c", "rm -f /tmp/j1939-in; j1939cat -r can0:0x90 >/tmp/j1939-in"]);
    receiver.host.until("j1939cat listens", "pgrep -x j1939cat", |_| true);
    let send = format!(
        "head -c {size} /dev/urandom >/tmp/j1939-out && j1939cat -i /tmp/j1939-out can0:0x80 :0x90,0x12300"
    );
    sender.attempt(&["sh", "-c", &send])?;
    let wanted = sender.host.sh("md5sum </tmp/j1939-out");
    let arrived = within(Duration::from_secs(20), || {
        let got = receiver.host.try_sh("md5sum </tmp/j1939-in")?;
        if got == wanted { Ok(()) } else { Err(format!("{got} is not {wanted}")) }
    });
    drop(receives);
    arrived
}

#[test]
fn a_host_that_is_silent_costs_the_other_nothing_and_hears_everything() {
    const FRAMES: u32 = 2_000;
    let (a, b) = two();
    let buses = spanned([&a, &b], "oneway");
    let [sender, listener] = [buses[0].hub(1), buses[1].container(2)];
    until_joined(&buses[0].hub(8), &buses[1].hub(9));
    while_connected([&a, &b], || {
        let listening = listener.listen(&["--only", "1"]);
        let sent: Sent = sender.send(&format!("--kind classic --count {FRAMES} --rate 2000 --stamp")).end();
        assert_eq!(sent.sent, FRAMES);
        sleep(STRAGGLERS);
        compare(&listening.end(), &[whole(1, Kind::Classic, FRAMES)])
    });
}
