"""Near-duplicates: what compression and scaling do is seen through, what a question may ask about is not."""

import hashlib
import io
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from vqa.files import write_jsonl
from vqa.image_hashes import (
    BLANK,
    hamming_distance,
    hash_text,
    image_groups,
    looks_alike,
    near_duplicate_groups,
    nearest_images,
    perceptual_hash,
)
from vqa.images import DEFAULT_MAX_PIXELS, open_image
from vqa.preparation.hashing import ImageHasher, open_records
from vqa.synthesis.shapes import generate_scene


def photograph(seed: int, side: int = 192) -> Image.Image:
    """Smooth structure of many scales, as a photograph or a scan has it."""
    rng = np.random.default_rng(seed)
    image = np.zeros((side, side, 3))
    for cells, weight in ((3, 90), (7, 50), (20, 25)):
        noise = Image.fromarray(rng.integers(0, 255, (cells, cells, 3), dtype=np.uint8))
        image += weight / 255 * np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC))
    return Image.fromarray(np.clip(image + 40, 0, 255).astype(np.uint8))


def variants(image: Image.Image) -> dict[str, Image.Image]:
    found = {}
    for quality in (75, 40):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        found[f"jpeg{quality}"] = Image.open(buffer)
    found["twice"] = image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC)
    found["smaller"] = image.resize((image.width * 2 // 3, image.height * 2 // 3), Image.Resampling.BILINEAR)
    found["brighter"] = image.point(lambda value: min(255, value + 12))
    return found


def hash_of(image: Image.Image) -> int:
    return perceptual_hash(image.convert("RGB"))


@pytest.mark.parametrize("kind", ["photograph", "shapes"])
def test_what_a_file_goes_through_keeps_its_hash_near(kind):
    images = [photograph(seed) if kind == "photograph" else generate_scene(3, seed)[0] for seed in range(25)]
    originals = [hash_of(image) for image in images]
    pairs = [
        (original, hash_of(variant))
        for image, original in zip(images, originals, strict=True)
        if original != BLANK
        for variant in variants(image).values()
    ]
    alike = [looks_alike(original, variant) for original, variant in pairs]
    assert len(alike) >= 115 and np.mean(alike) >= 0.97
    # ... and none of the originals is taken for another one.
    assert near_duplicate_groups(dict(enumerate(originals))) == []


def test_colour_and_place_make_a_difference():
    def disc(colour, x):
        image = Image.new("RGB", (96, 96), "white")
        ImageDraw.Draw(image).ellipse((x, 20, x + 30, 50), fill=colour)
        return hash_of(image)

    red = disc((200, 30, 30), 20)
    assert looks_alike(red, disc((204, 34, 34), 20))
    # The same grey value, so that the pHashes agree: only the colour thumbnail tells them apart.
    green = disc((0, 135, 20), 20)
    assert hamming_distance(red, green) <= 8 and not looks_alike(red, green)
    assert not looks_alike(red, disc((200, 30, 30), 45))


def test_phash_agrees_with_imagehash():
    imagehash = pytest.importorskip("imagehash")
    for seed in range(5):
        image = photograph(seed, 128)
        ours = hash_of(image)
        theirs = int(str(imagehash.phash(image)), 16)
        assert hamming_distance(ours, theirs) <= 2
        assert hash_text(ours) == f"{ours % 2**64:016x}"


def test_blank_images_match_only_byte_for_byte(tmp_path):
    Image.new("RGB", (50, 50), "white").save(tmp_path / "a.png")
    Image.new("RGB", (60, 50), "white").save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes())
    photograph(1).save(tmp_path / "d.png")
    photograph(1).save(tmp_path / "e.jpg", quality=60)
    names = [str(tmp_path / name) for name in ("a.png", "e.jpg", "b.png", "c.png", "d.png")]
    hasher = ImageHasher()
    for name in reversed(names):
        hasher.facts(Path(name), DEFAULT_MAX_PIXELS)
    hashes = hasher.of([{"images": [*names, names[0]]}, {"images": names[:2]}])
    assert list(hashes) == names
    assert hashes[names[0]] == (hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest(), BLANK)
    assert not looks_alike(BLANK, BLANK)
    assert image_groups(hashes) == [[names[0], names[3]], [names[1], names[4]]]
    assert near_duplicate_groups({name: phash for name, (_, phash) in hashes.items()}) == [
        [names[1], names[4]]
    ]


def test_the_nearest_of_several():
    looks = 7 << 64 | 0xF0F0
    known = {
        "far": ("1", looks ^ 0x7F),
        "near": ("2", looks ^ 1),
        "as near": ("3", looks ^ 2),
        "w": ("4", BLANK),
    }
    asked = {
        "same": ("1", looks),
        "alike": ("5", looks),
        "other": ("6", looks ^ (1 << 60) - 1),
        "b": ("7", BLANK),
    }
    assert nearest_images(asked, known) == {"same": ("far", 0), "alike": ("near", 1)}
    assert nearest_images({"twin": ("5", looks)}, {"looks": ("6", looks)}) == {"twin": ("looks", 1)}
    assert nearest_images(asked, {}) == nearest_images({}, known) == {}


@pytest.mark.parametrize("num_proc", [1, 3])
def test_an_image_is_decoded_once_whoever_names_it(tmp_path, monkeypatch, num_proc):
    decoded = []

    def counted(path, max_pixels):
        decoded.append(Path(path).name)
        return open_image(path, max_pixels)

    monkeypatch.setattr("vqa.preparation.hashing.open_image", counted)
    Image.new("RGB", (8, 5), "red").save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    row = {"images": ["a.png"], "question": "What?", "answers": ["x"]}
    for split in ("train", "test"):
        write_jsonl(tmp_path / f"{split}.jsonl", [row, row, {**row, "images": ["broken.png"]}])
    hasher, records = ImageHasher(), []
    for split in ("train", "test"):
        reader = open_records(tmp_path / f"{split}.jsonl", None, 100, num_proc=num_proc, hasher=hasher)
        records += [record for block in reader.blocks() for record in block]
        (problem,) = reader.lines()
        assert f"{split}.jsonl:3: images[0]: 'broken.png' " in problem
    assert decoded.count("a.png") == 1 and len(records) == 4
    assert records[0]["image_sizes"] == [[8, 5]]
    facts = hasher.facts(tmp_path / "a.png", 100)
    assert [facts.sha256] == records[0]["image_sha256"] and (facts.width, facts.height) == (8, 5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10))
def test_the_search_misses_no_pair(seed, max_distance):
    rng = random.Random(seed)
    thumbnails = 7 << 64  # the same for all: only the pHashes decide
    values = [thumbnails | rng.getrandbits(64) for _ in range(12)]
    for value in values[:8]:
        flips = rng.sample(range(64), rng.randint(0, 12))
        values.append(value ^ sum(1 << bit for bit in flips))
    # Groups by brute force: what a chain of near pairs connects.
    group = list(range(len(values)))
    for i, first in enumerate(values):
        for j, second in enumerate(values[:i]):
            if hamming_distance(first, second) <= max_distance:
                group = [group[i] if label == group[j] else label for label in group]
    expected = [[k for k, label in enumerate(group) if label == name] for name in dict.fromkeys(group)]
    found = near_duplicate_groups(dict(enumerate(values)), max_distance)
    assert found == [members for members in expected if len(members) > 1]
