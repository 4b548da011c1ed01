//! Mappings outlive the daemon, however it ends, and the box's reboot.

use anyhow::{Context, Result, bail, ensure};
use nat_tests::client::{
    Gateway,
    soap::{MAPPING, Mapping},
};
use nat_tests::daemon::{Daemon, DaemonBuilder, unload};
use nat_tests::lab::{ANSWER_TIMEOUT, EXTERNAL, Lab, UdpReflector, udp_seen_as, wait_until};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PORT: SocketAddrV4 = SocketAddrV4::new(EXTERNAL, 6000);

/// Kills of a daemon; each start takes some two seconds.
const KILLS: u64 = 6;

fn state_dir(lab: &Lab) -> PathBuf {
    lab.directory().join("state")
}

/// What became of the requests about each port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    There,
    Gone,
    /// The last request about it was not answered.
    Unsure,
}

/// Adds and deletes mappings, one after the other, until the daemon does not answer any more.
fn make_changes(gateway: &Gateway<'_>, known: &mut BTreeMap<u16, Known>, ended: &AtomicBool) {
    for step in 0_u16.. {
        if ended.load(Ordering::Relaxed) {
            return;
        }
        // Every third request deletes what came a while ago.
        let (port, adds) = match step % 3 {
            2 => (2_000 + (step * 7) % 500, false),
            _ => (2_000 + (step * 11) % 500, true),
        };
        let before = known.insert(port, Known::Unsure);
        let number = port.to_string();
        let answer = if adds {
            gateway.add(&Mapping { external_port: &number, ..MAPPING })
        } else {
            let key = [("NewRemoteHost", ""), ("NewExternalPort", &number), ("NewProtocol", "UDP")];
            gateway.call("DeletePortMapping", &key)
        };
        let Ok(answer) = answer else { return };
        let outcome = match (adds, answer.0.status, answer.error_code()) {
            (true, 200, _) => Known::There,
            (false, 200, _) => Known::Gone,
            (false, _, Some(714)) => Known::Gone,
            // Cut off.
            (_, 0, _) => return,
            _ => before.unwrap_or(Known::Gone),
        };
        known.insert(port, outcome);
    }
}

fn port_of(mapping: &Value) -> Option<u16> {
    u16::try_from(mapping["external_port"].as_u64()?).ok()
}

/// Compares what a new daemon has with what the former ones have acknowledged.
fn compare(daemon: &Daemon<'_>, known: &mut BTreeMap<u16, Known>) -> Result<usize> {
    let listed: BTreeMap<u16, Value> =
        daemon.mappings()?.into_iter().filter_map(|m| Some((port_of(&m)?, m))).collect();
    for (port, state) in known.iter_mut() {
        let found = listed.get(port);
        match state {
            Known::There => {
                let found = found.with_context(|| format!("the mapping of {port} is lost"))?;
                ensure!(found["description"] == "nat-tests", "{found}");
            }
            Known::Gone => ensure!(found.is_none(), "the mapping of {port} is back: {found:?}"),
            Known::Unsure => {
                *state = if found.is_some() { Known::There } else { Known::Gone };
            }
        }
    }
    let strange = listed.keys().find(|port| !known.contains_key(port));
    ensure!(strange.is_none(), "nobody asked for {strange:?}");
    Ok(listed.len())
}

/// Kills daemons under load, and sees what the next one knows.
fn killed_at_any_moment<'lab>(
    lab: &'lab Lab,
    start: impl Fn() -> DaemonBuilder<'lab>,
) -> Result<()> {
    let mut known = BTreeMap::new();
    let mut acknowledged = 0;
    for round in 0..KILLS {
        let daemon = start().start()?;
        compare(&daemon, &mut known).with_context(|| format!("after {round} kills"))?;
        let gateway = Gateway::discover(&lab.lan)?;
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| -> Result<()> {
            let changes = scope.spawn(|| make_changes(&gateway, &mut known, &ended));
            // Commits come a second after the first change: before, within and after one.
            std::thread::sleep(Duration::from_millis(300 + 190 * round));
            daemon.kill()?;
            ended.store(true, Ordering::Relaxed);
            changes.join().map_err(|_| anyhow::anyhow!("the client panicked"))
        })?;
        acknowledged += known.len();
    }
    ensure!(acknowledged > 300, "too few requests to show anything: {acknowledged}");
    let daemon = start().start()?;
    let left = compare(&daemon, &mut known)?;
    ensure!(left > 50, "{left} mappings are left");
    assert_eq!(store_of(&daemon)?, "ok");
    daemon.stop()?;
    Ok(())
}

