//! `--fix`: applies the safe fixes, and only to what is canhub's.
//!
//! Never restarts Docker or canhub, and never deletes a network or a foreign rule.

use std::{collections::BTreeSet, fs, path::Path, process::Command, sync::Arc, time::Duration};

use hyper::Method;
use serde::Deserialize;

use super::{
    Doctor,
    examine::blocking,
    report::{RemedyOutcome, RemedyResult},
};
use crate::{
    admin::HEAL_TIME_LIMIT,
    apply::Repair,
    checks::{
        Files, Finding, Level, Remedy, backlog,
        modules::{self, AT_BOOT_FILE, AT_BOOT_TEXT, Presence},
        system::PRIVILEGES,
        units::{self, ORDER_FILE, ORDER_TEXT},
    },
    cli::{Failed, ask::parsed},
    http::socket::remove_stale,
    kernel::{Linux, boot_id, request_module},
    lock::{INSTANCE_DIR, Lock},
    manager::Manager,
    rustycan4docker,
    state::Store,
};

/// Longer than the server's limit, so that its response always arrives.
const HEAL_LIMIT: Duration = Duration::from_secs(HEAL_TIME_LIMIT.as_secs() + 5);

/// Describes a fix in the output.
fn describe(remedy: &Remedy) -> String {
    match remedy {
        Remedy::LoadModule(module) => format!("load the kernel module {module}"),
        Remedy::LoadAtBoot => format!("write {AT_BOOT_FILE} to load the modules at boot"),
        Remedy::RaiseBacklog(size) => format!("raise net.core.netdev_max_backlog to {size}"),
        Remedy::RemoveSocket(path) => format!("remove the stale socket {}", path.display()),
        Remedy::Import(path) => format!("import the networks in {}", path.display()),
        Remedy::Heal => "heal the buses and repair the records".into(),
        Remedy::Order => format!("write {ORDER_FILE} to start canhub before Docker"),
        Remedy::Enable => "enable canhub's units".into(),
    }
}

impl Doctor {
    /// Applies the remedies of the findings or, with `--dry-run`, describes them.
    pub(super) async fn apply_remedies(&self, files: &Files, findings: &[Finding]) -> Vec<RemedyResult> {
        let mut remedies: BTreeSet<Remedy> =
            findings.iter().filter_map(|finding| finding.remedy.clone()).collect();
        let unprivileged = |finding: &Finding| finding.check == PRIVILEGES && finding.level != Level::Pass;
        if !self.dry_run && !remedies.is_empty() && findings.iter().any(unprivileged) {
            return vec![RemedyResult::new(
                "apply fixes".into(),
                Err("needs root: run `sudo canhub doctor --fix`".into()),
            )];
        }
        if remedies.iter().any(|remedy| matches!(remedy, Remedy::Import(_))) {
            // Healing loads the imported networks.
            remedies.insert(Remedy::Heal);
        }
        let mut done = Vec::new();
        for remedy in remedies {
            let action = describe(&remedy);
            if self.dry_run {
                done.push(RemedyResult { action, outcome: RemedyOutcome::Would, text: None });
                continue;
            }
            match remedy {
                Remedy::Heal => match self.heal().await {
                    Ok(mended) => done.extend(heal_results(action, mended)),
                    Err(why) => done.push(RemedyResult::new(action, Err(why))),
                },
                Remedy::RemoveSocket(path) => {
                    let removed = remove_stale(&path).await.map_err(|err| err.to_string());
                    done.push(RemedyResult::new(action, removed));
                }
                Remedy::RaiseBacklog(size) => {
                    let raised = backlog::raise(files, size);
                    let kept = raised.is_ok().then(|| backlog::after_reboot(files, size));
                    let result = RemedyResult::new(action, raised);
                    done.push(RemedyResult { text: kept.or(result.text), ..result });
                }
                other => {
                    let (files, state_dir) = (files.clone(), self.state_dir());
                    let outcome = blocking(move || apply_remedy(&other, &files, &state_dir)).await;
                    done.push(RemedyResult::new(action, outcome.and_then(|outcome| outcome)));
                }
            }
        }
        done
    }

    /// Heals through the daemon if it runs, otherwise here, holding the lock of the instance: rules never have two
    /// writers.
    async fn heal(&self) -> Result<Vec<Repair>, String> {
        #[derive(Deserialize)]
        struct Answer {
            done: Vec<Repair>,
        }
        match self.admin.ask(Method::POST, "/v1/heal", HEAL_LIMIT).await {
            Ok(body) => parsed::<Answer>(&body).map(|answer| answer.done),
            Err(Failed::Because(why)) => Err(why),
            Err(Failed::Unreachable { .. } | Failed::Found) => {
                let (driver, folder) = (self.driver(), self.state_dir());
                blocking(move || heal_here(&driver, &folder)).await?
            }
        }
    }
}

