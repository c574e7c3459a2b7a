//! A signal: where its bits are, and what they mean.

use std::ops::RangeInclusive;

use super::value::Value;

/// A signal of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// Its name, unique in its message.
    pub name: String,
    /// Its unit, as in the file; may be empty.
    pub unit: String,
    pub(super) bits: Bits,
    pub(super) kind: Kind,
    pub(super) scale: Scale,
    /// Names of raw values, from the file's value table.
    pub(super) labels: Vec<(i64, String)>,
    /// For a multiplexed signal: when it is there.
    pub(super) choice: Option<Choice>,
}

/// Where a signal is in the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bits {
    /// As in the file: the number of the least significant bit if it is little-endian, else of the most significant one.
    /// Bit 0 is the least significant one of byte 0, bit 15 the most significant one of byte 1.
    pub(super) start: usize,
    /// 1 to 64.
    pub(super) size: usize,
    pub(super) is_big_endian: bool,
}

/// How a signal's bits make a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Unsigned,
    Signed,
    /// IEEE 754, 32 bits.
    Float,
    /// IEEE 754, 64 bits.
    Double,
}

/// Physical value = raw value × factor + offset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    pub(super) factor: f64,
    pub(super) offset: f64,
}

/// When a multiplexed signal is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// Which signal of the message decides.
    pub(super) switch: usize,
    /// At which raw values of that signal.
    pub(super) values: Vec<RangeInclusive<u64>>,
}

impl Signal {
    /// The bits as a number; none if the data are too short.
    pub(super) fn raw(&self, data: &[u8]) -> Option<u64> {
        let Bits { start, size, is_big_endian } = self.bits;
        let bit = |at: usize| u64::from(data[at / 8] >> (at % 8) & 1);
        // Counted from the most significant bit of byte 0, the bits of a big-endian signal are consecutive.
        let first = if is_big_endian { start / 8 * 8 + 7 - start % 8 } else { start };
        if first + size > data.len() * 8 {
            return None;
        }
        Some(match is_big_endian {
            true => (first..first + size).fold(0, |raw, at| raw << 1 | bit(at / 8 * 8 + 7 - at % 8)),
            false => (first..first + size).rev().fold(0, |raw, at| raw << 1 | bit(at)),
        })
    }

    /// The bytes that it is in.
    pub fn bytes(&self) -> RangeInclusive<usize> {
        let Bits { start, size, is_big_endian } = self.bits;
        let first = if is_big_endian { start / 8 * 8 + 7 - start % 8 } else { start };
        first / 8..=(first + size - 1) / 8
    }

    /// The physical value of these bits.
    pub(super) fn value(&self, bits: u64) -> Value {
        let Scale { factor, offset } = self.scale;
        match self.kind {
            Kind::Unsigned => Value::scaled(bits.into(), factor, offset),
            Kind::Signed => Value::scaled(self.sign_extended(bits).into(), factor, offset),
            Kind::Float => Value::Float(f64::from(f32::from_bits(bits as u32)) * factor + offset),
            Kind::Double => Value::Float(f64::from_bits(bits) * factor + offset),
        }
    }

    /// What the value table calls these bits.
    pub(super) fn label(&self, bits: u64) -> Option<&str> {
        if self.labels.is_empty() {
            return None;
        }
        let raw = match self.kind {
            Kind::Unsigned => i128::from(bits),
            Kind::Signed => self.sign_extended(bits).into(),
            Kind::Float | Kind::Double => return None,
        };
        self.labels.iter().find(|(value, _)| i128::from(*value) == raw).map(|(_, label)| label.as_str())
    }

    /// The value as text, without the unit: with as many decimals as the factor and the offset have.
    pub fn text(&self, value: Value) -> String {
        value.text(self.decimals())
    }

    /// The value with those decimals: 0.3 instead of 0.30000000000000004.
    pub fn rounded(&self, value: Value) -> Value {
        value.rounded(self.decimals())
    }

    /// None for IEEE signals.
    fn decimals(&self) -> Option<usize> {
        let is_integer = matches!(self.kind, Kind::Unsigned | Kind::Signed);
        is_integer.then(|| decimals(self.scale.factor).max(decimals(self.scale.offset)))
    }

    fn sign_extended(&self, bits: u64) -> i64 {
        let unused = 64 - self.bits.size;
        ((bits << unused) as i64) >> unused
    }
}

/// How many decimals a number is written with.
fn decimals(number: f64) -> usize {
    number.to_string().split_once('.').map_or(0, |(_, decimals)| decimals.len())
}
