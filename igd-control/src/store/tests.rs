//! Stores in directories of their own.

use super::*;
use crate::mapping::{MappingKey, MappingRequest, Origin};
use nat_common::Protocol;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use tempfile::TempDir;

const WALL: u64 = 1_800_000_000;

fn clock_of(boot_id: &'static str, boot: u64, wall: u64) -> Clock {
    Arc::new(move || Moment {
        boot_id: boot_id.to_owned(),
        boot: BootTime(0).plus_secs(boot).0,
        wall,
    })
}

/// The first boot, ten minutes old.
fn first_boot() -> Clock {
    clock_of("first", 600, WALL)
}

fn mapping(port: u16) -> Remembered {
    Remembered {
        mapping: MappingRequest {
            key: MappingKey { protocol: Protocol::Tcp, external_port: port, remote: None },
            internal: (Ipv4Addr::new(192, 168, 1, 10), 7000).to_socket(),
            enabled: true,
            description: format!("port {port}"),
            deadline: BootTime(0).plus_secs(600 + 3_600),
            origin: Origin::Upnp,
            filters: Vec::new(),
        },
        sequence: port.into(),
    }
}

trait ToSocket {
    fn to_socket(self) -> std::net::SocketAddrV4;
}

impl ToSocket for (Ipv4Addr, u16) {
    fn to_socket(self) -> std::net::SocketAddrV4 {
        std::net::SocketAddrV4::new(self.0, self.1)
    }
}

fn put(port: u16) -> Change {
    Change::Put(mapping(port))
}

fn gone(port: u16) -> Change {
    Change::Gone(mapping(port).mapping.key)
}

fn ports(mappings: &[Remembered]) -> Vec<u16> {
    mappings.iter().map(|mapping| mapping.mapping.key.external_port).collect()
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    (directory, path)
}

/// Opens the store as the daemon does, and gives it what was in it.
fn begin(path: &Path, clock: Clock) -> (Store, Vec<Remembered>, Option<String>) {
    let (store, mappings, error) = Store::open(path, clock);
    store.replace(mappings.clone());
    (store, mappings, error.map(|error| error.to_string()))
}

/// The ports that another daemon would find, in this boot. The store may be open.
fn found(path: &Path) -> Vec<u16> {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        // Gone meanwhile, when a commit has taken it in.
        let _ = fs::copy(entry.path(), copy.path().join(entry.file_name()));
    }
    let (store, mappings, _) = Store::open(copy.path(), first_boot());
    store.close();
    ports(&mappings)
}

#[tokio::test]
async fn what_is_settled_is_found_although_the_process_ends_there() {
    let (_directory, path) = place();
    let (store, mappings, error) = begin(&path, first_boot());
    assert_eq!((mappings, error), (Vec::new(), None));
    store.submit(vec![put(5000), put(5001)]);
    store.submit(vec![gone(5000), put(5002)]);
    store.settle().await;
    assert_eq!(found(&path), [5001, 5002]);
    store.close();
    assert_eq!(found(&path), [5001, 5002]);
    let left: Vec<_> = journal::numbers(&path).unwrap();
    assert_eq!(left.len(), 1, "the others are taken in");
}

#[tokio::test]
async fn everything_about_a_mapping_is_kept_by_journal_and_snapshot() {
    let (_directory, path) = place();
    let mut odd = mapping(5000);
    odd.mapping.key.remote = Some(Ipv4Addr::new(198, 51, 100, 1));
    odd.mapping.enabled = false;
    odd.mapping.description = "\"\n\u{1f3b2}".to_owned();
    let mut fixed = mapping(5001);
    fixed.mapping.deadline = BootTime::NEVER;
    let all = vec![odd, fixed];
    let (store, ..) = begin(&path, first_boot());
    store.submit(all.iter().cloned().map(Change::Put).collect());
    store.settle().await;
    let copy = tempfile::tempdir().unwrap();
    fs::copy(path.join("journal-1"), copy.path().join("journal-1")).unwrap();
    assert_eq!(Store::open(copy.path(), first_boot()).1, all, "by the journal alone");
    store.close();
    fs::remove_file(path.join("journal-2")).unwrap();
    assert_eq!(Store::open(&path, first_boot()).1, all, "by the snapshot alone");
}

#[test]
fn leases_that_ended_while_the_box_was_away_are_gone() {
    let (_directory, path) = place();
    let (store, ..) = begin(&path, first_boot());
    let mut short = mapping(5001);
    short.mapping.deadline = BootTime(0).plus_secs(600 + 60);
    store.submit(vec![put(5000), Change::Put(short)]);
    store.close();
    let (store, mappings, _) = begin(&path, clock_of("second", 5, WALL + 100));
    assert_eq!(ports(&mappings), [5000]);
    assert_eq!(mappings[0].mapping.deadline, BootTime(0).plus_secs(5 + 3_500));
    store.close();
    // A third boot, without a clock: no lease is lost, none is longer.
    let (store, mappings, _) = begin(&path, clock_of("third", 7, 30));
    assert_eq!(mappings[0].mapping.deadline, BootTime(0).plus_secs(7 + 3_500));
    store.close();
}

#[tokio::test]
async fn a_torn_journal_is_read_up_to_the_tear() {
    let (_directory, path) = place();
    let (store, ..) = begin(&path, first_boot());
    store.submit(vec![put(5000)]);
    store.submit(vec![put(5001)]);
    store.settle().await;
    let copy = tempfile::tempdir().unwrap();
    let whole = fs::read(path.join("journal-1")).unwrap();
    store.close();
    let lines = whole.iter().filter(|byte| **byte == b'\n').count();
    for length in 0..=whole.len() {
        fs::write(copy.path().join("journal-1"), &whole[..length]).unwrap();
        let loaded = load::load(copy.path(), &first_boot()());
        let ends = whole[..length].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(loaded.mappings.len(), ends.saturating_sub(1).min(lines - 1), "{length} bytes");
        assert!(loaded.error.is_none());
    }
}

