//! Adapters that come, go, swap their names, and are configured.

use super::*;
use crate::kernel::{
    BusState, Controller, ControllerChange, Identity, LinkKind, Modes, Timing, TimingLimits, TimingRange,
    Usb, fake::Frame,
};

/// An sja1000 as in kvaser_pci, at this port.
fn hardware(port: &str) -> (Identity, Controller) {
    let usb = Usb { vendor: "0bfd".into(), product: "0004".into(), serial: Some(format!("serial-{port}")) };
    let identity = Identity {
        driver: Some("kvaser_usb".into()),
        path: Some(format!("pci-0000:00:14.0-usb-0:{port}:1.0")),
        usb: Some(usb),
        channel: 0,
    };
    let limits = TimingLimits { segment1: (1, 16), segment2: (1, 8), divider: (1, 64) };
    let controller = Controller {
        clock: 8_000_000,
        range: TimingRange { limits: Some(limits), bitrates: Vec::new() },
        supported: Some(Modes::LISTEN_ONLY | Modes::BERR_REPORTING),
        ..Controller::default()
    };
    (identity, controller)
}

impl Rig {
    pub(super) fn plug(&self, port: &str) -> u32 {
        let (identity, controller) = hardware(port);
        self.kernel.plug(identity, controller)
    }

    fn controller(&self, index: u32) -> (bool, Controller) {
        let links = self.kernel.links().unwrap();
        let link = links.into_iter().find(|link| link.index == index).unwrap();
        (link.up, *link.controller.unwrap())
    }

    fn problems(&self) -> Vec<String> {
        let want = self.manager.model().want();
        let mut have = self.manager.look(&want).unwrap();
        self.manager
            .plan(&want, &mut have, Scope::Everything)
            .problems
            .into_iter()
            .map(|problem| problem.text)
            .collect()
    }

    /// How many others receive a frame sent there, each exactly once.
    fn hear(&self, index: u32) -> usize {
        let heard = self.kernel.deliveries(index, Frame::CLASSIC).heard;
        assert!(heard.values().all(|times| *times == 1), "{heard:?}");
        heard.keys().filter(|end| **end != index).count()
    }
}

#[test]
fn members_reach_each_other_without_the_adapter_and_its_bus_when_it_appears() {
    let rig = Rig::new(&[("adapter", "can0"), ("bitrate", "500000")]);
    let [one, two] = [1, 2].map(|number| rig.host_end(number).unwrap());
    assert_eq!(rig.hear(one), 1, "the other member");
    let problems = rig.problems();
    assert!(problems.len() == 1 && problems[0].contains("waiting for adapter can0"), "{problems:?}");
    assert!(
        rig.kernel.links().unwrap().iter().all(|link| link.kind != LinkKind::Vcan),
        "no vcan takes its place"
    );

    let index = rig.plug("2");
    rig.look();
    let (up, controller) = rig.controller(index);
    assert_eq!((up, controller.timing.unwrap().bitrate), (true, 500_000));
    assert_eq!([rig.hear(index), rig.hear(one), rig.hear(two)], [2, 2, 2]);
    assert_eq!(rig.problems(), [""; 0]);
    assert_eq!(rig.look(), LookResult::default(), "a second pass finds nothing to do");

    rig.kernel.delete_link(None, index).unwrap();
    rig.look();
    assert_eq!([rig.hear(one), rig.hear(two)], [1, 1]);
    // A replacement is configured like the first one.
    let index = rig.plug("2");
    rig.look();
    assert_eq!((rig.controller(index).0, rig.hear(index)), (true, 2));
}

#[test]
fn an_adapter_selected_by_identity_is_found_under_any_name() {
    let rig = Rig::new(&[("adapter", "usb:0bfd:0004:serial-2"), ("bitrate", "250000")]);
    let [other, ours] = ["1", "2"].map(|port| rig.plug(port));
    rig.look();
    assert_eq!((rig.hear(other), rig.hear(ours)), (0, 2), "it is can1 now");
    assert!(!rig.controller(other).0, "the other one is not touched");

    rig.kernel.delete_link(None, other).unwrap();
    rig.kernel.delete_link(None, ours).unwrap();
    let [ours, other] = ["2", "1"].map(|port| rig.plug(port));
    rig.look();
    assert_eq!((rig.hear(other), rig.hear(ours)), (0, 2), "and now it is can0");
}

#[test]
fn a_selector_that_matches_two_adapters_is_explained() {
    let rig = Rig::new(&[("adapter", "driver:kvaser_usb")]);
    let both = ["1", "2"].map(|port| rig.plug(port));
    rig.look();
    assert_eq!(both.map(|index| rig.hear(index)), [0, 0]);
    let [problem] = &rig.problems()[..] else { panic!("{:?}", rig.problems()) };
    for word in ["can0", "can1", "usb:0bfd:0004:serial-1#0", "path:pci-0000:00:14.0-usb-0:2:1.0#0"] {
        assert!(problem.contains(word), "{word:?} is not in {problem:?}");
    }
}

