//! The page of one row: its signals, and a plot of the selected one. Without a DBC file, each byte is a signal.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    symbols::Marker,
    text::{Line, Span},
    widgets::{Axis, Chart, Dataset, GraphType},
};
use socketcan::EmbeddedFrame as _;

use super::{
    super::lines::cut,
    screen::{BOLD, CHANGED, bytes},
    view::{View, scrolled},
    words,
};
use crate::frames::{
    Timestamp,
    dbc::{Message, Signal, Value},
    table::{HISTORY, Key, Row},
};

/// Hexadecimal bytes per line.
const BYTES: usize = 16;
/// The plot needs a few lines to show anything, and more than this look no better.
const PLOT: std::ops::RangeInclusive<u16> = 8..=24;

/// So many signals are on the screen, with or without a plot.
const LIST_MIN: u16 = 3;

/// The row that is shown.
pub(super) struct Open<'a> {
    pub(super) key: &'a Key,
    pub(super) row: &'a Row,
    pub(super) message: Option<&'a Message>,
    pub(super) now: Timestamp,
}

/// A line of the list.
struct Item {
    name: String,
    value: String,
    unit: String,
    is_fresh: bool,
}

/// How many signals the row has.
pub(super) fn count(row: &Row, message: Option<&Message>) -> usize {
    message.map_or(row.frame.data().len(), |message| message.signals().len())
}

pub(super) fn draw(frame: &mut Frame, area: Rect, view: &mut View, open: Open) {
    let head = head(&open, area.width.into());
    let items = items(&open);
    let head_height = u16::try_from(head.len()).unwrap_or(u16::MAX).min(area.height);
    let below = area.height - head_height;
    // The list and a blank line first, unless they leave no room for the plot.
    let wanted = u16::try_from(items.len() + 1).unwrap_or(u16::MAX);
    let list_height = wanted.min(below.saturating_sub(*PLOT.start()).max(LIST_MIN)).min(below);
    let plot_height = match below - list_height {
        room if room < *PLOT.start() || items.is_empty() => 0,
        room => room.min(*PLOT.end()),
    };
    for (at, line) in head.into_iter().enumerate().take(head_height.into()) {
        frame.render_widget(line, Rect { y: area.y + at as u16, height: 1, ..area });
    }
    let list = Rect { y: area.y + head_height, height: list_height, ..area };
    view.height = list_height.into();
    view.signal = view.signal.min(items.len().saturating_sub(1));
    view.first_signal = scrolled(view.first_signal, view.signal, view.height, items.len());
    let width = items.iter().map(|item| item.name.chars().count()).max().unwrap_or(0).min(32);
    for (at, item) in items.iter().enumerate().skip(view.first_signal).take(view.height) {
        let y = list.y + (at - view.first_signal) as u16;
        frame.render_widget(item_line(item, width, at == view.signal), Rect { y, height: 1, ..list });
    }
    if plot_height > 0 {
        let plot = Rect { y: list.bottom(), height: plot_height, ..area };
        draw_plot(frame, plot, &open, view.signal, &items[view.signal]);
    }
}

/// Who sends it, how often, and all bytes.
fn head<'a>(open: &Open, width: usize) -> Vec<Line<'a>> {
    let Open { key, row, message, now } = open;
    let name = message.map(|message| format!(" {}", message.name)).unwrap_or_default();
    let mut text = format!("{}{name} from {}: {} frames", words::id(&row.frame), key.sender, row.count);
    match (row.cycle(), row.extremes()) {
        _ if row.is_silent(*now) => {
            text += &format!(", silent for {}", words::time(now.since(row.time)));
        }
        (Some(cycle), Some((min, max))) => {
            let [cycle, min, max] = [cycle, min, max].map(words::time);
            text += &format!(", cycle {cycle} ({min} to {max})");
        }
        _ => {}
    }
    let mut lines = vec![Line::styled(cut(&text, width), BOLD)];
    let length = row.frame.data().len();
    let mark = format!("{:>4}  ", words::length(&row.frame));
    for start in (0..length.max(1)).step_by(BYTES) {
        let mut spans = vec![Span::raw(if start == 0 { mark.clone() } else { " ".repeat(mark.len()) })];
        spans.extend(bytes(row, start..length.min(start + BYTES), *now));
        lines.push(Line::from(spans));
    }
    lines.push(Line::default());
    lines
}

