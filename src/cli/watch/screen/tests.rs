//! Screens are compared with the files beside this one. After a change on purpose, write them again with
//! `CANHUB_WRITE_SCREENS=1 cargo test watch::`, and look at the difference.

use std::{fs, path::Path};

use ratatui::{Terminal, backend::TestBackend, buffer::Buffer};

use super::{super::samples, *};
use crate::frames::{Lost, Record, wire::Wire};

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 60);

fn scene(database: Database) -> Scene {
    Scene { title: "body (vcan-body)".into(), choice: None, bitrate: None, note: None, database }
}

fn drawn((width, height): (u16, u16), view: &mut View, scene: &Scene, table: &Table) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, view, scene, (table, samples::NOW))).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let line = |y: u16| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..buffer.area.height).map(|y| line(y).trim_end().to_owned()).collect()
}

#[track_caller]
fn assert_screen(name: &str, buffer: &Buffer) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/watch/screen").join(name);
    let screen = lines(buffer).join("\n") + "\n";
    if std::env::var_os("CANHUB_WRITE_SCREENS").is_some() {
        fs::write(&path, &screen).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    assert!(screen == expected, "{name} has:\n{expected}\nbut the screen is:\n{screen}");
}

#[test]
fn the_table_with_names_fills_both_sizes() {
    let (scene, table) = (scene(samples::database()), samples::table());
    assert_screen("table-80x24.txt", &drawn(SMALL, &mut View::default(), &scene, &table));
    assert_screen("table-200x60.txt", &drawn(LARGE, &mut View::default(), &scene, &table));
}

#[test]
fn the_table_without_names_fills_both_sizes() {
    let (scene, mut table) = (scene(Database::default()), samples::table());
    let data: Vec<u8> = (0..64).collect();
    table.add(&samples::record(0, "camera-with-a-long-name", samples::fd(0x1C0, &data)), 0);
    assert_screen("plain-80x24.txt", &drawn(SMALL, &mut View::default(), &scene, &table));
    assert_screen("plain-200x60.txt", &drawn(LARGE, &mut View::default(), &scene, &table));
}

#[test]
fn a_rows_signals_and_plot_fill_both_sizes() {
    let (scene, table) = (scene(samples::database()), samples::table());
    for (name, size) in [("signals-80x24.txt", SMALL), ("signals-200x60.txt", LARGE)] {
        let mut view = View::default();
        drawn(size, &mut view, &scene, &table);
        view.is_open = true;
        assert_screen(name, &drawn(size, &mut view, &scene, &table));
    }
}

#[test]
fn without_a_dbc_file_each_byte_is_a_signal() {
    let (scene, table) = (scene(Database::default()), samples::table());
    let mut view = View { is_open: true, signal: 1, ..View::default() };
    view.selected = table.rows().next().map(|(key, _)| key.clone());
    assert_screen("bytes-80x24.txt", &drawn(SMALL, &mut view, &scene, &table));
}

#[test]
fn the_help_fits_a_small_screen() {
    let mut view = View { shows_help: true, ..View::default() };
    let buffer = drawn(SMALL, &mut view, &scene(Database::default()), &Table::default());
    assert_screen("help-80x24.txt", &buffer);
    assert!(lines(&buffer).iter().all(|line| line.chars().count() < 80), "nothing is cut");
}

#[test]
fn values_of_other_multiplexer_pages_stay_on_the_screen() {
    let (scene, table) = (scene(samples::database()), samples::table());
    let mut view = View { is_open: true, ..View::default() };
    view.selected =
        table.rows().find(|(key, _)| key.sender.to_string() == "engine").map(|(key, _)| key.clone());
    let screen = lines(&drawn(SMALL, &mut view, &scene, &table)).join("\n");
    assert!(screen.contains("  A       513") && screen.contains("  B       258"), "{screen}");
}

