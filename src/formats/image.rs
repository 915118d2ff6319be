//! Photographs as planes of numbers: PNG, JPEG and PNM in, PNG out.
//!
//! A [`Picture`] is `channels` planes of `height x width` values, row-major, 0 black to 1 white, as stored (no gamma
//! conversion): an 8-bit value is divided by 255, a 16-bit one by 65535. An alpha channel is dropped. The caller says how
//! many channels it wants:
//!
//! | file  | wanted | rule |
//! |-------|--------|------|
//! | gray  | 1      | as it is |
//! | gray  | 3      | the plane three times |
//! | RGB   | 3      | as it is |
//! | RGB   | 1      | luma of ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B, as Pillow's mode `L` |
//!
//! Nothing is ever resized: a picture of another size is an error that names both. Sizes are compared before pixels are
//! decoded, so a small file that declares a huge picture costs nothing.

use std::io::{BufRead, Seek, Write};

use ::image::{ColorType, DynamicImage, ImageError, ImageFormat, ImageReader, Limits};

use super::{FormatError, checked_count};

const FORMAT: &str = "image";

/// Planes of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// 1 (gray) or 3 (red, green, blue).
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `channels * height * width` values, the column fastest, then the row.
    pub data: Vec<f32>,
}

/// Reads a picture of exactly `height x width` as `channels` planes (1 or 3).
///
/// # Errors
/// [`FormatError::Mismatch`] for another size (both are named) or for a number of channels that no picture has,
/// [`FormatError::Malformed`] for bytes that are no sound PNG, JPEG or PNM, [`FormatError::Io`].
pub fn read(
    reader: impl BufRead + Seek,
    channels: usize,
    (height, width): (usize, usize),
) -> Result<Picture, FormatError> {
    if channels != 1 && channels != 3 {
        let message =
            format!("a picture gives 1 or 3 channels, {channels} are needed; hand over an .npy file");
        return Err(FormatError::Mismatch(message));
    }
    let pixels = checked_count(&[height, width, channels])
        .ok_or_else(|| FormatError::Mismatch(format!("no picture is {height}x{width}")))?;
    let decoded = decode(reader, pixels, |h, w| {
        if (h, w) == (height, width) {
            return Ok(());
        }
        let message = format!(
            "the picture is {h} rows x {w} columns, the input takes {height} x {width} (nothing is resized silently)"
        );
        Err(FormatError::Mismatch(message))
    })?;
    Ok(Picture { channels, height, width, data: planes(&decoded, channels) })
}

/// Reads a picture of any size up to `pixels_max` pixels; `channels` is 1 or 3, or the picture's own.
///
/// # Errors
/// As [`read`].
pub fn read_any(
    reader: impl BufRead + Seek,
    channels: Option<usize>,
    pixels_max: usize,
) -> Result<Picture, FormatError> {
    let decoded = decode(reader, pixels_max, |h, w| bounded(h, w, pixels_max))?;
    let own = if decoded.color().has_color() { 3 } else { 1 };
    let channels = channels.unwrap_or(own);
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    Ok(Picture { channels, height, width, data: planes(&decoded, channels) })
}

/// Reads a gray picture of at most `pixels_max` pixels as the whole numbers that are stored: 0 to 255, or 0 to 65535 where it has
/// 16 bits.
///
/// # Errors
/// [`FormatError::Mismatch`] for a picture in colour or a larger one; those of [`read`].
pub fn read_numbers(reader: impl BufRead + Seek, pixels_max: usize) -> Result<Picture, FormatError> {
    let decoded = decode(reader, pixels_max, |h, w| bounded(h, w, pixels_max))?;
    if decoded.color().has_color() {
        let what = "a picture of class numbers is gray, this one has colours (or a palette)";
        return Err(FormatError::Mismatch(what.into()));
    }
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let wide = decoded.color().bits_per_pixel() / u16::from(decoded.color().channel_count()) > 8;
    let data = if wide {
        decoded.to_luma16().pixels().map(|p| f32::from(p.0[0])).collect()
    } else {
        decoded.to_luma8().pixels().map(|p| f32::from(p.0[0])).collect()
    };
    Ok(Picture { channels: 1, height, width, data })
}

fn bounded(h: usize, w: usize, pixels_max: usize) -> Result<(), FormatError> {
    if h.checked_mul(w).is_some_and(|n| n <= pixels_max) {
        return Ok(());
    }
    Err(FormatError::Mismatch(format!(
        "the picture is {h} rows x {w} columns, at most {pixels_max} pixels are taken"
    )))
}

