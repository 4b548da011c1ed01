//! The keys as users are told of them: the one source of `igd-control config` and
//! docs/configuration.md.

/// One key of the configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its table in the file.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// Its default, as it is written in the file.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

const fn key(
    section: &'static str,
    name: &'static str,
    default: &'static str,
    help: &'static str,
) -> Key {
    Key { section, name, default, help }
}

/// Every key, in the order of the file.
pub const KEYS: &[Key] = &[
    key(
        "interfaces",
        "lan",
        "[]",
        "Names of the LAN interfaces, as in [\"lan0\", \"lan1\"]. Needed here or as --lan.",
    ),
    key(
        "interfaces",
        "wan",
        "\"\"",
        "Name of the WAN interface, whose own address is the external one. Needed here or as --wan.",
    ),
    key(
        "interfaces",
        "xdp-mode",
        "\"auto\"",
        "How the XDP program attaches: \"native\" (in the driver) or fail, \"generic\" (slower, \
         everywhere), or \"auto\": native where the driver can, else generic with a warning.",
    ),
    key(
        "nat",
        "enabled",
        "true",
        "Whether packets are translated here. false: the kernel routes them, no XDP program is attached, and \
         all other keys of this table are without effect; port mappings are those of the PCP server in \
         [upstream], which must be named. For routers beneath a NAT that sees their LAN's addresses.",
    ),
    key(
        "nat",
        "max-sessions",
        "262144",
        "Most sessions at a time, 1024 to 16777216. Kernel memory grows with it, about 240 bytes each.",
    ),
    key(
        "nat",
        "pool",
        "[]",
        "External addresses, up to 256, singly or as ranges: [\"192.0.2.1\", \"192.0.2.4-192.0.2.9\"]. They \
         must be addresses of the WAN interface; those that are not there at the moment are left out. \
         Each client has one of them for all that it sends; port mappings are on the first. Empty: the \
         WAN interface's first address. The number is fixed while maps are pinned; 6 MiB of kernel \
         memory each.",
    ),
    key(
        "nat",
        "max-sessions-per-client",
        "65536",
        "Most sessions of one LAN client, those from outside to it included, of which a quarter is \
         for those that it opens itself; 0: no limit (RFC 6888 REQ-4). Ended ones are given back by a sweep, every few seconds. Limits of sessions and ports \
         hold while a daemon runs, for up to 16384 clients.",
    ),
    key(
        "nat",
        "max-ports-per-client",
        "16384",
        "Most external ports and ping identifiers of one LAN client, port forwards aside; 0: no limit \
         (RFC 6888 REQ-3).",
    ),
    key(
        "nat",
        "new-sessions-per-second",
        "0",
        "Most sessions that one LAN client may open in a second; 0: no limit. Sessions from outside do \
         not count.",
    ),
    key(
        "nat",
        "preserve-ports",
        "true",
        "Give a connection its internal port outside too, when that port is free and not among the \
         kernel's own local ports (net.ipv4.ip_local_port_range).",
    ),
    key(
        "nat",
        "filtering-udp",
        "\"endpoint-independent\"",
        "Who may send to a UDP port that a LAN client uses, beside those whom a port forward lets in: \
         \"endpoint-independent\" (everybody; best for calls and games), \"address-dependent\" (hosts \
         to which the client has sent from it) or \"address-and-port-dependent\" (only the ports of \
         those hosts that it has sent to) (RFC 4787 REQ-8). The two strict ones take another 24 MiB \
         for 262144 sessions; from the first to them: `igd-control unload` first.",
    ),
    key("nat", "filtering-tcp", "\"endpoint-independent\"", "The same for TCP (RFC 5382 REQ-3)."),
    key(
        "nat",
        "filtering-icmp",
        "\"endpoint-independent\"",
        "The same for the identifiers of ICMP queries: who may answer them.",
    ),
    key(
        "nat",
        "udp-timeout",
        "300",
        "Seconds after which an idle UDP session ends; at least 120 (RFC 4787 REQ-5).",
    ),
    key(
        "nat",
        "tcp-established-timeout",
        "7440",
        "Seconds after which an idle established TCP connection ends; at least 7440 \
         (RFC 5382 REQ-5).",
    ),
    key(
        "nat",
        "tcp-transitory-timeout",
        "240",
        "Seconds after which a TCP connection that is opening or closing ends; at least 240 \
         (RFC 5382 REQ-5).",
    ),
    key(
        "nat",
        "icmp-timeout",
        "60",
        "Seconds after which an idle ICMP query session ends; at least 60 (RFC 5508 REQ-2).",
    ),
    key(
        "nat",
        "mss-clamp",
        "\"off\"",
        "Largest TCP segment that a connection may offer when it opens: \"off\" (whatever it offers), \
         \"mtu\" (what fits the MTU of both its links) or a number of bytes from 536 on. For links \
         behind which path MTU discovery fails.",
    ),
    key(
        "nat",
        "mapping-log",
        "\"\"",
        "Absolute path of a file to which every mapping is logged: a line of JSON when a LAN client gets \
         an external port and another when it has it no more, by the names of RFC 8158 (natEvent 8 and 9). \
         Where packets go is not logged. A file that is moved away is followed by a new one. Empty: no \
         log.",
    ),
    key(
        "upnp",
        "http-port",
        "5000",
        "TCP port of device description and control on each LAN address; 0 takes any free port.",
    ),
    key(
        "upnp",
        "friendly-name",
        "\"Internet gateway (igd-control)\"",
        "The gateway's name in lists of devices, up to 63 characters.",
    ),
    key(
        "upnp",
        "uuid",
        "\"\"",
        "UUID of the root device. Empty: derived from the machine's id and its first LAN interface, \
         so that it stays the same.",
    ),
    key(
        "upnp",
        "max-age",
        "1800",
        "Seconds for which an SSDP announcement holds, 60 to 86400; the UPnP architecture advises \
         1800 or more.",
    ),
    key(
        "upnp",
        "notify-interval",
        "600",
        "Seconds between SSDP announcements, 10 to half of max-age.",
    ),
    key(
        "upnp",
        "longest-lease",
        "604800",
        "Seconds that the longest lease of an IGD:1 control point lasts, 120 to 31536000: what it gets \
         when it asks for a lease without end or for a longer one. Version 2 has its own limit, 604800.",
    ),
    key(
        "upnp",
        "access-provider",
        "\"\"",
        "Name of the Internet provider, as control points are told (WANAccessProvider).",
    ),
    key("pcp", "enabled", "true", "Serve PCP (RFC 6887) on UDP port 5351 of each LAN address."),
    key("pcp", "nat-pmp", "true", "Answer NAT-PMP (RFC 6886) there too."),
    key(
        "pcp",
        "third-party",
        "false",
        "Take PCP's THIRD_PARTY option from clients that the policy lets map for others; else it is \
         unsupported.",
    ),
    key(
        "pcp",
        "peer",
        "true",
        "Answer PCP's PEER, by which clients have single sessions last without keepalives; else it is an \
         unsupported opcode.",
    ),
    key(
        "pcp",
        "min-lifetime",
        "120",
        "Seconds that the shortest mapping by PCP lasts, 1 to max-lifetime: what is given to who asks \
         for less.",
    ),
    key(
        "pcp",
        "max-lifetime",
        "86400",
        "Seconds that the longest mapping by PCP or NAT-PMP lasts, 120 to 31536000.",
    ),
    key(
        "upstream",
        "server",
        "\"none\"",
        "PCP server of the NAT that this gateway is itself behind, which then gets every port mapping too: \
         its address or name, \"gateway\" (the IPv4 address of the WAN interface's default route) or \
         \"none\". An address of IPv6, such as that of DS-Lite's AFTR, may have its interface behind it, as \
         in \"fe80::1%wan0\". A name is looked up every five minutes, and of several addresses one is used \
         that answers. The external address that clients see is the one that the server gives. While it \
         does not answer, or speaks no PCP, all is as without it.",
    ),
    key(
        "upstream",
        "interface",
        "\"\"",
        "Interface by which a server is asked that has an address of IPv6. Empty: the WAN interface; another \
         one where that is a tunnel.",
    ),
    key(
        "upstream",
        "server-file",
        "\"\"",
        "File in which a DHCP client leaves the addresses of PCP servers (option 158, or 86 of DHCPv6). They \
         come before `server`: the first one, and after one that does not answer the next. It is read every \
         30 seconds. Empty: none.",
    ),
    key(
        "upstream",
        "clat-prefix",
        "\"\"",
        "Where the NAT upstream is a NAT64 (464XLAT): the prefix behind which a translator at our end puts the \
         LAN's IPv4 addresses, as in \"2001:db8:64::/96\". Mappings are then asked for by those addresses, of \
         a server of IPv6. Empty: the NAT upstream sees IPv4.",
    ),
    key(
        "upstream",
        "nat64-prefix",
        "\"64:ff9b::/96\"",
        "With clat-prefix: the prefix behind which that NAT64 has the IPv4 addresses of remote hosts.",
    ),
    key(
        "upstream",
        "stun-server",
        "\"\"",
        "STUN server that is asked, at the start, after a change of address and every hour, from which address \
         it sees us, as in \"stun.example.net:3478\". Where that is not our own there is another NAT before \
         this one: the status, a metric and the log tell. Empty: nobody is asked.",
    ),
    key(
        "upstream",
        "private-address",
        "\"truth\"",
        "What GetExternalIPAddress answers while the external address is one that the Internet does not \
         route: \"truth\" (that address), \"empty\" (nothing, so that clients do not announce it) or \"upstream\" \
         (the one by which the NAT upstream is known from its server or by STUN; nothing while it is not known).",
    ),
    key(
        "connection",
        "up-command",
        "[]",
        "Program and arguments that bring the WAN link up when a control point asks for it, as in \
         [\"/usr/sbin/ifup\", \"wan0\"]; not run through a shell. IGD_WAN holds the interface's name.",
    ),
    key(
        "connection",
        "down-command",
        "[]",
        "Program and arguments that take the WAN link down. Without, only no packets transit any more.",
    ),
    key(
        "connection",
        "command-time",
        "30",
        "Seconds that either command may take before it is ended, 1 to 600.",
    ),
    key(
        "connection",
        "setup-time",
        "60",
        "Seconds within which a connection that was asked for must be there, 1 to 600.",
    ),
    key(
        "policy",
        "mode",
        "\"own-client\"",
        "What clients may do where no rule says it: \"own-client\" (map, see and delete ports of their \
         own address, from 1024 on, and not end the connection, which is everybody's) or \"open\" \
         (everything, for any host).",
    ),
    key(
        "policy",
        "rule",
        "[]",
        "Rules, each better written as a table [[policy.rule]] of its own: see below.",
    ),
    key("policy", "max-mappings", "4096", "Most port mappings in all, up to 65535."),
    key(
        "policy",
        "max-mappings-per-client",
        "256",
        "Most port mappings of one internal client, up to max-mappings.",
    ),
    key(
        "policy",
        "requests-per-second",
        "1000",
        "Most control requests of one LAN client in a second, in the long run; ten times as many at \
         once. More are answered with HTTP status 503, or by PCP and NAT-PMP not at all. 0: no limit.",
    ),
    key(
        "daemon",
        "pin-dir",
        "\"/sys/fs/bpf/igd-control\"",
        "Directory of a mounted BPF file system in which program and maps outlive the daemon. Empty \
         (or --no-pin): nothing is pinned, translation ends with the daemon.",
    ),
    key(
        "daemon",
        "control-socket",
        "\"/run/igd-control.sock\"",
        "Unix socket at which the daemon answers `igd-control status` and its siblings.",
    ),
    key(
        "daemon",
        "state-dir",
        "\"/var/lib/igd-control\"",
        "Directory in which port mappings are kept across reboots, with their descriptions. It is made \
         when it is not there. Empty (or --no-state): nothing is kept, and a new daemon finds only what is pinned.",
    ),
    key(
        "daemon",
        "log",
        "\"info\"",
        "What is logged: a level (error, warn, info, debug, trace) or a tracing filter, as in \
         \"info,igd_control::ssdp=debug\". The environment's RUST_LOG comes first.",
    ),
    key(
        "metrics",
        "listen",
        "\"\"",
        "Address and TCP port at which metrics are served to monitoring systems, as in \
         \"127.0.0.1:9469\"; the path is /metrics. Empty: only `igd-control metrics` shows them.",
    ),
];

