//! Folders of pictures by class and with masks: order, sizes, tiles, and what is wrong with them.

use super::*;
use crate::data::{Parts, Spec};

/// An empty folder of its own.
fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cnnc-pictures-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn write(path: &Path, channels: usize, (height, width): (usize, usize), value: impl Fn(usize) -> u8) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let data = (0..channels * height * width).map(|i| f32::from(value(i)) / 255.0).collect();
    let mut file = File::create(path).expect("a file");
    image::write_png(&mut file, &Picture { channels, height, width, data }).expect("a picture");
}

fn read(source: Source) -> Result<Parts, String> {
    Spec::new(source).open(&Places::default()).map_err(|e| e.to_string())
}

fn images(folder: &Path, pictures: Pictures) -> Result<Parts, String> {
    read(Source::Images { folder: folder.to_owned(), test: Test::Own, pictures })
}

fn with_masks(folder: &Path, tile: Option<(usize, usize)>) -> Result<Parts, String> {
    let (images, masks, pictures) = (folder.join("x"), folder.join("y"), Pictures::default());
    read(Source::Masks { images, masks, test_files: None, test: Test::Own, tile, stride: None, pictures })
}

fn sample(parts: &Parts, field: usize, i: usize) -> Vec<f32> {
    let field = &parts.train.set.fields[field];
    let mut out = vec![0.0; field.len()];
    field.copy(i, &mut out);
    out
}

#[test]
fn classes_are_folders_in_the_order_of_the_alphabet() {
    let folder = scratch("classes");
    write(&folder.join("dog/b.png"), 1, (1, 2), |i| i as u8);
    write(&folder.join("dog/a.PNG"), 1, (1, 2), |_| 255);
    write(&folder.join("cat/z.png"), 1, (1, 2), |_| 0);
    write(&folder.join("cat/.hidden.png"), 1, (9, 9), |_| 0);
    std::fs::write(folder.join("cat/notes.txt"), "no picture").expect("a file");
    let parts = images(&folder, Pictures::default()).expect("sound");
    assert_eq!(parts.train.set.classes, ["cat", "dog"]);
    assert_eq!(
        (parts.train.len(), parts.train.set.show()),
        (3, "image [c: 1, h: 1, w: 2], label [c: 1]".into())
    );
    assert_eq!((0..3).map(|i| sample(&parts, 1, i)[0]).collect::<Vec<_>>(), [0.0, 1.0, 1.0]);
    assert_eq!(sample(&parts, 0, 1), [1.0, 1.0]);
    let padded = images(&folder, Pictures { pad: (1, 0), ..Pictures::default() }).expect("sound");
    assert_eq!(sample(&padded, 0, 1), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    let colour = images(&folder, Pictures { channels: Some(3), size: Some((2, 4)), ..Pictures::default() });
    assert_eq!(colour.expect("sound").train.set.fields[0].dims, [3, 2, 4]);
    std::fs::remove_dir_all(folder).expect("our own");
}

#[test]
fn folders_that_are_no_set_say_why() {
    let folder = scratch("wrong");
    let plain = || images(&folder, Pictures::default()).map(|_| ()).expect_err("no set");
    assert!(plain().contains("each class is a folder"));
    std::fs::create_dir(folder.join("cat")).expect("a folder");
    assert!(plain().contains("no PNG, JPEG or PNM"));
    write(&folder.join("cat/a.png"), 1, (2, 2), |_| 0);
    write(&folder.join("dog/a.png"), 1, (2, 3), |_| 0);
    let message = plain();
    assert!(message.contains("2 rows x 3 columns") && message.contains("size: 2x2"), "{message}");
    std::fs::write(folder.join("dog/a.png"), b"\x89PNG no picture").expect("a file");
    assert!(plain().contains("dog/a.png"));
    assert!(images(&folder.join("nowhere"), Pictures::default()).is_err_and(|e| e.contains("nowhere")));
    std::fs::remove_dir_all(folder).expect("our own");
}

#[test]
fn masks_are_found_by_name_and_cut_with_their_pictures() {
    let folder = scratch("masks");
    for (name, base) in [("b", 100), ("a", 0)] {
        write(&folder.join(format!("x/{name}.png")), 1, (4, 6), |i| base + i as u8);
        write(&folder.join(format!("y/{name}.png")), 1, (4, 6), |i| (i % 3) as u8);
    }
    let whole = with_masks(&folder, None).expect("sound");
    assert_eq!((whole.train.len(), whole.train.set.class_count("mask", None)), (2, 3));
    assert_eq!(sample(&whole, 0, 0)[5], 5.0 / 255.0, "a comes first");
    let tiles = with_masks(&folder, Some((2, 4))).expect("sound");
    assert_eq!(tiles.train.len(), 4, "what is left over at the edges is no tile");
    assert_eq!(sample(&tiles, 1, 1), [0.0, 1.0, 2.0, 0.0, 0.0, 1.0, 2.0, 0.0]);
    assert!(with_masks(&folder, Some((5, 2))).is_err_and(|e| e.contains("4 x 6 has no tile of 5 x 2")));
    write(&folder.join("x/c.png"), 1, (4, 6), |_| 0);
    assert!(with_masks(&folder, None).is_err_and(|e| e.contains("c.png") && e.contains("no mask")));
    write(&folder.join("y/c.png"), 1, (4, 5), |_| 0);
    assert!(with_masks(&folder, None).is_err_and(|e| e.contains("4 x 5") && e.contains("4 x 6")));
    write(&folder.join("y/c.png"), 3, (4, 6), |_| 0);
    assert!(with_masks(&folder, None).is_err_and(|e| e.contains("gray")));
    std::fs::remove_dir_all(folder).expect("our own");
}

#[test]
fn tiles_lie_within_a_picture() {
    assert_eq!(tile_places((4, 4), (2, 2), (2, 2)), [(0, 0), (0, 2), (2, 0), (2, 2)]);
    assert_eq!(tile_places((3, 5), (3, 3), (1, 2)), [(0, 0), (0, 2)]);
    assert!(tile_places((2, 2), (3, 1), (1, 1)).is_empty());
    assert_eq!(tile_places((2, 2), (2, 2), (0, 0)), [(0, 0)]);
}
