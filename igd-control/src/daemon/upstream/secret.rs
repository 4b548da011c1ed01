//! The secret of which the nonces of mappings upstream are made.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};
use uuid::Uuid;

/// Its file in the directory of the daemon's state.
const SECRET: &str = "upstream-secret";

/// The secret of before, or a new one, which is kept if that can be.
pub(super) fn secret(state_dir: Option<&Path>) -> Uuid {
    let file = state_dir.map(|directory| directory.join(SECRET));
    let kept = file.as_ref().and_then(|file| fs::read_to_string(file).ok());
    if let Some(secret) = kept.and_then(|text| Uuid::parse_str(text.trim()).ok()) {
        return secret;
    }
    let secret = random().map_or_else(|_| Uuid::from_u128(fastrand::u128(..)), Uuid::from_bytes);
    if let Some(file) = file
        && let Err(error) = keep(&file, secret)
    {
        tracing::warn!(
            "the secret of upstream mappings cannot be kept in {}: {error}",
            file.display()
        );
    }
    secret
}

pub(super) fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn keep(file: &Path, secret: Uuid) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let new = file.with_extension("new");
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600);
    open.open(&new)?.write_all(secret.to_string().as_bytes())?;
    fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_the_same_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let first = secret(Some(&path));
        assert_eq!(secret(Some(&path)), first);
        assert_ne!(secret(None), first);
        fs::write(path.join(SECRET), "x").unwrap();
        assert_ne!(secret(Some(&path)), first, "unreadable");
    }
}
