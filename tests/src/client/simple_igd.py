"""Maps a port by gupnp-igd, which renews the lease by itself, until SIGUSR1 comes.

simple_igd.py PROTOCOL EXTERNAL_PORT HOST HOST_PORT LEASE

It does not say when a mapping is deleted.
"""

import signal
import sys

import gi

gi.require_version("GUPnPIgd", "1.0")
from gi.repository import GLib, GUPnPIgd  # noqa: E402

protocol, external, host, port, lease = sys.argv[1:]


def say(*values):
    print(*values, flush=True)


def mapped(_igd, protocol, address, _former, external, host, port, description):
    say("mapped", protocol, address, external, host, port, description)


def failed(_igd, error, *_mapping):
    say("error", error.code, error.message)


def remove():
    igd.remove_port(protocol, int(external))
    return GLib.SOURCE_REMOVE


igd = GUPnPIgd.SimpleIgd()
igd.connect("mapped-external-port", mapped)
igd.connect("error-mapping-port", failed)
igd.add_port(protocol, int(external), host, int(port), int(lease), "gupnp-igd")
GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGUSR1, remove)
GLib.MainLoop().run()
