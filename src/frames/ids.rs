//! Sets of CAN ids, as people write them.

use std::str::FromStr;

use socketcan::{EmbeddedFrame as _, Frame as _, id::IdFlags};

use super::CanAnyFrame;
use crate::kernel::Filter;

/// More patterns than this slow down whoever compares frames with them. 64 entries without odd masks stay below it.
const PATTERNS_MAX: usize = 1024;

const ALLOWED: &str = "allowed are 123 (a standard id), 18FEF100 (an extended one), a range 100-1FF, an id and a mask \
    18FEF100:1FFFFF00, !7DF to take out, and `none` alone; entries are separated by blanks or `;`";

/// A set of CAN ids.
///
/// Written as a list of entries, separated by blanks or `;`. Three hexadecimal digits are a standard id, eight an
/// extended one, as candump prints them:
///
/// | entry | means |
/// |---|---|
/// | `123`, `18FEF100` | this id |
/// | `100-1FF` | these ids, including both ends |
/// | `18FEF100:1FFFFF00` | all ids that equal the first where the second, the mask, has a 1 |
/// | `!7DF` | takes out; also with a range or a mask. The order of the entries does not matter |
/// | `none` | no id; only alone |
///
/// A list that only takes out starts from everything, error frames included. Any other list names no error frame. Remote
/// frames have the ids of data frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdSet {
    standard: Vec<Pattern>,
    extended: Vec<Pattern>,
    has_error_frames: bool,
}

/// The ids that equal `id` in the bits of `mask`. All other bits of `id` are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern {
    /// The bits that matter; without the kernel's flags.
    pub id: u32,
    /// Which bits matter.
    pub mask: u32,
}

/// An entry that does not name ids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {position} of the ids, `{entry}`, {why}; {ALLOWED}")]
pub struct IdsError {
    entry: String,
    /// The first is 1.
    position: usize,
    why: String,
}

impl IdSet {
    /// Whether it contains the frame's id.
    pub fn contains(&self, frame: &CanAnyFrame) -> bool {
        match frame {
            CanAnyFrame::Error(_) => self.has_error_frames,
            frame => {
                self.patterns(frame.is_extended()).iter().any(|pattern| pattern.contains(frame.raw_id()))
            }
        }
    }

    /// Whether it has error frames.
    pub fn has_error_frames(&self) -> bool {
        self.has_error_frames
    }

    /// What is in both. Its patterns do not overlap either.
    pub fn and(&self, other: &Self) -> Self {
        let both = |one: &[Pattern], other: &[Pattern]| {
            one.iter().flat_map(|one| other.iter().filter_map(|other| one.and(*other))).collect()
        };
        Self {
            standard: both(&self.standard, &other.standard),
            extended: both(&self.extended, &other.extended),
            has_error_frames: self.has_error_frames && other.has_error_frames,
        }
    }

    /// The standard or the extended ids as patterns of which no two contain the same id, for filters in the kernel: a
    /// frame passes at most one of them.
    pub fn patterns(&self, extended: bool) -> &[Pattern] {
        if extended { &self.extended } else { &self.standard }
    }

    /// How many patterns it has.
    pub fn patterns_needed(&self) -> usize {
        self.standard.len() + self.extended.len()
    }

    /// Filters for the kernel; a frame passes at most one of them. They compare `CAN_EFF_FLAG` and not `CAN_RTR_FLAG`.
    pub fn filters(&self) -> Vec<Filter> {
        const EXTENDED: u32 = IdFlags::EFF.bits();
        let filter = |flag: u32| {
            move |pattern: &Pattern| Filter { id: pattern.id | flag, mask: pattern.mask | EXTENDED }
        };
        let standard = self.standard.iter().map(filter(0));
        standard.chain(self.extended.iter().map(filter(EXTENDED))).collect()
    }
}

impl FromStr for IdSet {
    type Err = IdsError;

