//! The words of socketcand's protocol, as far as raw mode needs them (its `doc/protocol.md`).
//!
//! Elements are `< word word … >`. What clients do besides: SavvyCAN puts the kernel's flag into extended ids and prints
//! ids and bytes as signed numbers, so that they come with sixteen digits; python-can pads nothing.

use std::fmt::Write as _;

use socketcan::{
    CanAnyFrame, CanDataFrame, CanFdFrame, EmbeddedFrame as _, ExtendedId, Frame as _, Id, StandardId,
    id::{CAN_EFF_FLAG, CAN_EFF_MASK},
};

use crate::frames::Timestamp;

/// An element for an FD frame has some 220 bytes, with SavvyCAN's signed bytes 1200.
const ELEMENT_MAX: usize = 2048;

/// What a client wants.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Request {
    /// To reach a bus of this name.
    Open(String),
    /// To hear and send frames.
    RawMode,
    /// To get the same back.
    Echo,
    /// To send a frame.
    Send(CanAnyFrame),
    /// Something that the door does not do, or nonsense: why.
    Wrong(&'static str),
}

/// Cuts a stream into elements. What is outside of them is ignored.
#[derive(Debug, Default)]
pub(super) struct Elements {
    bytes: Vec<u8>,
}

impl Elements {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next request that is there as a whole.
    pub(super) fn next(&mut self, has_fd: bool) -> Option<Request> {
        let start = self.bytes.iter().position(|byte| *byte == b'<').unwrap_or(self.bytes.len());
        self.bytes.drain(..start);
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'>') else {
            if self.bytes.len() <= ELEMENT_MAX {
                return None;
            }
            self.bytes.clear();
            return Some(Request::Wrong("the element is too long"));
        };
        let element: Vec<u8> = self.bytes.drain(..=end).collect();
        let text = String::from_utf8_lossy(&element[1..end]);
        Some(Request::parse(&text, has_fd))
    }
}

impl Request {
    fn parse(element: &str, has_fd: bool) -> Self {
        let words: Vec<&str> = element.split_ascii_whitespace().collect();
        match words[..] {
            ["open", name] => Self::Open(name.to_owned()),
            ["rawmode"] => Self::RawMode,
            ["echo"] => Self::Echo,
            ["send", id, length, ref bytes @ ..] => match frame(id, length, bytes, has_fd) {
                Ok(frame) => Self::Send(frame),
                Err(why) => Self::Wrong(why),
            },
            ["bcmode" | "isotpmode" | "controlmode", ..] => Self::Wrong("this door has raw mode only"),
            _ => Self::Wrong("unknown command"),
        }
    }
}

fn frame(id: &str, length: &str, bytes: &[&str], has_fd: bool) -> Result<CanAnyFrame, &'static str> {
    let number = u64::from_str_radix(id, 16).map_err(|_| "the id is not a hexadecimal number")? as u32;
    let is_extended = id.len() >= 8 || number & CAN_EFF_FLAG != 0 || number > 0x7FF;
    let id = match is_extended {
        true => ExtendedId::new(number & CAN_EFF_MASK).map(Id::from),
        false => StandardId::new(number as u16).map(Id::from),
    };
    let id = id.ok_or("the id is too large")?;
    // python-can prints it in hexadecimal, socketcand reads decimals. The bytes tell which; up to 9 it is the same.
    let is_length = [10, 16].iter().any(|base| usize::from_str_radix(length, *base) == Ok(bytes.len()));
    if !is_length {
        return Err("the length is not that of the data");
    }
    // From 80 on, SavvyCAN's are negative.
    let is_byte = |byte: &u64| *byte <= 0xFF || *byte >= (-0x80_i64).cast_unsigned();
    let byte = |byte: &&str| u64::from_str_radix(byte, 16).ok().filter(is_byte).map(|byte| byte as u8);
    let data: Vec<u8> =
        bytes.iter().map(byte).collect::<Option<_>>().ok_or("a byte is not a hexadecimal number up to FF")?;
    match data.len() {
        0..=8 => CanDataFrame::new(id, &data).map(CanAnyFrame::Normal).ok_or("this is not a frame"),
        _ if !has_fd => Err("this door has frames of up to 8 bytes only"),
        _ => CanFdFrame::new(id, &data).map(CanAnyFrame::Fd).ok_or("a frame has 64 bytes at most"),
    }
}

