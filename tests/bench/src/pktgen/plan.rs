//! What is written to pktgen's files, and what is read from them; nothing here touches any.

use crate::plan::{FIRST_CLIENT, FIRST_REMOTE, REMOTE_PORT};
use anyhow::{Context as _, Result};
use nat_bench_programs::{CLIENTS, FIRST_PORT};
use std::net::Ipv4Addr;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Length of a frame without its checksum sequence, bytes.
    pub(super) frame: u32,
    /// How many internal endpoints take turns, each with a flow.
    pub(super) flows: u32,
    /// How many of pktgen's threads send.
    pub(super) threads: u32,
    /// The CPU of the first of them.
    pub(super) first_cpu: u32,
}

/// A line for one of the files below `/proc/net/pktgen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) file: String,
    pub(super) text: String,
}

/// What a thread has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) packets: u64,
    /// From its first to its last.
    pub(super) micros: u64,
    /// Packets that the interface did not take at first.
    pub(super) errors: u64,
}

impl Traffic {
    /// The CPUs whose threads send.
    fn cpus(&self) -> impl Iterator<Item = u32> + use<> {
        self.first_cpu..self.first_cpu + self.threads
    }

    /// Has `packets` packets on each thread go out by `interface` to `mac`.
    pub(super) fn lines(&self, interface: &str, mac: [u8; 6], packets: u32) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut line = |file: &str, text: String| lines.push(Line { file: file.to_owned(), text });
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        // Addresses and ports advance together with each packet: when one number divides the other, there are as
        // many flows as ports.
        let flows = (self.flows / self.threads).max(1);
        let clients = divisor(CLIENTS, flows);
        for (place, cpu) in (0..).zip(self.cpus()) {
            let (thread, device) = (thread(cpu), device(interface, cpu));
            line(&thread, "rem_device_all".to_owned());
            line(&thread, format!("add_device {device}"));
            let (first, last) = (FIRST_CLIENT, u32::from(FIRST_CLIENT) + clients - 1);
            let port = FIRST_PORT + place * flows;
            for text in [
                format!("count {packets}"),
                // Each packet is made anew, and sent once.
                "clone_skb 0".to_owned(),
                format!("pkt_size {}", self.frame),
                "delay 0".to_owned(),
                "flag NO_TIMESTAMP".to_owned(),
                format!("dst_mac {mac}"),
                format!("src_min {first}"),
                format!("src_max {}", Ipv4Addr::from(last)),
                format!("dst_min {FIRST_REMOTE}"),
                format!("dst_max {FIRST_REMOTE}"),
                format!("udp_src_min {port}"),
                // The first one that is not used.
                format!("udp_src_max {}", port + flows),
                format!("udp_dst_min {REMOTE_PORT}"),
                format!("udp_dst_max {REMOTE_PORT}"),
                format!("queue_map_min {place}"),
                format!("queue_map_max {place}"),
            ] {
                line(&device, text);
            }
        }
        lines
    }

    /// Has pktgen forget it.
    pub(super) fn forget(&self) -> Vec<Line> {
        let line = |cpu| Line { file: thread(cpu), text: "rem_device_all".to_owned() };
        self.cpus().map(line).collect()
    }

    /// The files that tell how it went.
    pub(super) fn results(&self, interface: &str) -> Vec<String> {
        self.cpus().map(|cpu| device(interface, cpu)).collect()
    }
}

fn thread(cpu: u32) -> String {
    format!("kpktgend_{cpu}")
}

fn device(interface: &str, cpu: u32) -> String {
    format!("{interface}@{cpu}")
}

/// The greatest common divisor.
const fn divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { divisor(other, one % other) }
}

/// Reads the file of a device.
///
/// # Errors
/// When pktgen has not sent all that it should.
pub(super) fn sent(text: &str) -> Result<Sent> {
    let read = || {
        let result = text.split_once("Result: OK: ")?.1;
        let (micros, rest) = result.split_once('(')?;
        let packets = rest.split_once("usec, ")?.1.split(' ').next()?;
        let errors = rest.split_once("errors: ")?.1.split_whitespace().next()?;
        Some(Sent {
            micros: micros.parse().ok()?,
            packets: packets.parse().ok()?,
            errors: errors.parse().ok()?,
        })
    };
    read().with_context(|| {
        let result = text.lines().find(|line| line.starts_with("Result")).unwrap_or(text);
        format!("pktgen has not sent what it should: {result}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn lines(flows: u32, threads: u32) -> Vec<String> {
        let traffic = Traffic { frame: 64, flows, threads, first_cpu: 2 };
        let lines = traffic.lines("eth0", MAC, 1_000);
        lines.iter().map(|Line { file, text }| format!("{file}: {text}")).collect()
    }

    #[test]
    fn a_thread_gets_its_device_before_the_device_gets_its_settings() {
        let lines = lines(1_024, 1);
        assert_eq!(
            lines[..3],
            ["kpktgend_2: rem_device_all", "kpktgend_2: add_device eth0@2", "eth0@2: count 1000"]
        );
        for wanted in [
            "pkt_size 64",
            "dst_mac 02:00:00:00:00:01",
            "src_min 192.168.77.60",
            "src_max 192.168.77.187",
        ] {
            assert!(lines.contains(&format!("eth0@2: {wanted}")), "{lines:?}");
        }
    }

    #[test]
    fn the_flows_are_shared_out_among_the_threads() {
        let lines = lines(1_024, 2);
        for wanted in [
            "eth0@2: udp_src_min 1024",
            "eth0@2: udp_src_max 1536",
            "eth0@3: udp_src_min 1536",
            "eth0@3: udp_src_max 2048",
            "eth0@3: queue_map_max 1",
        ] {
            assert!(lines.contains(&wanted.to_owned()), "{lines:?}");
        }
    }

    #[test]
    fn there_are_as_many_flows_as_ports() {
        // 100 ports and 4 clients; 128 of them would have made 3,200 flows.
        assert!(lines(100, 1).contains(&"eth0@2: src_max 192.168.77.63".to_owned()));
        assert!(lines(1, 1).contains(&"eth0@2: src_max 192.168.77.60".to_owned()));
        assert!(lines(1, 4).contains(&"eth0@5: udp_src_max 1028".to_owned()));
    }

    #[test]
    fn what_pktgen_says_of_its_work_is_read() {
        let text = "Params: count 100000  min_pkt_size: 64  max_pkt_size: 64\n\
                    Current:\n     pkts-sofar: 100000  errors: 2\n\
                    Result: OK: 61853(c61850+d3) usec, 100000 (64byte,0frags)\n  \
                    1616734pps 827Mb/sec (827767808bps) errors: 2\n";
        let expected = Sent { packets: 100_000, micros: 61_853, errors: 2 };
        assert_eq!(sent(text).unwrap(), expected);
    }

    #[test]
    fn work_that_was_not_done_is_an_error() {
        let error = sent("Params: count 1\nResult: Idle\n").unwrap_err();
        assert_eq!(error.to_string(), "pktgen has not sent what it should: Result: Idle");
        assert!(sent("").is_err());
    }
}
