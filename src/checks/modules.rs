//! Kernel modules: does this kernel have each of them, and if not, which package contains it.

use super::{
    Files, Finding, Group, Level, Remedy, obstacles,
    packages::{is_of_a_product, package_of},
};

/// A module, what does not work without it, and its kernel configuration symbol.
type Needed = (&'static str, &'static str, &'static str);

/// The modules that a bus needs, what does not work without them, and their kernel configuration symbols.
const NEEDED: [Needed; 5] = [
    ("can", "programs cannot use CAN", "CONFIG_CAN"),
    ("can-raw", "programs cannot open CAN sockets", "CONFIG_CAN_RAW"),
    ("can-gw", "containers on a bus cannot exchange frames", "CONFIG_CAN_GW"),
    ("vcan", "canhub cannot create buses", "CONFIG_CAN_VCAN"),
    ("vxcan", "containers cannot get CAN interfaces", "CONFIG_CAN_VXCAN"),
];
/// The module that listens for expected frames.
const BROADCAST_MANAGER: Needed = ("can-bcm", "expected frames cannot be watched", "CONFIG_CAN_BCM");
/// Modules that only some buses need.
const FOR_SOME: [Needed; 2] = [
    (
        "sch_tbf",
        "containers are not paced, and frames are lost if they send faster than the adapter",
        "CONFIG_NET_SCH_TBF",
    ),
    ("sch_netem", "frames cannot be delayed, lost, duplicated or corrupted", "CONFIG_NET_SCH_NETEM"),
];
/// The module that the kernel does not load on first use.
const GATEWAY: &str = "can-gw";
/// Where systemd looks for the modules to load at boot.
const LOADED_AT_BOOT: [&str; 5] = [
    "/etc/modules-load.d",
    "/run/modules-load.d",
    "/usr/local/lib/modules-load.d",
    "/usr/lib/modules-load.d",
    "/lib/modules-load.d",
];
/// The file that `--fix` writes.
pub const AT_BOOT_FILE: &str = "/etc/modules-load.d/canhub.conf";
/// Its content, the same as that of the packages.
pub const AT_BOOT_TEXT: &str = include_str!("../../plugin/modules-load.conf");

/// Whether and how a kernel has a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Loaded.
    Loaded,
    /// Built in.
    BuiltIn,
    /// On disk.
    Loadable,
    /// Not available.
    Absent,
    /// Unknown, because the kernel's list of modules is missing.
    Unknown,
}

/// Checks each module. `forwards`: a bus has containers, so the rules must exist now.
pub fn look(files: &Files, forwards: bool) -> Vec<Finding> {
    let release = release(files);
    let mut findings = Vec::new();
    let mut unknown = Vec::new();
    for needed in NEEDED {
        match of(files, &release, needed, forwards) {
            Some(finding) => findings.push(finding),
            None => unknown.push(needed.0),
        }
    }
    findings.extend(unlisted(files, &release, &unknown));
    findings.extend(at_boot(files, presence(files, &release, GATEWAY)));
    findings
}

/// Checks the module that expectations need. `None`: it is unknown whether this kernel has it.
pub fn for_expectations(files: &Files) -> Option<Finding> {
    of(files, &release(files), BROADCAST_MANAGER, false)
}

/// What is wrong with the modules that every bus needs.
pub fn wrong(files: &Files) -> Vec<Finding> {
    look(files, false).into_iter().filter(|finding| finding.level == Level::Error).collect()
}

/// Why the kernel has refused what needs these modules, and the way out, in the words of `canhub doctor`. `None`: it has
/// all of them, so that is not why.
pub fn missing(files: &Files, modules: &[&str]) -> Option<String> {
    let release = release(files);
    let all = || NEEDED.into_iter().chain([BROADCAST_MANAGER]).chain(FOR_SOME);
    let of_module = |needed: Needed| match presence(files, &release, needed.0) {
        Presence::Loaded | Presence::BuiltIn => None,
        Presence::Loadable => Some(not_loaded(needed, obstacles::after(files, &release, needed.0))),
        Presence::Absent => of(files, &release, needed, false),
        Presence::Unknown => unlisted(files, &release, &[needed.0]),
    };
    all().filter(|(module, ..)| modules.contains(module)).find_map(of_module).map(|finding| finding.advice())
}

