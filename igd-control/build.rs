//! Hands the compiled XDP program on to the crate, which embeds `$OUT_DIR/nat-xdp.o`.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

/// Names the object file; `.cargo/config.toml` sets it.
const OBJECT: &str = "IGD_XDP_OBJECT";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={OBJECT}");
    let object = env::var_os(OBJECT).map(PathBuf::from);
    if let Some(object) = &object {
        println!("cargo:rerun-if-changed={}", object.display());
    }
    let bytes = match object.filter(|object| object.exists()) {
        Some(object) => fs::read(object)?,
        // Whatever does not load the program must build without a BPF compiler; the daemon says
        // the same when it starts.
        None => {
            println!("cargo:warning=no XDP program is embedded: run `cargo xtask build`");
            Vec::new()
        }
    };
    let out_dir = env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?;
    fs::write(PathBuf::from(out_dir).join("nat-xdp.o"), bytes)?;
    Ok(())
}
