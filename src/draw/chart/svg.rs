//! A layout as the text of an SVG file: lines and text, coordinates with one decimal.

use std::fmt::Write as _;

use super::layout::{Item, Layout};
use crate::draw::palette::Colour;

pub(super) fn write(layout: &Layout) -> String {
    let (w, h) = (layout.width, layout.height);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" \
         font-family=\"'Noto Sans Mono', 'DejaVu Sans Mono', monospace\" font-size=\"12\">\n\
         <rect width=\"{w}\" height=\"{h}\" fill=\"#ffffff\"/>\n"
    );
    for item in &layout.items {
        // Writing to a text cannot fail.
        let _ = match item {
            Item::Line { points, colour, width } => match points[..] {
                [(x, y)] => writeln!(
                    text,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{:.1}\" fill=\"{}\"/>",
                    width / 2.0,
                    hex(*colour)
                ),
                _ => {
                    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                    writeln!(
                        text,
                        "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\"/>",
                        points.join(" "),
                        hex(*colour)
                    )
                }
            },
            // The baseline of 16 pixels high text lies 12.5 below its upper edge.
            Item::Text { text: words, x, y, colour } => writeln!(
                text,
                "<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{}\">{}</text>",
                y + 12.5,
                hex(*colour),
                escaped(words)
            ),
        };
    }
    text.push_str("</svg>\n");
    text
}

fn hex([r, g, b]: Colour) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Text in XML; characters that XML does not have are left out.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}
