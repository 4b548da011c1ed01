//! What the demonstration prints.

use anyhow::{Result, bail};
use std::io::{Write, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Numbered steps, each with what was seen.
#[derive(Debug)]
pub(super) struct Report {
    steps: u32,
    interrupted: Arc<AtomicBool>,
}

impl Report {
    /// One that ends the demonstration at the next step once `interrupted` is set.
    pub(super) fn new(interrupted: Arc<AtomicBool>) -> Self {
        Self { steps: 0, interrupted }
    }

    /// Begins a step.
    pub(super) fn step(&mut self, title: &str) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        self.steps += 1;
        let mut out = stdout().lock();
        writeln!(out, "\n{:>2}. {title}", self.steps)?;
        Ok(out.flush()?)
    }

    /// Says what was seen.
    pub(super) fn seen(&self, text: &str) -> Result<()> {
        let mut out = stdout().lock();
        for line in text.lines() {
            writeln!(out, "      {}", line.trim_end())?;
        }
        Ok(out.flush()?)
    }

    /// The last words.
    pub(super) fn end(&self, text: &str) -> Result<()> {
        Ok(writeln!(stdout().lock(), "\n{text}")?)
    }
}
