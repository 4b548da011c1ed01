//! What the gateway writes, read by libxml2: well-formed, and valid where the standard has a schema.

use anyhow::{Context, Result};
use nat_tests::client::{
    Gateway,
    soap::{MAPPING, Mapping, WAN_IP_CONNECTION, WAN_IP_CONNECTION_1},
};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{Lab, command};
use std::fs;
use std::path::{Path, PathBuf};

/// More mappings than one part of a list holds.
const MANY: u16 = 150;

/// Descriptions as they stand in a request, and as they are read.
const DESCRIPTIONS: [(&str, &str); 8] = [
    ("a &lt;game&gt; &amp; &quot;more&quot; &apos;too&apos;", "a <game> & \"more\" 'too'"),
    ("<![CDATA[<p:NewEnabled>0</p:NewEnabled>]]>", "<p:NewEnabled>0</p:NewEnabled>"),
    ("]]&gt; &amp;amp; &amp;lt;", "]]> &amp; &lt;"),
    ("Größe für alle – 三国志 🎮", "Größe für alle – 三国志 🎮"),
    ("&#xe9;&#x1F3AE;", "é🎮"),
    ("one\tline&#9;of&#10;two", "one\tline\tof\ntwo"),
    ("an &#13; alone", "an \r alone"),
    ("", ""),
];

/// `xmllint` on a document, without a network.
fn xmllint(file: &Path, arguments: &[&str]) -> Result<String> {
    let file = file.to_string_lossy();
    command("xmllint", &[&["--nonet"], arguments, &[&file]].concat())
        .with_context(|| fs::read_to_string(&*file).unwrap_or_default())
}

/// The text that `XPath` finds in a document. `xmllint` ends it with a new line.
fn text(file: &Path, path: &str) -> Result<String> {
    let text = xmllint(file, &["--xpath", &format!("string({path})")])?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

/// Writes a document that has come over the network, as it came.
fn keep(lab: &Lab, name: &str, document: &str) -> Result<PathBuf> {
    let file = lab.directory().join(name);
    fs::write(&file, document)?;
    Ok(file)
}

/// The schema of section 2.3.25.
fn schema() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/port-mapping-list.xsd");
    file.to_string_lossy().into_owned()
}

/// Checks the answer to GetListOfPortMappings, takes the list out of it, checks that against the schema,
/// and returns the file with it.
fn valid_list(lab: &Lab, gateway: &Gateway<'_>, protocol: &str) -> Result<PathBuf> {
    let range = [
        ("NewStartPort", "1024"),
        ("NewEndPort", "65535"),
        ("NewProtocol", protocol),
        ("NewManage", "0"),
        ("NewNumberOfPorts", "0"),
    ];
    let answer = gateway.call("GetListOfPortMappings", &range)?.success()?;
    let answer = keep(lab, "answer.xml", &answer.0.body)?;
    let list = xmllint(&answer, &["--xpath", "string(//NewPortListing)"])?;
    let list = keep(lab, "list.xml", &list)?;
    xmllint(&list, &["--noout", "--schema", &schema()])?;
    Ok(list)
}

/// The request for a mapping with a description, as it stands in it.
fn add(gateway: &Gateway<'_>, port: u16, description: &str) -> Result<()> {
    let port = port.to_string();
    let mut arguments = Mapping { external_port: &port, ..MAPPING }.arguments();
    for (name, value) in &mut arguments {
        if *name == "NewPortMappingDescription" {
            *value = description;
        }
    }
    gateway.call("AddPortMapping", &arguments)?.success().map(drop)
}

