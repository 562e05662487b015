"""Which images are the same, byte for byte or to the eye: shared by split, dedup and validate.

A 64-bit pHash finds the candidates: signs of the lowest DCT coefficients of a 32x32 grey thumbnail, as in
https://www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html. It is blind to colour and to
what is small, so a pair counts only when coarse thumbnails agree as well: a red circle is
not the duplicate of a blue one. Scaling, compression and a change of brightness are seen through; crops and
rotations are not. Two pages that differ in a few letters of the same length still look the same.
"""

from collections.abc import Hashable, Iterator, Mapping
from typing import TypeVar

import numpy as np
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Key = TypeVar("Key", bound=Hashable)

BITS = 64
# Two images are near-duplicates when at most so many bits of their pHashes differ ...
MAX_DISTANCE = 8
# ... and thumbnails, brought to the same brightness, differ nowhere by more than so many of 255 levels: in
# grey (16x16) and, since JPEG blurs colour, less strictly in red, green and blue (8x8).
MAX_GREY_DIFFERENCE, MAX_COLOUR_DIFFERENCE = 14, 24
# The hash of an image that is blank or nearly so, whose pHash would be noise: near to nothing.
BLANK = 0
# A 32x32 grey thumbnail that varies by less than so many levels (standard deviation) is blank.
BLANK_DEVIATION = 2.0
_GREY_SIDE, _COLOUR_SIDE = 16, 8
_GREY_BYTES = _GREY_SIDE**2
_BYTES = _GREY_BYTES + 3 * _COLOUR_SIDE**2
_ROWS_AT_ONCE = 256


def perceptual_hash(image: Image.Image) -> int:
    """What an RGB image looks like, as one integer for `near_duplicate_groups`; `BLANK` for a blank image.

    Its low 64 bits are the pHash (`hash_text` shows them), the bits above are two thumbnails.
    """
    grey_image = image.convert("L")
    grey = np.asarray(grey_image.resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=3.0))
    if grey.std() < BLANK_DEVIATION:
        return BLANK
    lowest = dctn(grey.astype(np.float64))[:8, :8]
    bits = np.packbits(lowest > np.median(lowest)).tobytes()
    thumbnails = [
        np.asarray(whole.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0)).tobytes()
        for whole, side in ((grey_image, _GREY_SIDE), (image, _COLOUR_SIDE))
    ]
    return int.from_bytes(b"".join([*thumbnails, bits]), "big")


def hash_text(phash: int) -> str:
    """The pHash of a `perceptual_hash` as 16 hex digits, for reports."""
    return f"{phash & (1 << BITS) - 1:016x}"


def hamming_distance(first: int, second: int) -> int:
    """How many of the 64 bits of two pHashes differ."""
    return ((first ^ second) & (1 << BITS) - 1).bit_count()


def near_duplicate_groups(hashes: Mapping[Key, int], max_distance: int = MAX_DISTANCE) -> list[list[Key]]:
    """Groups of two and more keys whose images look the same, in the order of the mapping.

    A group is connected: each member is near to another one, not to all. Blank images are in no group.

    Args:
        hashes: key -> `perceptual_hash`.
        max_distance: bits of the pHash that may differ, 0 to 20; below 0 there are no groups.
    """
    if max_distance < 0:
        return []
    keys = [key for key, value in hashes.items() if value != BLANK]
    values = [hashes[key] for key in keys]
    # Equal hashes are one node, so that a thousand copies do not make a million pairs.
    nodes = {value: number for number, value in enumerate(dict.fromkeys(values))}
    owner = _components(list(nodes), max_distance)
    groups: dict[int, list[Key]] = {}
    for key, value in zip(keys, values, strict=True):
        groups.setdefault(owner[nodes[value]], []).append(key)
    return [group for group in groups.values() if len(group) > 1]


def image_groups(hashes: Mapping[Key, tuple[str, int]], max_distance: int = MAX_DISTANCE) -> list[list[Key]]:
    """Groups of two and more keys whose images are equal byte for byte or look the same.

    Args:
        hashes: key -> (sha256, `perceptual_hash`), as `ImageHasher.of` gives them.
        max_distance: as in `near_duplicate_groups`.
    """
    looks = {sha256: phash for sha256, phash in hashes.values()}
    first = {sha256: group[0] for group in near_duplicate_groups(looks, max_distance) for sha256 in group}
    groups: dict[str, list[Key]] = {}
    for key, (sha256, _) in hashes.items():
        groups.setdefault(first.get(sha256, sha256), []).append(key)
    return [group for group in groups.values() if len(group) > 1]


