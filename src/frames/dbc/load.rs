//! Reads a DBC file. Whatever is wrong with it is reported with its line.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

use can_dbc::{
    AttributeDefinition, AttributeValue, AttributeValueType, ByteOrder, Dbc, MessageId, MultiplexIndicator,
    SignalExtendedValueType, ValueType,
};

use super::{
    Database, Id, Message, Signal, parameter_group,
    places::Places,
    signal::{Bits, Choice, Kind, Scale},
};

/// Larger files are no DBC files: those of whole vehicles have 5 MB.
const SIZE_MAX: u64 = 100 << 20;
/// Vector's tools keep signals that belong to no message under this id.
const NO_MESSAGE: u64 = 0xC000_0000;
/// Bit 31 marks an extended id.
const EXTENDED: u64 = 1 << 31;
const STANDARD_MAX: u64 = 0x7FF;

/// Why a DBC file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DbcError {
    /// It cannot be read.
    #[error("cannot read the DBC file {}: {source}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not a valid DBC file.
    #[error("{}:{line}: {why}", .path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// The first line is 1.
        line: usize,
        /// In one sentence.
        why: String,
    },
}

/// What is wrong, and in which line.
type Wrong = (usize, String);

pub(super) fn file(path: &Path) -> Result<Database, DbcError> {
    let unreadable = |source| DbcError::Unreadable { path: path.into(), source };
    // Of a directory or a device, metadata say less than the error of reading.
    if fs::metadata(path).map_err(unreadable)?.len() > SIZE_MAX {
        return Err(unreadable(io::Error::other("it is larger than 100 MB")));
    }
    let text = text(fs::read(path).map_err(unreadable)?);
    database(&text).map_err(|(line, why)| DbcError::Invalid { path: path.into(), line, why })
}

/// DBC files are UTF-8 or, from older tools, Windows-1252: of its letters beyond Latin-1, units use none but `€` and `™`.
fn text(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes).unwrap_or_else(|err| {
        let letter = |byte: &u8| match byte {
            0x80 => '€',
            0x99 => '™',
            0x81..=0x9F => '\u{FFFD}',
            latin1 => char::from(*latin1),
        };
        err.as_bytes().iter().map(letter).collect()
    });
    text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text)
}

fn database(text: &str) -> Result<Database, Wrong> {
    let places = Places::find(text);
    check_ids(&places)?;
    let mut dbc = Dbc::try_from(text).map_err(|err| syntax(&err.to_string(), text))?;
    let is_j1939 = j1939(&dbc);
    let mut database = Database::default();
    for (at, message) in std::mem::take(&mut dbc.messages).into_iter().enumerate() {
        if u64::from(message.id.raw()) == NO_MESSAGE {
            continue;
        }
        let id = match message.id {
            MessageId::Standard(id) => Id::Standard(id.into()),
            MessageId::Extended(id) => Id::Extended(id),
        };
        let key = message.id;
        let signals = signals(&dbc, key, message.signals, |name| {
            let line = places.signal(at, name).or_else(|| places.messages.get(at).map(|(_, line)| *line));
            line.unwrap_or(1)
        })?;
        let message = Message::new(message.name, signals);
        if let Id::Extended(raw) = id
            && is_j1939(key)
        {
            database.groups.entry(parameter_group(raw)).or_insert_with(|| message.clone());
        }
        database.messages.insert(id, message);
    }
    label(&mut database, &dbc);
    Ok(database)
}

/// The parser would cut a number that is no id to 16 bits, and accepts two messages of one id.
fn check_ids(places: &Places) -> Result<(), Wrong> {
    let mut lines = HashMap::new();
    for (id, line) in &places.messages {
        if *id > STANDARD_MAX && (*id & EXTENDED == 0 || *id > u64::from(u32::MAX)) {
            let why = format!(
                "the message's number {id} is not a CAN ID: a standard one is at most {STANDARD_MAX}, an extended one has \
                 {EXTENDED} added"
            );
            return Err((*line, why));
        }
        if let Some(first) = lines.insert(id, line) {
            return Err((*line, format!("message {id} is defined twice, first in line {first}")));
        }
    }
    Ok(())
}

