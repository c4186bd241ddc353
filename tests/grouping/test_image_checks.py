from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from groupshap.grouping.checks import DataProblems, Problem, check_names, decode_image, elided
from groupshap.grouping.config import DataGroupingConfig

CONFIG = DataGroupingConfig(image_size=8)


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:  # noqa: A002
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def decoded(image: Image.Image, config: DataGroupingConfig = CONFIG, format: str = "PNG", **options):  # noqa: A002
    return decode_image(encoded(image, format, **options), "it", config)


def test_an_image_of_the_right_size_keeps_its_pixels(picture):
    image = picture(size=(8, 8))
    for format_, options in (("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})):
        np.testing.assert_array_equal(
            decoded(image, format=format_, **options), np.asarray(image).transpose(2, 0, 1), err_msg=format_
        )


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (8, 8), 100), (100, 100, 100)),
        (Image.new("1", (8, 8), 1), (255, 255, 255)),
        (Image.new("RGB", (8, 8), (1, 2, 3)).quantize(4), (1, 2, 3)),
        (Image.new("RGBA", (8, 8), (10, 20, 30, 0)), (255, 255, 255)),  # fully transparent: white, not 10, 20, 30
        (Image.new("RGBA", (8, 8), (0, 0, 0, 128)), (127, 127, 127)),
        (Image.new("LA", (8, 8), (50, 0)), (255, 255, 255)),
        (Image.fromarray(np.full((8, 8), 65535, np.uint16)), (255, 255, 255)),
        (Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)), (100, 100, 100)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_kinds_of_pixels_are_converted_as_documented(image, expected):
    got = decoded(image)
    assert got.shape == (3, 8, 8)
    assert got.dtype == np.uint8
    assert tuple(got[:, 4, 4]) == expected


def test_palette_transparency_is_white():
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30] * 4)
    assert tuple(decoded(image, transparency=0)[:, 0, 0]) == (255, 255, 255)


def test_cmyk_and_16_bit_files_are_converted():
    cyan = decoded(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), format="TIFF")
    assert tuple(cyan[:, 4, 4]) == (0, 255, 255)
    assert decoded(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), format="JPEG").max() < 10
    sixteen = decoded(Image.fromarray(np.full((8, 8), 32896, np.uint16)), format="TIFF")
    assert tuple(sixteen[:, 4, 4]) == (128, 128, 128)