fn heal_here(driver: &str, folder: &Path) -> Result<Vec<Repair>, String> {
    if !folder.is_dir() {
        return Err(format!("no records in {}: name the folder with --state-dir", folder.display()));
    }
    let busy = || {
        "canhub is running but does not answer, and only one process may change rules: run `systemctl restart canhub`".to_owned()
    };
    let locked = |lock: std::io::Result<Option<Lock>>| lock.map_err(|err| err.to_string())?.ok_or_else(busy);
    let _instance = locked(Lock::of_instance(Path::new(INSTANCE_DIR), driver))?;
    let _records = locked(Lock::of_state(folder))?;
    let unreadable = Store::observing(folder, boot_id()).load().warnings;
    let manager =
        Manager::new(Arc::new(Linux::new(driver)), Store::new(folder, boot_id()), Files::default(), true);
    let mut mended = manager.heal().map_err(|err| err.to_string())?;
    // Loading has already renamed an unreadable file.
    mended.extend(unreadable.into_iter().map(|warning| Repair {
        network_name: None,
        interface: "state.json".into(),
        reason: warning,
        did: "rename the unreadable file".into(),
        err: None,
    }));
    Ok(mended)
}

fn heal_results(action: String, mended: Vec<Repair>) -> Vec<RemedyResult> {
    if mended.is_empty() {
        return vec![RemedyResult {
            action,
            outcome: RemedyOutcome::Done,
            text: Some("nothing to do".into()),
        }];
    }
    let one = |Repair { network_name, interface, reason, did, err }: Repair| {
        let bus = network_name.map(|name| format!(" of bus {name}")).unwrap_or_default();
        let action = format!("{did}{bus}: {reason} ({interface})");
        RemedyResult::new(action, err.map_or(Ok(()), Err))
    };
    mended.into_iter().map(one).collect()
}

fn apply_remedy(remedy: &Remedy, files: &Files, state_dir: &Path) -> Result<(), String> {
    match remedy {
        Remedy::LoadModule(module) => load_module(files, module),
        Remedy::LoadAtBoot => write(files, AT_BOOT_FILE, AT_BOOT_TEXT),
        Remedy::Import(path) => {
            let text = fs::read_to_string(path).map_err(|err| err.to_string())?;
            let networks = rustycan4docker::parse(&text)?;
            rustycan4docker::import(&Store::new(state_dir, boot_id()), &networks).map(drop)
        }
        Remedy::Order => {
            write(files, ORDER_FILE, ORDER_TEXT)?;
            systemctl(&["daemon-reload"])
        }
        Remedy::Enable => systemctl(&[&["enable", "--quiet"], units::to_enable(files)].concat()),
        Remedy::Heal | Remedy::RaiseBacklog(_) | Remedy::RemoveSocket(_) => Ok(()),
    }
}

fn load_module(files: &Files, module: &str) -> Result<(), String> {
    request_module(module);
    match modules::presence(files, &modules::release(files), module) {
        Presence::Loaded | Presence::BuiltIn => Ok(()),
        _ => {
            let why = modules::missing(files, &[module]);
            Err(why.unwrap_or_else(|| format!("`modprobe {module}` as root shows why")))
        }
    }
}

fn write(files: &Files, path: &str, text: &str) -> Result<(), String> {
    let at = files.path(path);
    let written = at.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&at, text));
    written.map_err(|err| err.to_string())
}

#[allow(
    clippy::disallowed_methods,
    reason = "runs for a person, not for Docker, and only systemd can enable units"
)]
fn systemctl(args: &[&str]) -> Result<(), String> {
    let output = Command::new("systemctl").args(args).output().map_err(|err| format!("systemctl: {err}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_loaded_first_and_imported_networks_are_healed() {
        let order = [Remedy::LoadModule("can-gw".into()), Remedy::Import("/x".into()), Remedy::Heal];
        assert!(order.is_sorted());
    }

    #[test]
    fn missing_folders_are_created() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::under(dir.path());
        apply_remedy(&Remedy::LoadAtBoot, &files, Path::new("/nowhere")).unwrap();
        assert_eq!(files.text(AT_BOOT_FILE).as_deref(), Some(AT_BOOT_TEXT.trim()));
    }
}