/// Decodes a picture for which about `elements` values are of use, after `check` has seen its rows and columns.
fn decode(
    reader: impl BufRead + Seek,
    elements: usize,
    check: impl FnOnce(usize, usize) -> Result<(), FormatError>,
) -> Result<DynamicImage, FormatError> {
    let mut reader = ImageReader::new(reader).with_guessed_format()?;
    if reader.format().is_none() {
        return Err(FormatError::malformed(FORMAT, "it begins like no PNG, JPEG or PNM"));
    }
    // The decoders check declared extents against these limits before they take memory.
    let mut limits = Limits::default();
    limits.max_alloc = Some((elements as u64).saturating_mul(16).saturating_add(64 << 20));
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(refused)?;
    let (w, h) = ::image::ImageDecoder::dimensions(&decoder);
    check(h as usize, w as usize)?;
    DynamicImage::from_decoder(decoder).map_err(refused)
}

/// Writes a picture as an 8-bit PNG: values are clamped to 0..1 (a NaN becomes 0), multiplied by 255 and rounded.
///
/// # Errors
/// [`FormatError::Mismatch`] for a picture that has not 1 or 3 channels or no pixels, [`FormatError::Io`].
pub fn write_png(writer: &mut dyn Write, picture: &Picture) -> Result<(), FormatError> {
    let Picture { channels, height, width, data } = picture;
    let color = match channels {
        1 => ColorType::L8,
        3 => ColorType::Rgb8,
        _ => {
            let message = format!("a PNG takes 1 or 3 channels, not {channels}; write an .npy file");
            return Err(FormatError::Mismatch(message));
        }
    };
    let area = height * width;
    let (Ok(w), Ok(h)) = (u32::try_from(*width), u32::try_from(*height)) else {
        return Err(FormatError::Mismatch(format!("no PNG is {height} x {width}")));
    };
    if area == 0 || data.len() != area * channels {
        let message = format!("{} values are no picture of {height} x {width} x {channels}", data.len());
        return Err(FormatError::Mismatch(message));
    }
    let bytes: Vec<u8> =
        (0..area).flat_map(|at| (0..*channels).map(move |c| to_byte(data[c * area + at]))).collect();
    let encoder = ::image::codecs::png::PngEncoder::new(writer);
    ::image::ImageEncoder::write_image(encoder, &bytes, w, h, color.into()).map_err(refused)
}

fn to_byte(x: f32) -> u8 {
    // A float-to-int conversion saturates, and takes NaN to 0.
    (x.clamp(0.0, 1.0) * 255.0).round() as u8
}

fn planes(image: &DynamicImage, channels: usize) -> Vec<f32> {
    // 16 bits hold every file's values exactly: an 8-bit value times 257 is the same fraction.
    let unit = |v: u16| f32::from(v) / 65535.0;
    let gray = !image.color().has_color();
    if gray {
        let plane: Vec<f32> = image.to_luma16().pixels().map(|p| unit(p.0[0])).collect();
        return if channels == 1 { plane } else { plane.repeat(3) };
    }
    let rgb = image.to_rgb16();
    if channels == 1 {
        let luma = |[r, g, b]: [u16; 3]| 0.299 * unit(r) + 0.587 * unit(g) + 0.114 * unit(b);
        return rgb.pixels().map(|p| luma(p.0)).collect();
    }
    (0..3).flat_map(|c| rgb.pixels().map(move |p| unit(p.0[c]))).collect()
}

fn refused(error: ImageError) -> FormatError {
    match error {
        ImageError::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            FormatError::Io(error)
        }
        ImageError::Unsupported(error) => FormatError::unsupported(FORMAT, error.to_string()),
        other => FormatError::malformed(FORMAT, other.to_string()),
    }
}

