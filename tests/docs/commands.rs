//! The command lines of a program in the pages, parsed as the program itself would.

use clap::{Command, error::ErrorKind};

use super::pages::{Page, all};

/// Asserts that all command lines of the program parse, and that at least so many were found.
pub fn all_parse(program: &str, definition: &Command, at_least: usize) {
    let pages = all();
    let found: usize = pages.values().map(|page| of_blocks(program, page).len()).sum();
    assert!(found >= at_least, "only {found} command lines were found");
    let stale: Vec<String> = pages.values().flat_map(|page| stale(program, definition, page)).collect();
    assert!(stale.is_empty(), "{stale:#?}");
}

/// The command lines that the program would refuse, and why.
pub fn stale(program: &str, definition: &Command, page: &Page) -> Vec<String> {
    let refused = |words: &[String]| {
        let kind = definition.clone().try_get_matches_from(words).err()?.kind();
        // Help is an error to clap.
        (!matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)).then_some(kind)
    };
    let told = |words: &[String], kind| format!("{}: `{}`: {kind}", page.path, words.join(" "));
    let whole = of_blocks(program, page)
        .into_iter()
        .filter_map(|words| refused(&words).map(|kind| told(&words, kind)));
    // A sentence names a command without its arguments, or with a placeholder for a number.
    let mentioned = page.words.iter().filter(|text| text.starts_with(&format!("{program} ")));
    let mentioned = mentioned.flat_map(|text| of_line(program, text)).filter_map(|words| {
        let kind = refused(&words)?;
        matches!(kind, ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand).then(|| told(&words, kind))
    });
    whole.chain(mentioned).collect()
}

/// The program's command lines in the page's code blocks.
fn of_blocks(program: &str, page: &Page) -> Vec<Vec<String>> {
    let lines = |(language, text): &(String, String)| -> Vec<String> {
        let text = text.replace("\\\n", " ");
        let typed = |line: &str| -> Option<String> {
            match language.as_str() {
                // The rest is output.
                "console" => {
                    // `a# ` is typed on host a.
                    let line = line.trim_start_matches(|c: char| c.is_ascii_lowercase());
                    line.strip_prefix("$ ").or(line.strip_prefix("# ")).map(str::to_owned)
                }
                "sh" | "bash" => Some(line.to_owned()),
                // Of a unit, and of a workflow.
                "ini" => line.strip_prefix("Exec").and_then(|line| Some(line.split_once('=')?.1.to_owned())),
                "yaml" => line.trim_start().strip_prefix("- run: ").map(str::to_owned),
                _ => None,
            }
        };
        text.lines().filter_map(typed).collect()
    };
    page.blocks.iter().flat_map(lines).flat_map(|line| of_line(program, &line)).collect()
}

/// The program's commands in a line of shell.
fn of_line(program: &str, line: &str) -> Vec<Vec<String>> {
    // What another command prints stands for one word. Operators are words of their own, so that `a | b` and `a; b` are
    // two commands.
    let (mut spaced, mut quote, mut nested) = (String::new(), None, 0_usize);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (_, '$') if quote != Some('\'') && chars.peek() == Some(&'(') => spaced.push_str("PRINTED"),
            (_, '(') if nested > 0 || spaced.ends_with("PRINTED") => nested += 1,
            (_, ')') if nested > 0 => nested -= 1,
            _ if nested > 0 => {}
            (None, '\'' | '"') => {
                quote = Some(c);
                spaced.push(c);
            }
            (None, '|' | ';' | '&' | '(' | ')' | '<' | '>') => spaced.extend([' ', c, ' ']),
            _ => {
                quote = quote.filter(|open| *open != c);
                spaced.push(c);
            }
        }
    }
    let Some(words) = shlex::split(&spaced) else { return Vec::new() };
    let is_operator = |word: &String| matches!(&**word, "|" | ";" | "&" | "(" | ")" | "<" | ">");
    let is_program = |word: &String| word == program || word.ends_with(&format!("/{program}"));
    // What may stand in front of a command.
    let leads = |word: &String| {
        matches!(&**word, "sudo" | "exec" | "while" | "until" | "if" | "then" | "do" | "!" | "time" | "nohup")
            || word
                .split_once('=')
                .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    };
    let command = |words: &[String]| -> Option<Vec<String>> {
        let at = words.iter().position(|word| !leads(word))?;
        // With the name of the other host.
        let at = if words[at] == "ssh" { at + 2 } else { at };
        is_program(words.get(at)?).then(|| words[at..].to_vec())
    };
    words.split(is_operator).filter_map(command).collect()
}
