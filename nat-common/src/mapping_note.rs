//! What the packet path tells the daemon about a mapping that it has made, for the log of mappings (RFC
//! 6888 REQ-12).

/// An internal endpoint has got an external port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct MappingNote {
    /// When: boot time, nanoseconds.
    pub at: u64,
    /// Whose it is: an [`Owner`](crate::ports::Owner)'s word.
    pub owner: u64,
    /// Which port: [`slot_index`](crate::ports::slot_index).
    pub slot: u32,
    /// Always 0.
    pub reserved: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_has_no_padding() {
        assert_eq!((size_of::<MappingNote>(), align_of::<MappingNote>()), (24, 8));
    }
}
