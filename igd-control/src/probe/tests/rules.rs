//! Rules of the firewall.

use super::{Finding, Status};
use crate::probe::firewall::{iptables, nftables};
use serde_json::{Value, json};

fn chain(name: &str, hook: Option<&str>) -> Value {
    json!({ "chain": { "family": "ip", "table": "nat", "name": name, "handle": 1, "hook": hook } })
}

fn rule(chain: &str, handle: u32, expressions: &Value) -> Value {
    json!({ "rule": {
        "family": "ip", "table": "nat", "chain": chain, "handle": handle, "expr": expressions,
    } })
}

fn out(operator: &str, right: &Value) -> Value {
    json!({ "match": { "op": operator, "left": { "meta": { "key": "oifname" } }, "right": right } })
}

fn judge(objects: &[Value]) -> Vec<Finding> {
    nftables(&json!({ "nftables": objects }), "wan0", &["wan0", "lan0"])
}

/// What a rule with these conditions and `masquerade` comes to.
fn masquerading(conditions: &[Value]) -> Status {
    let expressions = [conditions, &[json!({ "masquerade": null })]].concat();
    let findings =
        judge(&[chain("post", Some("postrouting")), rule("post", 3, &json!(expressions))]);
    assert_eq!(findings.len(), 1);
    findings[0].status
}

#[test]
fn masquerading_on_the_wan_or_everywhere_is_warned_of() {
    assert_eq!(masquerading(&[]), Status::Warning);
    for right in [json!("wan0"), json!("wan*"), json!({ "set": ["ppp0", "wan0"] }), json!("@outer")]
    {
        assert_eq!(masquerading(&[out("==", &right)]), Status::Warning, "{right}");
    }
    assert_eq!(masquerading(&[out("!=", &json!("lan0"))]), Status::Warning);
}

#[test]
fn masquerading_elsewhere_is_none_of_our_business() {
    for right in [json!("tun0"), json!("tun*"), json!({ "set": ["ppp0", "tun0"] })] {
        assert_eq!(masquerading(&[out("==", &right)]), Status::Ok, "{right}");
    }
    assert_eq!(masquerading(&[out("!=", &json!("wan0"))]), Status::Ok);
}

#[test]
fn a_rule_is_named_so_that_it_can_be_deleted() {
    let snat = json!([out("==", &json!("wan0")), { "snat": { "addr": "1.2.3.4" } }]);
    let findings = judge(&[chain("post", Some("postrouting")), rule("post", 12, &snat)]);
    assert_eq!(findings[0].command.as_deref(), Some("nft delete rule ip nat post handle 12"));
}

#[test]
fn a_chain_that_is_jumped_to_counts_and_one_of_another_hook_does_not() {
    let masquerade = || json!([{ "masquerade": null }]);
    let jumped = judge(&[chain("sub", None), rule("sub", 3, &masquerade())]);
    assert_eq!(jumped[0].status, Status::Warning);
    let snat = json!([{ "snat": { "addr": "1.2.3.4" } }]);
    let input = judge(&[chain("in", Some("input")), rule("in", 3, &snat)]);
    assert_eq!(input[0].status, Status::Ok);
}

#[test]
fn rules_that_iptables_wrote_are_seen() {
    let xt = |name: &str| json!([{ "xt": { "type": "target", "name": name } }]);
    let post = || chain("POSTROUTING", Some("postrouting"));
    let found = judge(&[post(), rule("POSTROUTING", 5, &xt("MASQUERADE"))]);
    assert_eq!(found[0].status, Status::Warning);
    assert_eq!(judge(&[post(), rule("POSTROUTING", 5, &xt("LOG"))])[0].status, Status::Ok);
}

#[test]
fn a_flowtable_on_our_interfaces_is_warned_of() {
    let table = |devices: Value| {
        let flowtable = json!({ "family": "inet", "table": "t", "name": "ft", "dev": devices });
        judge(&[json!({ "flowtable": flowtable })]).remove(0)
    };
    let found = table(json!(["eth5", "lan0"]));
    assert_eq!(found.status, Status::Warning);
    assert!(found.command.unwrap().starts_with("nft delete flowtable inet t ft"));
    assert_eq!(table(json!("wan0")).status, Status::Warning);
    assert_eq!(table(json!(["eth5"])).status, Status::Ok);
}

#[test]
fn rulesets_of_an_unknown_form_are_no_harm() {
    for ruleset in
        [json!(null), json!({}), json!({ "nftables": [{ "rule": {} }, 7, { "chain": 1 }] })]
    {
        assert_eq!(nftables(&ruleset, "wan0", &[])[0].status, Status::Ok);
    }
}

#[test]
fn legacy_iptables_rules_come_with_the_command_that_deletes_them() {
    let warned = |rule: &str| iptables(rule, "wan0")[0].status == Status::Warning;
    assert!(warned("-A POSTROUTING -o wan0 -j MASQUERADE"));
    assert!(warned("-A POSTROUTING -o wan+ -j SNAT --to-source 1.2.3.4"));
    assert!(warned("-A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE"));
    assert!(warned("-A POSTROUTING ! -o lan0 -j MASQUERADE"));
    assert!(!warned("-A POSTROUTING ! -o wan0 -j MASQUERADE"));
    assert!(!warned("-A POSTROUTING -o tun0 -j MASQUERADE"));
    assert!(!warned("-P POSTROUTING ACCEPT"));
    let found = iptables("-A POSTROUTING -o wan0 -j MASQUERADE", "wan0").remove(0);
    let command = "iptables-legacy -t nat -D POSTROUTING -o wan0 -j MASQUERADE";
    assert_eq!(found.command.as_deref(), Some(command));
}
