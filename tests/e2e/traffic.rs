//! Frames on a bus: every kind, exactly once, in order, at full speed, and the protocols on top.

use crate::support::{
    docker::{Container, docker},
    frames::{ALL_KINDS, assert_all_hear_all, compare, from_all, is_unbroken},
    host::link,
    member::{Member, Running},
    report::{Kind, Message, Sent},
    scene::Scene,
    shell::{eventually, run},
};

#[test]
fn every_member_receives_every_other_and_the_host_exactly_once_in_order() {
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-e2e"]);
    let members: Vec<Member> = (1..=3).map(|number| scene.container(&bus).member("can0", number)).collect();
    let host = Member::host("vcan-e2e", 9);
    let all: Vec<&Member> = members.iter().chain([&host]).collect();

    assert_all_hear_all(&all, &ALL_KINDS, 250);
}

#[test]
fn error_frames_reach_every_subscribed_member_and_the_host_once() {
    let scene = Scene::new();
    for frames in ["classic", "fd"] {
        let bus = scene.network(&[&format!("frames={frames}")]);
        let members: Vec<Member> =
            (1..=3).map(|number| scene.container(&bus).member("can0", number)).collect();
        let host = bus.host(9);
        let all: Vec<&Member> = members.iter().chain([&host]).collect();
        assert_all_hear_all(&all, &[Kind::Error, Kind::Classic], 100);

        let deaf: Vec<Running> = all.iter().map(|member| member.listen()).collect();
        let silent = Sent { sent: 100, own: 0 };
        all.iter().for_each(|member| assert_eq!(member.send(&[Kind::Error], 100), silent));
        for (member, heard) in all.iter().zip(deaf) {
            assert_eq!(heard.heard().streams, [], "{} did not subscribe to any", member.name);
        }

        // As users subscribe to them.
        let (dump, _) = members[1].start_tool("candump -n 1 -T 20000 -e can0,0~0,#FFFFFFFF");
        host.run(&["cansend", &host.interface, "20000040#0000000000000000"]);
        let seen = dump.finish();
        assert!(seen.contains("20000040") && seen.contains("bus-off"), "{seen}");
    }
}

#[test]
fn a_socket_receives_its_own_frames_once_if_enabled_and_never_otherwise() {
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let (ecu, host) = (scene.container(&bus).member("can0", 1), bus.host(2));
    // Another member, so that there are rules through which a frame could come back.
    let _other = scene.container(&bus);

    for (member, count) in [(&ecu, 300), (&host, 300)] {
        let asked = ["--count", "300", "--kind", "classic,fd"];
        let deaf: Sent = member.start_sending(&asked).end();
        assert_eq!(deaf, Sent { sent: 2 * count, own: 0 }, "{}", member.name);
        let hears_itself: Sent = member.start_sending(&[&asked[..], &["--recv-own"]].concat()).end();
        assert_eq!(hears_itself, Sent { sent: 2 * count, own: 2 * count }, "{}", member.name);
    }
}

#[test]
fn twenty_thousand_frames_at_full_speed_are_not_lost() {
    const COUNT: u32 = 20_000;
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let (sender, receiver) =
        (scene.container(&bus).member("can0", 1), scene.container(&bus).member("can0", 2));
    let host = bus.host(3);

    let listeners = [&receiver, &host].map(|member| (member, member.listen()));
    let sent = sender.send(&[Kind::Classic], COUNT);
    assert_eq!(sent, Sent { sent: COUNT, own: 0 });
    for (member, listener) in listeners {
        compare(member, &listener.heard(), &from_all(&[&sender], &[Kind::Classic], COUNT))
            .unwrap_or_else(|err| panic!("{err}"));
    }
}

