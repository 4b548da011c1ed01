use super::*;
use crate::igd::spec::Direction;
use crate::wire::tokens::{Token, Tokens};
use std::collections::HashSet;

fn info() -> DescriptionInfo {
    DescriptionInfo {
        root_uuid: Uuid::from_u128(0x1234),
        friendly_name: "Gateway <of> \"Ann & Bob\"".into(),
        manufacturer: "makers".into(),
        model_name: "model".into(),
        model_number: "1".into(),
        presentation_url: Some("http://192.0.2.1/".into()),
    }
}

/// The text of all elements of a name; the document must be well-formed.
fn texts(document: &[u8], wanted: &str) -> Vec<String> {
    let mut tokens = Tokens::new(document).unwrap();
    let (mut open, mut found, mut text) = (Vec::new(), Vec::new(), String::new());
    loop {
        match tokens.next().unwrap() {
            Token::Open { name, namespace } => {
                assert!(namespace.is_some(), "{name} has no namespace");
                open.push(name);
                text.clear();
            }
            Token::Text(part) => text.push_str(&part),
            Token::Close => {
                if open.pop().as_deref() == Some(wanted) {
                    found.push(text.clone());
                }
            }
            Token::End => return found,
        }
    }
}

#[test]
fn each_description_holds_its_whole_tree() {
    let mut udns = HashSet::new();
    for tree in Tree::ALL {
        let document = description(tree, &info());
        let version = tree.version();
        let urn = |name| format!("urn:schemas-upnp-org:device:{name}:{version}");
        assert_eq!(
            texts(&document, "deviceType"),
            ["InternetGatewayDevice", "WANDevice", "WANConnectionDevice"].map(urn)
        );
        let service = |name, version| format!("urn:schemas-upnp-org:service:{name}:{version}");
        assert_eq!(
            texts(&document, "serviceType"),
            [
                service("Layer3Forwarding", 1),
                service("WANCommonInterfaceConfig", 1),
                service("WANIPConnection", version),
            ]
        );
        // Clients look for these words.
        assert_eq!(
            texts(&document, "serviceId"),
            ["L3Forwarding1", "WANCommonIFC1", "WANIPConn1"]
                .map(|id| format!("urn:upnp-org:serviceId:{id}"))
        );
        // The UDN stands before the embedded devices, the end of a device after them.
        let root = format!("uuid:{}", tree.root_uuid(info().root_uuid));
        assert_eq!(texts(&document, "UDN")[0], root);
        udns.extend(texts(&document, "UDN"));
        assert_eq!(texts(&document, "friendlyName")[0], info().friendly_name);
        assert_eq!(texts(&document, "presentationURL").len(), 3);
        for (element, path) in [
            ("SCPDURL", ServiceKind::by_scpd_path as fn(&str) -> Option<ServiceKind>),
            ("controlURL", ServiceKind::by_control_path),
            ("eventSubURL", ServiceKind::by_event_path),
        ] {
            let kinds: Vec<_> =
                texts(&document, element).iter().map(|text| path(text).unwrap()).collect();
            assert_eq!(kinds, ServiceKind::of(tree).collect::<Vec<_>>());
        }
    }
    assert_eq!(udns.len(), 6);
    assert_eq!(Tree::Igd2.root_uuid(info().root_uuid), info().root_uuid);
}

#[test]
fn another_description_has_another_config_id() {
    let renamed = DescriptionInfo { friendly_name: "other".into(), ..info() };
    for tree in Tree::ALL {
        assert_ne!(config_id(tree, &info()), config_id(tree, &renamed));
        assert_eq!(config_id(tree, &info()), config_id(tree, &info()));
        assert!(config_id(tree, &info()) < 1 << 24);
        let text = String::from_utf8(description(tree, &info())).unwrap();
        assert!(text.contains(&format!("configId=\"{}\"", config_id(tree, &info()))));
    }
    assert_ne!(config_id(Tree::Igd1, &info()), config_id(Tree::Igd2, &info()));
}

#[test]
fn scpds_list_what_is_implemented_and_nothing_else() {
    for kind in ServiceKind::ALL {
        let spec = kind.spec();
        let document = scpd(spec);
        let names = texts(&document, "name");
        for action in spec.actions {
            let listed = names.iter().any(|name| name == action.name);
            assert_eq!(listed, action.run.is_some(), "{}", action.name);
        }
        let related: HashSet<_> = texts(&document, "relatedStateVariable").into_iter().collect();
        assert!(related.iter().all(|name| names.contains(name)));
        let inputs = texts(&document, "direction").iter().filter(|text| *text == "in").count();
        let expected = spec.implemented().flat_map(|action| action.arguments_of(Direction::In));
        assert_eq!(inputs, expected.count());
    }
    let wan = scpd(ServiceKind::WanIpConnection(Tree::Igd2).spec());
    let names = texts(&wan, "name");
    assert!(names.iter().any(|name| name == "SystemUpdateID"));
    assert!(names.iter().any(|name| name == "AutoDisconnectTime"));
    assert_eq!(texts(&wan, "maximum"), ["604800", "65535"]);
    let wan = scpd(ServiceKind::WanIpConnection(Tree::Igd1).spec());
    assert!(!texts(&wan, "name").iter().any(|name| name == "SystemUpdateID"));
    assert_eq!(texts(&wan, "maximum"), ["65535"]);
}