/// An array of tables in the file, of which there may be any number.
#[derive(Clone, Copy, Debug)]
pub struct TableKeys {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Its keys; `section` is its name, and `default` an example.
    pub keys: &'static [Key],
}

/// The arrays of tables.
pub const TABLES: &[TableKeys] = &[
    TableKeys {
        name: "policy.rule",
        help: "A rule about port mappings. The first rule whose keys all match decides; of a list one \
               entry must match. Where none matches policy.mode decides. A rule that denies matches \
               whatever it does not exclude. A rule that allows widens only what it names: without \
               `clients` it is for the requester's own address, and without ports for those from 1024 \
               on, unless the mode is \"open\". A client may list and delete what it may map. `igd-control \
               policy check` tells which rule decides. Rules are read again by `igd-control reload`.",
        keys: &[
            key("policy.rule", "action", "\"deny\"", "\"allow\" or \"deny\". Needed."),
            key("policy.rule", "name", "\"guests\"", "For you, and for `policy check`."),
            key(
                "policy.rule",
                "requesters",
                "[\"192.168.9.0/24\"]",
                "Addresses and subnets of those who ask.",
            ),
            key("policy.rule", "clients", "[\"192.168.9.5\"]", "Where packets would go."),
            key("policy.rule", "protocols", "[\"tcp\", \"udp\"]", "\"tcp\", \"udp\"."),
            key(
                "policy.rule",
                "external-ports",
                "[80, \"8000-8999\"]",
                "External ports; 0 is a mapping of every port that is not otherwise mapped.",
            ),
            key("policy.rule", "internal-ports", "[\"1024-65535\"]", "Internal ports."),
            key(
                "policy.rule",
                "remote-hosts",
                "[\"198.51.100.0/24\"]",
                "Only mappings that let in one remote host, which is among these.",
            ),
            key(
                "policy.rule",
                "via",
                "[\"upnp\"]",
                "By which protocol it is asked for: \"upnp\", \"pcp\", \"nat-pmp\".",
            ),
        ],
    },
    TableKeys {
        name: "mapping",
        help: "A static port mapping: it has no lease, clients see it and cannot change or delete it. Read \
               again by `igd-control reload`. `igd-control mapping add` makes others beside these.",
        keys: &[
            key("mapping", "protocol", "\"tcp\"", "\"tcp\" or \"udp\". Needed."),
            key(
                "mapping",
                "external-port",
                "8443",
                "External port; 0: every port that is not otherwise mapped. Needed.",
            ),
            key(
                "mapping",
                "client",
                "\"192.168.1.5\"",
                "Address of the host that gets it. Needed.",
            ),
            key("mapping", "internal-port", "443", "Its port there; else the external one."),
            key(
                "mapping",
                "remote-host",
                "\"198.51.100.7\"",
                "The only host that is let in; else all are.",
            ),
            key("mapping", "description", "\"web server\"", "What it is for."),
        ],
    },
];
