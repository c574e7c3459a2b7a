//! What it means that the kernel refuses an operation on a socket, where [`io::ErrorKind`] has no word for it.

use std::io;

use nix::errno::Errno;

fn is(err: &io::Error, errnos: &[Errno]) -> bool {
    err.raw_os_error().is_some_and(|errno| errnos.contains(&Errno::from_raw(errno)))
}

/// `ENODEV`, `ENXIO`: the interface was deleted, or never existed.
pub fn is_gone(err: &io::Error) -> bool {
    is(err, &[Errno::ENODEV, Errno::ENXIO])
}

/// `ENETDOWN`: the interface is down.
pub fn is_down(err: &io::Error) -> bool {
    is(err, &[Errno::ENETDOWN])
}

/// `ENOBUFS`, `EAGAIN`: the interface's queue or the socket is full, and may have room soon.
pub fn is_full(err: &io::Error) -> bool {
    is(err, &[Errno::ENOBUFS, Errno::EAGAIN])
}

/// `EINVAL`, `EMSGSIZE`: the interface does not carry such frames.
pub fn is_unfit(err: &io::Error) -> bool {
    is(err, &[Errno::EINVAL, Errno::EMSGSIZE])
}

/// `EPROTONOSUPPORT`, `EAFNOSUPPORT`: the kernel has no such protocol.
pub fn is_unsupported(err: &io::Error) -> bool {
    is(err, &[Errno::EPROTONOSUPPORT, Errno::EAFNOSUPPORT])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_has_one_meaning() {
        let of = |errno: Errno| {
            let err = io::Error::from(errno);
            [is_gone(&err), is_down(&err), is_full(&err), is_unfit(&err), is_unsupported(&err)]
        };
        assert_eq!(of(Errno::ENXIO), [true, false, false, false, false]);
        assert_eq!(of(Errno::ENETDOWN), [false, true, false, false, false]);
        assert_eq!(of(Errno::EAGAIN), [false, false, true, false, false]);
        assert_eq!(of(Errno::EMSGSIZE), [false, false, false, true, false]);
        assert_eq!(of(Errno::EAFNOSUPPORT), [false, false, false, false, true]);
        assert!(!is_full(&io::Error::other("no errno")));
    }
}
