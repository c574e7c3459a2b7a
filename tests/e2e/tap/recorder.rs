//! `canhub record` as a process, and what it left.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::SystemTime,
};

use canhub::frames::{CanAnyFrame, Record, Sender, formats::open};
use serde_json::Value;
use socketcan::EmbeddedFrame as _;

use crate::support::{
    canhub::program,
    scene::unique,
    shell::{eventually, run},
};

/// A recording that runs.
pub struct Recorder {
    child: Child,
    path: PathBuf,
    /// Where its error output goes.
    complaint: PathBuf,
}

/// What a recorder left.
pub struct Recording<Ended = String> {
    /// The first file.
    pub path: PathBuf,
    /// All files.
    pub files: Vec<PathBuf>,
    /// Their frames.
    pub records: Vec<Record>,
    /// Whether the last one ends in the middle of a frame.
    pub is_cut: bool,
    /// How many frames it says are in the files.
    pub frames: u64,
    /// How many frames it says were lost.
    pub lost: u64,
    /// Why it ended; or when, if it was killed.
    pub ended: Ended,
    /// What it said to people.
    pub complaint: String,
    /// Its exit code.
    pub code: Option<i32>,
}

impl Recorder {
    /// Starts it. Returns once it records.
    #[track_caller]
    pub fn start(bus: &str, ending: &str, args: &[&str]) -> Self {
        Self::start_in("/tmp", bus, ending, args)
    }

    #[track_caller]
    pub fn start_in(folder: &str, bus: &str, ending: &str, args: &[&str]) -> Self {
        let path = Path::new(folder).join(format!("{}.{ending}", unique("tap")));
        Self::start_command(Command::new(program()), bus, path.clone(), path, args)
    }

    /// The same with files that are numbered.
    #[track_caller]
    pub fn start_rotating(bus: &str, args: &[&str]) -> Self {
        let name = unique("tap");
        let [path, first] = [format!("/tmp/{name}.log"), format!("/tmp/{name}-0001.log")].map(PathBuf::from);
        Self::start_command(Command::new(program()), bus, path, first, args)
    }

    /// As a user who may do nothing.
    #[track_caller]
    pub fn start_as_nobody(bus: &str, ending: &str) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", &program()]);
        let path = PathBuf::from(format!("/tmp/{}.{ending}", unique("tap")));
        Self::start_command(command, bus, path.clone(), path, &[])
    }

    #[track_caller]
    fn start_command(mut command: Command, bus: &str, path: PathBuf, first: PathBuf, args: &[&str]) -> Self {
        let complaint = PathBuf::from(format!("/tmp/{}.err", unique("tap")));
        command.args(["record", bus, "--json", "-o"]).arg(&path).args(args);
        command.stdout(Stdio::piped()).stderr(File::create(&complaint).expect("/tmp is writable"));
        let mut child = command.spawn().expect("canhub is installed");
        eventually("it records", || {
            if first.exists() {
                return Ok(());
            }
            let ended = child.try_wait().expect("it is our child");
            assert_eq!(ended, None, "{}", fs::read_to_string(&complaint).unwrap_or_default());
            Err("there is no file".into())
        });
        Self { child, path: first, complaint }
    }

    /// Its process.
    pub fn process(&self) -> String {
        self.child.id().to_string()
    }

    /// Kills it as in a crash.
    #[track_caller]
    pub fn kill(mut self) -> Recording<SystemTime> {
        self.child.kill().expect("it runs");
        let ended = SystemTime::now();
        let _ = self.child.wait();
        let (records, is_cut) = read(&self.path);
        let files = vec![self.path.clone()];
        let complaint = fs::read_to_string(&self.complaint).unwrap_or_default();
        Recording {
            path: self.path,
            files,
            records,
            is_cut,
            frames: 0,
            lost: 0,
            ended,
            complaint,
            code: None,
        }
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        run("kill", &[&format!("-{name}"), &self.child.id().to_string()]);
    }

    /// Ends it as Ctrl-C does.
    #[track_caller]
    pub fn finish(self) -> Recording {
        self.signal("INT");
        let recording = self.wait();
        assert_eq!(recording.ended, "asked", "{}", recording.complaint);
        assert_eq!(recording.code, Some(i32::from(recording.lost > 0)), "{}", recording.complaint);
        assert_eq!(recording.records.len() as u64, recording.frames);
        recording
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait(mut self) -> Recording {
        let mut said = String::new();
        let _ = self.child.stdout.take().expect("it is piped").read_to_string(&mut said);
        let code = self.child.wait().expect("it is our child").code();
        let complaint = fs::read_to_string(&self.complaint).unwrap_or_default();
        let result: Value =
            serde_json::from_str(&said).unwrap_or_else(|err| panic!("{err}: {said:?} {complaint}"));
        let files: Vec<PathBuf> = serde_json::from_value(result["files"].clone()).expect("a list of files");
        let read: Vec<(Vec<Record>, bool)> = files.iter().map(|file| read(file)).collect();
        Recording {
            path: self.path,
            files,
            is_cut: read.iter().any(|(_, is_cut)| *is_cut),
            records: read.into_iter().flat_map(|(records, _)| records).collect(),
            frames: result["frames"].as_u64().expect("a number"),
            lost: result["lost"].as_u64().expect("a number"),
            ended: result["ended"].as_str().expect("a word").to_owned(),
            complaint,
            code,
        }
    }
}

