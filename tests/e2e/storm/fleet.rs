//! Twenty containers on three buses, and what must exist for them.

use std::collections::BTreeMap;

use crate::support::{
    docker::{Container, Network, try_docker},
    frames::each_bus_hears_itself,
    host::{Link, links, rules},
    member::Member,
    report::Kind,
    scene::Scene,
    shell::eventually,
    strangers::Strangers,
};

/// The hubs of the buses; in containers a bus is `can0`, `can1` or `can2`.
const HUBS: [&str; 3] = ["vcan-storm0", "vcan-storm1", "vcan-storm2"];
const ECUS: usize = 20;
/// Every so many containers, one is a gateway that is also on the next bus.
const GATEWAYS: usize = 5;
/// All containers and their buses.
pub struct Fleet {
    buses: Vec<Network>,
    names: Vec<String>,
    /// As last reported by Docker.
    pub ecus: Vec<Ecu>,
    strangers: Strangers,
    // Removes everything at the end, and checks that nothing is left.
    _scene: Scene,
}

/// A container in its current run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ecu {
    /// Its first process.
    pub pid: u32,
    /// Its interfaces on buses.
    pub seats: Vec<Seat>,
}

/// A container's interface on a bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    bus: usize,
    endpoint: String,
}

impl Seat {
    /// The interface in the container.
    pub fn interface(&self) -> String {
        format!("can{}", self.bus)
    }

    /// The interface on the host.
    pub fn host_end(&self) -> String {
        format!("ch{}", &self.endpoint[..10])
    }
}

impl Fleet {
    /// Starts all containers.
    pub fn start() -> Self {
        let scene = Scene::new();
        // Docker sends nothing about containers that died with dockerd; they are collected later.
        scene.allow_collection();
        let strangers = Strangers::beside(&scene);
        let bus = |(number, hub)| scene.network(&[&format!("hub={hub}"), &format!("ifname=can{number}")]);
        let buses: Vec<Network> = HUBS.into_iter().enumerate().map(bus).collect();
        let arguments = |number: usize| {
            let mut arguments = vec!["--restart", "always", "--network", &*buses[number % HUBS.len()].name];
            if number.is_multiple_of(GATEWAYS) {
                arguments.extend(["--network", &*buses[(number + 1) % HUBS.len()].name]);
            }
            arguments
        };
        let names = scene.fleet(&(0..ECUS).map(arguments).collect::<Vec<_>>());
        let mut fleet = Self { buses, names, ecus: Vec::new(), strangers, _scene: scene };
        fleet.ecus = fleet.ask_docker().unwrap_or_else(|err| panic!("{err}"));
        fleet
    }

    /// Docker has restarted all containers.
    pub fn restarted(&mut self) {
        self.ecus = eventually("all containers run again", || {
            let ecus = self.ask_docker()?;
            let old = ecus.iter().zip(&self.ecus).filter(|(new, old)| new.pid == old.pid).count();
            if old == 0 { Ok(ecus) } else { Err(format!("{old} containers are those of before")) }
        });
    }

    /// Asserts that no container was restarted since the last check.
    #[track_caller]
    pub fn assert_same_processes(&self) {
        assert_eq!(self.ask_docker().as_ref(), Ok(&self.ecus), "no container was restarted or reconnected");
    }

    fn ask_docker(&self) -> Result<Vec<Ecu>, String> {
        let format = "{{.State.Pid}} {{.State.Error}}{{range $name, $at := .NetworkSettings.Networks}} {{$name}}={{$at.EndpointID}}{{end}}";
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let told = try_docker(&[&["inspect", "--format", format], &names[..]].concat())?;
        told.lines()
            .zip(&self.names)
            .map(|(line, name)| self.ecu(line).ok_or(format!("{name}: {line}")))
            .collect()
    }

    fn ecu(&self, line: &str) -> Option<Ecu> {
        let mut words = line.split(' ');
        let pid = words.next()?.parse().ok().filter(|pid| *pid > 0)?;
        let seat = |word: &str| {
            let (name, endpoint) = word.split_once('=').filter(|(_, endpoint)| endpoint.len() == 64)?;
            let bus = self.buses.iter().position(|bus| bus.name == name)?;
            Some(Seat { bus, endpoint: endpoint.into() })
        };
        let seats: Vec<Seat> = words.filter(|word| word.contains('=')).map(seat).collect::<Option<_>>()?;
        (!seats.is_empty()).then_some(Ecu { pid, seats })
    }

    fn containers(&self) -> impl Iterator<Item = (Container, &Ecu)> {
        self.names
            .iter()
            .zip(&self.ecus)
            .map(|(name, ecu)| (Container { name: name.clone(), pid: ecu.pid }, ecu))
    }

