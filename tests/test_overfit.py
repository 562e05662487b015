"""The overfit check passes on a sound set-up and fails on the three classic faults."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import train_sft
from tests.helpers import ROOT, ShiftedLabels, UnmaskedPrompts, run_script, write_color_records
from vqa.collators import AnswerCollator
from vqa.overfit import overfit_sample, verdict
from vqa.records import load_dataset
from vqa.sampling import EpochSampler, balanced_weights, parse_weights, record_weights
from vqa.training import StyleMix

BASE = ROOT / "models/tiny-vqa-base"


def arguments(records, output) -> list[str]:
    return [
        *("--model_name_or_path", str(BASE), "--train_files", str(records), "--freeze", "vision"),
        *("--output_dir", str(output), "--sanity_overfit", "16", "--per_device_train_batch_size", "16"),
        *("--cache_vision_features", str(output / "features")),
    ]


def test_sound_set_up_passes(tmp_path):
    records = write_color_records(tmp_path)
    result = run_script("train_sft.py", *arguments(records, tmp_path / "out"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Overfit check: PASSED" in result.stdout
    assert not (tmp_path / "out/model.safetensors").exists()


class SwappedImages(AnswerCollator):
    def __call__(self, rows):
        batch = super().__call__(rows)
        return batch | {"pixel_values": batch["pixel_values"].roll(len(rows) // 2 - 1, dims=0)}


@pytest.mark.parametrize("collator_class", [ShiftedLabels, UnmaskedPrompts, SwappedImages])
def test_faulty_set_up_fails(collator_class, tmp_path, monkeypatch, capsys):
    records = write_color_records(tmp_path)
    monkeypatch.setattr(train_sft, "AnswerCollator", collator_class)
    monkeypatch.setattr("sys.argv", ["train_sft.py", *arguments(records, tmp_path / "out")])
    assert train_sft.main() == 1
    assert "Overfit check: FAILED" in capsys.readouterr().out


def test_sample_prefers_questions_whose_answer_needs_the_image(tmp_path):
    train = load_dataset([str(write_color_records(tmp_path))])
    chosen = overfit_sample(train, 8, seed=0)
    answers = [record["answers"][0] for record in chosen]
    assert sorted(answers.count(color) for color in set(answers)) == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("loss", "grade"),
    [(0.1, "right"), (1.9, "right"), (2.1, "partial"), (4.9, "partial"), (5.1, "label bug")],
)
def test_loss_grades_for_a_vocabulary_of_150000(loss, grade):
    record = {"question": "q", "answers": ["a"]}
    assert verdict(loss, 150_000, 1.0, 0.0, [record], None).loss_grade == grade


def test_blank_images_must_hurt():
    records = [{"question": "q", "answers": [answer]} for answer in "abcd"]
    assert verdict(0.01, 4096, 1.0, 0.25, records, None).passed
    assert not verdict(0.01, 4096, 1.0, 0.95, records, None).passed
    assert not verdict(0.01, 4096, 0.94, 0.25, records, None).passed
    assert not verdict(0.01, 4096, 1.0, 0.25, records, "labels are shifted").passed


def test_an_epoch_is_a_permutation_and_depends_on_seed_and_epoch():
    sampler = EpochSampler(100, seed=3)
    first = list(sampler)
    assert sorted(first) == list(range(100)) and first == list(EpochSampler(100, seed=3))
    sampler.set_epoch(1)
    assert sorted(sampler) == list(range(100)) and list(sampler) != first


def test_weights_are_kept_exactly_on_average():
    sampler = EpochSampler(100, [1.0] * 50 + [3.0] * 50, seed=0)
    drawn = list(sampler)
    assert len(drawn) == 100 and 24 <= sum(index < 50 for index in drawn) <= 26
    assert record_weights(["a", "b"], ["x", "x"], {"a": 2.0}, {}) == [2.0, 1.0]


@given(st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from(["yes", "no", "No ", ""])), min_size=1))
def test_balanced_weights_make_each_answer_to_a_question_equally_likely(pairs):
    questions = [
        f" {question.upper()}?" if len(answer) == 2 else f"{question}?" for question, answer in pairs
    ]
    weights = balanced_weights(questions, [[answer] if answer else [] for _, answer in pairs])
    mass = Counter()
    for (question, answer), weight in zip(pairs, weights, strict=True):
        mass[question, answer.strip().lower()] += weight
    for question in {question for question, _ in pairs}:
        shares = [value for (asked, _), value in mass.items() if asked == question]
        assert shares == pytest.approx([sum(q == question for q, _ in pairs) / len(shares)] * len(shares))


def test_styles_are_fixed_by_the_record():
    mix = StyleMix("short=0.75,structured=0.25")
    styles = [mix({"id": str(index)}) for index in range(2000)]
    assert styles == [mix({"id": str(index)}) for index in range(2000)]
    assert 0.2 < styles.count("structured") / 2000 < 0.3 and mix.main == "short"
    assert parse_weights("x", ["a=b=2"]) == {"a=b": 2.0}