/// Which messages belong to J1939: those of the frame format `J1939PG`, an attribute of Vector's tools.
fn j1939(dbc: &Dbc) -> impl Fn(MessageId) -> bool + use<> {
    const ATTRIBUTE: &str = "VFrameFormat";
    const J1939: &str = "J1939PG";
    let words = dbc.attribute_definitions.iter().find_map(|definition| match definition {
        AttributeDefinition::Message(name, AttributeValueType::Enum(words)) if name == ATTRIBUTE => {
            Some(words)
        }
        _ => None,
    });
    let is_j1939 = |value: &AttributeValue| match value {
        AttributeValue::String(word) => word == J1939,
        AttributeValue::Uint(number) => {
            let word = usize::try_from(*number).ok().and_then(|number| words?.get(number));
            word.is_some_and(|word| word == J1939)
        }
        _ => false,
    };
    let by_default = dbc.attribute_default(ATTRIBUTE).is_some_and(is_j1939);
    let given: HashMap<MessageId, bool> = dbc
        .attribute_values_message
        .iter()
        .filter(|given| given.name == ATTRIBUTE)
        .map(|given| (given.message_id, is_j1939(&given.value)))
        .collect();
    move |id| given.get(&id).copied().unwrap_or(by_default)
}

fn signals(
    dbc: &Dbc,
    id: MessageId,
    signals: Vec<can_dbc::Signal>,
    line: impl Fn(&str) -> usize,
) -> Result<Vec<Signal>, Wrong> {
    let names: HashMap<String, usize> =
        signals.iter().enumerate().map(|(at, signal)| (signal.name.clone(), at)).collect();
    let mut choices = Vec::new();
    let mut seen = HashSet::new();
    let plain_switch = signals
        .iter()
        .position(|signal| matches!(signal.multiplexer_indicator, MultiplexIndicator::Multiplexor));
    for signal in &signals {
        let wrong = |why: String| (line(&signal.name), format!("signal {} {why}", signal.name));
        if !seen.insert(signal.name.as_str()) {
            return Err(wrong("is defined twice in its message".into()));
        }
        if !(1..=64).contains(&signal.size) {
            return Err(wrong(format!("has {} bits; it must have 1 to 64", signal.size)));
        }
        if signal.start_bit >= 64 * 8 {
            return Err(wrong(format!(
                "starts at bit {}; the last bit of the longest frame is 511",
                signal.start_bit
            )));
        }
        choices.push(choice(dbc, id, signal, &names, plain_switch).map_err(wrong)?);
    }
    for (at, signal) in signals.iter().enumerate() {
        // Along the switches: a chain longer than the number of signals is a circle.
        let chain = std::iter::successors(Some(at), |at| choices[*at].as_ref().map(|choice| choice.switch));
        if chain.take(signals.len() + 1).count() > signals.len() {
            return Err((line(&signal.name), format!("signal {} is multiplexed by itself", signal.name)));
        }
    }
    signals
        .into_iter()
        .zip(choices)
        .map(|(signal, choice)| {
            let kind = kind(dbc, id, &signal)
                .map_err(|why| (line(&signal.name), format!("signal {} {why}", signal.name)))?;
            Ok(Signal {
                bits: Bits {
                    start: usize::try_from(signal.start_bit).unwrap_or(usize::MAX),
                    size: usize::try_from(signal.size).unwrap_or(64),
                    is_big_endian: signal.byte_order == ByteOrder::BigEndian,
                },
                kind,
                scale: Scale { factor: signal.factor, offset: signal.offset },
                labels: Vec::new(),
                choice,
                name: signal.name,
                unit: signal.unit,
            })
        })
        .collect()
}

fn kind(dbc: &Dbc, id: MessageId, signal: &can_dbc::Signal) -> Result<Kind, String> {
    let (kind, size) = match dbc.extended_value_type_for_signal(id, &signal.name) {
        Some(SignalExtendedValueType::IEEEfloat32Bit) => (Kind::Float, 32),
        Some(SignalExtendedValueType::IEEEdouble64bit) => (Kind::Double, 64),
        _ if signal.value_type == ValueType::Signed => return Ok(Kind::Signed),
        _ => return Ok(Kind::Unsigned),
    };
    match signal.size == size {
        true => Ok(kind),
        false => Err(format!("is an IEEE float of {size} bits (SIG_VALTYPE_), but has {}", signal.size)),
    }
}

