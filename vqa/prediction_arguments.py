"""What predict.py is asked for, and what follows from it: how to ask, and what the answers depend on."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vqa.answer_settings import AnswerSettings, answer_settings
from vqa.branches import may_share_rows
from vqa.cli import option
from vqa.documents.ocr import OcrArguments
from vqa.errors import UserError
from vqa.files import sha256_file
from vqa.images import DEFAULT_MAX_PIXELS
from vqa.inference import DECODINGS
from vqa.models import load_config
from vqa.prediction_runs import model_files
from vqa.prompts import BOX_FORMATS, STYLES
from vqa.questions import QUESTION_TYPES
from vqa.vllm_engine import check_vllm

ENGINES = ("transformers", "vllm")
GROUNDS = ("ocr",)
DTYPES = ("auto", "float32", "bfloat16", "float16")
QUESTIONS_NEEDED = "give --records FILE and --output_file FILE, or one --question with its --image"


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
    limit: int | None = option(None, "answer only the first so many records of a file")
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
    group_by_image: bool | None = option(
        None, "run each image once for all its questions; default: where the model's family can"
    )
    cache_vision_features: str | None = option(None, "folder to keep each image's vision features in")
    benchmark: int | None = option(None, "answer so many questions, say how fast, and write no predictions")

    def __post_init__(self) -> None:
        if not self.use_constrained_decoding:
            self.decoding = "free"
        if not self.model_name_or_path:
            raise UserError("--model_name_or_path is needed (or a --config that names it)")
        if self.records is not None and self.question is not None:
            raise UserError(QUESTIONS_NEEDED)
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


def resolve_grouping(args: PredictArguments) -> bool:
    """As given, else whatever the model's family can.

    Raises:
        UserError: it was asked for, and the family cannot.
    """
    try:
        config = load_config(args.model_name_or_path)
    except UserError:  # said again where the model is loaded; what is wrong with the records is said before
        return args.group_by_image is not False
    possible = may_share_rows(config, args.group_by_image)
    return possible if args.group_by_image is None else args.group_by_image


def fingerprint(
    args: PredictArguments, ocr: OcrArguments, answers: AnswerSettings, file: str
) -> dict[str, Any]:
    """Everything that decisions about a file's records depend on; a threshold comes after them."""
    given = asdict(args) | (asdict(ocr) if args.ground else {}) | {"records": file}
    for name in ("output_file", "question", "image", "question_type", "candidates", "json", "benchmark"):
        del given[name]
    files = [model_files(args.model_name_or_path), model_files(args.adapter)]
    return given | asdict(answers) | {"model files": files, "data": sha256_file(file)}
