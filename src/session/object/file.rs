//! Objects as the files that linkers take: an archive, and a shared library by the system's linker.

use std::io::{Cursor, ErrorKind};
use std::path::Path;
use std::process::{Command, Stdio};

use ar_archive_writer::{ArchiveKind, DEFAULT_OBJECT_READER, NewArchiveMember, write_archive_to_stream};

use super::ObjectError;
use crate::kernels::isa::Arch;

/// An archive with a table of symbols that holds one object. Nothing in it depends on time or user.
///
/// # Errors
/// The object is none.
pub fn archive(object: &[u8], member: &str) -> Result<Vec<u8>, ObjectError> {
    let members = [NewArchiveMember::new(object, &DEFAULT_OBJECT_READER, member.to_owned())];
    let mut out = Cursor::new(Vec::new());
    write_archive_to_stream(&mut out, &members, ArchiveKind::Gnu, false, None)
        .map_err(|cause| ObjectError::File { what: "an archive".to_owned(), cause })?;
    Ok(out.into_inner())
}

/// A shared library at `path`, made of an object by `linker` (`cc`, or what the caller names).
///
/// # Errors
/// There is no linker, it refuses, or the object cannot be written beside the library.
pub fn shared(object: &[u8], arch: Arch, linker: Option<&str>, path: &Path) -> Result<(), ObjectError> {
    let linker = linker.unwrap_or(match arch == Arch::HERE {
        true => "cc",
        false => match arch {
            Arch::X86_64 => "x86_64-linux-gnu-gcc",
            Arch::Aarch64 => "aarch64-linux-gnu-gcc",
        },
    });
    let beside = path.with_extension(format!("so.{}.o", std::process::id()));
    let fail = |cause| ObjectError::File { what: beside.display().to_string(), cause };
    std::fs::write(&beside, object).map_err(fail)?;
    let mut command = Command::new(linker);
    command.arg("-shared").arg("-nostdlib").args(["-Wl,-z,defs", "-Wl,-z,noexecstack"]);
    if let Some(name) = path.file_name() {
        let mut soname = std::ffi::OsString::from("-Wl,-soname,");
        soname.push(name);
        command.arg(soname);
    }
    let output = command.arg("-o").arg(path).arg(&beside).stdin(Stdio::null()).output();
    // Whatever the linker said, the object is not wanted any more.
    let _ = std::fs::remove_file(&beside);
    let refused = |message: String| ObjectError::Linker { command: format!("{linker} -shared"), message };
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(refused(said.trim_end().to_owned()))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Err(refused(format!(
            "there is no `{linker}` here; install a C compiler, name one with CC, or write an object (.o) or an archive (.a) \
             and link it elsewhere"
        ))),
        Err(e) => Err(refused(e.to_string())),
    }
}
