//! `canhub watch`: the table in a terminal, lines in a pipe, and signals as cantools decodes them.

mod busy;

use std::{
    env,
    fs::{self, File},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::support::{
    canhub::{knows_names, program, says},
    docker::docker,
    member::{Member, Running},
    scene::Scene,
    shell::{attempt, eventually, finished, not_run, run},
    terminal::Terminal,
};

const BODY: &str = include_str!("watch/body.dbc");
const EVERYTHING: &str = include_str!("watch/everything.dbc");
const CANTOOLS: &str = include_str!("watch/cantools.py");
const PAGE: &str = include_str!("../../docs/frames.md");

/// Debian's python3, which is the one with Debian's python3-cantools.
const PYTHON_3: &str = "/usr/bin/python3";
/// Each container of the picture is called so while it is taken.
const NAMES: [&str; 2] = ["door", "engine"];

fn watch(args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("watch").args(args);
    command
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }
}

/// canhub learns the names of networks and containers from Docker, after they exist.
#[track_caller]
fn await_names(names: &[&str]) {
    eventually("canhub knows the names", || {
        let status = says("status --json");
        let is_known = |name: &&str| status.contains(&format!("\"{name}\""));
        if names.iter().all(is_known) { Ok(()) } else { Err(status) }
    });
}

/// Another name for a container, until dropped.
struct Renamed<'a>(&'a str, &'a str);

impl<'a> Renamed<'a> {
    fn new(old: &'a str, new: &'a str) -> Self {
        docker(&["rename", old, new]);
        Self(old, new)
    }
}

impl Drop for Renamed<'_> {
    fn drop(&mut self) {
        docker(&["rename", self.1, self.0]);
    }
}

/// `canhub watch --json` into a file. Killed when dropped.
struct Lines {
    child: Child,
    path: String,
}

impl Lines {
    /// Returns once it listens.
    #[track_caller]
    fn start(folder: &Folder, args: &[&str], ping: impl Fn()) -> Self {
        let path = folder.path("lines.json");
        let out = File::create(&path).unwrap();
        let child = watch(args).arg("--json").stdout(out).spawn().unwrap();
        let lines = Self { child, path };
        eventually("canhub watch listens", || {
            ping();
            if lines.read().is_empty() { Err("nothing is heard".into()) } else { Ok(()) }
        });
        lines
    }

    /// The whole lines so far.
    fn read(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.path).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}")))
            .collect()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Numbers and bytes change from run to run, and the width of what has some; the page leaves out empty lines.
