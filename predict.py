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

Answers are constrained by question type: closed types are decided by scoring every candidate, numbers and
structured answers are written under a grammar (vqa/inference.py). `--decoding free`, or
`--use_constrained_decoding false`, lifts it all. Prompt
style, box format and pixel limits are those the checkpoint was trained with, unless given here.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import InitProcessGroupKwargs, PartialState
from accelerate.utils import gather_object
from tqdm import tqdm

from vqa import runs
from vqa.adapters import with_adapter
from vqa.answer_settings import AnswerSettings, answer_settings
from vqa.cli import option, parse_arguments, run
from vqa.decisions import Record, plan_batches, questions_per_image
from vqa.documents.ocr import OcrArguments, build_page_reader
from vqa.documents.pages import OcrPage
from vqa.encoding import PromptEncoder
from vqa.errors import UserError
from vqa.feature_cache import image_paths, use_cached_features
from vqa.files import sha256_file
from vqa.images import DEFAULT_MAX_PIXELS
from vqa.inference import DECODINGS, decide
from vqa.models import load_model, load_processor
from vqa.prediction_benchmark import benchmark, benchmark_text
from vqa.prediction_runs import (
    PartialPredictions,
    check_confidence,
    describe,
    model_files,
    prediction_line,
    read_meta,
)
from vqa.prompts import BOX_FORMATS, STYLES
from vqa.questions import QUESTION_TYPES
from vqa.records import load_dataset
from vqa.single_question import answer_text, single_record
from vqa.stages import measured, stage
from vqa.vllm_engine import VllmEngine, check_vllm

ENGINES = ("transformers", "vllm")
GROUNDS = ("ocr",)
DTYPES = ("auto", "float32", "bfloat16", "float16")
NEEDED_TO_PLAN = ["images", "image_sizes", "question", "question_type", "answer_candidates"]


@dataclass
class PredictArguments:
    """What to ask, of which model, and how."""

    # Model
    model_name_or_path: str | None = option(None, "hub name or folder of a model, or folder of an adapter")
    adapter: str | None = option(None, "folder of an adapter to put on the model")
    dtype: str = option(
        "auto", "auto, float32, bfloat16 or float16; auto is the checkpoint's, or float32 without a GPU"
    )
    engine: str = option("transformers", "transformers, or vllm where it is installed")

    # Questions: a file of records, or one
    records: str | None = option(None, "record file (JSONL) to answer")
    image_root: str | None = option(
        None, "folder that image paths start from; default: the manifest's, or the file's"
    )
    max_image_pixels: int = option(DEFAULT_MAX_PIXELS, "refuse image files with more pixels")
    limit: int | None = option(None, "answer the first so many records only")
    output_file: str | None = option(None, "where predictions go (JSONL)")
    image: list[str] = option([], "one question: its image or images")
    question: str | None = option(None, "one question: its text")
    question_type: str | None = option(None, "one question: its type; default: inferred")
    candidates: str | None = option(None, "one question: what may be answered, separated by commas")
    json: bool = option(False, "one question: print the prediction as JSON")

    # Answers; what is not given is as the checkpoint was trained
    answer_style: str | None = option(None, f"one of {', '.join(STYLES)}")
    box_format: str | None = option(None, "coordinates in the text: norm1000, or pixels of the resized image")
    min_pixels: int | None = option(None, "Qwen families: smallest image area the model sees")
    max_pixels: int | None = option(None, "Qwen families: largest image area the model sees")
    decoding: str = option("constrained", "constrained by question type and style, or free")
    use_constrained_decoding: bool = option(True, "false: the same as --decoding free")
    ground: str | None = option(None, "ocr: boxes can only be those of words, runs of words and lines")
    answer_from_ocr: bool = option(False, "with --ground ocr: open answers are words of the chosen boxes")
    max_new_tokens: int | None = option(
        None, "limit of an answer in tokens, and of what stands before it; default: by style"
    )

    # Speed
    batch_size: int | None = option(
        None, "questions a batch on each device; default: 8, or 64 where images have two or more questions"
    )
    group_by_image: bool = option(True, "run each image once for all its questions")
    cache_vision_features: str | None = option(None, "folder to keep each image's vision features in")
    benchmark: int | None = option(None, "answer so many questions, say how fast, and write no predictions")

    def __post_init__(self) -> None:
        if not self.use_constrained_decoding:
            self.decoding = "free"
        if not self.model_name_or_path:
            raise UserError("--model_name_or_path is needed (or a --config that names it)")
        if (self.records is None) == (self.question is None):
            raise UserError("give --records FILE and --output_file FILE, or one --question with its --image")
        if self.records is not None and not self.output_file and self.benchmark is None:
            raise UserError("--output_file is needed with --records")
        if self.answer_from_ocr and self.ground is None:
            raise UserError("--answer_from_ocr goes with --ground ocr")
        if self.ground is not None and self.decoding == "free":
            raise UserError("--ground ocr constrains decoding: leave out --decoding free")
        for name, value, known in (
            ("dtype", self.dtype, DTYPES),
            ("engine", self.engine, ENGINES),
            ("decoding", self.decoding, DECODINGS),
            ("answer_style", self.answer_style, STYLES),
            ("box_format", self.box_format, BOX_FORMATS),
            ("ground", self.ground, GROUNDS),
            ("question_type", self.question_type, tuple(QUESTION_TYPES)),
        ):
            if value is not None and value not in known:
                raise UserError(f"--{name} {value}: choose from {', '.join(known)}")
        pixels = ("min_pixels", "max_pixels", "max_image_pixels")
        for name in ("batch_size", "max_new_tokens", "limit", "benchmark", *pixels):
            value = vars(self)[name]
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: 1 or more")
        if self.engine == "vllm":
            check_vllm()
            if self.adapter:
                raise UserError(
                    "--engine vllm takes no --adapter: merge it first (train_sft.py --merge_adapter)"
                )
            if self.answer_from_ocr:
                raise UserError("--answer_from_ocr needs the box before it says what follows: not with vllm")
            if self.cache_vision_features:
                raise UserError("--engine vllm takes no --cache_vision_features: it keeps a cache of its own")


