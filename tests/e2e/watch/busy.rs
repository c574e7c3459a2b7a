//! `canhub watch` on busy buses: in tmux at 8,000 frames/s, and the load of a wire.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use super::{Folder, await_names};
use crate::support::{
    canhub::{knows_names, program},
    scene::Scene,
    shell::{attempt, eventually, finished, not_run, say},
    slcan::Wire,
    terminal::Terminal,
};

/// A bus with 200 ids that come every 25 ms each.
const PULSE: [&str; 5] = ["--id", "200", "--ids", "200", "25:600000"];
/// A machine that is busy with others sends less, but no test shall pass on an idle bus.
const BUSY: u64 = 4000;

/// A tmux with one window of this size, until dropped.
struct Tmux {
    socket: String,
    size: (usize, usize),
}

impl Tmux {
    #[track_caller]
    fn start(folder: &Folder, size: (usize, usize), command: &str) -> Self {
        let tmux = Self { socket: folder.path(&format!("tmux-{}", size.0)), size };
        let (columns, lines) = (size.0.to_string(), size.1.to_string());
        tmux.run(&["new-session", "-d", "-x", &columns, "-y", &lines, command]);
        tmux
    }

    fn attempt(&self, args: &[&str]) -> Result<String, String> {
        let mut tmux = Command::new("tmux");
        // Without its status line, the window is as large as the terminal.
        let first: &[&str] =
            if args[0] == "new-session" { &["set", "-g", "status", "off", ";"] } else { &[] };
        tmux.env("LC_ALL", "C.UTF-8").args(["-f", "/dev/null", "-S", &self.socket]).args(first).args(args);
        finished("tmux", tmux.output())
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        self.attempt(args).unwrap_or_else(|why| panic!("{why}"))
    }

    /// The screen, which has this size and no broken line.
    #[track_caller]
    fn screen(&self) -> Vec<String> {
        let screen: Vec<String> = self.run(&["capture-pane", "-p"]).lines().map(str::to_owned).collect();
        let (columns, lines) = self.size;
        assert!(screen.len() <= lines, "{screen:#?}");
        assert!(screen.iter().all(|line| line.chars().count() <= columns), "{screen:#?}");
        screen
    }

    /// Presses keys, waits until the screen is like this, and returns it with the time that took.
    #[track_caller]
    fn press(&self, keys: &[&str], what: &str, is: impl Fn(&[String]) -> bool) -> (Vec<String>, Duration) {
        let pressed = Instant::now();
        self.run(&[&["send-keys"], keys].concat());
        let screen = self.until(what, is);
        (screen, pressed.elapsed())
    }

    #[track_caller]
    fn until(&self, what: &str, is: impl Fn(&[String]) -> bool) -> Vec<String> {
        eventually(what, || {
            let screen = self.screen();
            if is(&screen) { Ok(screen) } else { Err(screen.join("\n")) }
        })
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.attempt(&["kill-server"]);
    }
}

/// The number before these words in the title.
fn number(title: &str, words: &str) -> Option<u64> {
    title.split_once(words)?.0.trim_end().rsplit(' ').next()?.parse().ok()
}

/// The ids in the table, without the mark of the selected row.
fn ids(screen: &[String]) -> Vec<&str> {
    let id =
        |line: &'_ String| line.trim_start_matches('>').split_whitespace().next().map(str::len) == Some(3);
    let rows = screen.iter().skip(2).filter(|line| id(line));
    rows.filter_map(|line| line.trim_start_matches('>').split_whitespace().next()).collect()
}

