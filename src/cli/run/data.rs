//! Files to the buffers of a network's inputs, and its outputs' buffers to files.
//!
//! A buffer is row-major over the axes in the order the program writes them, the batch `n` first. An .npy file holds the
//! same; a leading `n` of 1 may be left out. A picture has rows and columns: on a grid called `h, w` (or `y, x`) by these
//! names, else in the order written, the first axis the rows.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use crate::cli::out::{Failure, Out};
use crate::formats::image::{self, Picture};
use crate::formats::{FormatError, npy};
use crate::session::onnx::Shapes;
use crate::support::codes;

/// One input or output: its name and the axes of its buffer, outermost first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) axes: Vec<(String, usize)>,
}

impl Slot {
    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.axes.iter().map(|a| a.1).product()
    }

    fn dims(&self) -> Vec<usize> {
        self.axes.iter().map(|a| a.1).collect()
    }

    fn extent(&self, axis: &str) -> usize {
        self.axes.iter().find(|a| a.0 == axis).map_or(1, |a| a.1)
    }

    /// `[n: 1, c: 3, h: 8, w: 8]`
    pub(super) fn show(&self) -> String {
        let axes: Vec<String> = self.axes.iter().map(|(n, d)| format!("{n}: {d}")).collect();
        format!("[{}]", axes.join(", "))
    }

    /// The positions in `axes` of channels, rows and columns, and the extents of the latter two.
    ///
    /// # Errors
    /// Why it is no picture.
    fn as_picture(&self) -> Result<Grid, String> {
        let grid: Vec<usize> =
            (0..self.axes.len()).filter(|i| !matches!(self.axes[*i].0.as_str(), "n" | "c")).collect();
        let [first, second] = grid[..] else {
            return Err(format!("{} has {} grid axes, a picture has 2", self.show(), grid.len()));
        };
        if self.extent("n") != 1 {
            return Err(format!("{} is a batch of {}, a picture is one", self.show(), self.extent("n")));
        }
        let transposed =
            matches!((self.axes[first].0.as_str(), self.axes[second].0.as_str()), ("w", "h") | ("x", "y"));
        let (rows, columns) = if transposed { (second, first) } else { (first, second) };
        let channel = self.axes.iter().position(|a| a.0 == "c");
        Ok(Grid { channel, rows, columns, height: self.axes[rows].1, width: self.axes[columns].1 })
    }

    /// For each element of the buffer in order, its position among planes of `height x width`.
    fn plane_positions(&self, grid: &Grid) -> Vec<usize> {
        let mut positions = Vec::with_capacity(self.len());
        crate::tensor::array::for_each_index(&self.dims(), |idx| {
            let channel = grid.channel.map_or(0, |at| idx[at]);
            positions.push((channel * grid.height + idx[grid.rows]) * grid.width + idx[grid.columns]);
        });
        positions
    }
}

/// Where a slot's picture lies.
struct Grid {
    channel: Option<usize>,
    rows: usize,
    columns: usize,
    height: usize,
    width: usize,
}

/// The extents that arrays among the inputs declare; whatever else is wrong with a file is said when it is loaded.
pub(super) fn shapes(inputs: &[(Option<String>, PathBuf)]) -> Shapes {
    let shape = |path: &Path| {
        let mut file = BufReader::new(File::open(path).ok()?);
        if !file.fill_buf().ok()?.starts_with(b"\x93NUMPY") {
            return None;
        }
        npy::shape(&mut file).ok()
    };
    let files = inputs.iter().filter(|(_, path)| path.as_os_str() != "-");
    let found = files.filter_map(|(name, path)| {
        if let Some(dims) = shape(path) {
            return Some((name.clone(), dims));
        }
        // `gpu_0/data_0=x.npy`: a name that is no word.
        let (odd, file) = path.to_str().filter(|_| name.is_none())?.split_once('=')?;
        Some((Some(odd.to_owned()), shape(Path::new(file))?))
    });
    found.collect()
}

