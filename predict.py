"""Answers of a vision-language model to a file of questions, or to one.

The test split, on whatever device there is; killed and started again it goes on where it was:
    python predict.py --config configs/quickstart/predict.yaml
    python predict.py --model_name_or_path outputs/quickstart/model --records data/easy_vqa/test.jsonl \
        --output_file outputs/quickstart/predictions.jsonl

One question:
    python predict.py --model_name_or_path outputs/quickstart/model --image picture.png \
        --question "What color is the shape?" --candidates red,green,blue

An adapter on its base model; eight GPUs; vLLM:
    python predict.py --model_name_or_path Qwen/Qwen2-VL-2B-Instruct --adapter outputs/sft \
        --records test.jsonl --output_file predictions.jsonl
    accelerate launch --num_processes 8 predict.py --config FILE.yaml
    python predict.py --engine vllm --config FILE.yaml

Boxes only where there is text, answers only what stands there; how fast, and where the time goes:
    python predict.py --config configs/document/predict.yaml --ground ocr --answer_from_ocr
    python predict.py --config configs/document/predict.yaml --ground ocr --benchmark 100

Answers withheld below a confidence; below one that leaves 5% of wrong answers, which is chosen once and kept:
    python predict.py --config configs/quickstart/predict.yaml --abstain_below 0.6
    python predict.py --model_name_or_path outputs/sft --target_risk 0.05 --calibration_file validation.jsonl
    python predict.py --model_name_or_path outputs/sft --target_risk 0.05 --records test.jsonl \
        --output_file predictions.jsonl

Answers are constrained by question type: closed types are decided by scoring every candidate, numbers and
structured answers are written under a grammar (vqa/inference.py). `--decoding free`, or
`--use_constrained_decoding false`, lifts it all. Prompt
style, box format and pixel limits are those the checkpoint was trained with, unless given here.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from functools import cache
from pathlib import Path

import torch
from accelerate import InitProcessGroupKwargs, PartialState
from accelerate.utils import gather_object
from datasets import Dataset

from vqa import runs
from vqa.abstention import calibrate, count_withheld, withhold
from vqa.abstention_file import AbstentionArguments, read_threshold, weights_sha256, write_abstention
from vqa.adapters import with_adapter
from vqa.answer_settings import AnswerSettings
from vqa.cli import parse_arguments, run
from vqa.decisions import Record, plan_batches, questions_per_image
from vqa.documents.ocr import OcrArguments, build_page_reader
from vqa.documents.pages import OcrPage
from vqa.encoding import PromptEncoder
from vqa.errors import UserError
from vqa.feature_cache import image_paths, use_cached_features
from vqa.inference import decide
from vqa.models import load_model, load_processor
from vqa.prediction_arguments import (
    QUESTIONS_NEEDED,
    PredictArguments,
    fingerprint,
    resolve_answers,
    resolve_grouping,
)
from vqa.prediction_benchmark import benchmark, benchmark_text
from vqa.prediction_loop import Asker, answer_records
from vqa.prediction_runs import PartialPredictions, check_confidence, describe, prediction_line, read_meta
from vqa.records import load_dataset
from vqa.single_question import answer_text, single_record
from vqa.stages import measured, stage
from vqa.vllm_engine import VllmEngine

NEEDED_TO_PLAN = ["images", "image_sizes", "question", "question_type", "answer_candidates"]


def main() -> None:
    """Check, load, answer."""
    kinds = (PredictArguments, OcrArguments, AbstentionArguments)
    args, ocr, abstention = parse_arguments(*kinds, description=__doc__, prog="predict.py")
    only_calibrate = args.records is None and args.question is None
    if only_calibrate and (abstention.calibration_file is None or args.benchmark is not None):
        raise UserError(QUESTIONS_NEEDED)
    answers = resolve_answers(args)
    args.group_by_image = resolve_grouping(args)
    if args.ground and answers.style != "structured":
        raise UserError(f"--ground ocr: answers of the style {answers.style} hold no boxes")
    waits_long = InitProcessGroupKwargs(timeout=timedelta(days=7))  # for the process with the longest answers
    state = PartialState(cpu=not torch.cuda.is_available(), **waits_long.to_kwargs())

    # Questions: every fault is reported here, before any model is loaded.
    records, batches, validation = [], [[0]], ([], [])
    if args.question is not None:
        candidates = [text.strip() for text in (args.candidates or "").split(",") if text.strip()]
        records = [
            single_record(args.question, args.image, args.question_type, candidates, args.max_image_pixels)
        ]
    if args.records is not None:
        records, batches = read_questions(args, answers, state, args.records)
    if abstention.calibration_file is not None:
        validation = read_questions(args, answers, state, abstention.calibration_file)
    ask = cache(lambda: build_asker(args, ocr, answers, state, records, validation[0]))
    if args.benchmark is not None:
        rows = [[records[index] for index in batch] for batch in batches if batch]
        found = benchmark(ask(), rows, args.benchmark)
        print(json.dumps(found, indent=2) if args.json else benchmark_text(found))
        return
    if args.records is not None:
        partial = PartialPredictions(Path(args.output_file), fingerprint(args, ocr, answers, args.records))
        partial.read()

    # Answers
    threshold = find_threshold(abstention, args, ocr, answers, state, validation, ask)
    if args.question is not None:
        line = prediction_line(records[0], ask()(records)[0])
        check_confidence([line])
        line = withhold(line, threshold)
        print(json.dumps(line, ensure_ascii=False, indent=2) if args.json else answer_text(line))
    if args.records is None:
        return
    with measured() as stages:
        decided = answer_records(partial, records, batches, ask, state)
    peak_memory = gather_object([runs.peak_memory_bytes()])
    if state.is_main_process:
        config = asdict(args) | asdict(ocr) | asdict(abstention)
        config |= {"resolved": asdict(answers), "processes": state.num_processes}
        given = [withhold(line, threshold) for line in decided]
        manifest = describe(config, args.records, max(peak_memory), stages)
        partial.finish(given, manifest | {"abstention": count_withheld(decided, given, threshold)})
        print(f"{args.output_file}: {len(given)} predictions")


def read_questions(
    args: PredictArguments, answers: AnswerSettings, state: PartialState, file: str
) -> tuple[Dataset, list[list[int]]]:
    """The records of a file, and their batches; without a given batch size, the first file decides on it."""
    with state.main_process_first():
        records = load_dataset(file, args.image_root, args.max_image_pixels)
    records = records.select(range(min(len(records), args.limit or len(records))))
    if args.batch_size is None:
        args.batch_size = 64 if args.group_by_image and questions_per_image(records["images"]) >= 2 else 8
    needed = records.select_columns(NEEDED_TO_PLAN).to_list()
    return records, plan_batches(needed, answers.style, args.batch_size, args.group_by_image)


def find_threshold(
    abstention: AbstentionArguments, args: PredictArguments, ocr, answers, state, validation, load_asker
) -> float | None:
    """The confidence below which answers are withheld: as given, as kept, or chosen on validation records."""
    if abstention.target_risk is None:
        return abstention.abstain_below
    checkpoint = args.adapter or args.model_name_or_path
    path = abstention.path(checkpoint)
    how = {name: vars(args)[name] for name in ("decoding", "engine", "ground", "answer_from_ocr")}
    settings = asdict(answers) | how | {"weights": weights_sha256(checkpoint)}
    if abstention.calibration_file is None:
        return read_threshold(path, abstention.target_risk, abstention.delta, settings)
    partial = PartialPredictions(path, fingerprint(args, ocr, answers, abstention.calibration_file))
    partial.read()
    lines = answer_records(partial, *validation, load_asker, state)
    found = calibrate(lines, abstention.target_risk, abstention.delta)
    if state.is_main_process:
        write_abstention(path, found, settings, abstention.calibration_file, len(lines))
        partial.discard()
        print(f"{path}: {found}", file=sys.stderr if args.json else sys.stdout)
    return found.threshold


def build_asker(
    args: PredictArguments, ocr: OcrArguments, answers: AnswerSettings, state: PartialState, *record_lists
) -> Asker:
    """Load the model, and the OCR engine; the result maps records to decisions."""
    read_pages = build_page_reader(ocr, args.max_image_pixels).read_record if args.ground else None
    processor = load_processor(args.model_name_or_path)
    encoder = PromptEncoder(processor, image_max_pixels=args.max_image_pixels, **answers.pixel_limits)
    how = {"style": answers.style, "box_format": answers.box_format}
    how |= {"allow_unanswerable": answers.allow_unanswerable}
    how |= {"decoding": args.decoding, "max_new_tokens": args.max_new_tokens}
    batching = {"batch_size": args.batch_size or 1, "group_by_image": args.group_by_image}
    if args.engine == "vllm":
        most = max(len(row["images"]) for records in record_lists for row in records)
        engine = VllmEngine(args.model_name_or_path, encoder, args.dtype, most)
        return lambda rows: engine.decide(rows, **how, pages=pages_of(rows, read_pages))
    model = load_model(args.model_name_or_path, dtype=args.dtype).to(state.device)
    if args.adapter:
        model = with_adapter(model, args.adapter)
    if args.cache_vision_features:
        with state.main_process_first():
            use_cached_features(args.cache_vision_features, model, encoder, image_paths(*record_lists))
    how |= {"answer_from_page": args.answer_from_ocr}
    return lambda rows: decide(model, encoder, rows, **batching, **how, pages=pages_of(rows, read_pages))


def pages_of(records: list[Record], read_pages: Callable[[Record], list[OcrPage]] | None):
    """The text of each record's images; None where answers are not grounded in it."""
    if read_pages is None:
        return None
    with stage("ocr"):
        return [read_pages(record | {"meta": read_meta(record)}) for record in records]


if __name__ == "__main__":
    run(main)