    /// The names of the hubs.
    pub fn hubs(&self) -> &'static [&'static str] {
        &HUBS
    }

    /// Asserts that exactly the expected links and rules exist, on the host and in every container.
    pub fn is_whole(&self) -> Result<(), String> {
        let mut wanted = vec!["the host: foreign-a".to_owned(), "the host: foreign-b".to_owned()];
        for (hub, bus) in HUBS.iter().zip(&self.buses) {
            wanted.push(format!("the host: {hub} up 72 net={}", bus.id));
        }
        let mut there = can_links("the host", &links());
        for (container, ecu) in self.containers() {
            for seat in &ecu.seats {
                let end = format!("up 72 net={} ep={}", self.buses[seat.bus].id, seat.endpoint);
                wanted.push(format!("the host: {} {end}", seat.host_end()));
                wanted.push(format!("{}: {} {end}", container.name, seat.interface()));
            }
            there.extend(can_links(&container.name, &container.links()));
        }
        wanted.extend(self.mesh());
        there.extend(rules().into_iter().filter(|rule| !Strangers::own_rule(rule)));
        differences(&wanted, &there)
    }

    /// The rules of all buses in the format of `cangw`: from each end to each other, classic, FD and error frames.
    fn mesh(&self) -> Vec<String> {
        let mut rules = Vec::new();
        for (number, hub) in HUBS.iter().enumerate() {
            let seats = self.ecus.iter().flat_map(|ecu| &ecu.seats).filter(|seat| seat.bus == number);
            let ends: Vec<String> = seats.map(Seat::host_end).chain([(*hub).to_owned()]).collect();
            for (from, to) in ends.iter().flat_map(|from| ends.iter().map(move |to| (from, to))) {
                let echo = if to == hub { "-e " } else { "" };
                if from != to {
                    rules.extend(
                        [("", ""), ("-X ", ""), ("", " -f 000~3FFFFFFF")].map(|(fd, filter)| {
                            format!("cangw -A -s {from} -d {to} {fd}{echo}-i -l 1{filter}")
                        }),
                    );
                }
            }
        }
        rules
    }

    /// New sockets: each member receives every frame of its own bus exactly once, in order, and no others.
    pub fn talks(&self) -> Result<(), String> {
        let mut numbers = 1..;
        let mut member = |name: &str, pid, interface: &str| match pid {
            Some(pid) => Member::inside(name, pid, interface, numbers.next().unwrap()),
            None => Member::host(interface, numbers.next().unwrap()),
        };
        let mut buses: Vec<Vec<Member>> = HUBS.iter().map(|hub| vec![member("", None, hub)]).collect();
        for (container, ecu) in self.containers() {
            for seat in &ecu.seats {
                buses[seat.bus].push(member(&container.name, Some(ecu.pid), &seat.interface()));
            }
        }
        let buses: Vec<Vec<&Member>> = buses.iter().map(|bus| bus.iter().collect()).collect();
        let buses: Vec<&[&Member]> = buses.iter().map(Vec::as_slice).collect();
        each_bus_hears_itself(&buses, &[Kind::Classic, Kind::Fd], 10)
    }

    /// Asserts that nothing foreign was touched; the scene, dropped afterwards, asserts that nothing is left.
    #[track_caller]
    pub fn end(self) {
        self.strangers.assert_untouched("the storm");
    }
}

/// The CAN interfaces at a location, with the content of their aliases.
fn can_links(place: &str, links: &[Link]) -> Vec<String> {
    let can = links.iter().filter(|link| link.link_type == "can");
    let line = |link: &Link| {
        let name = format!("{place}: {}", link.ifname);
        let ids: Vec<&str> = link
            .ifalias
            .split(' ')
            .filter(|word| word.starts_with("net=") || word.starts_with("ep="))
            .collect();
        match link.ifname.starts_with("foreign-") {
            true => name,
            false => {
                let up = if link.is_up() { "up" } else { "down" };
                format!("{name} {up} {} {}", link.mtu, ids.join(" "))
            }
        }
    };
    can.map(line).collect()
}

/// Empty if both contain the same, equally often; otherwise what is missing and what is surplus.
fn differences(wanted: &[String], there: &[String]) -> Result<(), String> {
    let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
    wanted.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    there.iter().for_each(|line| *counts.entry(line).or_default() -= 1);
    let of = |sign: i32| -> Vec<&str> {
        counts.iter().filter(|(_, count)| count.signum() == sign).map(|(line, _)| *line).collect()
    };
    let (missing, surplus) = (of(1), of(-1));
    if missing.is_empty() && surplus.is_empty() {
        return Ok(());
    }
    let some = |lines: &[&str]| format!("{}: {:#?}", lines.len(), &lines[..lines.len().min(10)]);
    Err(format!("missing are {}, too much are {}", some(&missing), some(&surplus)))
}
