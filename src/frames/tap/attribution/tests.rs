use proptest::{collection::vec, prelude::*};
use socketcan::{CanDataFrame, EmbeddedFrame as _, StandardId};

use super::*;
use crate::kernel::{LinkKind, fake::new_link};

const HUB: u32 = 1;
const SECOND: u64 = 1_000_000_000;

fn frame(content: u8) -> CanAnyFrame {
    CanDataFrame::new(StandardId::new(0x100).unwrap(), &[content]).unwrap().into()
}

fn heard(time: u64, content: u8) -> Heard {
    Heard { time, interface: HUB, by_host: false, lost: 0, frame: frame(content) }
}

fn by_host(time: u64, content: u8) -> Heard {
    Heard { by_host: true, ..heard(time, content) }
}

fn on_adapter() -> Attribution {
    let mut attribution = Attribution::default();
    attribution.set_hub(Some((Place::Adapter, &adapter())));
    attribution
}

/// Its queue of 1000 frames takes longer than the longest patience.
fn adapter() -> Link {
    Link { txqueuelen: 1000, ..new_link(HUB, "can0", LinkKind::Can, 72, "") }
}

#[test]
fn on_a_virtual_hub_only_frames_of_the_host_are_not_echoes() {
    let mut bus = Attribution::default();
    assert_eq!(bus.source(Place::Member(3), &heard(1, 1)), Some(Source::Member(3)));
    assert_eq!(bus.source(Place::VirtualHub, &heard(2, 1)), None);
    assert_eq!(bus.source(Place::VirtualHub, &by_host(3, 1)), Some(Source::Host));
    assert_eq!(bus.source(Place::Member(3), &by_host(4, 1)), Some(Source::Host), "sent on the host end");
}

#[test]
fn an_echo_that_did_not_come_in_time_is_not_expected_any_more() {
    let mut bus = on_adapter();
    bus.source(Place::Member(0), &heard(SECOND, 1));
    assert_eq!(bus.source(Place::Adapter, &heard(61 * SECOND, 1)), None);
    bus.source(Place::Member(0), &heard(62 * SECOND, 1));
    assert_eq!(bus.source(Place::Adapter, &heard(123 * SECOND, 1)), Some(Source::Wire));
    assert!(bus.echoes.awaited.is_empty() && bus.echoes.order.is_empty());
}

#[test]
fn an_adapter_that_is_gone_or_down_echoes_nothing() {
    let mut bus = on_adapter();
    bus.source(Place::Member(0), &heard(1, 1));
    bus.set_hub(Some((Place::Adapter, &Link { up: false, ..adapter() })));
    bus.source(Place::Member(0), &heard(2, 1));
    bus.set_hub(Some((Place::Adapter, &adapter())));
    assert_eq!(bus.source(Place::Adapter, &heard(3, 1)), Some(Source::Wire));
}

#[test]
fn an_error_frame_of_a_member_does_not_reach_an_adapter() {
    let mut bus = on_adapter();
    let error = socketcan::CanErrorFrame::new_error(0x4, &[0; 8]).unwrap().into();
    let error = |time| Heard { frame: error, ..heard(time, 0) };
    assert_eq!(bus.source(Place::Member(0), &error(1)), Some(Source::Member(0)));
    assert_eq!(bus.source(Place::Adapter, &error(2)), Some(Source::Wire), "the controller's own");
}

#[test]
fn on_a_virtual_hub_each_frame_of_a_member_has_an_echo() {
    let mut bus = Attribution::default();
    let hub = new_link(HUB, "vcan-body", LinkKind::Vcan, 72, "");
    bus.set_hub(Some((Place::VirtualHub, &Link { up: false, ..hub.clone() })));
    bus.source(Place::Member(0), &heard(1, 1));
    assert_eq!(bus.missing_echoes(), 0, "it is down");
    bus.set_hub(Some((Place::VirtualHub, &Link { up: true, ..hub })));
    bus.source(Place::Member(0), &heard(2, 1));
    bus.source(Place::Member(1), &heard(3, 1));
    bus.source(Place::VirtualHub, &by_host(4, 1));
    bus.source(Place::VirtualHub, &heard(5, 1));
    assert_eq!(bus.missing_echoes(), 1);
}

