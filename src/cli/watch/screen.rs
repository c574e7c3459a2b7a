//! The screen: a title, the table or a row's signals, and the keys.

use ratatui::{
    Frame,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::{Line, Span},
};
use socketcan::EmbeddedFrame as _;

use super::{
    super::lines::{cut, short},
    columns::Columns,
    help, signals,
    view::{Entry, View},
    words,
};
use crate::frames::{
    CanAnyFrame, Timestamp,
    dbc::Database,
    table::{Row, Table},
};

/// Colours only repeat what words and these say, so that the screen reads without colour: NO_COLOR takes them away.
pub(super) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
pub(super) const DIM: Style = Style::new().add_modifier(Modifier::DIM);
pub(super) const BAR: Style = Style::new().add_modifier(Modifier::REVERSED);
/// Of what changed within the last second.
pub(super) const CHANGED: Style =
    Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD).add_modifier(Modifier::UNDERLINED);
/// Of what is wrong.
const ALARM: Style =
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD).add_modifier(Modifier::REVERSED);

/// What does not change while watching.
pub(super) struct Scene {
    /// The bus and its interface.
    pub(super) title: String,
    /// What is not shown, if a part was chosen.
    pub(super) choice: Option<String>,
    /// The bitrate of the wire in bit/s.
    pub(super) bitrate: Option<u32>,
    /// What a person should know, for example that names are missing.
    pub(super) note: Option<String>,
    pub(super) database: Database,
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame, view: &mut View, scene: &Scene, live: (&Table, Timestamp)) {
    let paused = view.paused.take();
    let (table, now) = paused.as_ref().map_or(live, |(table, time)| (table, *time));
    let area = frame.area();
    let [title, body, keys] = rows(area);
    let entries = view.entries(table, &scene.database, now);
    view.follow(&entries, usize::from(body.height).saturating_sub(1));
    frame.render_widget(title_line(scene, table, now, paused.is_some(), area), title);
    match view.selected.clone().filter(|_| view.is_open).and_then(|key| Some((table.row(&key)?, key))) {
        _ if view.shows_help => help::draw(frame, body),
        Some((row, key)) => {
            let message = scene.database.message(&row.frame);
            signals::draw(frame, body, view, signals::Open { key: &key, row, message, now });
        }
        None => table_page(frame, body, view, scene, &entries, now),
    }
    frame.render_widget(keys_line(view).style(BAR), keys);
    view.paused = paused;
}

/// The title, what is below, and the keys.
fn rows(area: Rect) -> [Rect; 3] {
    let line =
        |y: u16, height: u16| Rect { y: area.y + y.min(area.height), height, ..area }.intersection(area);
    [line(0, 1), line(1, area.height.saturating_sub(2)), line(area.height.saturating_sub(1), 1)]
}

fn title_line<'a>(scene: &Scene, table: &Table, now: Timestamp, is_paused: bool, area: Rect) -> Line<'a> {
    let mut parts = vec![Span::styled(scene.title.clone(), BOLD)];
    let mut add = |text: String, style: Style| parts.extend([Span::raw("  "), Span::styled(text, style)]);
    if is_paused {
        add("PAUSED".into(), ALARM);
    }
    add(format!("{} frames/s", table.rate(now)), Style::new());
    match (&scene.choice, table.load(now), scene.bitrate) {
        (Some(choice), ..) => add(choice.clone(), Style::new()),
        (None, Some(load), Some(bitrate)) => {
            add(format!("load {:.0} % of {} kbit/s", load * 100.0, bitrate / 1000), Style::new());
        }
        _ => {}
    }
    let rows = table.rows().count();
    let more = if table.without_row > 0 { "more than " } else { "" };
    add(format!("{more}{rows} {}", if rows == 1 { "row" } else { "rows" }), Style::new());
    add(words::lost(table.lost), if table.lost.at_most > 0 { ALARM } else { Style::new() });
    let mut line = Line::from(parts);
    // A long choice must not hide what was lost.
    while line.width() > usize::from(area.width) && line.spans.len() > 3 {
        line.spans.drain(line.spans.len() - 4..line.spans.len() - 2);
    }
    line
}

fn keys_line<'a>(view: &View) -> Line<'a> {
    if view.is_typing {
        return Line::from(format!(" / {}▏  Enter keep  Esc show all", view.filter));
    }
    let pause = if view.paused.is_some() { "p go on" } else { "p pause" };
    if view.shows_help {
        return Line::from(" any key: back   q quit");
    }
    if view.is_open {
        return Line::from(format!(" q quit  ? help  Esc back  ↑↓ signal  {pause}"));
    }
    let filter = match view.filter.as_str() {
        "" => "/ filter".to_owned(),
        filter => format!("/ filter: {}", cut(filter, 20)),
    };
    let order = if view.is_reversed { ", reversed" } else { "" };
    Line::from(format!(
        " q quit  ? help  Enter signals  {filter}  s sort: {}{order}  {pause}  c clear",
        view.sort.name()
    ))
}

