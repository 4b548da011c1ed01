"""A BitTorrent client by libtorrent.

torrent.py seed FOLDER PORT             offers FOLDER/data, with its port forwarded by UPnP
torrent.py fetch FOLDER ADDRESS PORT    gets it from there into FOLDER/fetched

The seed writes FOLDER/data.torrent, and goes away with its mappings at SIGTERM.
"""

import signal
import sys
import time

import libtorrent as lt

PATIENCE_SECONDS = 25

verb, folder, *words = sys.argv[1:]
alone = {"enable_dht": False, "enable_lsd": False, "enable_natpmp": False, "enable_upnp": False}


def say(*values):
    print(*values, flush=True)


def make_torrent():
    files = lt.file_storage()
    lt.add_files(files, f"{folder}/data")
    torrent = lt.create_torrent(files)
    lt.set_piece_hashes(torrent, folder)
    with open(f"{folder}/data.torrent", "wb") as file:
        file.write(lt.bencode(torrent.generate()))


def alerts(session):
    session.wait_for_alert(200)
    return session.pop_alerts()


def seed(port):
    make_torrent()
    going = []
    signal.signal(signal.SIGTERM, lambda *_: going.append(True))
    session = lt.session({
        **alone,
        "enable_upnp": True,
        "listen_interfaces": f"192.168.77.2:{port}",
        "alert_mask": lt.alert.category_t.port_mapping_notification,
    })
    session.add_torrent({"ti": lt.torrent_info(f"{folder}/data.torrent"), "save_path": folder})
    while not going:
        for alert in alerts(session):
            if isinstance(alert, lt.portmap_alert):
                say("mapped", alert.external_port, alert.message())
            else:
                say("alert", alert.what(), alert.message())


def fetch(address, port):
    session = lt.session({**alone, "listen_interfaces": "11.22.33.9:6999",
                          "alert_mask": lt.alert.category_t.peer_notification})
    torrent = session.add_torrent({
        "ti": lt.torrent_info(f"{folder}/data.torrent"), "save_path": f"{folder}/fetched"})
    torrent.connect_peer((address, int(port)))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not torrent.status().is_seeding:
        for alert in alerts(session):
            say("alert", alert.what(), alert.message())
        if time.monotonic() > deadline:
            say("not in time")
            sys.exit(1)
    say("fetched")


seed(*words) if verb == "seed" else fetch(*words)