def resolve_answers(args: PredictArguments) -> AnswerSettings:
    """As given, else as the checkpoint was trained, else by default."""
    if args.adapter and not (Path(args.adapter) / "adapter_config.json").is_file():
        raise UserError(
            f"--adapter {args.adapter}: no adapter_config.json there: not the folder of an adapter"
        )
    return answer_settings(
        args.adapter or args.model_name_or_path,
        args.model_name_or_path,
        style=args.answer_style,
        box_format=args.box_format,
        min_pixels=args.min_pixels,
        max_pixels=args.max_pixels,
    )


def main() -> None:
    """Check, load, answer."""
    args, ocr = parse_arguments(PredictArguments, OcrArguments, description=__doc__, prog="predict.py")
    answers = resolve_answers(args)
    if args.ground and answers.style != "structured":
        raise UserError(f"--ground ocr: answers of the style {answers.style} hold no boxes")
    waits_long = InitProcessGroupKwargs(timeout=timedelta(days=7))  # for the process with the longest answers
    state = PartialState(cpu=not torch.cuda.is_available(), **waits_long.to_kwargs())

    # Questions: every fault is reported here, before any model is loaded.
    if args.question is not None:
        candidates = [text.strip() for text in (args.candidates or "").split(",") if text.strip()]
        records = [
            single_record(args.question, args.image, args.question_type, candidates, args.max_image_pixels)
        ]
    else:
        with state.main_process_first():
            records = load_dataset(args.records, args.image_root, args.max_image_pixels)
        records = records.select(range(min(len(records), args.limit or len(records))))
        if args.batch_size is None:
            args.batch_size = 64 if args.group_by_image and questions_per_image(records["images"]) >= 2 else 8
        needed = records.select_columns(NEEDED_TO_PLAN).to_list()
        batches = plan_batches(needed, answers.style, args.batch_size, args.group_by_image)
    if args.benchmark is not None:
        rows = [[records[index] for index in batch] for batch in (batches if args.records else [[0]])]
        ask = build_asker(args, ocr, answers, state, records)
        found = benchmark(ask, [batch for batch in rows if batch], args.benchmark)
        print(json.dumps(found, indent=2) if args.json else benchmark_text(found))
        return
    if args.records is not None:
        partial = PartialPredictions(Path(args.output_file), fingerprint(args, ocr, answers))
        partial.read()
        missing = [batch for batch in batches if not partial.lines.keys() >= set(batch)]
        state.wait_for_everyone()  # all have read the shards before one is written to

    # Model
    if args.question is not None or missing:
        ask = build_asker(args, ocr, answers, state, records)
    if args.question is not None:
        line = prediction_line(records[0], ask(records)[0])
        check_confidence([line])
        print(json.dumps(line, ensure_ascii=False, indent=2) if args.json else answer_text(line))
        return

    # Answers
    partial.open_shard(state.process_index)
    mine = missing[state.process_index :: state.num_processes]
    done = sum(len(batch) for batch in batches) - sum(len(batch) for batch in missing)
    total = done + sum(len(batch) for batch in mine)
    bar = tqdm(total=total, initial=done, unit="q", disable=not state.is_main_process)
    with bar, measured() as stages:
        for batch in mine:
            begun = time.perf_counter()
            rows = [records[index] for index in batch]
            lines = [prediction_line(*pair) for pair in zip(rows, ask(rows), strict=True)]
            check_confidence(lines)
            partial.add(batch, lines, time.perf_counter() - begun)
            bar.update(len(batch))
    partial.close()
    peak_memory = gather_object([runs.peak_memory_bytes()])
    state.wait_for_everyone()
    if state.is_main_process:
        config = asdict(args) | asdict(ocr) | {"resolved": asdict(answers), "processes": state.num_processes}
        partial.finish(len(records), describe(config, args.records, max(peak_memory), stages))
        print(f"{args.output_file}: {len(records)} predictions")


