"""What a teacher says of every supervised token, kept on disk: made once, read without the teacher.

A folder with `manifest.json`, and for every so many records `shard-NNNNN.bin` (each record's bytes, as
`vqa.sparse_codec` writes them) and `shard-NNNNN.json` (bytes of each record, sha256, counts). A shard is
there whole or not at all, so that a pass that was cut off goes on with the first that is missing. The
manifest says what the cache is of: teacher, tokenizer, records, prompts, sampling.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqa.errors import UserError
from vqa.files import atomic_write, sha256_file, write_json
from vqa.sparse_codec import SparseCodec

FORMAT = 1
RECORDS_PER_SHARD = 1024

# What a cache is of, by name: hashes of teacher, tokenizer, records and prompts, and how tokens were drawn
# (vocabulary, method, size, temperature, seed). A teacher of None is not at hand, and not compared.
Binding = dict[str, str | int | float | None]


class TeacherCache:
    """Sparse distributions of records by their place in the data set.

    Args:
        directory: of the cache; made by the first `write_shard`.
        binding: what it must be of.
        count: number of records.

    Raises:
        UserError: there is a cache of something else, or a file that is none of a cache.
    """

    def __init__(self, directory: str | Path, binding: Binding, count: int) -> None:
        self.directory = Path(directory)
        self.count = count
        self.codec = SparseCodec(binding["method"], binding["size"], binding["vocabulary"])
        self.binding = binding
        manifest = self.directory / "manifest.json"
        if manifest.is_file():
            _check(manifest, binding)
        self._blobs: dict[int, np.memmap] = {}
        self._offsets: dict[int, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Open memory maps do not travel to the workers of a data loader.
        return self.__dict__ | {"_blobs": {}, "_offsets": {}}

    @property
    def num_shards(self) -> int:
        """How many there are when it is whole."""
        return -(-self.count // RECORDS_PER_SHARD)

    def shards(self) -> Iterator[tuple[int, range]]:
        """Number of each shard and the records in it."""
        for number, first in enumerate(range(0, self.count, RECORDS_PER_SHARD)):
            yield number, range(first, min(first + RECORDS_PER_SHARD, self.count))

    def missing(self) -> list[tuple[int, range]]:
        """The shards that are not there yet."""
        return [(number, records) for number, records in self.shards() if not self._info(number).is_file()]

    def write_manifest(self) -> None:
        """Say what the cache is of, before its first shard."""
        write_json(self.directory / "manifest.json", {"format": FORMAT, **self.binding})

    def write_shard(
        self, number: int, distributions: Sequence[tuple[torch.Tensor, torch.Tensor]], generator
    ) -> None:
        """Write one shard.

        Args:
            distributions: token ids and weights of each record of the shard, (positions, k) each.
            generator: of the chance in rounding (numpy).
        """
        arrays = [(ids.cpu().numpy(), weights.float().cpu().numpy()) for ids, weights in distributions]
        blobs = [self.codec.encode(ids, weights, generator) for ids, weights in arrays]
        with atomic_write(self._blob(number), "wb") as file:
            file.write(b"".join(blobs))
        info = {
            "lengths": [len(blob) for blob in blobs],
            "sha256": hashlib.sha256(b"".join(blobs)).hexdigest(),
            "positions": sum(len(ids) for ids, _ in arrays),
            "kept_tokens": int(sum((weights > 0).sum() for _, weights in arrays)),
        }
        write_json(self._info(number), info)

    def verify(self) -> dict[str, float]:
        """Check every shard against its sha256, and count.

        Returns:
            `records`, `positions`, `bytes` (of the shards, and 4 for the length of each record),
            `bytes_per_position`, `kept_per_position` (tokens of a weight above 0).

        Raises:
            UserError: a shard is missing or its bytes are not those that were written.
        """
        size, counts, kept = 0, 0, 0
        for number, records in self.shards():
            info = self._read_info(number)
            if len(info["lengths"]) != len(records) or not self._blob(number).is_file():
                raise UserError(
                    f"{self._blob(number)}: not whole; delete {self._info(number).name} beside it"
                )
            if sha256_file(self._blob(number)) != info["sha256"]:
                raise UserError(
                    f"{self._blob(number)}: damaged: its sha256 is not the one in {self._info(number).name}; "
                    "delete both, and run again with the teacher"
                )
            size += sum(info["lengths"]) + 4 * len(records)
            counts += info["positions"]
            kept += info["kept_tokens"]
        return {
            "records": self.count,
            "positions": counts,
            "bytes": size,
            "bytes_per_position": size / max(counts, 1),
            "kept_per_position": kept / max(counts, 1),
        }

    def batch(self, records: Sequence[int], lengths: Sequence[int]) -> dict[str, torch.Tensor]:
        """The distributions of several records, one after the other.

        Args:
            lengths: supervised tokens of each.

        Returns:
            `teacher_ids` and `teacher_weights`, both (positions of all records, k), padded with weight 0.

        Raises:
            UserError: the bytes do not hold the records' supervised tokens.
        """
        try:
            ids, weights = self.codec.decode([self._bytes_of(record) for record in records], lengths)
        except ValueError as error:
            raise UserError(f"{self.directory}: {error}: not a cache of these records' answers") from error
        return {"teacher_ids": torch.from_numpy(ids), "teacher_weights": torch.from_numpy(weights)}

    def _bytes_of(self, record: int) -> np.ndarray:
        number, place = divmod(record, RECORDS_PER_SHARD)
        if number not in self._blobs:
            lengths = self._read_info(number)["lengths"]
            self._offsets[number] = np.concatenate([[0], np.cumsum(lengths)])
            self._blobs[number] = np.memmap(self._blob(number), np.uint8, mode="r")
        start, end = self._offsets[number][place : place + 2]
        return self._blobs[number][start:end]

    def _blob(self, number: int) -> Path:
        return self.directory / f"shard-{number:05d}.bin"

    def _info(self, number: int) -> Path:
        return self.directory / f"shard-{number:05d}.json"

    def _read_info(self, number: int) -> dict[str, Any]:
        try:
            return json.loads(self._info(number).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{self._info(number)}: not readable: {error}") from error


def _check(path: Path, binding: Binding) -> None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON: {error}") from error
    if stored.get("format") != FORMAT:
        raise UserError(f"{path}: format {stored.get('format')}, not {FORMAT}: made by another version")
    wrong = [
        f"{name} {str(stored.get(name))[:16]}, here {str(value)[:16]}"
        for name, value in binding.items()
        if value != stored.get(name) and not (name == "teacher" and value is None)
    ]
    if wrong:
        raise UserError(
            f"{path.parent}: this cache is of another {'; of another '.join(wrong)}; name another"
        )
