//! Replays every committed input without libFuzzer.

use nat_fuzz::TARGETS;
use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::io;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Names of the entries of a folder, without extensions.
fn names(folder: &str) -> io::Result<BTreeSet<String>> {
    let name = |entry: DirEntry| {
        entry.path().file_stem().unwrap_or_default().to_string_lossy().into_owned()
    };
    fs::read_dir(here(folder))?.map(|entry| entry.map(name)).collect()
}

#[test]
fn no_committed_input_breaks_its_target() {
    let mut broken = Vec::new();
    for target in TARGETS {
        let folder = here("corpus").join(target.name);
        let mut files: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "no seed in {}", folder.display());
        for file in files {
            let input = fs::read(&file).unwrap();
            if catch_unwind(|| (target.run)(&input)).is_err() {
                broken.push(file);
            }
        }
    }
    assert!(broken.is_empty(), "these inputs break their targets: {broken:#?}");
}

#[test]
fn every_target_has_a_corpus_and_a_binary() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names("corpus").unwrap(), targets);
    assert_eq!(names("libfuzzer/fuzz_targets").unwrap(), targets);
    let manifest = fs::read_to_string(here("libfuzzer/Cargo.toml")).unwrap();
    for target in targets {
        assert!(manifest.contains(&format!("name = \"{target}\"\n")), "{target} is not declared");
    }
}
