//! Tunnels to programs that speak cannelloni, on the other guest: all kinds of frames once and in order, and nothing old after an
//! outage or a restart of the other side.
//!
//! The other side is cannelloni itself if `CANHUB_CANNELLONI` names a program that runs in the guest: no Debian has it. Without,
//! it is the probe, which has the formats from cannelloni's documents and shares no code with canhub-span.

use std::{thread::sleep, time::Duration};

use crate::support::{
    bus::{Bus, Member, all_kinds, all_send, until_joined},
    clocks::Clocks,
    fleet::{span, two},
    guest::{Guest, Running},
    report::{Heard, Kind, Sent},
    shell::{not_run, say},
};

const CANNELLONI: &str = "/host/cannelloni";
/// The default of `span-age`.
const AGE: Duration = Duration::from_millis(100);
/// What is in a TCP connection when the wire is cut is given up after this time.
const UNACKNOWLEDGED: Duration = Duration::from_millis(500);
/// From the way into the tunnel until the listener reads, on a busy machine: two more programs than on a span.
const DELIVERY: Duration = Duration::from_millis(200);
/// The age of a frame on the bus where it was sent that tells of a guest that stands still, in microseconds.
const BUSY_US: u64 = 500_000;
/// A connection is made again after a second, with attempts of 5 s in which the kernel tries after 0, 1 and 3 s; cannelloni waits
/// for 2 s more. As a client it notices the end of the old one when its kernel tries again what was lost: after 0.2 s, twice as
/// long each time, so 12.6 s after it was sent.
const BACK: Duration = Duration::from_secs(15);

/// How a tunnel on the first host reaches the other side on the second one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Udp,
    /// The first host connects.
    TcpTo,
    /// The other side connects.
    TcpFrom,
}

const ALL: [Over; 3] = [Over::Udp, Over::TcpTo, Over::TcpFrom];

impl Over {
    /// The interface of the other side.
    fn interface(self) -> &'static str {
        match self {
            Self::Udp => "peer-udp",
            Self::TcpTo => "peer-server",
            Self::TcpFrom => "peer-client",
        }
    }

    fn port(self) -> u16 {
        20_000 + self as u16
    }

    /// `[[tunnel]]` of the first host.
    fn settings(self, span: &str, other: &str) -> String {
        let port = self.port();
        let (kind, local, remote) = match self {
            Self::Udp => ("udp", true, format!("{other}:{port}")),
            Self::TcpTo => ("tcp", false, format!("{other}:{port}")),
            Self::TcpFrom => ("tcp", true, other.to_owned()),
        };
        let local = if local { format!("local = \"0.0.0.0:{port}\"\n") } else { String::new() };
        format!("[[tunnel]]\nspan = \"{span}\"\nkind = \"{kind}\"\n{local}remote = \"{remote}\"\n")
    }

    /// Starts the other side.
    #[track_caller]
    fn start(self, on: &Guest, tunnel: &str) -> Running {
        let (port, interface) = (self.port().to_string(), self.interface());
        let (remote, any) = (format!("{tunnel}:{port}"), format!("0.0.0.0:{port}"));
        // -t: at once, or frames wait for 100 ms.
        let theirs: &[&str] = match self {
            Self::Udp => &["-R", tunnel, "-r", &port, "-l", &port, "-t", "1000"],
            Self::TcpTo => &["-C", "s", "-R", tunnel, "-l", &port],
            Self::TcpFrom => &["-C", "c", "-R", tunnel, "-r", &port],
        };
        let ours: &[&str] = match self {
            Self::Udp => &["--remote", &remote, "--local", &any],
            Self::TcpTo => &["--remote", &remote, "--local", &any, "--tcp"],
            Self::TcpFrom => &["--remote", &remote, "--tcp"],
        };
        match is_real(on) {
            true => on.start(&[&[CANNELLONI, "-I", interface], theirs].concat()),
            false => on.start(&[&["/host/probe", "cannelloni", interface], ours].concat()),
        }
    }
}

fn is_real(on: &Guest) -> bool {
    on.try_sh(&format!("test -x {CANNELLONI}")).is_ok()
}

