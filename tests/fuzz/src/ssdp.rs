//! Searches by SSDP, and what they are answered.

use igd_control::igd::Tree;
use igd_control::wire::ssdp::{SearchRequest, SearchTarget, Sender, announcements};
use uuid::Uuid;

/// UUID of the root device; seeds search for it.
const ROOT: Uuid = Uuid::from_u128(0x5541_7d23_9a1c_4f0e_8b62_0123_4567_89ab);

/// Takes a datagram. Answers must be for what was searched for, and well-formed.
pub fn run(input: &[u8]) {
    let Ok(search) = SearchRequest::parse(input) else {
        return;
    };
    assert!(search.max_wait.is_none_or(|seconds| (1..=5).contains(&seconds)), "{search:?}");
    let sender = Sender {
        server: "192.168.77.1:5000".to_owned(),
        scope: igd_control::wire::ssdp::Scope::V4,
        max_age: 1800,
        boot_id: 1,
        config_ids: Tree::ALL.map(|tree| (tree, 1)),
    };
    let answers = search.answers(ROOT);
    match &search.target {
        SearchTarget::All => assert_eq!(answers, announcements(ROOT)),
        SearchTarget::RootDevice => assert_eq!(answers.len(), 2),
        SearchTarget::Uuid(_) => assert!(answers.len() <= 1),
        // Services that are the same in both trees.
        SearchTarget::Type { .. } => assert!(answers.len() <= 2),
    }
    for answer in &answers {
        let message = sender.search_response(answer);
        let text = String::from_utf8_lossy(&message);
        let mut lines = text.split("\r\n");
        assert_eq!(lines.next(), Some("HTTP/1.1 200 OK"));
        let headers: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        assert_eq!(lines.collect::<Vec<_>>(), [""], "something after the headers: {text}");
        let has = |name: &str, value: &str| {
            headers.iter().any(|line| line.split_once(": ") == Some((name, value)))
        };
        assert!(has("ST", &answer.target) && has("USN", &answer.usn), "{text}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\r' && c != '\n'), "{text:?}");
    }
}
