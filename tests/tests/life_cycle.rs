//! The daemon may be killed, restarted, upgraded and started over at any moment.

use anyhow::{Context, Result, bail, ensure};
use nat_tests::client::{Gateway, soap::MAPPING};
use nat_tests::daemon::{Daemon, PIN_DIR, binary, unload};
use nat_tests::lab::{
    ANSWER_TIMEOUT, BpfFs, EXTERNAL, LAN_HOST, Lab, TcpReflector, WAN_HOST, tcp_seen_as, wait_until,
};
use nat_tests::ledger::Ledger;
use nat_tests::stream::{Echo, PACE, Stream};
use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);
const FORWARDED: SocketAddrV4 = SocketAddrV4::new(EXTERNAL, 6000);
const INSIDE: SocketAddrV4 = SocketAddrV4::new(LAN_HOST, 5600);
const LOAD: Duration = Duration::from_micros(500);

fn pin_dir(bpffs: &BpfFs<'_>) -> PathBuf {
    bpffs.path().join(PIN_DIR)
}

/// The folder of this version's pins.
fn layout(bpffs: &BpfFs<'_>) -> Result<PathBuf> {
    let entry = fs::read_dir(pin_dir(bpffs))?.next().context("nothing is pinned")??;
    Ok(entry.path())
}

/// Whether an XDP program is attached to an interface of the router.
fn attached(lab: &Lab, interface: &str) -> Result<bool> {
    Ok(lab.router.ip(&["link", "show", "dev", interface])?.contains("xdp"))
}

/// The error with which a start is refused.
fn refusal(started: Result<Daemon<'_>>) -> Result<String> {
    match started {
        Ok(_) => bail!("it has started"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

/// A daemon starts and translates; afterwards `unload` leaves nothing.
fn recovers(lab: &Lab, bpffs: &BpfFs<'_>) -> Result<()> {
    let daemon = Daemon::builder(lab).pinned(bpffs).start()?;
    let stream = Stream::start(lab.lan.udp("0.0.0.0:0")?, SERVER, PACE)?;
    stream.flows(10, ANSWER_TIMEOUT)?;
    daemon.stop()?;
    unloads(lab, bpffs)
}

/// `unload` leaves nothing.
fn unloads(lab: &Lab, bpffs: &BpfFs<'_>) -> Result<()> {
    unload(lab, bpffs, &[])?.success()?;
    ensure!(!pin_dir(bpffs).exists(), "something is left");
    ensure!(!attached(lab, "lan0")? && !attached(lab, "wan0")?);
    Ok(())
}

#[test]
fn kill_restart_and_upgrade_lose_no_packet_session_or_lease() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let upgrade = lab.directory().join("igd-control-next");
    fs::copy(binary()?, &upgrade)?;
    let start = || Daemon::builder(&lab).pinned(&bpffs).start();
    let daemon = start()?;
    Gateway::discover(&lab.lan)?.add(&MAPPING)?.success()?;
    let (outside, inside) = (Echo::start(&lab.wan, SERVER)?, Echo::start(&lab.lan, INSIDE)?);
    let _tcp = TcpReflector::start(&lab.wan, &SERVER.to_string())?;
    let mut connection = lab.lan.tcp_connect(SERVER)?;
    let seen = tcp_seen_as(&mut connection)?;

    let ledger = Ledger::open(&lab, &daemon)?;
    let outbound = Stream::start(lab.lan.udp("192.168.77.2:5700")?, SERVER, LOAD)?;
    let inbound = Stream::start(lab.wan.udp("11.22.33.9:0")?, FORWARDED, LOAD)?;
    let flows = || outbound.flows(100, ANSWER_TIMEOUT).and(inbound.flows(100, ANSWER_TIMEOUT));
    flows()?;
    let sessions = daemon.sessions()?.len();
    daemon.kill()?;
    flows()?;
    let daemon = start()?;
    flows()?;
    daemon.stop()?;
    flows()?;
    let daemon = Daemon::builder(&lab).binary(&upgrade).pinned(&bpffs).start()?;
    flows()?;
    assert_eq!(tcp_seen_as(&mut connection)?, seen);

    assert_eq!(daemon.sessions()?.len(), sessions);
    let mappings = daemon.mappings()?;
    let lease = mappings.first().and_then(|mapping| mapping["lease_left"].as_u64());
    ensure!(lease.is_some_and(|left| (3_400..3_600).contains(&left)), "{mappings:?}");
    for (journey, echo) in [(outbound.finish()?, &outside), (inbound.finish()?, &inside)] {
        eprintln!("{journey:?}");
        assert_eq!(journey.returned(), journey.sent(), "{journey:?}");
        assert_eq!((echo.arrived(), echo.doubles()), (journey.sent(), 0));
    }
    assert_eq!(ledger.close(&lab, &daemon)?.dropped(), 0);
    daemon.stop()?;
    drop(bpffs);
    lab.finish()
}

#[test]
fn maps_of_another_layout_version_are_refused_with_the_way_out() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let _echo = Echo::start(&lab.wan, SERVER)?;
    Daemon::builder(&lab).pinned(&bpffs).start()?.stop()?;
    let ours = layout(&bpffs)?;
    fs::rename(&ours, ours.with_file_name("layout-99"))?;
    let refused = refusal(Daemon::builder(&lab).pinned(&bpffs).start())?;
    ensure!(refused.contains("layout-99") && refused.contains("igd-control unload"), "{refused}");
    unloads(&lab, &bpffs)?;
    recovers(&lab, &bpffs)?;
    drop(bpffs);
    lab.finish()
}

#[test]
fn maps_that_cannot_hold_what_they_should_are_refused_with_the_way_out() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let _echo = Echo::start(&lab.wan, SERVER)?;
    Daemon::builder(&lab).pinned(&bpffs).start()?.stop()?;
    let folder = layout(&bpffs)?;
    fs::remove_file(folder.join("REMOTES"))?;
    fs::rename(folder.join("POOL"), folder.join("REMOTES"))?;
    let refused = refusal(Daemon::builder(&lab).pinned(&bpffs).start())?;
    ensure!(refused.contains("REMOTES") && refused.contains("igd-control unload"), "{refused}");
    unloads(&lab, &bpffs)?;
    recovers(&lab, &bpffs)?;
    drop(bpffs);
    lab.finish()
}

