//! Buffers whose contents last for one turn of a loop. In: a nest whose names and accesses are well formed and whose loops keep
//! their promises; out: which dimensions of a buffer no element needs to be kept apart in.
//!
//! A dimension of several elements and of stride 0 in a writable buffer is **private**: turns of the loop that counts it use the same
//! memory one after another, and each thread has the whole buffer for itself. That is sound where every access of an outermost
//! statement has this loop's variable, and nothing else, as its index there: a turn then sees no element of another one, and so
//! expects nothing of what it finds. Only the outermost `par` loop counts, and those that are all there is inside one that counts: what
//! stands beside or around others may be handed on from turn to turn.

use super::walk::accesses;
use super::{Affine, Buf, LoopKind, Nest, Stmt, Var};

/// The private dimensions that `buf` may have, if one of them tells threads apart.
pub fn dims(nest: &Nest, buf: Buf) -> Vec<usize> {
    let Some(decl) = nest.bufs.get(buf.index()).filter(|b| b.writable && b.block.is_none()) else {
        return Vec::new();
    };
    let mut found: Option<Vec<usize>> = None;
    for s in &nest.body {
        let all = accesses(std::slice::from_ref(s));
        let ats: Vec<&[Affine]> = all.iter().filter(|a| a.buf == buf).map(|a| a.at).collect();
        if ats.is_empty() {
            continue;
        }
        let counted =
            |v: &Var| (0..decl.dims.len()).find(|d| ats.iter().all(|at| at[*d] == Affine::from(*v)));
        // The turns of a loop that counts no dimension may hand something on: inside it, nothing is private.
        let here: Vec<usize> = chain(s).iter().map_while(counted).collect();
        found = Some(match found {
            None => here,
            Some(before) => before.into_iter().filter(|d| here.contains(d)).collect(),
        });
    }
    found.unwrap_or_default()
}

/// The variables of a `par` loop and of the loops that are all there is inside it; none of another statement.
fn chain(s: &Stmt) -> Vec<Var> {
    let mut vars = Vec::new();
    let mut next = Some(s);
    while let Some(Stmt::For { var, kind, body, extent: _ }) = next {
        let counts = match kind {
            LoopKind::Par => true,
            LoopKind::Free | LoopKind::Serial => !vars.is_empty(),
            LoopKind::Jam | LoopKind::Vec => false,
        };
        if !counts {
            break;
        }
        vars.push(*var);
        next = if let [only] = body.as_slice() { Some(only) } else { None };
    }
    vars
}

/// Makes the buffers from `first` on private in every dimension that allows it.
pub fn privatise(nest: &mut Nest, first: usize) {
    for i in first..nest.bufs.len() {
        let private = dims(nest, Buf(i as u32));
        let decl = &mut nest.bufs[i];
        if private.is_empty() {
            continue;
        }
        for d in private {
            decl.dims[d].stride = 0;
        }
        let reach = |d: &super::DimDecl| d.stride * (d.extent as i64 - 1).max(0);
        decl.len = (decl.base + decl.dims.iter().map(reach).sum::<i64>() + 1) as usize;
    }
}

/// The private dimensions that a buffer has, and that nothing proves sound.
pub(super) fn breaches(nest: &Nest) -> Vec<String> {
    let broken = nest.bufs.iter().enumerate().filter(|(i, b)| {
        let sound = || dims(nest, Buf(*i as u32));
        b.is_private() && !b.private_dims().all(|d| sound().contains(&d))
    });
    broken
        .map(|(_, b)| {
            format!("nest `{}`: turns of a loop are not proved to fill `{}` anew", nest.name, b.name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loops::parse::parse;
    use crate::loops::verify;

    /// A row is doubled by way of a buffer; `inner` stands in the loop over rows, around both halves.
    fn nest(body: &str) -> Nest {
        let text = format!(
            "nest \"rows\" {{\n  regs 0\n  vars n, c, d, m, k, t\n  buf x in [4 *8, 8 *1] base 0 len 32\n  buf y out [4 *8, 8 *1] base 0 len 32\n  \
             buf s out [4 *8, 8 *1] base 0 len 32\n{body}}}\n"
        );
        parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    const ROWS: &str = "  par n in 0..4 {
    free c in 0..8 {
      store s[n, c] = x[n, c]
    }
    free d in 0..8 {
      store y[n, d] = s[n, d]
    }
  }
";

    #[test]
    fn what_a_turn_fills_and_reads_itself_is_private() {
        let mut rows = nest(ROWS);
        assert_eq!(verify(&rows), Ok(()));
        privatise(&mut rows, 2);
        assert_eq!((rows.bufs[2].dims[0].stride, rows.bufs[2].len), (0, 8));
        assert_eq!(verify(&rows), Ok(()));
        // The result is no buffer of the nest's own.
        assert_eq!(rows.bufs[1].len, 32);
        let mut bufs = vec![(0..32).map(|i| i as f32).collect(), vec![0.0; 32], vec![0.0; 8]];
        crate::loops::interp::run_all(&rows, &mut bufs, true).expect("it runs");
        assert_eq!(bufs[0], bufs[1]);
    }

    #[test]
    fn what_is_handed_on_is_not() {
        // Another row is read; all rows are filled before; rows are gathered over a loop outside.
        for body in [
            "  par n in 0..1 {
    free m in 0..4 {
      free c in 0..8 {
        store s[m, c] = x[m, c]
      }
    }
    free k in 0..4 {
      free d in 0..8 {
        store y[k, d] = s[k, d]
      }
    }
  }
",
            "  par c in 0..8 {
    serial t in 0..2 {
      free n in 0..4 {
        store s[n, c] = (s[n, c] + x[n, c])
      }
    }
    free m in 0..4 {
      store y[m, c] = s[m, c]
    }
  }
",
            // Turns of a loop that counts no dimension are summed up.
            "  par n in 0..4 {
    serial t in 0..3 {
      free c in 0..8 {
        store s[n, c] = (s[n, c] + x[n, c])
        store y[n, c] = s[n, c]
      }
    }
  }
",
        ] {
            let handed = nest(body);
            assert_eq!(verify(&handed), Ok(()));
            let private = dims(&handed, Buf(2));
            assert!(private.len() < 2, "{handed}");
            for d in (0..2).filter(|d| !private.contains(d)) {
                let mut broken = handed.clone();
                broken.bufs[2].dims[d].stride = 0;
                assert!(verify(&broken).is_err(), "{broken}");
            }
        }
    }
}