fn without_numbers(screen: &str) -> Vec<String> {
    let is_byte = |word: &str| word.len() == 2 && word.chars().all(|c| c.is_ascii_hexdigit());
    let word = |word: &str| match word.starts_with(|c: char| c.is_ascii_digit()) || is_byte(word) {
        true => "#".to_owned(),
        false => word.to_owned(),
    };
    let lines = screen.lines().map(|line| line.split_whitespace().map(word).collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect()
}

/// With `CANHUB_PICTURE=FILE`, the screen is written there, for docs/frames.md.
#[test]
fn the_picture_in_the_docs_is_what_a_person_sees() {
    if !knows_names("watch::the_picture_in_the_docs_is_what_a_person_sees") {
        return;
    }
    let scene = Scene::new();
    let folder = Folder::new();
    let bus = scene.network(&["hub=vcan-body"]);
    let containers = NAMES.map(|_| scene.container(&bus));
    let _named: Vec<Renamed> =
        containers.iter().zip(NAMES).map(|(container, name)| Renamed::new(&container.name, name)).collect();
    let [door, engine] = containers.clone().map(|container| container.member("can0", 1));
    let host = bus.host(9);
    let cangen = |member: &Member, args: &str| -> Running {
        let command = format!("exec cangen {} -L 8 {args}", member.interface);
        member.start(&["sh", "-c", &command])
    };
    let _sending = [
        cangen(&door, "-I 1A0 -D i -g 20"),
        cangen(&engine, "-I 321 -D 8902000000000000 -g 100"),
        cangen(&engine, "-e -I 18FEE500 -D 40E2010000000000 -g 1000"),
    ];
    let _asking = cangen(&host, "-I 7DF -D 02010C0000000000 -g 500");
    await_names(&[&bus.name, NAMES[0], NAMES[1]]);

    let dbc = folder.file("body.dbc", BODY);
    let mut command = watch(&[&bus.name, "--dbc", &dbc]);
    let mut terminal = Terminal::start(&mut command, (80, 24));
    // The slowest two: after three frames, they have a cycle time and a jitter.
    let is_time = |word: &str| word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with('s');
    let is_full = |screen: &str, row: &str| {
        let mut lines = screen.lines().filter(|line| line.contains(row));
        lines.any(|line| line.split_whitespace().filter(|word| is_time(word)).count() == 2)
    };
    let screen = terminal.wait_until("all rows", |screen| {
        is_full(screen, "18FEE500 EngineHours") && is_full(screen, "7DF") && screen.contains("Climate")
    });
    assert!(screen.lines().last().unwrap().contains("q quit  ? help  Enter signals"), "{screen}");
    // The test's name of the network is unlike any person's.
    let table = screen.replace(&bus.name, "body");

    terminal.press("\r");
    terminal.wait_for("km/h");
    let plot =
        terminal.wait_until("a plot", |screen| screen.contains("Speed in km/h") && screen.contains('⣀'));
    terminal.press("\x1b");
    terminal.wait_for("SENDER");
    terminal.press("/host\r");
    terminal.wait_until("only the host", |screen| screen.contains("7DF") && !screen.contains("Motion"));
    terminal.press("q");
    let ended = terminal.end();
    assert!(ended.success(), "{ended}");
    terminal.is_clean().unwrap();

    if let Ok(path) = env::var("CANHUB_PICTURE") {
        fs::write(path, &table).unwrap();
    }
    let picture =
        PAGE.split("<!-- canhub watch -->\n```text\n").nth(1).and_then(|rest| rest.split("\n```").next());
    let picture = picture.unwrap_or_default();
    if without_numbers(picture) != without_numbers(&table) {
        panic!("docs/frames.md has\n{picture}\nbut the screen is\n{table}\nand of a row\n{plot}");
    }
}

#[test]
fn no_frame_is_missing_in_the_table_at_full_speed_and_sigterm_leaves_the_terminal_clean() {
    if !knows_names(
        "watch::no_frame_is_missing_in_the_table_at_full_speed_and_sigterm_leaves_the_terminal_clean",
    ) {
        return;
    }
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let containers = [scene.container(&bus), scene.container(&bus)];
    let members = [containers[0].member("can0", 1), containers[1].member("can0", 2)];
    await_names(&[&bus.name, &containers[0].name, &containers[1].name]);
    let mut terminal = Terminal::start(&mut watch(&[&bus.name]), (200, 60));
    terminal.wait_for("No frames yet");
    const COUNT: &str = "10000";
    let senders: Vec<Running> =
        members.iter().map(|member| member.start_sending(&["--kind", "classic", "--count", COUNT])).collect();
    for sender in senders {
        sender.finish();
    }
    let screen = terminal.wait_until("all frames", |screen| {
        let rows = screen.lines().filter(|line| line.contains("e2e-ecu"));
        let is_whole = |line: &str| line.split_whitespace().any(|word| word == COUNT);
        rows.filter(|line| is_whole(line)).count() == 2
    });
    assert!(screen.lines().next().unwrap().ends_with("2 rows  0 lost"), "{screen}");
    for container in &containers {
        assert!(screen.contains(&container.name), "{screen}");
    }
    terminal.signal("-TERM");
    let ended = terminal.end();
    assert!(ended.success(), "{ended}");
    terminal.is_clean().unwrap();
}

#[test]
fn in_a_pipe_each_frame_is_a_line_and_a_closed_pipe_ends_quietly() {
    if !knows_names("watch::in_a_pipe_each_frame_is_a_line_and_a_closed_pipe_ends_quietly") {
        return;
    }
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-e2e"]);
    let container = scene.container(&bus);
    let ecu = container.member("can0", 1);
    let folder = Folder::new();
    let dbc = folder.file("body.dbc", BODY);
    await_names(&[&bus.name, &container.name]);
    let mut watching = watch(&[&bus.name, "--dbc", &dbc, "--from", &container.name])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The command is dropped: it holds an end of the pipe, too.
    let head = {
        let mut head = Command::new("head");
        head.args(["-n", "2"]).stdin(watching.stdout.take().unwrap()).stdout(Stdio::piped());
        head.spawn().unwrap()
    };
    eventually("canhub watch ends behind head", || {
        run("cansend", &["vcan-e2e", "321#FF00"]);
        ecu.run(&["cansend", "can0", "321#8902"]);
        watching.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
    });
    let ended = watching.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    let lines = finished("head", head.wait_with_output()).unwrap();
    let tail = format!("  {}  ", container.name);
    for line in lines.lines() {
        assert!(
            line.contains(&tail)
                && line.ends_with("321  [2]    89 02                    Climate: Outside=28.5 °C Mode=eco"),
            "{lines}"
        );
    }
}

#[test]
fn ten_thousand_random_frames_are_decoded_as_cantools_does() {
    if !knows_names("watch::ten_thousand_random_frames_are_decoded_as_cantools_does") {
        return;
    }
    if let Err(why) = attempt(PYTHON_3, &["-c", "import cantools"]) {
        let why = why.lines().last().unwrap_or_default();
        return not_run("watch::ten_thousand_random_frames_are_decoded_as_cantools_does", why);
    }
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-e2e"]);
    let folder = Folder::new();
    let (script, dbc) = (folder.file("decode.py", CANTOOLS), folder.file("everything.dbc", EVERYTHING));
    let random = folder.file("random.log", &run(PYTHON_3, &[&script, "frames", &dbc, "10000"]));

    await_names(&[&bus.name]);
    let ping = || {
        run("cansend", &["vcan-e2e", "7FF#"]);
    };
    let lines = Lines::start(&folder, &[&bus.name, "--dbc", &dbc], ping);
    run("canplayer", &["-I", &random, "-t", "-g", "0", "vcan-e2e=can0"]);
    eventually("all frames are printed", || {
        let count = lines.read().iter().filter(|line| line["id"] != "7FF").count();
        if count >= 10_000 { Ok(()) } else { Err(format!("{count} are")) }
    });
    let compared = Command::new(PYTHON_3)
        .args([&script, "compare", &dbc])
        .stdin(File::open(&lines.path).unwrap())
        .output();
    assert_eq!(finished("cantools", compared).unwrap(), "10000");
    assert!(lines.read().iter().all(|line| line["id"] == "7FF" || line["sender"] == "(host)"));
}

#[test]
fn what_is_wrong_is_one_sentence() {
    let folder = Folder::new();
    let broken = folder.file("broken.dbc", "BO_ 1 A: 8 X\n SG_ S : 0|16@2+ (1,0) [0|0] \"\" X\n");
    let refused = |args: &[&str]| finished("watch", watch(args).stdin(Stdio::null()).output()).unwrap_err();
    let why = refused(&["body", "--dbc", &broken]);
    assert!(why.contains("exit status: 1: canhub: ") && why.contains("broken.dbc:2: column 15 has"), "{why}");
    let why = refused(&["no-such-bus"]);
    assert!(why.contains("no bus is called \"no-such-bus\""), "{why}");
    assert!(refused(&["body", "--only", "12345"]).contains("exit status: 2"));
}
