//! `canhub man` and `canhub-span man`: man pages, generated from `--help`.

use std::{fs, io, path::PathBuf};

use clap::{Args, Command};
use clap_mangen::Man as Page;

/// Print the man page
#[derive(Debug, Args)]
pub struct Man {
    /// Write a page for the program and one per command to this folder instead
    folder: Option<PathBuf>,
}

impl Man {
    /// Writes the page of this program, or all of them to the folder.
    ///
    /// # Errors
    /// One sentence: the folder cannot be written.
    pub fn run(self, command: Command) -> Result<(), String> {
        let written = match &self.folder {
            None => Page::new(command).render(&mut io::stdout()),
            Some(folder) => {
                fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder))
            }
        };
        match (written, self.folder) {
            (Err(err), Some(folder)) => Err(format!("cannot write man pages to {}: {err}", folder.display())),
            // Ignore a reader that has closed the pipe (`| head`).
            _ => Ok(()),
        }
    }
}
