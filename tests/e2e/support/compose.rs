//! Compose projects.

use std::fs;

use super::{
    docker::{Container, Network, docker, try_docker},
    scene::unique,
    shell::not_run,
};

/// Whether the engine has `docker compose`. Returns false, and prints why, if not.
#[must_use]
pub fn is_there(test: &str) -> bool {
    let version = try_docker(&["compose", "version"]);
    if version.is_err() {
        not_run(test, "this engine has no `docker compose`");
    }
    version.is_ok()
}

/// A Compose file that is up, until dropped.
pub struct Project {
    name: String,
    file: tempfile::TempPath,
}

impl Project {
    /// Writes the file, without starting it.
    pub fn new(yaml: &str) -> Self {
        let file = tempfile::NamedTempFile::with_suffix(".yaml").expect("/tmp is writable");
        fs::write(file.path(), yaml).expect("/tmp is writable");
        Self { name: unique("compose"), file: file.into_temp_path() }
    }

    /// Runs `docker compose` with these arguments. Returns its output or error.
    pub fn compose(&self, args: &[&str]) -> Result<String, String> {
        let file = self.file.to_string_lossy();
        try_docker(&[&["compose", "--project-name", &self.name, "--file", &file], args].concat())
    }

    /// Starts all services.
    #[track_caller]
    pub fn up(&self) {
        self.compose(&["up", "--detach"]).unwrap_or_else(|err| panic!("{err}"));
    }

    /// The running containers.
    #[track_caller]
    pub fn containers(&self) -> Vec<Container> {
        let ids = self.compose(&["ps", "--quiet"]).unwrap_or_else(|err| panic!("{err}"));
        ids.lines().map(Container::running).collect()
    }

    /// One of its networks.
    #[track_caller]
    pub fn network(&self, name: &str) -> Network {
        let name = format!("{}_{name}", self.name);
        let id = docker(&["network", "inspect", "--format", "{{.Id}}", &name]);
        Network { name, id }
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = self.compose(&["down", "--timeout", "0"]);
    }
}
