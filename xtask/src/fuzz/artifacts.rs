//! The inputs that broke a target.

use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// What libFuzzer puts before the hash of an input that broke a target, by how it did. It also
/// keeps a `slow-unit-`, which broke nothing.
const KINDS: [&str; 4] = ["crash-", "leak-", "oom-", "timeout-"];

/// The folder where libFuzzer leaves such inputs.
pub(super) struct Artifacts(PathBuf);

/// Such an input.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Artifact(PathBuf);

impl Artifacts {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    /// Makes the folder, or empties it: what earlier runs left is in the corpus.
    pub(super) fn clear(&self) -> Result<()> {
        if self.0.exists() {
            fs::remove_dir_all(&self.0).with_context(|| self.0.display().to_string())?;
        }
        fs::create_dir_all(&self.0).with_context(|| self.0.display().to_string())
    }

    /// What broke the target.
    pub(super) fn list(&self) -> Result<Vec<Artifact>> {
        let entries = self.0.read_dir().with_context(|| self.0.display().to_string())?;
        let mut found: Vec<_> =
            entries.flatten().map(|entry| entry.path()).filter(|path| broke(path)).collect();
        found.sort();
        Ok(found.into_iter().map(Artifact).collect())
    }
}

impl Artifact {
    /// Copies it into the corpus; returns where it is now.
    pub(super) fn keep(&self, corpus: &Path) -> Result<PathBuf> {
        let kept = corpus.join(self.0.file_name().unwrap_or_default());
        fs::copy(&self.0, &kept)
            .with_context(|| format!("cannot copy {} to {}", self.0.display(), kept.display()))?;
        Ok(kept)
    }
}

fn broke(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    KINDS.iter().any(|kind| name.starts_with(kind))
}
