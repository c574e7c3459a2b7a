//! Measures how long a bus is interrupted by a fault: from the fault to the first frame that arrives again.
//!
//! `make bench`, or as root on a kernel with vxcan and can-gw: `heal --canhub target/release/canhub`. For comparison it
//! measures the floor: the same fault, repaired with bare messages while canhub is stopped. Only covers faults with a
//! link event; rules have none and wait for the audit. Slow results are not an error; the goals are printed next to the
//! figures.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot measure panics")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures are for people")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a listener enters the container's namespace"
)]

#[path = "../join/baseline.rs"]
#[allow(dead_code, reason = "the other bench joins the slow way too")]
mod baseline;
#[path = "../../tests/driver/bodies.rs"]
mod bodies;
#[path = "../../tests/driver/client.rs"]
mod client;
#[path = "../join/daemon.rs"]
#[allow(dead_code, reason = "the other bench measures more of it")]
mod daemon;
mod figures;
#[path = "../floor/mod.rs"]
#[allow(dead_code, reason = "the other bench tears pairs down too")]
mod floor;
mod wire;

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::exit,
    thread,
    time::Duration,
};

use baseline::Sandbox;
use canhub::kernel::{Kernel, LinkChange, Linux};
use daemon::{Daemon, host_end};
use figures::{Figures, Row};
use floor::{Bare, Bring, Hub, Pair};
use wire::Wire;

const HUB: &str = "benchhub";
/// canhub heals a recurring fault immediately this often; after that the pauses grow. So each network sees each fault
/// this often, and then another network with other members is used.
const AT_ONCE: usize = 5;
const NETWORKS: usize = 4;
/// After a Join the loop leaves the host alone for a second.
const SETTLE: Duration = Duration::from_millis(1500);
/// Pause between two faults, so that each counts as a separate one.
const BETWEEN: Duration = Duration::from_millis(300);

/// A fault: its name, the location of the link, and whether it is deleted or only brought down.
type Fault = (&'static str, Place, Harm);

#[derive(Clone, Copy)]
enum Place {
    Hub,
    HostEnd,
    ContainerEnd,
}

#[derive(Clone, Copy)]
enum Harm {
    Delete,
    Down,
}

const FAULTS: [Fault; 6] = [
    ("hub deleted", Place::Hub, Harm::Delete),
    ("hub down", Place::Hub, Harm::Down),
    ("host end deleted", Place::HostEnd, Harm::Delete),
    ("host end down", Place::HostEnd, Harm::Down),
    ("container end deleted", Place::ContainerEnd, Harm::Delete),
    ("container end down", Place::ContainerEnd, Harm::Down),
];

fn main() {
    let canhub = std::env::args().skip_while(|argument| argument != "--canhub").nth(1).map(PathBuf::from);
    let Some(canhub) = canhub else {
        eprintln!("usage: heal --canhub PATH (as root, on a kernel with vxcan and can-gw)");
        exit(2)
    };
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _) = Daemon::start(&canhub, folder.path(), "bench");
    // One member per fault: two faults of one link would count as a recurring fault.
    let sandboxes: Vec<Sandbox> = (0..FAULTS.len() as u32).map(Sandbox::new).collect();
    let mut rows: Vec<Row> = FAULTS.iter().map(|(name, ..)| Row::new(name)).collect();
    for network in 0..NETWORKS {
        eprintln!("network {} of {NETWORKS}: {AT_ONCE} times each fault", network + 1);
        daemon.create_network(HUB);
        let first = (network * FAULTS.len()) as u32;
        for (number, sandbox) in (first..).zip(&sandboxes) {
            daemon.join(number, &sandbox.path);
        }
        thread::sleep(SETTLE);
        for (((_, place, harm), row), (number, sandbox)) in
            FAULTS.iter().zip(&mut rows).zip((first..).zip(&sandboxes))
        {
            let victim = Victim::new(*place, *harm, number, Path::new(&sandbox.path));
            let wire = Wire::start(HUB, victim.sandbox);
            for _ in 0..AT_ONCE {
                thread::sleep(BETWEEN);
                row.canhub.push(wire.silence_after(|| victim.harm(), || {}));
            }
            thread::sleep(BETWEEN);
            daemon.signal("-STOP");
            for _ in 0..AT_ONCE {
                thread::sleep(BETWEEN);
                row.floor.push(wire.silence_after(|| victim.harm(), || victim.repair()));
            }
            daemon.signal("-CONT");
            thread::sleep(BETWEEN);
        }
        daemon.delete_network();
        thread::sleep(SETTLE);
    }
    let figures = Figures { rows };
    print!("{figures}");
    println!("{}", figures.json());
}

/// What is broken, and the bare messages that repair it.
struct Victim<'a> {
    place: Place,
    harm: Harm,
    name: String,
    sandbox: &'a Path,
    repair: Repair,
    bare: Bare,
    home: File,
}

enum Repair {
    Hub(Hub),
    Pair(Pair),
    Up(Bring),
}

impl<'a> Victim<'a> {
    /// The current state.
    fn new(place: Place, harm: Harm, number: u32, sandbox: &'a Path) -> Self {
        let name = match place {
            Place::Hub => HUB.to_owned(),
            Place::HostEnd => host_end(number),
            Place::ContainerEnd => "can0".to_owned(),
        };
        let repair = match (harm, place) {
            (Harm::Down, _) => Repair::Up(Bring::up(index(place, &name, sandbox))),
            (Harm::Delete, Place::Hub) => Repair::Hub(Hub::capture(&name)),
            (Harm::Delete, _) => {
                Repair::Pair(Pair::capture(&[(host_end(number), sandbox.to_owned())]).remove(0))
            }
        };
        Self { place, harm, name, sandbox, repair, bare: Bare::open(), home: floor::home() }
    }

    /// Breaks it over netlink, so that no process start is measured.
    fn harm(&self) {
        let kernel = Linux::default();
        let index = index(self.place, &self.name, self.sandbox);
        let down = LinkChange { up: Some(false), ..LinkChange::default() };
        let sandbox = matches!(self.place, Place::ContainerEnd).then_some(self.sandbox);
        match self.harm {
            Harm::Delete => kernel.delete_link(sandbox, index).unwrap(),
            Harm::Down => kernel.change_link(sandbox, index, &down).unwrap(),
        }
    }

    fn repair(&self) {
        match (&self.repair, self.place) {
            (Repair::Hub(hub), _) => hub.make(&self.bare),
            (Repair::Pair(pair), _) => pair.make(&self.bare, &self.home),
            (Repair::Up(up), Place::ContainerEnd) => up.inside(&self.home, self.sandbox),
            (Repair::Up(up), _) => up.outside(&self.bare),
        }
    }
}

fn index(place: Place, name: &str, sandbox: &Path) -> u32 {
    let kernel = Linux::default();
    let links = match place {
        Place::Hub | Place::HostEnd => kernel.links().unwrap(),
        Place::ContainerEnd => kernel.sandbox_links(sandbox).unwrap().unwrap(),
    };
    let index = links.iter().find(|link| link.name == name).map(|link| link.index);
    index.unwrap_or_else(|| panic!("{name} does not exist"))
}
