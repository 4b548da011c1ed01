use super::*;

const NOW: BootTime = BootTime(7_000_000_000_000);
const BARE: WanLink = WanLink { addressed: false, routed: false, ..WanLink::READY };
const UNPLUGGED: WanLink = WanLink { carrier: false, ..BARE };

fn after(seconds: u64) -> BootTime {
    NOW.plus_secs(seconds)
}

/// One that is connected since [`NOW`].
fn connected(config: ConnectionConfig) -> Connection {
    let mut connection = Connection::new(config);
    assert_eq!(connection.status(), Status::Unconfigured);
    connection.link_is(NOW, WanLink::READY);
    assert_eq!(connection.status(), Status::Connected);
    connection
}

const COMMANDS: ConnectionConfig =
    ConnectionConfig { has_up: true, has_down: true, setup_time: 60 };

fn plain() -> Connection {
    connected(ConnectionConfig::default())
}

#[test]
fn it_follows_the_link_as_long_as_nobody_ends_it() {
    let mut connection = plain();
    for (link, error) in [
        (UNPLUGGED, LastError::NoCarrier),
        (BARE, LastError::IspDisconnect),
        (WanLink { routed: false, ..WanLink::READY }, LastError::IspDisconnect),
    ] {
        connection.link_is(after(10), link);
        assert_eq!((connection.status(), connection.last_error()), (Status::Disconnected, error));
        assert_eq!((connection.uptime(after(11)), connection.transits()), (0, false));
        connection.link_is(after(20), WanLink::READY);
        assert_eq!(connection.status(), Status::Connected);
        assert_eq!(connection.last_error(), LastError::None);
        assert_eq!(connection.uptime(after(25)), 5);
    }
    connection.link_is(after(30), WanLink::default());
    assert_eq!(connection.status(), Status::Unconfigured);
    assert_eq!(connection.request(after(31)), Err(ErrorCode::ConnectionNotConfigured));
    assert_eq!(connection.terminate(after(31)), Err(ErrorCode::ConnectionNotConfigured));
    assert_eq!(connection.force(after(31)), Err(ErrorCode::ConnectionNotConfigured));
}

#[test]
fn what_a_user_has_ended_stays_so_until_somebody_asks() {
    let mut connection = plain();
    connection.terminate(after(1)).unwrap();
    assert_eq!(connection.status(), Status::Disconnected);
    assert_eq!(connection.last_error(), LastError::UserDisconnect);
    connection.link_is(after(2), UNPLUGGED);
    connection.link_is(after(3), WanLink::READY);
    assert_eq!(connection.status(), Status::Disconnected);
    assert_eq!(connection.terminate(after(4)), Err(ErrorCode::ConnectionAlreadyTerminated));
    assert_eq!(connection.force(after(4)), Err(ErrorCode::ConnectionAlreadyTerminated));
    connection.request(after(5)).unwrap();
    assert_eq!((connection.status(), connection.uptime(after(9))), (Status::Connected, 4));
    connection.request(after(6)).unwrap();
    assert_eq!(connection.uptime(after(9)), 4, "a connection that is there is left alone");
}

#[test]
fn a_warning_comes_before_the_end_and_can_be_called_off() {
    let mut connection = plain();
    connection.set_warn_delay(5);
    connection.terminate(after(1)).unwrap();
    assert_eq!(connection.status(), Status::PendingDisconnect);
    assert!(connection.transits(), "packets flow meanwhile");
    assert_eq!(connection.uptime(after(3)), 3);
    assert_eq!(connection.terminate(after(2)), Err(ErrorCode::DisconnectInProgress));
    connection.request(after(3)).unwrap();
    connection.pass(after(10));
    assert_eq!((connection.status(), connection.uptime(after(10))), (Status::Connected, 10));
    connection.terminate(after(10)).unwrap();
    assert_eq!(connection.next_moment(), Some(after(15)));
    connection.pass(after(14));
    assert_eq!(connection.status(), Status::PendingDisconnect);
    connection.pass(after(15));
    assert_eq!(connection.status(), Status::Disconnected);
    assert_eq!(connection.next_moment(), None);
}

#[test]
fn force_does_not_warn() {
    for wait in [false, true] {
        let mut connection = plain();
        connection.set_warn_delay(5);
        if wait {
            connection.terminate(after(1)).unwrap();
        }
        connection.force(after(2)).unwrap();
        assert_eq!(connection.status(), Status::Disconnected);
        assert_eq!(connection.last_error(), LastError::ForcedDisconnect);
    }
}

