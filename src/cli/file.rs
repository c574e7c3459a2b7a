//! A file of frames, whose ending chooses the format.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::frames::formats::Format;

/// Parses the path of such a file. A wrong ending is bad usage, and the first thing to fix.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| Format::of(&path).map(|_| path))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::Cli;

    #[test]
    fn a_wrong_ending_is_bad_usage() {
        for args in [&["canhub", "record", "body", "-o", "a.mf4"][..], &["canhub", "replay", "a.mf4", "body"]]
        {
            let err = Cli::try_parse_from(args).unwrap_err();
            assert_eq!(err.exit_code(), 2);
            assert!(err.to_string().contains("a.mf4 must end in .log"), "{err}");
        }
        Cli::try_parse_from(["canhub", "record", "body", "-o", "a.blf"]).unwrap();
    }
}
