use super::artifacts::Artifacts;
use super::tools::{Lack, parse_host};
use super::*;

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn every_target_of_the_workspace_is_known_by_its_file() {
    let workspace = Workspace::find().unwrap();
    let names = targets(&workspace.root().join("tests/fuzz")).unwrap();
    assert!(names.contains(&"packet".to_owned()) && names.is_sorted(), "{names:?}");
}

#[test]
fn all_targets_run_unless_one_is_named() {
    let all = || vec!["packet".to_owned(), "soap".to_owned()];
    assert_eq!(chosen(all(), None).unwrap(), all());
    assert_eq!(chosen(all(), Some("soap")).unwrap(), ["soap"]);
    let error = chosen(all(), Some("soup")).unwrap_err().to_string();
    assert_eq!(error, "there is no target soup; there are: packet, soap");
}

#[test]
fn new_inputs_go_to_the_first_folder_and_not_among_the_committed_ones() {
    let fuzzing = Fuzzing {
        name: "soap".into(),
        program: "/build/soap".into(),
        found: "/target/fuzz-corpus/soap".into(),
        committed: "/corpus/soap".into(),
        artifacts: Artifacts::new("/target/fuzz-artifacts/soap".into()),
    };
    let line = steps::line(&fuzzing.command(7));
    assert!(line.starts_with("/build/soap -max_total_time=7 "), "{line}");
    assert!(line.contains(" -artifact_prefix=/target/fuzz-artifacts/soap/ "), "{line}");
    assert!(line.ends_with(" /target/fuzz-corpus/soap /corpus/soap"), "{line}");
}

#[test]
fn what_broke_a_target_is_kept_and_what_was_slow_is_not() {
    let folder = scratch("artifacts");
    let corpus = folder.join("corpus");
    fs::create_dir_all(&corpus).unwrap();
    let artifacts = Artifacts::new(folder.join("artifacts"));
    artifacts.clear().unwrap();
    for name in ["timeout-2", "crash-1", "slow-unit-3", "other"] {
        fs::write(artifacts.folder().join(name), name).unwrap();
    }
    let kept: Vec<_> =
        artifacts.list().unwrap().iter().map(|found| found.keep(&corpus).unwrap()).collect();
    assert_eq!(kept, [corpus.join("crash-1"), corpus.join("timeout-2")]);
    assert_eq!(fs::read(corpus.join("crash-1")).unwrap(), b"crash-1");

    artifacts.clear().unwrap();
    assert_eq!(artifacts.list().unwrap(), []);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_hint_names_what_is_missing_and_nothing_else() {
    let nightly = Lack { nightly: true, cxx: false }.hint(true);
    assert!(nightly.contains("rustup toolchain install nightly"), "{nightly}");
    assert!(!nightly.contains("g++"), "{nightly}");
    let cxx = Lack { nightly: false, cxx: true }.hint(false);
    assert!(cxx.contains("sudo apt-get install g++") && !cxx.contains("nightly"), "{cxx}");
    assert!(!Lack { nightly: true, cxx: true }.hint(true).contains("sudo"));
}

#[test]
fn the_compiler_tells_its_own_target() {
    let about = "rustc 1.97.0-nightly\nhost: x86_64-unknown-linux-gnu\nrelease: 1.97.0-nightly\n";
    assert_eq!(parse_host(about).as_deref(), Some("x86_64-unknown-linux-gnu"));
    assert_eq!(parse_host("error"), None);
}