#[test]
fn maps_of_another_size_are_kept_with_a_warning() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let small = Daemon::builder(&lab).pinned(&bpffs).configured("[nat]\nmax-sessions = 2048\n")?;
    small.start()?.stop()?;
    let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
    assert_eq!(daemon.status()?["max_sessions"], 2048);
    let log = daemon.log();
    let warning =
        log.lines().find(|line| line.contains("keep their size")).context("no warning")?;
    ensure!(warning.contains("WARN") && warning.contains("SESSIONS"), "{warning}");
    daemon.stop()?;
    drop(bpffs);
    lab.finish()
}

/// Which pins a crash has cost.
type Lost<'a> = &'a dyn Fn(&Path) -> bool;

#[test]
fn a_box_that_crashed_half_way_recovers_by_itself_and_by_unload() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let _echo = Echo::start(&lab.wan, SERVER)?;
    let is_link = |pin: &Path| pin.to_string_lossy().contains("/link-");
    let is_map = |pin: &Path| !pin.to_string_lossy().contains("/link-");
    let is_xdp = |pin: &Path| pin.to_string_lossy().contains("/link-xdp");
    let early = |pin: &Path| pin.to_string_lossy().ends_with('S') && is_map(pin);
    let cases: [(Lost<'_>, bool); 5] =
        [(&is_link, false), (&is_map, false), (&is_xdp, false), (&is_map, true), (&early, true)];
    for (lost, by_unload) in cases {
        Daemon::builder(&lab).pinned(&bpffs).start()?.kill()?;
        for pin in fs::read_dir(layout(&bpffs)?)? {
            let pin = pin?.path();
            if lost(&pin) {
                fs::remove_file(pin)?;
            }
        }
        // The kernel lets go of links after their pins, when it has the time.
        if lost(Path::new("/link-xdp")) {
            wait_until("detached programs", ANSWER_TIMEOUT, || Ok(!attached(&lab, "wan0")?))?;
        }
        if by_unload {
            unloads(&lab, &bpffs)?;
        } else {
            recovers(&lab, &bpffs)?;
        }
    }
    fs::create_dir(pin_dir(&bpffs))?;
    recovers(&lab, &bpffs)?;
    drop(bpffs);
    lab.finish()
}

#[test]
fn a_daemon_that_is_killed_at_any_moment_of_its_start_leaves_nothing_in_the_way() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let _echo = Echo::start(&lab.wan, SERVER)?;
    for moment in (0..12).map(|step| Duration::from_millis(100 * step)) {
        Daemon::builder(&lab).pinned(&bpffs).start_and_kill(moment)?;
        Daemon::builder(&lab).start_and_kill(moment).context("without pins")?;
    }
    recovers(&lab, &bpffs)?;
    drop(bpffs);
    lab.finish()
}

#[test]
fn a_lan_that_is_served_no_longer_is_detached_and_another_wan_is_refused() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let bpffs = lab.bpffs()?;
    let start = || Daemon::builder(&lab).pinned(&bpffs);
    start().start()?.stop()?;
    ensure!(attached(&lab, "lan1")?);
    start().lan(&["lan0"]).start()?.stop()?;
    wait_until("a detached program", ANSWER_TIMEOUT, || Ok(!attached(&lab, "lan1")?))?;
    ensure!(attached(&lab, "lan0")? && attached(&lab, "wan0")?);
    let refused = refusal(start().lan(&["lan0"]).wan("lan1").start())?;
    ensure!(refused.contains("WAN is wan0") && refused.contains("unload"), "{refused}");
    drop(bpffs);
    lab.finish()
}
