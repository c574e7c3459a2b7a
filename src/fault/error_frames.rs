//! Error frames as the drivers of controllers make them: the classes and data bytes of `include/uapi/linux/can/error.h`.
//!
//! Filled like `can_change_state` and `can_restart` of `drivers/net/can/dev/dev.c`, and `flexcan_irq_bus_err` of
//! `drivers/net/can/flexcan`.

use nix::libc::{
    CAN_ERR_ACK, CAN_ERR_BUSERROR, CAN_ERR_BUSOFF, CAN_ERR_CNT, CAN_ERR_CRTL, CAN_ERR_CRTL_ACTIVE,
    CAN_ERR_CRTL_RX_OVERFLOW, CAN_ERR_CRTL_TX_PASSIVE, CAN_ERR_CRTL_TX_WARNING, CAN_ERR_LOSTARB,
    CAN_ERR_PROT, CAN_ERR_PROT_BIT, CAN_ERR_PROT_FORM, CAN_ERR_PROT_LOC_ACK, CAN_ERR_PROT_LOC_CRC_SEQ,
    CAN_ERR_PROT_STUFF, CAN_ERR_RESTARTED,
};
use socketcan::{CanAnyFrame, frame::can_frame_default, id::CAN_ERR_FLAG};

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

/// A state of the controller, with its transmit error counter.
const fn state(name: &'static str, state: i32, transmit_errors: u8) -> ErrorKind {
    let data = [0, state as u8, 0, 0, 0, 0, transmit_errors, 0];
    ErrorKind { name, is_state: true, class: CAN_ERR_CRTL | CAN_ERR_CNT, data }
}

/// An error on the bus: its kind and where in the frame.
const fn bus_error(name: &'static str, more: u32, kind: i32, place: i32) -> ErrorKind {
    let class = CAN_ERR_PROT | CAN_ERR_BUSERROR | more;
    ErrorKind { name, is_state: false, class, data: [0, 0, kind as u8, place as u8, 0, 0, 0, 0] }
}

/// Back in error-active.
pub(super) const ACTIVE: ErrorKind = state("active", CAN_ERR_CRTL_ACTIVE, 0);
/// The controller has left the bus.
pub(super) const GONE: ErrorKind =
    ErrorKind { name: "bus-off", is_state: true, class: CAN_ERR_BUSOFF, data: [0; 8] };
/// It was restarted after that.
pub(super) const RESTARTED: ErrorKind =
    ErrorKind { name: "restarted", is_state: true, class: CAN_ERR_RESTARTED, data: [0; 8] };

/// What `error=` can be.
pub(super) const KINDS: [ErrorKind; 9] = [
    // The limits of ISO 11898-1.
    state("warning", CAN_ERR_CRTL_TX_WARNING, 96),
    state("passive", CAN_ERR_CRTL_TX_PASSIVE, 128),
    bus_error("ack", CAN_ERR_ACK, 0, CAN_ERR_PROT_LOC_ACK),
    bus_error("bit", 0, CAN_ERR_PROT_BIT, 0),
    bus_error("form", 0, CAN_ERR_PROT_FORM, 0),
    bus_error("stuff", 0, CAN_ERR_PROT_STUFF, 0),
    bus_error("crc", 0, CAN_ERR_PROT_BIT, CAN_ERR_PROT_LOC_CRC_SEQ),
    ErrorKind { name: "arbitration", is_state: false, class: CAN_ERR_LOSTARB, data: [0; 8] },
    ErrorKind {
        name: "overflow",
        is_state: false,
        class: CAN_ERR_CRTL,
        data: [0, CAN_ERR_CRTL_RX_OVERFLOW as u8, 0, 0, 0, 0, 0, 0],
    },
];

impl ErrorKind {
    /// The frame.
    pub fn frame(&self) -> CanAnyFrame {
        frame(CAN_ERR_FLAG | self.class, self.data)
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
