"""Sparse teachers: unbiased where they say so, coded in few bytes; the well-known wrong way shown wrong."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vqa.distillation import generalized_jsd, sparse_loss
from vqa.sparse_codec import SparseCodec, pack_bits, unpack_bits
from vqa.sparse_logits import METHODS, sparse_kd_loss, sparsify

UNBIASED = {"rs": 50, "gumbel_ht": 12}
VOCABULARY = 64


def teacher_logits(kind: str) -> torch.Tensor:
    logits = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return {"flat": logits, "medium": logits * 3, "peaked": logits + 9.0 * (torch.arange(VOCABULARY) == 5)}[
        kind
    ]


def dense_targets(token_ids, weights, vocabulary=VOCABULARY) -> torch.Tensor:
    empty = torch.zeros(*token_ids.shape[:-1], vocabulary, dtype=weights.dtype)
    return empty.scatter_add(-1, token_ids, weights)


def draw(logits, method, size, draws, temperature=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return sparsify(logits.expand(draws, -1), method, size, temperature, generator)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("kind", ["flat", "medium", "peaked"])
@pytest.mark.parametrize("method", UNBIASED)
def test_weights_are_unbiased_and_the_error_falls_as_the_root_of_the_draws(method, kind, temperature):
    logits = teacher_logits(kind)
    truth = (logits / temperature).softmax(-1)
    draws = 40_000
    targets = dense_targets(*draw(logits, method, UNBIASED[method], draws, temperature))
    errors, standard = [], (targets.var(0).sum() / draws).sqrt()
    for count in (draws // 100, draws):
        parts = targets[: draws // count * count].view(-1, count, VOCABULARY).mean(1)
        errors.append((parts - truth).norm(dim=-1).mean().item())
    # A hundred times the draws, a tenth of the error; and within four of its standard errors.
    assert errors[1] < 4 * standard
    assert 4 < errors[0] / errors[1] < 25


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("method", METHODS)
def test_expected_loss_and_gradient_are_those_of_the_dense_loss(method, temperature):
    logits = teacher_logits("medium")
    student = (teacher_logits("flat") * 2).requires_grad_()
    p = (logits / temperature).softmax(-1)
    entropy = -(p * p.log()).sum()
    dense = (generalized_jsd(student, logits, 0.0, temperature) + entropy) * temperature**2
    (gradient,) = torch.autograd.grad(dense, student)
    draws = 40_000
    ids, weights = draw(logits, method, UNBIASED.get(method, 12), draws, temperature)
    sparse = sparse_kd_loss(student.expand(draws, -1), ids, weights, temperature)
    (found,) = torch.autograd.grad(sparse, student)
    close = (found - gradient).norm() / gradient.norm() < 0.03 and abs(sparse - dense) / dense < 0.02
    assert close == (method in UNBIASED)


def test_a_softmax_over_tokens_drawn_without_replacement_is_biased():
    """The way it is often written: the head gets .9 of the mass where it has a third."""
    logits = torch.zeros(50_000)
    logits[0] = np.log(0.326 / (0.674 / 49_999))
    truth = logits.softmax(-1).expand(500, -1)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(truth, 12, replacement=False, generator=generator)
    assert head_mass(drawn, logits[drawn].softmax(-1)) > 0.85
    for method, size in UNBIASED.items():
        assert head_mass(*draw(logits, method, size, 500)) == pytest.approx(0.326, abs=0.05)


def head_mass(token_ids, weights) -> float:
    return (weights * (token_ids == 0)).sum(-1).mean().item()


def test_horvitz_thompson_has_less_noise_than_draws_where_the_teacher_is_sure():
    logits = teacher_logits("peaked")
    noise = {
        method: dense_targets(*draw(logits, method, size, 20_000)).var(0).sum().item()
        for method, size in {"rs": 50, "gumbel_ht": 12}.items()
    }
    assert noise["gumbel_ht"] < noise["rs"] / 2


@given(
    st.sampled_from(METHODS),
    st.integers(1, 40),
    arrays.arrays(np.float32, (3, 17), elements=st.floats(-30, 30, width=32)),
    st.sampled_from([0.5, 1.0, 3.0]),
)
def test_shapes_order_and_sums(method, size, logits, temperature):
    ids, weights = sparsify(torch.from_numpy(logits), method, size, temperature)
    assert ids.shape == weights.shape == (3, min(size, 17))
    assert ids.dtype == torch.int64 and (weights >= 0).all() and weights.isfinite().all()
    assert all(len(set(row)) == len(row) for row in ids.tolist())
    assert (weights.diff(dim=-1) <= 0).all()
    if method in ("rs", "topk_normalized"):
        assert weights.sum(-1) == pytest.approx(1, abs=1e-5)
    if method == "topk" or (method == "gumbel_ht" and size >= 17):
        truth = (torch.from_numpy(logits) / temperature).softmax(-1)
        assert torch.allclose(weights, truth.gather(-1, ids))


def test_tokens_that_the_teacher_rules_out_weigh_nothing():
    logits = torch.full((2, 30), -torch.inf)
    logits[:, :3] = torch.tensor([2.0, 1.0, 0.0])
    for method in METHODS:
        ids, weights = sparsify(logits, method, 12)
        assert weights[ids > 2].sum() == 0 and weights.isfinite().all()


def test_the_same_generator_gives_the_same_tokens_and_16_bits_are_enough():
    logits = torch.randn(5, 300)
    for method in METHODS:
        first, second = (
            sparsify(logits, method, 9, generator=torch.Generator().manual_seed(1)) for _ in "ab"
        )
        assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
        assert sparsify(logits.bfloat16(), method, 9)[1].dtype == torch.float32


@pytest.mark.parametrize("wrong", [("top_k", 3, 1.0), ("rs", 0, 1.0), ("rs", 3, 0.0)])
def test_what_is_refused(wrong):
    method, size, temperature = wrong
    with pytest.raises(ValueError):
        sparsify(torch.zeros(4), method, size, temperature)


def test_loss_never_holds_a_target_of_the_vocabularys_size():
    """The student's logits themselves are all of that size that the backward pass keeps."""
    student = torch.randn(6, 5000, requires_grad=True)
    ids, weights = sparsify(torch.randn(6, 5000), "gumbel_ht", 12)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        sparse_kd_loss(student, ids, weights)
    large = {tensor.data_ptr() for tensor in saved if tensor.numel() == student.numel()}
    assert large == {student.data_ptr()}


