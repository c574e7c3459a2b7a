//! Docker Swarm places services on two hosts, and they are on one bus.
//!
//! Meanwhile the managed plugin is in place of the service: swarm takes no other.

use std::thread::panicking;

use crate::support::{
    fleet::two,
    guest::Guest,
    readme,
    shell::{PATIENCE, say, within},
};

/// Two hosts with the managed plugin. In the end they are out of the swarm, and have their service again.
struct Swarm {
    manager: Guest,
    worker: Guest,
}

impl Swarm {
    #[track_caller]
    fn new((manager, worker): (Guest, Guest)) -> Self {
        let swarm = Self { manager, worker };
        for host in swarm.hosts() {
            host.sh("systemctl disable --now canhub.service canhub.socket && rm -rf /var/lib/canhub");
            host.sh("docker plugin create canhub /host/plugin && docker plugin enable canhub");
            host.sh(&readme::block_with("/run/docker/canhub-span.sock"));
            host.sh("docker network create --config-only --ipam-driver null \
                 -o hub=vcan-powertrain -o span=powertrain powertrain-here");
        }
        swarm
    }

    fn hosts(&self) -> [&Guest; 2] {
        [&self.manager, &self.worker]
    }

    /// As it was before.
    fn end(&self) -> Result<(), String> {
        let _ = self.manager.try_sh("docker stack rm drive");
        for host in self.hosts() {
            within(PATIENCE, || match host.try_sh("docker ps --quiet")? {
                running if running.trim().is_empty() => Ok(()),
                running => Err(format!("{}: still running: {running}", host.name)),
            })?;
        }
        for host in [&self.worker, &self.manager] {
            let _ = host.try_sh("docker swarm leave --force");
            // Some are gone with the swarm.
            let _ = host.try_sh("docker network rm powertrain; docker network rm powertrain-here");
            host.try_sh(
                "docker plugin disable --force canhub && docker plugin rm canhub && \
                 rm -r /etc/systemd/system/canhub-span.service.d && systemctl daemon-reload && \
                 systemctl enable --now canhub.socket canhub.service && systemctl restart canhub-span",
            )?;
        }
        Ok(())
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        match self.end() {
            Err(err) if !panicking() => panic!("{err}"),
            Err(err) => say(&err),
            Ok(()) => {}
        }
    }
}

#[test]
fn a_stack_of_docker_swarm_has_one_bus_on_two_hosts() {
    let swarm = Swarm::new(two());
    let (a, b) = (&swarm.manager, &swarm.worker);
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
}
