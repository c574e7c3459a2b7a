//! `canhub-span serve`, and a host of its fleet that speaks another version of the protocol.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use canhub_span::hello::{Hello, PROTOCOL};

use super::*;

/// The program, killed at the end.
struct Program {
    process: Child,
    log: PathBuf,
}

impl Program {
    /// The host whose state folder this is.
    #[expect(clippy::disallowed_methods, reason = "a test starts the program")]
    fn serve(folder: &Path, listen: u16) -> Self {
        let (config, log) = (folder.join("span.toml"), folder.join("log"));
        let text = format!("state = \"{}\"\nlisten = [\"127.0.0.1:{listen}\"]\n", folder.display());
        fs::write(&config, text).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_canhub-span"))
            .args(["serve", "--log-format", "text", "--config"])
            .arg(&config)
            .arg("--socket")
            .arg(folder.join("control.sock"))
            .stdout(File::create(&log).unwrap())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self { process, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_of_two_protocol_versions_refuse_each_other_with_the_reason() {
    let (mut fleet, port) = (Fleet::new(), free_port());
    let folder = fleet.invite("bench", &["*"]);
    fleet.invite("cell", &["*"]);
    // The list that both have.
    Store::new(&folder).offer(fleet.ca.list().text()).unwrap();
    let bench = Program::serve(&folder, port);
    let mut cell = Host::open(&fleet.settings("cell", None, Some(port)), "body").await;

    let said = cell.hears(SOON, "bench", &Topic::Hello).await.unwrap();
    let ours = Hello::decode(&said).unwrap();
    // Each of two programs judges the other one's hello alike: this one meets a newer and an older one.
    for other in [PROTOCOL + 1, PROTOCOL - 1] {
        let hello = Hello { protocol: other, instance: 7, ..ours.clone() }.encode();
        let reason = format!(
            "cell is refused: it speaks version {other} of the protocol between hosts, \
             this host speaks version {PROTOCOL}: install the same canhub on both"
        );
        let until = Instant::now() + SOON;
        while !bench.log().contains(&reason) {
            assert!(Instant::now() < until, "the log does not say {reason:?}:\n{}", bench.log());
            cell.engine.send(&Topic::Hello, hello.clone()).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    assert!(!bench.log().contains("online"), "{}", bench.log());
    // With the same version it is online: nothing else kept it out.
    let hello = Hello { instance: 7, ..ours }.encode();
    let until = Instant::now() + SOON;
    while !bench.log().contains("online") {
        assert!(Instant::now() < until, "cell does not come online:\n{}", bench.log());
        cell.engine.send(&Topic::Hello, hello.clone()).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
