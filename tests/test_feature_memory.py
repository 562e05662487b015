"""Vision features kept in memory: the same numbers, and the tower runs once an image."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests.helpers import sharpened, write_records
from vqa.adapters import lora_targets
from vqa.feature_memory import FAMILIES, remember_features
from vqa.models import freeze, inner_model
from vqa.records import read_records
from vqa.tiny_models import TINY_FAMILIES


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Questions about one image, two images and none."""
    return read_records(write_records(tmp_path_factory.mktemp("records"), 12))


@pytest.fixture(params=FAMILIES)
def frozen(request):
    """A model whose tower does not change, and its encoder."""
    model, encoder = sharpened(request.param)
    freeze(model, ["vision"])
    return model, encoder


def batch_of(encoder, records):
    return encoder.batch(encoder.encode(records, "short"))


def count_tower(model) -> list[int]:
    """Grows by one for each image that the tower is run for."""
    inner, seen = inner_model(model), []

    def count(module, args, kwargs):
        grid = kwargs.get("grid_thw")
        pixels = args[0] if args else kwargs.get("pixel_values")
        seen.extend([1] * (len(pixels) if grid is None else len(grid)))

    tower = inner.visual if model.config.model_type.startswith("qwen") else inner.vision_tower
    tower.register_forward_pre_hook(count, with_kwargs=True)
    return seen


def test_logits_are_those_without_a_memory(frozen, records):
    model, encoder = frozen
    assert {len(record["images"]) for record in records} == {0, 1, 2}
    batches = [batch_of(encoder, part) for part in (records, records[::-1], records[3:6], records[5:6])]
    assert "pixel_values" not in batch_of(encoder, [records[3]])
    batches.append(batch_of(encoder, [records[3]]))
    with torch.no_grad():
        expected = [model(**batch).logits for batch in batches]
        memory = remember_features(model, 2**30)
        images = {path for record in records for path in record["images"]}
        for _ in range(2):
            for batch, logits in zip(batches, expected, strict=True):
                torch.testing.assert_close(model(**batch).logits, logits, rtol=1e-5, atol=1e-5)
    assert len(memory.features) == len(images)
    assert memory.bytes == sum(features.nbytes for features in memory.features.values())


def test_the_tower_runs_once_an_image(frozen, records):
    model, encoder = frozen
    seen = count_tower(model)
    remember_features(model, 2**30)
    images = set()
    with torch.no_grad():
        for first in range(0, 12, 3):
            part = records[first : first + 3]
            images |= {path for record in part for path in record["images"]}
            model(**batch_of(encoder, [*part, part[0]]))
            assert len(seen) == len(images)
        model(**batch_of(encoder, records))
    assert len(seen) == len(images)
    # An image of other pixels is another image.
    batch = batch_of(encoder, records[:1])
    with torch.no_grad():
        model(**batch | {"pixel_values": batch["pixel_values"] + 0.01})
    assert len(seen) == len(images) + 1


def test_what_an_image_gives_does_not_depend_on_its_batch(frozen, records):
    """To the last bit, so that a resumed run repeats an unbroken one."""
    features = []
    for part in (records[:6], records[5::-1], records[:1]):
        model, encoder = sharpened(frozen[0].config.model_type)
        freeze(model, ["vision"])
        memory = remember_features(model, 2**30)
        with torch.no_grad():
            model(**batch_of(encoder, part))
        features.append(memory.features)
    key = next(iter(features[2]))
    assert all(torch.equal(found[key], features[2][key]) for found in features)
    assert all(torch.equal(features[1][name], features[0][name]) for name in features[0])


def test_least_recently_used_go_first(frozen, records):
    model, encoder = frozen
    single = [record for record in records if len(record["images"]) == 1]
    batches = {record["images"][0]: batch_of(encoder, [record]) for record in single}
    (a, b, c), seen = list(batches.values())[:3], count_tower(model)
    with torch.no_grad():
        expected = {name: model(**batch).logits for name, batch in (("a", a), ("b", b), ("c", c))}
        seen.clear()
        memory = remember_features(model, 2**30)
        sizes = []
        for batch in (a, b, c):
            before = memory.bytes
            model(**batch)
            sizes.append(memory.bytes - before)
        assert min(sizes) > 0
        memory.max_bytes = sum(sizes) - 1
        model(**a)  # used last; what is too much now is b
        assert len(seen) == 3 and memory.bytes <= memory.max_bytes
        model(**a)
        model(**c)
        assert len(seen) == 3
        torch.testing.assert_close(model(**b).logits, expected["b"], rtol=1e-5, atol=1e-5)
        assert len(seen) == 4 and memory.bytes <= memory.max_bytes
        memory.max_bytes = 1
        for name, batch in (("a", a), ("c", c)):
            torch.testing.assert_close(model(**batch).logits, expected[name], rtol=1e-5, atol=1e-5)
            assert memory.bytes == 0 and not memory.features


def test_the_connector_trains_on(frozen, records):
    model, encoder = frozen
    batch = batch_of(encoder, records[:5])
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    model(**batch, labels=labels).loss.backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    remember_features(model, 2**30)
    for _ in range(2):  # run by the tower, and remembered
        model(**batch, labels=labels).loss.backward()
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        assert found.keys() == expected.keys()
        assert any("merger" in name or "projector" in name for name in found)
        for name, gradient in found.items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5, msg=name)
        model.zero_grad()


def test_an_updated_connector_is_used(frozen, records):
    model, encoder = frozen
    batch = batch_of(encoder, records[:3])
    remember_features(model, 2**30)
    with torch.no_grad():
        before = model(**batch).logits
        for name, parameter in model.named_parameters():
            if "merger" in name or "projector" in name:
                parameter.mul_(1.1)
        assert not torch.equal(model(**batch).logits, before)


def with_lora(model, parts):
    return get_peft_model(model, LoraConfig(r=2, target_modules=lora_targets(model, parts)))


def test_who_gets_no_memory(records):
    for family in TINY_FAMILIES:
        model, _ = sharpened(family)
        assert remember_features(model, 2**30) is None  # the tower trains
        freeze(model, ["vision"])
        assert remember_features(model, 0) is None
        assert (remember_features(model, 2**30) is None) == (family not in FAMILIES)
    model, _ = sharpened("llava")
    assert remember_features(with_lora(model, ["llm", "vision"]), 2**30) is None


def test_adapters_beside_the_tower(frozen, records):
    model, encoder = frozen
    model = with_lora(model, ["llm", "connector"])
    batch = batch_of(encoder, records)
    with torch.no_grad():
        expected = model(**batch).logits
        seen = count_tower(model)
        assert remember_features(model, 2**30) is not None
        for _ in range(2):
            torch.testing.assert_close(model(**batch).logits, expected, rtol=1e-5, atol=1e-5)
    assert len(seen) == len({path for record in records for path in record["images"]})
