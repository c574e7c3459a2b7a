//! Words for frames and times, the same on the screen and in a pipe.

use std::time::Duration;

use socketcan::{EmbeddedFrame as _, Frame as _, id::CAN_ERR_FLAG};

use crate::frames::{CanAnyFrame, Lost, dbc::Reading};

/// The id as candump prints it: three digits for a standard id, eight for an extended one and for error frames.
pub(super) fn id(frame: &CanAnyFrame) -> String {
    match frame {
        CanAnyFrame::Error(frame) => format!("{:08X}", frame.error_bits() | CAN_ERR_FLAG),
        frame if frame.is_extended() => format!("{:08X}", frame.raw_id()),
        frame => format!("{:03X}", frame.raw_id()),
    }
}

/// The length, behind `F` for FD frames, `R` for remote frames and `E` for error frames.
pub(super) fn length(frame: &CanAnyFrame) -> String {
    let length = frame.dlc();
    match frame {
        CanAnyFrame::Normal(_) => length.to_string(),
        CanAnyFrame::Fd(_) => format!("F{}", frame.data().len()),
        CanAnyFrame::Remote(_) => format!("R{length}"),
        CanAnyFrame::Error(_) => format!("E{}", frame.data().len()),
    }
}

/// `DE AD`
pub(super) fn hex(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" ")
}

/// `Speed=46.60 km/h`, `Mode=eco`
pub(super) fn reading(reading: &Reading) -> String {
    let Reading { signal, value, label } = reading;
    match label {
        Some(label) => format!("{}={label}", signal.name),
        None if signal.unit.is_empty() => format!("{}={}", signal.name, signal.text(*value)),
        None => format!("{}={} {}", signal.name, signal.text(*value), signal.unit),
    }
}

/// A time in at most six characters: `250µs`, `20.0ms`, `1000ms`, `12.5s`.
pub(super) fn time(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    match ms {
        ..0.9995 => format!("{:.0}µs", ms * 1000.0),
        ..9.995 => format!("{ms:.2}ms"),
        ..99.95 => format!("{ms:.1}ms"),
        ..9999.5 => format!("{ms:.0}ms"),
        ..999_950.0 => format!("{:.1}s", ms / 1000.0),
        _ => format!("{:.0}s", ms / 1000.0),
    }
}

/// `12 lost`, or what it can be.
pub(super) fn lost(Lost { at_least, at_most }: Lost) -> String {
    match at_least == at_most {
        true => format!("{at_most} lost"),
        false => format!("{at_least} to {at_most} lost"),
    }
}

/// Frames per second in at most five characters.
pub(super) fn rate(rate: f64) -> String {
    match rate {
        ..99.95 => format!("{rate:.1}"),
        _ => super::super::lines::short(rate.round() as u64),
    }
}

#[cfg(test)]
mod tests {
    use socketcan::{
        CanDataFrame, CanErrorFrame, CanFdFrame, CanRemoteFrame, ExtendedId, StandardId, id::FdFlags,
    };

    use super::*;

    #[test]
    fn frames_are_named_as_candump_does() {
        let (short, long) = (StandardId::new(0x1A).unwrap(), ExtendedId::new(0x1A).unwrap());
        let frames: [CanAnyFrame; 4] = [
            CanDataFrame::new(short, &[1, 2]).unwrap().into(),
            CanFdFrame::with_flags(long, &[0; 12], FdFlags::BRS).unwrap().into(),
            CanRemoteFrame::new_remote(short, 4).unwrap().into(),
            CanErrorFrame::new_error(0x4, &[0; 8]).unwrap().into(),
        ];
        let told = frames.map(|frame| (id(&frame), length(&frame)));
        let expected = [("01A", "2"), ("0000001A", "F12"), ("01A", "R4"), ("20000004", "E8")];
        assert_eq!(told, expected.map(|(id, length)| (id.to_owned(), length.to_owned())));
    }

    #[test]
    fn times_and_rates_fit_their_columns() {
        let micros = Duration::from_micros;
        let times =
            [(0, "0µs"), (250, "250µs"), (9_994, "9.99ms"), (20_000, "20.0ms"), (1_000_000, "1000ms")];
        for (time_us, text) in times.into_iter().chain([(12_500_000, "12.5s"), (7_200_000_000, "7200s")]) {
            assert_eq!(time(micros(time_us)), text);
            assert!(text.chars().count() <= 6);
        }
        assert_eq!([0.0, 50.0, 99.96, 8000.0].map(rate), ["0.0", "50.0", "100", "8000"]);
    }
}