# Bytes


@given(st.integers(1, 20), st.data())
def test_bits_round_trip(width, data):
    values = data.draw(arrays.arrays(np.int64, st.integers(0, 50), elements=st.integers(0, 2**width - 1)))
    bits = pack_bits(values, width)
    assert len(bits) == width * len(values) and np.array_equal(unpack_bits(bits, width), values)


@given(
    st.sampled_from(METHODS), st.integers(1, 60), st.integers(0, 9), st.integers(2, 200), st.integers(0, 99)
)
@settings(deadline=None)
def test_coded_and_read_again(method, size, positions, vocabulary, seed):
    logits = torch.randn(positions, vocabulary, generator=torch.Generator().manual_seed(seed)) * 4
    ids, weights = (part.numpy() for part in sparsify(logits, method, size))
    codec = SparseCodec(method, size, vocabulary)
    blob = np.frombuffer(codec.encode(ids, weights, np.random.default_rng(seed)), np.uint8)
    read_ids, read = codec.decode([blob], [positions])
    for row in range(positions):
        kept = {int(token): float(weight) for token, weight in zip(ids[row], weights[row], strict=True)}
        for token, weight in zip(read_ids[row], read[row], strict=True):
            if weight > 0:
                # Two grid points apart at most: exact for draws, 3 % of the heaviest otherwise.
                slack = 1e-6 if method == "rs" else 0.035 * weights[row].max()
                assert abs(kept[int(token)] - weight) <= slack
        if method == "rs":
            assert read[row].sum() == pytest.approx(1)
    with pytest.raises(ValueError):
        codec.decode([blob], [positions + 40])


