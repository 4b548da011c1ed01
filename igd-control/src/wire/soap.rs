//! SOAP 1.1 as the UPnP Device Architecture uses it (section 3: control).

use super::tokens::{Token, Tokens};
use super::xml::XmlWriter;

/// The largest message body, bytes.
pub const MAX_BODY: usize = 65_536;
/// The most arguments of an action.
const MAX_ARGUMENTS: usize = 32;
/// The longest name of an action or argument, bytes.
const MAX_NAME: usize = 128;
/// The longest value of an argument, bytes.
const MAX_VALUE: usize = 8_192;

const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const ENCODING: &str = "http://schemas.xmlsoap.org/soap/encoding/";
const CONTROL: &str = "urn:schemas-upnp-org:control-1-0";

/// Why a message is not a SOAP request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoapError {
    /// Longer than [`MAX_BODY`].
    #[error("the message is longer than {MAX_BODY} bytes")]
    TooLarge,
    /// Nothing but white space.
    #[error("the message is empty")]
    Empty,
    /// Not UTF-8, the only encoding of UPnP.
    #[error("the message is not UTF-8")]
    NotUtf8,
    /// SOAP 1.1 section 3: a message must not contain a Document Type Declaration.
    #[error("a document type declaration is not allowed")]
    Dtd,
    /// Not well-formed XML.
    #[error("the message is not well-formed: {0}")]
    Malformed(String),
    /// Ends before its last element does.
    #[error("the message is cut off")]
    Truncated,
    /// Elements too deep within one another.
    #[error("the elements are nested too deeply")]
    TooDeep,
    /// The root is not SOAP's Envelope in SOAP's namespace.
    #[error("the message is not a SOAP 1.1 envelope")]
    NotAnEnvelope,
    /// The envelope has no Body.
    #[error("the envelope has no body")]
    NoBody,
    /// The body has no action in a namespace.
    #[error("the body names no action")]
    NoAction,
    /// Something follows the action, the body or the envelope.
    #[error("something stands where the message should end")]
    Trailing,
    /// An argument holds elements, is too long, or there are too many.
    #[error("the arguments are not plain values")]
    BadArguments,
    /// The SOAPACTION header is not `"service type#action"`.
    #[error("the SOAPACTION header does not name a service type and an action")]
    BadHeader,
}

/// An action as a control point asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoapRequest {
    /// Namespace of the action: the service type.
    pub service_type: String,
    /// Name of the action.
    pub action: String,
    /// Names and values, in the order of the message.
    pub arguments: Vec<(String, String)>,
}

impl SoapRequest {
    /// Reads the body of a control message. Prefixes are free; comments, processing instructions
    /// and SOAP headers are skipped. Arguments are taken by their local names.
    ///
    /// # Errors
    /// [`SoapError`].
    pub fn parse(body: &[u8]) -> Result<Self, SoapError> {
        if body.len() > MAX_BODY {
            return Err(SoapError::TooLarge);
        }
        let mut tokens = Tokens::new(body)?;
        if !is_soap(&tokens.next_tag()?, "Envelope") {
            return Err(SoapError::NotAnEnvelope);
        }
        let mut tag = tokens.next_tag()?;
        if is_soap(&tag, "Header") {
            tokens.skip()?;
            tag = tokens.next_tag()?;
        }
        if !is_soap(&tag, "Body") {
            return Err(SoapError::NoBody);
        }
        let Token::Open { namespace: Some(service_type), name: action } = tokens.next_tag()? else {
            return Err(SoapError::NoAction);
        };
        if action.len() > MAX_NAME || service_type.len() > MAX_NAME {
            return Err(SoapError::NoAction);
        }
        let arguments = arguments(&mut tokens)?;
        for expected in [Token::Close, Token::Close, Token::End] {
            if tokens.next_tag()? != expected {
                return Err(SoapError::Trailing);
            }
        }
        Ok(Self { service_type, action, arguments })
    }

    /// The message that asks for the action.
    pub fn encode(&self) -> Vec<u8> {
        envelope(|xml| {
            xml.element_with(
                &format!("u:{}", self.action),
                &[("xmlns:u", &self.service_type)],
                |xml| {
                    for (name, value) in &self.arguments {
                        xml.text(name, value);
                    }
                },
            );
        })
    }
}

fn is_soap(token: &Token, wanted: &str) -> bool {
    matches!(token, Token::Open { namespace: Some(namespace), name }
        if namespace == ENVELOPE && name == wanted)
}

/// Reads the arguments, up to the end of the action.
fn arguments(tokens: &mut Tokens<'_>) -> Result<Vec<(String, String)>, SoapError> {
    let mut arguments = Vec::new();
    loop {
        let name = match tokens.next_tag()? {
            Token::Open { name, .. } => name,
            _ => return Ok(arguments),
        };
        if arguments.len() >= MAX_ARGUMENTS || name.len() > MAX_NAME {
            return Err(SoapError::BadArguments);
        }
        let mut value = String::new();
        loop {
            match tokens.next()? {
                Token::Text(text) => value.push_str(&text),
                Token::Close => break,
                Token::Open { .. } | Token::End => return Err(SoapError::BadArguments),
            }
            if value.len() > MAX_VALUE {
                return Err(SoapError::BadArguments);
            }
        }
        arguments.push((name, value));
    }
}

/// Reads a SOAPACTION header, with or without its quotes: the service type and the action.
///
/// # Errors
/// [`SoapError::BadHeader`].
pub fn parse_soap_action(header: &str) -> Result<(&str, &str), SoapError> {
    let header = header.trim();
    let unquoted = header.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let (service_type, action) =
        unquoted.unwrap_or(header).rsplit_once('#').ok_or(SoapError::BadHeader)?;
    if service_type.is_empty() || action.is_empty() || header.contains(['\r', '\n']) {
        return Err(SoapError::BadHeader);
    }
    Ok((service_type, action))
}

/// The answer to an action that was carried out.
pub fn encode_response<'a>(
    service_type: &str,
    action: &str,
    results: impl IntoIterator<Item = (&'a str, String)>,
) -> Vec<u8> {
    envelope(|xml| {
        xml.element_with(&format!("u:{action}Response"), &[("xmlns:u", service_type)], |xml| {
            results.into_iter().for_each(|(name, value)| xml.text(name, &value));
        });
    })
}

/// The answer to an action that was not: HTTP status 500.
pub fn encode_upnp_error(code: u16, description: &str) -> Vec<u8> {
    fault("UPnPError", |xml| {
        xml.element("detail", |xml| {
            xml.element_with("UPnPError", &[("xmlns", CONTROL)], |xml| {
                xml.text("errorCode", &code.to_string());
                xml.text("errorDescription", description);
            });
        });
    })
}

/// The answer to what is not a request: HTTP status 400.
pub fn encode_bad_request(reason: &str) -> Vec<u8> {
    fault(reason, |_| {})
}

fn fault(reason: &str, detail: impl FnOnce(&mut XmlWriter)) -> Vec<u8> {
    envelope(|xml| {
        xml.element("s:Fault", |xml| {
            xml.text("faultcode", "s:Client");
            xml.text("faultstring", reason);
            detail(xml);
        });
    })
}

fn envelope(body: impl FnOnce(&mut XmlWriter)) -> Vec<u8> {
    let mut xml = XmlWriter::document();
    let attributes = [("xmlns:s", ENVELOPE), ("s:encodingStyle", ENCODING)];
    xml.element_with("s:Envelope", &attributes, |xml| xml.element("s:Body", body));
    xml.finish()
}

#[cfg(test)]
#[path = "soap_tests.rs"]
mod tests;
