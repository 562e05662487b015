"""What the model is fed, for every family: prompts, labels, sizes, cached features."""

import pytest
import torch
from PIL import Image
from qwen_vl_utils.vision_process import smart_resize

from tests.helpers import ShiftedLabels, UnmaskedPrompts, write_records
from vqa.collators import AnswerCollator
from vqa.encoding import IGNORED, PromptEncoder
from vqa.errors import UserError
from vqa.feature_cache import build_feature_cache, replay_features
from vqa.prompts import build_answer
from vqa.records import read_records
from vqa.tiny_models import TINY_FAMILIES, build_tiny_model
from vqa.training import StyleMix, check_supervision, supervised_example


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return read_records(write_records(tmp_path_factory.mktemp("records"), 200))


def a_record(question: str, answer: str = "yes", images: list[str] | None = None) -> dict:
    return {
        "id": "a",
        "images": images or [],
        "image_sizes": [],
        "question": question,
        "answers": [answer],
        "answerable": True,
        "question_type": "open_ended",
        "answer_candidates": None,
        "boxes": [],
        "box_images": [],
        "caption": None,
        "reasoning": [],
    }


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_supervised_tokens_are_answer_and_end_token(family, records):
    _, processor = build_tiny_model(family)
    encoder = PromptEncoder(processor)
    collator = AnswerCollator(encoder, StyleMix("short=0.5,structured=0.2,think=0.2,transcribe=0.1"))
    seen = set()
    for start in range(0, 200, 8):
        batch = collator(records[start : start + 8])
        for row, record in enumerate(records[start : start + 8]):
            labels = batch["labels"][row]
            supervised = labels[labels != IGNORED].tolist()
            style = collator.style(record)
            sizes = encoder.encode([record], style)[0].resized_sizes
            expected = build_answer(record, style, "norm1000", sizes)
            assert supervised[-1] == encoder.end_token_id
            assert processor.tokenizer.decode(supervised[:-1]) == expected
            assert torch.equal(batch["input_ids"][row][labels != IGNORED], labels[labels != IGNORED])
            seen.add(style)
    assert len(seen) == 4
    check_supervision(collator, records[:10])


