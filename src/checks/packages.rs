//! Which package contains a missing kernel module: it differs per distribution, and some kernels have none.

use super::Files;

/// Kernels of products that are known to be built without CAN.
pub(super) fn is_of_a_product(release: &str) -> bool {
    ["microsoft", "linuxkit"].iter().any(|mark| release.contains(mark))
}

/// Whether the distribution's package brought this kernel. Where there is no list of packages, it is assumed.
fn is_packaged(files: &Files, release: &str) -> bool {
    let lists = "/var/lib/dpkg/info";
    let names = ["linux-image", "linux-image-unsigned", "linux-modules"];
    !files.has(lists) || names.iter().any(|name| files.has(format!("{lists}/{name}-{release}.list")))
}

/// Why a module is missing, as the end of a sentence, and how to get it.
pub(super) fn package_of(files: &Files, release: &str, module: &str, config: &str) -> (&'static str, String) {
    let system = files.text("/etc/os-release").unwrap_or_default();
    let is = |name: &str| {
        let words =
            system.lines().filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")));
        words.flat_map(|words| words.split(['"', ' ', '\''])).any(|word| word == name)
    };
    let has = |mark: &str| release.contains(mark);
    if has("microsoft") {
        return (
            "; the kernel of WSL2 is built without CAN",
            format!("build WSL2's kernel with {config}=m and name it in .wslconfig"),
        );
    }
    if has("linuxkit") {
        return (
            "; the virtual machine of Docker Desktop is built without CAN",
            "use Docker Engine on a Linux machine instead".into(),
        );
    }
    if has("rpt") || has("rpi") || has("-v7") || has("-v8") {
        return (
            if module == "vxcan" { "; Raspberry Pi kernels have vxcan since September 2026" } else { "" },
            "run `apt update && apt full-upgrade && reboot`".into(),
        );
    }
    if (is("ubuntu") || is("debian")) && !is_packaged(files, release) {
        return (
            "; it is a kernel of the board's vendor or your own",
            format!(
                "build the module from the source of this kernel with {config}=m, ask its vendor for it, or boot a kernel of the distribution"
            ),
        );
    }
    if is("ubuntu") {
        return ("", "run `apt install linux-modules-extra-$(uname -r)`".into());
    }
    if is("debian") && has("cloud") {
        return (
            "; Debian's cloud kernel is built without CAN",
            "run `apt install linux-image-$(dpkg --print-architecture)`, remove linux-image-cloud-* so that it does not boot first, and reboot".into(),
        );
    }
    if is("debian") {
        return ("", "run `apt install --reinstall linux-image-$(uname -r)`".into());
    }
    if is("fedora") || is("rhel") || is("centos") {
        return (
            "",
            "run `dnf install kernel-modules-extra-$(uname -r) kernel-modules-internal-$(uname -r)`".into(),
        );
    }
    (
        "",
        format!(
            "install your distribution's package of extra kernel modules, or build the kernel with {config}=m"
        ),
    )
}
