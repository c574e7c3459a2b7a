//! Docker Swarm places services on two hosts, and they are on one bus.
//!
//! Last, because it replaces the service with the managed plugin: swarm takes no other.

use crate::support::{fleet::two, readme, shell::say};

#[test]
fn zz_a_stack_of_docker_swarm_has_one_bus_on_two_hosts() {
    let (a, b) = two();
    for host in [&a, &b] {
        host.sh("systemctl disable --now canhub.service canhub.socket && rm -rf /var/lib/canhub");
        host.sh("docker plugin create canhub /host/plugin && docker plugin enable canhub");
        host.sh(&readme::block_with("/run/docker/canhub-span.sock"));
        host.sh("docker network create --config-only --ipam-driver null \
             -o hub=vcan-powertrain -o span=powertrain powertrain-here");
    }
    a.sh(&format!("docker swarm init --advertise-addr {}", a.address()));
    let token = a.sh("docker swarm join-token --quiet worker");
    b.sh(&format!("docker swarm join --token {token} {}:2377", a.address()));
    a.sh("docker network create --scope swarm -d canhub:latest --config-from powertrain-here powertrain");

    a.sh("ENGINE_HOST=a GEARBOX_HOST=b docker stack deploy --resolve-image never --detach=true \
         -c /host/compose-examples/two-hosts/stack.yaml drive");

    // Each hears the other one, on the other host.
    let hears = |id: &str| format!("timeout 3 candump -n 1 vcan-powertrain,{id}:7FF | grep {id}");
    let on_a = a.until("hears the gearbox on the other host", &hears("200"), |_| true);
    let on_b = b.until("hears the engine on the other host", &hears("100"), |_| true);
    say(&format!("swarm: on a {on_a}, on b {on_b}"));
    let placed = a.sh("docker stack ps --format '{{.Name}} {{.Node}} {{.CurrentState}}' drive");
    assert!(
        placed.contains("drive_engine.1 a Running") && placed.contains("drive_gearbox.1 b Running"),
        "{placed}"
    );

    a.sh("docker stack rm drive");
    a.until("the stack is gone", "docker ps --quiet", str::is_empty);
    b.until("the stack is gone", "docker ps --quiet", str::is_empty);
    for host in [&b, &a] {
        host.sh("docker swarm leave --force");
    }
}
