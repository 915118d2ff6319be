//! Wrong programs and what is said of them: every file of `tests/files/errors` is resolved and its diagnostics are compared
//! with a snapshot that somebody has read. Every proposed edit is applied and must do what is claimed of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cnnc::resolve::{Loader, Options, Program, resolve};
use cnnc::session::report;
use cnnc::support::diag::{Diagnostic, Fix};
use cnnc::support::span::Sources;

/// Files beside the program.
struct Folder(PathBuf);

impl Loader for Folder {
    fn load(&self, path: &str, from: &str) -> Result<(String, String), String> {
        let beside = Path::new(from).parent().unwrap_or(Path::new(""));
        let name = beside.join(path);
        let text =
            std::fs::read_to_string(self.0.join(&name)).map_err(|_| "there is no such file".to_owned())?;
        Ok((name.to_string_lossy().into_owned(), text))
    }
}

fn check(folder: &Path, name: &str, text: &str, fixes: bool) -> (Program, Sources) {
    let mut sources = Sources::default();
    let root = sources.add(name, text);
    let options = Options { std: cnnc::parse::STD, fixes, ..Options::default() };
    let program = resolve(&mut sources, root, cnnc::parse::parse, &Folder(folder.to_owned()), &options);
    (program, sources)
}

fn errors(program: &Program) -> Vec<&Diagnostic> {
    program.diagnostics.iter().filter(|d| d.is_error()).collect()
}

/// The text with a fix applied; fixes of these programs are of the root file.
fn apply(text: &str, fix: &Fix) -> String {
    let mut text = text.to_owned();
    let mut edits = fix.edits.clone();
    edits.sort_by_key(|e| std::cmp::Reverse(e.span.start));
    for edit in edits {
        text.replace_range(edit.span.start as usize..edit.span.end as usize, &edit.text);
    }
    text
}

#[test]
fn messages() {
    let mut count = 0;
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::glob!("../files/errors", "*.cnn", |path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(path).expect("a test file");
            let folder = path.parent().expect("a folder");
            let (program, sources) = check(folder, &name, &text, true);
            assert!(!program.diagnostics.is_empty(), "{name} is not wrong");
            let mut shown = String::new();
            for diagnostic in &program.diagnostics {
                let _ = writeln!(shown, "{}", report::human(diagnostic, &sources, false));
            }
            insta::assert_snapshot!(shown);
            for diagnostic in &program.diagnostics {
                for fix in &diagnostic.fixes {
                    let (mended, _) = check(folder, &name, &apply(&text, fix), false);
                    let left = errors(&mended).len();
                    assert!(fix.verified, "{name}: `{}` was not tried", fix.title);
                    assert_eq!(left, fix.remaining, "{name}: `{}` of `{}`", fix.title, diagnostic.message);
                    assert!(left < errors(&program).len() || !diagnostic.is_error(), "{name}: `{}`", fix.title);
                }
            }
            count += 1;
        });
    });
    assert!(count >= 60, "only {count} wrong programs");
}
