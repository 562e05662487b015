"""The overfit check: a sound set-up can memorise a few records, and needs their images to do so."""

import math
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import TrainerCallback

# Thresholds on the loss are stated for a vocabulary of 150,000, whose uniform guess costs ln(150000) = 11.9.
REFERENCE_LOSS = math.log(150_000)
RIGHT, LABEL_BUG = 2.0, 5.0
NEEDED_ACCURACY = 0.95
NEEDED_DROP = 0.10


def overfit_sample(train, count: int, seed: int):
    """`count` records, first those whose question is asked of several images with different answers.

    Only on such records does blanking the images have to hurt: a question that occurs once can be
    memorised from its words.
    """
    order = list(range(len(train)))
    random.Random(seed).shuffle(order)
    by_question = defaultdict(lambda: defaultdict(list))
    questions, answers = train["question"], train["answers"]
    for index in order:
        by_question[questions[index]][tuple(answers[index][:1])].append(index)
    chosen: list[int] = []
    for answered in by_question.values():
        groups = list(answered.values())
        if len(groups) > 1:
            # As many of each answer as the rarest has, so that no answer is a good guess; at most 8 for each
            # question.
            each = max(1, min(min(len(group) for group in groups), 8 // len(groups)))
            chosen += [index for group in groups for index in group[:each]]
        if len(chosen) >= count:
            break
    taken = set(chosen[:count])
    chosen = chosen[:count] + [index for index in order if index not in taken][: max(0, count - len(chosen))]
    return train.select(chosen)


def configure_overfit(args: Any, count: int) -> None:
    """Turn training arguments into the check's: a constant high rate, at most 200 steps, nothing saved."""
    args.per_device_train_batch_size = min(args.per_device_train_batch_size, count)
    args.gradient_accumulation_steps = 1
    args.learning_rate = args.sanity_learning_rate
    args.vision_learning_rate = args.connector_learning_rate = None
    args.lr_scheduler_type = "constant_with_warmup"
    args.warmup_steps = 10
    args.weight_decay = 0.0
    args.max_steps = 200
    args.eval_strategy = args.save_strategy = "no"
    args.load_best_model_at_end = False
    args.logging_steps = 10
    args.report_to = []


def blank_images(records: list[dict[str, Any]], folder: str | Path) -> list[dict[str, Any]]:
    """The same records with every image replaced by a grey one of its size, kept in `folder`/blank."""
    folder = Path(folder) / "blank"
    folder.mkdir(parents=True, exist_ok=True)
    blanked = []
    for record in records:
        paths = []
        for width, height in record["image_sizes"]:
            path = folder / f"{width}x{height}.png"
            Image.new("RGB", (width, height), (127, 127, 127)).save(path)
            paths.append(str(path))
        blanked.append({**record, "images": paths})
    return blanked


class StopWhenLearnt(TrainerCallback):
    """Ends the overfit check as soon as the loss says that everything is memorised."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        control.should_training_stop |= logs.get("loss", 1.0) < 0.005


def run_overfit_check(trainer, records: list[dict], blanked: list[dict], label_problem: str | None) -> int:
    """Train on a few records and say whether the set-up can learn. Returns 0 if it can, 1 if not."""
    result = trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    accuracy, blank_accuracy = trainer.answer_accuracy(records), trainer.answer_accuracy(blanked)
    vocabulary = len(trainer.processing_class.tokenizer)
    found = verdict(losses[-1], vocabulary, accuracy, blank_accuracy, records, label_problem)
    if trainer.is_world_process_zero():
        print(found.text(steps=result.global_step))
    return 0 if found.passed else 1


@dataclass(frozen=True)
class Verdict:
    """What the overfit check found."""

    loss: float
    vocabulary: int
    accuracy: float
    blank_accuracy: float
    guess_accuracy: float
    label_problem: str | None

    @property
    def loss_grade(self) -> str:
        """`right`, `partial` or `label bug`, the thresholds scaled to this vocabulary."""
        scaled = self.loss * REFERENCE_LOSS / math.log(self.vocabulary)
        return "right" if scaled < RIGHT else "partial" if scaled <= LABEL_BUG else "label bug"

    @property
    def images_needed(self) -> bool:
        """Whether some records cannot be answered from the question alone."""
        return self.guess_accuracy <= 1 - NEEDED_DROP

    @property
    def passed(self) -> bool:
        """Labels sound, loss low, answers right, and wrong again without the images."""
        drop = self.accuracy - self.blank_accuracy
        images_used = drop >= NEEDED_DROP or not self.images_needed
        return (
            self.label_problem is None
            and self.loss_grade == "right"
            and self.accuracy >= NEEDED_ACCURACY
            and images_used
        )

    def text(self, steps: int) -> str:
        """The verdict in words."""
        uniform_loss = f"ln({self.vocabulary:,}) = {math.log(self.vocabulary):.2f}"
        wanted = f"at least {NEEDED_ACCURACY:.0%} wanted"
        drop = f"must drop by {NEEDED_DROP:.0%}; best guess without images {self.guess_accuracy:.1%}"
        lines = [
            f"\nOverfit check: {'PASSED' if self.passed else 'FAILED'} after {steps} steps",
            f"  loss            {self.loss:.4f} of {uniform_loss}: {self.loss_grade}",
            f"  accuracy        {self.accuracy:.1%} of real predictions ({wanted})",
            f"  images blanked  {self.blank_accuracy:.1%} ({drop})",
        ]
        if not self.images_needed:
            lines.append(
                "  these records can be answered from their questions alone: use of the images not judged"
            )
        if self.label_problem:
            lines.append(f"  labels          {self.label_problem}")
        return "\n".join(lines)


def verdict(
    loss: float,
    vocabulary: int,
    accuracy: float,
    blank_accuracy: float,
    records: list[dict[str, Any]],
    label_problem: str | None,
) -> Verdict:
    """Judge an overfit run from its last loss, its accuracy, and its accuracy with blank images."""
    answers = defaultdict(lambda: defaultdict(int))
    for record in records:
        answers[record["question"]][tuple(record["answers"][:1])] += 1
    guess = sum(max(counts.values()) for counts in answers.values()) / len(records)
    return Verdict(loss, vocabulary, accuracy, blank_accuracy, guess, label_problem)