#[test]
fn in_tmux_at_8000_frames_per_second_the_screen_is_right_and_each_key_is_answered() {
    const NAME: &str =
        "watch::busy::in_tmux_at_8000_frames_per_second_the_screen_is_right_and_each_key_is_answered";
    if !knows_names(NAME) {
        return;
    }
    if let Err(why) = attempt("tmux", &["-V"]) {
        return not_run(NAME, &why);
    }
    let scene = Scene::new();
    let folder = Folder::new();
    let bus = scene.network(&["hub=vcan-busy"]);
    let container = scene.container(&bus);
    let ecu = container.member("can0", 1);
    await_names(&[&bus.name, &container.name]);
    let _sender = ecu.start(&[&[&*ecu.probe(), "pulse", "can0"], &PULSE[..]].concat());
    for size in [(80, 24), (200, 60)] {
        let (columns, lines) = size;
        let tmux = Tmux::start(&folder, size, &format!("{} watch {}", program(), bus.name));
        let is_busy = |screen: &[String]| {
            let title = screen.first().map_or("", String::as_str);
            title.ends_with("200 rows  0 lost") && number(title, " frames/s").is_some_and(|rate| rate >= BUSY)
        };
        let screen = tmux.until("200 rows", is_busy);
        say(&format!("{columns}x{lines}: {}", screen[0]));
        assert_eq!(screen.len(), lines, "{screen:#?}");
        assert!(screen[lines - 1].starts_with(" q quit  ? help  Enter signals"), "{screen:#?}");
        // Title, heads, keys; the rows in between are the first ids, all of them from the container.
        let expected: Vec<String> = (0x200..0x200 + lines - 3).map(|id| format!("{id:03X}")).collect();
        assert_eq!(ids(&screen), expected, "{screen:#?}");
        let row =
            |line: &String| line.contains(" e2e-ecu") && line.split_whitespace().any(|word| word == "4");
        assert!(screen[2..lines - 1].iter().all(row), "{screen:#?}");

        let selected = |id: &'static str| {
            move |screen: &[String]| screen.iter().any(|line| line.starts_with('>') && line.contains(id))
        };
        let mut slowest = Duration::ZERO;
        let mut press = |keys: &[&str], what: &str, is: &dyn Fn(&[String]) -> bool| {
            let (screen, took) = tmux.press(keys, what, is);
            slowest = slowest.max(took);
            screen
        };
        press(&["Down", "Down"], "the third row is selected", &selected("202"));
        press(&["End"], "the last row is selected", &selected("2C7"));
        press(&["?"], "the keys are explained", &|screen| screen.iter().any(|line| line == "Keys"));
        press(&["Escape"], "the table is back", &|screen| screen[1].contains("SENDER"));
        press(&["/", "2A5", "Enter"], "one row", &|screen| ids(screen) == ["2A5"]);
        press(&["Enter"], "its bytes", &|screen| screen.iter().any(|line| line.contains("byte 3")));
        press(&["Escape"], "the table is back", &|screen| screen[1].contains("SENDER"));
        press(&["p"], "it is held", &|screen| screen[0].contains("PAUSED"));
        // Held is held, while frames go on.
        let held = tmux.screen();
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(tmux.screen(), held);
        press(&["p"], "it goes on", &|screen| !screen[0].contains("PAUSED") && screen[2..] != held[2..]);
        say(&format!("{columns}x{lines}: the slowest key was answered after {} ms", slowest.as_millis()));
        // Generous: the guest shares its processor with others. A person would have given up.
        assert!(slowest < Duration::from_secs(10), "{slowest:?}");
        tmux.run(&["send-keys", "q"]);
        eventually("q quits", || match tmux.attempt(&["list-sessions"]) {
            Err(_) => Ok(()),
            Ok(sessions) => Err(sessions),
        });
    }
}

#[test]
fn the_load_of_an_adapters_wire_is_shown_in_percent() {
    if !knows_names("watch::busy::the_load_of_an_adapters_wire_is_shown_in_percent") {
        return;
    }
    let wire = Wire::timed(0.0);
    let _adapter = wire.plug("slcan-load");
    let scene = Scene::new();
    let bus = scene.network(&["adapter=slcan-load", "bitrate=50000", "frames=classic"]);
    let ecu = scene.container(&bus).member("can0", 1);
    await_names(&[&bus.name]);
    let _sender =
        ecu.start(&["cangen", "can0", "-g", "10", "-I", "123", "-L", "8", "-D", "5555555555555555"]);
    let mut terminal = Terminal::start(&mut super::watch(&[&bus.name]), (80, 24));
    // 111 bits without stuff bits, of which ID and CRC need a few.
    const BITS: u64 = 113;
    let screen = terminal.wait_until("the load", |screen| {
        let title = screen.lines().next().unwrap_or_default();
        let load = title.split_once("load ").and_then(|(_, rest)| rest.split_once(" % of 50 kbit/s"));
        let load = load.and_then(|(load, _)| load.parse::<u64>().ok());
        let rate = number(title, " frames/s").filter(|rate| *rate >= 30);
        load.zip(rate).is_some_and(|(load, rate)| load.abs_diff(rate * BITS / 500) <= 1)
    });
    say(screen.lines().next().unwrap_or_default());
    terminal.press("q");
    assert!(terminal.end().success());
}
