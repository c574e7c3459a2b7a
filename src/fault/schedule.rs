//! A schedule of faults, as written in a TOML file and played by `canhub fault run`.

use std::{path::Path, time::Duration};

use super::{
    Request, Wish,
    request::{SHORTEST, parse_lasts},
};
use crate::{
    clock::parse_duration,
    config_file::{self, DeTable, DeValue, Spanned, Wrong, entries, shown},
    names::check_name,
};

/// The latest time of a step, and the longest time between two rounds.
const LATEST: Duration = Duration::from_secs(365 * 86_400);
/// More cannot be looked through by anybody.
const STEPS_MAX: usize = 10_000;
const KEYS: [&str; 4] = ["bus", "repeat", "every", "step"];
const STEP_KEYS: [&str; 8] = ["at", "bus", "member", "fault", "for", "label", "repeat", "every"];

/// A step of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleStep {
    /// When, from the start.
    pub at: Duration,
    /// The fault that begins, which has an end; `None`: only the label is noted.
    pub fault: Option<Wish>,
    /// What it is for.
    pub label: Option<String>,
}

/// The steps of a schedule, in the order of their times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule(pub Vec<ScheduleStep>);

impl Schedule {
    /// Parses the text of a file.
    ///
    /// # Errors
    /// One sentence that starts with the file and the line.
    pub fn parse(file: &Path, text: &str) -> Result<Self, String> {
        config_file::parse(file, text, read)
    }
}

/// How often, and how long from one beginning to the next.
#[derive(Debug, Clone, Copy, Default)]
struct Loop {
    repeat: Option<u32>,
    every: Option<Duration>,
}

impl Loop {
    /// The beginnings of all rounds.
    fn rounds(self) -> impl Iterator<Item = Duration> {
        (0..self.repeat.unwrap_or(1)).map(move |round| self.every.unwrap_or_default() * round)
    }

    fn check<T>(self, at: &Spanned<T>) -> Result<Self, Wrong> {
        match (self.repeat, self.every) {
            (Some(_), None) => Err(Wrong::new(
                at,
                "repeat needs every, the time from one beginning to the next: every = \"5s\"",
            )),
            (None, Some(_)) => Err(Wrong::new(at, "every needs repeat, how often: repeat = 3")),
            _ => Ok(self),
        }
    }
}

fn read(table: &DeTable<'_>) -> Result<Schedule, Wrong> {
    let (mut bus, mut again, mut list, mut last) = (None, Loop::default(), None, None);
    for (key, value) in entries(table) {
        match &**key.get_ref() {
            "bus" => bus = Some(name("bus", value)?),
            "repeat" => again.repeat = Some(times(value)?),
            "every" => again.every = Some(every(value)?),
            "step" => list = Some(value),
            _ => return Err(Wrong::unknown_key(key, "", &KEYS)),
        }
        last = Some(key);
    }
    let Some((list, last)) = list.zip(last) else {
        return Err(Wrong {
            at: 0..0,
            why: "it has no step: write [[step]], then at, member, fault and for".into(),
        });
    };
    let again = again.check(last)?;
    let not_a_list = || Wrong::new(list, "step must be a list of tables: write [[step]] before each");
    let (mut once, mut count) = (Vec::new(), 0);
    for entry in list.get_ref().as_array().ok_or_else(not_a_list)?.iter() {
        let table = entry.get_ref().as_table().ok_or_else(not_a_list)?;
        let (step, rounds) = read_step(entry, table, bus.as_deref())?;
        count += rounds.repeat.unwrap_or(1) as usize;
        if count > STEPS_MAX {
            continue;
        }
        once.extend(rounds.rounds().map(|begins| ScheduleStep { at: step.at + begins, ..step.clone() }));
    }
    let all = count * again.repeat.unwrap_or(1) as usize;
    if all > STEPS_MAX {
        return Err(Wrong::new(
            list,
            format!("it has {all} steps with all repetitions, and at most {STEPS_MAX} are played"),
        ));
    }
    let mut steps: Vec<ScheduleStep> = again
        .rounds()
        .flat_map(|begins| once.iter().map(move |step| ScheduleStep { at: step.at + begins, ..step.clone() }))
        .collect();
    steps.sort_by_key(|step| step.at);
    Ok(Schedule(steps))
}

