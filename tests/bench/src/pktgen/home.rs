//! How an interface is at home on the box: whether it may be taken, and what puts it back. Nothing here changes
//! anything.

use serde_json::Value;

/// How it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Home {
    /// Its name.
    pub(super) name: String,
    /// Arguments of `ip` that make it again what it was, once it is back.
    steps: Vec<Vec<String>>,
}

impl Home {
    /// From what `ip -j link`, `ip -j address` and `ip route` say of it.
    pub(super) fn new(name: &str, link: &Value, addresses: &Value, routes: &str) -> Self {
        let of = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let mut steps = Vec::new();
        let list = addresses.pointer("/0/addr_info").and_then(Value::as_array);
        for address in list.into_iter().flatten() {
            let text = |key| address.get(key).and_then(Value::as_str);
            let (Some(local), Some(length)) =
                (text("local"), address.get("prefixlen").and_then(Value::as_u64))
            else {
                continue;
            };
            let is_dynamic = address.get("dynamic").and_then(Value::as_bool).unwrap_or_default();
            // IPv6 makes these itself, from the link and from what routers announce.
            if text("family") == Some("inet6") && (text("scope") == Some("link") || is_dynamic) {
                continue;
            }
            let mut step = of(&["address", "replace"]);
            match text("address") {
                Some(peer) => step.extend(of(&[local, "peer", &format!("{peer}/{length}")])),
                None => step.push(format!("{local}/{length}")),
            }
            for (key, word) in [("broadcast", "broadcast"), ("scope", "scope"), ("label", "label")]
            {
                if let Some(value) = text(key) {
                    step.extend(of(&[word, value]));
                }
            }
            if is_dynamic {
                for (key, word) in
                    [("valid_life_time", "valid_lft"), ("preferred_life_time", "preferred_lft")]
                {
                    if let Some(seconds) = address.get(key).and_then(Value::as_u64) {
                        step.extend(of(&[word, &seconds.to_string()]));
                    }
                }
            }
            step.extend(of(&["dev", name]));
            steps.push(step);
        }
        if has_flag(link, "UP") {
            steps.push(of(&["link", "set", "dev", name, "up"]));
        }
        steps.extend(routes.lines().filter_map(|route| put_back(name, route)));
        Self { name: name.to_owned(), steps }
    }

    /// Arguments of `ip`, in order.
    pub(super) fn steps(&self) -> impl Iterator<Item = &[String]> {
        self.steps.iter().map(Vec::as_slice)
    }
}

/// The route of a line, if it does not come back by itself.
fn put_back(name: &str, route: &str) -> Option<Vec<String>> {
    /// Made by the kernel from addresses, or by what routers announce.
    const BY_THEMSELVES: [[&str; 2]; 2] = [["proto", "kernel"], ["proto", "ra"]];
    /// States, not settings.
    const STATES: [&str; 3] = ["linkdown", "dead", "offload"];
    let words: Vec<&str> = route.split_whitespace().collect();
    let first = words.first()?;
    let by_itself = ["local", "broadcast", "multicast", "anycast"].contains(first)
        || words.windows(2).any(|pair| BY_THEMSELVES.iter().any(|own| own == pair));
    if by_itself {
        return None;
    }
    let kept = words.iter().filter(|word| !STATES.contains(word));
    let device = ["dev", name];
    let step = ["route", "replace"].iter().chain(kept).chain(&device);
    // Without a family `ip` takes "default" for one of IPv4.
    let family = if route.contains(':') { vec!["-6".to_owned()] } else { Vec::new() };
    Some(family.into_iter().chain(step.map(|&word| word.to_owned())).collect())
}

/// Why an interface may not be taken. `default`: what `ip -j route show default` says.
pub(super) fn refusal(
    name: &str,
    link: &Value,
    default: &[Value],
    uppers: &[String],
) -> Option<String> {
    if default.iter().any(|routes| goes_out_by(routes, name)) {
        return Some(format!(
            "the default route goes out by {name}: for as long as the benchmark runs the box would be cut off. \
             --even-default-route takes it all the same"
        ));
    }
    if has_flag(link, "LOOPBACK") {
        return Some(format!("{name} is the loopback interface"));
    }
    if let Some(master) = link.pointer("/0/master").and_then(Value::as_str) {
        return Some(format!("{name} belongs to {master}: take it out first"));
    }
    if let Some(upper) = uppers.first() {
        return Some(format!("{upper} is on {name}: take it away first"));
    }
    if link.pointer("/0/xdp").is_some() {
        return Some(format!("there is an XDP program on {name}: take it away first"));
    }
    None
}

