//! Watches in a terminal: one thread counts frames, this one draws and reads keys.
//!
//! Frames are counted at the speed of the bus and drawn ten times a second. A terminal that does not take output (Ctrl-S)
//! blocks the drawing, never the counting. The terminal is as before whenever this ends: by a key, a signal, an error or
//! a panic.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use ratatui::{
    DefaultTerminal,
    backend::Backend as _,
    crossterm::event::{self, Event, KeyEventKind},
};

use super::{
    super::stop::Stop,
    screen::{self, Scene},
    signals,
    source::Source,
    view::{View, Wish},
};
use crate::frames::{Lost, Record, Timestamp, dbc::Database, table::Table};

/// The screen is drawn so often, and after a key, but never more often than the second.
const REDRAW: Duration = Duration::from_millis(100);
const REDRAW_MIN: Duration = Duration::from_millis(50);

/// What the two threads share.
struct Shared {
    table: Mutex<Table>,
    scene: Scene,
    /// Why no more frames come.
    end: Mutex<Option<String>>,
    /// Set when one thread ends.
    is_over: AtomicBool,
    stop: Stop,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.stop.is_set() || self.is_over.load(Ordering::Relaxed)
    }
}

/// Watches until the person or a signal ends it.
pub(super) fn run(source: impl Source, table: Table, scene: Scene) -> Result<(), String> {
    let stop = Stop::on_signals()?;
    let is_over = AtomicBool::new(false);
    let shared = Shared { table: Mutex::new(table), scene, end: Mutex::new(None), is_over, stop };
    let drawn = thread::scope(|threads| {
        let counting = threads.spawn(|| {
            let _over = Over(&shared.is_over);
            count(source, &shared);
        });
        let drawn = {
            let _over = Over(&shared.is_over);
            Guard::new().and_then(|mut guard| draw(&mut guard.terminal, &shared))
        };
        if counting.join().is_err() {
            *shared.end.lock() = Some("counting the frames failed; please report this".into());
        }
        drawn
    });
    match shared.end.into_inner() {
        Some(why) => Err(why),
        // A terminal that is gone needs no error message: nobody can read it.
        None => drawn.or_else(|err| match err.raw_os_error() {
            Some(EIO) => Ok(()),
            _ => Err(format!("cannot use the terminal: {err}; `canhub watch … | cat` prints lines instead")),
        }),
    }
}

/// Ends the other thread when this one ends, even by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Of a terminal that was closed.
const EIO: i32 = 5;

fn count(mut source: impl Source, shared: &Shared) {
    let mut records = Vec::new();
    while !shared.is_over() {
        match source.read(&mut records) {
            Ok(lost) => add(&mut shared.table.lock(), &shared.scene.database, &mut records, lost),
            Err(why) => {
                *shared.end.lock() = Some(why);
                return;
            }
        }
    }
}

/// Counts records into the table.
pub(super) fn add(table: &mut Table, database: &Database, records: &mut Vec<Record>, lost: Lost) {
    use socketcan::EmbeddedFrame as _;
    for record in records.drain(..) {
        let message = database.message(&record.frame);
        table.add(&record, message.map_or(0, |message| message.page(record.frame.data())));
    }
    table.lost = lost;
}

fn draw(terminal: &mut DefaultTerminal, shared: &Shared) -> io::Result<()> {
    let mut view = View::default();
    while !shared.is_over() {
        let drawn = Instant::now();
        draw_once(terminal, &mut view, shared)?;
        if event::poll(REDRAW)? {
            // All keys that are there, so that a held key does not lag behind.
            while event::poll(Duration::ZERO)? {
                if press(&event::read()?, &mut view, shared) == Wish::Quit {
                    return Ok(());
                }
            }
        }
        thread::sleep(REDRAW_MIN.saturating_sub(drawn.elapsed()));
    }
    Ok(())
}

/// Like `Terminal::draw`, but the table is locked only until the screen is made, not while the terminal takes it.
fn draw_once(terminal: &mut DefaultTerminal, view: &mut View, shared: &Shared) -> io::Result<()> {
    terminal.autoresize()?;
    {
        let table = shared.table.lock();
        screen::draw(&mut terminal.get_frame(), view, &shared.scene, (&table, now()));
    }
    terminal.flush()?;
    terminal.hide_cursor()?;
    terminal.swap_buffers();
    terminal.backend_mut().flush()
}

fn press(event: &Event, view: &mut View, shared: &Shared) -> Wish {
    let Event::Key(key) = event else { return Wish::Nothing };
    if key.kind == KeyEventKind::Release {
        return Wish::Nothing;
    }
    let mut table = shared.table.lock();
    let database = &shared.scene.database;
    let wish = {
        let paused = view.paused.take();
        let (shown, time) = paused.as_ref().map_or((&*table, now()), |(table, time)| (table, *time));
        let entries = view.entries(shown, database, time);
        let row = view.selected.as_ref().and_then(|key| shown.row(key));
        let count = row.map_or(0, |row| signals::count(row, database.message(&row.frame)));
        let wish = view.press(*key, &entries, count);
        view.paused = paused;
        wish
    };
    match wish {
        Wish::Pause => view.paused = view.paused.take().is_none().then(|| (table.clone(), now())),
        Wish::Clear => {
            table.clear();
            view.paused = None;
        }
        Wish::Nothing | Wish::Quit => {}
    }
    wish
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

/// The terminal's other screen, in raw mode; dropping it brings back the first one as it was.
struct Guard {
    terminal: DefaultTerminal,
}

impl Guard {
    /// Also sees to it that a panic's message appears on the first screen.
    fn new() -> io::Result<Self> {
        Ok(Self { terminal: ratatui::try_init()? })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
    }
}

#[cfg(test)]
mod tests;
