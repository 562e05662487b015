"""The base model: a real DINOv2 tower out of its package, and a tokenizer fit for Vietnamese and JSON."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from vqa.encoding import PromptEncoder
from vqa.errors import UserError
from vqa.models import load_model, load_processor, set_image_size
from vqa.offline_weights import TOWER_SHARD, WHEEL_NAME, read_onnx
from vqa.tiny_models import build_tiny_model

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "models/tiny-vqa-base"


@pytest.fixture(scope="module")
def model():
    return AutoModelForImageTextToText.from_pretrained(BASE, dtype=torch.float32)


def test_tower_matches_the_onnx_it_was_taken_from(model):
    graph = onnx.load_model_from_string(read_onnx(ROOT / ".cache/packages" / WHEEL_NAME))
    last = max(i for i, node in enumerate(graph.graph.node) if node.name.startswith("/backbone/layernorm/"))
    output = onnx.helper.make_tensor_value_info(
        graph.graph.node[last].output[0], onnx.TensorProto.FLOAT, None
    )
    del graph.graph.node[last + 1 :]
    del graph.graph.output[:]
    graph.graph.output.append(output)
    pixels = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    expected = ReferenceEvaluator(graph).run(None, {"input_image": pixels})[0]
    with torch.no_grad():
        features = model.model.vision_tower(torch.from_numpy(pixels)).last_hidden_state.numpy()
    np.testing.assert_allclose(features, expected, atol=1e-3)


def test_parts_have_the_promised_sizes(model):
    vision = sum(p.numel() for p in model.model.vision_tower.parameters())
    rest = sum(p.numel() for p in model.parameters()) - vision
    assert 22_000_000 < vision < 22_100_000
    assert 1_000_000 <= rest <= 4_000_000
    in_git = sum(path.stat().st_size for path in BASE.iterdir() if path.name != TOWER_SHARD)
    assert in_git <= 8 * 2**20


def test_missing_tower_is_named(tmp_path):
    for path in BASE.iterdir():
        if path.name != TOWER_SHARD:
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(UserError, match="make offline-weights"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "Nghiêng nghiêng những dòng chữ viết tay, khoẻ và hoà thuận: Đường Nguyễn Huệ, quận 1.",
        '{"caption": "a receipt", "reasoning": ["look"], "boxes": [[12, 40, 999, 1000]], "answer": "3.50"}',
        "emoji \U0001f600, tabs\t and 漢字 survive",
    ],
)
def test_tokenizer_round_trips(text):
    tokenizer = AutoProcessor.from_pretrained(BASE).tokenizer
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_tokenizer_does_not_fall_apart_on_vietnamese_and_json():
    tokenizer = AutoProcessor.from_pretrained(BASE).tokenizer
    vietnamese = "Tiếng Việt có thanh điệu và dấu phụ trên nguyên âm"
    assert len(tokenizer(vietnamese)["input_ids"]) <= 3 * len(vietnamese.split())
    structured = (
        '{"caption": "a red circle", "reasoning": ["There is a red circle."], '
        '"boxes": [[1, 2, 3, 4]], "answer": "yes"}'
    )
    assert len(tokenizer(structured)["input_ids"]) <= 60


def test_a_word_is_the_same_token_in_a_question_and_as_an_answer():
    tokenizer = AutoProcessor.from_pretrained(BASE).tokenizer
    question = tokenizer("Question: is there a blue shape?\nValid answers: yes, no")["input_ids"]
    for word in ("blue", "yes", "no"):
        (token,) = tokenizer(word)["input_ids"]
        assert token in question


def test_larger_images_take_more_tokens_and_the_processor_remembers(tmp_path):
    model, processor = load_model(str(BASE)), load_processor(str(BASE))
    set_image_size(model, processor, 336)
    processor.save_pretrained(tmp_path)
    model.config.save_pretrained(tmp_path)
    Image.new("RGB", (500, 300), "red").save(tmp_path / "page.png")
    record = {"images": [str(tmp_path / "page.png")], "question": "q?", "question_type": "extractive"}
    encoder = PromptEncoder(load_processor(str(tmp_path)))
    (prompt,) = encoder.encode([record | {"answer_candidates": None}], "structured")
    assert prompt.input_ids.count(model.config.image_token_index) == (336 // 14) ** 2
    with torch.no_grad():
        logits = model(**encoder.batch([prompt])).logits
    assert logits.shape[1] == len(prompt.input_ids) and logits.isfinite().all()


def test_an_image_size_that_cannot_be_is_named():
    model, processor = load_model(str(BASE)), load_processor(str(BASE))
    with pytest.raises(UserError, match="--image_size 340: a multiple of the tower's patches of 14"):
        set_image_size(model, processor, 340)
    with pytest.raises(UserError, match="--image_size serves DINOv2 towers, not clip"):
        set_image_size(*build_tiny_model("llava"), 336)
