//! `docs/nat-conformance.md` keeps its word: a row for every requirement, and in every row tests that
//! exist, or the reason why there are none.

use anyhow::{Context as _, Result};
use nat_tests::packets::rows;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What must have a row, in the page's order.
const REQUIREMENTS: &str = "
    4787-1 4787-2 4787-3 4787-4 4787-5 4787-6 4787-7 4787-8 4787-9 4787-10 4787-11 4787-12 4787-13
    4787-14
    5382-1 5382-2 5382-3 5382-4 5382-5 5382-6 5382-7 5382-8 5382-9 5382-10
    5508-1 5508-2 5508-3 5508-4 5508-5 5508-6 5508-7 5508-8 5508-9 5508-10 5508-11
    7857-2.1 7857-3 7857-6 7857-9
    6888-3 6888-4 6888-9 6888-12 6888-13
    6056 1812/791 strangers udp-checksum untouched router-own expiry boot-time
    wanip-2.3.17 wanip-2.3.18 wanip-2.3.21 wanip-2.5.16
    forwards-disabled precedence two-players last-port sweep path-mtu
    links-vlan links-lans links-mtu links-mss links-jumbo links-generic links-replug
    next-hops next-hops-unresolved address-change leaks spoofing life-cycle probe explained malformed
    two-cpus real-tools random
";

/// How a last column without tests begins.
const REASON: &str = "No test: ";

/// A row of the page: the requirement's name, and its last column.
#[derive(Debug, PartialEq, Eq)]
struct Requirement<'a> {
    id: &'a str,
    shown: &'a str,
}

/// Where a test may be found.
struct Tests {
    rows: HashSet<&'static str>,
    /// The workspace's source files, as their paths without `.rs`, and what they say.
    sources: Vec<(String, String)>,
}

/// The rows of all tables, without headings and rules.
fn requirements(page: &str) -> Result<Vec<Requirement<'_>>> {
    let mut found = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        match cells[..] {
            ["id", ..] => {}
            [id, _, _, shown] => found.push(Requirement { id, shown }),
            _ => anyhow::bail!("not four columns: {line}"),
        }
    }
    Ok(found)
}

/// What stands in backticks.
fn names(shown: &str) -> impl Iterator<Item = &str> {
    shown.split('`').skip(1).step_by(2)
}

impl Tests {
    fn of_the_workspace() -> Result<Self> {
        let mut sources = Vec::new();
        for folder in ["nat-common", "nat-ebpf", "igd-control", "tests", "xtask"] {
            collect(&root().join(folder), &mut sources)?;
        }
        Ok(Self { rows: rows::all().iter().map(|row| row.name).collect(), sources })
    }

    /// What is wrong with the name of a test.
    fn fault(&self, name: &str) -> Option<&'static str> {
        let Some((file, test)) = name.split_once("::") else {
            return (!self.rows.contains(name)).then_some("no packet row is called so");
        };
        let end = format!("/{file}");
        let here = |(path, text): &&(String, String)| path.ends_with(&end) && has_test(text, test);
        match self.sources.iter().filter(here).count() {
            0 => Some("no file of that name has such a test"),
            1 => None,
            _ => Some("there are several of them: write more of the path"),
        }
    }
}

/// Reads all source files below a folder.
fn collect(folder: &Path, sources: &mut Vec<(String, String)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            sources.push((path.with_extension("").to_string_lossy().into_owned(), text));
        }
    }
    Ok(())
}

/// Whether a source file has a function of this name that is marked as a test.
fn has_test(source: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    let mut marked = false;
    for line in source.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if line.starts_with("fn ") || line.starts_with("async fn ") {
            if marked && line.trim_start_matches("async ").starts_with(&head) {
                return true;
            }
            marked = false;
        }
    }
    false
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> Result<String> {
    Ok(fs::read_to_string(root().join("docs/nat-conformance.md"))?)
}

#[test]
fn every_requirement_has_one_row() -> Result<()> {
    let page = page()?;
    let found: Vec<_> = requirements(&page)?.iter().map(|requirement| requirement.id).collect();
    assert_eq!(found, REQUIREMENTS.split_whitespace().collect::<Vec<_>>());
    Ok(())
}

#[test]
fn every_row_names_tests_that_exist_or_says_why_there_are_none() -> Result<()> {
    let (page, tests) = (page()?, Tests::of_the_workspace()?);
    let mut faults = Vec::new();
    for Requirement { id, shown } in requirements(&page)? {
        if names(shown).next().is_none() && shown.strip_prefix(REASON).is_none_or(str::is_empty) {
            faults.push(format!("{id}: neither a test nor \"{REASON}\" and a reason: {shown:?}"));
        }
        let wrong = |name| Some(format!("{id}: `{name}`: {}", tests.fault(name)?));
        faults.extend(names(shown).filter_map(wrong));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

#[test]
fn tests_that_do_not_exist_are_noticed() -> Result<()> {
    let tests = Tests::of_the_workspace()?;
    let here = "conformance::tests_that_do_not_exist_are_noticed";
    let known = [here, "ip_options_stay", "mapping/tests::leases_end_at_their_second"];
    assert!(known.iter().all(|name| tests.fault(name).is_none()));
    // A row that is no more, a test in another file, a function that is no test, half a name.
    let unknown = ["no_such_row", "forwards::ip_options_stay", "conformance::page", "lab::a_lab"];
    assert!(unknown.iter().all(|name| tests.fault(name).is_some()));
    Ok(())
}

#[test]
fn rows_are_read_as_they_stand() -> Result<()> {
    let page =
        "# T\n\n| id | asks | does | shown by |\n|---|---|---|---|\n| 1 | a | b | `c`, `d::e` |";
    let found = requirements(page)?;
    assert_eq!(found, [Requirement { id: "1", shown: "`c`, `d::e`" }]);
    assert_eq!(names(found[0].shown).collect::<Vec<_>>(), ["c", "d::e"]);
    assert!(requirements("| 1 | a | b |").is_err());
    Ok(())
}