/// A network on a span with all tunnels, on the first host. The second one has the other sides, each with a bus of its own.
struct Tunnels {
    bus: Bus,
    other: Guest,
}

impl Tunnels {
    #[track_caller]
    fn open(name: &str, options: &[&str]) -> Self {
        let (a, b) = two();
        say(if is_real(&b) {
            "the other side is cannelloni"
        } else {
            "the other side is the probe: CANHUB_CANNELLONI is not set"
        });
        for over in ALL {
            let interface = over.interface();
            b.sh(&format!(
                "modprobe vcan; ip link add {interface} type vcan; ip link set {interface} mtu 72 up"
            ));
        }
        let tunnels: String = ALL.iter().map(|over| over.settings(name, &b.address())).collect();
        a.sh(&format!(
            "cp /etc/canhub/span.toml /root/span.toml; printf '%s' '{tunnels}' >>/etc/canhub/span.toml; \
             systemctl restart canhub-span"
        ));
        let span_option = format!("span={name}");
        let bus = Bus::new(&a, name, &[&[&*span_option], options].concat());
        Self { bus, other: b }
    }

    #[track_caller]
    fn peers(&self) -> Vec<Running> {
        let tunnel = self.bus.host.address();
        ALL.iter().map(|over| over.start(&self.other, &tunnel)).collect()
    }

    /// The other sides as members of the bus.
    fn members(&self) -> [Member; 3] {
        let mut number = 1;
        ALL.map(|over| {
            number += 1;
            Member::of_host(&self.other, number, over.interface())
        })
    }

    #[track_caller]
    fn until_all_joined(&self) {
        for member in self.members() {
            until_joined(&self.bus.hub(8), &member);
        }
    }
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        let undone =
            self.bus.host.try_sh("cp /root/span.toml /etc/canhub/span.toml; systemctl restart canhub-span");
        let interfaces =
            ALL.map(Over::interface).map(|interface| format!("ip link del {interface}")).join("; ");
        let removed = self.other.try_sh(&interfaces);
        if !std::thread::panicking() {
            undone.and(removed).unwrap_or_else(|err| panic!("{err}"));
        }
    }
}

