//! A contact sheet: samples in rows, each with its pictures beside each other and a line of text below.

use super::canvas::{Canvas, TEXT_HEIGHT, text_width};
use super::palette::{Colour, INK};
use crate::formats::image::Picture;

/// One sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tile {
    /// Its pictures, of 1 or 3 channels.
    pub pictures: Vec<Picture>,
    /// What stands below.
    pub label: String,
}

/// Pixels between tiles, and between the pictures of one.
const GAP: usize = 8;
const INNER: usize = 2;
/// The most pixels that stand for one of a picture's, along an axis.
const SCALE_MAX: usize = 8;
/// What a tile is enlarged to, about.
const TILE: usize = 96;
const GROUND: Colour = [236, 239, 243];

/// The sheet with so many tiles a row; `None` without tiles, or when it is too large for a picture.
pub fn sheet(tiles: &[Tile], columns: usize) -> Option<Picture> {
    let columns = columns.clamp(1, tiles.len().max(1));
    let most =
        |f: fn(&Picture) -> usize| tiles.iter().flat_map(|t| &t.pictures).map(f).max().unwrap_or(1).max(1);
    let (high, wide) = (most(|p| p.height), most(|p| p.width));
    let scale = (TILE / high.max(wide)).clamp(1, SCALE_MAX);
    let beside = tiles.iter().map(|t| t.pictures.len()).max().unwrap_or(0).max(1);
    let labelled = tiles.iter().any(|t| !t.label.is_empty());
    let longest = tiles.iter().map(|t| t.label.chars().count()).max().unwrap_or(0);
    let pictures = beside.checked_mul(wide.checked_mul(scale)?.checked_add(INNER)?)?;
    // A label may widen its tile a little; a longer one is cut.
    let tile_w = pictures.max(text_width(longest).min(2 * TILE));
    let tile_h = high.checked_mul(scale)?.checked_add(if labelled { TEXT_HEIGHT + 2 } else { 0 })?;
    let rows = tiles.len().div_ceil(columns);
    let height = rows.checked_mul(tile_h.checked_add(GAP)?)?.checked_add(GAP)?;
    let width = columns.checked_mul(tile_w.checked_add(GAP)?)?.checked_add(GAP)?;
    let mut canvas = Canvas::new(height, width).filter(|_| !tiles.is_empty())?;
    canvas.fill((0, 0), (height, width), GROUND);
    for (i, tile) in tiles.iter().enumerate() {
        let (y, x) = (GAP + i / columns * (tile_h + GAP), GAP + i % columns * (tile_w + GAP));
        for (k, picture) in tile.pictures.iter().enumerate() {
            canvas.picture(picture, (y, x + k * (wide * scale + INNER)), scale);
        }
        let fits = (tile_w + GAP - 1) / text_width(1);
        let label: String = tile.label.chars().take(fits).collect();
        canvas.text(&label, (y + high * scale + 1, x), INK);
    }
    Some(canvas.into_picture())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(h: usize, w: usize, label: &str) -> Tile {
        let picture = Picture { channels: 1, height: h, width: w, data: vec![0.0; h * w] };
        Tile { pictures: vec![picture.clone(), picture], label: label.into() }
    }

    fn black(picture: &Picture) -> usize {
        picture.data[..picture.height * picture.width].iter().filter(|x| **x == 0.0).count()
    }

    #[test]
    fn tiles_stand_in_rows_enlarged() {
        let sheet = sheet(&vec![tile(4, 4, ""); 5], 2).expect("small");
        assert_eq!(black(&sheet), 5 * 2 * (4 * 8) * (4 * 8));
        assert_eq!((sheet.height, sheet.width), (3 * 40 + 8, 2 * (68 + 8) + 8));
    }

    #[test]
    fn labels_widen_and_are_cut_and_odd_sizes_work() {
        let one = sheet(&[tile(1, 1, "ankle boot")], 9).expect("small");
        assert!(one.width >= text_width(10) && one.height > TEXT_HEIGHT + 8);
        let long = sheet(&[tile(1, 1, &"x".repeat(5000))], 1).expect("small");
        assert!(long.width < 400);
        assert!(sheet(&[], 3).is_none());
        assert!(sheet(&[Tile::default()], 0).is_some());
        assert!(sheet(&vec![tile(1, 3, "a"); 7], usize::MAX).is_some());
    }
}
