//! `cnnc fmt`: programs in their one layout, in place, or as a check. The layout itself is the parser's business.

use std::path::{Path, PathBuf};

use super::args::Fmt;
use super::out::{Failure, Out};
use super::source;
use crate::session::format;
use crate::support::span::Sources;

pub(super) fn run(args: &Fmt, out: Out) -> Result<(), Failure> {
    let stdin = vec![PathBuf::from("-")];
    let files = if args.files.is_empty() { &stdin } else { &args.files };
    let mut unformatted = 0;
    let mut failed = false;
    for path in files {
        let text = source::text(path)?;
        let name = source::name(path, args.stdin_filename.as_deref());
        let mut sources = Sources::default();
        let file = sources.add(&name, &text);
        let formatted = match format(&sources, file) {
            Ok(formatted) => formatted,
            Err(diagnostics) => {
                out.diagnostics(&diagnostics, &sources);
                failed = true;
                continue;
            }
        };
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
