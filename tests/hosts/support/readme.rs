//! The commands of `docs/hosts.md`, and some of the README, as a person types them.

use super::{
    fleet::{project, with_input},
    guest::Guest,
};

/// The page on several hosts.
const PAGE: &str = "docs/hosts.md";
/// The address of the first host there.
const ADDRESS: &str = "192.0.2.1";

/// The README's block of shell commands in which these words are, for root.
#[track_caller]
pub fn block_with(words: &str) -> String {
    let readme = std::fs::read_to_string(project().join("README.md")).expect("there is a README");
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let found = blocks.into_iter().find(|block| block.contains(words));
    found.unwrap_or_else(|| panic!("README has no shell commands with {words:?}")).replace("sudo ", "")
}

/// The commands of the page's first block, and what they print.
#[derive(Debug)]
pub struct Path {
    /// In their order.
    pub commands: Vec<Typed>,
}

/// A command at the prompt of a host, `a#` or `b#`.
#[derive(Debug)]
pub struct Typed {
    /// 0 for `a`, 1 for `b`.
    pub host: usize,
    /// The command.
    pub text: String,
    /// The lines that follow it.
    pub prints: Vec<String>,
}

impl Path {
    /// Reads them.
    #[track_caller]
    pub fn read() -> Self {
        let page = std::fs::read_to_string(project().join(PAGE)).expect("there is a page");
        let block = page.split("```console\n").nth(1).and_then(|rest| rest.split("```").next());
        let mut commands: Vec<Typed> = Vec::new();
        for line in block.unwrap_or_else(|| panic!("{PAGE} has no block of commands")).lines() {
            let typed = line.split_once("# ").and_then(|(prompt, text)| {
                let host = ["a", "b"].iter().position(|name| *name == prompt)?;
                // A remark after the command is not typed.
                let text = text.split("   #").next().unwrap_or_default().trim_end().to_owned();
                Some(Typed { host, text, prints: Vec::new() })
            });
            match (typed, commands.last_mut()) {
                (Some(typed), _) => commands.push(typed),
                (None, Some(last)) => last.prints.push(line.trim().to_owned()),
                (None, None) => panic!("{PAGE}: {line:?} is no command"),
            }
        }
        Self { commands }
    }

    /// The command with the real address of the first host.
    pub fn text(&self, command: &Typed, guests: &[Guest]) -> String {
        command.text.replace(ADDRESS, &guests[0].address())
    }

    /// Types a command and waits for its end. `… | ssh b …` is what it says, without ssh.
    #[track_caller]
    pub fn carry_out(&self, command: &Typed, guests: &[Guest]) -> String {
        let text = self.text(command, guests);
        let said = match text.split_once(" | ssh b ") {
            None => guests[command.host].try_sh(&text),
            Some((here, there)) => {
                let output = guests[command.host].sh(here);
                with_input(&guests[1], there, &output)
            }
        };
        said.unwrap_or_else(|err| panic!("{PAGE}: {err}"))
    }
}
