//! A program that holds a network: compiled with the program, linked into it, with the shapes in the types.

mod net {
    include!(concat!(env!("OUT_DIR"), "/digits.rs"));
}

/// Eight lines of eight shades 0..9.
const SHOWN: [&[u8; 8]; 8] =
    [b"00279600", b"00998900", b"04500090", b"05400050", b"05300040", b"06300060", b"03808900", b"00599300"];

fn main() {
    let mut digits = net::Digits::new();
    assert_eq!(digits.selftest(), Ok(()), "the network computes what the compiler computed");
    let mut image = [[[0.0f32; 8]; 8]; 1];
    for (row, line) in image[0].iter_mut().zip(SHOWN) {
        for (pixel, shade) in row.iter_mut().zip(line) {
            *pixel = f32::from(shade - b'0') / 9.0;
        }
    }
    let scores: &[f32; 10] = match digits.run(&image) {
        Ok(outputs) => outputs,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    for (digit, score) in scores.iter().enumerate() {
        println!("{digit} {score:9.4}");
    }
    let best = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    println!("this is a {}", best.map_or(0, |b| b.0));
}
