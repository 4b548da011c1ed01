//! The list of external addresses.

use nat_common::maps::MAX_POOL;
use std::net::Ipv4Addr;

/// The addresses that a list names, each by itself or as a range `first-last`, in the list's order.
///
/// # Errors
/// Something is no address or range, or no address of a host, or named twice; or there are too many.
pub(super) fn addresses(list: &[String]) -> Result<Vec<Ipv4Addr>, String> {
    let mut addresses = Vec::new();
    for entry in list {
        let (first, last) = match entry.split_once('-') {
            Some((first, last)) => (first.trim(), last.trim()),
            None => (entry.trim(), entry.trim()),
        };
        let parse = |text: &str| {
            text.parse::<Ipv4Addr>().map_err(|_| {
                format!("{entry:?} is no IPv4 address or range of them, as in 192.0.2.1-192.0.2.9")
            })
        };
        let (first, last) = (parse(first)?, parse(last)?);
        if last < first {
            return Err(format!("{entry:?} ends before it begins"));
        }
        if last.to_bits() - first.to_bits() >= MAX_POOL {
            return Err(format!("{entry:?} has more than {MAX_POOL} addresses"));
        }
        addresses.extend((first.to_bits()..=last.to_bits()).map(Ipv4Addr::from_bits));
    }
    if addresses.len() > MAX_POOL as usize {
        return Err(format!("it has {} addresses; {MAX_POOL} are the most", addresses.len()));
    }
    for (place, address) in addresses.iter().enumerate() {
        let first = address.octets()[0];
        if first == 0 || first == 127 || first >= 224 {
            return Err(format!("{address} is no address of an interface"));
        }
        if addresses.iter().take(place).any(|other| other == address) {
            return Err(format!("{address} is named twice"));
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(list: &[&str]) -> Result<Vec<String>, String> {
        let list: Vec<String> = list.iter().map(|entry| (*entry).to_owned()).collect();
        Ok(addresses(&list)?.iter().map(Ipv4Addr::to_string).collect())
    }

    #[test]
    fn addresses_and_ranges_are_listed_in_order() {
        assert_eq!(parsed(&[]).unwrap(), Vec::<String>::new());
        let pool = parsed(&["11.22.33.9", "11.22.33.254 - 11.22.34.1"]).unwrap();
        assert_eq!(
            pool,
            ["11.22.33.9", "11.22.33.254", "11.22.33.255", "11.22.34.0", "11.22.34.1"]
        );
        assert_eq!(parsed(&["11.0.0.0-11.0.0.255"]).unwrap().len(), 256);
    }

    #[test]
    fn what_makes_no_pool_is_refused() {
        for (list, why) in [
            (&["pool.example"][..], "no IPv4 address"),
            (&["11.0.0.1-"], "no IPv4 address"),
            (&["11.0.0.2-11.0.0.1"], "ends before"),
            (&["11.0.0.0-11.0.1.0"], "more than 256"),
            (&["11.0.0.0-11.0.0.255", "11.0.1.1"], "257 addresses"),
            (&["11.0.0.1", "11.0.0.0/31"], "no IPv4 address"),
            (&["11.0.0.1", "11.0.0.0-11.0.0.3"], "twice"),
            (&["127.0.0.1"], "no address of an interface"),
            (&["224.0.0.1"], "no address of an interface"),
        ] {
            let error = parsed(list).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
