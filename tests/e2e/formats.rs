//! Other programs read canhub's files, and canhub theirs: python-can, tshark, candump.

use std::{fs::File, path::PathBuf, process::Command};

use canhub::frames::{
    CanAnyFrame, Record, Sender, Timestamp,
    formats::{Format, Writer, open},
};
use serde_json::{Value, json};
use socketcan::{
    CanDataFrame, CanErrorFrame, CanFdFrame, CanRemoteFrame, EmbeddedFrame as _, ExtendedId, Frame as _, Id,
    StandardId, id::FdFlags,
};

use crate::support::shell::{attempt, finished, not_run, run};

/// Prints a file's frames as python-can sees them, or writes frames with it.
const PYTHON: &str = r#"
import can, json, sys
job, path = sys.argv[1:]
if job == "read":
    options = {"relative_timestamp": False} if path.endswith(".asc") else {}
    for m in can.LogReader(path, **options):
        print(json.dumps(dict(time=repr(m.timestamp), channel=str(m.channel), id=m.arbitration_id, ext=m.is_extended_id,
            rtr=m.is_remote_frame, err=m.is_error_frame, fd=m.is_fd, brs=m.bitrate_switch, esi=m.error_state_indicator,
            dlc=m.dlc, data=bytes(m.data).hex())))
else:
    with can.Logger(path) as log:
        for line in sys.stdin:
            m = json.loads(line)
            log(can.Message(timestamp=m["time"], channel=m["channel"], arbitration_id=m["id"], is_extended_id=m["ext"],
                is_remote_frame=m["rtr"], is_error_frame=m["err"], is_fd=m["fd"], bitrate_switch=m["brs"],
                error_state_indicator=m["esi"], dlc=m["dlc"], data=bytes.fromhex(m["data"]) or None))
"#;

/// Debian's python3, which is the one with Debian's python3-can.
const PYTHON_3: &str = "/usr/bin/python3";

/// Frames of all kinds and lengths from three senders, 1.000123456 s apart.
fn all_kinds() -> Vec<Record> {
    let id = |number: usize| match number % 2 {
        0 => Id::from(StandardId::new(0x100 + number as u16).unwrap()),
        _ => Id::from(ExtendedId::new(0x18FE_F000 + number as u32).unwrap()),
    };
    let data: Vec<u8> = (0..64).map(|byte| byte * 3 + 1).collect();
    let classic = (0..18).map(|n| CanDataFrame::new(id(n), &data[..n / 2]).unwrap().into());
    let remote = (0..18).map(|n| CanRemoteFrame::new_remote(id(n), n / 2).unwrap().into());
    let fd = [1, 2, 5, 8, 12, 16, 20, 24, 32, 48, 64].into_iter().enumerate().flat_map(|(n, length)| {
        let data = &data[..length];
        let flags = [FdFlags::empty(), FdFlags::BRS, FdFlags::ESI, FdFlags::BRS | FdFlags::ESI];
        flags
            .into_iter()
            .map(move |flags| CanFdFrame::with_flags(id(n), data, flags | FdFlags::FDF).unwrap().into())
    });
    let errors = [(0x80, &data[..8]), (0x88, &[0, 4, 0, 0, 0, 0, 0, 9]), (0xC4, &[])];
    let errors =
        errors.into_iter().map(|(class, data)| CanErrorFrame::new_error(class, data).unwrap().into());
    let frames: Vec<CanAnyFrame> = classic.chain(remote).chain(fd).chain(errors).collect();

    let senders = [Sender::Member("front-door".into()), Sender::Host, Sender::Wire];
    let record = |(n, frame): (usize, CanAnyFrame)| Record {
        time: Timestamp(1_795_774_470_123_456_789 + n as u64 * 1_000_123_456),
        sender: senders[n % 3].clone(),
        frame,
    };
    frames.into_iter().enumerate().map(record).collect()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, records: &[Record]) -> String {
        let path = self.path(name);
        let mut writer = Writer::create(&path, Format::of(&path).unwrap()).unwrap();
        records.iter().for_each(|record| writer.write(record).unwrap());
        writer.finish().unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> Vec<Record> {
        open(&self.path(name)).unwrap().collect::<Result<_, _>>().unwrap()
    }
}