def nearest_images(
    queries: Mapping[Key, tuple[str, int]],
    references: Mapping[Key, tuple[str, int]],
    max_distance: int = MAX_DISTANCE,
) -> dict[Key, tuple[Key, int]]:
    """For each query that has one, the reference image that is the same, or else the nearest that looks so.

    Both map keys to (sha256, `perceptual_hash`). The number with it is 0 for equal bytes, else the distance
    of the pHashes, 1 at least; among equally near ones it is the first.
    """
    by_bytes: dict[str, Key] = {}
    for key, (sha256, _) in references.items():
        by_bytes.setdefault(sha256, key)
    found = {key: (by_bytes[sha256], 0) for key, (sha256, _) in queries.items() if sha256 in by_bytes}
    asked = [(key, phash) for key, (_, phash) in queries.items() if key not in found and phash != BLANK]
    known = [(key, phash) for key, (_, phash) in references.items() if phash != BLANK]
    if not asked or not known:
        return found
    hashes, thumbnails = _split_hashes([phash for _, phash in known])
    for start in range(0, len(asked), _ROWS_AT_ONCE):
        block = asked[start : start + _ROWS_AT_ONCE]
        block_hashes, block_thumbnails = _split_hashes([phash for _, phash in block])
        distances = np.bitwise_count(block_hashes[:, None] ^ hashes[None, :])
        rows, columns = np.nonzero(distances <= max_distance)
        kept = _similar(block_thumbnails, thumbnails, rows, columns)
        # Farthest first and, among equals, last first: what is written last stays.
        pairs = zip(
            distances[rows, columns][kept].tolist(), columns[kept].tolist(), rows[kept].tolist(), strict=True
        )
        for distance, column, row in sorted(pairs, reverse=True):
            found[block[row][0]] = (known[column][0], max(1, distance))
    return {key: found[key] for key in queries if key in found}


def looks_alike(first: int, second: int, max_distance: int = MAX_DISTANCE) -> bool:
    """Whether two `perceptual_hash`es are of near-duplicates."""
    if BLANK in (first, second):
        return False
    if hamming_distance(first, second) > max_distance:
        return False
    _, thumbnails = _split_hashes([first, second])
    return bool(_similar(thumbnails[:1], thumbnails[1:], np.array([0]), np.array([0]))[0])


def _components(values: list[int], max_distance: int) -> list[int]:
    """The number of the group each value belongs to."""
    hashes, thumbnails = _split_hashes(values)
    edges: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0, int), np.empty(0, int))]
    for left, right in _near_pairs(hashes, max_distance):
        kept = _similar(thumbnails, thumbnails, left, right)
        edges.append((left[kept], right[kept]))
    rows, columns = (np.concatenate(side) for side in zip(*edges, strict=True))
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(values), len(values)))
    return connected_components(graph, directed=False)[1].tolist() if values else []


def _near_pairs(hashes: np.ndarray, max_distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Index pairs whose pHashes differ in at most `max_distance` bits; some come more than once.

    Exact: of `max_distance` + 1 bands of the 64 bits, one at least is equal in such a pair.
    """
    cuts = [BITS * band // (max_distance + 1) for band in range(max_distance + 2)]
    for low, high in zip(cuts, cuts[1:], strict=False):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order])) + 1
        for bucket in np.split(order, starts):
            for start in range(0, len(bucket) - 1, _ROWS_AT_ONCE):
                rows, rest = bucket[start : start + _ROWS_AT_ONCE], bucket[start:]
                distances = np.bitwise_count(hashes[rows][:, None] ^ hashes[rest][None, :])
                left, right = np.nonzero(np.triu(distances <= max_distance, 1))
                yield rows[left], rest[right]


def _split_hashes(values: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The pHashes (n) and the thumbnails (n, bytes) of perceptual hashes."""
    content = b"".join(value.to_bytes(_BYTES + 8, "big") for value in values)
    table = np.frombuffer(content, np.uint8).reshape(len(values), _BYTES + 8)
    return table[:, _BYTES:].copy().view(">u8")[:, 0].astype(np.uint64), table[:, :_BYTES]


def _similar(left: np.ndarray, right: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """For each pair (row of left, row of right), whether the thumbnails differ by little but brightness."""
    verdicts = [np.empty(0, bool)]
    for start in range(0, len(rows), 4096):
        difference = left[rows[start : start + 4096]].astype(np.float32)
        difference -= right[columns[start : start + 4096]]
        grey, colour = difference[:, :_GREY_BYTES], difference[:, _GREY_BYTES:]
        brighter = grey.mean(axis=1, keepdims=True)
        verdicts.append(
            (np.abs(grey - brighter).max(axis=1) <= MAX_GREY_DIFFERENCE)
            & (np.abs(colour - brighter).max(axis=1) <= MAX_COLOUR_DIFFERENCE)
        )
    return np.concatenate(verdicts)
