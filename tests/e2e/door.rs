//! `canhub door`: python-can on another system, many clients, and nonsense.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    canhub::program,
    report::Kind,
    scene::Scene,
    shell::{attempt, eventually, not_run, run, sh},
};

const HUB: &str = "vcan-e2e";
const NAMESPACE: &str = "door-e2e";

/// Connects, says that it is there, hears ten frames, and sends as many.
const PYTHON: &str = r#"
import can, sys
host, port, channel = sys.argv[1:]
bus = can.Bus(interface="socketcand", host=host, port=int(port), channel=channel)
print("ready", flush=True)
for _ in range(10):
    m = bus.recv(20)
    print("%X" % m.arbitration_id, "ext" if m.is_extended_id else "std", bytes(m.data).hex(), flush=True)
for n in range(10):
    bus.send(can.Message(arbitration_id=0x18FEF100 + n if n % 2 else 0x200 + n, is_extended_id=bool(n % 2), data=[n] * (n % 9)))
bus.shutdown()
"#;

/// A door; closed at the end.
struct Door(Child);

impl Door {
    /// Opens one and waits until it listens. `user` is who runs it.
    fn open(args: &[&str], user: Option<&str>) -> Self {
        // An unprivileged user cannot reach the folder of the running program.
        run("install", &["-m", "755", &program(), "/run/canhub-door-e2e"]);
        let mut command = match user {
            None => Command::new("/run/canhub-door-e2e"),
            Some(user) => {
                let mut setpriv = Command::new("setpriv");
                setpriv.args(["--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all"]);
                setpriv.args(["--bounding-set=-all", "/run/canhub-door-e2e"]);
                setpriv
            }
        };
        let log = std::fs::File::create("/run/canhub-door-e2e.log").unwrap();
        command.arg("door").args(args).stdin(Stdio::null());
        let door = Self(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        eventually("the door is open", || {
            let said = Self::said();
            if said.contains("is open on") { Ok(()) } else { Err(said) }
        });
        door
    }

    fn said() -> String {
        std::fs::read_to_string("/run/canhub-door-e2e.log").unwrap_or_default()
    }

    /// Ends it as Ctrl-C does; returns all that it said.
    fn close(mut self) -> String {
        run("kill", &["-INT", &self.0.id().to_string()]);
        assert!(self.0.wait().unwrap().success());
        Self::said()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A client that has got to raw mode.
fn client(port: u16) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|err| err.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for (request, answer) in [("", "< hi >"), ("< open vcan-e2e >", "< ok >"), ("< rawmode >", "< ok >")] {
        stream.write_all(request.as_bytes()).map_err(|err| err.to_string())?;
        let mut heard = vec![0; answer.len()];
        stream.read_exact(&mut heard).map_err(|err| err.to_string())?;
        if heard != answer.as_bytes() {
            let mut rest = String::new();
            let _ = stream.read_to_string(&mut rest);
            return Err(String::from_utf8_lossy(&heard).into_owned() + &rest);
        }
    }
    Ok(stream)
}

/// Reads until this text has come.
fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let (mut heard, mut bytes) = (String::new(), [0; 4096]);
    while !heard.contains(text) {
        match stream.read(&mut bytes) {
            Ok(length) if length > 0 => heard += &String::from_utf8_lossy(&bytes[..length]),
            ended => panic!("{text:?} did not come ({ended:?}): {heard}"),
        }
    }
    heard
}

#[test]
fn python_can_sends_and_receives_from_another_network_namespace() {
    let python = ["/usr/bin/python3", "-c", "import can"];
    if let Err(why) = attempt(python[0], &python[1..]) {
        let why = why.lines().last().unwrap_or_default().to_owned();
        return not_run("door::python_can_sends_and_receives_from_another_network_namespace", &why);
    }
    let scene = Scene::new();
    let bus = scene.network(&[&format!("hub={HUB}")]);
    let member = scene.container(&bus).member("can0", 1);
    sh(&format!(
        "ip netns add {NAMESPACE} && ip link add door-e2e0 type veth peer name door-e2e1 netns {NAMESPACE} && \
         ip addr add 192.0.2.1/30 dev door-e2e0 && ip link set door-e2e0 up && \
         ip -n {NAMESPACE} addr add 192.0.2.2/30 dev door-e2e1 && ip -n {NAMESPACE} link set door-e2e1 up"
    ));
    scene.undo(|| {
        let _ = attempt("ip", &["netns", "del", NAMESPACE]);
        let _ = attempt("ip", &["link", "del", "door-e2e0"]);
    });

    let door = Door::open(&[HUB, "--listen", "192.0.2.1:29536", "--write"], None);
    let (dump, _) = member.start_tool("candump -n 20 -T 60000 -L can0");
    let enter = ["netns", "exec", NAMESPACE, "/usr/bin/python3", "-c", PYTHON, "192.0.2.1", "29536", HUB];
    let host = crate::support::member::Member::host(HUB, 9);
    let mut running = host.start(&[&["ip"], &enter[..]].concat());
    running.wait_for("ready");
    let frames = [("123#0102", "123 std 0102"), ("18FEF101#", "18FEF101 ext ")];
    for n in 0..10 {
        member.run(&["cansend", "can0", frames[n % 2].0]);
    }
    let heard = running.finish();
    let expected: Vec<&str> = (0..10).map(|n| frames[n % 2].1.trim_end()).collect();
    assert_eq!(heard.lines().map(str::trim_end).collect::<Vec<_>>(), expected);
    // candump hears the ten of its own container first.
    let dumped = dump.finish();
    let sent: Vec<&str> = dumped.lines().skip(10).filter_map(|line| line.split_whitespace().nth(2)).collect();
    let expected: Vec<String> = (0..10_u32)
        .map(|n| {
            let data = format!("{n:02X}").repeat(n as usize % 9);
            if n % 2 == 1 {
                format!("{:08X}#{data}", 0x18FE_F100 + n)
            } else {
                format!("{:03X}#{data}", 0x200 + n)
            }
        })
        .collect();
    assert_eq!(sent, expected);
    let said = door.close();
    assert!(said.contains("no password") && said.contains("they sent 10 frames"), "{said}");
}

#[test]
fn without_privileges_it_serves_loopback_only_reads_only_and_survives_nonsense() {
    let scene = Scene::new();
    let bus = scene.network(&[&format!("hub={HUB}")]);
    let member = scene.container(&bus).member("can0", 1);
    let door = Door::open(&[HUB, "--listen", "127.0.0.1:29537", "--clients", "2"], Some("65534"));
    let listening = sh("ss -Hltn");
    let ours: Vec<&str> = listening.lines().filter(|line| line.contains(":29537")).collect();
    assert!(ours.len() == 1 && ours[0].contains("127.0.0.1:29537"), "{listening}");

    let mut one = client(29537).unwrap();
    one.write_all(b"< send 123 1 ff >< frobnicate >< echo >\x00\xFF garbage > < < send >").unwrap();
    let heard = read_until(&mut one, "< echo >");
    assert!(heard.contains("read-only") && heard.contains("unknown command"), "{heard}");
    let mut nonsense = TcpStream::connect("127.0.0.1:29537").unwrap();
    let dice: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let _ = nonsense.write_all(&dice);
    assert!(client(29537).unwrap_err().contains("too many clients"));
    drop(nonsense);

    member.run(&["cansend", "can0", "321#ABCDEF"]);
    let heard = read_until(&mut one, "ABCDEF >");
    assert!(heard.contains("< frame 321 "), "{heard}");
    drop(one);
    eventually("a client that left makes room", || client(29537).map(drop));
    let said = door.close();
    assert!(said.contains("was refused") && said.contains("they sent 0 frames"), "{said}");
}

#[test]
fn a_client_that_asked_for_fd_frames_hears_them_also_from_a_hub_that_was_made_again() {
    let scene = Scene::new();
    let bus = scene.network(&[&format!("hub={HUB}")]);
    let member = scene.container(&bus).member("can0", 1);
    let door = Door::open(&[HUB, "--listen", "127.0.0.1:29539", "--fd", "--write"], None);
    let mut one = client(29539).unwrap();
    eventually("the kernel looks whether the client's machine is there", || {
        let connections = sh("ss -Htno sport = :29539");
        if connections.contains("timer:(keepalive,") { Ok(()) } else { Err(connections) }
    });
    member.run(&["cansend", "can0", "321##1000102030405060708090A0B"]);
    assert!(read_until(&mut one, "0A0B >").contains("< frame 321 "));

    run("ip", &["link", "del", HUB]);
    let heard = eventually("frames come through the new hub", || {
        let _ = member.attempt(&["cansend", "can0", "322#0102"]);
        let mut bytes = [0; 4096];
        one.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let length = one.read(&mut bytes).map_err(|err| err.to_string())?;
        let heard = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if heard.contains("< frame 322 ") { Ok(heard) } else { Err(heard) }
    });
    assert!(!heard.contains("dropped"), "{heard}");
    let dump = member.start_tool("candump -n 1 -T 20000 -L can0,456:7FF").0;
    one.write_all(b"< send 456 12 0 1 2 3 4 5 6 7 8 9 a b >").unwrap();
    let dumped = dump.finish();
    // Kernels since 6.1 add a flag that says that it is an FD frame.
    assert!(
        dumped.contains("456##") && dumped.contains("000102030405060708090A0B"),
        "{dumped} {}",
        Door::said()
    );
    door.close();
}

#[test]
fn clients_that_do_not_read_are_told_and_dropped_and_disturb_nobody() {
    const CLIENTS: usize = 50;
    const FRAMES: u32 = 8000;
    let scene = Scene::new();
    // Some 900 frames/s: a guest on a busy host serves that to 25 readers, and those have seconds of room if it does not.
    let bus = scene.network(&[&format!("hub={HUB}"), "rate=125000"]);
    let member = scene.container(&bus).member("can0", 1);
    // The kernel keeps megabytes for a client that does not read; here that would be everything.
    for buffer in ["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"] {
        let before = run("sysctl", &["-n", buffer]);
        sh(&format!("sysctl -qw {buffer}='4096 8192 16384'"));
        scene.undo(move || {
            sh(&format!("sysctl -qw {buffer}='{before}'"));
        });
    }
    let door = Door::open(&[HUB, "--listen", "127.0.0.1:29538", "--clients", "50"], None);
    let mut readers: Vec<TcpStream> = (0..CLIENTS).map(|_| client(29538).unwrap()).collect();
    let mut deaf = readers.split_off(CLIENTS / 2);
    let read = |mut stream: TcpStream| {
        let (mut count, mut bytes) = (0, [0; 65_536]);
        let started = Instant::now();
        while count < FRAMES && started.elapsed() < Duration::from_secs(90) {
            match stream.read(&mut bytes) {
                Ok(length) if length > 0 => {
                    count += bytes[..length].iter().filter(|byte| **byte == b'>').count() as u32;
                }
                _ => break,
            }
        }
        count
    };
    let threads: Vec<_> = readers.into_iter().map(|stream| thread::spawn(move || read(stream))).collect();
    member.send(&[Kind::Classic], FRAMES);
    // Until the door has dropped it for sure, and while its connection still stands, for five seconds.
    thread::sleep(Duration::from_secs(2));
    read_until(&mut deaf[0], "< error you are dropped: it read too slowly >");
    let counts: Vec<u32> = threads.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert_eq!(counts, [FRAMES; CLIENTS / 2], "{}", Door::said());
    let said = eventually("all who did not read are dropped", || {
        let said = Door::said();
        let dropped = said.matches("read too slowly").count();
        if dropped == CLIENTS / 2 { Ok(said) } else { Err(format!("{dropped} are: {said}")) }
    });
    assert!(!said.contains("lost"), "{said}");
    let said = door.close();
    assert!(said.contains("50 clients, 25 of them dropped"), "{said}");
}