@pytest.mark.parametrize("method", ["rs", "gumbel_ht"])
def test_records_read_together_are_those_read_alone(method):
    codec, rng = SparseCodec(method, 9, 500), np.random.default_rng(0)
    lengths, blobs = [3, 1, 0, 7], []
    for length in lengths:
        ids, weights = sparsify(torch.randn(length, 500) * 3, method, 9)
        blobs.append(np.frombuffer(codec.encode(ids.numpy(), weights.numpy(), rng), np.uint8))
    ids, weights = codec.decode(blobs, lengths)
    first = 0
    for blob, length in zip(blobs, lengths, strict=True):
        alone_ids, alone = codec.decode([blob], [length])
        width = alone.shape[1]
        assert np.array_equal(weights[first : first + length, :width], alone)
        assert np.array_equal(ids[first : first + length, :width] * (alone > 0), alone_ids * (alone > 0))
        assert not weights[first : first + length, width:].any()
        first += length
    assert first == len(ids)


def test_coding_is_unbiased():
    weights = np.tile(np.float32([0.83, 0.11, 0.013, 3e-4, 1e-7]), (20_000, 1))
    codec = SparseCodec("gumbel_ht", 5, 1000)
    ids = np.tile(np.arange(5), (20_000, 1))
    blob = np.frombuffer(codec.encode(ids, weights, np.random.default_rng(0)), np.uint8)
    read = codec.decode([blob], [20_000])[1].astype(np.float64)
    error = np.abs(read.mean(0) - weights[0])
    assert (error < 4 * read.std(0) / np.sqrt(20_000) + 1e-7).all()
    assert read[:, 0].std() < 2e-4 and read[:, 1].std() < 0.006


def test_forty_bytes_a_position_at_twelve_tokens_of_152_thousand():
    generator = np.random.default_rng(0)
    ids = generator.permuted(np.tile(np.arange(151_936), (8, 1)), axis=1)[:, :12]
    weights = np.sort(generator.random((8, 12)).astype(np.float32))[:, ::-1]
    coded = SparseCodec("gumbel_ht", 12, 151_936).encode(ids, weights, generator)
    assert (len(coded) + 4) / 8 <= 40
    draws = np.full((8, 12), 4, np.float32)
    draws[:, 0] = 6
    coded = SparseCodec("rs", 50, 151_936).encode(ids, draws / 50, generator)
    assert (len(coded) + 4) / 8 <= 40


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_loss_inside_the_head_is_the_one_outside(temperature):
    """`vqa.distillation.sparse_loss` fuses both losses; value and gradient are those of `sparse_kd_loss`."""
    head = torch.nn.Linear(5, 40, bias=False)
    hidden = torch.randn(2, 4, 5)
    labels = torch.tensor([[-100, 3, 9, -100], [-100, -100, 7, 1]])
    ids, weights = sparsify(torch.randn(4, 40), "gumbel_ht", 6)

    def model(hidden, use_cache):
        return SimpleNamespace(logits=head(hidden))

    found = sparse_loss(
        model, head, {"hidden": hidden, "labels": labels}, ids, weights, alpha=0.7, temperature=temperature
    )
    (gradient,) = torch.autograd.grad(found.total / 4, head.weight)
    logits = head(hidden)[:, :-1][labels[:, 1:] != -100]
    kd = sparse_kd_loss(logits, ids, weights, temperature)
    cross_entropy = torch.nn.functional.cross_entropy(logits, labels[labels != -100])
    (expected,) = torch.autograd.grad(0.7 * kd + 0.3 * cross_entropy, head.weight)
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(found.divergence / 4, kd.detach())