    fn from_str(text: &str) -> Result<Self, IdsError> {
        let entries: Vec<&str> =
            text.split(|c: char| c == ';' || c.is_whitespace()).filter(|entry| !entry.is_empty()).collect();
        let wrong = |at: usize, why: &str| IdsError {
            entry: entries.get(at).copied().unwrap_or_default().to_owned(),
            position: at + 1,
            why: why.to_owned(),
        };
        if entries.is_empty() {
            return Err(wrong(0, "is missing"));
        }
        let mut parsed = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            if entry.eq_ignore_ascii_case("none") {
                if entries.len() > 1 {
                    return Err(wrong(at, "cannot be combined with other entries"));
                }
                return Ok(Self { standard: Vec::new(), extended: Vec::new(), has_error_frames: false });
            }
            parsed.push((at, Entry::parse(entry).map_err(|why| wrong(at, &why))?));
        }

        let takes_out_only = parsed.iter().all(|(_, entry)| entry.takes_out);
        let everything = if takes_out_only { vec![Pattern { id: 0, mask: 0 }] } else { Vec::new() };
        let mut set =
            Self { standard: everything.clone(), extended: everything, has_error_frames: takes_out_only };
        parsed.sort_by_key(|(_, entry)| entry.takes_out);
        for (at, entry) in parsed {
            let patterns = if entry.width == Width::Extended { &mut set.extended } else { &mut set.standard };
            for pattern in entry.patterns {
                match entry.takes_out {
                    true => take_out(patterns, pattern),
                    false => add(patterns, pattern),
                }
                if patterns.len() > PATTERNS_MAX {
                    return Err(wrong(at, "makes the list too complex: use ranges instead of masks"));
                }
            }
        }
        Ok(set)
    }
}

impl Pattern {
    fn contains(self, id: u32) -> bool {
        id & self.mask == self.id
    }

    /// Whether an id is in both.
    fn overlaps(self, other: Self) -> bool {
        (self.id ^ other.id) & self.mask & other.mask == 0
    }

    /// The ids that are in both, if there are any.
    fn and(self, other: Self) -> Option<Self> {
        self.overlaps(other).then_some(Self { id: self.id | other.id, mask: self.mask | other.mask })
    }

    /// The ids of this pattern that are not in `other`, as patterns that do not overlap: one for each bit that `other`
    /// fixes and this does not.
    fn without(self, other: Self) -> Vec<Self> {
        if !self.overlaps(other) {
            return vec![self];
        }
        let (mut parts, mut rest) = (Vec::new(), self);
        for bit in (0..u32::BITS).map(|shift| 1 << shift).filter(|bit| other.mask & !self.mask & bit != 0) {
            rest.mask |= bit;
            parts.push(Self { id: rest.id | (!other.id & bit), mask: rest.mask });
            rest.id |= other.id & bit;
        }
        parts
    }
}

fn take_out(patterns: &mut Vec<Pattern>, out: Pattern) {
    *patterns = patterns.iter().flat_map(|pattern| pattern.without(out)).collect();
}

/// Adds the part that is not there yet.
fn add(patterns: &mut Vec<Pattern>, new: Pattern) {
    let mut parts = vec![new];
    for pattern in &*patterns {
        take_out(&mut parts, *pattern);
    }
    patterns.extend(parts);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Standard,
    Extended,
}

impl Width {
    fn max(self) -> u32 {
        match self {
            Self::Standard => 0x7FF,
            Self::Extended => 0x1FFF_FFFF,
        }
    }
}

struct Entry {
    takes_out: bool,
    width: Width,
    patterns: Vec<Pattern>,
}

