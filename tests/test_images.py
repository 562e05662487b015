"""Images: decoding within limits, paths inside their root, box conventions."""

import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from vqa.images import (
    ImageProblem,
    boxes_to_pixels,
    boxes_to_text_coordinates,
    check_image,
    image_facts,
    open_image,
    resolve_inside,
)


def png_with_header_size(path, width, height):
    """A PNG whose header claims a size that its few bytes of pixels do not hold."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff", "ppm"])
def test_formats_are_read(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.new("RGB", (30, 20), (200, 30, 40)).save(path)
    assert check_image(path) == (30, 20)
    image = open_image(path)
    assert image.mode == "RGB" and image.size == (30, 20)
    assert np.abs(np.asarray(image)[10, 10].astype(int) - (200, 30, 40)).max() <= 12


def test_bomb_is_refused_before_it_is_decoded(tmp_path):
    # Decoding this file would end in "truncated": the limit must speak first.
    path = png_with_header_size(tmp_path / "bomb.png", 40_000, 40_000)
    with pytest.raises(ImageProblem, match="limit of 100,000,000"):
        check_image(path)
    path = png_with_header_size(tmp_path / "large.png", 11_000, 10_000)
    with pytest.raises(ImageProblem, match="has 11000x10000 pixels, more than the limit of 100,000,000"):
        open_image(path)


def test_limit_is_inclusive_and_configurable(tmp_path):
    path = tmp_path / "image.png"
    Image.new("L", (10, 10)).save(path)
    assert check_image(path, max_pixels=100) == (10, 10)
    with pytest.raises(ImageProblem, match="has 10x10 pixels, more than the limit of 99"):
        check_image(path, max_pixels=99)


def test_limit_above_that_of_pillow(tmp_path):
    path = tmp_path / "large.png"
    Image.new("1", (20_000, 10_000)).save(path)
    assert check_image(path, max_pixels=200_000_000) == (20_000, 10_000)


def test_damaged_files(tmp_path):
    whole = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50, 3), dtype=np.uint8)).save(whole)
    Image.open(whole).save(tmp_path / "whole.jpg")
    for name in ("whole.png", "whole.jpg"):
        data = (tmp_path / name).read_bytes()
        cut = tmp_path / f"cut-{name}"
        cut.write_bytes(data[: len(data) // 2])
        with pytest.raises(ImageProblem, match="damaged or truncated"):
            check_image(cut)
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(ImageProblem, match="is empty"):
        check_image(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ImageProblem, match="not an image"):
        check_image(tmp_path / "text.png")
    with pytest.raises(ImageProblem, match="does not exist"):
        check_image(tmp_path / "nothing.png")
    with pytest.raises(ImageProblem, match="not a file"):
        check_image(tmp_path)


def test_what_is_no_raster_file_is_not_even_tried(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageProblem, match="not a file"):
        check_image(tmp_path / "pipe.png")
    # Pillow would hand PostScript to Ghostscript.
    (tmp_path / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    with pytest.raises(ImageProblem, match="not an image of a known format"):
        check_image(tmp_path / "a.eps")


@given(
    data=st.binary(max_size=300),
    head=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"II*\0"]),
)
def test_any_bytes_are_an_image_or_a_problem(tmp_path_factory, data, head):
    path = tmp_path_factory.getbasetemp() / "any.bin"
    path.write_bytes(head + data)
    try:
        width, height = check_image(path)
    except ImageProblem as problem:
        assert "\n" not in str(problem)
    else:
        assert width > 0 and height > 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff"])
def test_exif_orientation(tmp_path, orientation, suffix):
    pixels = np.zeros((20, 32, 3), dtype=np.uint8)
    pixels[:10, :16] = (250, 0, 0)
    pixels[10:, 16:] = (0, 0, 250)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(pixels).save(path, exif=exif, **({"quality": 95} if suffix == "jpg" else {}))
    with Image.open(path) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    opened = open_image(path)
    assert check_image(path) == opened.size == expected.size
    assert expected.size == ((20, 32) if orientation >= 5 else (32, 20))
    assert np.array_equal(np.asarray(opened), np.asarray(expected))


def test_modes_become_rgb(tmp_path):
    deep = np.array([[0, 256, 65535]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.asarray(open_image(tmp_path / "deep.png"))[0, :, 0].tolist() == [0, 1, 255]
    Image.fromarray(np.array([[-1.0, 0.0, 1.0]], dtype=np.float32)).save(tmp_path / "float.tiff")
    assert np.asarray(open_image(tmp_path / "float.tiff"))[0, :, 0].tolist() == [0, 128, 255]
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert open_image(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 0)
    palette.save(tmp_path / "clear.gif", transparency=0)
    assert open_image(tmp_path / "clear.gif").getpixel((0, 0)) == (255, 255, 255)
    Image.new("CMYK", (4, 4), (0, 0, 0, 0)).save(tmp_path / "print.jpg")
    assert open_image(tmp_path / "print.jpg").getpixel((0, 0)) == (255, 255, 255)


def test_facts_hash_the_bytes_of_the_file(tmp_path):
    path = tmp_path / "image.png"
    Image.new("RGB", (3, 2)).save(path)
    import hashlib

    facts = image_facts(path)
    assert (facts.width, facts.height) == (3, 2)
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_paths_stay_inside_their_root(tmp_path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "secret.png").touch()
    (root / "sub" / "a.png").touch()
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path)
    (root / "in.png").symlink_to(root / "sub" / "a.png")
    (tmp_path / "rootlink").symlink_to(root)
    inside = root.resolve() / "sub" / "a.png"
    assert resolve_inside(root, "sub/a.png") == inside
    assert resolve_inside(root, "./sub//a.png") == inside
    assert resolve_inside(root, "in.png") == inside
    assert resolve_inside(tmp_path / "rootlink", "sub/a.png") == inside
    for bad, reason in {
        str(inside): "absolute",
        "../secret.png": "leaves",
        "sub/../../secret.png": "leaves",
        "out.png": "symlink",
        "up/secret.png": "symlink",
        "": "empty",
        "a\0b": "NUL",
    }.items():
        with pytest.raises(ImageProblem, match=reason):
            resolve_inside(root, bad)


def test_a_neighbour_with_the_same_prefix_is_outside(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "rooted").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "rooted")
    with pytest.raises(ImageProblem, match="symlink"):
        resolve_inside(tmp_path / "root", "link/a.png")


def test_box_conventions_by_hand():
    assert boxes_to_text_coordinates([[10, 20, 50, 80]], (200, 100), "norm1000") == [[50, 200, 250, 800]]
    assert boxes_to_text_coordinates([[10, 20, 50, 80]], (200, 100), "pixels", (100, 200)) == [
        [5, 40, 25, 160]
    ]
    assert boxes_to_pixels([[50, 200, 250, 800]], (200, 100), "norm1000") == [[10, 20, 50, 80]]
    # Outside of the frame by rounding, and thinner than a unit.
    assert boxes_to_text_coordinates([[-1, 0, 201, 100]], (200, 100), "norm1000") == [[0, 0, 1000, 1000]]
    assert boxes_to_text_coordinates([[3999, 3999, 4000, 4000]], (4000, 4000), "norm1000") == [
        [999, 999, 1000, 1000]
    ]
    with pytest.raises(ValueError, match="resized"):
        boxes_to_text_coordinates([[0, 0, 1, 1]], (10, 10), "pixels")
    with pytest.raises(ValueError, match="box_format"):
        boxes_to_pixels([[0, 0, 1, 1]], (10, 10), "xywh")


@given(st.data(), st.integers(1, 8000), st.integers(1, 8000), st.sampled_from(["norm1000", "pixels"]))
def test_boxes_survive_the_round_trip(data, width, height, box_format):
    resized = (data.draw(st.integers(1, 3000)), data.draw(st.integers(1, 3000)))
    x0, x1 = sorted(data.draw(st.lists(st.floats(0, width), min_size=2, max_size=2, unique=True)))
    y0, y1 = sorted(data.draw(st.lists(st.floats(0, height), min_size=2, max_size=2, unique=True)))
    frame = (1000, 1000) if box_format == "norm1000" else resized
    (text,) = boxes_to_text_coordinates([[x0, y0, x1, y1]], (width, height), box_format, resized)
    assert 0 <= text[0] < text[2] <= frame[0] and 0 <= text[1] < text[3] <= frame[1]
    (back,) = boxes_to_pixels([text], (width, height), box_format, resized)
    # Half a unit of rounding, or at most one and a half where a thin box was widened.
    for axis, (before, after) in enumerate(zip((x0, y0, x1, y1), back, strict=True)):
        assert abs(before - after) <= 1.5 * (width, height)[axis % 2] / frame[axis % 2] + 1e-6
