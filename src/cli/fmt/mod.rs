//! `cnnc fmt`: programs in their one form, in place, or as a check.

mod layout;

use std::path::{Path, PathBuf};

use super::args::Fmt;
use super::out::{Failure, Out};
use super::source;

pub(super) fn run(args: &Fmt, out: Out) -> Result<(), Failure> {
    let stdin = vec![PathBuf::from("-")];
    let files = if args.files.is_empty() { &stdin } else { &args.files };
    let mut unformatted = 0;
    let mut failed = false;
    for path in files {
        let text = source::text(path)?;
        let name = source::name(path, args.stdin_filename.as_deref());
        if source::syntax_errors(&name, &text, out) {
            failed = true;
            continue;
        }
        let formatted = layout::layout(&text);
        let changed = formatted != text;
        unformatted += usize::from(changed);
        match (args.check, path == Path::new("-")) {
            (true, _) if changed => out.print(format!("{name}\n"))?,
            (true, _) => {}
            (false, true) => out.print(formatted)?,
            (false, false) if changed => {
                std::fs::write(path, formatted).map_err(|e| Failure::io(path.display(), &e))?;
            }
            (false, false) => {}
        }
    }
    match (failed, args.check && unformatted > 0) {
        (true, _) => Err(Failure::said()),
        (false, true) if unformatted == 1 => Err(Failure::Wrong("1 file is not formatted".into())),
        (false, true) => Err(Failure::Wrong(format!("{unformatted} files are not formatted"))),
        (false, false) => Ok(()),
    }
}
