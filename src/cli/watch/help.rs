//! The page behind `?`.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span, Text},
};

use super::screen::{BOLD, CHANGED};

const KEYS: [(&str, &str); 9] = [
    ("↑ ↓ PgUp PgDn Home End", "select a row"),
    ("Enter", "its signals with units and a plot; Esc goes back"),
    ("/", "only rows with these words: id, sender, name, signal"),
    ("s", "sort by id, sender, count, rate, latest"),
    ("r", "reverse the order"),
    ("p, Space", "hold the screen; frames are counted all the same"),
    ("c", "count from zero"),
    ("?", "this page"),
    ("q, Esc, Ctrl-C", "quit"),
];

const COLUMNS: [(&str, &str); 6] = [
    ("SENDER", "the container, (host), (wire), or (unknown)"),
    ("/s", "frames per second: the reciprocal of CYCLE"),
    ("CYCLE", "mean of the last 32 intervals; silent: 3 are missing"),
    ("JITTER", "standard deviation of the same intervals"),
    ("LEN", "bytes; F: FD frame, R: remote frame, E: error frame"),
    ("lost", "frames that canhub did not read fast enough"),
];

pub(super) fn draw(frame: &mut Frame, area: Rect) {
    let mut lines = vec![Line::styled("Keys", BOLD)];
    let entry = |(name, text): (&'static str, &'static str)| Line::from(format!("  {name:<23} {text}"));
    lines.extend(KEYS.map(entry));
    lines.extend([Line::default(), Line::styled("Table", BOLD)]);
    lines.extend(COLUMNS.map(entry));
    lines.push(Line::from(vec![
        Span::raw(format!("  {:<23} ", "DATA")),
        Span::styled("A5", CHANGED),
        Span::raw(" changed within the last second"),
    ]));
    frame.render_widget(Text::from(lines), area);
}
