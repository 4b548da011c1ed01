//! Frames and tables in memory.