/// Reads the buffer of an input from a file; `-` is standard input.
///
/// # Errors
/// Exit code 2 for a file that cannot be read, 1 with E0505 for one that does not fit.
pub(super) fn load(slot: &Slot, path: &Path) -> Result<Vec<f32>, Failure> {
    let shown = path.display();
    if path == Path::new("-") {
        // A sound file takes at most 16 bytes an element, and a header.
        let most = (slot.len() as u64).saturating_mul(16).saturating_add(64 << 20);
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().take(most + 1).read_to_end(&mut bytes);
        read.map_err(|e| Failure::io("standard input", &e))?;
        return parse(slot, Cursor::new(bytes)).map_err(|e| failure(slot, "standard input", e));
    }
    let file = File::open(path).map_err(|e| Failure::io(&shown, &e))?;
    parse(slot, BufReader::new(file)).map_err(|e| failure(slot, &shown, e))
}

fn parse(slot: &Slot, mut reader: impl BufRead + std::io::Seek) -> Result<Vec<f32>, FormatError> {
    let head = reader.fill_buf()?;
    if !head.starts_with(b"\x93NUMPY") && image::is_picture(head) {
        let grid = slot.as_picture().map_err(FormatError::Mismatch)?;
        let picture = image::read(reader, slot.extent("c"), (grid.height, grid.width))?;
        return Ok(slot.plane_positions(&grid).into_iter().map(|at| picture.data[at]).collect());
    }
    let array = npy::read(&mut reader, slot.len())?;
    let dims = slot.dims();
    let without_batch = slot.extent("n") == 1 && dims.get(1..) == Some(&array.dims[..]);
    if array.dims != dims && !without_batch {
        return Err(FormatError::Mismatch(format!("the array has shape {:?}", array.dims)));
    }
    Ok(array.data)
}

fn failure(slot: &Slot, path: impl std::fmt::Display, error: FormatError) -> Failure {
    match error {
        FormatError::Mismatch(what) => {
            let message = format!("{path} does not fit `{}` {}: {what}", slot.name, slot.show());
            Failure::Coded(codes::E0505, message)
        }
        FormatError::Io(error) => Failure::io(path, &error),
        other @ (FormatError::Malformed { .. } | FormatError::Unsupported { .. }) => {
            Failure::Unusable(format!("{path}: {other}"))
        }
    }
}

/// Writes the buffer of an output: a picture when the name ends in `.png`, else .npy; `-` is standard output, as .npy.
///
/// # Errors
/// Exit code 2 for a file that cannot be written, 1 with E0505 for an output that is no picture.
pub(super) fn save(slot: &Slot, path: &Path, data: &[f32], out: Out) -> Result<(), Failure> {
    let shown = path.display();
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        npy::write(&mut bytes, &slot.dims(), data).map_err(|e| failure(slot, "standard output", e))?;
        return out.print(bytes);
    }
    let png = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"));
    let picture = if png { Some(picture(slot, data).map_err(|e| failure(slot, &shown, e))?) } else { None };
    let file = File::create(path).map_err(|e| Failure::io(&shown, &e))?;
    let mut writer = BufWriter::new(file);
    let written = match picture {
        Some(picture) => image::write_png(&mut writer, &picture),
        None => npy::write(&mut writer, &slot.dims(), data),
    };
    written.map_err(|e| failure(slot, &shown, e))?;
    writer.flush().map_err(|e| Failure::io(&shown, &e))
}

