//! Masquerading and shortcuts in the kernel's own firewall, which would fight the NAT.

use super::Finding;
use serde_json::Value;
use std::{fs, io, process::Command, time::Duration};
use tokio::{task::spawn_blocking, time::timeout};

const CHECK: &str = "firewall";
const IPTABLES: &str = "iptables (legacy)";
/// How long a tool may take to list its rules.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lists the rules of nftables and of iptables, and judges them.
pub(super) async fn findings(wan: &str, interfaces: &[&str]) -> Vec<Finding> {
    let mut findings = match listing("nft", &["-j", "list", "ruleset"]).await {
        Ok(text) => match serde_json::from_str(&text) {
            Ok(ruleset) => nftables(&ruleset, wan, interfaces),
            Err(error) => vec![Finding::unchecked(CHECK, format!("nft's answer: {error}"))],
        },
        Err(why) => vec![Finding::unchecked(CHECK, why)],
    };
    // The legacy tables are not in the ruleset; this file names those that are loaded.
    let tables = fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    if tables.lines().any(|table| table == "nat") {
        match listing("iptables-legacy", &["-t", "nat", "-S", "POSTROUTING"]).await {
            Ok(text) => findings.extend(iptables(&text, wan)),
            Err(why) => findings.push(Finding::unchecked(IPTABLES, why)),
        }
    }
    findings
}