def build_asker(args: PredictArguments, ocr: OcrArguments, answers: AnswerSettings, state, records):
    """Load the model, and the OCR engine; the result maps records to decisions."""
    read_pages = build_page_reader(ocr, args.max_image_pixels).read_record if args.ground else None
    processor = load_processor(args.model_name_or_path)
    encoder = PromptEncoder(processor, image_max_pixels=args.max_image_pixels, **answers.pixel_limits)
    how = {"style": answers.style, "box_format": answers.box_format}
    how |= {"allow_unanswerable": answers.allow_unanswerable}
    how |= {"decoding": args.decoding, "max_new_tokens": args.max_new_tokens}
    batching = {"batch_size": args.batch_size or 1, "group_by_image": args.group_by_image}
    if args.engine == "vllm":
        engine = VllmEngine(
            args.model_name_or_path, encoder, args.dtype, max(len(row["images"]) for row in records)
        )
        return lambda rows: engine.decide(rows, **how, pages=pages_of(rows, read_pages))
    model = load_model(args.model_name_or_path, dtype=args.dtype).to(state.device)
    if args.adapter:
        model = with_adapter(model, args.adapter)
    if args.cache_vision_features:
        with state.main_process_first():
            use_cached_features(args.cache_vision_features, model, encoder, image_paths(records))
    how |= {"answer_from_page": args.answer_from_ocr}
    return lambda rows: decide(model, encoder, rows, **batching, **how, pages=pages_of(rows, read_pages))


def pages_of(records: list[Record], read_pages: Callable[[Record], list[OcrPage]] | None):
    """The text of each record's images; None where answers are not grounded in it."""
    if read_pages is None:
        return None
    with stage("ocr"):
        return [read_pages(record | {"meta": read_meta(record)}) for record in records]


def fingerprint(args: PredictArguments, ocr: OcrArguments, answers: AnswerSettings) -> dict[str, Any]:
    """Everything the predictions depend on."""
    given = asdict(args) | (asdict(ocr) if args.ground else {})
    for name in ("output_file", "question", "image", "question_type", "candidates", "json", "benchmark"):
        del given[name]
    files = [model_files(args.model_name_or_path), model_files(args.adapter)]
    return given | asdict(answers) | {"model files": files, "data": sha256_file(args.records)}


if __name__ == "__main__":
    run(main)
