use std::fs;

use socketcan::{CanDataFrame, CanRemoteFrame, ExtendedId, StandardId};

use super::*;

/// Multiplexed (plain, and extended in two levels), both byte orders, signed, scaled, floats, value tables, extended
/// ids, J1939. The guest's test decodes frames of it with cantools.
pub(crate) const EVERYTHING: &str = include_str!("../../../tests/e2e/watch/everything.dbc");

fn database(text: &str) -> Result<Database, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let named = |err: DbcError| err.to_string().replace(&file.path().display().to_string(), "body.dbc");
    Database::load(&[file.path()]).map_err(named)
}

fn standard(id: u16, data: &[u8]) -> CanAnyFrame {
    CanDataFrame::new(StandardId::new(id).unwrap(), data).unwrap().into()
}

fn extended(id: u32, data: &[u8]) -> CanAnyFrame {
    CanDataFrame::new(ExtendedId::new(id).unwrap(), data).unwrap().into()
}

/// `Speed=12.5 km/h Gear=2 (second)`
fn told(database: &Database, frame: &CanAnyFrame) -> String {
    let message = database.message(frame).unwrap();
    let readings = message.decode(frame.data()).map(|Reading { signal, value, label }| {
        let label = label.map(|label| format!(" ({label})")).unwrap_or_default();
        let unit = if signal.unit.is_empty() { String::new() } else { format!(" {}", signal.unit) };
        format!("{}={}{unit}{label}", signal.name, signal.text(value))
    });
    readings.collect::<Vec<_>>().join(" ")
}

#[test]
fn signals_of_both_byte_orders_are_decoded() {
    let all = database(EVERYTHING).unwrap();
    assert_eq!(
        told(&all, &standard(0x1A0, &[0x12, 0x34, 0x9C, 0xFF, 0x05, 0x80, 0x00, 0xE2])),
        "Speed=46.60 km/h Temperature=-90.0 °C Gear=5 Ratio=-32768 Mode=2 (eco) Level=6"
    );
}

#[test]
fn only_the_selected_signals_of_a_multiplexed_message_are_decoded() {
    let all = database(EVERYTHING).unwrap();
    assert_eq!(told(&all, &standard(0x2A0, &[0, 1, 2, 0, 0, 0, 0, 9])), "Page=0 A=513 Always=9");
    assert_eq!(told(&all, &standard(0x2A0, &[1, 1, 2, 0, 0, 0, 0, 9])), "Page=1 B=258 Always=9");
    // Two levels, and ranges.
    assert_eq!(told(&all, &extended(0x18DA_F110, &[0x02, 7, 0, 0, 0, 0, 0, 0])), "Service=2 Low=7");
    assert_eq!(
        told(&all, &extended(0x18DA_F110, &[0xF0, 1, 7, 0, 0, 0, 0, 0])),
        "Service=240 Sub=1 (first) Deep=7"
    );
    assert_eq!(
        told(&all, &extended(0x18DA_F110, &[0xF0, 5, 7, 0, 0, 0, 0, 0])),
        "Service=240 Sub=5 Deeper=-7"
    );
}

#[test]
fn signals_beyond_the_end_of_the_data_are_left_out() {
    let all = database(EVERYTHING).unwrap();
    assert_eq!(told(&all, &standard(0x1A0, &[0x12, 0x34])), "Speed=46.60 km/h");
    assert_eq!(told(&all, &standard(0x1A0, &[])), "");
}

#[test]
fn a_j1939_message_is_known_from_any_source_with_any_priority() {
    let all = database(EVERYTHING).unwrap();
    for id in [0x0CF0_0400, 0x18F0_0427, 0x0CF0_04FE] {
        let frame = extended(id, &[0, 0, 0, 0x40, 0x1F, 0, 0, 0]);
        assert_eq!(told(&all, &frame), "EngineSpeed=1000.000 rpm", "{id:X}");
    }
    assert_eq!(all.message(&extended(0x18DA_F111, &[])), None, "no J1939 message");
}