/// The frames of a file, and whether it ends in the middle of one.
#[track_caller]
fn read(path: &Path) -> (Vec<Record>, bool) {
    let mut records = Vec::new();
    for record in open(path).unwrap_or_else(|err| panic!("{err}")) {
        match record {
            Ok(record) => records.push(record),
            Err(err) if err.is_cut() => return (records, true),
            Err(err) => panic!("{}: {err}", path.display()),
        }
    }
    (records, false)
}

impl<Ended> Recording<Ended> {
    /// The sequence numbers of a probe's frames, in the order of the file.
    pub fn of(&self, number: u8) -> Vec<u32> {
        self.numbered().filter(|(_, from, _)| *from == number).map(|(_, _, sequence)| sequence).collect()
    }

    /// All probes' frames: who sent them according to the recording, and according to themselves.
    fn numbered(&self) -> impl Iterator<Item = (&Sender, u8, u32)> {
        self.records.iter().filter_map(|record| {
            let (from, sequence) = numbered(&record.frame)?;
            Some((&record.sender, from, sequence))
        })
    }

    /// How many frames are no probe's, or of an unknown sender.
    pub fn strangers(&self) -> usize {
        let is_strange =
            |record: &&Record| record.sender == Sender::Unknown || numbered(&record.frame).is_none();
        self.records.iter().filter(is_strange).count()
    }

    /// All senders.
    pub fn senders(&self) -> Vec<String> {
        let mut senders: Vec<String> = self.records.iter().map(|record| record.sender.to_string()).collect();
        senders.sort();
        senders.dedup();
        senders
    }

    /// Asserts that this probe's frames are this sender's, and no others are.
    #[track_caller]
    pub fn assert_sender(&self, number: u8, sender: &Sender) {
        let wrong: Vec<_> =
            self.numbered().filter(|(told, from, _)| (*told == sender) != (*from == number)).collect();
        assert!(wrong.is_empty(), "{} frames, {sender} sends {number}: {:?}", wrong.len(), wrong.first());
        assert!(self.numbered().any(|(_, from, _)| from == number), "no frame of {sender}");
    }

    /// Asserts the same, and that each frame is there once, in order; with a count, all of them.
    #[track_caller]
    pub fn assert_unbroken(&self, number: u8, sender: &Sender, count: Option<u32>) {
        self.assert_sender(number, sender);
        let numbers = self.of(number);
        let is_ordered = numbers.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(is_ordered, "frames of {sender} are doubled or in another order");
        if let Some(count) = count {
            assert_eq!(numbers.len() as u32, count, "frames of {sender}");
        }
    }

    /// Frames per second.
    pub fn rate(&self) -> f64 {
        let (Some(first), Some(last)) = (self.records.first(), self.records.last()) else { return 0.0 };
        self.records.len() as f64 / last.time.since(first.time).as_secs_f64()
    }
}

/// The sender's number and the sequence number in a frame of the probe that has data.
fn numbered(frame: &CanAnyFrame) -> Option<(u8, u32)> {
    let &[0xCA, from, a, b, c, d, ..] = frame.data() else { return None };
    Some((from, u32::from_be_bytes([a, b, c, d])))
}