#[test]
fn a_snapshot_that_is_broken_is_put_aside_and_service_goes_on() {
    let (_directory, path) = place();
    let (store, ..) = begin(&path, first_boot());
    store.submit(vec![put(5000)]);
    store.close();
    let file = path.join("mappings.redb");
    let whole = fs::read(&file).unwrap();
    let cases: [(&str, Vec<u8>); 4] = [
        ("text", b"this is no database".repeat(1_000)),
        ("short", whole[..whole.len() / 2].to_vec()),
        ("a page", whole[..4096].to_vec()),
        ("zeros", vec![0; whole.len()]),
    ];
    for (case, bytes) in cases {
        fs::write(&file, &bytes).unwrap();
        let (store, mappings, error) = begin(&path, first_boot());
        let error = error.unwrap_or_default();
        assert!(error.contains("mappings.redb.unreadable"), "{case}: {error}");
        assert!(mappings.is_empty(), "{case}");
        assert_eq!(fs::read(path.join("mappings.redb.unreadable")).unwrap().len(), bytes.len());
        store.submit(vec![put(5001)]);
        store.close();
        assert_eq!(store.failure(), None, "{case}");
        assert_eq!(found(&path), [5001], "{case}");
    }
}

#[test]
fn any_byte_of_a_snapshot_may_be_wrong() {
    let (_directory, path) = place();
    let (store, ..) = begin(&path, first_boot());
    store.submit((5000..5100).map(put).collect());
    store.close();
    let whole = fs::read(path.join("mappings.redb")).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..60 {
        let mut bytes = whole.clone();
        let place = random.usize(..bytes.len());
        bytes[place] ^= 1 << random.u8(..8);
        fs::write(copy.path().join("mappings.redb"), &bytes).unwrap();
        let loaded = load::load(copy.path(), &first_boot()());
        let known =
            |mapping: &Remembered| *mapping == self::mapping(mapping.mapping.key.external_port);
        assert!(loaded.mappings.iter().all(known), "byte {place}");
        assert!(loaded.error.is_some() || loaded.mappings.len() == 100, "byte {place}");
    }
}

#[test]
fn a_snapshot_of_another_format_is_put_aside() {
    let (_directory, path) = place();
    let (store, ..) = begin(&path, first_boot());
    store.close();
    let database = redb::Database::create(path.join("mappings.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let numbers = redb::TableDefinition::<&str, u64>::new("numbers");
    transaction.open_table(numbers).unwrap().insert("format", 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let (store, _, error) = begin(&path, first_boot());
    let error = error.unwrap();
    assert!(error.contains("of format 2") && error.contains("unreadable"), "{error}");
    store.close();
    assert_eq!(store.failure(), None);
}

#[test]
fn a_place_that_cannot_be_written_is_told_and_does_no_harm() {
    let (directory, path) = place();
    fs::write(&path, "no directory").unwrap();
    let (store, mappings, error) = begin(&path, first_boot());
    assert_eq!(mappings, []);
    assert!(error.unwrap().contains(&directory.path().display().to_string()));
    store.submit(vec![put(5000)]);
    store.close();
    assert!(store.failure().is_some() && store.figures().errors.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn nobody_waits_for_a_store_that_fails() {
    let (_directory, path) = place();
    fs::write(&path, "no directory").unwrap();
    let (store, ..) = begin(&path, first_boot());
    let begun = Instant::now();
    for port in 1..1_000 {
        store.submit(vec![put(port)]);
    }
    store.settle().await;
    assert!(begun.elapsed() < LONGEST_WAIT);
    assert_eq!(store.figures().unwaited.load(Ordering::Relaxed), 0);
    store.close();
}

#[test]
fn another_daemons_store_is_left_alone() {
    let (_directory, path) = place();
    let (first, ..) = begin(&path, first_boot());
    first.submit(vec![put(5000)]);
    let (second, _, error) = begin(&path, first_boot());
    assert!(error.unwrap().contains("already open"));
    second.submit(vec![put(5001)]);
    second.close();
    first.close();
    assert!(!path.join("mappings.redb.unreadable").exists());
    assert_eq!(found(&path), [5000], "nothing of the second one is in it");
}

#[tokio::test]
async fn a_store_that_was_behind_wants_the_whole_table() {
    let (_directory, path) = place();
    let (store, ..) = begin(&path, first_boot());
    // More than can wait, in one go.
    store.submit((0..=MOST_WAITING).map(|_| gone(1)).collect());
    store.settle().await;
    assert!(store.failure().unwrap().contains("too slow"));
    store.replace(vec![mapping(5000)]);
    store.submit(vec![put(5001)]);
    store.close();
    assert_eq!(store.failure(), None);
    assert_eq!(found(&path), [5000, 5001]);
}

#[tokio::test]
async fn a_journal_that_a_snapshot_has_taken_in_is_not_played_again() {
    let (_directory, path) = place();
    let (store, ..) = begin(&path, first_boot());
    store.submit(vec![put(5000)]);
    store.settle().await;
    let old = fs::read(path.join("journal-1")).unwrap();
    store.submit(vec![gone(5000)]);
    store.close();
    let mut file =
        OpenOptions::new().create_new(true).write(true).open(path.join("journal-1")).unwrap();
    file.write_all(&old).unwrap();
    assert!(found(&path).is_empty());
}