impl Entry {
    fn parse(text: &str) -> Result<Self, String> {
        let (takes_out, ids) = match text.strip_prefix('!') {
            Some(ids) => (true, ids),
            None => (false, text),
        };
        let (width, patterns) = if let Some((first, last)) = ids.split_once('-') {
            let ((width, first), (last_width, last)) = (id(first)?, id(last)?);
            if width != last_width {
                return Err("has ends with different numbers of digits".into());
            }
            if first > last {
                return Err("ends before it starts".into());
            }
            (width, range(width, first, last))
        } else if let Some((first, mask)) = ids.split_once(':') {
            let ((width, first), (mask_width, mask)) = (id(first)?, id(mask)?);
            if width != mask_width {
                return Err("has an id and a mask with different numbers of digits".into());
            }
            (width, vec![Pattern { id: first & mask, mask }])
        } else {
            let (width, id) = id(ids)?;
            (width, vec![Pattern { id, mask: width.max() }])
        };
        Ok(Self { takes_out, width, patterns })
    }
}

fn id(text: &str) -> Result<(Width, u32), String> {
    let width = match text.len() {
        3 => Width::Standard,
        8 => Width::Extended,
        _ => return Err(format!("has {text:?}, which has neither three nor eight hexadecimal digits")),
    };
    let is_hex = text.bytes().all(|digit| digit.is_ascii_hexdigit());
    match u32::from_str_radix(text, 16) {
        Ok(id) if is_hex && id <= width.max() => Ok((width, id)),
        Ok(_) if is_hex => Err(format!("is beyond {:X}, the last id with so many digits", width.max())),
        _ => Err(format!("has {text:?}, which is not a hexadecimal number")),
    }
}