#[test]
fn the_kind_of_id_matters_and_remote_frames_have_their_datas_name() {
    let all = database(EVERYTHING).unwrap();
    assert_eq!(all.message(&extended(0x1A0, &[])), None);
    let remote = CanRemoteFrame::new_remote(StandardId::new(0x1A0).unwrap(), 0).unwrap();
    assert_eq!(all.message(&remote.into()).unwrap().name, "Motion");
}

#[test]
fn files_of_older_tools_are_read_in_their_encoding() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "BO_ 1 T: 1 X\n SG_ C : 0|8@1+ (1,0) [0|0] \"\u{B0}C\" X\n";
    fs::write(file.path(), text.chars().map(|c| u8::try_from(c).unwrap()).collect::<Vec<u8>>()).unwrap();
    let all = Database::load(&[file.path()]).unwrap();
    assert_eq!(told(&all, &standard(1, &[20])), "C=20 °C");
}

#[test]
fn whatever_is_wrong_is_named_with_its_line() {
    let cases = [
        (
            "BO_ 1 A: 8 X\n SG_ S : 0|16@2+ (1,0) [0|0] \"\" X\n",
            "body.dbc:2: column 15 has `2+ (1,0) [0|0] \"\" X` where the DBC format wants big endian or little endian",
        ),
        ("BO_ 1 A: 8 X\nBO_ 1 B: 8 X\n", "body.dbc:2: message 1 is defined twice, first in line 1"),
        (
            "BO_ 70000 A: 8 X\n",
            "body.dbc:1: the message's number 70000 is not a CAN ID: a standard one is at most 2047, an extended one has 2147483648 added",
        ),
        (
            "BO_ 1 A: 8 X\n SG_ S : 0|0@1+ (1,0) [0|0] \"\" X\n",
            "body.dbc:2: signal S has 0 bits; it must have 1 to 64",
        ),
        (
            "BO_ 1 A: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" X\n SG_ S : 8|8@1+ (1,0) [0|0] \"\" X\n",
            "body.dbc:2: signal S is defined twice in its message",
        ),
        (
            "\n\nBO_ 1 A: 8 X\n SG_ S m3 : 0|8@1+ (1,0) [0|0] \"\" X\n",
            "body.dbc:4: signal S is multiplexed, but its message has no multiplexer (M)",
        ),
        (
            "BO_ 1 A: 8 X\n SG_ S m3 : 0|8@1+ (1,0) [0|0] \"\" X\nSG_MUL_VAL_ 1 S T 3-3;\n",
            "body.dbc:2: signal S is multiplexed by T, which its message does not have",
        ),
        (
            "BO_ 1 A: 8 X\n SG_ S m3M : 0|8@1+ (1,0) [0|0] \"\" X\nSG_MUL_VAL_ 1 S S 3-3;\n",
            "body.dbc:2: signal S is multiplexed by itself",
        ),
        (
            "BO_ 1 A: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" X\nSIG_VALTYPE_ 1 S : 1;\n",
            "body.dbc:2: signal S is an IEEE float of 32 bits (SIG_VALTYPE_), but has 8",
        ),
        (
            "BO_ 1 A: 8 X\n SG_ S : 99999999999999999999|8@1+ (1,0) [0|0] \"\" X\n",
            "body.dbc:2: Invalid Uint value: '99999999999999999999'",
        ),
        (
            "VERSION \"\"\n\nhello\n",
            "body.dbc:3: column 1 has `hello` where the DBC format wants one of its keywords (BO_, SG_, CM_, VAL_ and so on)",
        ),
        (
            "BO_ 1 A: 8 X\n SG_ S : 0|8@1+ (1,0)",
            "body.dbc:2: the line ends where the DBC format wants min max",
        ),
    ];
    for (text, error) in cases {
        assert_eq!(database(text).unwrap_err(), error);
    }
    let missing = Database::load(&["/nowhere/body.dbc"]).unwrap_err().to_string();
    assert_eq!(missing, "cannot read the DBC file /nowhere/body.dbc: No such file or directory (os error 2)");
}

#[test]
fn a_comment_that_looks_like_a_message_is_none() {
    let text = "BO_ 1 A: 8 X\n\nCM_ BO_ 1 \"old:\nBO_ 99999 B: 8 X\n\";\n";
    assert!(database(text).unwrap().message(&standard(1, &[])).is_some());
}