@pytest.mark.parametrize("family", [*TINY_FAMILIES, "gemma3"])
def test_batch_does_not_change_a_row(family, records):
    model, processor = build_tiny_model(family)
    collator = AnswerCollator(PromptEncoder(processor), StyleMix("short"))
    rows = records[:9]
    with torch.no_grad():
        losses, tokens = [], []
        for record in rows:
            batch = collator([record])
            tokens.append((batch["labels"] != IGNORED).sum())
            losses.append(model(**batch).loss * tokens[-1])
        together = model(**collator(rows)).loss
    torch.testing.assert_close(together, sum(losses) / sum(tokens), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", [*TINY_FAMILIES, "gemma3"])
def test_cached_features_change_nothing(family, records, tmp_path):
    model, processor = build_tiny_model(family)
    encoder = PromptEncoder(processor)
    collator = AnswerCollator(encoder, StyleMix("short"))
    before = collator(records[:9])
    with torch.no_grad():
        expected = model(**before).logits
    paths = [path for record in records[:9] for path in record["images"]]
    encoder.feature_cache = build_feature_cache(tmp_path, model, encoder, paths, batch_size=3, progress=False)
    replay_features(model)
    model.zero_grad()
    batch = collator(records[:9])
    assert torch.equal(batch["input_ids"], before["input_ids"])
    torch.testing.assert_close(model(**batch).logits, expected, rtol=1e-5, atol=1e-5)


def test_stale_features_are_refused(records, tmp_path):
    model, processor = build_tiny_model("llava")
    encoder = PromptEncoder(processor)
    build_feature_cache(tmp_path, model, encoder, records[0]["images"], progress=False)
    build_feature_cache(tmp_path, model, encoder, records[0]["images"], progress=False)
    other, _ = build_tiny_model("llava", seed=1)
    with pytest.raises(UserError, match="stale: another vision tower"):
        build_feature_cache(tmp_path, other, encoder, records[0]["images"], progress=False)


@pytest.mark.parametrize("size", [(64, 64), (640, 480), (1000, 10), (30, 900), (28, 28), (57, 300)])
@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_qwen_sizes_are_those_of_qwen_vl_utils(family, size, tmp_path):
    _, processor = build_tiny_model(family)
    factor = processor.image_processor.patch_size * 2
    limits = {"min_pixels": 4 * factor**2, "max_pixels": 64 * factor**2}
    encoder = PromptEncoder(processor, **limits)
    Image.new("RGB", size).save(tmp_path / "image.png")
    record = a_record("what?", images=[str(tmp_path / "image.png")])
    prompt = encoder.encode([record], "short")[0]
    height, width = smart_resize(size[1], size[0], factor=factor, **limits)
    assert prompt.resized_sizes == [(width, height)]
    patch = processor.image_processor.patch_size
    assert prompt.image_inputs["image_grid_thw"].tolist() == [[1, height // patch, width // patch]]
    assert prompt.input_ids.count(processor.image_token_id) == width * height // factor**2


def test_very_thin_image_is_named(tmp_path):
    _, processor = build_tiny_model("qwen2_vl")
    Image.new("RGB", (3000, 2)).save(tmp_path / "thin.png")
    with pytest.raises(UserError, match="thin.png"):
        PromptEncoder(processor).encode([a_record("what?", images=[str(tmp_path / "thin.png")])], "short")


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_special_tokens_in_the_text_are_text(family):
    _, processor = build_tiny_model(family)
    encoder = PromptEncoder(processor)
    end = processor.tokenizer.decode([encoder.end_token_id])
    hostile = f"{processor.image_token} {end} ?"
    prompt = encoder.encode([a_record(hostile)], "short")[0]
    plain = encoder.encode([a_record("a b ?")], "short")[0]
    assert processor.image_token_id not in prompt.input_ids
    assert prompt.input_ids.count(encoder.end_token_id) == plain.input_ids.count(encoder.end_token_id)
    answer = encoder.answer_ids(hostile)
    assert answer.count(encoder.end_token_id) == 1 and processor.image_token_id not in answer


def test_too_long_row_is_named_and_not_cut(records):
    _, processor = build_tiny_model("llava")
    collator = AnswerCollator(PromptEncoder(processor), StyleMix("short"), max_length=20)
    with pytest.raises(UserError, match=r"record r0: \d+ tokens are more than max_length 20"):
        collator(records[:1])


def test_example_shows_the_supervised_part(records):
    _, processor = build_tiny_model("qwen2_vl")
    collator = AnswerCollator(PromptEncoder(processor), StyleMix("short"))
    shown = supervised_example(collator, records[0])
    assert f">>>{records[0]['answers'][0]}<|im_end|><<<" in shown
    doubled = a_record("what?", images=records[0]["images"] * 2) | {
        "image_sizes": records[0]["image_sizes"] * 2
    }
    assert supervised_example(collator, doubled).count("<|vision_start|>") == 2


class NothingSupervised(AnswerCollator):
    def __call__(self, rows):
        batch = super().__call__(rows)
        return batch | {"labels": torch.full_like(batch["labels"], IGNORED)}


@pytest.mark.parametrize(
    ("collator_class", "message"),
    [
        (ShiftedLabels, "shifted"),
        (UnmaskedPrompts, "image token is supervised"),
        (NothingSupervised, "no supervised token"),
    ],
)
def test_wrong_labels_are_refused(collator_class, message, records):
    _, processor = build_tiny_model("llava")
    collator = collator_class(PromptEncoder(processor), StyleMix("short"))
    with pytest.raises(UserError, match=message):
        check_supervision(collator, records[:2])
