"""Which questions share a row and which rows a batch: every question once, within the budget."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqa.decisions import questions_per_image
from vqa.rows import RowLimits, RowSampler, sample_rows
from vqa.sampling import EpochSampler


def sampler(keys, limits, prefix=100, branch=10, processes=1, weights=None) -> RowSampler:
    return RowSampler(
        EpochSampler(len(keys), weights, seed=3),
        keys,
        [prefix] * len(keys),
        [branch + index % 7 for index in range(len(keys))],
        limits,
        processes,
    )


def drawn(batches):
    return [index for batch in batches for row in batch for index in row]


@settings(max_examples=60, deadline=None)
@given(
    images=st.lists(st.integers(0, 12) | st.none(), min_size=1, max_size=60),
    questions=st.none() | st.integers(1, 20),
    cap=st.none() | st.integers(1, 5),
    processes=st.integers(1, 3),
    epoch=st.integers(0, 3),
)
def test_an_epoch_sees_every_question_once(images, questions, cap, processes, epoch):
    tokens = 400 if questions is None else None
    rows = sampler(images, RowLimits(questions, tokens, cap), processes=processes)
    batches = rows.plan(epoch)
    counts = Counter(drawn(batches))
    assert set(counts) == set(range(len(images)))
    again = sum(counts.values()) - len(images)
    single = all(len(drawn([batch])) == 1 for batch in batches)
    assert again == 0 or (single and again < processes)  # nothing could be halved
    assert len(batches) == len(rows) and len(batches) % processes == 0
    for batch in batches:
        for row in batch:
            assert len({images[index] for index in row}) == 1
            assert len(row) == 1 or images[row[0]] is not None
            assert cap is None or len(row) <= cap


def test_token_budget_counts_the_padding():
    keys = [index // 8 for index in range(800)]
    rows = sampler(keys, RowLimits(None, 1000, None))
    for epoch in range(3):
        for batch in rows.plan(epoch):
            padded = len(batch) * max(rows.length(row) for row in batch)
            # Some percent more where an epoch draws longer rows than the first.
            assert padded <= 1000 * 1.03 or len(batch) == 1
    computed, alone = rows.tokens()
    assert alone == sum(rows.prefix_lengths) + sum(rows.branch_lengths)
    assert computed < 0.4 * alone


def test_question_budget_holds_whole_images():
    rows = sampler([index // 4 for index in range(400)], RowLimits(10, None, None))
    batches = rows.plan(0)
    assert max(len(drawn([batch])) for batch in batches) <= 10
    assert sum(len(batch) for batch in batches) == 100  # no image is divided


def test_order_is_given_by_seed_and_epoch_and_meets_other_questions_each_time():
    keys = [index // 6 for index in range(300)]
    limits = RowLimits(16, None, 3)
    first, again = sampler(keys, limits), sampler(keys, limits)
    assert first.plan(1) == again.plan(1)
    assert first.plan(1) != first.plan(2)
    rows_of = lambda plan: {frozenset(row) for batch in plan for row in batch}  # noqa: E731
    assert rows_of(first.plan(1)) != rows_of(first.plan(2))


def test_weights_hold_when_questions_are_grouped():
    keys = [index // 5 for index in range(500)]
    weights = [3.0 if index < 100 else 1.0 for index in range(500)]
    counts = Counter(drawn(sampler(keys, RowLimits(20, None, None), weights=weights).plan(0)))
    heavy = sum(counts[index] for index in range(100)) / sum(counts.values())
    assert heavy == pytest.approx(300 / 700, abs=0.02)


def test_without_keys_rows_are_single_and_of_like_length():
    lengths = [10 + (index * 37) % 101 for index in range(640)]
    rows = RowSampler(EpochSampler(640), [None] * 640, [0] * 640, lengths, RowLimits(8, None, None))
    assert not rows.shares_rows
    batches = [[lengths[row[0]] for row in batch] for batch in rows.plan(0)]
    assert all(len(row) == 1 for batch in rows.plan(0) for row in batch)
    padding = sum(max(batch) * len(batch) - sum(batch) for batch in batches)
    assert padding < 0.1 * sum(lengths)
    assert batches != sorted(batches)


def test_questions_per_image_and_sample():
    assert questions_per_image([["a"], ["a"], ["b"], []]) == 1.5
    assert questions_per_image([[]]) == 0
    assert sample_rows([[[1], [2, 3]], [[4, 5, 6], [7, 8]]], questions=2) == [[2, 3], [4, 5]]