#[test]
fn cansequence_and_canfdtest_pass_between_containers() {
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let (ping, pong) = (scene.container(&bus).member("can0", 1), scene.container(&bus).member("can0", 2));

    // It reports each wrong number, and each time that the number, a byte, wraps to 0.
    let (sequence, checker) = pong.start_tool("cansequence can0 -r -v 2>&1");
    ping.run(&["cansequence", "can0", "--loop=2049"]);
    eventually("cansequence has read everything", || {
        let state = pong.attempt(&["cut", "-d", " ", "-f", "3", &format!("/proc/{checker}/stat")])?;
        if state == "S" { Ok(()) } else { Err(state) }
    });
    pong.run(&["kill", &checker]);
    let told = sequence.finish();
    assert_eq!(told.matches("wrap around").count(), 8, "{told}");
    assert!(!told.contains("missing") && !told.contains("wrong"), "{told}");

    for fd in [&[][..], &["-d", "-b", "-s", "64"]] {
        let device = [&["canfdtest"], fd, &["can0"]].concat();
        let (_answers, answerer) = pong.start_tool(&device.join(" "));
        let told = ping.run(&[&["canfdtest", "-g", "-l", "500"], fd, &["can0"]].concat());
        pong.run(&["kill", &answerer]);
        assert!(!told.to_lowercase().contains("error"), "{told}");
    }
}

#[test]
fn iso_tp_messages_of_all_sizes_pass_between_containers_and_with_the_host() {
    const SIZES: [&str; 8] = ["1", "7", "8", "62", "63", "256", "1000", "4095"];
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let (one, two) = (scene.container(&bus).member("can0", 1), scene.container(&bus).member("can0", 2));
    let host = bus.host(3);

    for (sender, receiver) in [(&one, &two), (&host, &one), (&two, &host)] {
        let count = SIZES.len().to_string();
        let probe = receiver.probe();
        let mut receives =
            receiver.start(&[&probe, "isotp-receive", &receiver.interface, "2024", "2016", &count]);
        receives.wait_for("ready");
        let probe = sender.probe();
        sender.run(&[&[&*probe, "isotp-send", &sender.interface, "2016", "2024"], &SIZES[..]].concat());
        let said = receives.finish();
        let messages: Vec<Message> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let wanted: Vec<Message> =
            SIZES.iter().map(|size| Message { size: size.parse().unwrap(), intact: true }).collect();
        assert_eq!(messages, wanted, "from {} to {}", sender.name, receiver.name);
    }
}

/// How many containers are on the bus, and the sizes of what is sent: one frame, the largest message of the transport
/// protocol, and two of the extended one. `CANHUB_J1939=all` sends all sizes with each number of containers.
const J1939: [(usize, &[u32]); 4] =
    [(2, &[8, 1785, 4096, 100_000]), (4, &[1785]), (8, &[4096]), (16, &[1785, 100_000])];

#[test]
fn j1939_transfers_pass_however_many_containers_hear_them() {
    run("modprobe", &["can-j1939"]);
    let all = std::env::var("CANHUB_J1939").is_ok_and(|what| what == "all");
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let host = bus.host(200);
    let mut members: Vec<Member> = Vec::new();
    for (containers, sizes) in J1939 {
        while members.len() < containers {
            members.push(scene.container(&bus).member("can0", members.len() as u8 + 1));
        }
        let (one, two) = (&members[0], &members[containers - 1]);
        let sizes = if all { J1939[0].1 } else { sizes };
        for size in sizes {
            for (sender, receiver) in [(one, two), (&host, one), (two, &host)] {
                j1939_transfer(sender, receiver, *size);
            }
        }
    }
}

fn j1939_transfer(sender: &Member, receiver: &Member, size: u32) {
    let (from, to) = (&sender.interface, &receiver.interface);
    let send = format!(
        "head -c {size} /dev/urandom >/tmp/j1939-out && j1939cat -i /tmp/j1939-out {from}:0x80 :0x90,0x12300"
    );
    // It receives forever.
    let (_receives, pid) = receiver.start_tool(&format!("j1939cat -r {to}:0x90 >/tmp/j1939-in 2>/dev/null"));
    sender.run(&["sh", "-c", &send]);
    let checksum = |member: &Member, file: &str| member.run(&["sh", "-c", &format!("md5sum <{file}")]);
    let wanted = checksum(sender, "/tmp/j1939-out");
    eventually(&format!("{size} bytes reach {}", receiver.name), || {
        let got = checksum(receiver, "/tmp/j1939-in");
        if got == wanted { Ok(()) } else { Err(format!("{got} is not {wanted}")) }
    });
    let _ = receiver.attempt(&["kill", &pid]);
}

