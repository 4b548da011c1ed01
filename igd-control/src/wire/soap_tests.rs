use super::*;
use proptest::prelude::*;

const SERVICE: &str = "urn:schemas-upnp-org:service:WANIPConnection:2";

/// A message around what stands in the body.
fn message(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"{ENVELOPE}\" \
         s:encodingStyle=\"{ENCODING}\"><s:Body>{body}</s:Body></s:Envelope>\r\n"
    )
}

fn action(arguments: &str) -> String {
    message(&format!("<u:Do xmlns:u=\"{SERVICE}\">{arguments}</u:Do>"))
}

fn parse(text: &str) -> Result<SoapRequest, SoapError> {
    SoapRequest::parse(text.as_bytes())
}

#[test]
fn end_tags_must_match() {
    let error = parse(&action("<NewA></NewB>")).unwrap_err();
    assert!(matches!(error, SoapError::Malformed(_)), "{error:?}");
}

fn argument(text: &str) -> Result<String, SoapError> {
    parse(&action(&format!("<NewA>{text}</NewA>"))).map(|request| request.arguments[0].1.clone())
}

#[test]
fn reads_action_and_arguments_in_order() {
    let request = parse(&action("<NewB>2</NewB>\n  <NewA></NewA><NewC/>")).unwrap();
    assert_eq!((request.service_type.as_str(), request.action.as_str()), (SERVICE, "Do"));
    let arguments = [("NewB", "2"), ("NewA", ""), ("NewC", "")];
    assert_eq!(request.arguments, arguments.map(|(name, value)| (name.into(), value.into())));
}

#[test]
fn prefixes_comments_headers_and_byte_order_marks_are_free() {
    for text in [
        format!(
            "\u{feff}<Envelope xmlns=\"{ENVELOPE}\"><Body><Do xmlns=\"{SERVICE}\"><NewA>1</NewA></Do>\
             </Body></Envelope>"
        ),
        format!(
            "<!-- hello --><x:Envelope xmlns:x='{ENVELOPE}'>\r\n<x:Header><a><b/></a>text</x:Header>\
             <?pi?><x:Body>\r\n<y:Do xmlns:y='{SERVICE}'><y:NewA><!-- one -->1</y:NewA></y:Do>\r\n\
             </x:Body></x:Envelope><!-- bye -->"
        ),
    ] {
        let request = parse(&text).unwrap();
        assert_eq!(request.service_type, SERVICE, "{text}");
        assert_eq!(request.arguments, [("NewA".to_owned(), "1".to_owned())], "{text}");
    }
}

#[test]
fn values_may_hold_references_and_cdata() {
    assert_eq!(argument("a&lt;&amp;&#65;&#x42;<![CDATA[<&>]]>z").unwrap(), "a<&AB<&>z");
    assert_eq!(argument("two\r\nlines").unwrap(), "two\nlines");
}

#[test]
fn only_the_predefined_entities_are_known() {
    for text in ["&nbsp;", "&lol9;", "&#0;", "&#xD800;", "&#8;", "&", "&#x110000;", "&;"] {
        let error = argument(text).unwrap_err();
        assert!(matches!(error, SoapError::Malformed(_)), "{text}: {error:?}");
    }
}

#[test]
fn a_document_type_is_refused() {
    let bomb = "<!DOCTYPE lolz [<!ENTITY lol \"lol\"><!ENTITY lol2 \"&lol;&lol;\">]>";
    assert_eq!(parse(&format!("{bomb}{}", action("<NewA>&lol2;</NewA>"))), Err(SoapError::Dtd));
    let external = "<!DOCTYPE a SYSTEM \"http://127.0.0.1/\">";
    assert_eq!(parse(&format!("{external}{}", action(""))), Err(SoapError::Dtd));
}