#[test]
fn kill_9_loses_no_acknowledged_mapping_where_maps_are_pinned() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let state = state_dir(&lab);
    killed_at_any_moment(&lab, || Daemon::builder(&lab).pinned(&bpffs).state(&state))?;
    drop(bpffs);
    lab.finish()
}

#[test]
fn kill_9_loses_no_acknowledged_mapping_where_the_store_is_the_only_memory() -> Result<()> {
    let lab = Lab::home()?;
    let state = state_dir(&lab);
    killed_at_any_moment(&lab, || Daemon::builder(&lab).state(&state))?;
    lab.finish()
}

#[test]
fn a_reboot_keeps_mappings_with_their_words_and_what_is_left_of_their_leases() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let state = state_dir(&lab);
    let _echo = UdpReflector::start(&lab.lan, "192.168.77.2:5600")?;
    let start = || Daemon::builder(&lab).pinned(&bpffs).state(&state).start();
    let daemon = start()?;
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&MAPPING)?.success()?;
    let disabled = Mapping { external_port: "6001", enabled: "0", ..MAPPING };
    gateway.add(&disabled)?.success()?;
    let narrow = Mapping { external_port: "6002", remote_host: "11.22.33.9", ..MAPPING };
    gateway.add(&narrow)?.success()?;
    gateway.add(&Mapping { external_port: "6003", lease: "1", ..MAPPING })?.success()?;
    let before = daemon.mappings()?;
    // As a power cut would end it, but for what the disk has in its cache.
    daemon.kill()?;
    unload(&lab, &bpffs, &["--keep-forwarding"])?.success()?;

    let daemon = start()?;
    wait_until("the end of a short lease", ANSWER_TIMEOUT, || Ok(daemon.mappings()?.len() == 3))?;
    let after = daemon.mappings()?;
    for (mapping, was) in after.iter().zip(&before) {
        for key in ["external_port", "internal", "enabled", "description", "remote_host"] {
            assert_eq!(mapping[key], was[key], "{key}");
        }
        let left = |mapping: &Value| mapping["lease_left"].as_u64().unwrap_or(0);
        ensure!((3_400..=left(was)).contains(&left(mapping)), "{mapping}");
    }
    let caller = lab.wan.udp("11.22.33.9:0")?;
    udp_seen_as(&caller, PORT).context("the mapping is not in force")?;
    daemon.stop()?;
    drop(bpffs);
    lab.finish()
}

#[test]
fn words_and_order_outlive_a_restart_and_the_maps_know_better() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let state = state_dir(&lab);
    let kept = || Daemon::builder(&lab).pinned(&bpffs).state(&state).start();
    let daemon = kept()?;
    let gateway = Gateway::discover(&lab.lan)?;
    for port in ["6002", "6001", "6003"] {
        gateway.add(&Mapping { external_port: port, ..MAPPING })?.success()?;
    }
    daemon.stop()?;
    // A daemon without a store removes one mapping and adds another.
    let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
    let gateway = Gateway::discover(&lab.lan)?;
    let key = [("NewRemoteHost", ""), ("NewExternalPort", "6001"), ("NewProtocol", "UDP")];
    gateway.call("DeletePortMapping", &key)?.success()?;
    gateway.add(&Mapping { external_port: "5000", ..MAPPING })?.success()?;
    daemon.stop()?;

    let daemon = kept()?;
    let listed = daemon.mappings()?;
    let listed: Vec<_> =
        listed.iter().map(|mapping| (port_of(mapping), mapping["description"].as_str())).collect();
    let expected = [
        (Some(6002), Some("nat-tests")),
        (Some(6003), Some("nat-tests")),
        (Some(5000), Some("restored")),
    ];
    assert_eq!(listed, expected);
    daemon.stop()?;
    drop(bpffs);
    lab.finish()
}

/// A small file system of its own. Dropped, it is unmounted.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: &Path, options: &str) -> Result<Self> {
        fs::create_dir_all(path)?;
        mount(Some("disk"), path, Some("tmpfs"), MsFlags::empty(), Some(options))?;
        Ok(Self(path.to_owned()))
    }

    fn read_only(&self, read_only: bool) -> Result<()> {
        let flags = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
        let flags = MsFlags::MS_REMOUNT | flags;
        Ok(mount(None::<&str>, &self.0, None::<&str>, flags, None::<&str>)?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.0, MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", self.0.display());
        }
    }
}

