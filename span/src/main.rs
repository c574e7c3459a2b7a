//! The program `canhub-span`.

fn main() {}
