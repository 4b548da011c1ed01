//! NOTIFY: an event on its way, and what it is answered.

use super::{callback::Callback, request::write_sid};
use crate::wire::xml::XmlWriter;
use std::fmt::Write as _;
use uuid::Uuid;

const EVENT: &str = "urn:schemas-upnp-org:event-1-0";

/// The body of an event: variables and their values. The property set is a line of its own, with its end:
/// there are subscribers (rupnp) that read lines until they have seen it.
pub fn property_set<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut xml = XmlWriter::document();
    xml.characters("\n");
    xml.element_with("e:propertyset", &[("xmlns:e", EVENT)], |xml| {
        for (name, value) in values {
            xml.element("e:property", |xml| xml.text(name, value));
        }
    });
    xml.characters("\n");
    xml.finish()
}

/// The request that brings `body` to a subscriber. Header names are in upper case, as control points of
/// little patience match them.
pub fn notification(to: &Callback, sid: Uuid, seq: u32, body: &[u8]) -> Vec<u8> {
    let mut head = String::with_capacity(320);
    // Writing to a String cannot fail.
    let _ = write!(
        head,
        "NOTIFY {} HTTP/1.1\r\nHOST: {}\r\nCONTENT-TYPE: text/xml; charset=\"utf-8\"\r\n\
         CONTENT-LENGTH: {}\r\nNT: upnp:event\r\nNTS: upnp:propchange\r\nSID: {}\r\nSEQ: {seq}\r\n\
         CONNECTION: close\r\n\r\n",
        to.path,
        to.host(),
        body.len(),
        write_sid(sid),
    );
    [head.as_bytes(), body].concat()
}

/// What a subscriber answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not known yet.
    More,
    /// This status.
    Status(u16),
    /// It is no HTTP.
    Garbage,
}

/// How long the answer's head may be. All that counts is its first line.
const MAX_HEAD: usize = 4_096;

/// Reads the beginning of an answer. Interim ones (1xx) are passed over.
pub fn answer(mut bytes: &[u8]) -> Answer {
    loop {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            return if bytes.len() > MAX_HEAD { Answer::Garbage } else { Answer::More };
        };
        let line = bytes.get(..end).unwrap_or_default();
        let Some(status) = std::str::from_utf8(line).ok().and_then(status) else {
            return Answer::Garbage;
        };
        if status >= 200 {
            return Answer::Status(status);
        }
        let head_end = |end: &[u8]| bytes.windows(end.len()).position(|window| window == end);
        let rest =
            head_end(b"\r\n\r\n").map(|at| at + 4).or_else(|| head_end(b"\n\n").map(|at| at + 2));
        let Some(rest) = rest else {
            return if bytes.len() > MAX_HEAD { Answer::Garbage } else { Answer::More };
        };
        bytes = bytes.get(rest..).unwrap_or_default();
    }
}

fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.")?;
    let (_minor, rest) = rest.split_once(' ')?;
    let digits = rest.trim_start().get(..3)?;
    let status = digits.parse().ok()?;
    (100..600).contains(&status).then_some(status)
}
