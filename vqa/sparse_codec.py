"""Sparse teacher distributions as bytes: about 3 a kept token.

Of one record's n positions, one after the other in a string of bits:

`rs`          kept tokens of each position, then all token ids, then all counts of draws (exact).
the others    the heaviest weight of each position in 16 bits on a logarithmic grid, then all token ids, then
              the other weights' ratios to the heaviest, square roots on an even grid of 7 bits.

Token ids have the vocabulary's width. What falls between two grid points is rounded to either by chance, in
proportion, so that the expectation of what is read is what was written: coding adds a little noise and no
bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCALE_BITS, RATIO_BITS = 16, 7
# Exponents of 2 that the heaviest weight may have. Horvitz-Thompson weights may exceed 1, rarely by much.
LOWEST, HIGHEST = -24.0, 8.0
TOP_RATIO = 1.001  # the heaviest weight may be rounded down, and then another's ratio to it exceeds 1

Ids = NDArray[np.int64]
Weights = NDArray[np.float32]


def pack_bits(values: NDArray[np.integer], width: int) -> NDArray[np.uint8]:
    """Non-negative integers below 2^width, each as so many bits, highest first: (values x width,), 0 or 1."""
    shifts = np.arange(width - 1, -1, -1)
    return ((values.reshape(-1, 1) >> shifts) & 1).astype(np.uint8).reshape(-1)


def unpack_bits(bits: NDArray[np.uint8], width: int) -> NDArray[np.int64]:
    """The integers of `pack_bits`."""
    # In float32, whose product is fast and exact up to 24 bits.
    powers = (1 << np.arange(width - 1, -1, -1)).astype(np.float32 if width <= 24 else np.float64)
    return (bits.reshape(-1, width).astype(powers.dtype) @ powers).astype(np.int64)


@dataclass(frozen=True)
class SparseCodec:
    """Writes and reads the sparse distributions of one record.

    Attributes:
        method, size: as given to `vqa.sparse_logits.sparsify`.
        vocabulary: number of tokens, which gives the width of an id.
    """

    method: str
    size: int
    vocabulary: int

    @property
    def id_bits(self) -> int:
        """Bits of a token id."""
        return max(1, (self.vocabulary - 1).bit_length())

    @property
    def kept(self) -> int:
        """Tokens of a position, at most (`rs`) or always (the others)."""
        return min(self.size, self.vocabulary)

    def encode(self, token_ids: Ids, weights: Weights, generator: np.random.Generator) -> bytes:
        """One record's positions.

        Args:
            token_ids, weights: (n, k), heaviest first, as `sparsify` gives them.
            generator: of the chance in rounding.
        """
        if self.method == "rs":
            draws = np.rint(weights * self.size).astype(np.int64)
            drawn = draws > 0
            width = self.size.bit_length()
            parts = [(drawn.sum(1), width), (token_ids[drawn], self.id_bits), (draws[drawn], width)]
        else:
            scales = _round_by_chance(_to_grid(weights[:, 0]), generator, 2**SCALE_BITS - 1)
            heaviest = _from_grid(scales)[:, None]
            ratios = np.sqrt(weights[:, 1:] / heaviest / TOP_RATIO) * (2**RATIO_BITS - 1)
            codes = _round_between_squares(ratios, generator)
            parts = [(scales, SCALE_BITS), (token_ids, self.id_bits), (codes, RATIO_BITS)]
        return np.packbits(np.concatenate([pack_bits(values, width) for values, width in parts])).tobytes()

    def decode(self, blobs: Sequence[NDArray[np.uint8]], positions: Sequence[int]) -> tuple[Ids, Weights]:
        """What `encode` was given for several records, one after the other.

        Args:
            blobs: the bytes of each.
            positions: how many each has.

        Returns:
            (positions of all, k); `rs`: k is the most that a position kept, others pad with weight 0.

        Raises:
            ValueError: some bytes do not hold so many positions.
        """
        bits = np.unpackbits(np.concatenate(blobs))
        lengths = np.array([8 * len(blob) for blob in blobs])
        counts, starts = np.array(positions), np.cumsum(lengths) - lengths
        if self.method == "rs":
            return self._decode_draws(bits, starts, lengths, counts)
        tokens = counts * self.kept
        parts = ((counts, SCALE_BITS), (tokens, self.id_bits), (tokens - counts, RATIO_BITS))
        _check_lengths(lengths, sum(number * width for number, width in parts))
        scales = _from_grid(_take(bits, starts, counts, SCALE_BITS))[:, None]
        starts = starts + counts * SCALE_BITS
        token_ids = _take(bits, starts, tokens, self.id_bits).reshape(-1, self.kept)
        codes = _take(bits, starts + tokens * self.id_bits, tokens - counts, RATIO_BITS)
        ratios = TOP_RATIO * (codes.reshape(len(scales), self.kept - 1) / np.float32(2**RATIO_BITS - 1)) ** 2
        return token_ids, np.concatenate([scales, scales * ratios], axis=1).astype(np.float32)

    def _decode_draws(self, bits, starts, lengths, counts) -> tuple[Ids, Weights]:
        width = self.size.bit_length()
        _check_lengths(lengths, counts * width, exact=False)
        kept = _take(bits, starts, counts, width)
        owner = np.repeat(np.arange(len(counts)), counts)
        tokens = np.bincount(owner, kept, len(counts)).astype(np.int64)
        _check_lengths(lengths, counts * width + tokens * (self.id_bits + width))
        starts = starts + counts * width
        mask = np.arange(kept.max(initial=1)) < kept[:, None]
        token_ids, weights = np.zeros(mask.shape, np.int64), np.zeros(mask.shape, np.float32)
        token_ids[mask] = _take(bits, starts, tokens, self.id_bits)
        weights[mask] = _take(bits, starts + tokens * self.id_bits, tokens, width) / np.float32(self.size)
        return token_ids, weights


def _take(bits: NDArray[np.uint8], starts, counts, width: int) -> NDArray[np.int64]:
    """`counts` integers from each of `starts` on, all in one array."""
    first = np.repeat(starts - width * (np.cumsum(counts) - counts), counts)
    places = first + width * np.arange(counts.sum())
    return unpack_bits(bits[places[:, None] + np.arange(width)], width)


def _check_lengths(lengths, needed, exact: bool = True) -> None:
    """Refuse records whose bits are fewer than needed, or more than fill their last byte."""
    if (lengths < needed).any() or (exact and (lengths - needed >= 8).any()):
        raise ValueError("the bytes are not those of so many positions")


def _to_grid(weights: Weights) -> NDArray[np.float64]:
    exponents = np.log2(np.maximum(weights.astype(np.float64), 2.0**LOWEST))
    return (exponents - LOWEST) / (HIGHEST - LOWEST) * (2**SCALE_BITS - 1)


def _from_grid(codes: NDArray[np.int64]) -> NDArray[np.float64]:
    return 2.0 ** (LOWEST + codes / (2**SCALE_BITS - 1) * (HIGHEST - LOWEST))


def _round_by_chance(
    places: NDArray[np.float64], generator: np.random.Generator, highest: int
) -> NDArray[np.int64]:
    """Grid points on a logarithmic scale, so that the expected weight is the one given."""
    below = np.floor(places)
    step = (HIGHEST - LOWEST) / (2**SCALE_BITS - 1)
    share = (2.0 ** ((places - below) * step) - 1) / (2.0**step - 1)
    return np.clip(below + (generator.random(places.shape) < share), 0, highest).astype(np.int64)


def _round_between_squares(roots: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Grid points of square roots, so that the expected square is the one given."""
    below = np.floor(roots)
    share = (roots**2 - below**2) / (2 * below + 1)
    codes = below + (generator.random(roots.shape) < share)
    return np.minimum(codes, 2**RATIO_BITS - 1).astype(np.int64)