def test_exif_orientation_is_applied():
    """Orientation 6: the file's left column is the top row of the picture."""
    array = np.zeros((8, 8, 3), np.uint8)
    array[:, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    got = decoded(Image.fromarray(array), exif=exif)
    assert got[:, 0].min() == 255
    assert got[:, 1:].max() == 0


def test_fit_decides_about_images_that_are_not_square():
    array = np.zeros((8, 24, 3), np.uint8)
    array[:, 8:16] = 200  # the middle third
    image = Image.fromarray(array)
    crop, pad, stretch = (decoded(image, CONFIG.model_copy(update={"fit": fit})) for fit in ("crop", "pad", "stretch"))
    assert crop.min() == 200
    assert pad[:, 0].min() == pad[:, -1].min() == 255
    assert pad[:, 4].min() < 20
    assert stretch[:, 0, 0].max() < 20
    assert decoded(Image.new("RGB", (900, 1)), CONFIG.model_copy(update={"fit": "pad"})).shape == (3, 8, 8)


def test_grey_is_luma():
    got = decoded(Image.new("RGB", (20, 20), (0, 255, 0)), DataGroupingConfig(image_size=8, channels=1))
    assert got.shape == (1, 8, 8)
    assert set(np.unique(got)) == {150}  # 0.587 * 255


def test_large_jpegs_decoded_small_look_the_same():
    ramp = np.linspace(0, 255, 640)[None, :, None].repeat(640, 0).repeat(3, 2).astype(np.uint8)
    exact, fast = decoded(Image.fromarray(ramp)), decoded(Image.fromarray(ramp), format="JPEG", quality=95)
    assert np.abs(exact.astype(int) - fast).max() <= 3


def frames(n: int, format: str, picture) -> bytes:  # noqa: A002
    first, *rest = (picture(seed) for seed in range(n))
    return encoded(first, format, save_all=True, append_images=rest)


def huge_png() -> bytes:
    """A valid header of 60,000 x 60,000 pixels with nothing behind it: decoding it would need gigabytes."""
    data = bytearray(encoded(Image.new("RGB", (1, 1))))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    import zlib

    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


def bad_images(picture) -> dict[str, tuple[bytes, str]]:
    """Name to (content, words of the message)."""
    noise = picture(size=(64, 64))
    return {
        "empty.png": (b"", "0 bytes"),
        "text.jpg": (b"this is no image", "content of no such format"),
        "cut.png": (encoded(noise)[:-4000], "truncated"),
        "cut.jpg": (encoded(noise, "JPEG")[:-900], "truncated"),
        "cut.webp": (encoded(noise, "WEBP")[:-900], "unreadable"),
        "cut.bmp": (encoded(noise, "BMP")[:-900], "truncated"),
        "moving.webp": (frames(3, "WEBP", picture), "animated or multi-page WEBP of 3 frames"),
        "moving.png": (frames(2, "PNG", picture), "animated or multi-page PNG of 2 frames"),
        "moving.gif": (frames(4, "GIF", picture), "animated or multi-page GIF of 4 frames"),
        "pages.tif": (frames(2, "TIFF", picture), "animated or multi-page TIFF of 2 frames"),
        "float.tif": (encoded(Image.new("F", (8, 8)), "TIFF"), "32-bit"),
        "wide.png": (encoded(Image.new("L", (300, 4))), "300 x 4 px"),
        "huge.png": (huge_png(), "pixels"),
    }


def test_bad_images_are_refused_by_name(picture):
    config = CONFIG.model_copy(update={"max_side_px": 256})
    for name, (content, words) in bad_images(picture).items():
        problem = decode_image(content, name, config)
        assert isinstance(problem, Problem), name
        assert words in str(problem), str(problem)
        assert str(problem).startswith(f"{name}: expected ")


def test_names_are_data():
    """Slashes, dots, other scripts, emoji and 300 characters are fine; numbers are text; ends are trimmed, NFC."""
    names = [
        "../../etc/passwd",
        "a/b",
        ".",
        "..",
        "李雷",
        "👩‍🎨",
        "x" * 300,
        "a b",
        "$\\alpha$",
        "NA",
        "O'Neil; DROP",
        7,
        7.0,
    ]
    got, problems = check_names(names, "here")
    assert problems == []
    assert got == [*names[:-2], "7", "7"]
    assert check_names(["  ann ", "e\u0301"], "here") == (["ann", "é"], [])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["ann", None], "row 2: expected a contributor's name, got a missing value"),
        (["ann", float("nan")] + [None] * 9, "rows 2, 3, 4, 5, 6, ... (10 in all)"),
        (["ann", " \t"], "an empty name"),
        (["ann", "bo\x00b"], "control characters or undecodable bytes in 'bo\\x00b'"),
        (["ann", "b\nb"], "'b\\nb'"),
        (["ann", "b\udcff"], "undecodable"),
        (["\u00e9", "e\u0301"], "2 spellings of 'é'"),
        (["ann", "ann "], "2 spellings of 'ann'"),
    ],
)
def test_bad_names_are_refused_by_name(values, words):
    [problem] = check_names(values, "here")[1]
    assert words in str(problem)


def test_one_message_shows_twenty_problems_and_counts_all():
    error = DataProblems([Problem(f"file {n}", "a", "b", "Do.") for n in range(50)])
    lines = str(error).splitlines()
    assert lines[0] == "50 problems with the data:"
    assert lines[1] == "  1. file 0: expected a, got b. Do."
    assert lines[-1] == "  ... and 30 more."
    assert len(lines) == 22
    assert len(error.problems) == 50


def test_elided_names_stay_on_one_line():
    assert elided("a" * 50 + "b" * 50, 11) == "aaaaa…bbbbb"
    assert elided("a\nb", 10) == "a\\nb"