#[test]
fn changed_bytes_are_marked_without_colour() {
    let (scene, table) = (scene(Database::default()), samples::table());
    let buffer = drawn(SMALL, &mut View::default(), &scene, &table);
    let (row, lines) = (2, lines(&buffer));
    let at = |data: &str| lines[row].find(data).unwrap() as u16;
    let marks = |x: u16| buffer[(x, row as u16)].modifier & (Modifier::BOLD | Modifier::UNDERLINED);
    let start = at("2E E0 64");
    assert!(lines[row].contains("1A0"), "{}", lines[row]);
    assert_eq!(marks(start), Modifier::BOLD | Modifier::UNDERLINED, "the first byte counts up");
    assert!(!marks(start + 6).contains(Modifier::UNDERLINED), "the third never changes");
    let title = &buffer[(0, 0)];
    assert!(title.modifier.contains(Modifier::BOLD));
}

#[test]
fn the_title_has_load_losses_and_what_was_chosen() {
    let wire = Wire { bitrate: 125_000, data_bitrate: None };
    let mut table = Table::new(Some(wire));
    super::super::terminal::add(
        &mut table,
        &Database::default(),
        &mut samples::records(),
        Lost { at_least: 12, at_most: 12 },
    );
    let scene = Scene { bitrate: Some(125_000), ..scene(Database::default()) };
    let buffer = drawn(SMALL, &mut View::default(), &scene, &table);
    assert_eq!(lines(&buffer)[0], "body (vcan-body)  59 frames/s  load 6 % of 125 kbit/s  4 rows  12 lost");
    let lost = lines(&buffer)[0].find("12 lost").unwrap() as u16;
    assert!(buffer[(lost, 0)].modifier.contains(Modifier::REVERSED));

    let scene = Scene { choice: Some("from door".into()), ..scene };
    let mut view = View { paused: Some((table.clone(), samples::NOW)), ..View::default() };
    let buffer = drawn(SMALL, &mut view, &scene, &Table::default());
    assert_eq!(lines(&buffer)[0], "body (vcan-body)  PAUSED  59 frames/s  from door  4 rows  12 lost");
}

#[test]
fn silence_is_told() {
    let (scene, table) = (scene(Database::default()), samples::table());
    let screen = lines(&drawn(SMALL, &mut View::default(), &scene, &table));
    let silent: Vec<&String> = screen.iter().filter(|line| line.contains("silent")).collect();
    assert!(silent.len() == 1 && silent[0].contains("18FEE527"), "{screen:#?}");
}

#[test]
fn no_size_of_a_terminal_and_no_frame_is_a_panic() {
    let mut records: Vec<Record> = samples::records();
    records.push(samples::record(0, "door", samples::fd(0x10, &[0xFF; 64])));
    for database in [Database::default(), samples::database()] {
        let scene = scene(database);
        let mut table = Table::default();
        super::super::terminal::add(&mut table, &scene.database, &mut records.clone(), Lost::default());
        for size in [(0, 0), (1, 1), (5, 2), (20, 5), (47, 10), (60, 13), (300, 9)] {
            let mut view = View::default();
            drawn(size, &mut view, &scene, &table);
            for key in table.rows().map(|(key, _)| key.clone()).collect::<Vec<_>>() {
                view = View { selected: Some(key), is_open: true, signal: 99, ..View::default() };
                drawn(size, &mut view, &scene, &table);
            }
            view.shows_help = true;
            drawn(size, &mut view, &scene, &table);
        }
    }
}

#[test]
fn an_empty_bus_and_a_filter_that_matches_nothing_say_so() {
    let scene =
        Scene { note: Some("containers are shown by their IDs".into()), ..scene(Database::default()) };
    let screen = lines(&drawn(SMALL, &mut View::default(), &scene, &Table::default())).join("\n");
    assert!(screen.contains("No frames yet") && screen.contains("shown by their IDs"), "{screen}");
    let mut view = View { filter: "xyz".into(), ..View::default() };
    let screen = lines(&drawn(SMALL, &mut view, &scene, &samples::table())).join("\n");
    assert!(screen.contains("Nothing matches the filter. Esc shows all again."), "{screen}");
}
