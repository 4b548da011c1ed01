"""A control point by async-upnp-client.

async_upnp.py VERSION PORT REMOTE

finds the gateway of that version, subscribes to all that it knows of it, and maps TCP PORT for REMOTE;
after SIGUSR1 it lists the mappings, deletes this one, waits for the events of that, and unsubscribes.
"""

import asyncio
import datetime
import ipaddress
import signal
import sys

from async_upnp_client.aiohttp import AiohttpNotifyServer, AiohttpRequester
from async_upnp_client.client_factory import UpnpFactory
from async_upnp_client.exceptions import UpnpActionError
from async_upnp_client.profiles.igd import IgdDevice

HOST = ipaddress.IPv4Address("192.168.77.2")
HOST_PORT = 5600
PATIENCE_SECONDS = 40
# Of a search; its answers are all waited for.
MX_SECONDS = 1

version, port, remote = sys.argv[1], int(sys.argv[2]), ipaddress.IPv4Address(sys.argv[3])


def say(*values):
    print(*values, flush=True)


async def find():
    kind = f"urn:schemas-upnp-org:device:InternetGatewayDevice:{version}"
    for answer in await IgdDevice.async_search(source=(str(HOST), 0), timeout=MX_SECONDS):
        if answer["st"] == kind:
            return answer["location"]
    raise SystemExit("nobody answered")


async def mappings(igd):
    found = []
    try:
        while True:
            found.append(await igd.async_get_generic_port_mapping_entry(len(found)))
    except UpnpActionError as error:
        say("end", error.error_code)
    return found


async def main():
    going, gone = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, going.set)
    requester = AiohttpRequester()
    server = AiohttpNotifyServer(requester, source=(str(HOST), 0))
    await server.async_start_server()
    # It reads descriptions strictly.
    device = await UpnpFactory(requester).async_create_device(await find())
    igd = IgdDevice(device, server.event_handler)
    say("device", igd.device_type)

    def changed(_service, variables):
        for variable in variables:
            say("event", variable.name, variable.value)
        if going.is_set() and igd.port_mapping_number_of_entries == 0:
            gone.set()

    igd.on_event = changed
    await igd.async_subscribe_services()
    say("address", await igd.async_get_external_ip_address())
    say("status", (await igd.async_get_status_info()).connection_status)
    say("link", (await igd.async_get_common_link_properties()).physical_link_status)
    lease = datetime.timedelta(hours=1)
    await igd.async_add_port_mapping(
        remote, port, "TCP", HOST_PORT, HOST, True, "async <upnp> & client", lease)
    say("added")
    await going.wait()
    for entry in await mappings(igd):
        assert entry.lease_duration <= lease, entry
        say("mapping", entry.remote_host, entry.external_port, entry.protocol,
            entry.internal_client, entry.internal_port, entry.enabled, entry.description)
    say("received", await igd.async_get_total_packets_received() > 0)
    await igd.async_delete_port_mapping(remote, port, "TCP")
    await gone.wait()
    await igd.async_unsubscribe_services()
    await server.async_stop_server()
    say("deleted")


asyncio.run(asyncio.wait_for(main(), PATIENCE_SECONDS))