fn lacks(test: &str, command: &[&str]) -> bool {
    let answer = attempt(command[0], &command[1..]);
    let why = answer.as_ref().err().map(|err| err.lines().last().unwrap_or_default().to_owned());
    if let Some(why) = &why {
        not_run(&format!("formats::{test}"), &format!("`{}` does not work here: {why}", command.join(" ")));
    }
    why.is_some()
}

/// Within a microsecond, which is what these files and numbers hold.
#[track_caller]
fn assert_time(read: u64, written: Timestamp, what: &str) {
    assert!(read.abs_diff(written.0) <= 1000, "{what}: {read} ns instead of {} ns", written.0);
}

/// A record in python-can's words.
fn message(record: &Record) -> Value {
    let frame = &record.frame;
    let fd = match frame {
        CanAnyFrame::Fd(fd) => Some(fd),
        _ => None,
    };
    let id = match frame {
        CanAnyFrame::Error(error) => error.error_bits(),
        frame => frame.raw_id(),
    };
    let data: String = frame.data().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "id": id, "ext": frame.is_extended(), "rtr": frame.is_remote_frame(), "err": frame.is_error_frame(),
        "fd": fd.is_some(), "brs": fd.is_some_and(CanFdFrame::is_brs), "esi": fd.is_some_and(CanFdFrame::is_esi),
        "dlc": if frame.is_remote_frame() { frame.dlc() } else { frame.data().len() }, "data": data,
    })
}

#[test]
fn python_can_reads_what_canhub_writes() {
    if lacks("python_can_reads_what_canhub_writes", &[PYTHON_3, "-c", "import can"]) {
        return;
    }
    let (folder, records) = (Folder::new(), all_kinds());
    for ending in ["log", "asc", "blf"] {
        let path = folder.write(&format!("ours.{ending}"), &records);
        let read = run(PYTHON_3, &["-c", PYTHON, "read", &path]);
        let read: Vec<Value> = read.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read.len(), records.len(), "{ending}");
        for (mut read, record) in read.into_iter().zip(&records) {
            let what = format!("{ending}: {read} for {:X}", record.frame);
            let mut written = message(record);
            // These two do not keep an error frame's content in python-can.
            let is_error = record.frame.is_error_frame();
            if is_error && ending != "blf" {
                read = json!({ "err": read["err"], "time": read["time"], "channel": read["channel"] });
                written = json!({ "err": true });
            }
            let read = read.as_object_mut().unwrap();
            let time: f64 = read.remove("time").unwrap().as_str().unwrap().parse().unwrap();
            assert_time((time * 1e6).round() as u64 * 1000, record.time, &what);
            let channel = read.remove("channel").unwrap();
            match ending {
                "log" if is_error => {}
                "log" => assert_eq!(channel, record.sender.to_string(), "{what}"),
                // python-can counts channels from 0.
                _ => assert_eq!(channel, ["0", "1", "2"][senders_of(&records, record)], "{what}"),
            }
            // An error frame has no id.
            if is_error {
                read.remove("ext");
                written.as_object_mut().unwrap().remove("ext");
            }
            assert_eq!(Value::Object(read.clone()), written, "{what}");
        }
    }
}

/// The place of a record's sender in the order of their first frames.
fn senders_of(records: &[Record], record: &Record) -> usize {
    let mut senders: Vec<&Sender> = Vec::new();
    for known in records {
        if !senders.contains(&&known.sender) {
            senders.push(&known.sender);
        }
    }
    senders.iter().position(|sender| **sender == record.sender).unwrap()
}

