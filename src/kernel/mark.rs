//! Ownership of links if two canhubs with different driver names share a host.
//!
//! The alias of a link starts with `canhub`, or with `canhub@NAME` for a canhub of another driver name. Links of
//! another canhub are reported like any other CAN interface: used on request, never changed.

use super::{Link, LinkKind};

/// The driver name without a suffix.
const DEFAULT: &str = "canhub";
/// The name is truncated to this many bytes, so that the longest alias still fits into the kernel's 255.
const NAME_MAX: usize = 11;

/// The first word of this canhub's aliases.
#[derive(Debug, Clone)]
pub(super) struct Mark(String);

impl Mark {
    pub(super) fn new(instance: &str) -> Self {
        let short: String = instance.chars().filter(char::is_ascii_alphanumeric).take(NAME_MAX).collect();
        Self(if instance == DEFAULT || short.is_empty() {
            DEFAULT.into()
        } else {
            format!("{DEFAULT}@{short}")
        })
    }

    /// The alias as the kernel keeps it.
    pub(super) fn write(&self, alias: &str) -> String {
        match alias.strip_prefix(DEFAULT) {
            Some(rest) => format!("{}{rest}", self.0),
            None => alias.to_owned(),
        }
    }

    /// The links as this canhub should see them.
    pub(super) fn read(&self, links: Vec<Link>) -> Vec<Link> {
        links.into_iter().map(|link| self.read_one(link)).collect()
    }

    /// A link as this canhub should see it.
    pub(super) fn read_one(&self, mut link: Link) -> Link {
        let Some(alias) = &link.alias else { return link };
        let (word, rest) = alias.split_once(' ').unwrap_or((alias, ""));
        if word == self.0 {
            link.alias = Some(format!("{DEFAULT} {rest}"));
        } else if (word == DEFAULT || word.starts_with("canhub@")) && link.kind.is_can() {
            link.kind = LinkKind::Can;
            link.alias = None;
        }
        link
    }
}

impl Default for Mark {
    fn default() -> Self {
        Self::new(DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mark: &Mark, alias: &str) -> (LinkKind, Option<String>) {
        let link = Link {
            index: 7,
            name: "vcan0".into(),
            kind: LinkKind::Vcan,
            mtu: 72,
            up: true,
            alias: Some(alias.into()),
            peer: None,
            txqueuelen: 1000,
            controller: None,
            qdisc: None,
            counters: None,
        };
        let link = mark.read(vec![link]).remove(0);
        (link.kind, link.alias)
    }

    #[test]
    fn each_canhub_recognizes_only_its_own_links() {
        let (first, second) = (Mark::default(), Mark::new("canhub-second-of-them"));
        let alias = "canhub net=a1";
        assert_eq!(first.write(alias), alias);
        assert!(second.write(alias).len() <= alias.len() + 12);
        for (writer, reader, own) in [
            (&first, &first, true),
            (&second, &second, true),
            (&first, &second, false),
            (&second, &first, false),
        ] {
            let expected = if own { (LinkKind::Vcan, Some(alias.to_owned())) } else { (LinkKind::Can, None) };
            assert_eq!(read(reader, &writer.write(alias)), expected);
        }
        assert_eq!(
            read(&first, "uplink"),
            (LinkKind::Vcan, Some("uplink".into())),
            "other people's aliases are theirs"
        );
    }
}
