//! Colours: few that are told apart, also by the colour-blind (Okabe & Ito 2008), in a fixed order.

/// Red, green, blue.
pub type Colour = [u8; 3];

pub(super) const WHITE: Colour = [255, 255, 255];
pub(super) const INK: Colour = [40, 40, 40];
pub(super) const GRID: Colour = [224, 224, 224];
pub(super) const FRAME: Colour = [150, 150, 150];

/// Colours of lines and classes.
pub const CLASSES: [Colour; 8] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [230, 159, 0],
    [86, 180, 233],
    [120, 80, 40],
    [240, 228, 66],
];

/// The colour of a class in a picture of class numbers: 0 is dark, the others take turns; what is no class is white.
pub fn class_colour(class: f32) -> Colour {
    if class == 0.0 {
        return [24, 24, 24];
    }
    if class.is_finite() && class >= 1.0 {
        // A cast saturates; a class beyond all colours takes one of them again.
        return CLASSES[(class as usize - 1) % CLASSES.len()];
    }
    WHITE
}