#[test]
fn canhub_reads_what_python_can_writes() {
    if lacks("canhub_reads_what_python_can_writes", &[PYTHON_3, "-c", "import can"]) {
        return;
    }
    let (folder, records) = (Folder::new(), all_kinds());
    let mut input = String::new();
    for (n, record) in records.iter().enumerate() {
        let mut message = message(record);
        message["time"] = json!(record.time.0 as f64 / 1e9);
        message["channel"] = json!(n % 3);
        input += &format!("{message}\n");
    }
    let messages = folder.path("messages");
    std::fs::write(&messages, input).unwrap();
    for ending in ["log", "asc", "blf"] {
        let name = format!("theirs.{ending}");
        let output = Command::new(PYTHON_3)
            .args(["-c", PYTHON, "write", folder.path(&name).to_str().unwrap()])
            .stdin(File::open(&messages).unwrap())
            .output();
        finished("python-can", output).unwrap();
        let read = folder.read(&name);
        assert_eq!(read.len(), records.len(), "{ending}");
        for (n, (read, record)) in read.iter().zip(&records).enumerate() {
            let what = format!("{ending}: {read:?} for {:X}", record.frame);
            // python-can writes the class of an error frame to BLF only, and the DLC of a remote frame not to logs.
            match (&record.frame, ending) {
                (CanAnyFrame::Error(_), "log" | "asc") => assert!(read.frame.is_error_frame(), "{what}"),
                (CanAnyFrame::Remote(_), "log") => {
                    assert!(read.frame.is_remote_frame() && read.frame.id() == record.frame.id(), "{what}");
                }
                (frame, _) => assert_eq!(read.frame, *frame, "{what}"),
            }
            let channel = if ending == "log" { format!("can{}", n % 3) } else { (n % 3 + 1).to_string() };
            // It writes all error frames of an ASC file to the first channel.
            if !(ending == "asc" && record.frame.is_error_frame()) {
                assert_eq!(read.sender.to_string(), channel, "{what}");
            }
            // The start of its ASC and BLF files is rounded to milliseconds, the frames are not; local time is UTC here.
            let error = read.time.0.abs_diff(record.time.0);
            assert!(error < if ending == "log" { 1000 } else { 1_001_000 }, "{what}: {error} ns");
        }
        for (read, record) in read.windows(2).zip(records.windows(2)) {
            let gap = |two: &[Record]| two[1].time.since(two[0].time).as_nanos() as u64;
            assert_time(gap(read), Timestamp(gap(record)), ending);
        }
    }
}

#[test]
fn tshark_reads_what_canhub_writes_and_canhub_what_it_writes() {
    if lacks("tshark_reads_what_canhub_writes_and_canhub_what_it_writes", &["tshark", "--version"]) {
        return;
    }
    let (folder, records) = (Folder::new(), all_kinds());
    let path = folder.write("ours.pcapng", &records);
    const FIELDS: [&str; 10] = [
        "frame.time_epoch",
        "frame.interface_name",
        "can.id",
        "can.flags.xtd",
        "can.flags.rtr",
        "can.flags.err",
        "can.len",
        "canfd.flags.brs",
        "canfd.flags.esi",
        "data.data",
    ];
    let fields: Vec<&str> = FIELDS.iter().flat_map(|field| ["-e", field]).collect();
    let read = run("tshark", &[&["-r", &path, "-T", "fields", "-E", "separator=|"], &fields[..]].concat());
    let lines: Vec<Vec<&str>> = read.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!(lines.len(), records.len(), "{read}");
    for (line, record) in lines.iter().zip(&records) {
        let what = format!("{line:?} for {:X}", record.frame);
        let message = message(record);
        let is = |text: &str| matches!(text, "1" | "True");
        let (seconds, fraction) = line[0].split_once('.').unwrap();
        let nanos = format!("{fraction:0<9}").parse::<u64>().unwrap();
        assert_eq!(seconds.parse::<u64>().unwrap() * 1_000_000_000 + nanos, record.time.0, "{what}");
        assert_eq!(line[1], record.sender.to_string(), "{what}");
        let flags = ["ext", "rtr", "err"].map(|flag| message[flag] == true);
        assert_eq!([is(line[3]), is(line[4]), is(line[5])], flags, "{what}");
        assert_eq!(line[6], message["dlc"].to_string(), "{what}");
        assert_eq!([is(line[7]), is(line[8])], ["brs", "esi"].map(|flag| message[flag] == true), "{what}");
        // tshark takes error frames apart instead of showing their id and data.
        if !record.frame.is_error_frame() {
            let id = line[2].trim_start_matches("0x");
            let id = if line[2].starts_with("0x") { u32::from_str_radix(id, 16) } else { id.parse() };
            assert_eq!(json!(id.unwrap()), message["id"], "{what}");
            assert_eq!(line[9], message["data"], "{what}");
        }
    }

    let rewritten = folder.path("theirs.pcapng");
    run("tshark", &["-r", &path, "-w", rewritten.to_str().unwrap()]);
    assert_eq!(folder.read("theirs.pcapng"), records);
}
