//! What a newcomer types: the commands of `docs/hosts.md` as they stand, on two fresh hosts, and the example with Compose.

use crate::support::{
    fleet::{guests, two},
    readme::Path,
    shell::say,
};

/// What the contract allows, from two hosts with canhub to a frame across.
const FEWER_THAN: usize = 10;

#[test]
fn a_frame_crosses_after_fewer_than_ten_documented_commands() {
    // Types everything up to the networks.
    let (a, b) = two();
    let guests = guests();
    let path = Path::read();
    assert!(path.commands.len() < FEWER_THAN, "{:#?}", path.commands);

    let (rest, networks): (Vec<_>, Vec<_>) = path
        .commands
        .iter()
        .skip_while(|command| !command.text.starts_with("docker "))
        .partition(|command| !command.text.starts_with("docker "));
    for command in networks {
        path.carry_out(command, &guests);
    }
    let [listen, send] = &rest[..] else { panic!("expected a listener and a sender last: {rest:#?}") };
    // A person takes a second or two to type the next command; until then the hosts have found each other.
    let mut listener = guests[listen.host].start(&["sh", "-c", &path.text(listen, &guests)]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    path.carry_out(send, &guests);
    let [printed] = &listen.prints[..] else { panic!("what does {:?} print?", listen.text) };
    let heard = listener.wait_for("");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(&heard), words(printed));
    drop(listener);
    say(&format!("{} commands from two hosts with canhub to a frame across", path.commands.len()));

    for guest in [&a, &b] {
        guest.sh("docker network rm powertrain");
    }
}

#[test]
fn the_compose_example_has_one_bus_on_two_hosts() {
    let (a, b) = two();
    let compose = |profile: &str, command: &str| {
        format!("cd /host/compose-examples/two-hosts && COMPOSE_PROFILES={profile} {command}")
    };
    let hosts = [(&a, "engine"), (&b, "gearbox")];
    for (host, profile) in hosts {
        host.sh(&compose(profile, "docker compose up --detach --quiet-pull 2>&1"));
    }
    for (host, profile) in hosts {
        host.until("its logger hears both ECUs", &compose(profile, "HEARS='100 200' ./check"), |_| true);
    }
    for (host, profile) in hosts {
        host.sh(&compose(profile, "docker compose down --timeout 3 2>&1"));
    }
}