/// Whether these first bytes are those of a format that [`read`] takes.
pub fn is_picture(head: &[u8]) -> bool {
    ::image::guess_format(head)
        .is_ok_and(|f| matches!(f, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::Pnm))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn png(channels: usize, height: usize, width: usize, value: impl Fn(usize) -> f32) -> Vec<u8> {
        let data = (0..channels * height * width).map(value).collect();
        let mut bytes = Vec::new();
        write_png(&mut bytes, &Picture { channels, height, width, data }).expect("a vector takes everything");
        bytes
    }

    fn parse(bytes: &[u8], channels: usize, size: (usize, usize)) -> Result<Picture, FormatError> {
        read(Cursor::new(bytes), channels, size)
    }

    #[test]
    fn what_is_written_reads_back() {
        for channels in [1, 3] {
            let value = |i: usize| (i * 7 % 256) as f32 / 255.0;
            let picture = parse(&png(channels, 5, 9, value), channels, (5, 9)).expect("our own file");
            for (i, x) in picture.data.iter().enumerate() {
                assert!((x - value(i)).abs() < 1e-6, "{channels} channels, element {i}: {x}");
            }
        }
    }

    #[test]
    fn values_are_clamped_and_a_nan_is_black() {
        let values = [-3.0, 2.0, f32::NAN, 0.5];
        let picture = parse(&png(1, 1, 4, |i| values[i]), 1, (1, 4)).expect("our own file");
        assert_eq!(picture.data, [0.0, 1.0, 0.0, 128.0 / 255.0]);
    }

    #[test]
    fn gray_and_colour_convert_as_documented() {
        let gray = parse(&png(1, 2, 2, |i| i as f32 / 3.0), 3, (2, 2)).expect("sound");
        assert_eq!(gray.data[..4], gray.data[4..8]);
        assert_eq!(gray.data[..4], gray.data[8..]);
        let colour = png(3, 1, 2, |i| [1.0, 0.0, 0.0, 1.0, 0.0, 0.0][i]);
        let luma = parse(&colour, 1, (1, 2)).expect("sound").data;
        assert!((luma[0] - 0.299).abs() < 1e-6 && (luma[1] - 0.587).abs() < 1e-6, "{luma:?}");
    }

    #[test]
    fn sixteen_bits_keep_their_precision() {
        let buffer = ::image::ImageBuffer::<::image::Luma<u16>, _>::from_raw(2, 1, vec![1u16, 65534])
            .expect("2 pixels");
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(buffer).write_to(&mut bytes, ImageFormat::Png).expect("a vector takes everything");
        let picture = parse(bytes.get_ref(), 1, (1, 2)).expect("sound");
        assert_eq!(picture.data, [1.0 / 65535.0, 65534.0 / 65535.0]);
    }

    #[test]
    fn pictures_of_any_size_and_numbers_are_read() {
        let bytes = png(3, 2, 3, |i| i as f32 / 255.0);
        let own = read_any(Cursor::new(&bytes), None, 6).expect("sound");
        assert_eq!((own.channels, own.height, own.width), (3, 2, 3));
        let gray = read_any(Cursor::new(&bytes), Some(1), 6).expect("sound");
        assert_eq!((gray.channels, gray.data.len()), (1, 6));
        assert!(
            read_any(Cursor::new(&bytes), None, 5)
                .is_err_and(|e| e.to_string().contains("2 rows x 3 columns"))
        );
        assert!(read_numbers(Cursor::new(&bytes), 6).is_err_and(|e| e.to_string().contains("gray")));
        let numbers = read_numbers(Cursor::new(png(1, 1, 3, |i| i as f32 / 255.0)), 6).expect("sound");
        assert_eq!(numbers.data, [0.0, 1.0, 2.0]);
        let wide =
            ::image::ImageBuffer::<::image::Luma<u16>, _>::from_raw(2, 1, vec![300u16, 7]).expect("2 pixels");
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(wide).write_to(&mut bytes, ImageFormat::Png).expect("a vector takes everything");
        let numbers = read_numbers(Cursor::new(bytes.get_ref()), 6).expect("sound");
        assert_eq!(numbers.data, [300.0, 7.0]);
    }

    #[test]
    fn pnm_is_read() {
        let picture = parse(b"P2\n2 1\n255\n0 255\n", 1, (1, 2)).expect("sound");
        assert_eq!(picture.data, [0.0, 1.0]);
    }

    #[test]
    fn another_size_names_both() {
        let message = parse(&png(1, 4, 6, |_| 0.0), 1, (6, 4)).expect_err("another size").to_string();
        assert!(message.contains("4 rows x 6 columns") && message.contains("6 x 4"), "{message}");
        let message = parse(&png(1, 4, 6, |_| 0.0), 2, (4, 6)).expect_err("two channels").to_string();
        assert!(message.contains("1 or 3 channels, 2"), "{message}");
    }

    #[test]
    fn a_small_file_that_declares_a_huge_picture_costs_nothing() {
        let mut bytes = png(1, 4, 6, |_| 0.0);
        // Width and height stand at bytes 16..24 of a PNG; the checksum of the header chunk follows at 29.
        bytes[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        let checksum = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
        assert!(parse(&bytes, 1, (4, 6)).is_err());
        let pnm = b"P6\n4294967295 4294967295\n255\n";
        assert!(parse(pnm, 3, (4, 6)).is_err());
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_survived() {
        let bytes = png(3, 3, 5, |i| i as f32 / 45.0);
        for len in 0..bytes.len() - 12 {
            assert!(parse(&bytes[..len], 3, (3, 5)).is_err(), "cut to {len} of {}", bytes.len());
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x41;
            if let Ok(picture) = parse(&changed, 3, (3, 5)) {
                assert_eq!(picture.data.len(), 45);
            }
        }
        assert!(parse(b"", 1, (1, 1)).is_err());
        assert!(parse(&[0xff, 0xd8, 0xff, 0xe0, 0, 16], 1, (1, 1)).is_err());
    }

    /// The checksum of PNG chunks, bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(
                crc ^ u32::from(*byte),
                |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
            )
        })
    }
}
