//! Where the server is.

use std::net::Ipv4Addr;

/// The gateway of the default route over an interface, in what `/proc/net/route` holds.
pub fn default_gateway(routes: &str, interface: &str) -> Option<Ipv4Addr> {
    // RTF_UP and RTF_GATEWAY.
    const GATEWAY: u32 = 3;
    let route = |line: &str| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        let mut number = || u32::from_str_radix(fields.next()?, 16).ok();
        let (destination, gateway, flags) = (number()?, number()?, number()?);
        let metric = line.split_whitespace().nth(6)?.parse::<u32>().ok()?;
        let mask = u32::from_str_radix(line.split_whitespace().nth(7)?, 16).ok()?;
        let fits = name == interface && destination == 0 && mask == 0 && flags & GATEWAY == GATEWAY;
        // As they stand in memory.
        fits.then(|| (metric, Ipv4Addr::from(gateway.to_ne_bytes())))
    };
    routes.lines().filter_map(route).min().map(|(_, gateway)| gateway)
}

/// The first IPv4 address of a text, as a DHCP client may have left it of option 158 (RFC 7291).
pub fn first_address(text: &str) -> Option<Ipv4Addr> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    words.filter_map(|word| word.parse().ok()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wan0\t00000000\t0121160B\t0003\t0\t0\t100\t00000000\t0\t0\t0
wan0\t00000000\t0921160B\t0003\t0\t0\t0\t00000000\t0\t0\t0
wan1\t00000000\t0A21160B\t0003\t0\t0\t0\t00000000\t0\t0\t0
wan0\t0021160B\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_default_gateway_is_that_of_the_best_default_route() {
        let gateway = default_gateway(ROUTES, "wan0");
        assert_eq!(gateway, Some(Ipv4Addr::new(11, 22, 33, 9)));
        assert_eq!(default_gateway(ROUTES, "wan2"), None);
        assert_eq!(default_gateway("wan0\t0", "wan0"), None);
    }

    #[test]
    fn the_first_address_is_found_among_other_words() {
        let lease = "OPTION_158=\"192.0.2.1 192.0.2.2\"\n";
        assert_eq!(first_address(lease), Some(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(first_address("none"), None);
    }
}