/// It is on disk, and stays there for this reason.
fn not_loaded((module, without, _): Needed, (why, what): (String, String)) -> Finding {
    let sentence = format!("{module} is on disk, but {why}, so {without}");
    Finding::error(Group::System, &format!("module-{module}"), sentence).hint(what)
}

/// `None`: it is unknown whether this kernel has the module.
fn of(files: &Files, release: &str, needed: Needed, forwards: bool) -> Option<Finding> {
    let (module, without, config) = needed;
    let check = format!("module-{module}");
    let pass = |sentence: String| Finding::pass(Group::System, &check, sentence);
    let error = |sentence: String| Finding::error(Group::System, &check, sentence);
    Some(match presence(files, release, module) {
        Presence::Loaded => pass(format!("{module} is loaded")),
        Presence::BuiltIn => pass(format!("{module} is built into the kernel")),
        Presence::Loadable
            if module == GATEWAY && forwards && obstacles::before(files, release, module).is_none() =>
        {
            error(format!("{module} is not loaded: {without} until it is"))
                .by(format!("modprobe {module}"))
                .by_doctor(Remedy::LoadModule(module.to_owned()))
        }
        Presence::Loadable => match obstacles::before(files, release, module) {
            Some(obstacle) => not_loaded(needed, obstacle),
            None => pass(format!("{module} is available and loads on first use")),
        },
        Presence::Absent => {
            let (why, fix) = package_of(files, release, module, config);
            error(format!("this kernel ({release}) has no {module}, so {without}{why}")).hint(fix)
        }
        Presence::Unknown => return None,
    })
}

/// Modules that are not loaded, if the kernel's list of modules is missing.
fn unlisted(files: &Files, release: &str, modules: &[&str]) -> Option<Finding> {
    let first = modules.first()?;
    let names = modules.join(", ");
    Some(match is_upgraded(files, release) {
        true => {
            let sentence = format!(
                "{names}: not loaded, and the modules of the running kernel ({release}) are no longer on disk: the kernel was upgraded"
            );
            Finding::error(Group::System, &format!("module-{first}"), sentence).hint("reboot")
        }
        false => {
            let (why, fix) = match is_of_a_product(release) {
                true => package_of(files, release, first, "CONFIG_CAN"),
                false => ("", format!("try `modprobe --all {}`", modules.join(" "))),
            };
            let sentence = format!(
                "cannot tell whether this kernel ({release}) has {names}: /lib/modules/{release} does not exist{why}"
            );
            Finding::warning(Group::System, "modules", sentence).hint(fix)
        }
    })
}

