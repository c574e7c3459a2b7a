//! Buses, their adapters, and foreign objects on them.

use super::{By, Row, machine::HUB};
use crate::support::slcan::State;

/// A foreign link that a row creates.
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
        words: &["needs repair"],
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
        words: &["has lost frames", "the destination was down", "last seen"],
        fix: "statistics",
        also: &["bus"],
        by: By::Person,
        broken: |machine| {
            machine.forgets_after();
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
        words: &["needs repair"],
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
        words: &["needs repair", "can0"],
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
        name: "a duplicate rule, healing off",
        check: "bus",
        level: "error",
        words: &["delivered frames twice"],
        fix: "canhub doctor --fix",
        also: &[],
        by: By::Doctor,
        broken: |machine| {
            machine.heals_after();
            machine.does(&machine.rule(), "true");
        },
    },
    Row {
        name: "the hub's name is taken",
        check: "bus",
        level: "error",
        words: &[HUB, "is not canhub's"],
        fix: "ip -details link show vcan-doctor",
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
        name: "a foreign rule on the hub",
        check: "foreign-rules",
        level: "warning",
        words: &["foreign can-gw rule from stranger0 to vcan-doctor", "forwards a frame once"],
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
        name: "the adapter is missing",
        check: "adapter-away",
        level: "warning",
        words: &["waiting for adapter can77"],
        fix: "",
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
    Row {
        name: "the adapter is error-passive",
        check: "adapter",
        level: "warning",
        words: &["slcan-doctor is error-passive", "a bitrate mismatch", "120 ohms"],
        fix: "",
        also: &[],
        by: By::Person,
        broken: |machine| machine.on_a_wire(State::Passive, 0, 128),
    },
    Row {
        name: "the adapter is bus-off",
        check: "adapter",
        level: "error",
        words: &["slcan-doctor is bus-off", "left the bus", "not restarted automatically", "restart-ms=100"],
        fix: "ip link set slcan-doctor down && ip link set slcan-doctor up",
        also: &[],
        by: By::Typing,
        broken: |machine| machine.on_a_wire(State::BusOff, 0, 256),
    },
];
