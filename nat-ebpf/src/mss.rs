//! The largest TCP segment that a SYN offers, lowered to what fits through (RFC 9293 3.7.1): where
//! path MTU discovery fails, as it often does behind PPPoE and tunnels.

use crate::checksum::{Delta, apply};
use crate::frame::Frame;
use crate::tables::Tables;
use nat_common::link::Link;
use nat_common::settings::Settings;

/// Length of a TCP header without options, bytes.
const HEADER: usize = 20;
/// Most bytes of TCP options.
const MOST_OPTIONS: usize = 40;
/// Options that are looked at: MSS stands among the first.
const TRIES: usize = 16;
/// IPv4 and TCP headers without options.
const HEADERS: u16 = 40;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;
const MSS_LEN: u8 = 4;

/// The largest segment that a SYN may offer which goes out by `egress`; `None`: whatever it likes.
#[inline(always)]
pub fn limit<T: Tables>(tables: &T, settings: &Settings, egress: &Link) -> Option<u16> {
    match settings.mss {
        0 => None,
        Settings::MSS_TO_MTU => {
            let ingress = tables.ingress().map_or(u16::MAX, |link| link.mtu);
            let least = if ingress < egress.mtu { ingress } else { egress.mtu };
            Some(least.saturating_sub(HEADERS))
        }
        fixed => Some(fixed),
    }
}

/// Lowers what a SYN offers to `limit`; tells how that changes its checksum, folded, 0 when it does not:
/// [`add_to_checksum`] is the next step. `payload` is the offset of the TCP header; `step` is [`step`], which the XDP program has verified apart, since the verifier would
/// follow every combination of options through this loop.
#[inline(always)]
pub fn clamp<F: Frame>(
    frame: &mut F,
    payload: usize,
    limit: u16,
    mut step: impl FnMut(&mut F, usize) -> u64,
) -> u16 {
    let mut at = 0;
    for _ in 0..TRIES {
        let next = step(frame, at);
        let place = (next & PLACE) as usize;
        if next & FOUND != 0 {
            return lower(frame, payload + HEADER, place, limit).unwrap_or(0);
        }
        if place == 0 {
            return 0;
        }
        at = place;
    }
    0
}

/// Changes a TCP checksum. Apart from [`clamp`], whose checks of the options' bounds would have the
/// compiler leave out the one of the header's, which the verifier wants to see.
#[inline(always)]
pub fn add_to_checksum<F: Frame>(frame: &mut F, payload: usize, delta: u16) -> Option<()> {
    let words = frame.view::<10>(payload)?;
    words[8] = apply(words[8], delta);
    Some(())
}

/// From the option at `at` to the next one: where it begins, 0 when there is none, or where the value of
/// MSS stands, with bit 32 set.
#[inline(always)]
pub fn step<F: Frame>(frame: &mut F, payload: usize, at: usize) -> u64 {
    find(frame, payload, at).unwrap_or(0)
}

/// Set beside the place of the value of MSS.
const FOUND: u64 = 1 << 32;
/// Where a place stands in a word.
const PLACE: u64 = 0x3f;

#[inline(always)]
fn find<F: Frame>(frame: &mut F, payload: usize, at: usize) -> Option<u64> {
    let [offset, _] = frame.view::<10>(payload)?[6].to_ne_bytes();
    let options = payload + HEADER;
    let end = (usize::from(offset >> 4) * 4).checked_sub(HEADER)?;
    if at > MOST_OPTIONS || at + usize::from(MSS_LEN) > end {
        return None;
    }
    match byte(frame, options, at)? {
        END => None,
        NO_OPERATION => Some(at as u64 + 1),
        MSS if byte(frame, options, at + 1)? == MSS_LEN => Some(FOUND | (at as u64 + 2)),
        MSS => None,
        _ => match byte(frame, options, at + 1)? {
            0 | 1 => None,
            len if usize::from(len) > MOST_OPTIONS => None,
            len => Some((at as u64 + u64::from(len)) & PLACE),
        },
    }
}

#[inline(always)]
fn byte<F: Frame>(frame: &mut F, options: usize, at: usize) -> Option<u8> {
    let [first, second] = frame.view::<1>(options + (at & !1))?[0].to_ne_bytes();
    Some(if at & 1 == 0 { first } else { second })
}

/// Lowers the value at `at` among the options.
#[inline(always)]
fn lower<F: Frame>(frame: &mut F, options: usize, at: usize, limit: u16) -> Option<u16> {
    let (high, low) = (byte(frame, options, at)?, byte(frame, options, at + 1)?);
    if u16::from_be_bytes([high, low]) <= limit {
        return None;
    }
    let [new_high, new_low] = limit.to_be_bytes();
    let delta = set_byte(frame, options, at, new_high)?;
    Some(delta.and(set_byte(frame, options, at + 1, new_low)?).fold())
}

/// Changes a byte among the options; tells how that changes the checksum. Bytes and not words, since the
/// value may lie across two of them.
#[inline(always)]
fn set_byte<F: Frame>(frame: &mut F, options: usize, at: usize, value: u8) -> Option<Delta> {
    let words = frame.view::<1>(options + (at & !1))?;
    let [first, second] = words[0].to_ne_bytes();
    let new = u16::from_ne_bytes(if at & 1 == 0 { [value, second] } else { [first, value] });
    let delta = Delta::default().word(words[0], new);
    words[0] = new;
    Some(delta)
}