fn store_of(daemon: &Daemon<'_>) -> Result<String> {
    let status = daemon.status()?;
    let store = status.get("store").and_then(Value::as_str);
    Ok(store.context("no store in the status")?.to_owned())
}

/// A metric without labels.
fn metric(daemon: &Daemon<'_>, name: &str) -> Result<f64> {
    let text = daemon.command(&["metrics"])?.success()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("no {name}"))?.parse()?)
}

#[test]
fn a_full_disk_does_not_stop_the_gateway() -> Result<()> {
    let lab = Lab::home()?;
    let disk = Disk::mount(&state_dir(&lab), "size=4m")?;
    let ballast = disk.0.join("ballast");
    let daemon = Daemon::builder(&lab).state(&disk.0).start()?;
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&MAPPING)?.success()?;
    assert_eq!(store_of(&daemon)?, "ok");
    // As much as there is room for.
    let _ = fs::write(&ballast, vec![1; 8 << 20]);
    for port in 7_000..7_100_u16 {
        let port = port.to_string();
        gateway.add(&Mapping { external_port: &port, ..MAPPING })?.success()?;
    }
    wait_until("the store to fail", ANSWER_TIMEOUT, || {
        Ok(store_of(&daemon)?.contains("No space left"))
    })?;
    ensure!(metric(&daemon, "igd_store_failing")? == 1.0);
    ensure!(metric(&daemon, "igd_store_errors_total")? >= 1.0);
    fs::remove_file(&ballast)?;
    daemon.stop()?;
    // What was written before is there; the store is as before the failure.
    let daemon = Daemon::builder(&lab).state(&disk.0).start()?;
    ensure!(daemon.mappings()?.iter().any(|mapping| port_of(mapping) == Some(6000)));
    assert_eq!(store_of(&daemon)?, "ok");
    daemon.stop()?;
    drop(disk);
    lab.finish()
}

#[test]
fn a_disk_that_cannot_be_written_is_read_and_told() -> Result<()> {
    let lab = Lab::home()?;
    let disk = Disk::mount(&state_dir(&lab), "size=8m")?;
    let start = || Daemon::builder(&lab).state(&disk.0).start();
    let daemon = start()?;
    Gateway::discover(&lab.lan)?.add(&MAPPING)?.success()?;
    daemon.stop()?;
    disk.read_only(true)?;
    let daemon = start()?;
    ensure!(store_of(&daemon)?.contains("Read-only"), "{}", store_of(&daemon)?);
    assert_eq!(daemon.mappings()?.len(), 1, "what is on the disk is taken over");
    let second = Mapping { external_port: "6001", ..MAPPING };
    Gateway::discover(&lab.lan)?.add(&second)?.success()?;
    daemon.stop()?;
    disk.read_only(false)?;
    let daemon = start()?;
    assert_eq!((store_of(&daemon)?.as_str(), daemon.mappings()?.len()), ("ok", 1));
    daemon.stop()?;
    drop(disk);
    lab.finish()
}

#[test]
fn a_broken_store_is_kept_aside_and_service_goes_on() -> Result<()> {
    let lab = Lab::home()?;
    let state = state_dir(&lab);
    let start = || Daemon::builder(&lab).state(&state).start();
    let daemon = start()?;
    Gateway::discover(&lab.lan)?.add(&MAPPING)?.success()?;
    daemon.stop()?;
    let file = state.join("mappings.redb");
    let whole = fs::read(&file)?;
    fs::write(&file, &whole[..whole.len() / 3])?;
    let daemon = start()?;
    let log = daemon.log();
    let Some(line) = log.lines().find(|line| line.contains("mappings.redb.unreadable")) else {
        bail!("nothing is said about it:\n{log}");
    };
    ensure!(line.contains("ERROR"), "{line}");
    assert_eq!(fs::read(state.join("mappings.redb.unreadable"))?.len(), whole.len() / 3);
    Gateway::discover(&lab.lan)?.add(&MAPPING)?.success()?;
    wait_until("a store that is well", ANSWER_TIMEOUT, || Ok(store_of(&daemon)? == "ok"))?;
    daemon.stop()?;
    let daemon = start()?;
    assert_eq!(daemon.mappings()?.len(), 1);
    daemon.stop()?;
    lab.finish()
}
