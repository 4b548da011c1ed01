//! Which tests run in the guest.

use super::programs::Program;
use anyhow::{Context as _, Result, ensure};

/// A test program, and the arguments that choose among its tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    program: String,
    arguments: Vec<String>,
}

/// What runs unless tests are named: every packet row, a few tests of each thing that the gateway does,
/// what is done otherwise on old kernels, and what the kernel of the host may lack. By twos, as the
/// guest has two processors at least; and few, since there a daemon takes half a minute to start.
const SMOKE: [(&str, &[&str]); 7] = [
    ("packets", &["every_row_holds_in_the_kernel"]),
    ("lab", &["vlans_of_the_lan_reach_the_router"]),
    (
        "vlan",
        &[
            "everything_crosses_between_vlans_on_one_arm",
            "everything_crosses_between_links_with_two_tags",
        ],
    ),
    (
        "outgoing",
        &[
            "a_megabyte_arrives_unchanged_both_ways",
            "udp_tcp_and_ping_leave_with_the_external_source",
        ],
    ),
    (
        "restart",
        &[
            "a_killed_daemon_without_pins_is_followed_by_another",
            "a_new_daemon_replaces_the_programs_and_unload_takes_them_away",
        ],
    ),
    (
        "lease",
        &[
            "a_new_daemon_takes_over_what_a_killed_one_left",
            "a_port_closes_on_time_although_the_daemon_was_killed",
        ],
    ),
    ("upnp", &["upnpc_discovers_adds_lists_and_deletes"]),
];

/// The runs for these words: names of test programs, and whatever else a test program takes, as
/// filters. `has` tells whether a program has tests for its arguments.
///
/// # Errors
/// When there is no such test.
pub(super) fn plan(
    programs: &[Program],
    words: &[String],
    has: impl Fn(&Program, &[String]) -> bool,
) -> Result<Vec<Run>> {
    if words.is_empty() {
        return smoke(programs, has);
    }
    let is_program = |word: &String| programs.iter().any(|program| program.name == *word);
    let (named, arguments): (Vec<_>, Vec<_>) = words.iter().cloned().partition(is_program);
    let runs: Vec<_> = programs
        .iter()
        .filter(|program| named.is_empty() || named.contains(&program.name))
        .filter(|program| has(program, &arguments))
        .map(|program| Run { program: program.name.clone(), arguments: arguments.clone() })
        .collect();
    ensure!(!runs.is_empty(), "there is no test for these words: {}", words.join(" "));
    Ok(runs)
}

/// Each test by itself must still be there: a test program says nothing of a name that it has not.
fn smoke(programs: &[Program], has: impl Fn(&Program, &[String]) -> bool) -> Result<Vec<Run>> {
    let exact = "--exact".to_owned();
    let mut runs = Vec::new();
    for (name, tests) in SMOKE {
        let program = programs.iter().find(|program| program.name == name);
        let program = program.with_context(|| format!("there is no test program {name}"))?;
        for test in tests {
            let one = [(*test).to_owned(), exact.clone()];
            ensure!(has(program, &one), "there is no test {test} in {name}");
        }
        let tests = tests.iter().map(|&test| test.to_owned());
        let arguments = tests.chain([exact.clone()]).collect();
        runs.push(Run { program: name.to_owned(), arguments });
    }
    Ok(runs)
}

/// The guest's plan: a run a line, as words.
pub(super) fn lines(runs: &[Run]) -> String {
    let line = |run: &Run| format!("{} {}\n", run.program, run.arguments.join(" "));
    runs.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(names: &[&str]) -> Vec<Program> {
        let program = |name: &&str| Program { name: (*name).to_owned(), file: (*name).into() };
        names.iter().map(program).collect()
    }

    fn planned(words: &[&str], has: impl Fn(&Program, &[String]) -> bool) -> Result<String> {
        let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
        Ok(lines(&plan(&programs(&["lease", "packets", "upnp"]), &words, has)?))
    }

    #[test]
    fn a_filter_runs_in_every_program_that_has_such_tests() {
        let lines = planned(&["port", "--nocapture"], |program, _| program.name != "packets");
        assert_eq!(lines.unwrap(), "lease port --nocapture\nupnp port --nocapture\n");
    }

    #[test]
    fn the_name_of_a_program_chooses_it() {
        assert_eq!(planned(&["upnp"], |_, _| true).unwrap(), "upnp \n");
        assert_eq!(planned(&["upnp", "maps"], |_, _| true).unwrap(), "upnp maps\n");
    }

    #[test]
    fn a_filter_without_tests_is_an_error() {
        assert!(planned(&["nothing"], |_, _| false).is_err());
    }

    #[test]
    fn a_smoke_test_that_was_renamed_is_noticed() {
        let all = programs(&SMOKE.map(|(name, _)| name));
        assert_eq!(plan(&all, &[], |_, _| true).unwrap().len(), SMOKE.len());
        let error = plan(&all, &[], |_, arguments| !arguments[0].starts_with("upnpc")).unwrap_err();
        assert!(error.to_string().contains("upnpc"), "{error}");
    }
}
