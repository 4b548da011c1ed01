//! Reading XML: quick-xml's events, brought down to what SOAP needs.
//!
//! Comments, processing instructions and the declaration are skipped, namespaces are resolved, and
//! references become text. What SOAP forbids (section 3 of SOAP 1.1: no DTD) ends the reading; with
//! no DTD there are no entities but the five predefined ones, so nothing can be expanded.

use super::soap::SoapError;
use super::xml::is_xml_char;
use quick_xml::NsReader;
use quick_xml::errors::SyntaxError;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};

/// Elements within one another.
const MAX_DEPTH: usize = 16;
/// Attributes of one element.
const MAX_ATTRIBUTES: usize = 32;

/// What an XML document consists of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A start tag.
    Open { namespace: Option<String>, name: String },
    /// The end tag of the innermost open element.
    Close,
    /// Character data.
    Text(String),
    /// The end, with every element closed.
    End,
}

/// Reads a document token by token.
pub(super) struct Tokens<'x> {
    reader: NsReader<&'x [u8]>,
    depth: usize,
}

impl<'x> Tokens<'x> {
    /// From the bytes of a message.
    pub(super) fn new(bytes: &'x [u8]) -> Result<Self, SoapError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|_| SoapError::NotUtf8)?;
        if text.trim().is_empty() {
            return Err(SoapError::Empty);
        }
        if !text.chars().all(is_xml_char) {
            return Err(SoapError::Malformed("a character that XML does not allow".into()));
        }
        let mut reader = NsReader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        Ok(Self { reader, depth: 0 })
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Result<Token, SoapError> {
        loop {
            let (resolved, event) =
                self.reader.read_resolved_event().map_err(|error| read_error(&error))?;
            return Ok(match event {
                Event::Start(start) => {
                    let namespace = namespace(&resolved)?;
                    check_attributes(&start)?;
                    self.depth += 1;
                    if self.depth > MAX_DEPTH {
                        return Err(SoapError::TooDeep);
                    }
                    let name = start.local_name().into_inner().to_owned();
                    Token::Open { namespace, name }
                }
                Event::End(_) => {
                    self.depth = self.depth.saturating_sub(1);
                    Token::Close
                }
                Event::Text(text) => Token::Text(text.xml10_content().into_owned()),
                Event::CData(text) => Token::Text(text.xml10_content().into_owned()),
                Event::GeneralRef(reference) => Token::Text(resolve(&reference)?),
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) => continue,
                Event::DocType(_) => return Err(SoapError::Dtd),
                Event::Eof if self.depth > 0 => return Err(SoapError::Truncated),
                Event::Eof => Token::End,
                Event::Empty(_) => {
                    return Err(SoapError::Malformed("an element that was not expanded".into()));
                }
            });
        }
    }

    /// The next token that is not white space.
    pub(super) fn next_tag(&mut self) -> Result<Token, SoapError> {
        loop {
            match self.next()? {
                Token::Text(text) if text.trim().is_empty() => {}
                Token::Text(_) => return Err(SoapError::Malformed("text between elements".into())),
                token => return Ok(token),
            }
        }
    }

    /// Skips the rest of the element that was opened last.
    pub(super) fn skip(&mut self) -> Result<(), SoapError> {
        let outside = self.depth.saturating_sub(1);
        while self.depth > outside {
            self.next()?;
        }
        Ok(())
    }
}

fn namespace(resolved: &ResolveResult<'_>) -> Result<Option<String>, SoapError> {
    match resolved {
        ResolveResult::Bound(Namespace(name)) => Ok(Some((*name).to_owned())),
        ResolveResult::Unbound => Ok(None),
        ResolveResult::Unknown(_) => Err(SoapError::Malformed("an undeclared prefix".into())),
    }
}

fn check_attributes(start: &BytesStart<'_>) -> Result<(), SoapError> {
    for (index, attribute) in start.attributes().enumerate() {
        if index >= MAX_ATTRIBUTES {
            return Err(SoapError::Malformed("too many attributes".into()));
        }
        attribute.map_err(|error| SoapError::Malformed(error.to_string()))?;
    }
    Ok(())
}

fn resolve(reference: &BytesRef<'_>) -> Result<String, SoapError> {
    let malformed = || SoapError::Malformed("a reference that XML does not define".into());
    if reference.is_char_ref() {
        let resolved = reference.resolve_char_ref().map_err(|_| malformed())?;
        return resolved.filter(|c| is_xml_char(*c)).map(String::from).ok_or_else(malformed);
    }
    resolve_predefined_entity(reference).map(str::to_owned).ok_or_else(malformed)
}

fn read_error(error: &quick_xml::Error) -> SoapError {
    match error {
        // All other errors of syntax say that the document ends inside markup.
        quick_xml::Error::Syntax(syntax) if *syntax != SyntaxError::InvalidBangMarkup => {
            SoapError::Truncated
        }
        error => SoapError::Malformed(error.to_string()),
    }
}
