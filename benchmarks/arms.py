"""What is compared: training and prediction as this project does them, and as they are done elsewhere."""

import tempfile

from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from benchmarks.stock import generate_answers, stock_rows
from benchmarks.windows import Stopwatch
from benchmarks.workloads import STYLE, Workload
from train_sft import VQASFTConfig, VQASFTTrainer
from vqa.collators import AnswerCollator
from vqa.encoding import IGNORED, PromptEncoder
from vqa.inference import decide
from vqa.models import freeze, load_model, load_processor
from vqa.records import load_dataset, read_records
from vqa.rows import plan_rows
from vqa.training import StyleMix

# The same for both trainers, and no more than they need: no checkpoints, no reports, no workers.
TRAINING = {
    "max_steps": 10**6,
    "learning_rate": 1e-4,
    "lr_scheduler_type": "constant",
    "max_length": None,
    "gradient_checkpointing": False,
    "bf16": False,
    "use_cpu": True,
    "dataloader_num_workers": 0,
    "logging_steps": 10,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}


class Windows(TrainerCallback):
    """Lets a trainer run in windows of steps; one ends behind its last step's optimizer."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self.stopwatch = stopwatch
        self.left = 0

    def on_train_begin(self, args, state, control, **kwargs):
        self.stopwatch.watch(kwargs["model"])
        self.left = self.stopwatch.wait()

    def on_step_end(self, args, state, control, **kwargs):
        self.left -= 1
        if self.left == 0:
            self.stopwatch.stop()
            self.left = self.stopwatch.wait()
            control.should_training_stop = self.left is None


class Counted:
    """A trainer that counts its questions: runs of supervised tokens."""

    stopwatch: Stopwatch

    def training_step(self, model, inputs, *rest):
        supervised = inputs["labels"] != IGNORED
        self.stopwatch.questions += (supervised[:, 1:] & ~supervised[:, :-1]).sum().item()
        return super().training_step(model, inputs, *rest)


class OurTrainer(Counted, VQASFTTrainer):
    """This project's."""


class StockTrainer(Counted, SFTTrainer):
    """TRL's as it is."""


def train_ours(stopwatch: Stopwatch, workload: Workload, group_by_image: bool) -> None:
    """Steps of this project's trainer, set up as `train_sft.py` does."""
    model, processor = _load(workload)
    records = load_dataset(workload.records)
    records = records.select(range(min(len(records), workload.limit or len(records))))
    answers = collator(workload, group_by_image)
    with tempfile.TemporaryDirectory() as folder:
        args = VQASFTConfig(
            output_dir=folder,
            per_device_train_batch_size=workload.batch,
            group_by_image=group_by_image,
            **TRAINING,
        )
        trainer = OurTrainer(
            model=model,
            args=args,
            collator=answers,
            run_file={},
            rows=plan_rows(records, answers.style, answers.encoder, args, None),
            train_dataset=records,
            processing_class=processor,
        )
        _run(trainer, stopwatch)


def collator(workload: Workload, group_by_image: bool) -> AnswerCollator:
    """Ours."""
    encoder = PromptEncoder(load_processor(str(workload.model)))
    return AnswerCollator(encoder, StyleMix(STYLE), group_by_image=group_by_image)


def train_stock(stopwatch: Stopwatch, workload: Workload) -> None:
    """Steps of TRL's trainer with its own collator, as its documentation has it for vision models."""
    model, processor = _load(workload)
    with tempfile.TemporaryDirectory() as folder:
        trainer = StockTrainer(
            model=model,
            args=SFTConfig(output_dir=folder, per_device_train_batch_size=workload.batch, **TRAINING),
            train_dataset=stock_rows(read_records(workload.records, limit=workload.limit)),
            processing_class=processor,
        )
        _run(trainer, stopwatch)


def _run(trainer: Counted, stopwatch: Stopwatch) -> None:
    trainer.stopwatch = stopwatch
    trainer.add_callback(Windows(stopwatch))
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def predict_ours(stopwatch: Stopwatch, workload: Workload, batch_size: int) -> None:
    """A window answers all questions of so many pictures, grouped by picture."""
    model, processor = _load(workload)
    encoder = PromptEncoder(processor)
    for batch in _pictures(stopwatch, workload, model):
        decide(
            model,
            encoder,
            batch,
            STYLE,
            max_new_tokens=workload.max_new_tokens,
            batch_size=batch_size,
            group_by_image=True,
        )


def predict_stock(stopwatch: Stopwatch, workload: Workload, batch_size: int) -> None:
    """The same by `generate`, greedily: left-padded batches, one question and its picture a row."""
    model, processor = _load(workload)
    model.eval()
    for records in _pictures(stopwatch, workload, model):
        for first in range(0, len(records), batch_size):
            generate_answers(model, processor, records[first : first + batch_size], workload.max_new_tokens)


def _load(workload: Workload):
    model = load_model(str(workload.model))
    freeze(model, list(workload.freeze))
    return model, load_processor(str(workload.model))


def _pictures(stopwatch: Stopwatch, workload: Workload, model):
    """The records of the next so many pictures, window by window; each one is measured."""
    by_picture: dict[str, list[dict]] = {}
    for record in read_records(workload.records, limit=workload.limit):
        by_picture.setdefault(record["images"][0], []).append(record)
    stopwatch.watch(model)
    pictures, next_one = list(by_picture.values()), 0
    while (count := stopwatch.wait()) is not None:
        chosen = [pictures[(next_one + index) % len(pictures)] for index in range(count)]
        next_one += count
        records = [record for picture in chosen for record in picture]
        stopwatch.questions = len(records)
        yield records
        stopwatch.stop()
