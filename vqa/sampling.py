"""Which records an epoch draws, how often and in which order."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler
from transformers import TrainingArguments

from vqa.errors import UserError


class EpochSampler(Sampler[int]):
    """Every record about `weight` times an epoch, in an order given by (seed, epoch) alone.

    A weight's whole part is kept each epoch and its fraction by chance, so with weights of 1 an epoch is a
    permutation. The weights are scaled to keep the epoch's length that of the data.

    Args:
        size: number of records.
        weights: one a record, or None for equal ones.
        seed: of the order.
    """

    def __init__(self, size: int, weights: Sequence[float] | None = None, seed: int = 0) -> None:
        self.size = size
        self.seed = seed
        self.epoch = 0
        self.repeats = None
        if weights is not None:
            self.repeats = torch.tensor(weights, dtype=torch.float64)
            self.repeats *= size / self.repeats.sum()

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(hash((self.seed, self.epoch)) % 2**63)
        if self.repeats is None:
            return iter(torch.randperm(self.size, generator=generator).tolist())
        # Systematic sampling: one uniform offset, `size` draws, each record floor(w) or ceil(w) times.
        ticks = torch.arange(self.size) + torch.rand(1, generator=generator, dtype=torch.float64)
        order = torch.randperm(self.size, generator=generator)
        drawn = order[torch.searchsorted(self.repeats[order].cumsum(0), ticks).clamp(max=self.size - 1)]
        return iter(drawn[torch.randperm(self.size, generator=generator)].tolist())


def order_seed(args: TrainingArguments) -> int:
    """The seed of the records' order."""
    return args.seed if args.data_seed is None else args.data_seed


def parse_weights(option: str, values: list[str] | None) -> dict[str, float]:
    """`["docvqa=2", "funsd=0.5"]` as a dict.

    Raises:
        UserError: not of the form NAME=NUMBER, or a negative number.
    """
    weights = {}
    for value in values or []:
        name, _, number = value.rpartition("=")
        try:
            weights[name] = float(number)
        except ValueError:
            name = ""
        if not name or not 0 <= weights[name] < math.inf:
            raise UserError(f"--{option} {value}: expected NAME=NUMBER, the number at least 0")
    return weights


def record_weights(
    sources: Sequence[str],
    types: Sequence[str],
    source_weights: dict[str, float],
    type_weights: dict[str, float],
) -> list[float] | None:
    """Each record's sampling weight: its source's times its type's (1 where none is given).

    Raises:
        UserError: a named source or type does not occur, or all weights are 0.
    """
    if not source_weights and not type_weights:
        return None
    for option, given, found in (
        ("source", source_weights, set(sources)),
        ("type", type_weights, set(types)),
    ):
        unknown = sorted(set(given) - found)
        if unknown:
            raise UserError(
                f"--{option}_weights: no record has the {option} '{unknown[0]}'; "
                f"found: {', '.join(sorted(found))}"
            )
    weights = [
        source_weights.get(source, 1.0) * type_weights.get(kind, 1.0)
        for source, kind in zip(sources, types, strict=True)
    ]
    if not any(weights):
        raise UserError("--source_weights, --type_weights: every record has weight 0")
    return weights


def balanced_weights(questions: Sequence[str], answers: Sequence[Sequence[str]]) -> list[float]:
    """Weights under which every answer to the same question is drawn equally often.

    A model can then not tell the answer from the question's wording alone, and has to look: what VQA v2
    does by collecting a second image for each question (Goyal et al. 2017, arXiv 1612.00837), by sampling.
    Each question is drawn as often as before.

    Args:
        questions: one a record; case and outer blanks don't count.
        answers: of each record, the first one counts; none (an unanswerable question) is an answer too.

    >>> balanced_weights(["dog?", "dog?", "dog?", "cat?"], [["no"], ["no"], ["yes"], ["no"]])
    [0.75, 0.75, 1.5, 1.0]
    """
    pairs = [
        (question.strip().casefold(), row[0].strip().casefold() if row else None)
        for question, row in zip(questions, answers, strict=True)
    ]
    counts = Counter(pairs)
    asked = Counter(question for question, _ in pairs)
    answered = Counter(question for question, _ in counts)
    return [asked[pair[0]] / (answered[pair[0]] * counts[pair]) for pair in pairs]


def spread(size: int, count: int) -> list[int]:
    """`count` indices spread evenly over `range(size)`."""
    return [index * size // count for index in range(min(size, count))]