/// The running kernel's release, as `uname -r` prints it.
pub fn release(files: &Files) -> String {
    files.text("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into())
}

/// Whether and how the running kernel has a module.
pub fn presence(files: &Files, release: &str, module: &str) -> Presence {
    let name = module.replace('-', "_");
    let begins = format!("{name} ");
    let loaded = files.text("/proc/modules").unwrap_or_default();
    if loaded.lines().any(|line| line.starts_with(&begins)) {
        return Presence::Loaded;
    }
    if files.has(format!("/sys/module/{name}")) {
        return Presence::BuiltIn;
    }
    let lists = |file: &str| {
        let text = files.text(format!("/lib/modules/{release}/{file}"))?;
        Some(text.lines().any(|line| is_of(line, &name)))
    };
    match (lists("modules.builtin"), lists("modules.dep")) {
        (Some(true), _) => Presence::BuiltIn,
        (_, Some(true)) => Presence::Loadable,
        (None, None) => Presence::Unknown,
        _ => Presence::Absent,
    }
}

/// The file of a module that is on disk, by modules.dep.
pub(super) fn file_of(files: &Files, release: &str, module: &str) -> Option<String> {
    let folder = format!("/lib/modules/{release}");
    let text = files.text(format!("{folder}/modules.dep"))?;
    let name = module.replace('-', "_");
    let line = text.lines().find(|line| is_of(line, &name))?;
    Some(format!("{folder}/{}", line.split(':').next()?))
}

/// Whether a line of modules.dep or modules.builtin starts with the file of this module.
fn is_of(line: &str, name: &str) -> bool {
    let file = line.split(':').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    // can-gw.ko, can-gw.ko.xz, can-gw.ko.zst
    file.split_once(".ko").is_some_and(|(stem, _)| stem.replace('-', "_") == name)
}

/// The running kernel has no modules on disk, but another one does.
fn is_upgraded(files: &Files, release: &str) -> bool {
    // A kernel that loaded modules has them as files; a monolithic kernel has none to lose.
    let is_modular = files.text("/proc/modules").is_some_and(|modules| !modules.is_empty());
    is_modular && files.names("/lib/modules").iter().any(|other| other != release)
}

fn at_boot(files: &Files, gateway: Presence) -> Option<Finding> {
    if !matches!(gateway, Presence::Loaded | Presence::Loadable) {
        return None;
    }
    let loads = |text: &str| text.lines().any(|line| line.trim().replace('_', "-") == GATEWAY);
    let mut texts = LOADED_AT_BOOT.iter().flat_map(|folder| {
        let names = files.names(folder).into_iter().filter(|name| name.ends_with(".conf"));
        names.filter_map(move |name| files.text(format!("{folder}/{name}")))
    });
    let check = "modules-at-boot";
    Some(if texts.any(|text| loads(&text)) || files.text("/etc/modules").is_some_and(|text| loads(&text)) {
        Finding::pass(Group::System, check, format!("{GATEWAY} is loaded at each boot"))
    } else {
        let sentence = format!(
            "{GATEWAY} is not loaded at boot: canhub loads it when the first container joins, which fails without CAP_SYS_MODULE"
        );
        Finding::warning(Group::System, check, sentence)
            .by(format!("echo {GATEWAY} > {AT_BOOT_FILE}"))
            .by_doctor(Remedy::LoadAtBoot)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Level;

    const RELEASE: &str = "6.12.1-amd64";

    fn machine(dir: &tempfile::TempDir) -> Files {
        Files::under(dir.path())
            .with("/proc/sys/kernel/osrelease", &format!("{RELEASE}\n"))
            .with("/proc/modules", "can_raw 1 0 - Live 0x0\ncan 2 1 can_raw, Live 0x0\n")
            .with(&format!("/lib/modules/{RELEASE}/modules.builtin"), "kernel/drivers/net/can/vcan.ko\n")
            .with(
                &format!("/lib/modules/{RELEASE}/modules.dep"),
                "kernel/net/can/can-gw.ko.xz: kernel/net/can/can.ko.xz\nkernel/drivers/net/can/vxcan.ko.zst:\n",
            )
            .with("/usr/lib/modules-load.d/canhub.conf", "# words\ncan-gw\n")
            .with("/etc/os-release", "ID=debian\n")
    }

    fn the<'a>(findings: &'a [Finding], check: &str) -> &'a Finding {
        findings
            .iter()
            .find(|finding| finding.check == check)
            .unwrap_or_else(|| panic!("{check}: {findings:#?}"))
    }

    #[test]
    fn a_kernel_with_all_modules_passes_whether_loaded_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let files = machine(&dir);
        let presences =
            ["can", "can-raw", "can-gw", "vcan", "vxcan"].map(|name| presence(&files, RELEASE, name));
        use Presence::{BuiltIn, Loadable, Loaded};
        assert_eq!(presences, [Loaded, Loaded, Loadable, BuiltIn, Loadable]);
        let findings = look(&files, false);
        assert!(findings.iter().all(|finding| finding.level == Level::Pass), "{findings:#?}");
        assert_eq!(findings.len(), 6);
    }

    #[test]
    fn can_gw_not_loaded_is_an_error_once_containers_need_it() {
        let dir = tempfile::tempdir().unwrap();
        let findings = look(&machine(&dir), true);
        let gateway = the(&findings, "module-can-gw");
        assert_eq!(
            (gateway.level, gateway.remedy.clone()),
            (Level::Error, Some(Remedy::LoadModule("can-gw".into())))
        );
        assert_eq!(gateway.fix.as_deref(), Some("modprobe can-gw"));
    }

    #[test]
    fn a_missing_module_is_reported_with_its_package() {
        for (release, system, fix) in [
            ("6.8.0-31-generic", "ID=ubuntu\nID_LIKE=debian\n", "linux-modules-extra-$(uname -r)"),
            ("6.11.0-1018-azure", "ID=ubuntu\nID_LIKE=debian\n", "linux-modules-extra-$(uname -r)"),
            ("6.8.0", "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "linux-modules-extra-$(uname -r)"),
            ("6.12.1-amd64", "ID=debian\n", "--reinstall linux-image-$(uname -r)"),
            ("6.12.1-cloud-amd64", "ID=debian\n", "remove linux-image-cloud-"),
            ("6.9.1-200.fc40", "ID=fedora\n", "kernel-modules-extra"),
            ("5.14.0-1.el9", "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "kernel-modules-extra"),
            ("6.6.1+rpt-rpi-v8", "ID=debian\n", "full-upgrade"),
            ("5.15.1-microsoft-standard-WSL2", "ID=ubuntu\n", ".wslconfig"),
            ("6.6.1-linuxkit", "ID=alpine\n", "Docker Engine"),
            ("6.6.1", "ID=gentoo\n", "CONFIG_CAN_VXCAN"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let files = Files::under(dir.path())
                .with("/proc/sys/kernel/osrelease", release)
                .with(&format!("/lib/modules/{release}/modules.dep"), "kernel/net/can/can-gw.ko:\n")
                .with(&format!("/var/lib/dpkg/info/linux-image-{release}.list"), "")
                .with("/etc/os-release", system);
            let findings = look(&files, false);
            let vxcan = the(&findings, "module-vxcan");
            assert_eq!((vxcan.level, vxcan.is_fixable()), (Level::Error, false));
            assert!(vxcan.sentence.contains("containers cannot get CAN interfaces"), "{}", vxcan.sentence);
            assert!(
                vxcan.hint.as_ref().is_some_and(|text| text.contains(fix)),
                "{release}: {:?}",
                vxcan.hint
            );
        }
    }

    #[test]
    fn a_kernel_that_no_package_of_the_distribution_brought_is_the_vendors() {
        for (release, system) in
            [("5.15.148-tegra", "ID=ubuntu\nID_LIKE=debian\n"), ("6.1.43-rockchip", "ID=debian\n")]
        {
            let dir = tempfile::tempdir().unwrap();
            let files = Files::under(dir.path())
                .with("/proc/sys/kernel/osrelease", release)
                .with(&format!("/lib/modules/{release}/modules.dep"), "kernel/net/can/can-gw.ko:\n")
                .with("/var/lib/dpkg/info/linux-image-6.8.0-31-generic.list", "")
                .with("/etc/os-release", system);
            let findings = look(&files, false);
            let Finding { sentence, hint, .. } = the(&findings, "module-vxcan");
            assert!(sentence.contains(release) && sentence.contains("board's vendor"), "{sentence}");
            let hint = hint.as_ref().unwrap();
            assert!(hint.contains("CONFIG_CAN_VXCAN=m") && !hint.contains("apt"), "{hint}");
        }
    }

    #[test]
    fn a_refusal_of_the_kernel_is_explained_in_the_words_of_doctor() {
        let dir = tempfile::tempdir().unwrap();
        let files = machine(&dir);
        assert_eq!(missing(&files, &["can-raw", "vcan"]), None, "loaded and built in");
        let found =
            the(&look(&files.with("/lib/modules/6.12.1-amd64/modules.dep", ""), false), "module-vxcan")
                .advice();
        let told = missing(&Files::under(dir.path()), &["vcan", "vxcan"]).unwrap();
        assert_eq!(told, found);
        assert!(
            told.contains("this kernel (6.12.1-amd64) has no vxcan") && told.ends_with("-$(uname -r)`"),
            "{told}"
        );

        let dir = tempfile::tempdir().unwrap();
        let files = machine(&dir).with("/etc/modprobe.d/cis.conf", "install can-gw /bin/false\n");
        let found = the(&look(&files, true), "module-can-gw").clone();
        assert_eq!((found.level, found.is_fixable()), (Level::Error, false));
        assert_eq!(missing(&files, &["can-gw"]), Some(found.advice()));
        assert!(found.sentence.contains("/etc/modprobe.d/cis.conf keeps it"), "{}", found.sentence);
        assert_eq!(wrong(&files), [found]);
    }

    #[test]
    fn expectations_need_a_module_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let missing = for_expectations(&machine(&dir)).unwrap();
        assert_eq!((missing.level, &*missing.check), (Level::Error, "module-can-bcm"));
        assert!(missing.sentence.contains("so expected frames cannot be watched"), "{}", missing.sentence);
        let files = machine(&dir).with("/proc/modules", "can_bcm 1 0 - Live 0x0\n");
        assert_eq!(for_expectations(&files).unwrap().level, Level::Pass);
    }

    #[test]
    fn a_kernel_whose_modules_were_replaced_needs_a_reboot() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::under(dir.path())
            .with("/proc/sys/kernel/osrelease", "6.1.0-1")
            .with("/lib/modules/6.1.0-2/modules.dep", "");
        assert_eq!(the(&look(&files, false), "modules").level, Level::Warning, "a monolithic kernel");
        let files = files.with("/proc/modules", "ext4 1 0 - Live 0x0\n");
        let findings = look(&files, false);
        let can = the(&findings, "module-can");
        assert_eq!((can.level, can.hint.as_deref()), (Level::Error, Some("reboot")));
        // Unknown: neither a false alarm nor a false pass.
        let dir = tempfile::tempdir().unwrap();
        let findings = look(&Files::under(dir.path()).with("/proc/sys/kernel/osrelease", "6.1.0-1"), false);
        assert_eq!(the(&findings, "modules").level, Level::Warning);
        let dir = tempfile::tempdir().unwrap();
        let release = "5.15.1-microsoft-standard-WSL2";
        let findings = look(&Files::under(dir.path()).with("/proc/sys/kernel/osrelease", release), false);
        let unlisted = the(&findings, "modules");
        assert!(unlisted.sentence.contains("WSL2 is built without CAN"), "{}", unlisted.sentence);
        assert!(unlisted.hint.as_ref().is_some_and(|hint| hint.contains(".wslconfig")));
    }

    #[test]
    fn can_gw_not_loaded_at_boot_is_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let files = machine(&dir).with("/usr/lib/modules-load.d/canhub.conf", "#can-gw\ncan\n");
        let findings = look(&files, false);
        let boot = the(&findings, "modules-at-boot");
        assert_eq!((boot.level, boot.remedy.clone()), (Level::Warning, Some(Remedy::LoadAtBoot)));
        let files = files.with("/etc/modules-load.d/mine.conf", "can_gw\n");
        assert_eq!(the(&look(&files, false), "modules-at-boot").level, Level::Pass);
    }

    #[test]
    fn the_file_that_fix_writes_loads_all_modules() {
        for (module, ..) in NEEDED.into_iter().chain([BROADCAST_MANAGER]) {
            assert!(AT_BOOT_TEXT.lines().any(|line| line == module), "{module}");
        }
    }
}