fn read_step(
    entry: &Spanned<DeValue<'_>>,
    table: &DeTable<'_>,
    bus: Option<&str>,
) -> Result<(ScheduleStep, Loop), Wrong> {
    let mut wish = Wish { bus: bus.unwrap_or_default().to_owned(), ..Wish::default() };
    let (mut at, mut again, mut fault) = (None, Loop::default(), None);
    for (key, value) in entries(table) {
        match &**key.get_ref() {
            "at" => at = Some(duration("at", value)?),
            "bus" => wish.bus = name("bus", value)?,
            "member" => wish.member = Some(name("member", value)?),
            "fault" => {
                wish.effects = text("fault", value)?.split_whitespace().map(str::to_owned).collect();
                fault = Some(value);
            }
            "for" => {
                let lasts = text("for", value)?;
                parse_lasts(&lasts).map_err(|why| Wrong::new(value, format!("for = {why}")))?;
                wish.lasts = Some(lasts);
            }
            "label" => wish.label = Some(name("label", value)?),
            "repeat" => again.repeat = Some(times(value)?),
            "every" => again.every = Some(every(value)?),
            _ => return Err(Wrong::unknown_key(key, " of a step", &STEP_KEYS)),
        }
    }
    let again = again.check(entry)?;
    let at =
        at.ok_or_else(|| Wrong::new(entry, "a step needs at, its time from the start: at = \"500ms\""))?;
    let label = wish.label.clone();
    let Some(fault) = fault else {
        let alone = wish.member.is_none() && wish.lasts.is_none() && label.is_some();
        let why = "a step needs fault, such as fault = \"cut\", or nothing but a label to be noted";
        return if alone {
            Ok((ScheduleStep { at, fault: None, label }, again))
        } else {
            Err(Wrong::new(entry, why))
        };
    };
    if wish.bus.is_empty() {
        return Err(Wrong::new(entry, "a step needs bus, here or for all at the top of the file"));
    }
    // If nobody is there to end it, it ends by itself.
    if wish.lasts.is_none() {
        return Err(Wrong::new(entry, "a step with a fault needs for, so that it ends: for = \"2s\""));
    }
    Request::try_from(wish.clone()).map_err(|why| Wrong::new(fault, why))?;
    Ok((ScheduleStep { at, fault: Some(wish), label }, again))
}

fn text(key: &str, value: &Spanned<DeValue<'_>>) -> Result<String, Wrong> {
    let is_text = value.get_ref().as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    is_text.ok_or_else(|| Wrong::new(value, format!("{key} = {}: must be text in quotes", shown(value))))
}

fn name(key: &str, value: &Spanned<DeValue<'_>>) -> Result<String, Wrong> {
    let name = text(key, value)?;
    check_name(key, &name).map_err(|why| Wrong::new(value, why))?;
    Ok(name)
}

fn duration(key: &str, value: &Spanned<DeValue<'_>>) -> Result<Duration, Wrong> {
    let text = text(key, value)?;
    let parsed = parse_duration(&text);
    let parsed = parsed.and_then(|time| if time > LATEST { Err("it is too long".into()) } else { Ok(time) });
    parsed.map_err(|why| {
        let must = "write a number and a unit, up to 365d: 500ms, 2s, 1.5min";
        Wrong::new(value, format!("{key} = {text:?}: {why}; {must}"))
    })
}

fn every(value: &Spanned<DeValue<'_>>) -> Result<Duration, Wrong> {
    let every = duration("every", value)?;
    match every < SHORTEST {
        true => Err(Wrong::new(value, format!("every = {}: must be 10ms or more", shown(value)))),
        false => Ok(every),
    }
}