/// A range as the fewest aligned blocks.
fn range(width: Width, mut first: u32, last: u32) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    while first <= last {
        let mut size = 1 << first.trailing_zeros().min(29);
        while size > last - first + 1 {
            size >>= 1;
        }
        patterns.push(Pattern { id: first, mask: width.max() & !(size - 1) });
        first += size;
    }
    patterns
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use socketcan::{CanDataFrame, CanErrorFrame, CanRemoteFrame, ExtendedId, Id, StandardId};

    use super::*;

    fn hex(id: u32, extended: bool) -> Id {
        match extended {
            true => ExtendedId::new(id).unwrap().into(),
            false => StandardId::new(id as u16).unwrap().into(),
        }
    }

    fn contains(ids: &str, id: u32, extended: bool) -> bool {
        let set: IdSet = ids.parse().unwrap();
        let id = hex(id, extended);
        let has = set.contains(&CanDataFrame::new(id, &[1]).unwrap().into());
        assert_eq!(has, set.contains(&CanRemoteFrame::new_remote(id, 1).unwrap().into()));
        has
    }

    #[test]
    fn the_examples_of_the_readme() {
        for (ids, standard, extended) in [
            ("123", &[0x123][..], &[][..]),
            ("100-1FF", &[0x100, 0x150, 0x1FF], &[]),
            ("101-101", &[0x101], &[]),
            ("18FEF100-18FEF1FF", &[], &[0x18FE_F100, 0x18FE_F1FF]),
            ("18FEF100:1FFFFF00;7df", &[0x7DF], &[0x18FE_F1AB]),
            ("700-7FF !7DF", &[0x700, 0x7DE, 0x7E0], &[]),
            ("!7DF", &[0, 0x7DE, 0x7FF], &[0, 0x7DF, 0x1FFF_FFFF]),
            ("!7DF 700-7FF", &[0x7E0], &[]),
        ] {
            assert!(standard.iter().all(|id| contains(ids, *id, false)), "{ids}");
            assert!(extended.iter().all(|id| contains(ids, *id, true)), "{ids}");
            assert!(!contains(ids, 0x7DF, false) || ids.ends_with("7df"), "{ids}");
        }
        for ids in ["123", "100-1FF", "18FEF100:1FFFFF00"] {
            assert!(!contains(ids, 0x200, false) && !contains(ids, 0x123, true), "{ids}");
        }
        assert!(!contains("none", 0, false));
    }

    #[test]
    fn error_frames_belong_to_everything_but() {
        let error = CanErrorFrame::new_error(0x20, &[]).unwrap().into();
        assert!("!123".parse::<IdSet>().unwrap().contains(&error));
        assert!(!"000-7FF".parse::<IdSet>().unwrap().contains(&error));
    }

    #[test]
    fn error_frames_are_in_an_intersection_if_both_sets_have_them() {
        for (one, other, both) in
            [("!123", "!456", true), ("!123", "123", false), ("123", "!456", false), ("123", "123", false)]
        {
            let [one, other]: [IdSet; 2] = [one, other].map(|ids| ids.parse().unwrap());
            assert_eq!(one.and(&other).has_error_frames(), both, "{one:?} {other:?}");
        }
    }

    #[test]
    fn an_error_names_the_entry_its_position_and_what_is_allowed() {
        for (ids, position, part) in [
            ("", 1, "is missing"),
            ("12", 1, "neither three nor eight"),
            ("123 18FEF1", 2, "neither three nor eight"),
            ("123;12G", 2, "not a hexadecimal"),
            ("123 456 800", 3, "beyond 7FF"),
            ("20000000", 1, "beyond 1FFFFFFF"),
            ("1FF-100", 1, "ends before"),
            ("100-18FEF100", 1, "different numbers"),
            ("123:1FFFFFFF", 1, "different numbers"),
            ("123 none", 2, "combined"),
            ("+12", 1, "not a hexadecimal"),
            ("é1", 1, "not a hexadecimal"),
            ("!", 1, "neither three nor eight"),
            ("0AAAAAAA:15555555 05555555:0AAAAAAA 00000001-1FFFFFFE !01234567:11111111 !02:02", 5, "neither"),
        ] {
            let error = ids.parse::<IdSet>().unwrap_err();
            assert_eq!(error.position, position, "{ids}: {error}");
            assert!(
                error.to_string().contains(part) && error.to_string().contains("100-1FF"),
                "{ids}: {error}"
            );
        }
    }

    #[test]
    fn filters_tell_standard_from_extended_ids() {
        const EXTENDED: u32 = IdFlags::EFF.bits();
        let ids: IdSet = "123 00000123".parse().unwrap();
        let of_extended = ids.filters().into_iter().filter(|filter| filter.id & EXTENDED != 0);
        assert_eq!(of_extended.count(), 1);
        assert!(ids.filters().iter().all(|filter| filter.mask & EXTENDED != 0 && filter.id & 0x7ff == 0x123));
    }

    fn entry() -> impl Strategy<Value = (bool, u8, u32, u32)> {
        (any::<bool>(), 0..3u8, 0..0x800u32, 0..0x800u32)
    }

    proptest! {
        #[test]
        fn a_list_contains_what_its_entries_say_and_names_each_id_once(
            entries in prop::collection::vec(entry(), 1..6)
        ) {
            let entries: Vec<_> = entries.into_iter().map(|(out, kind, a, b)| match kind {
                1 => (out, kind, a.min(b), a.max(b)),
                _ => (out, kind, a, b),
            }).collect();
            let text: Vec<_> = entries.iter().map(|(out, kind, a, b)| {
                let bang = if *out { "!" } else { "" };
                match kind {
                    0 => format!("{bang}{a:03X}"),
                    1 => format!("{bang}{a:03X}-{b:03x}"),
                    _ => format!("{bang}{a:03x}:{b:03X}"),
                }
            }).collect();
            let set: IdSet = text.join(" ").parse().unwrap();
            let names = |id: u32, out: bool| entries.iter().any(|(takes_out, kind, a, b)| *takes_out == out && match kind {
                0 => id == *a,
                1 => (*a..=*b).contains(&id),
                _ => (id ^ a) & b == 0,
            });
            let all = entries.iter().all(|(out, ..)| *out);
            for id in 0..0x800 {
                let times = set.patterns(false).iter().filter(|pattern| pattern.contains(id)).count();
                prop_assert_eq!(times, usize::from((all || names(id, false)) && !names(id, true)), "{:03X}", id);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "[!0-9A-Fa-f:; -]{0,40}") {
            let _ = text.parse::<IdSet>();
        }
    }
}