/// Signals of other multiplexer values show what they were last.
fn items(open: &Open) -> Vec<Item> {
    let Open { row, message, now, .. } = open;
    let Some(message) = message else {
        let byte = |(at, byte): (usize, &u8)| Item {
            name: format!("byte {at}"),
            value: format!("{byte:>3}  {byte:02X}  {byte:08b}"),
            unit: String::new(),
            is_fresh: row.is_fresh(at, *now),
        };
        return row.frame.data().iter().enumerate().map(byte).collect();
    };
    let latest = row.latest();
    let item = |signal: &Signal| {
        let reading = latest
            .iter()
            .find_map(|(_, data)| message.decode(data).find(|reading| std::ptr::eq(reading.signal, signal)));
        let value = match &reading {
            Some(reading) => match reading.label {
                Some(label) => format!("{}  {label}", signal.text(reading.value)),
                None => signal.text(reading.value),
            },
            None => "–".into(),
        };
        let is_fresh = signal.bytes().any(|byte| row.is_fresh(byte, *now));
        Item { name: signal.name.clone(), value, unit: signal.unit.clone(), is_fresh }
    };
    message.signals().iter().map(item).collect()
}

fn item_line<'a>(item: &Item, width: usize, is_selected: bool) -> Line<'a> {
    let Item { name, value, unit, is_fresh } = item;
    let mark = if is_selected { ">" } else { " " };
    let line = Line::from(vec![
        Span::raw(format!("{mark} {:<width$}  ", cut(name, width))),
        Span::styled(value.clone(), if *is_fresh { CHANGED } else { Style::new() }),
        Span::raw(format!(" {unit}")),
    ]);
    if is_selected { line.style(BOLD) } else { line }
}

/// The signal over the last 30 s.
fn draw_plot(frame: &mut Frame, area: Rect, open: &Open, selected: usize, item: &Item) {
    let mut points: Vec<(f64, f64)> = open
        .row
        .history()
        .filter_map(|(time, data)| Some((-open.now.since(time).as_secs_f64(), value(open, selected, data)?)))
        .filter(|(seconds, value)| value.is_finite() && *seconds >= -HISTORY.as_secs_f64())
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let bounds =
        |start: f64, compare: fn(f64, f64) -> f64| points.iter().map(|point| point.1).fold(start, compare);
    let (min, max) = (bounds(f64::INFINITY, f64::min), bounds(f64::NEG_INFINITY, f64::max));
    if points.is_empty() {
        return;
    }
    // A constant is a line in the middle.
    let margin = if min == max { 1.0_f64.max(min.abs() * 0.1) } else { 0.0 };
    let unit = if item.unit.is_empty() { String::new() } else { format!(" in {}", item.unit) };
    let title = format!("{}{unit}, {} to {}", item.name, number(min), number(max));
    let dataset = Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).data(&points);
    let seconds = HISTORY.as_secs();
    let [low, high] = [min - margin, max + margin];
    let chart = Chart::new(vec![dataset])
        .x_axis(
            Axis::default().bounds([-(seconds as f64), 0.0]).labels([format!("-{seconds} s"), "now".into()]),
        )
        .y_axis(Axis::default().bounds([low, high]).labels([number(low), number(high)]));
    let [head, plot] = [Rect { height: 1, ..area }, Rect { y: area.y + 1, height: area.height - 1, ..area }];
    frame.render_widget(Line::styled(cut(&title, area.width.into()), BOLD), head);
    frame.render_widget(chart, plot);
}

/// The selected signal's value in these data.
fn value(open: &Open, selected: usize, data: &[u8]) -> Option<f64> {
    let Some(message) = open.message else { return data.get(selected).copied().map(f64::from) };
    let signal = &message.signals()[selected];
    message
        .decode(data)
        .find(|reading| std::ptr::eq(reading.signal, signal))
        .map(|reading| reading.value.as_f64())
}

fn number(value: f64) -> String {
    Value::Float(value).to_string()
}
