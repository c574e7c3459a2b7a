//! The pages for people: their links lead somewhere, and the canhub command lines in them parse.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod commands;
mod pages;

use std::{collections::BTreeMap, fs};

use canhub::cli::Cli;
use clap::CommandFactory;
use pages::{Page, all, root};

/// `None`: it leads to something that exists.
fn broken(pages: &BTreeMap<String, Page>, page: &Page, link: &str) -> Option<String> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let told = |why: &str| Some(format!("{}: link {link}: {why}", page.path));
    let folder = page.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let target = if path.is_empty() { page.path.clone() } else { pages::normal(folder, path) };
    if !root().join(&target).exists() {
        return told(&format!("{target} does not exist"));
    }
    match pages.get(&target) {
        _ if anchor.is_empty() => None,
        None => told("only pages have anchors"),
        Some(target) if target.anchors.contains(anchor) => None,
        Some(target) => told(&format!("{} has no heading of that name", target.path)),
    }
}

#[test]
fn relative_links_and_anchors_lead_to_files_and_headings_that_exist() {
    let pages = all();
    let relative = |link: &&String| !link.contains("://") && !link.starts_with("mailto:");
    let links: Vec<_> = pages
        .values()
        .flat_map(|page| page.links.iter().filter(relative).map(move |link| (page, link)))
        .collect();
    assert!(links.len() > 50, "only {} links were found", links.len());
    let broken: Vec<String> =
        links.into_iter().filter_map(|(page, link)| broken(&pages, page, link)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn a_broken_link_or_anchor_is_found() {
    let pages: BTreeMap<String, Page> = [Page::of("README.md", "# One `two`, three\n# One\n# One\n")]
        .map(|page| (page.path.clone(), page))
        .into();
    let page = &pages["README.md"];
    for (link, is_broken) in [
        ("#one-two-three", false),
        ("#one", false),
        ("#one-1", false),
        ("#one-2", true),
        ("Cargo.toml", false),
        ("src/../Cargo.toml", false),
        ("Cargo.toml#one", true),
        ("absent.md", true),
    ] {
        assert_eq!(broken(&pages, page, link).is_some(), is_broken, "{link}");
    }
}

#[test]
fn every_canhub_command_line_in_the_pages_parses() {
    commands::all_parse("canhub", &Cli::command(), 25);
}

#[test]
fn a_stale_command_line_is_found() {
    let page = |text: &str| Page::of("README.md", text);
    let stale = |text: &str| commands::stale("canhub", &Cli::command(), &page(text)).len();
    for (text, found) in [
        ("```sh\nsudo canhub status | grep body && X=1 canhub doctor --fix   # all\n```\n", 0),
        ("```sh\ncanhub statsu\n```\n", 1),
        ("```sh\nwhile ! canhub status --no-such; do canhub doctor \\\n  --gone; done\n```\n", 2),
        ("```sh\ncanhub attach body --netns $(podman inspect -f '{{.State.Pid}}' C) --gone\n```\n", 1),
        (
            "```sh\necho 'canhub statsu; canhub statsu' && canhub expect add b 1A0 --every \"$(cat x)\"\n```\n",
            1,
        ),
        ("```console\n$ canhub doctor\ncanhub is not an argument of the output\n```\n", 0),
        ("```console\na# canhub status | ssh b canhub statsu\n```\n", 1),
        ("```console\n# canhub fault list --gone\n```\n", 1),
        ("`canhub expect rm` and `canhub fault BUS` are mentioned\n", 0),
        ("`canhub expect forget`\n", 1),
    ] {
        assert_eq!(stale(text), found, "{text}");
    }
}

#[test]
fn all_pages_are_read() {
    let pages = all();
    for page in ["README.md", "CONTRIBUTING.md", "docs/span.md", "compose-examples/README.md"] {
        assert!(pages.contains_key(page), "{page}: {:?}", pages.keys());
    }
    let examples = fs::read_dir(root().join("compose-examples")).unwrap().flatten();
    for example in examples.filter(|entry| entry.path().is_dir()) {
        let name = format!("compose-examples/{}/README.md", example.file_name().to_string_lossy());
        assert!(pages.contains_key(&name) || !root().join(&name).exists(), "{name}");
    }
}
