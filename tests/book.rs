//! The pages: both READMEs and the chapters of the book in `docs/`. Everything that they link to exists, each has
//! its place in the book, and the code in each is tested.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One page, read.
struct Page {
    path: PathBuf,
    /// The links and pictures, as written.
    links: Vec<String>,
    /// The anchors of its headings.
    anchors: BTreeSet<String>,
    /// The info strings of its code blocks.
    code: Vec<String>,
}

impl Page {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap();
        let mut page = Self { path, links: Vec::new(), anchors: BTreeSet::new(), code: Vec::new() };
        let mut heading = None;
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                    page.code.push(language.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(text) | Event::Code(text) => {
                    heading.iter_mut().for_each(|heading| heading.push_str(&text));
                }
                Event::End(TagEnd::Heading(_)) => page.anchors.extend(heading.take().map(anchor)),
                _ => {}
            }
        }
        page
    }

    fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap().display().to_string()
    }

    /// Returns its links to other files, and to itself.
    fn relative(&self) -> impl Iterator<Item = &str> {
        self.links.iter().map(String::as_str).filter(|link| !link.contains("://"))
    }

    /// Returns the Rust in it.
    fn rust(&self) -> impl Iterator<Item = &str> {
        self.code.iter().map(String::as_str).filter(|code| code.split(',').any(|it| it == "rust"))
    }
}

/// Returns the anchor of a heading, on the web and in the book: lower case, no signs, dashes for spaces.
fn anchor(heading: String) -> String {
    let anchor_text = heading.trim().to_lowercase();
    let anchor_text =
        anchor_text.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
    anchor_text.map(|it| if it == ' ' { '-' } else { it }).collect()
}

/// Returns the chapters, by their names in `docs/`.
fn chapters() -> Vec<Page> {
    let entries = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let is_page = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "md");
    entries.filter(is_page).map(Page::read).collect()
}

fn pages() -> Vec<Page> {
    let mut pages = chapters();
    pages.push(Page::read(root().join("README.md")));
    pages.push(Page::read(root().join("tests/README.md")));
    pages
}

/// Returns what is wrong with the link, if anything is.
fn fault(page: &Page, link: &str) -> Option<String> {
    let (file, wanted) = link.split_once('#').map_or((link, None), |(file, it)| (file, Some(it)));
    let folder = page.path.parent().unwrap();
    let target = if file.is_empty() { page.path.clone() } else { folder.join(file) };
    let Ok(target) = target.canonicalize() else { return Some("is not there".to_owned()) };
    if folder.ends_with("docs") && !target.starts_with(folder.canonicalize().unwrap()) {
        return Some("leads out of the book".to_owned());
    }
    let wanted = wanted?;
    let found = Page::read(target).anchors.contains(wanted);
    (!found).then(|| "has no such heading".to_owned())
}

#[test]
fn every_link_and_every_picture_is_there() {
    let mut checked = 0;
    let mut faults = Vec::new();
    for page in pages() {
        for link in page.relative() {
            checked += 1;
            let fault = fault(&page, link);
            faults.extend(fault.map(|fault| format!("{}: {link} {fault}", page.name())));
        }
    }
    assert!(checked > 50, "only {checked} links were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_chapter_has_its_place_in_the_book_once() {
    let summary = Page::read(root().join("docs/SUMMARY.md"));
    let mut named = summary.links.clone();
    named.sort_unstable();
    let mut there: Vec<String> = chapters()
        .iter()
        .map(|page| page.path.file_name().unwrap().to_string_lossy().into_owned())
        .filter(|name| name != "SUMMARY.md")
        .collect();
    there.sort_unstable();
    assert_eq!(named, there);
}

#[test]
fn all_code_in_the_pages_is_tested() {
    let source = |name| fs::read_to_string(root().join("src").join(name)).unwrap();
    let tested = source("doctests.rs") + &source("lib.rs");
    let with_code: Vec<Page> =
        pages().into_iter().filter(|page| page.rust().next().is_some()).collect();
    assert!(with_code.len() > 5);
    for page in with_code {
        let hook = format!("include_str!(\"../{}\")", page.name());
        assert!(tested.contains(&hook), "add {} to src/doctests.rs", page.name());
        for code in page.rust() {
            assert!(!code.contains("ignore"), "{}: `{code}` is not even compiled", page.name());
        }
    }
}

/// Reads the rows of a table whose first cell is a method, up to the cell number `cells`.
fn method_rows(page: &str, cells: usize) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("docs").join(page)).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let cells_of = |row: &str| {
        let cells = row.split('|').skip(1).take(cells);
        cells.map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    rows.map(cells_of).collect()
}