/// Whether any of these routes, or a next hop of theirs, has this interface.
fn goes_out_by(routes: &Value, name: &str) -> bool {
    match routes {
        Value::Array(all) => all.iter().any(|one| goes_out_by(one, name)),
        Value::Object(route) => {
            route.get("dev").and_then(Value::as_str) == Some(name)
                || route.get("nexthops").is_some_and(|hops| goes_out_by(hops, name))
        }
        _ => false,
    }
}

fn has_flag(link: &Value, flag: &str) -> bool {
    let flags = link.pointer("/0/flags").and_then(Value::as_array);
    flags.is_some_and(|flags| flags.iter().any(|one| one == flag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn up() -> Value {
        json!([{"ifname": "eth1", "flags": ["BROADCAST", "UP", "LOWER_UP"]}])
    }

    fn steps(link: &Value, addresses: &Value, routes: &str) -> Vec<String> {
        Home::new("eth1", link, addresses, routes).steps().map(|step| step.join(" ")).collect()
    }

    #[test]
    fn addresses_come_back_then_the_link_then_routes() {
        let addresses = json!([{"addr_info": [
            {"family": "inet", "local": "192.168.1.5", "prefixlen": 24, "broadcast": "192.168.1.255",
             "scope": "global", "label": "eth1", "dynamic": true,
             "valid_life_time": 3000, "preferred_life_time": 2000},
            {"family": "inet", "local": "10.0.0.1", "address": "10.0.0.2", "prefixlen": 32, "scope": "global"},
            {"family": "inet6", "local": "2001:db8::5", "prefixlen": 64, "scope": "global"},
            {"family": "inet6", "local": "2001:db8::6", "prefixlen": 64, "scope": "global", "dynamic": true},
            {"family": "inet6", "local": "fe80::1", "prefixlen": 64, "scope": "link"},
        ]}]);
        let routes = "default via 192.168.1.1 proto dhcp src 192.168.1.5 metric 100 linkdown\n\
                      192.168.1.0/24 proto kernel scope link src 192.168.1.5\n\
                      local 192.168.1.5 table local proto kernel scope host src 192.168.1.5\n\
                      10.9.0.0/16 via 192.168.1.7 table 100\n\
                      default via fe80::9 proto ra metric 100\n\
                      2001:db8:9::/48 via fe80::7 metric 1024 pref medium\n";
        assert_eq!(
            steps(&up(), &addresses, routes),
            [
                "address replace 192.168.1.5/24 broadcast 192.168.1.255 scope global label eth1 valid_lft 3000 \
             preferred_lft 2000 dev eth1",
                "address replace 10.0.0.1 peer 10.0.0.2/32 scope global dev eth1",
                "address replace 2001:db8::5/64 scope global dev eth1",
                "link set dev eth1 up",
                "route replace default via 192.168.1.1 proto dhcp src 192.168.1.5 metric 100 dev eth1",
                "route replace 10.9.0.0/16 via 192.168.1.7 table 100 dev eth1",
                "-6 route replace 2001:db8:9::/48 via fe80::7 metric 1024 pref medium dev eth1",
            ]
        );
    }

    #[test]
    fn what_was_down_stays_down() {
        let down = json!([{"ifname": "eth1", "flags": ["BROADCAST"]}]);
        assert!(steps(&down, &json!([{"addr_info": []}]), "").is_empty());
    }

    #[test]
    fn the_default_route_is_seen_also_among_several_next_hops() {
        let one = json!([{"dst": "default", "gateway": "192.168.1.1", "dev": "eth1"}]);
        let several = json!([{"dst": "default", "nexthops": [{"dev": "eth0"}, {"dev": "eth1"}]}]);
        for routes in [one, several] {
            let why = refusal("eth1", &up(), &[json!([]), routes.clone()], &[]).unwrap();
            assert!(why.contains("--even-default-route"), "{why}");
            assert_eq!(refusal("eth2", &up(), &[routes], &[]), None);
        }
        assert_eq!(refusal("eth1", &up(), &[json!([])], &[]), None);
    }

    #[test]
    fn what_others_use_is_not_taken() {
        let bridged = json!([{"ifname": "eth1", "flags": ["UP"], "master": "br0"}]);
        assert!(refusal("eth1", &bridged, &[], &[]).unwrap().contains("br0"));
        let xdp = json!([{"ifname": "eth1", "flags": ["UP"], "xdp": {"mode": 1}}]);
        assert!(refusal("eth1", &xdp, &[], &[]).unwrap().contains("XDP"));
        let vlan = ["eth1.7".to_owned()];
        assert!(refusal("eth1", &up(), &[], &vlan).unwrap().contains("eth1.7"));
        let lo = json!([{"ifname": "lo", "flags": ["LOOPBACK", "UP"]}]);
        assert!(refusal("lo", &lo, &[], &[]).is_some());
    }
}
