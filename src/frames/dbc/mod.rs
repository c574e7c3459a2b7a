//! Names, values and units of signals, from DBC files.
//!
//! The crate `can-dbc` parses the files. This module checks what the parser accepts although it makes no sense
//! (`load`), arranges it for decoding at the speed of a bus, and decodes (`signal`, `value`) the way cantools does: a test
//! compares the two for thousands of frames.

mod load;
mod places;
mod signal;
mod value;

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use socketcan::{EmbeddedFrame as _, Frame as _};

use super::CanAnyFrame;
pub use load::DbcError;
pub use signal::Signal;
pub use value::Value;

/// The messages of any number of DBC files.
#[derive(Debug, Clone, Default)]
pub struct Database {
    messages: HashMap<Id, Message>,
    /// Messages of J1939, which any node may send: by the part of the id that names the message.
    groups: HashMap<u32, Message>,
}

/// An id without the kernel's flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Id {
    Standard(u32),
    Extended(u32),
}

/// A message: what the data of the frames of one id mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its name.
    pub name: String,
    /// In the order of the file. A multiplexed signal's switch may come after it.
    signals: Vec<Signal>,
    /// Those that decide about others.
    switches: Vec<usize>,
}

/// A signal of a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading<'a> {
    /// Which.
    pub signal: &'a Signal,
    /// Its physical value, in the signal's unit.
    pub value: Value,
    /// What the file's value table calls it.
    pub label: Option<&'a str>,
}

impl Database {
    /// Reads DBC files. If two files describe the same id, the first one does.
    pub fn load<P: AsRef<Path>>(files: &[P]) -> Result<Self, DbcError> {
        let mut all = Self::default();
        for file in files {
            let Self { messages, groups } = load::file(file.as_ref())?;
            for (id, message) in messages {
                all.messages.entry(id).or_insert(message);
            }
            for (group, message) in groups {
                all.groups.entry(group).or_insert(message);
            }
        }
        Ok(all)
    }

    /// Whether it describes no message.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The message that describes a frame. Error frames have none; remote frames have that of the data they ask for.
    pub fn message(&self, frame: &CanAnyFrame) -> Option<&Message> {
        let raw = frame.raw_id();
        match frame {
            CanAnyFrame::Error(_) => None,
            frame if frame.is_extended() => {
                self.messages.get(&Id::Extended(raw)).or_else(|| self.groups.get(&parameter_group(raw)))
            }
            _ => self.messages.get(&Id::Standard(raw)),
        }
    }
}

/// The part of an extended id that names a J1939 message (SAE J1939-21, 5.2): without priority and source address, and
/// without the destination address that replaces the group extension below PDU format 240.
fn parameter_group(id: u32) -> u32 {
    let format = id >> 16 & 0xFF;
    if format < 240 { id & 0x03FF_0000 } else { id & 0x03FF_FF00 }
}

impl Message {
    fn new(name: String, signals: Vec<Signal>) -> Self {
        let switches: BTreeSet<usize> =
            signals.iter().filter_map(|signal| Some(signal.choice.as_ref()?.switch)).collect();
        Self { name, signals, switches: switches.into_iter().collect() }
    }

    /// The signals that these data hold: not those of other multiplexer values, nor those beyond the end of the data.
    pub fn decode<'a>(&'a self, data: &[u8]) -> impl Iterator<Item = Reading<'a>> {
        let raw: Vec<Option<u64>> = self.signals.iter().map(|signal| signal.raw(data)).collect();
        self.signals.iter().enumerate().filter_map(move |(at, signal)| {
            let bits = raw[at].filter(|_| self.is_present(at, &raw))?;
            Some(Reading { signal, value: signal.value(bits), label: signal.label(bits) })
        })
    }

    /// Which signals these data hold, as a number: equal for equal values of the multiplexers, 0 without any.
    pub fn page(&self, data: &[u8]) -> u64 {
        let switches =
            self.switches.iter().map(|at| self.signals[*at].raw(data).map_or(0, |raw| raw.wrapping_add(1)));
        // The values of several switches, as a polynomial; a collision would mix two plots.
        switches.fold(0, |page, raw| page.wrapping_mul(0x0100_0000_01B3).wrapping_add(raw))
    }

    /// All signals, including those that only some multiplexer values have.
    pub fn signals(&self) -> &[Signal] {
        &self.signals
    }

    /// Whether a signal's switch, that switch's own and so on select it. `load` refuses switches in a circle.
    fn is_present(&self, at: usize, raw: &[Option<u64>]) -> bool {
        let Some(choice) = &self.signals[at].choice else { return true };
        let is_selected = raw[choice.switch]
            .is_some_and(|value| choice.values.iter().any(|values| values.contains(&value)));
        is_selected && self.is_present(choice.switch, raw)
    }
}

#[cfg(test)]
mod tests;