fn times(value: &Spanned<DeValue<'_>>) -> Result<u32, Wrong> {
    let number = value.get_ref().as_integer();
    let number = number.and_then(|digits| u32::from_str_radix(digits.as_str(), digits.radix()).ok());
    number.filter(|number| (1..=STEPS_MAX as u32).contains(number)).ok_or_else(|| {
        Wrong::new(value, format!("repeat = {}: must be a number from 1 to {STEPS_MAX}", shown(value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Schedule, String> {
        Schedule::parse(Path::new("f.toml"), text)
    }

    #[test]
    fn steps_are_repeated_and_come_in_the_order_of_their_times() {
        let schedule = parse(
            "bus = 'body'\nrepeat = 2\nevery = '10s'\n\
             [[step]]\nat = '1s'\nmember = 'door'\nfault = 'cut error=ack@5'\nfor = '2s'\nlabel = 'silent'\nrepeat = 2\nevery = '3s'\n\
             [[step]]\nat = '500ms'\nlabel = 'begin'\n\
             [[step]]\nat = '2s'\nbus = 'seat'\nfault = 'flood=7DF@10'\nfor = '10ms'\n",
        );
        let steps = schedule.unwrap().0;
        let times: Vec<u128> = steps.iter().map(|step| step.at.as_millis()).collect();
        assert_eq!(times, [500, 1000, 2000, 4000, 10_500, 11_000, 12_000, 14_000]);
        assert_eq!((&steps[0].fault, steps[0].label.as_deref()), (&None, Some("begin")));
        let cut = steps[3].fault.clone().unwrap();
        assert_eq!((cut.bus.as_str(), cut.member.as_deref(), cut.effects.len()), ("body", Some("door"), 2));
        assert_eq!(steps[2].fault.as_ref().unwrap().bus, "seat");
    }

    #[test]
    fn the_latest_step_of_the_longest_schedule_has_a_time() {
        let again = "every = '365d'\nrepeat = 100\n";
        let steps = parse(&format!("{again}[[step]]\nat = '365d'\nlabel = 'x'\n{again}")).unwrap().0;
        assert_eq!(steps.last().map(|step| step.at), Some(LATEST * (1 + 99 + 99)));
    }

    #[test]
    fn steps_may_begin_every_10ms() {
        let steps = parse("[[step]]\nat = '1s'\nlabel = 'x'\nrepeat = 2\nevery = '10ms'").unwrap().0;
        assert_eq!(steps[1].at - steps[0].at, SHORTEST);
    }

    #[test]
    fn every_error_names_file_line_and_what_is_allowed() {
        let step = |lines: &str| format!("bus = 'body'\n[[step]]\n{lines}");
        for (text, line, words) in [
            (String::new(), 1, "it has no step"),
            ("step = 3".into(), 1, "write [[step]]"),
            ("buss = 'x'".into(), 1, "unknown key buss (did you mean bus?)"),
            (step("fault = 'cut'\nfor = '1s'"), 2, "a step needs at"),
            (step("at = '1s'\nfault = 'cut'"), 2, "needs for, so that it ends"),
            (step("at = '1s'\nfault = 'cutt'\nfor = '1s'"), 4, "did you mean cut?"),
            (step("at = '1s'\nfault = 'cut'\nfor = '25h'"), 5, "longer than a day"),
            (step("at = 1\nfault = 'cut'"), 3, "at = 1: must be text in quotes"),
            (step("at = '1'"), 3, "it has no unit; write a number and a unit"),
            (step("at = '366d'\nlabel = 'x'"), 3, "it is too long; write a number and a unit, up to 365d"),
            (step("at = '1s'\nlabel = 'x'\nrepeat = 2\nevery = '200000000000000d'"), 6, "it is too long"),
            (step("at = '1s'\nmember = 'door'"), 2, "a step needs fault"),
            (step("at = '1s'\nlabel = 'x'\nmember = 'door'"), 2, "a step needs fault"),
            (step("at = '1s'\nlabel = 'x'\nfor = '1s'"), 2, "a step needs fault"),
            (step("at = '1s'\nlabel = 'x'\nrepeat = 2"), 2, "repeat needs every"),
            ("repeat = 2\n[[step]]\nat = '1s'\nlabel = 'x'".into(), 2, "repeat needs every"),
            ("every = '1s'\n[[step]]\nat = '1s'\nlabel = 'x'".into(), 2, "every needs repeat"),
            (step("at = '1s'\nlabel = 'x'\nevery = '1s'"), 2, "every needs repeat"),
            (step("at = '1s'\nlabel = 'x'\nrepeat = 0\nevery = '1s'"), 5, "from 1 to 10000"),
            (step("at = '1s'\nlabel = 'x'\nrepeat = 2\nevery = '1ms'"), 6, "10ms or more"),
            (
                step("at = '1s'\nlabel = 'x'\nfoor = '1s'"),
                5,
                "unknown key foor of a step (did you mean for?)",
            ),
            ("[[step]]\nat = '1s'\nfault = 'cut'\nfor = '1s'".into(), 1, "a step needs bus"),
            (
                "repeat = 101\nevery = '1s'\n[[step]]\nat = '1s'\nlabel = 'x'\nrepeat = 100\nevery = '1s'"
                    .into(),
                3,
                "10100 steps",
            ),
            // Not even held in memory.
            (
                "[[step]]\nat = '1s'\nlabel = 'x'\nrepeat = 10000\nevery = '1s'\n".repeat(5000),
                1,
                "50000000 steps",
            ),
        ] {
            let why = parse(&text).unwrap_err();
            let begins = format!("f.toml line {line}: ");
            assert!(why.starts_with(&begins) && why.contains(words), "{begins}{words:?} is not in {why:?}");
        }
    }

    #[test]
    fn each_wrong_value_of_a_key_is_named_with_its_line_and_what_is_allowed() {
        const NO_TEXT: [&str; 9] = ["1", "1.5", "true", "''", "[]", "['cut']", "{}", "0x10", "2026-11-28"];
        let times =
            ["'1'", "'soon'", "'-1s'", "'1x'", "'1.2.3s'", "'1s 5ms'", "'1e3s'", "' '", "'99999999999d'"];
        let counts =
            ["0", "-1", "1.5", "'3'", "true", "10001", "99999999999999999999", "[]", "{}", "0xFFFFF", "nan"];
        let faults = [
            "'cutt'",
            "'cut cutt'",
            "'cut cut'",
            "'loss=5'",
            "'flood=7DF'",
            "'error=x'",
            "'down flood=7DF@1'",
        ];
        let (text, time) = ("must be text in quotes", "a number and a unit");
        let tables: [(&str, &[&str], &str); 12] = [
            ("at", &NO_TEXT, text),
            ("at", &times, time),
            ("bus", &NO_TEXT, text),
            ("member", &NO_TEXT, text),
            ("label", &NO_TEXT, text),
            ("fault", &NO_TEXT, text),
            ("fault", &faults, ""),
            ("for", &NO_TEXT, text),
            ("for", &times, time),
            ("every", &NO_TEXT, text),
            ("every", &times, time),
            ("repeat", &counts, "must be a number from 1 to 10000"),
        ];
        for (key, values, allowed) in tables {
            for value in values {
                let good = [
                    ("at", "'1s'"),
                    ("bus", "'body'"),
                    ("member", "'door'"),
                    ("label", "'x'"),
                    ("fault", "'cut'"),
                    ("for", "'1s'"),
                    ("every", "'2s'"),
                    ("repeat", "2"),
                ];
                let line = good.iter().position(|(other, _)| *other == key).unwrap() + 2;
                let lines = good
                    .map(|(other, good)| format!("{other} = {}\n", if other == key { value } else { good }));
                let why = parse(&format!("[[step]]\n{}", lines.concat())).unwrap_err();
                let begins = format!("f.toml line {line}: ");
                assert!(why.starts_with(&begins), "{key} = {value}: {why}");
                assert!(
                    why.contains(allowed) && (key == "fault" || why.contains(&format!("{key} = "))),
                    "{key} = {value}: {why}"
                );
            }
        }
        let long = "x".repeat(256);
        for key in ["bus", "member", "label"] {
            let why = parse(&format!("[[step]]\nat = '1s'\n{key} = '{long}'\nfault = 'cut'")).unwrap_err();
            assert!(why.starts_with("f.toml line 3: ") && why.contains("must have 1 to 255 bytes"), "{why}");
        }
    }
}
