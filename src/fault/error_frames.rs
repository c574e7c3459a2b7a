//! Error frames as the drivers of controllers make them: the classes and data bytes of `include/uapi/linux/can/error.h`.
//!
//! Filled like `can_change_state` and `can_restart` of `drivers/net/can/dev/dev.c`, and `flexcan_irq_bus_err` of
//! `drivers/net/can/flexcan`.

use socketcan::{CanAnyFrame, frame::can_frame_default};

/// The mark of an error frame (`CAN_ERR_FLAG`).
const ERROR: u32 = 0x2000_0000;
const LOST_ARBITRATION: u32 = 0x002;
/// `CAN_ERR_CRTL`: details are in byte 1.
const CONTROLLER: u32 = 0x004;
/// `CAN_ERR_PROT | CAN_ERR_BUSERROR`: details are in bytes 2 and 3.
const BUS_ERROR: u32 = 0x008 | 0x080;
const NO_ACK: u32 = 0x020;
const BUS_OFF: u32 = 0x040;
const RESTART: u32 = 0x100;
/// `CAN_ERR_CNT`: the error counters are in bytes 6 (transmit) and 7 (receive).
const COUNTERS: u32 = 0x200;

/// What an error frame reports.
#[derive(Debug, PartialEq, Eq)]
pub struct ErrorKind {
    /// As in `error=NAME`.
    pub name: &'static str,
    /// Whether it is a state, which a controller reports once when it enters it, and once more when it is back in
    /// error-active. The others are reported each time they happen.
    pub is_state: bool,
    class: u32,
    data: [u8; 8],
}

const fn state(name: &'static str, state: u8, transmit_errors: u8) -> ErrorKind {
    let data = [0, state, 0, 0, 0, 0, transmit_errors, 0];
    ErrorKind { name, is_state: true, class: CONTROLLER | COUNTERS, data }
}

const fn bus_error(name: &'static str, class: u32, kind: u8, place: u8) -> ErrorKind {
    ErrorKind { name, is_state: false, class: BUS_ERROR | class, data: [0, 0, kind, place, 0, 0, 0, 0] }
}

/// Back in error-active (`CAN_ERR_CRTL_ACTIVE`).
pub(super) const ACTIVE: ErrorKind = state("active", 0x40, 0);
/// The controller has left the bus.
pub(super) const GONE: ErrorKind = ErrorKind { name: "bus-off", is_state: true, class: BUS_OFF, data: [0; 8] };
/// It was restarted after that.
pub(super) const RESTARTED: ErrorKind =
    ErrorKind { name: "restarted", is_state: true, class: RESTART, data: [0; 8] };

/// What `error=` can be.
pub(super) const KINDS: [ErrorKind; 9] = [
    // `CAN_ERR_CRTL_TX_WARNING` at 96 errors, `CAN_ERR_CRTL_TX_PASSIVE` at 128.
    state("warning", 0x08, 96),
    state("passive", 0x20, 128),
    // `CAN_ERR_PROT_LOC_ACK`.
    bus_error("ack", NO_ACK, 0, 0x19),
    // `CAN_ERR_PROT_BIT`, `_FORM`, `_STUFF`; a checksum is a bit error in `CAN_ERR_PROT_LOC_CRC_SEQ`.
    bus_error("bit", 0, 0x01, 0),
    bus_error("form", 0, 0x02, 0),
    bus_error("stuff", 0, 0x04, 0),
    bus_error("crc", 0, 0x01, 0x08),
    ErrorKind { name: "arbitration", is_state: false, class: LOST_ARBITRATION, data: [0; 8] },
    // `CAN_ERR_CRTL_RX_OVERFLOW`.
    ErrorKind { name: "overflow", is_state: false, class: CONTROLLER, data: [0, 1, 0, 0, 0, 0, 0, 0] },
];

impl ErrorKind {
    /// The frame.
    pub fn frame(&self) -> CanAnyFrame {
        frame(ERROR | self.class, self.data)
    }
}

/// A classic frame of 8 bytes; the ID has the kernel's flags.
pub(super) fn frame(id: u32, data: [u8; 8]) -> CanAnyFrame {
    let mut frame = can_frame_default();
    frame.can_id = id;
    frame.can_dlc = 8;
    frame.data = data;
    frame.into()
}

#[cfg(test)]
mod tests {
    use socketcan::CanError;

    use super::*;

    /// As a program sees it that uses another implementation of error.h.
    fn seen(kind: &ErrorKind) -> CanError {
        let CanAnyFrame::Error(frame) = kind.frame() else { panic!("{kind:?} is no error frame") };
        assert_eq!(frame.as_ref().can_dlc, 8);
        frame.into()
    }

    #[test]
    fn error_frames_mean_what_their_names_say() {
        assert!(seen(&GONE).is_bus_off() && seen(&GONE).is_single());
        assert!(seen(&RESTARTED).is_restarted() && seen(&RESTARTED).is_single());
        let words = KINDS.each_ref().map(|kind| (kind.name, seen(kind).to_string()));
        for (name, says) in [
            ("warning", "warning"),
            ("passive", "passive"),
            ("ack", "ack"),
            ("bit", "bit"),
            ("form", "form"),
            ("stuff", "stuff"),
            ("crc", "crc"),
            ("arbitration", "arbitration"),
            ("overflow", "overflow"),
        ] {
            let (_, text) = words.iter().find(|(known, _)| *known == name).unwrap();
            assert!(text.to_lowercase().contains(says), "{name}: {text}");
        }
    }

    #[test]
    fn a_state_has_its_counters_and_a_missing_acknowledgement_its_place() {
        let bytes = |kind: &ErrorKind| match kind.frame() {
            CanAnyFrame::Error(frame) => (frame.as_ref().can_id, frame.as_ref().data),
            other => panic!("{other:?}"),
        };
        assert_eq!(bytes(&KINDS[1]), (0x2000_0204, [0, 0x20, 0, 0, 0, 0, 128, 0]));
        assert_eq!(bytes(&ACTIVE), (0x2000_0204, [0, 0x40, 0, 0, 0, 0, 0, 0]));
        assert_eq!(bytes(&KINDS[2]), (0x2000_00A8, [0, 0, 0, 0x19, 0, 0, 0, 0]));
        assert_eq!(seen(&KINDS[0]).counters(), Some((96, 0)));
    }
}
