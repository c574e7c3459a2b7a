//! A terminal: runs a program in it, reads its screen, presses keys. Also used by the unit tests of `canhub watch`.

use std::{
    fs::File,
    io::{Read, Write},
    num::NonZeroU16,
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    pty::{Winsize, openpty},
    sys::termios::{LocalFlags, tcgetattr},
};
use parking_lot::Mutex;

/// Only failing tests take this long.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// A terminal with a program.
pub struct Terminal {
    child: Child,
    keyboard: File,
    line: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    /// Starts a program in a new terminal of this many columns and lines.
    #[track_caller]
    pub fn start(command: &mut Command, (columns, lines): (u16, u16)) -> Self {
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).expect("there are pseudo terminals");
        let end = || Stdio::from(pair.slave.try_clone().expect("it is open"));
        command.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap_or_else(|err| panic!("{command:?}: {err}"));
        let number = |number| NonZeroU16::new(number).expect("a terminal has a size");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(number(lines), number(columns), 0)));
        let keyboard = File::from(pair.master);
        let mut output = keyboard.try_clone().expect("it is open");
        let shown = Arc::clone(&screen);
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut piece) {
                shown.lock().process(&piece[..length]);
            }
        });
        Self { child, keyboard, line: pair.slave, screen }
    }

    /// What the person sees.
    pub fn text(&self) -> String {
        let screen = self.screen.lock();
        let columns = screen.screen().size().1;
        let rows = screen.screen().rows(0, columns.get());
        rows.map(|row| row.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    /// Waits until the screen is like this. Returns it.
    #[track_caller]
    pub fn wait_until(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let text = self.text();
            if is(&text) {
                return text;
            }
            assert!(started.elapsed() < PATIENCE, "{what}: not on the screen, which is:\n{text}");
            thread::sleep(LOOK);
        }
    }

    /// Waits until the screen has this text. Returns all of it.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |screen| screen.contains(text))
    }

    /// Presses keys.
    #[track_caller]
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal is open");
    }

    /// Sends a signal to the program.
    #[track_caller]
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("there is kill").success());
    }

    /// Waits until the program has ended.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                // What it wrote last is on its way through the terminal.
                thread::sleep(LOOK * 5);
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "it does not end; the screen is:\n{}", self.text());
            thread::sleep(LOOK);
        }
    }

    /// Whether a shell could go on in this terminal: first screen, cursor, echo, line by line.
    pub fn is_clean(&self) -> Result<(), String> {
        let parser = self.screen.lock();
        let screen = parser.screen();
        let flags = tcgetattr(&self.line).expect("it is a terminal").local_flags;
        let wrong = [
            (screen.alternate_screen(), "the second screen is still on"),
            (screen.hide_cursor(), "the cursor is hidden"),
            (screen.mouse_protocol_mode() != vt100::MouseProtocolMode::None, "the mouse is grabbed"),
            (
                screen.bold() || screen.inverse() || screen.underline(),
                "text is still bold, inverse or underlined",
            ),
            (
                !flags.contains(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG),
                "the terminal is raw",
            ),
        ];
        match wrong.iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, what)) => Err((*what).to_owned()),
            None => Ok(()),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