#[test]
fn a_frame_sent_by_the_very_first_instruction_arrives() {
    const STARTS: u32 = 20;
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let (other, host) = (scene.container(&bus).member("can0", 1), bus.host(2));
    let eager = scene.create(&["--network", &bus.name], &["/probe", "first", "can0", "--from", "7"]);

    let listeners: Vec<Running> = [&other, &host].map(|member| member.listen()).into();
    for _ in 0..STARTS {
        // Attached, so that it returns when the container has ended.
        docker(&["start", "--attach", &eager]);
    }
    for listener in listeners {
        let heard = listener.heard();
        let [stream] = &heard.streams[..] else { panic!("{heard:#?}") };
        assert_eq!(
            (stream.frames, stream.doubled, stream.damaged, heard.others),
            (STARTS, 0, 0, 0),
            "{heard:#?}"
        );
    }
}

#[test]
fn a_classic_bus_has_an_mtu_of_16_and_refuses_fd_frames() {
    let scene = Scene::new();
    let bus = scene.network(&["frames=classic"]);
    let ecu = scene.container(&bus);
    let (member, host) = (ecu.member("can0", 1), bus.host(2));

    assert_eq!(mtus(&ecu, &bus.hub()), [16, 16, 16]);
    let refused = member.attempt(&["/probe", "send", "can0", "--from", "1", "--kind", "fd", "--count", "1"]);
    // Older kernels return an invalid argument, newer ones a message that is too long.
    let says_why = |err: &String| err.contains("Invalid argument") || err.contains("Message too long");
    assert!(refused.as_ref().is_err_and(says_why), "{refused:?}");
    assert_all_hear_all(&[&member, &host], &[Kind::Classic, Kind::Extended, Kind::Remote], 20);
}

#[test]
fn an_fd_bus_has_an_mtu_of_72_whatever_the_kernels_default() {
    let scene = Scene::new();
    let bus = scene.network(&["frames=fd"]);
    let ecu = scene.container(&bus);
    assert_eq!(mtus(&ecu, &bus.hub()), [72, 72, 72], "kernel {}", run("uname", &["-r"]));
    assert_all_hear_all(&[&ecu.member("can0", 1), &bus.host(2)], &ALL_KINDS, 20);
}

/// Of the container end, the host end and the hub.
fn mtus(ecu: &Container, hub: &str) -> [u32; 3] {
    let inside = ecu.links().into_iter().find(|link| link.ifname == "can0").expect("it has can0");
    [inside.mtu, ecu.host_end("can0").mtu, link(hub).expect("the hub exists").mtu]
}

#[test]
fn candump_on_the_host_sees_what_containers_send() {
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-tools"]);
    let ecu = scene.container(&bus).member("can0", 1);
    let host = Member::host("vcan-tools", 2);

    // Ends after the third frame, or after 20 s of silence.
    let (dump, _) = host.start_tool("candump -n 3 -T 20000 -x vcan-tools");
    for frame in ["123#DEADBEEF", "1F334455#R4", "5A1##311223344"] {
        ecu.run(&["cansend", "can0", frame]);
    }
    let seen = dump.finish();
    for frame in ["123   [4]  DE AD BE EF", "1F334455   [4]  remote request", "5A1  [04]  11 22 33 44"] {
        assert!(seen.contains(frame), "{frame} is not in:\n{seen}");
    }
    assert_eq!(seen.lines().count(), 3, "{seen}");
}

#[test]
fn two_buses_are_isolated() {
    let scene = Scene::new();
    let (one, two) = (scene.network(&[]), scene.network(&[]));
    let (left, right) = (scene.container(&one).member("can0", 1), scene.container(&two).member("can0", 2));
    let hosts = [one.host(3), two.host(4)];

    let listeners = [&left, &hosts[0], &right, &hosts[1]].map(|member| member.listen());
    left.send(&ALL_KINDS, 50);
    right.send(&ALL_KINDS, 50);
    let [a, b, c, d] = listeners.map(Running::heard);
    for (heard, number) in [(a, 1), (b, 1), (c, 2), (d, 2)] {
        let only = heard.streams.iter().all(|stream| stream.from == number && is_unbroken(stream));
        assert!(
            only && heard.streams.len() == ALL_KINDS.len(),
            "only frames of {number} were expected: {heard:#?}"
        );
    }
}
