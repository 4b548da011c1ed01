//! The keys as text: the file of the defaults, and docs/configuration.md.

use super::keys::{KEYS, TABLES};
use std::fmt::Write as _;

/// Width of the comments, columns.
const WIDTH: usize = 96;

/// A configuration file that says the defaults, with comments.
pub fn default_file() -> String {
    let mut file = String::from("# igd-control: every key, with its default.\n");
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            line(&mut file, format_args!("\n[{section}]"));
        }
        comment(&mut file, key.help);
        line(&mut file, format_args!("{} = {}", key.name, key.default));
    }
    for table in TABLES {
        file.push('\n');
        comment(&mut file, table.help);
        line(&mut file, format_args!("#[[{}]]", table.name));
        for key in table.keys {
            comment(&mut file, key.help);
            line(&mut file, format_args!("#{} = {}", key.name, key.default));
        }
    }
    file
}

/// The whole of docs/configuration.md.
pub fn docs_page() -> String {
    format!(
        "# Configuration\n\n\
         `igd-control run --config FILE` reads the TOML file below; flags of the command line come \
         before it.\nEvery key may be left out and then has the value shown. An unknown key or a \
         value out of its range\nstops the start with an error that names file, line and key.\n\n\
         `igd-control config` prints this file.\n\n```toml\n{}```\n",
        default_file()
    )
}

/// `text` as comment lines, broken between words.
fn comment(file: &mut String, text: &str) {
    let mut width = 0;
    for word in text.split_whitespace() {
        if width + 1 + word.len() > WIDTH {
            file.push('\n');
            width = 0;
        }
        if width == 0 {
            file.push('#');
            width = 1;
        }
        file.push(' ');
        file.push_str(word);
        width += 1 + word.len();
    }
    file.push('\n');
}

fn line(file: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(file, "{text}");
}