#[test]
fn tunnels_carry_every_kind_of_frame_both_ways_once_and_in_order() {
    const ROUNDS: u32 = 200;
    const ATTEMPTS: usize = 4;
    let tunnels = Tunnels::open("tunnel", &["span-age=10s"]);
    let _peers = tunnels.peers();
    tunnels.until_all_joined();
    // And the members of the other hosts of the span.
    let elsewhere = Bus::new(&tunnels.other, "tunnel", &["span=tunnel"]);
    until_joined(&elsewhere.hub(9), &tunnels.members()[0]);
    drop(elsewhere);

    let (ecu, peers) = (tunnels.bus.container(1), tunnels.members());
    let hub = tunnels.bus.hub(9);
    let senders: Vec<&Member> = [&ecu].into_iter().chain(&peers).collect();
    let listeners: Vec<&Member> = [&ecu, &hub].into_iter().chain(&peers).collect();
    let mut wanted: Vec<_> = senders.iter().flat_map(|sender| all_kinds(sender.number, ROUNDS)).collect();
    wanted.sort();
    let mut compared = Ok(());
    for _ in 0..ATTEMPTS {
        let heard = all_send(&senders, &listeners, ROUNDS, 200);
        let stood_still = heard.iter().filter_map(|heard| heard.age).any(|age| age.max_us > BUSY_US);
        compared = listeners.iter().zip(heard).try_for_each(|(listener, mut heard)| {
            let is_tcp = peers[1..].iter().any(|peer| peer.number == listener.number);
            if is_tcp && is_real(&tunnels.other) {
                // cannelloni sets the length of remote frames that come over TCP to 0.
                heard.streams.iter_mut().filter(|s| s.kind == Kind::Remote).for_each(|s| s.damaged = 0);
            }
            let is_right = heard.streams == wanted && heard.others == 0;
            is_right
                .then_some(())
                .ok_or(format!("{} on {}: {heard:?}", listener.interface, listener.host.name))
        });
        match &compared {
            Ok(()) => break,
            Err(_) if stood_still => {
                say("a guest stood still for longer than its kernel's buffer for UDP lasts, once more")
            }
            Err(err) => panic!("{err}"),
        }
    }
    if compared.is_err() {
        not_run(
            "tunnels_carry_every_kind_of_frame_both_ways_once_and_in_order",
            "the machine is too busy for UDP",
        );
        return;
    }
    let shown = span(&tunnels.bus.host, "tunnel").unwrap_or_else(|err| panic!("{err}"));
    for over in ALL {
        let words = if over == Over::Udp { "cannelloni udp" } else { "cannelloni tcp" };
        let hosts = shown["hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let tunnel =
            hosts.iter().find(|host| host["name"].as_str().is_some_and(|name| name.starts_with(words)));
        assert!(tunnel.is_some_and(|tunnel| tunnel["online"] == true), "{words}: {shown}");
    }
    say(&format!(
        "{} senders, {} frames each, heard by {} once and in order",
        senders.len(),
        4 * ROUNDS,
        listeners.len()
    ));
}

#[test]
fn tunnels_deliver_nothing_old_after_an_outage_or_a_restart_of_the_other_side() {
    /// Short, longer than a connection lives, and longer than this host tries to connect.
    const OUTAGES: [Duration; 3] =
        [Duration::from_millis(300), Duration::from_secs(3), Duration::from_secs(12)];
    const RATE: u32 = 100;
    let tunnels = Tunnels::open("stale", &[]);
    let mut peers = tunnels.peers();
    tunnels.until_all_joined();
    let only = ["--only", "1"];
    let mut listening: Vec<Running> = tunnels.members().iter().map(|member| member.listen(&only)).collect();
    let mut own = tunnels.bus.hub(9).listen(&only);
    let mut sending = tunnels.bus.hub(1).send(&format!("--stamp --rate {RATE}"));
    // A client notices that its connection ended only when it sends; a server need not. Its frames also tell how busy its host is.
    let client = &tunnels.members()[2];
    let mut answering = client.send("--stamp --rate 20");
    let mut answer = client.listen(&["--only", "4"]);

    sleep(Duration::from_secs(1));
    peers.clear();
    sleep(Duration::from_secs(1));
    peers = tunnels.peers();
    sleep(BACK);
    for outage in OUTAGES {
        tunnels.other.wire(&format!("cut {}", outage.as_millis()));
        sleep(outage + BACK);
    }
    answering.stop();
    sending.stop();
    let sent: Sent = sending.end();
    sleep(Duration::from_secs(2));
    listening.iter_mut().for_each(Running::stop);
    [&mut own, &mut answer].into_iter().for_each(Running::stop);
    let busy_us: u64 =
        [own, answer].map(|own| own.end::<Heard>().age.map_or(0, |age| age.max_us)).iter().sum();
    let clocks = Clocks::of(&tunnels.bus.host, &tunnels.other);
    for (over, listener) in ALL.iter().zip(listening) {
        let heard: Heard = listener.end();
        let [stream] = &heard.streams[..] else { panic!("{over:?}: {heard:?}") };
        let oldest = clocks.oldest(&heard);
        say(&format!(
            "{over:?}: {} of {} frames, the oldest {oldest} us; silent {:?}",
            stream.frames,
            sent.sent,
            heard.silences.iter().map(|s| s.until_ms - s.from_ms).collect::<Vec<_>>()
        ));
        assert_eq!((stream.doubled, stream.disordered, stream.damaged), (0, 0, 0), "{over:?}: {stream:?}");
        assert!(stream.missing > 0, "{over:?}: no outage reached it: {stream:?}");
        assert!(stream.last + RATE >= sent.sent, "{over:?}: it is not back: {heard:?}");
        let kept = if *over == Over::Udp { Duration::ZERO } else { UNACKNOWLEDGED };
        if busy_us > BUSY_US {
            say(&format!(
                "{over:?}: the guests stood still for {busy_us} us, so ages tell nothing of the tunnel"
            ));
            continue;
        }
        let limit = (AGE + kept + DELIVERY).as_micros() as i64 + busy_us as i64 + clocks.sure;
        assert!(oldest <= limit, "{over:?}: a frame was {oldest} us old, at most {limit}: {heard:?}");
    }
    drop(peers);
}
