//! Records, and leftovers of other programs.

use super::{By, Row};

pub const ROWS: &[Row] = &[
    Row {
        name: "the state file is corrupt",
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
        name: "the record of an endpoint is corrupt",
        check: "records",
        level: "error",
        words: &["endpoint record", "cannot be read"],
        fix: "canhub doctor --fix",
        also: &[],
        by: By::Doctor,
        broken: |machine| {
            machine.does(
                "echo rubbish > /var/lib/canhub/endpoints/e2e.json",
                "rm -f /var/lib/canhub/endpoints/e2e.json",
            );
        },
    },
    Row {
        name: "the disk of the state folder is full",
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
                "umount --lazy /var/lib/canhub; rm -rf /run/e2e-records",
            );
        },
    },
    Row {
        name: "the state folder is on a read-only disk",
        check: "records",
        level: "error",
        words: &["read-only"],
        fix: "mount -o remount,rw",
        also: &[],
        by: By::Typing,
        broken: |machine| {
            machine.does(
                "mount --bind /var/lib/canhub /var/lib/canhub && mount -o remount,bind,ro /var/lib/canhub",
                // A canhub that was started meanwhile keeps its lock file open there.
                "umount --lazy /var/lib/canhub",
            );
        },
    },
    Row {
        name: "records of rustycan4docker",
        check: "rustycan4docker",
        level: "warning",
        words: &["vrusty7"],
        fix: "systemctl stop canhub.socket canhub.service && canhub import rustycan4docker /var/lib/docker/network/files/rustycan4docker-networks.json",
        // The imported network is one that Docker does not know.
        also: &["other-engine"],
        by: By::Typing,
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
        name: "a leftover canhub interface, canhub stopped",
        check: "leftover-links",
        level: "warning",
        words: &["1 leftover canhub interface"],
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
        name: "a stale plugin socket of canhub",
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
        name: "a stale plugin socket of another plugin",
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
        words: &["stale admin socket /run/canhub/admin.sock"],
        fix: "rm /run/canhub/admin.sock",
        also: &["driver", "daemon"],
        by: By::Doctor,
        broken: |machine| {
            machine.without_canhub();
            machine.dead_socket("/run/canhub/admin.sock");
        },
    },
];