#[test]
fn the_chapter_on_kite_lists_every_endpoint_as_it_is() {
    let folder = root().join("src/brokers/kite/endpoints");
    let mut expected = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let source = fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut attribute = Vec::new();
        for line in source.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("#[lane(").and_then(|it| it.strip_suffix(")]")) {
                let words: Vec<&str> = rest.split(',').map(str::trim).collect();
                let kind = if words.contains(&"exit") { "write, exit" } else { words[1] };
                let route = words.iter().find_map(|word| word.strip_prefix("route = "));
                attribute = [words[0], kind, route.unwrap_or("reads")].map(str::to_owned).to_vec();
            } else if let Some(rest) = line.strip_prefix("fn ") {
                let lane = std::mem::take(&mut attribute);
                if !lane.is_empty() {
                    let name = rest.split('(').next().unwrap_or_default().to_owned();
                    expected.push([vec![name], lane].concat());
                }
            }
        }
    }
    let mut listed = method_rows("kite.md", 4);
    expected.sort_unstable();
    listed.sort_unstable();
    assert!(expected.len() > 25, "the methods are found: {expected:?}");
    assert_eq!(listed, expected);
}

/// A method of the trait `Broker`: its name, and the cells `lane` and `kind` of its row.
type MethodRow = (String, String, String);

/// Reads the methods from the source of the trait, in their order.
fn methods_of_the_trait() -> Vec<MethodRow> {
    let source = fs::read_to_string(root().join("src/broker/mod.rs")).unwrap();
    let (_, rest) = source.split_once("pub trait Broker: Send + Sync {").expect("the trait");
    let (body, _) = rest.split_once("\n}\n").expect("its end");
    let mut methods = Vec::new();
    let mut attribute = None;
    for line in body.lines().map(str::trim) {
        if let Some(arguments) = line.strip_prefix("#[lane(").and_then(|it| it.strip_suffix(")]")) {
            let words: Vec<&str> = arguments.split(',').map(str::trim).collect();
            let kind = if words.contains(&"exit") { "write, exit" } else { words[1] };
            attribute = Some((words[0].to_owned(), kind.to_owned()));
        } else if line == "#[direct]" {
            attribute = Some(("none".to_owned(), String::new()));
        } else if let Some(rest) = line.strip_prefix("fn ") {
            let name = rest.split('(').next().unwrap_or_default().to_owned();
            let (lane, kind) = attribute.take().unwrap_or_else(|| {
                // A provided method calls one with a lane.
                let (_, own_body) = body.split_once(&format!("fn {name}(")).expect("itself");
                let called = own_body.split("self.").skip(1).find_map(|it| it.split_once('('));
                (format!("by `{}`", called.expect("a call").0), "read".to_owned())
            });
            methods.push((name, lane, kind));
        }
    }
    methods
}

#[test]
fn the_chapter_on_the_trait_lists_every_method_as_it_is() {
    let chapter = fs::read_to_string(root().join("docs/broker.md")).unwrap();
    let rows = chapter.lines().filter(|line| line.starts_with("| `"));
    let listed: Vec<MethodRow> = rows
        .map(|row| {
            let cell = |column| row.split('|').nth(column).unwrap_or_default().trim().to_owned();
            (cell(1).trim_matches('`').to_owned(), cell(2), cell(3))
        })
        .collect();
    let expected = methods_of_the_trait();
    assert!(expected.len() > 20, "the methods are found: {expected:?}");
    for method in &expected {
        assert!(listed.contains(method), "the table in docs/broker.md needs a row for {method:?}");
    }
    let unknown: Vec<_> = listed.iter().filter(|row| !expected.contains(row)).collect();
    assert!(unknown.is_empty(), "docs/broker.md lists what the trait has not: {unknown:?}");
}

#[test]
fn every_example_that_a_page_has_a_command_for_is_there() {
    let folders = ["examples", "cli/examples"].map(|folder| root().join(folder));
    let mut checked = BTreeSet::new();
    for page in pages() {
        let text = fs::read_to_string(&page.path).unwrap();
        for rest in text.split("--example ").skip(1) {
            let end = rest.find(|it: char| !it.is_alphanumeric() && it != '_');
            let name = &rest[..end.unwrap_or(rest.len())];
            let is_there = |folder: &PathBuf| {
                folder.join(name).is_dir() || folder.join(format!("{name}.rs")).is_file()
            };
            assert!(folders.iter().any(is_there), "{}: there is no example {name}", page.name());
            checked.insert(name.to_owned());
        }
    }
    assert!(checked.len() >= 5, "{checked:?}");
}
