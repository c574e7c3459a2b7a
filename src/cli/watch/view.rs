//! What the person has chosen: the page, the row, the order, the filter. Keys change it; nothing here draws.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::words;
use crate::frames::{
    Timestamp,
    dbc::{Database, Message},
    table::{Key, Row, Table},
};

/// What is on the screen, besides the frames.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The selected row. It stays selected when rows come or change their order.
    pub(super) selected: Option<Key>,
    /// Whether the person selected it. Until then it is the first row, whichever that is.
    pub(super) is_chosen: bool,
    /// Where it was when last drawn, and the first row on the screen.
    pub(super) position: usize,
    pub(super) first: usize,
    /// How many rows fit on the screen.
    pub(super) height: usize,
    /// Whether the selected row's signals are shown, and which of them is selected.
    pub(super) is_open: bool,
    pub(super) signal: usize,
    pub(super) first_signal: usize,
    pub(super) shows_help: bool,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    /// While paused: the table as it was.
    pub(super) paused: Option<(Table, Timestamp)>,
}

/// The order of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Id,
    Sender,
    Count,
    Rate,
    Latest,
}

/// What a key asks the program for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Quit,
    /// Hold the screen, or go on.
    Pause,
    /// Count from zero.
    Clear,
}

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Sender => "sender",
            Self::Count => "count",
            Self::Rate => "rate",
            Self::Latest => "latest",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Id => Self::Sender,
            Self::Sender => Self::Count,
            Self::Count => Self::Rate,
            Self::Rate => Self::Latest,
            Self::Latest => Self::Id,
        }
    }
}

/// A row with its message, if a DBC file describes it.
pub(super) type Entry<'a> = (&'a Key, &'a Row, Option<&'a Message>);

impl View {
    /// The rows that the filter lets through, in the chosen order.
    pub(super) fn entries<'a>(
        &self,
        table: &'a Table,
        database: &'a Database,
        now: Timestamp,
    ) -> Vec<Entry<'a>> {
        let words: Vec<String> = self.filter.split_whitespace().map(str::to_lowercase).collect();
        let mut entries: Vec<Entry> = table
            .rows()
            .map(|(key, row)| (key, row, database.message(&row.frame)))
            .filter(|entry| words.iter().all(|word| matches(entry, word)))
            .collect();
        // The sort is stable: equal rows stay in the order of their ids.
        match self.sort {
            Sort::Id => {}
            Sort::Sender => entries.sort_by(|(a, ..), (b, ..)| a.sender.cmp(&b.sender)),
            Sort::Count => entries.sort_by_key(|(_, row, _)| std::cmp::Reverse(row.count)),
            Sort::Rate => entries.sort_by(|(_, a, _), (_, b, _)| b.rate(now).total_cmp(&a.rate(now))),
            Sort::Latest => entries.sort_by_key(|(_, row, _)| std::cmp::Reverse(row.time)),
        }
        if self.is_reversed {
            entries.reverse();
        }
        entries
    }

    /// Finds the selected row again, and scrolls so that it is on the screen.
    pub(super) fn follow(&mut self, entries: &[Entry], height: usize) {
        self.height = height;
        if !self.is_chosen && !self.is_open {
            (self.selected, self.position) = (None, 0);
        }
        let found = entries.iter().position(|(key, ..)| Some(*key) == self.selected.as_ref());
        self.position = found.unwrap_or(self.position).min(entries.len().saturating_sub(1));
        // A row that the filter hides stays selected if it is open.
        if !self.is_open || self.selected.is_none() {
            self.selected = entries.get(self.position).map(|(key, ..)| (*key).clone());
        }
        self.first = scrolled(self.first, self.position, height, entries.len());
    }

    /// Applies a key. `entries` are those on the screen, `signals` how many the open row has.
    pub(super) fn press(&mut self, key: KeyEvent, entries: &[Entry], signals: usize) -> Wish {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Wish::Quit;
        }
        if self.shows_help {
            self.shows_help = false;
            return if key.code == KeyCode::Char('q') { Wish::Quit } else { Wish::Nothing };
        }
        if self.is_typing {
            self.type_filter(key.code);
            return Wish::Nothing;
        }
        match key.code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Esc | KeyCode::Backspace if self.is_open => self.is_open = false,
            KeyCode::Left if self.is_open => self.is_open = false,
            KeyCode::Esc if !self.filter.is_empty() => self.filter.clear(),
            KeyCode::Esc => return Wish::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.shows_help = true,
            KeyCode::Char('p' | ' ') => return Wish::Pause,
            KeyCode::Char('c') => return Wish::Clear,
            KeyCode::Char('/') => (self.is_typing, self.is_open) = (true, false),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Enter | KeyCode::Right if self.selected.is_some() => {
                (self.is_open, self.signal, self.first_signal) = (true, 0, 0);
                self.is_chosen = true;
            }
            code if self.is_open => self.signal = moved(self.signal, code, signals, self.height),
            code => {
                let position = moved(self.position, code, entries.len(), self.height);
                self.is_chosen |= position != self.position;
                self.position = position;
                self.selected = entries.get(self.position).map(|(key, ..)| (*key).clone());
            }
        }
        Wish::Nothing
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.is_typing = false;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => {}
        }
    }
}

/// The first line on the screen, so that the one at `position` is.
pub(super) fn scrolled(first: usize, position: usize, height: usize, count: usize) -> usize {
    let last = (position + 1).saturating_sub(height);
    first.clamp(last, position.max(last)).min(count.saturating_sub(height.min(count)))
}

