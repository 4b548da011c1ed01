//! Writing XML that is well-formed by construction.

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesStart, BytesText, Event};
use std::borrow::Cow;

/// Writes elements into memory.
pub(super) struct XmlWriter(Writer<Vec<u8>>);

impl XmlWriter {
    /// Begins with the XML declaration.
    pub(super) fn document() -> Self {
        let mut xml = Self(Writer::new(Vec::with_capacity(1_024)));
        // SOAP over UPnP is always UTF-8; so are the descriptions.
        xml.event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
        xml
    }

    /// Begins in the midst of a document.
    pub(super) fn fragment() -> Self {
        Self(Writer::new(Vec::with_capacity(32 * 1_024)))
    }

    /// Character data.
    pub(super) fn characters(&mut self, text: &str) {
        self.event(Event::Text(BytesText::new(&legal(text))));
    }

    /// An element with others in it.
    pub(super) fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.element_with(name, &[], content);
    }

    /// An element with attributes and others in it.
    pub(super) fn element_with(
        &mut self,
        name: &str,
        attributes: &[(&str, &str)],
        content: impl FnOnce(&mut Self),
    ) {
        let start = BytesStart::new(name).with_attributes(attributes.iter().copied());
        self.event(Event::Start(start.borrow()));
        content(self);
        self.event(Event::End(start.to_end()));
    }

    /// An element with text in it. What XML cannot hold becomes U+FFFD.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.element(name, |xml| xml.characters(text));
    }

    /// The document.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0.into_inner()
    }

    fn event(&mut self, event: Event<'_>) {
        let written = self.0.write_event(event);
        debug_assert!(written.is_ok(), "writing into a Vec cannot fail");
    }
}

/// Whether XML 1.0 allows a character (production 2, "Char").
pub(super) fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn legal(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_xml_char) {
        return Cow::Borrowed(text);
    }
    let replaced = |c| {
        if is_xml_char(c) { c } else { char::REPLACEMENT_CHARACTER }
    };
    Cow::Owned(text.chars().map(replaced).collect())
}
