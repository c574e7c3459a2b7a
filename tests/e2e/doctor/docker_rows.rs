//! Docker, its networks, and the units.

use super::{By, Row};

const DAEMON_JSON: &str = "/etc/docker/daemon.json";
/// canhub's installed unit.
const UNIT: &str = "/usr/local/lib/systemd/system/canhub.service";

pub const ROWS: &[Row] = &[
    Row {
        name: "canhub's units are not enabled",
        check: "unit-enabled",
        level: "warning",
        words: &["canhub.socket and canhub.service are not enabled"],
        fix: "systemctl enable canhub.socket canhub.service",
        also: &[],
        by: By::Doctor,
        broken: |machine| {
            machine.does(
                "systemctl disable --quiet canhub.socket canhub.service",
                "systemctl enable --quiet canhub.socket canhub.service",
            );
        },
    },
    Row {
        name: "canhub's unit is masked",
        check: "unit-enabled",
        level: "error",
        words: &["canhub.socket is masked"],
        fix: "systemctl unmask",
        also: &[],
        by: By::Typing,
        broken: |machine| {
            machine.does(
                "systemctl mask --quiet --runtime canhub.socket",
                "systemctl unmask --runtime canhub.socket",
            );
        },
    },
    Row {
        name: "canhub's unit is not ordered before Docker's",
        check: "unit-order",
        level: "warning",
        words: &["not ordered before docker.service"],
        fix: "Before=docker.service",
        also: &[],
        by: By::Doctor,
        broken: |machine| {
            machine.does(
                &format!("grep -v '^Before=' {UNIT} > /etc/systemd/system/canhub.service && systemctl daemon-reload"),
                "rm -rf /etc/systemd/system/canhub.service /etc/systemd/system/canhub.service.d; systemctl daemon-reload",
            );
        },
    },
    Row {
        name: "a network with addresses",
        check: "null-ipam",
        level: "warning",
        words: &["network e2e-doctor assigns IP addresses"],
        fix: "docker network rm e2e-doctor && docker network create -d canhub --ipam-driver null -o hub=vcan-typed e2e-doctor",
        also: &[],
        by: By::Typing,
        broken: |machine| {
            machine.does(
                "docker network create -d canhub -o hub=vcan-typed e2e-doctor",
                "docker network rm e2e-doctor",
            );
        },
    },
    Row {
        name: "a network with addresses and a running container",
        check: "null-ipam",
        level: "warning",
        words: &["network e2e-doctor assigns IP addresses"],
        fix: "docker network disconnect e2e-doctor e2e-member && docker network rm e2e-doctor",
        also: &[],
        by: By::Typing,
        broken: |machine| {
            machine.does(
                "docker network create -d canhub -o hub=vcan-typed e2e-doctor",
                "docker network rm e2e-doctor",
            );
            machine.does(
                "docker run --detach --name e2e-member --network e2e-doctor can-tools sleep infinity",
                "docker rm --force e2e-member",
            );
        },
    },
    Row {
        name: "a network of Compose with addresses",
        check: "null-ipam",
        level: "warning",
        words: &["network e2e-doctor assigns IP addresses"],
        fix: "in the Compose file of project garage, give the network body `ipam: {driver: \"null\"}`",
        also: &[],
        by: By::Person,
        broken: |machine| {
            machine.does(
                "docker network create -d canhub -o hub=vcan-typed --label com.docker.compose.project=garage \
                 --label com.docker.compose.network=body e2e-doctor",
                "docker network rm e2e-doctor",
            );
        },
    },
    Row {
        name: "published ports of a container that is only on a CAN network",
        check: "published-ports",
        level: "warning",
        words: &["container e2e-ports", "not reachable", "CAN networks only"],
        fix: "bridge network",
        also: &[],
        by: By::Person,
        broken: |machine| {
            machine.makes_container("run --detach", "e2e-ports", "--publish 8080:80");
        },
    },
    Row {
        name: "Docker failed to start a container because canhub was not running",
        check: "late-containers",
        level: "error",
        words: &["container e2e-late is down", "canhub was not running"],
        fix: "docker start e2e-late",
        also: &[],
        by: By::Typing,
        broken: |machine| {
            machine.makes_container("create", "e2e-late", "--restart always");
            machine.undo("systemctl start canhub.socket canhub");
            machine.does(
                "systemctl stop canhub.socket canhub; ! docker start e2e-late && systemctl start canhub.socket canhub",
                "true",
            );
        },
    },
    Row {
        name: "Docker hangs",
        check: "engine",
        level: "error",
        words: &["Docker does not answer", "within 5 s"],
        fix: "systemctl status docker",
        also: &[],
        by: By::Person,
        broken: |machine| {
            machine.does("systemctl kill --signal=STOP docker", "systemctl kill --signal=CONT docker");
        },
    },
    Row {
        name: "Docker's socket is missing",
        check: "engine",
        level: "error",
        words: &["Docker is not running", "/run/docker.sock"],
        fix: "systemctl restart docker.socket docker.service",
        also: &[],
        by: By::Typing,
        broken: |machine| machine.does("rm /run/docker.sock", "systemctl start docker.socket docker"),
    },
    Row {
        name: "live-restore is on, and canhub does not start before Docker",
        check: "live-restore",
        level: "warning",
        words: &["live-restore is on", "15 s"],
        fix: "systemctl enable canhub.socket canhub.service",
        also: &["unit-enabled"],
        by: By::Typing,
        broken: |machine| {
            let old = std::fs::read_to_string(DAEMON_JSON).expect("the guest has one");
            // A reload does not reset a setting that the file no longer has.
            machine.undo(&format!(
                "jq '. + {{\"live-restore\": false}}' {DAEMON_JSON} > /run/e2e.json && cat /run/e2e.json > {DAEMON_JSON} && \
                 systemctl reload docker && \
                 until docker info --format '{{{{.LiveRestoreEnabled}}}}' | grep -q false; do sleep 0.2; done; \
                 printf %s '{old}' > {DAEMON_JSON}"
            ));
            machine.does(
                &format!("jq '. + {{\"live-restore\": true}}' {DAEMON_JSON} > /run/e2e.json && cat /run/e2e.json > {DAEMON_JSON} && systemctl reload docker"),
                "true",
            );
            machine.does(
                "systemctl disable --quiet canhub.socket canhub.service",
                "systemctl enable --quiet canhub.socket canhub.service",
            );
        },
    },
    Row {
        name: "Docker is not running",
        check: "engine",
        level: "error",
        words: &["Docker is not running"],
        fix: "systemctl restart docker.socket docker.service",
        also: &[],
        by: By::Typing,
        broken: |machine| {
            machine.does("systemctl stop docker.socket docker", "systemctl start docker.socket docker");
        },
    },
    Row {
        name: "a network that another engine created",
        check: "other-engine",
        level: "warning",
        words: &["e2e-wiped", "vcan-wiped", "another Docker Engine", "data folder was deleted"],
        fix: "/NetworkDriver.DeleteNetwork",
        also: &[],
        by: By::Typing,
        broken: |machine| {
            let id = "ab".repeat(32);
            let record = format!(
                r#".networks["{id}"] = {{"options": {{"hub": "vcan-wiped"}}, "name": "e2e-wiped", "engine": "wiped"}}"#
            );
            let state = "/var/lib/canhub/state.json";
            machine.does(
                &format!(
                    "systemctl stop canhub.socket canhub && jq '{record}' {state} > /run/e2e.json && \
                     cat /run/e2e.json > {state} && systemctl start canhub.socket canhub && ip link show vcan-wiped"
                ),
                &format!(
                    "curl --silent --show-error --unix-socket /run/docker/plugins/canhub.sock \
                     --data '{{\"NetworkID\":\"{id}\"}}' http://localhost/NetworkDriver.DeleteNetwork"
                ),
            );
        },
    },
];