#[test]
fn lists_of_port_mappings_are_valid_and_their_text_comes_back_as_it_went() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    for (port, (written, _)) in (6000..).zip(DESCRIPTIONS) {
        add(&gateway, port, written)?;
    }
    let remote = Mapping { remote_host: "11.22.33.9", protocol: "TCP", enabled: "0", ..MAPPING };
    gateway.add(&remote)?.success()?;
    let list = valid_list(&lab, &gateway, "UDP")?;
    for (port, (_, read)) in (6000..).zip(DESCRIPTIONS) {
        let port = format!("[*[local-name()='NewExternalPort']='{port}']");
        let path = format!("//*{port}/*[local-name()='NewDescription']");
        assert_eq!(text(&list, &path)?, read);
    }
    let list = valid_list(&lab, &gateway, "TCP")?;
    assert_eq!(text(&list, "//*[local-name()='NewRemoteHost']")?, "11.22.33.9");
    assert_eq!(text(&list, "//*[local-name()='NewEnabled']")?, "0");

    // Longer than what is kept, which ends between two characters.
    let long = "é&lt;🎮".repeat(60);
    for port in 7000..7000 + MANY {
        add(&gateway, port, &long)?;
    }
    let list = valid_list(&lab, &gateway, "UDP")?;
    let count = xmllint(&list, &["--xpath", "count(/*/*)"])?;
    assert_eq!(count.trim().parse::<usize>()?, DESCRIPTIONS.len() + usize::from(MANY));
    let last = text(&list, "/*/*[last()]/*[local-name()='NewDescription']")?;
    assert!(!last.is_empty() && "é<🎮".repeat(60).starts_with(&last), "{last}");
    daemon.stop()?;
    lab.finish()
}

/// The gateway sends none, since no mapping is error 730; the schema allows it.
#[test]
fn the_schema_takes_an_empty_list_and_nothing_that_is_not_one() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let valid = |list: &str| -> Result<bool> {
        let file = directory.path().join("list.xml");
        fs::write(&file, list)?;
        Ok(xmllint(&file, &["--noout", "--schema", &schema()]).is_ok())
    };
    let list = |content: &str| {
        format!(
            "<PortMappingList xmlns='urn:schemas-upnp-org:gw:WANIPConnection'>{content}</PortMappingList>"
        )
    };
    let entry = "<PortMappingEntry><NewRemoteHost/><NewExternalPort>0</NewExternalPort>\
                 <NewProtocol>UDP</NewProtocol><NewInternalPort>1</NewInternalPort>\
                 <NewInternalClient>192.168.77.2</NewInternalClient><NewEnabled>1</NewEnabled>\
                 <NewDescription/><NewLeaseTime>604800</NewLeaseTime></PortMappingEntry>";
    assert!(valid(&list(""))?);
    assert!(valid(&list(entry))?);
    for (part, wrong) in [
        (">0</NewExternalPort>", ">65536</NewExternalPort>"),
        ("UDP", "udp"),
        (">1</NewInternalPort>", ">0</NewInternalPort>"),
        ("192.168.77.2", ""),
        (">1</NewEnabled>", ">yes</NewEnabled>"),
        ("604800", "604801"),
        ("<NewDescription/>", ""),
        ("<NewRemoteHost/>", "<NewDescription/>"),
        ("<NewRemoteHost/>", "text<NewRemoteHost/>"),
    ] {
        assert!(entry.contains(part), "{part}");
        assert!(!valid(&list(&entry.replacen(part, wrong, 1)))?, "{wrong}");
    }
    assert!(!valid(entry)?);
    assert!(!valid(&list("").replace("gw:", "service:"))?);
    Ok(())
}

#[test]
fn descriptions_answers_and_faults_are_well_formed() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let check = |name: &str, document: &str| xmllint(&keep(&lab, name, document)?, &["--noout"]);
    let mut documents = 0;
    for version in [1, 2] {
        let device = gateway.get(&format!("/igd{version}/rootDesc.xml"))?.body;
        check("device.xml", &device)?;
        for part in device.split("<SCPDURL>").skip(1) {
            let url = part.split_once('<').context("an open SCPDURL")?.0;
            check("service.xml", &gateway.get(url)?.body)?;
            documents += 1;
        }
    }
    assert_eq!(documents, 6);
    add(&gateway, 6000, DESCRIPTIONS[0].0)?;
    for version in [WAN_IP_CONNECTION_1, WAN_IP_CONNECTION] {
        let service = Gateway::discover_by(&lab.lan, version)?;
        let action = "GetGenericPortMappingEntry";
        let entry = |index| service.call(action, &[("NewPortMappingIndex", index)]);
        let answers = [entry("0")?, entry("1")?, service.post(action, "no <request>")?];
        for (answer, status) in answers.into_iter().zip([200, 500, 400]) {
            assert_eq!(answer.0.status, status, "{}", answer.0.body);
            check("answer.xml", &answer.0.body)?;
        }
    }
    daemon.stop()?;
    lab.finish()
}