/// What a tool prints.
async fn listing(program: &'static str, arguments: &'static [&str]) -> Result<String, String> {
    let run = spawn_blocking(move || Command::new(program).args(arguments).output());
    let output = match timeout(PATIENCE, run).await {
        Err(_) => return Err(format!("not checked: {program} takes too long")),
        Ok(Err(error)) => return Err(format!("not checked: {error}")),
        Ok(Ok(Err(error))) if error.kind() == io::ErrorKind::NotFound => {
            return Err(format!("not checked: {program} is not installed"));
        }
        Ok(Ok(Err(error))) => return Err(format!("not checked: {program}: {error}")),
        Ok(Ok(Ok(output))) => output,
    };
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        let first = error.lines().next().unwrap_or("it failed");
        return Err(format!("not checked: {program}: {first}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Judges a ruleset as `nft -j list ruleset` prints it.
pub(super) fn nftables(ruleset: &Value, wan: &str, interfaces: &[&str]) -> Vec<Finding> {
    let objects = || ruleset.get("nftables").and_then(Value::as_array).into_iter().flatten();
    let chains: Vec<_> = objects().filter_map(|object| object.get("chain")).collect();
    let rules = objects().filter_map(|object| object.get("rule"));
    let mut findings: Vec<_> = rules.filter_map(|rule| masquerade(rule, &chains, wan)).collect();
    let flowtables = objects().filter_map(|object| object.get("flowtable"));
    findings.extend(flowtables.filter_map(|table| flowtable(table, interfaces)));
    if findings.is_empty() {
        findings
            .push(Finding::ok(CHECK, "nftables neither masquerades nor bypasses towards the WAN"));
    }
    findings
}

/// A rule that changes the source of what leaves by the WAN.
fn masquerade(rule: &Value, chains: &[&Value], wan: &str) -> Option<Finding> {
    let expressions = rule.get("expr")?.as_array()?;
    let what = expressions.iter().find_map(translation)?;
    if expressions.iter().any(|expression| spares(expression, wan)) {
        return None;
    }
    let (family, table) = (text(rule, "family")?, text(rule, "table")?);
    let (chain, handle) = (text(rule, "chain")?, rule.get("handle")?);
    let same = |other: &&&Value| {
        ["family", "table"].iter().all(|key| other.get(key) == rule.get(key))
            && other.get("name") == rule.get("chain")
    };
    // A chain without a hook is jumped to, from postrouting as far as anybody can tell.
    let hook = chains.iter().find(same).and_then(|chain| text(chain, "hook"));
    if hook.is_some_and(|hook| hook != "postrouting") {
        return None;
    }
    let detail = format!(
        "nftables, table {family} {table}, chain {chain}, handle {handle}: {what} towards {wan}; \
         two NATs give the same ports to different hosts"
    );
    let command = format!("nft delete rule {family} {table} {chain} handle {handle}");
    Some(Finding::warning(CHECK, detail).mend(command))
}

/// What an expression does to the source address, if it does.
fn translation(expression: &Value) -> Option<&'static str> {
    if expression.get("masquerade").is_some() {
        return Some("masquerades");
    }
    if expression.get("snat").is_some() {
        return Some("translates the source");
    }
    // A rule of iptables; older versions of nft do not say which.
    match expression.get("xt")?.get("name").and_then(Value::as_str) {
        Some("MASQUERADE") => Some("masquerades (by iptables)"),
        Some("SNAT") => Some("translates the source (by iptables)"),
        _ => None,
    }
}

/// Whether a rule with this expression leaves alone what goes out by the WAN.
fn spares(expression: &Value, wan: &str) -> bool {
    let Some(condition) = expression.get("match") else {
        return false;
    };
    let key = condition.pointer("/left/meta/key").and_then(Value::as_str);
    if !matches!(key, Some("oif" | "oifname")) {
        return false;
    }
    let Some(names) = condition.get("right").and_then(names) else {
        return false;
    };
    let named = names.iter().any(|name| match name.strip_suffix('*') {
        Some(start) => wan.starts_with(start),
        None => *name == wan,
    });
    match text(condition, "op") {
        Some("==" | "in") => !named,
        Some("!=") => named,
        _ => false,
    }
}

/// The names that a condition lists; `None` when they stand elsewhere.
fn names(right: &Value) -> Option<Vec<&str>> {
    let name = |value: &'_ Value| -> bool { value.as_str().is_some_and(|s| !s.starts_with('@')) };
    match right.get("set").and_then(Value::as_array) {
        Some(set) if set.iter().all(name) => Some(set.iter().filter_map(Value::as_str).collect()),
        Some(_) => None,
        None => right.as_str().filter(|_| name(right)).map(|name| vec![name]),
    }
}

/// A flowtable on one of our interfaces.
fn flowtable(table: &Value, interfaces: &[&str]) -> Option<Finding> {
    let devices: Vec<_> = match table.get("dev")? {
        Value::Array(devices) => devices.iter().filter_map(Value::as_str).collect(),
        device => device.as_str().into_iter().collect(),
    };
    let ours = devices.into_iter().find(|device| interfaces.contains(device))?;
    let (family, of, name) = (text(table, "family")?, text(table, "table")?, text(table, "name")?);
    let detail = format!(
        "nftables, flowtable {name} of table {family} {of} forwards past the firewall on {ours}, \
         with addresses of its own"
    );
    let command =
        format!("nft delete flowtable {family} {of} {name} # after the rules that use it");
    Some(Finding::warning(CHECK, detail).mend(command))
}

/// Judges rules as `iptables -t nat -S POSTROUTING` prints them.
pub(super) fn iptables(rules: &str, wan: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in rules.lines() {
        let words: Vec<_> = rule.split_whitespace().collect();
        let after = |flag: &str| {
            words.windows(2).find_map(|pair| match pair {
                [first, second] if *first == flag => Some(*second),
                _ => None,
            })
        };
        let Some(specification) = rule.strip_prefix("-A ") else { continue };
        let elsewhere = after("-o").is_some_and(|out| match out.strip_suffix('+') {
            Some(start) => !wan.starts_with(start),
            None => out != wan,
        });
        let negated = words.windows(2).any(|pair| pair == ["!", "-o"]);
        if !matches!(after("-j"), Some("MASQUERADE" | "SNAT")) || elsewhere != negated {
            continue;
        }
        let detail = format!(
            "{specification} translates towards {wan}; two NATs give the same ports to different \
             hosts"
        );
        let command = format!("iptables-legacy -t nat -D {specification}");
        findings.push(Finding::warning(IPTABLES, detail).mend(command));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(IPTABLES, "does not masquerade towards the WAN"));
    }
    findings
}

fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}
