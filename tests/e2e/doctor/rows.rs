//! Buses, records and what others left.

use super::{By, Row, machine::HUB};

/// A foreign link that a row makes.
const STRANGER: &str = "stranger0";

pub const ROWS: &[Row] = &[
    Row {
        name: "the hub was deleted, healing off",
        check: "bus",
        level: "error",
        words: &["the hub was missing", HUB, "healing is off"],
        fix: "canhub doctor --fix",
        also: &[],
        by: By::Doctor,
        broken: |machine| {
            machine.heals_after();
            machine.does(&format!("ip link del {HUB}"), "true");
        },
    },
    Row {
        name: "the hub is down, healing off",
        check: "bus",
        level: "error",
        words: &["was down", HUB],
        fix: "canhub doctor --fix",
        also: &[],
        by: By::Doctor,
        broken: |machine| machine.does(&format!("ip link set {HUB} down"), &format!("ip link set {HUB} up")),
    },
    Row {
        name: "a container's host end was deleted, healing off",
        check: "bus",
        level: "error",
        words: &["is not as it should be"],
        fix: "canhub doctor --fix",
        also: &[],
        by: By::Doctor,
        broken: |machine| {
            machine.heals_after();
            machine.does(&format!("ip link del {}", machine.host_end()), "true");
        },
    },
    Row {
        name: "a container's host end is down while frames flow, healing off",
        check: "dropped-frames",
        level: "warning",
        words: &["frames to", "were lost"],
        fix: "statistics",
        also: &["bus"],
        by: By::Person,
        broken: |machine| {
            machine.heals_after();
            let line = format!("ip link set {} down", machine.host_end());
            machine.does(&line, "true");
            machine.does(
                &format!("systemd-run --quiet --unit=e2e-cangen cangen {HUB} -g 20"),
                "systemctl stop e2e-cangen",
            );
        },
    },
    Row {
        name: "a container's own end was deleted, healing off",
        check: "bus",
        level: "error",
        words: &["is not as it should be"],
        fix: "canhub doctor --fix",
        also: &[],
        by: By::Doctor,
        broken: |machine| {
            machine.heals_after();
            machine.inside("ip link del can0");
        },
    },
    Row {
        name: "a container's own end is down, healing off",
        check: "bus",
        level: "error",
        words: &["is not as it should be", "can0"],
        fix: "canhub doctor --fix",
        also: &[],
        by: By::Doctor,
        broken: |machine| {
            machine.heals_after();
            machine.inside("ip link set can0 down");
        },
    },
    Row {
        name: "a rule was deleted, healing off",
        check: "bus",
        level: "error",
        words: &["rules were missing"],
        fix: "canhub doctor --fix",
        also: &[],
        by: By::Doctor,
        broken: |machine| {
            machine.heals_after();
            machine.does(&machine.rule().replace("-A", "-D"), "true");
        },
    },
    Row {
        name: "a rule stands twice, healing off",
        check: "bus",
        level: "error",
        words: &["deliver twice"],
        fix: "canhub doctor --fix",
        also: &[],
        by: By::Doctor,
        broken: |machine| {
            machine.heals_after();
            machine.does(&machine.rule(), "true");
        },
    },
    Row {
        name: "somebody has the hub's name",
        check: "bus",
        level: "error",
        words: &[HUB, "canhub did not make"],
        fix: "ip",
        also: &[],
        by: By::Person,
        broken: |machine| {
            machine.heals_after();
            machine.does(
                &format!("ip link del {HUB} && ip link add {HUB} mtu 72 type vcan && ip link set {HUB} up"),
                &format!("ip link del {HUB}"),
            );
        },
    },
    Row {
        name: "somebody else's rule on the hub",
        check: "foreign-rules",
        level: "warning",
        words: &[STRANGER, HUB, "not canhub's"],
        fix: "cangw -D -s stranger0 -d vcan-doctor",
        also: &[],
        by: By::Typing,
        broken: |machine| {
            machine.does(
                &format!("ip link add {STRANGER} type vcan && ip link set {STRANGER} up"),
                &format!("ip link del {STRANGER}"),
            );
            machine.does(&format!("cangw -A -s {STRANGER} -d {HUB} -e -f 123:7FF"), "true");
        },
    },
    Row {
        name: "the adapter is not there",
        check: "adapter",
        level: "warning",
        words: &["waiting for adapter can77"],
        fix: "ip -br link",
        also: &[],
        by: By::Person,
        broken: |machine| {
            machine.does(
                "docker network create -d canhub --ipam-driver null -o adapter=can77 e2e-doctor",
                "docker network rm e2e-doctor",
            );
        },
    },
    Row {
        name: "the adapter is down",
        check: "adapter",
        level: "error",
        words: &["adapter stranger0 is down"],
        fix: "ip link set stranger0 up",
        also: &[],
        by: By::Typing,
        broken: |machine| {
            machine.does("ip link add stranger0 mtu 72 type vcan", "ip link del stranger0");
            machine.does(
                "docker network create -d canhub --ipam-driver null -o adapter=stranger0 e2e-doctor",
                "docker network rm e2e-doctor",
            );
        },
    },
    // Its place: an adapter that is bus-off or error-passive, where a guest has a wire (tests with hardware).
    Row {
        name: "the state file is rubbish",
        check: "records",
        level: "error",
        words: &["state.json", "cannot be read"],
        fix: "canhub doctor --fix",
        also: &[],
        by: By::Doctor,
        broken: |machine| {
            machine.heals_after();
            machine.undo("rm -f /var/lib/canhub/state.unreadable-*");
            machine.does("echo '{\"version\":1,\"netw' > /var/lib/canhub/state.json", "true");
        },
    },
    Row {
        name: "the disk of the records is full",
        check: "records",
        level: "error",
        words: &["is full"],
        fix: "df -h /var/lib/canhub",
        also: &[],
        by: By::Person,
        broken: |machine| {
            machine.does(
                "cp -a /var/lib/canhub /run/e2e-records && mount -t tmpfs -o size=400k none /var/lib/canhub && \
                 cp -a /run/e2e-records/. /var/lib/canhub/ && { dd if=/dev/zero of=/var/lib/canhub/fill 2>/dev/null || true; }",
                "umount /var/lib/canhub; rm -rf /run/e2e-records",
            );
        },
    },
    Row {
        name: "the records are on a read-only disk",
        check: "records",
        level: "error",
        words: &["read-only"],
        fix: "mount -o remount,rw",
        also: &[],
        by: By::Typing,
        broken: |machine| {
            machine.does(
                "mount --bind /var/lib/canhub /var/lib/canhub && mount -o remount,bind,ro /var/lib/canhub",
                "umount /var/lib/canhub",
            );
        },
    },
    Row {
        name: "rustycan4docker left its records",
        check: "rustycan4docker",
        level: "warning",
        words: &["vrusty7"],
        fix: "canhub import rustycan4docker /var/lib/docker/network/files/rustycan4docker-networks.json",
        also: &[],
        by: By::Doctor,
        broken: |machine| {
            machine.does(
                r#"echo '{"ab00000000000000000000000000000000000000000000000000000000000000":{"device":"vrusty","peer":"vcanp","canid":"7"}}' > /var/lib/docker/network/files/rustycan4docker-networks.json"#,
                "systemctl stop canhub.socket canhub; rm -f /var/lib/docker/network/files/rustycan4docker-networks.json; \
                 jq 'del(.networks.ab00000000000000000000000000000000000000000000000000000000000000)' /var/lib/canhub/state.json > /run/e2e.json; \
                 cat /run/e2e.json > /var/lib/canhub/state.json; ip link del vrusty7; systemctl start canhub.socket canhub",
            );
        },
    },
    Row {
        name: "a link of canhub's that nobody wants, canhub stopped",
        check: "leftover-links",
        level: "warning",
        words: &["belongs to no container or network"],
        fix: "canhub doctor --fix",
        also: &["driver", "daemon"],
        by: By::Doctor,
        broken: |machine| {
            machine.without_canhub();
            let id = "cd".repeat(32);
            machine.does(
                &format!(
                    "ip link add ch00leftover type vxcan peer name e2e-peer && ip link set ch00leftover alias \
                     'canhub net={id} name=can0 frames=fd ep={id} if=can0 sb=gone'"
                ),
                "ip link del ch00leftover 2>/dev/null || true",
            );
        },
    },
    Row {
        name: "a stale plugin socket of canhub's",
        check: "stale-socket",
        level: "warning",
        words: &["/run/docker/plugins/canhub.sock", "15 s"],
        fix: "rm /run/docker/plugins/canhub.sock",
        also: &["driver", "daemon"],
        by: By::Doctor,
        broken: |machine| {
            machine.without_canhub();
            machine.dead_socket("/run/docker/plugins/canhub.sock");
        },
    },
    Row {
        name: "a stale plugin socket of somebody else's",
        check: "stale-socket",
        level: "warning",
        words: &["/run/docker/plugins/e2e-other.sock", "15 s"],
        fix: "rm /run/docker/plugins/e2e-other.sock",
        also: &[],
        by: By::Typing,
        broken: |machine| machine.dead_socket("/run/docker/plugins/e2e-other.sock"),
    },
    Row {
        name: "a stale admin socket",
        check: "stale-socket",
        level: "warning",
        words: &["admin socket", "/run/canhub/admin.sock"],
        fix: "rm /run/canhub/admin.sock",
        also: &["driver", "daemon"],
        by: By::Doctor,
        broken: |machine| {
            machine.without_canhub();
            machine.dead_socket("/run/canhub/admin.sock");
        },
    },
];