#[test]
fn an_adapter_carries_one_bus() {
    let rig = Rig::new(&[("adapter", "can0")]);
    rig.plug("1");
    let second = || NetworkId::try_from("b2".repeat(32)).unwrap();
    for adapter in ["can0", "usb:0bfd:0004"] {
        let raw = [("adapter".to_owned(), adapter.to_owned())].into();
        let refused = rig.manager.create_network(second(), raw).unwrap_err().to_string();
        assert!(refused.contains("can0") && refused.contains("already the bus"), "{refused}");
    }
}

#[test]
fn the_original_settings_of_an_adapter_are_restored() {
    let rig = Rig::new(&[
        ("adapter", "can0"),
        ("bitrate", "500000"),
        ("listen-only", "on"),
        ("txqueuelen", "1000"),
    ]);
    let index = rig.plug("1");
    let timing = Timing { bitrate: 125_000, sample_point: 875, quanta: 16 };
    let before =
        ControllerChange { timing: Some((timing.bitrate, Some(timing.sample_point))), ..Default::default() };
    rig.kernel.configure(index, &before, true).unwrap();
    rig.look();
    let (up, controller) = rig.controller(index);
    assert!(up && controller.modes == Modes::LISTEN_ONLY && controller.timing.unwrap().bitrate == 500_000);

    rig.manager.delete_network(&network());
    let (up, controller) = rig.controller(index);
    assert_eq!((up, controller.modes, controller.timing), (true, Modes::empty(), Some(timing)));
    let links = rig.kernel.links().unwrap();
    assert_eq!(links.iter().find(|link| link.index == index).unwrap().txqueuelen, 10);
}

#[test]
fn an_adapter_without_settings_is_left_to_its_operator() {
    let rig = Rig::new(&[("adapter", "can0")]);
    let index = rig.plug("1");
    assert_eq!(rig.look().healed, 2, "its queue and the rules");
    assert!(!rig.controller(index).0, "it stays down");
    let problems = rig.problems();
    assert!(problems.len() == 1 && problems[0].contains("has no bitrate"), "{problems:?}");
    let own = ControllerChange { timing: Some((83_333, None)), ..Default::default() };
    rig.kernel.configure(index, &own, true).unwrap();
    rig.look();
    assert_eq!(rig.problems(), [""; 0]);
    rig.later(5);
    assert_eq!(rig.look(), LookResult::default());
    let txqueuelen =
        || rig.kernel.links().unwrap().iter().find(|link| link.index == index).unwrap().txqueuelen;
    assert_eq!(txqueuelen(), 8192);
    rig.manager.delete_network(&network());
    assert_eq!((rig.controller(index).0, txqueuelen()), (true, 10), "who brought it up may go on using it");
}

#[test]
fn bus_errors_are_explained() {
    for (restart_ms, word) in [("0", "ip link set can0 up"), ("100", "after 100 ms")] {
        let rig = Rig::new(&[("adapter", "can0"), ("bitrate", "500000"), ("restart-ms", restart_ms)]);
        let index = rig.plug("1");
        rig.look();
        rig.kernel.set_state(index, BusState::BusOff);
        let problems = rig.problems();
        assert!(problems.len() == 1 && problems[0].contains(word), "{problems:?}");
        rig.kernel.set_state(index, BusState::ErrorPassive);
        assert!(rig.problems()[0].contains("error-passive"));
    }
}

#[test]
fn an_adapter_that_returns_is_one_line_and_not_a_recurring_fault() {
    let rig = Rig::new(&[("adapter", "can0"), ("bitrate", "500000")]);
    rig.look();
    for time in 1..=10 {
        let index = rig.plug("2");
        assert_eq!(rig.look().healed, 2, "its settings and its rules, for the {time}th time");
        rig.kernel.delete_link(None, index).unwrap();
        rig.look();
    }
    let told = rig.told();
    let count = |kind| told.iter().filter(|event| event.kind == kind).count();
    assert_eq!((count(Kind::AdapterAppeared), count(Kind::AdapterVanished)), (10, 10));
    assert_eq!((count(Kind::Healed), count(Kind::KeepsComingBack)), (0, 0));
    let appeared = told.iter().find(|event| event.kind == Kind::AdapterAppeared).unwrap();
    assert_eq!(appeared.interface.as_deref(), Some("can0"));
    let vanished = told.iter().find(|event| event.kind == Kind::AdapterVanished).unwrap();
    assert_eq!(vanished.interface.as_deref(), Some("can0"));
    let did = appeared.did.as_deref().unwrap();
    assert!(did.contains("configure the adapter can0") && did.contains("can-gw rules"), "{did}");
    assert_eq!(rig.manager.events().heals_of_network(&network()), 20);
}

