//! Taking out of the XDP program what only served to make it.
//!
//! The linker makes BTF from DWARF, and leaves the DWARF there: three quarters of the file, which the daemon
//! would embed and read at every start. BTF and its line numbers, which the verifier quotes, stay.

use anyhow::{Context as _, Result};
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

/// The object file `bytes` without DWARF.
///
/// # Errors
/// When it is no object file.
pub(crate) fn without_dwarf(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(bytes).context("not an object file")?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    builder.delete_orphans();
    // The linker keeps the names of sections and symbols in one table; they are written as two.
    if !builder.sections.iter().any(|one| matches!(one.data, SectionData::SectionString)) {
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = SHT_STRTAB;
        names.data = SectionData::SectionString;
    }
    let mut slim = Vec::new();
    builder.write(&mut slim).context("the object file cannot be written anew")?;
    Ok(slim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::Endianness;
    use object::elf::{EM_BPF, ET_REL, SHT_PROGBITS};

    #[test]
    fn dwarf_goes_and_everything_else_stays() {
        let mut builder = Builder::new(Endianness::Little, true);
        builder.header.e_type = ET_REL;
        builder.header.e_machine = EM_BPF;
        for (name, sh_type) in
            [("xdp.frags", SHT_PROGBITS), (".debug_info", SHT_PROGBITS), (".BTF", SHT_PROGBITS)]
        {
            let section = builder.sections.add();
            section.name = name.into();
            section.sh_type = sh_type;
            section.data = SectionData::Data(name.as_bytes().to_vec().into());
        }
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = SHT_STRTAB;
        names.data = SectionData::SectionString;
        let mut bytes = Vec::new();
        builder.write(&mut bytes).unwrap();
        let slim = without_dwarf(&bytes).unwrap();
        let read = Builder::read(slim.as_slice()).unwrap();
        let left: Vec<_> = read.sections.iter().map(|section| section.name.to_string()).collect();
        assert_eq!(left, ["xdp.frags", ".BTF", ".shstrtab"]);
    }

    #[test]
    fn what_is_no_object_file_is_refused() {
        assert!(without_dwarf(b"nothing of the kind").is_err());
    }
}