fn moved(position: usize, code: KeyCode, count: usize, height: usize) -> usize {
    let page = height.saturating_sub(1).max(1);
    let moved = match code {
        KeyCode::Up | KeyCode::Char('k') => position.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => position + 1,
        KeyCode::PageUp => position.saturating_sub(page),
        KeyCode::PageDown => position + page,
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => count,
        _ => position,
    };
    moved.min(count.saturating_sub(1))
}

/// Whether the id, the sender, the message or one of its signals contains the word.
fn matches((key, row, message): &Entry, word: &str) -> bool {
    let contains = |text: &str| text.to_lowercase().contains(word);
    contains(&words::id(&row.frame))
        || contains(&key.sender.to_string())
        || message.is_some_and(|message| {
            contains(&message.name) || message.signals().iter().any(|signal| contains(&signal.name))
        })
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};

    fn press(view: &mut View, table: &Table, keys: &str) -> Wish {
        let database = samples::database();
        let mut wish = Wish::Nothing;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                key => KeyCode::Char(key),
            };
            let entries = view.entries(table, &database, samples::NOW);
            view.follow(&entries, 10);
            wish = view.press(code.into(), &entries, 3);
        }
        let entries = view.entries(table, &database, samples::NOW);
        view.follow(&entries, 10);
        wish
    }

    fn ids(view: &View, table: &Table) -> Vec<String> {
        let database = samples::database();
        let entries = view.entries(table, &database, samples::NOW);
        entries.iter().map(|(key, row, _)| format!("{} {}", words::id(&row.frame), key.sender)).collect()
    }

    #[test]
    fn the_filter_finds_ids_senders_messages_and_signals() {
        let table = samples::table();
        for (keys, found) in [
            ("/mot\n", vec!["1A0 door"]),
            ("/temperature\n", vec!["1A0 door"]),
            ("/2a0\n", vec!["2A0 engine", "2A0 lock"]),
            ("/2a0 LOCK\n", vec!["2A0 lock"]),
            ("/nothing\n", vec![]),
        ] {
            let mut view = View::default();
            press(&mut view, &table, keys);
            assert_eq!(ids(&view, &table), found, "{keys}");
            assert_eq!(press(&mut view, &table, "\x1b"), Wish::Nothing, "the first Esc shows all again");
            assert_eq!(press(&mut view, &table, "\x1b"), Wish::Quit);
        }
    }

    #[test]
    fn letters_are_not_keys_while_a_filter_is_typed() {
        let mut view = View::default();
        assert_eq!(press(&mut view, &samples::table(), "/qps"), Wish::Nothing);
        assert_eq!((view.filter.as_str(), view.is_typing, view.sort), ("qps", true, Sort::Id));
    }

    #[test]
    fn the_order_can_be_chosen_and_reversed() {
        let table = samples::table();
        let mut view = View::default();
        press(&mut view, &table, "ss");
        assert_eq!(view.sort, Sort::Count);
        let counts = |view: &View| {
            let database = samples::database();
            let entries = view.entries(&table, &database, samples::NOW);
            entries.iter().map(|(_, row, _)| row.count).collect::<Vec<_>>()
        };
        assert!(counts(&view).is_sorted_by(|a, b| a >= b), "{:?}", counts(&view));
        press(&mut view, &table, "r");
        assert!(counts(&view).is_sorted(), "{:?}", counts(&view));
        press(&mut view, &table, "sss");
        assert_eq!(view.sort, Sort::Id);
    }

    #[test]
    fn the_selected_row_stays_selected_when_others_come() {
        let mut table = samples::table();
        let mut view = View::default();
        press(&mut view, &table, "jj");
        let selected = view.selected.clone();
        for id in 0..20 {
            table.add(&samples::record(0, "lock", samples::standard(id, &[])), 0);
        }
        press(&mut view, &table, "");
        assert_eq!((view.selected.clone(), view.position), (selected, 22));
        assert!(view.first > 12 - 1 && view.first <= 22);
    }

    #[test]
    fn the_first_row_is_selected_until_the_person_selects_another() {
        let mut table = Table::default();
        let mut view = View::default();
        for id in (0..20).rev() {
            table.add(&samples::record(0, "lock", samples::standard(id, &[])), 0);
            press(&mut view, &table, "");
            assert_eq!(view.selected.as_ref().map(|key| key.id), Some(id.into()));
        }
    }

    #[test]
    fn keys_open_and_close_a_row_and_end() {
        let table = samples::table();
        let mut view = View::default();
        press(&mut view, &table, "\njjjjj");
        assert!(view.is_open);
        assert_eq!((view.position, view.signal), (0, 2), "the last of three signals");
        assert_eq!(press(&mut view, &table, "\x1b"), Wish::Nothing);
        assert!(!view.is_open);
        press(&mut view, &table, "?");
        assert!(view.shows_help);
        assert_eq!(press(&mut view, &table, "x"), Wish::Nothing);
        assert!(!view.shows_help);
        assert_eq!(
            [" ", "c", "q"].map(|keys| press(&mut view, &table, keys)),
            [Wish::Pause, Wish::Clear, Wish::Quit]
        );
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(view.press(control_c, &[], 0), Wish::Quit);
    }

    #[test]
    fn an_empty_table_survives_all_keys() {
        let mut view = View::default();
        press(&mut view, &Table::default(), "jkgG\nsrc?x/a\n");
        assert_eq!((view.selected, view.is_open), (None, false));
    }
}
