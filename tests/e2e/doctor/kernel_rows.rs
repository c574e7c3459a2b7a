//! The kernel and its limits, canhub itself, and the user who runs doctor.

use super::{By, Row, machine::HUB};

/// The path of this kernel's can-gw module.
const GATEWAY: &str = "$(find /lib/modules/$(uname -r) -name 'can-gw.ko*')";

pub const ROWS: &[Row] = &[
    Row {
        name: "can-gw is not loaded, and containers are on a bus",
        check: "module-can-gw",
        level: "error",
        words: &["can-gw is not loaded", "containers on a bus cannot exchange frames"],
        fix: "modprobe can-gw",
        also: &["bus"],
        by: By::Doctor,
        broken: |machine| {
            machine.heals_after();
            machine.does("rmmod can_gw", "modprobe can-gw");
        },
    },
    Row {
        name: "this kernel has no can-gw",
        check: "module-can-gw",
        level: "error",
        words: &["has no can-gw", "containers on a bus cannot exchange frames"],
        fix: "CONFIG_CAN_GW=m",
        also: &["bus"],
        by: By::Person,
        broken: |machine| {
            machine.heals_after();
            machine.does(
                &format!("file={GATEWAY}; echo $file > /run/e2e-gw.path; mv $file /run/e2e-gw.ko && depmod && rmmod can_gw"),
                "mv /run/e2e-gw.ko $(cat /run/e2e-gw.path); depmod; modprobe can-gw",
            );
        },
    },
    Row {
        name: "the kernel was upgraded, and the machine not rebooted",
        check: "module-can-gw",
        level: "error",
        words: &["can-gw: not loaded", "no longer on disk", "the kernel was upgraded"],
        fix: "reboot",
        also: &["bus"],
        by: By::Person,
        broken: |machine| {
            machine.heals_after();
            machine.does(
                "modprobe can-raw && rmmod can_gw && mv /lib/modules/$(uname -r) /lib/modules/0.0.0-e2e",
                "mv /lib/modules/0.0.0-e2e /lib/modules/$(uname -r); modprobe can-gw",
            );
        },
    },
    Row {
        name: "can-gw is not loaded at boot",
        check: "modules-at-boot",
        level: "warning",
        words: &["can-gw is not loaded at boot"],
        fix: "/etc/modules-load.d/canhub.conf",
        also: &[],
        by: By::Doctor,
        broken: |machine| {
            machine.does(
                "mv /usr/local/lib/modules-load.d/canhub.conf /run/e2e-modules.conf",
                "mv /run/e2e-modules.conf /usr/local/lib/modules-load.d/canhub.conf; rm -f /etc/modules-load.d/canhub.conf",
            );
        },
    },
    Row {
        name: "can-gw was loaded with another hop limit",
        check: "max-hops",
        level: "warning",
        words: &["max_hops=3"],
        fix: "/etc/modprobe.d",
        also: &["bus"],
        by: By::Person,
        broken: |machine| {
            machine.heals_after();
            machine.does("rmmod can_gw && modprobe can-gw max_hops=3", "rmmod can_gw && modprobe can-gw");
        },
    },
    Row {
        name: "the kernel's backlog is too small for the largest bus",
        check: "backlog",
        level: "warning",
        words: &["500 is too small for bus", "250 frames are certain to reach its 2 containers"],
        fix: "sysctl -w net.core.netdev_max_backlog=20000",
        also: &[],
        by: By::Doctor,
        broken: |machine| {
            machine.does(
                "sysctl -qw net.core.netdev_max_backlog=500",
                "sysctl -qw net.core.netdev_max_backlog=20000",
            );
        },
    },
    Row {
        name: "doctor is run without root",
        check: "privileges",
        level: "warning",
        words: &["missing CAP_NET_ADMIN and CAP_SYS_ADMIN", "cannot inspect"],
        fix: "sudo canhub doctor",
        also: &["driver", "engine", "daemon", "bus", "records", "rustycan4docker", "stale-socket"],
        by: By::Person,
        broken: |machine| machine.asks_by("setpriv --reuid=65534 --regid=65534 --clear-groups"),
    },
    Row {
        name: "doctor is run by root in a container without capabilities",
        check: "privileges",
        level: "warning",
        words: &["missing CAP_NET_ADMIN and CAP_SYS_ADMIN among the capabilities of"],
        fix: "on the host",
        also: &["bus"],
        by: By::Person,
        broken: |machine| machine.asks_by("setpriv --bounding-set=-net_admin,-sys_admin"),
    },
    Row {
        name: "doctor is run in a user namespace, as in an unprivileged container",
        check: "privileges",
        level: "error",
        words: &["this is a user namespace", "can-gw rules only from root of the host"],
        fix: "on the host",
        also: &["bus"],
        by: By::Person,
        broken: |machine| machine.asks_by("unshare --user --map-root-user"),
    },
    Row {
        name: "canhub is not running",
        check: "driver",
        level: "error",
        words: &["canhub is not running"],
        fix: "systemctl enable --now canhub.socket canhub.service",
        also: &["daemon"],
        by: By::Typing,
        broken: |machine| machine.without_canhub(),
    },
    Row {
        name: "canhub is not running, and the hub was deleted",
        check: "bus",
        level: "error",
        words: &["the hub was missing", HUB],
        fix: "canhub doctor --fix",
        also: &["driver", "daemon"],
        by: By::Doctor,
        broken: |machine| {
            machine.heals_after();
            machine.without_canhub();
            machine.does(&format!("ip link del {HUB}"), "true");
        },
    },
    Row {
        name: "canhub hangs",
        check: "driver",
        level: "error",
        words: &["canhub does not answer", "within 3 s"],
        fix: "systemctl restart canhub",
        also: &["daemon"],
        by: By::Typing,
        broken: |machine| {
            machine.does("systemctl kill --signal=STOP canhub", "systemctl kill --signal=CONT canhub");
        },
    },
];