#[test]
fn what_is_no_request_is_told_why() {
    let elsewhere = "urn:somewhere:else";
    for (text, expected) in [
        (String::new(), SoapError::Empty),
        (" \r\n".into(), SoapError::Empty),
        ("<Envelope/>".into(), SoapError::NotAnEnvelope),
        (format!("<Envelope xmlns='{elsewhere}'/>"), SoapError::NotAnEnvelope),
        (format!("<Body xmlns='{ENVELOPE}'/>"), SoapError::NotAnEnvelope),
        (format!("<Envelope xmlns='{ENVELOPE}'/>"), SoapError::NoBody),
        (format!("<s:Envelope xmlns:s='{ENVELOPE}'><Body/></s:Envelope>"), SoapError::NoBody),
        (message(""), SoapError::NoAction),
        (message("<Do/>"), SoapError::NoAction),
        (message("<a xmlns='x'/><b xmlns='x'/>"), SoapError::Trailing),
        (action("") + "<more/>", SoapError::Trailing),
        (action("<NewA><b/></NewA>"), SoapError::BadArguments),
        (action(&"<NewA/>".repeat(MAX_ARGUMENTS + 1)), SoapError::BadArguments),
        (action(&format!("<NewA>{}</NewA>", "x".repeat(MAX_VALUE + 1))), SoapError::BadArguments),
        ("x".repeat(MAX_BODY + 1), SoapError::TooLarge),
        (format!("{}{}", "<a>".repeat(999), "</a>".repeat(999)), SoapError::NotAnEnvelope),
    ] {
        assert_eq!(parse(&text), Err(expected), "{text:.200}");
    }
    let deep = format!("<s:Header>{}", "<a>".repeat(100));
    let deep = format!("<s:Envelope xmlns:s='{ENVELOPE}'>{deep}");
    assert_eq!(parse(&deep), Err(SoapError::TooDeep));
    assert_eq!(SoapRequest::parse(b"<a>\xff</a>"), Err(SoapError::NotUtf8));
    for text in ["<a", "plain text", "<u:Envelope/>", "<a b=1 b=2/>", "\u{1}"] {
        let error = parse(text).unwrap_err();
        assert!(
            matches!(error, SoapError::Malformed(_) | SoapError::Truncated),
            "{text}: {error:?}"
        );
    }
}

#[test]
fn a_message_cut_anywhere_is_refused() {
    let text = action("<NewA>caf\u{e9} &lt;<![CDATA[x]]></NewA><NewB/>");
    let end = text.rfind("</s:Envelope>").unwrap() + "</s:Envelope>".len();
    for cut in 0..end {
        assert!(SoapRequest::parse(&text.as_bytes()[..cut]).is_err(), "cut at {cut}");
    }
    assert!(SoapRequest::parse(&text.as_bytes()[..end]).is_ok());
}

#[test]
fn soap_action_is_read_with_and_without_quotes() {
    for header in
        [format!("\"{SERVICE}#Do\""), format!("{SERVICE}#Do"), format!(" \"{SERVICE}#Do\" ")]
    {
        assert_eq!(parse_soap_action(&header), Ok((SERVICE, "Do")));
    }
    for header in ["", "\"\"", "#", "urn:x", "urn:x#", "#Do", "\"#\""] {
        assert_eq!(parse_soap_action(header), Err(SoapError::BadHeader), "{header}");
    }
}

#[test]
fn faults_are_as_the_device_architecture_wants_them() {
    let text = String::from_utf8(encode_upnp_error(718, "Conflict <&>")).unwrap();
    assert!(text.contains(
        "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>\
         <UPnPError xmlns=\"urn:schemas-upnp-org:control-1-0\"><errorCode>718</errorCode>\
         <errorDescription>Conflict &lt;&amp;&gt;</errorDescription></UPnPError></detail></s:Fault>"
    ));
    assert_eq!(parse(&text).unwrap_err(), SoapError::BadArguments);
}

#[test]
fn a_response_names_the_action_in_the_services_namespace() {
    let body = encode_response(SERVICE, "Do", [("NewA", "1".to_owned())]);
    let read = SoapRequest::parse(&body).unwrap();
    assert_eq!((read.service_type.as_str(), read.action.as_str()), (SERVICE, "DoResponse"));
    assert_eq!(read.arguments, [("NewA".to_owned(), "1".to_owned())]);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = SoapRequest::parse(&bytes);
    }

    #[test]
    fn no_markup_makes_it_panic(text in "([<>/&;!\\[\\]?'\"= sx:a-]|<s:Body>|<!\\[CDATA\\[|&#x4;){0,60}") {
        let _ = parse(&text);
        let _ = parse(&action(&text));
        let _ = parse_soap_action(&text);
    }

    #[test]
    fn a_changed_byte_does_not_make_it_panic(at in 0usize..400, byte in any::<u8>()) {
        let mut bytes = action("<NewA>1</NewA><NewB>&lt;</NewB>").into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = SoapRequest::parse(&bytes);
    }

    #[test]
    fn what_is_encoded_is_read_back(
        arguments in prop::collection::vec(("[A-Za-z][A-Za-z0-9_]{0,20}", "[ -~\u{e9}\u{4e00}\n\t]{0,40}"), 0..12)
    ) {
        let request =
            SoapRequest { service_type: SERVICE.into(), action: "Do".into(), arguments };
        prop_assert_eq!(SoapRequest::parse(&request.encode()), Ok(request));
    }
}