fn picture(slot: &Slot, data: &[f32]) -> Result<Picture, FormatError> {
    let grid = slot.as_picture().map_err(FormatError::Mismatch)?;
    let channels = slot.extent("c");
    if channels != 1 && channels != 3 {
        let what = format!("a PNG takes 1 or 3 channels, not {channels}; write an .npy file");
        return Err(FormatError::Mismatch(what));
    }
    let mut planes = vec![0.0; slot.len()];
    for (at, x) in slot.plane_positions(&grid).into_iter().zip(data) {
        planes[at] = *x;
    }
    Ok(Picture { channels, height: grid.height, width: grid.width, data: planes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(axes: &[(&str, usize)]) -> Slot {
        Slot { name: "image".into(), axes: axes.iter().map(|(n, d)| ((*n).to_owned(), *d)).collect() }
    }

    fn png(channels: usize, height: usize, width: usize) -> Vec<u8> {
        let data = (0..channels * height * width).map(|i| i as f32 / 255.0).collect();
        let mut bytes = Vec::new();
        image::write_png(&mut bytes, &Picture { channels, height, width, data })
            .expect("a vector takes everything");
        bytes
    }

    fn bytes(values: &[f32]) -> Vec<i32> {
        values.iter().map(|x| (x * 255.0).round() as i32).collect()
    }

    #[test]
    fn a_picture_fills_the_buffer_in_the_order_of_the_axes() {
        let planar =
            parse(&slot(&[("n", 1), ("c", 3), ("h", 1), ("w", 2)]), Cursor::new(png(3, 1, 2))).expect("fits");
        assert_eq!(bytes(&planar), [0, 1, 2, 3, 4, 5]);
        let inter =
            parse(&slot(&[("n", 1), ("h", 1), ("w", 2), ("c", 3)]), Cursor::new(png(3, 1, 2))).expect("fits");
        assert_eq!(bytes(&inter), [0, 2, 4, 1, 3, 5]);
        let turned =
            parse(&slot(&[("n", 1), ("c", 1), ("w", 3), ("h", 2)]), Cursor::new(png(1, 2, 3))).expect("fits");
        assert_eq!(bytes(&turned), [0, 3, 1, 4, 2, 5]);
        let named =
            parse(&slot(&[("n", 1), ("c", 1), ("a", 2), ("b", 3)]), Cursor::new(png(1, 2, 3))).expect("fits");
        assert_eq!(bytes(&named), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn an_output_becomes_the_picture_it_was() {
        for axes in [[("n", 1), ("c", 3), ("h", 4), ("w", 5)], [("n", 1), ("w", 5), ("c", 3), ("h", 4)]] {
            let slot = slot(&axes);
            let data = parse(&slot, Cursor::new(png(3, 4, 5))).expect("fits");
            let back = picture(&slot, &data).expect("a picture");
            assert_eq!(bytes(&back.data), (0..60).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_array_may_leave_out_a_batch_of_one() {
        let write = |dims: &[usize]| {
            let mut bytes = Vec::new();
            npy::write(&mut bytes, dims, &vec![1.0; dims.iter().product()])
                .expect("a vector takes everything");
            Cursor::new(bytes)
        };
        let one = slot(&[("n", 1), ("c", 2), ("t", 3)]);
        assert!(parse(&one, write(&[1, 2, 3])).is_ok());
        assert!(parse(&one, write(&[2, 3])).is_ok());
        let wrong = parse(&one, write(&[3, 2])).expect_err("another shape").to_string();
        assert_eq!(wrong, "the array has shape [3, 2]");
        let three = slot(&[("n", 3), ("c", 2), ("t", 3)]);
        assert!(parse(&three, write(&[3, 2, 3])).is_ok());
        assert!(parse(&three, write(&[2, 3])).is_err());
    }

    #[test]
    fn what_is_no_picture_says_why() {
        let why = |axes: &[(&str, usize)]| {
            parse(&slot(axes), Cursor::new(png(1, 2, 3))).expect_err("does not fit").to_string()
        };
        assert!(why(&[("n", 1), ("c", 1), ("t", 6)]).contains("1 grid axes, a picture has 2"));
        assert!(why(&[("n", 2), ("c", 1), ("h", 2), ("w", 3)]).contains("a batch of 2"));
        assert!(why(&[("n", 1), ("c", 2), ("h", 2), ("w", 3)]).contains("1 or 3 channels, 2"));
        assert!(why(&[("n", 1), ("c", 1), ("h", 3), ("w", 2)]).contains("2 rows x 3 columns"));
        let slot = slot(&[("n", 1), ("c", 2), ("h", 2), ("w", 3)]);
        assert!(picture(&slot, &[0.0; 12]).is_err_and(|e| e.to_string().contains("1 or 3 channels, not 2")));
    }
}
