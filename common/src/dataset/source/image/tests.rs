use super::*;

/// Images that Python's library wrote: see `testdata/README.md`.
const GREY: &[u8] = include_bytes!("../testdata/grey.jpg");
const PROGRESSIVE: &[u8] = include_bytes!("../testdata/progressive.jpg");

/// A PNG image of 2 × 3 pixels.
fn png(color: ColorType, depth: BitDepth, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 3, 2);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == ColorType::Indexed {
        encoder.set_palette(vec![1, 2, 3, 4, 5, 6]);
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    drop(writer);
    bytes
}

#[track_caller]
fn check(bytes: &[u8], shape: &[u32], expected: &[u8]) {
    let expected = Image { shape: shape.to_vec(), bytes: expected.to_vec() };
    assert_eq!(decode(bytes), Ok(expected));
}

#[test]
fn png_images_are_exact() {
    let all: Vec<u8> = (0..24).collect();
    check(&png(ColorType::Grayscale, BitDepth::Eight, &all[..6]), &[2, 3], &all[..6]);
    check(&png(ColorType::Rgb, BitDepth::Eight, &all[..18]), &[2, 3, 3], &all[..18]);
    check(&png(ColorType::Rgba, BitDepth::Eight, &all), &[2, 3, 4], &all);
    check(&png(ColorType::GrayscaleAlpha, BitDepth::Eight, &all[..12]), &[2, 3, 2], &all[..12]);
    let bits = [0b1010_0000, 0b0100_0000];
    check(&png(ColorType::Grayscale, BitDepth::One, &bits), &[2, 3], &[255, 0, 255, 0, 255, 0]);
    let palette = [4, 5, 6, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, 1, 2, 3];
    check(&png(ColorType::Indexed, BitDepth::One, &bits), &[2, 3, 3], &palette);
}

#[test]
fn jpeg_images_have_the_same_bytes_on_every_host() {
    let grey = decode(GREY).unwrap();
    assert_eq!((&grey.shape[..], &grey.bytes[..8]), (&[8, 8][..], &[40; 8][..]));
    let digest = |bytes: &[u8]| crate::digest::Digest::of(bytes).to_string()[..16].to_owned();
    assert_eq!(digest(&grey.bytes), "764975ab6b2a3003");
    let rgb = decode(PROGRESSIVE).unwrap();
    assert_eq!(rgb.shape, [8, 8, 3]);
    assert_eq!(digest(&rgb.bytes), "3b204f08af113aee");
}

#[test]
fn errors_say_what_it_is() {
    let error = |bytes: &[u8]| {
        let NoImage { expected, found } = decode(bytes).unwrap_err();
        format!("expected {expected}, found {found}")
    };
    let sixteen = png(ColorType::Grayscale, BitDepth::Sixteen, &[0; 12]);
    let whole = png(ColorType::Grayscale, BitDepth::Eight, &[0; 6]);
    let mut large = whole.clone();
    // The height: more than memory is there for.
    large[20..24].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes());
    let sum = crc(&large[12..29]);
    large[29..33].copy_from_slice(&sum.to_be_bytes());
    let mut large_jpeg = GREY.to_vec();
    let frame = GREY.windows(2).position(|at| at == [0xff, 0xc0]).unwrap();
    large_jpeg[frame + 5..frame + 9].fill(0xff);
    for (bytes, expected) in [
        (&sixteen[..], "expected pixels of 8 bits, found pixels of 16 bits: convert the images"),
        (&whole[..40], "expected a PNG image, found a damaged one ("),
        (&large, "expected an image of 1 to 262144 bytes of pixels, found 2147483647 × 3 × 1"),
        (&large_jpeg, "expected an image of 1 to 262144 bytes of pixels, found 65535 × 65535 × 1"),
        (&GREY[..60], "expected a JPEG image, found a damaged one ("),
        (b"RIFF\0\0\0\0WEBP", "expected an image as PNG or JPEG, found WebP"),
        (b"a\xffb", "expected an image as PNG or JPEG, found bytes that begin with a\\xffb"),
        (b"", "expected an image as PNG or JPEG, found bytes that begin with "),
        (&vec![0; FILE_BYTES + 1], "expected an image in a file of at most 4194304 bytes"),
    ] {
        let error = error(bytes);
        assert!(error.contains(expected), "{error}");
    }
}

/// The checksum of PNG.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