#[test]
fn bus_off_is_reported_once_a_minute_with_its_count() {
    let rig = Rig::new(&[("adapter", "can0"), ("bitrate", "500000"), ("restart-ms", "100")]);
    let index = rig.plug("1");
    rig.look();
    let told = || -> Vec<Option<u32>> {
        rig.told().into_iter().filter(|event| event.kind == Kind::BusOff).map(|event| event.times).collect()
    };
    for _ in 0..3 {
        rig.kernel.set_state(index, BusState::BusOff);
        rig.look();
        rig.kernel.set_state(index, BusState::ErrorActive);
        rig.look();
    }
    assert_eq!(told(), [Some(1)]);
    let problems = rig.told().into_iter().filter(|event| event.kind == Kind::Problem);
    assert_eq!(problems.filter(|event| event.reason.as_deref().unwrap().contains("bus-off")).count(), 1);
    rig.later(60);
    rig.look();
    assert_eq!(told(), [Some(1), Some(2)]);
}

#[test]
fn an_adapter_swapped_between_two_passes_has_appeared() {
    let rig = Rig::new(&[("adapter", "can0"), ("bitrate", "500000")]);
    let index = rig.plug("1");
    rig.look();
    rig.kernel.delete_link(None, index).unwrap();
    rig.plug("1");
    rig.look();
    let told = rig.told();
    let appeared: Vec<&Event> = told.iter().filter(|event| event.kind == Kind::AdapterAppeared).collect();
    assert_eq!(appeared.len(), 1, "nobody saw it vanish");
    assert!(appeared[0].took_us.is_some() && appeared[0].did.is_some(), "{:?}", appeared[0]);
}

#[test]
fn an_adapter_that_is_bus_off_at_the_first_pass_is_reported() {
    let rig = Rig::new(&[("adapter", "can0"), ("bitrate", "500000"), ("restart-ms", "100")]);
    let index = rig.plug("1");
    rig.look();
    rig.kernel.set_state(index, BusState::BusOff);
    let again = rig.restarted();
    let told = || again.told().iter().filter(|event| event.kind == Kind::BusOff).count();
    again.look();
    assert_eq!(told(), 1);
    again.later(60);
    again.look();
    assert_eq!(told(), 1, "it is the same bus-off");
}

#[test]
fn a_bus_off_that_the_driver_does_not_count_is_reported_once() {
    let rig = Rig::new(&[("adapter", "can0")]);
    let index = rig.plug("1");
    rig.kernel.count_bus_offs(false);
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    rig.kernel.change_link(None, index, &up).unwrap();
    rig.look();
    let told = || rig.told().iter().filter(|event| event.kind == Kind::BusOff).count();
    for times in 1..=2 {
        rig.kernel.set_state(index, BusState::BusOff);
        for _ in 0..3 {
            rig.look();
            assert_eq!(told(), times);
            rig.later(60);
        }
        rig.kernel.set_state(index, BusState::ErrorActive);
        rig.look();
        assert_eq!(told(), times);
    }
}

#[test]
fn unsupported_settings_fail_the_create_but_not_joins() {
    let rig = Rig::new(&[("adapter", "can0"), ("bitrate", "500000"), ("one-shot", "on")]);
    rig.plug("1");
    let problems = rig.problems();
    assert!(problems.len() == 1 && problems[0].contains("does not support one-shot"), "{problems:?}");
    rig.start(3);
    assert!(rig.host_end(3).is_some());

    rig.manager.delete_network(&network());
    let raw: RawOptions = [("adapter", "can0"), ("bitrate", "500000"), ("one-shot", "on")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let refused = rig.manager.create_network(network(), raw).unwrap_err().to_string();
    assert!(refused.contains("does not support one-shot") && refused.contains("listen-only"), "{refused}");
}

#[test]
fn with_adapter_wait_fail_a_join_is_refused() {
    let rig = Rig::new(&[("adapter", "can0")]);
    rig.manager.delete_network(&network());
    let raw: RawOptions =
        [("adapter", "can0"), ("adapter-wait", "fail")].map(|(key, value)| (key.into(), value.into())).into();
    rig.manager.create_network(network(), raw).unwrap();
    rig.kernel.add_sandbox("/run/netns/9");
    rig.manager.create_endpoint(network(), endpoint(9), &RawOptions::new()).unwrap();
    let refused = rig.manager.join(network(), endpoint(9), "/run/netns/9".into()).unwrap_err().to_string();
    assert!(refused.contains("adapter can0 not found"), "{refused}");
}