#[test]
fn the_operators_commands_bring_it_up_and_down() {
    let mut connection = connected(COMMANDS);
    connection.terminate(after(1)).unwrap();
    assert_eq!((connection.status(), connection.transits()), (Status::Disconnecting, false));
    assert_eq!(connection.take_errand(), Some(Errand::Down));
    assert_eq!(connection.take_errand(), None);
    for refused in [
        connection.clone().terminate(after(2)),
        connection.clone().force(after(2)),
        connection.clone().request(after(2)),
    ] {
        assert_eq!(refused, Err(ErrorCode::DisconnectInProgress));
    }
    connection.link_is(after(2), UNPLUGGED);
    connection.errand_ended(Errand::Down, true);
    assert_eq!(connection.status(), Status::Disconnected);
    assert_eq!(connection.last_error(), LastError::UserDisconnect);

    connection.request(after(3)).unwrap();
    assert_eq!(connection.status(), Status::Connecting);
    assert_eq!(connection.take_errand(), Some(Errand::Up));
    assert_eq!(connection.request(after(4)), Err(ErrorCode::ConnectionSetupInProgress));
    connection.errand_ended(Errand::Up, true);
    assert_eq!(connection.status(), Status::Connecting, "the address comes later");
    connection.link_is(after(5), WanLink::READY);
    assert_eq!(connection.status(), Status::Connected);
}

#[test]
fn a_setup_that_comes_to_nothing_ends() {
    let setting_up = || {
        let mut connection = connected(COMMANDS);
        connection.link_is(NOW, UNPLUGGED);
        connection.request(NOW).unwrap();
        connection.take_errand();
        connection
    };
    let mut failed = setting_up();
    failed.errand_ended(Errand::Up, false);
    assert_eq!((failed.status(), failed.last_error()), (Status::Disconnected, LastError::Unknown));

    for (link, error) in [(UNPLUGGED, LastError::NoCarrier), (BARE, LastError::IpConfiguration)] {
        let mut late = setting_up();
        late.link_is(after(1), link);
        assert_eq!(late.next_moment(), Some(after(60)));
        late.pass(after(60));
        assert_eq!((late.status(), late.last_error()), (Status::Disconnected, error));
        assert_eq!(late.take_errand(), Some(Errand::Stop));
    }

    // Aborted, it does not wait for a warning.
    let mut aborted = setting_up();
    aborted.set_warn_delay(5);
    aborted.terminate(after(1)).unwrap();
    assert_eq!(aborted.status(), Status::Disconnecting);
    assert_eq!(aborted.last_error(), LastError::CommandAborted);
    aborted.pass(after(61));
    assert_eq!(aborted.status(), Status::Disconnected, "also when the command hangs");

    let mut hopeless = plain();
    hopeless.link_is(after(1), UNPLUGGED);
    assert_eq!(hopeless.request(after(2)), Err(ErrorCode::ConnectionSetupFailed));
    assert_eq!(hopeless.last_error(), LastError::NoCarrier);
}

#[test]
fn without_internet_access_there_is_no_connection() {
    let mut connection = plain();
    connection.set_warn_delay(5);
    connection.enable(after(1), false);
    assert_eq!(connection.status(), Status::Disconnected);
    assert_eq!(connection.last_error(), LastError::NotEnabledForInternet);
    assert_eq!(connection.request(after(2)), Err(ErrorCode::InternetAccessDisabled));
    connection.link_is(after(3), UNPLUGGED);
    connection.link_is(after(3), WanLink::READY);
    assert_eq!(connection.status(), Status::Disconnected);
    connection.enable(after(4), true);
    assert_eq!(connection.status(), Status::Connected);
    let mut commanded = connected(COMMANDS);
    commanded.enable(after(1), false);
    assert_eq!(commanded.take_errand(), Some(Errand::Down));
    commanded.link_is(after(2), UNPLUGGED);
    commanded.errand_ended(Errand::Down, true);
    commanded.enable(after(3), true);
    assert_eq!(
        (commanded.status(), commanded.take_errand()),
        (Status::Connecting, Some(Errand::Up))
    );

    connection.force(after(5)).unwrap();
    connection.enable(after(6), false);
    connection.enable(after(7), true);
    assert_eq!(connection.status(), Status::Disconnected, "it was ended before");
}

#[test]
fn it_ends_by_itself_after_its_time() {
    for (warn, ends) in [(0, Status::Disconnected), (5, Status::PendingDisconnect)] {
        let mut connection = plain();
        connection.set_auto_disconnect(100);
        connection.set_warn_delay(warn);
        assert_eq!(connection.next_moment(), Some(after(100)));
        connection.pass(after(99));
        assert_eq!(connection.status(), Status::Connected);
        connection.pass(after(100));
        assert_eq!(connection.status(), ends);
        connection.request(after(101)).unwrap();
        connection.pass(after(102));
        assert_eq!(
            (connection.status(), connection.next_moment()),
            (Status::Connected, Some(after(201)))
        );
    }
}

#[test]
fn it_ends_when_no_packet_has_come_for_its_idle_time() {
    let mut connection = plain();
    connection.set_idle_disconnect(NOW, 160);
    let mut packets = 5;
    let mut now = NOW;
    while now < after(1_000) {
        if connection.counts(now) {
            packets += u64::from(now < after(500));
            connection.packets_are(now, packets);
        }
        connection.pass(now);
        if connection.status() != Status::Connected {
            break;
        }
        now = connection.next_moment().unwrap();
    }
    assert!(now >= after(640) && now <= after(670), "{}", now.nanos_from(NOW) / 1_000_000_000);
    assert_eq!(connection.last_error(), LastError::IdleDisconnect);
}
