"""A control point of GUPnP's.

gupnp.py VERSION find                     what the device documents hold
gupnp.py VERSION watch                    subscribes, and prints events until it is killed
gupnp.py VERSION call ACTION NAME=VALUE…  calls an action of WANIPConnection, prints its answer
"""

import sys

import gi

gi.require_version("GSSDP", "1.6")
gi.require_version("GUPnP", "1.6")
from gi.repository import GLib, GObject, GSSDP, GUPnP  # noqa: E402

PATIENCE_SECONDS = 20

version, verb, *words = sys.argv[1:]
loop = GLib.MainLoop()
status = 1


def say(*values):
    print(*values, flush=True)


def end(code):
    global status
    status = code
    loop.quit()


def services(device):
    yield from device.list_services()
    for inner in device.list_devices():
        yield from services(inner)


def changed(_service, variable, value, _data):
    say("event", variable, value)


def watch(service):
    for variable, kind in [("PortMappingNumberOfEntries", GObject.TYPE_UINT),
                           ("ConnectionStatus", GObject.TYPE_STRING),
                           ("ExternalIPAddress", GObject.TYPE_STRING)]:
        service.add_notify(variable, kind, changed, None)
    if version == "2":
        service.add_notify("SystemUpdateID", GObject.TYPE_UINT, changed, None)
    service.connect("subscription-lost", lambda _service, error: say("lost", error))
    service.set_subscribed(True)


def call(service, introspection):
    """Types and order of the arguments are those of the service's description."""
    name, given = words[0], dict(word.split("=", 1) for word in words[1:])
    takes, gives = [], []
    for argument in introspection.get_action(name).arguments:
        kind = introspection.get_state_variable(argument.related_state_variable).type
        into = argument.direction == GUPnP.ServiceActionArgDirection.IN
        (takes if into else gives).append((argument.name, kind))
    values = [GObject.Value(kind, parsed(kind, given.pop(argument))) for argument, kind in takes]
    assert not given, given
    action = GUPnP.ServiceProxyAction.new_from_list(name, [name for name, _ in takes], values)
    try:
        service.call_action(action, None)
        _, answer = action.get_result_list([name for name, _ in gives], [kind for _, kind in gives])
    except GLib.Error as error:
        say("error", error.code, error.message)
        return end(0)
    for (argument, _), value in zip(gives, answer):
        say(argument, value)
    return end(0)


def parsed(kind, text):
    if kind == GObject.TYPE_STRING:
        return text
    return text == "1" if kind == GObject.TYPE_BOOLEAN else int(text)


def found(_control_point, device):
    if device.get_device_type() != f"urn:schemas-upnp-org:device:InternetGatewayDevice:{version}":
        return  # a higher version answers a search for a lower one, too
    all_services = {service.get_service_type(): service for service in services(device)}
    wanted = f"urn:schemas-upnp-org:service:WANIPConnection:{version}"
    if verb == "find":
        say("device", device.get_udn(), device.get_location())
        for kind in all_services:
            say("service", kind)
        return end(0)
    service = all_services[wanted]
    found.kept = service
    if verb == "watch":
        return watch(service)

    def described(service, result):
        call(service, service.introspect_finish(result))

    return service.introspect_async(None, described)


def gave_up():
    say("nobody answered")
    loop.quit()


context = GUPnP.Context.new_full("eth0", None, 0, GSSDP.UDAVersion.VERSION_1_1)
control_point = GUPnP.ControlPoint.new(
    context, f"urn:schemas-upnp-org:device:InternetGatewayDevice:{version}")
control_point.connect("device-proxy-available", found)
control_point.set_active(True)
if verb != "watch":
    GLib.timeout_add_seconds(PATIENCE_SECONDS, gave_up)
loop.run()
sys.exit(status)
