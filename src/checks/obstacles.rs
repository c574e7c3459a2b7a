//! Why the kernel does not load a module that is on disk: settings of modprobe, or a signature that it does not trust.

use super::{Files, modules::file_of};

/// Where modprobe looks for settings (`modprobe.d(5)`).
const SETTINGS: [&str; 5] = [
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
];
/// The end of a signed module (`MODULE_SIG_STRING` in `include/linux/module_signature.h`).
const SIGNED: &str = "~Module signature appended~";
/// `CAP_SYS_MODULE`, as a bit of `CapEff`.
const SYS_MODULE: u32 = 16;
/// What to do about a module whose signature the kernel does not trust.
const SIGN: &str = "sign it and enroll the key (`mokutil --import`), install a kernel that brings the module, or turn Secure Boot off";

/// What is in the way of this module, and what to do; `None` if nothing is known to be.
pub(super) fn before(files: &Files, release: &str, module: &str) -> Option<(String, String)> {
    forbidden(files, module).or_else(|| {
        let path = file_of(files, release, module)?;
        // The text of a compressed module ends otherwise, signed or not.
        let unsigned = path.ends_with(".ko") && !files.text(&path)?.ends_with(SIGNED);
        let why = format!("{path} is not signed, and this kernel only loads signed modules (Secure Boot)");
        (unsigned && trusts_only_signed(files)).then(|| (why, SIGN.to_owned()))
    })
}

/// The same after the kernel did not load it. Somewhat of a guess: only modprobe and the kernel's log know.
pub(super) fn after(files: &Files, release: &str, module: &str) -> (String, String) {
    if let Some(known) = before(files, release, module) {
        return known;
    }
    let why = "the kernel did not load it".to_owned();
    let by_hand = format!("`modprobe {module}` as root on the host shows why");
    if lacks_sys_module(files) {
        return (format!("{why} for canhub, which has no CAP_SYS_MODULE here"), by_hand);
    }
    let hint = match trusts_only_signed(files) {
        true => format!("{by_hand}; if it is `Key was rejected by service` (Secure Boot), {SIGN}"),
        false => by_hand,
    };
    (why, hint)
}

/// A line for modprobe that keeps a module from being loaded, by this name or by an alias.
fn forbidden(files: &Files, module: &str) -> Option<(String, String)> {
    let name = |word: &str| word.replace('-', "_");
    let forbids = |line: &str| {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("blacklist"), Some(of), _) => name(of) == name(module),
            (Some("install"), Some(of), Some(command)) => {
                let program = command.rsplit('/').next();
                name(of) == name(module) && matches!(program, Some("false" | "true" | ":"))
            }
            _ => false,
        }
    };
    let of_folder = |folder: &str| {
        let names = files.names(folder).into_iter().filter(|name| name.ends_with(".conf"));
        let mut paths = names.map(|name| format!("{folder}/{name}"));
        paths.find_map(|path| {
            Some((files.text(&path)?.lines().find(|line| forbids(line))?.trim().to_owned(), path))
        })
    };
    let (line, path) = SETTINGS.iter().find_map(|folder| of_folder(folder))?;
    Some((
        format!("{path} keeps it from being loaded (`{line}`)"),
        format!("remove that line, then `modprobe {module}`"),
    ))
}

/// The kernel refuses modules that no key in its keyrings has signed.
fn trusts_only_signed(files: &Files) -> bool {
    let is = |path: &str, marks: &[&str]| {
        files.text(path).is_some_and(|text| marks.iter().any(|mark| text.contains(mark)))
    };
    is("/sys/module/module/parameters/sig_enforce", &["Y"])
        || is("/sys/kernel/security/lockdown", &["[integrity]", "[confidentiality]"])
}

fn lacks_sys_module(files: &Files) -> bool {
    super::system::capabilities(files).is_some_and(|mask| mask & (1 << SYS_MODULE) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: &str = "6.12.1-amd64";

    fn machine(dir: &tempfile::TempDir, file: &str, content: &str) -> Files {
        Files::under(dir.path())
            .with(&format!("/lib/modules/{RELEASE}/modules.dep"), &format!("{file}: kernel/net/can/can.ko\n"))
            .with(&format!("/lib/modules/{RELEASE}/{file}"), content)
    }

    #[test]
    fn settings_of_modprobe_that_forbid_a_module_are_named() {
        for (line, forbids) in [
            ("install vxcan /bin/false", true),
            ("  install vxcan /usr/bin/true", true),
            ("blacklist vxcan", true),
            ("# blacklist vxcan", false),
            ("install vcan /bin/false", false),
            ("install vxcan /sbin/modprobe --ignore-install vxcan", false),
            ("options vxcan x=1", false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let files = machine(&dir, "kernel/drivers/net/can/vxcan.ko.xz", "")
                .with("/etc/modprobe.d/hardening.conf", &format!("# CIS\n{line}\n"));
            let found = before(&files, RELEASE, "vxcan");
            assert_eq!(found.is_some(), forbids, "{line}: {found:?}");
            if let Some((why, hint)) = found {
                assert!(why.contains("/etc/modprobe.d/hardening.conf") && why.contains(line.trim()), "{why}");
                assert!(hint.contains("modprobe vxcan"), "{hint}");
            }
        }
    }

    #[test]
    fn an_unsigned_module_is_named_only_where_the_kernel_wants_a_signature() {
        let signed = format!("\u{7f}ELF…{SIGNED}\n");
        for (file, content, enforced, found) in [
            ("updates/vxcan.ko", "\u{7f}ELF", true, true),
            ("updates/vxcan.ko", "\u{7f}ELF", false, false),
            ("updates/vxcan.ko", &*signed, true, false),
            // Whether it is signed cannot be seen.
            ("updates/dkms/vxcan.ko.xz", "xz", true, false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let mode = if enforced { "none [integrity] confidentiality" } else { "[none] integrity" };
            let files = machine(&dir, file, content).with("/sys/kernel/security/lockdown", mode);
            assert_eq!(before(&files, RELEASE, "vxcan").is_some(), found, "{file} {enforced}");
            let (_, hint) = after(&files, RELEASE, "vxcan");
            assert_eq!(hint.contains("mokutil --import"), enforced, "{hint}");
        }
    }

    #[test]
    fn without_cap_sys_module_the_module_must_be_loaded_on_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let of = |mask: &str| {
            let files = machine(&dir, "kernel/net/can/can-gw.ko", "");
            after(&files.with("/proc/self/status", &format!("CapEff:\t{mask}\n")), RELEASE, "can-gw")
        };
        assert!(of("0000000000201000").0.contains("no CAP_SYS_MODULE"));
        let (why, hint) = of("000001ffffffffff");
        assert_eq!(why, "the kernel did not load it");
        assert!(hint.contains("`modprobe can-gw`"), "{hint}");
    }
}
