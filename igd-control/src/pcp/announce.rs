//! When the server says to everybody who and since when it is.

use std::time::Duration;

/// How often an announcement is made: once, and again because the network may lose it.
const TIMES: u32 = 10;
/// Between the first two.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// How often each client is told anew of its mapping.
pub const UPDATES: u32 = 3;

/// How long to wait after so many announcements for the next one; `None` after the last. Ten at most,
/// each pause twice as long as the one before, for PCP (RFC 6887 14.1.3) as for NAT-PMP (RFC 6886
/// 3.2.1).
pub fn pause_after(sent: u32) -> Option<Duration> {
    (1..TIMES).contains(&sent).then(|| FIRST_PAUSE * (1 << (sent - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_announcements_are_made_with_pauses_that_double() {
        let pauses: Vec<_> = (1..).map_while(pause_after).collect();
        assert_eq!(pauses.len(), 9);
        assert_eq!(pauses[0], Duration::from_millis(250));
        assert!(pauses.windows(2).all(|pair| pair[1] == pair[0] * 2));
        assert_eq!(pause_after(0), None);
    }
}