/// Appends the element for a frame. False if the protocol has none: for remote frames, and for FD frames unless `has_fd`.
pub(super) fn print(time: Timestamp, frame: &CanAnyFrame, has_fd: bool, out: &mut Vec<u8>) -> bool {
    let micros = time.0 / 1000;
    let time = format_args!("{}.{:06}", micros / 1_000_000, micros % 1_000_000).to_string();
    let id = match frame {
        CanAnyFrame::Error(error) => {
            out.extend(format!("< error {:03X} {time} >", error.error_bits()).bytes());
            return true;
        }
        CanAnyFrame::Remote(_) => return false,
        CanAnyFrame::Fd(_) if !has_fd => return false,
        frame if frame.is_extended() => format!("{:08X}", frame.raw_id()),
        frame => format!("{:03X}", frame.raw_id()),
    };
    let mut element = format!("< frame {id} {time} ");
    for byte in frame.data() {
        let _ = write!(element, "{byte:02X}");
    }
    element.push_str(" >");
    out.extend(element.bytes());
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn requests(bytes: &[u8]) -> Vec<Request> {
        let mut elements = Elements::default();
        elements.push(bytes);
        std::iter::from_fn(|| elements.next(false)).collect()
    }

    fn sent(element: &str, has_fd: bool) -> String {
        match Request::parse(element, has_fd) {
            Request::Send(frame) => format!("{frame:X}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn frames_of_python_can_and_savvycan_are_understood() {
        for (element, frame) in [
            ("send 123 2 1 ff", "123#01FF"),
            ("send 00000123 0 ", "00000123#"),
            ("send 18FEF100 8 0 1 2 3 4 5 6 7", "18FEF100#0001020304050607"),
            ("send ffffffff98fef100 2 ffffffffffffff80 7f ", "18FEF100#807F"),
            ("send 1234567 1 0", "01234567#00"),
        ] {
            assert_eq!(sent(element, false), frame, "{element}");
        }
        let twelve = "send 123 C 1 2 3 4 5 6 7 8 9 a b c";
        assert_eq!(sent(twelve, true), "123##40102030405060708090A0B0C");
        assert_eq!(sent(&twelve.replace(" C ", " 12 "), true), sent(twelve, true));
        for (element, why) in [
            (twelve, "up to 8 bytes"),
            ("send 123 2 1", "length"),
            ("send xyz 0", "id is not"),
            ("send 123 1 xy", "byte is not"),
            ("send 123 1 100", "byte is not"),
            ("send 123 1 ffffffffffffff7f", "byte is not"),
            ("send", "unknown"),
            ("add 1 0 123 0", "unknown"),
            ("isotpmode 1 2", "raw mode only"),
        ] {
            assert!(sent(element, false).contains(why), "{element}: {}", sent(element, false));
        }
    }

    #[test]
    fn a_stream_is_cut_into_elements_wherever_it_is_split() {
        let stream = b"noise< open body >< rawmode >\n<echo> < what";
        let all = [Request::Open("body".into()), Request::RawMode, Request::Echo];
        assert_eq!(requests(stream), all);
        let mut elements = Elements::default();
        let mut found = Vec::new();
        for byte in stream {
            elements.push(&[*byte]);
            found.extend(elements.next(false));
        }
        assert_eq!(found, all);
    }

    #[test]
    fn an_endless_element_is_given_up() {
        assert_eq!(requests(&[b'<'; 5000]), [Request::Wrong("the element is too long")]);
    }

    #[test]
    fn frames_are_printed_as_socketcand_does() {
        let time = Timestamp(1_436_509_052_249_713_999);
        let printed = |frame: CanAnyFrame, has_fd| {
            let mut out = Vec::new();
            print(time, &frame, has_fd, &mut out).then(|| String::from_utf8(out).unwrap())
        };
        let id = StandardId::new(0x12).unwrap();
        let data = CanDataFrame::new(id, &[1, 0xAB]).unwrap();
        assert_eq!(printed(data.into(), false).unwrap(), "< frame 012 1436509052.249713 01AB >");
        let empty = CanDataFrame::new(ExtendedId::new(0x12).unwrap(), &[]).unwrap();
        assert_eq!(printed(empty.into(), false).unwrap(), "< frame 00000012 1436509052.249713  >");
        let fd = CanFdFrame::new(id, &[1]).unwrap();
        assert_eq!(printed(fd.into(), false), None);
        assert_eq!(printed(fd.into(), true).unwrap(), "< frame 012 1436509052.249713 01 >");
        let error = socketcan::CanErrorFrame::new_error(0x20, &[]).unwrap();
        assert_eq!(printed(error.into(), false).unwrap(), "< error 020 1436509052.249713 >");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..500), text in "<? ?(send|open)[ <>0-9a-f]{0,60}") {
            requests(&bytes);
            requests(text.as_bytes());
        }
    }
}