/// When a signal is there: as `SG_MUL_VAL_` says, else at the number after its `m`.
fn choice(
    dbc: &Dbc,
    id: MessageId,
    signal: &can_dbc::Signal,
    names: &HashMap<String, usize>,
    plain_switch: Option<usize>,
) -> Result<Option<Choice>, String> {
    let value = match signal.multiplexer_indicator {
        MultiplexIndicator::Plain | MultiplexIndicator::Multiplexor => return Ok(None),
        MultiplexIndicator::MultiplexedSignal(value)
        | MultiplexIndicator::MultiplexorAndMultiplexedSignal(value) => value,
    };
    let extended = dbc
        .extended_multiplex
        .iter()
        .find(|entry| entry.message_id == id && entry.signal_name == signal.name);
    let Some(extended) = extended else {
        let switch = plain_switch.ok_or("is multiplexed, but its message has no multiplexer (M)")?;
        return Ok(Some(Choice { switch, values: vec![value..=value] }));
    };
    let switch = &extended.multiplexor_signal_name;
    Ok(Some(Choice {
        switch: *names
            .get(switch)
            .ok_or_else(|| format!("is multiplexed by {switch}, which its message does not have"))?,
        values: extended.mappings.iter().map(|range| range.min_value..=range.max_value).collect(),
    }))
}

/// Adds the value tables.
fn label(database: &mut Database, dbc: &Dbc) {
    for description in &dbc.value_descriptions {
        let can_dbc::ValueDescription::Signal { message_id, name, value_descriptions } = description else {
            continue;
        };
        let labels: Vec<_> =
            value_descriptions.iter().map(|entry| (entry.id, entry.description.clone())).collect();
        let (id, group) = match *message_id {
            MessageId::Standard(id) => (Id::Standard(id.into()), None),
            MessageId::Extended(id) => (Id::Extended(id), Some(parameter_group(id))),
        };
        let group = group.and_then(|group| database.groups.get_mut(&group));
        for message in database.messages.get_mut(&id).into_iter().chain(group) {
            if let Some(signal) = message.signals.iter_mut().find(|signal| signal.name == *name) {
                signal.labels.clone_from(&labels);
            }
        }
    }
}

/// The line and the reason in the parser's message, which draws an arrow below the place:
///
/// ```text
///  --> 7:24
///   |
/// 7 |  SG_ Speed : 0|16@2+ (1,0) [0|0] "" X
///   |                    ^---
///   |
///   = expected big_endian or little_endian
/// ```
///
/// Of a number that is too large, it only tells the number: `Invalid Uint value: '99999999999999999999'`.
fn syntax(message: &str, text: &str) -> Wrong {
    let place = message.lines().find_map(|line| line.trim_start().strip_prefix("--> "));
    let mut place = place.unwrap_or_default().split(':').map(|number| number.trim().parse().ok());
    let (Some(Some(line)), column) = (place.next(), place.next().flatten().unwrap_or(1)) else {
        let quoted = message.split('\'').nth(1).unwrap_or_default();
        let line = text.lines().position(|line| !quoted.is_empty() && line.contains(quoted));
        return (line.map_or(1, |line| line + 1), message.to_owned());
    };
    let source =
        message.lines().nth(2).and_then(|line| line.split_once("| ")).map_or("", |(_, source)| source);
    let found: String = source.chars().skip(column - 1).take(24).collect();
    let expected = message.lines().find_map(|line| line.trim_start().strip_prefix("= expected "));
    let expected = expected.unwrap_or("something else").replace('_', " ");
    let found = match found.trim() {
        "" => "the line ends".to_owned(),
        found => format!("column {column} has `{found}`"),
    };
    (line, format!("{found} where the DBC format wants {}", words(&expected)))
}

/// The parser's word for the start of a line is a list of all keywords.
fn words(expected: &str) -> String {
    match expected.matches(',').count() > 4 {
        true => "one of its keywords (BO_, SG_, CM_, VAL_ and so on)".to_owned(),
        false => expected.to_owned(),
    }
}