fn table_page(frame: &mut Frame, area: Rect, view: &View, scene: &Scene, entries: &[Entry], now: Timestamp) {
    let columns = Columns::fit(area.width.into(), entries);
    let mut y = area.y;
    let mut put = |line: Line| {
        if y < area.bottom() {
            frame.render_widget(line, Rect { y, height: 1, ..area });
            y += 1;
        }
    };
    if entries.is_empty() {
        let text = match view.filter.is_empty() {
            true => "No frames yet. Whatever a container, the host or the wire sends appears here.",
            false => "Nothing matches the filter. Esc shows all again.",
        };
        put(Line::default());
        put(Line::from(text));
        put(Line::default());
        put(Line::from(scene.note.clone().unwrap_or_default()));
        return;
    }
    put(heading(columns));
    for (at, entry) in entries.iter().enumerate().skip(view.first).take(view.height) {
        put(row_line(columns, entry, now, at == view.position));
    }
}

fn heading<'a>(columns: Columns) -> Line<'a> {
    let Columns { id, name, sender, count, rate, cycle, jitter, length, .. } = columns;
    let mut text = String::from(" ");
    let mut add = |width: usize, title: &str, is_number: bool| match (width, is_number) {
        (0, _) => {}
        (_, true) => text += &format!("{title:>width$} "),
        (_, false) => text += &format!("{title:<width$} "),
    };
    add(id, "ID", true);
    add(name, "NAME", false);
    add(sender, "SENDER", false);
    add(count, "COUNT", true);
    add(rate, "/s", true);
    add(cycle, "CYCLE", true);
    add(jitter, "JITTER", true);
    add(length, "LEN", true);
    add(columns.data, "DATA", false);
    add(columns.signals, "SIGNALS", false);
    Line::from(text.trim_end().to_owned()).style(BOLD)
}

fn row_line<'a>(
    columns: Columns,
    (key, row, message): &Entry,
    now: Timestamp,
    is_selected: bool,
) -> Line<'a> {
    let Columns { id, name, sender, count, rate, cycle, jitter, length, .. } = columns;
    let mut text = String::from(if is_selected { ">" } else { " " });
    let mut add = |width: usize, value: String, is_number: bool| match (width, is_number) {
        (0, _) => {}
        (_, true) => text += &format!("{value:>width$} "),
        (_, false) => text += &format!("{:<width$} ", cut(&value, width)),
    };
    let is_silent = row.is_silent(now);
    let counted = if count > 5 { row.count.to_string() } else { short(row.count) };
    add(id, words::id(&row.frame), true);
    add(name, message.map(|message| message.name.clone()).unwrap_or_default(), false);
    add(sender, key.sender.to_string(), false);
    add(count, counted, true);
    add(rate, words::rate(row.rate(now)), true);
    add(
        cycle,
        if is_silent { "silent".into() } else { row.cycle().map(words::time).unwrap_or_default() },
        true,
    );
    add(jitter, row.jitter().filter(|_| !is_silent).map(words::time).unwrap_or_default(), true);
    add(length, words::length(&row.frame), true);
    let mut spans = vec![Span::raw(text)];
    spans.extend(data_spans(row, columns.data, now));
    if let (Some(message), 1..) = (message, columns.signals) {
        let readings: Vec<String> =
            message.decode(row.frame.data()).map(|reading| words::reading(&reading)).collect();
        spans.push(Span::raw(format!(" {}", cut(&readings.join("  "), columns.signals))));
    }
    let line = Line::from(spans);
    match (is_selected, is_silent) {
        (true, _) => line.style(BOLD),
        (false, true) => line.style(DIM),
        (false, false) => line,
    }
}

/// The bytes in exactly this width, those that just changed marked. An error frame's are in words.
fn data_spans<'a>(row: &Row, width: usize, now: Timestamp) -> Vec<Span<'a>> {
    if let CanAnyFrame::Error(error) = &row.frame {
        return vec![Span::raw(format!("{:<width$}", cut(&error.into_error().to_string(), width)))];
    }
    let data = row.frame.data();
    let fits = match (data.len() * 3).saturating_sub(1) > width {
        true => width.saturating_sub(1) / 3,
        false => data.len(),
    };
    let mut spans = bytes(row, 0..fits, now);
    let mut used = spans.iter().map(Span::width).sum::<usize>();
    if fits < data.len() {
        spans.push(Span::raw("…"));
        used += 1;
    }
    spans.push(Span::raw(" ".repeat(width.saturating_sub(used))));
    spans
}

/// Some bytes of the data, those that just changed marked; after each a blank.
pub(super) fn bytes<'a>(row: &Row, range: std::ops::Range<usize>, now: Timestamp) -> Vec<Span<'a>> {
    let data = row.frame.data();
    let byte = |at: usize| {
        let style = if row.is_fresh(at, now) { CHANGED } else { Style::new() };
        [Span::styled(format!("{:02X}", data[at]), style), Span::raw(" ")]
    };
    range.flat_map(byte).collect()
}

#[cfg(test)]
mod tests;