#[test]
fn after_a_loss_a_frame_of_the_wire_may_be_an_echo() {
    let mut bus = on_adapter();
    // Told with a frame of any bus.
    bus.note_lost(5, SECOND);
    bus.note_lost(0, 9 * SECOND);
    bus.source(Place::Member(0), &heard(SECOND, 1));
    assert_eq!(bus.source(Place::Adapter, &heard(2 * SECOND, 2)), Some(Source::Unknown));
    assert_eq!(bus.source(Place::Adapter, &heard(2 * SECOND, 1)), None);
    assert_eq!(bus.source(Place::Adapter, &heard(62 * SECOND, 2)), Some(Source::Wire));
}

#[test]
fn no_more_echoes_are_expected_than_fit_on_the_way_to_the_wire() {
    let mut bus = on_adapter();
    let fit = 1000 + BACKLOG;
    for _ in 0..fit + 10 {
        bus.source(Place::Member(0), &heard(1, 1));
    }
    let echoes = (0..fit + 10).filter(|_| bus.source(Place::Adapter, &heard(1, 1)).is_none()).count();
    assert!((fit..=fit + 1).contains(&echoes), "{echoes}");
}

/// One thing that happens on a bus.
#[derive(Debug, Clone)]
enum Happens {
    MemberSends(usize, u8),
    HostSends(u8),
    WireSends(u8),
    /// The adapter has sent the oldest frame of its queue.
    Echo,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        (0..3_usize, 0..4_u8).prop_map(|(member, content)| Happens::MemberSends(member, content)),
        (0..4_u8).prop_map(Happens::HostSends),
        (0..4_u8).prop_map(Happens::WireSends),
        Just(Happens::Echo),
        Just(Happens::Echo),
    ]
}

proptest! {
    /// Few contents, so that the same frame often comes from several senders at once.
    #[test]
    fn every_frame_is_told_once_with_its_sender(events in vec(happens(), 0..200)) {
        let (mut bus, mut queue) = (on_adapter(), VecDeque::new());
        let (mut sent, mut told) = (Vec::new(), Vec::new());
        let drain = std::iter::repeat_n(Happens::Echo, events.len());
        for (time, event) in (0..).zip(events.iter().cloned().chain(drain)) {
            let (source, place, heard) = match event {
                Happens::MemberSends(member, content) => {
                    queue.push_back((false, content));
                    (Some((Source::Member(member), content)), Place::Member(member), heard(time, content))
                }
                // The adapter's echo is how its frame is received.
                Happens::HostSends(content) => {
                    queue.push_back((true, content));
                    continue;
                }
                Happens::WireSends(content) => {
                    (Some((Source::Wire, content)), Place::Adapter, heard(time, content))
                }
                Happens::Echo => match queue.pop_front() {
                    Some((true, content)) => {
                        (Some((Source::Host, content)), Place::Adapter, by_host(time, content))
                    }
                    Some((false, content)) => (None, Place::Adapter, heard(time, content)),
                    None => continue,
                },
            };
            sent.extend(source);
            told.extend(bus.source(place, &heard).map(|source| (source, heard.frame.data()[0])));
        }
        // What a member or the host sends keeps its order.
        let of = |all: &[(Source, u8)], wanted: Source| -> Vec<u8> {
            all.iter().filter(|(source, _)| *source == wanted).map(|(_, content)| *content).collect()
        };
        for source in (0..3).map(Source::Member).chain([Source::Host]) {
            prop_assert_eq!(of(&told, source), of(&sent, source));
        }
        sent.sort();
        told.sort();
        prop_assert_eq!(told, sent);
        prop_assert!(bus.echoes.awaited.is_empty());
        prop_assert_eq!(bus.missing_echoes(), 0);
    }
}
