"""What the speed benchmarks run on: pictures with many questions each, models in the shape of Qwen2-VL-2B.

Weights are random and so are the pairs of picture and question: neither changes what is computed, as long
as no model is asked to stop by itself. Texts are those of vqa.synthesis.shapes.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoModelForImageTextToText,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    Qwen2VLConfig,
    Qwen2VLProcessor,
)

from vqa.files import write_jsonl
from vqa.prompts import SYSTEM_LINES, build_answer, question_text
from vqa.synthesis.shapes import generate_scene
from vqa.tiny_models import CHATML, build_tiny_model

POOL = 100  # questions of each type to draw on
TYPES = ("yes_no", "color", "count_numeric", "open_ended")
STYLE = "short"


@dataclass(frozen=True)
class Shape:
    """Of a Qwen2-VL: its language model, its vision tower, and rows of its embedding (None: one a token)."""

    text: dict[str, int]
    vision: dict[str, int]
    vocabulary: int | None = None


# A quarter of Qwen2-VL-2B's width and depth, in its proportions: one head in six with keys of its own, a
# feed-forward part 35/6 as wide as the rest, a vision tower 5/6 as wide as the language model, 8/7 as deep.
QWEN_29M = Shape(
    text={"hidden_size": 384, "intermediate_size": 2240, "num_hidden_layers": 6, "num_attention_heads": 6},
    vision={"embed_dim": 320, "depth": 7, "num_heads": 4, "mlp_ratio": 4},
)
QWEN_TINY = Shape(
    text={"hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 6},
    vision={"embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2},
)


@dataclass(frozen=True)
class Workload:
    """A model and its questions.

    Attributes:
        records: a record file.
        model: a checkpoint's folder.
        batch: questions an optimizer step.
        freeze: parts that do not train.
        max_new_tokens: most tokens of an answer, end token and all. Random weights never stop before.
        limit: only the first so many records.
    """

    records: Path
    model: Path
    batch: int
    freeze: tuple[str, ...] = ()
    max_new_tokens: int = 16
    limit: int | None = None


def write_records(folder: Path, images: int, questions: int, size: int) -> Path:
    """A record file of so many pictures, `size` pixels a side, with so many questions each, types in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    pools: dict[str, list[dict]] = {kind: [] for kind in TYPES}
    scene = 0
    while any(len(pool) < POOL for pool in pools.values()):
        for record in generate_scene(1, scene)[1]:
            if record["question_type"] in TYPES:
                pools[record["question_type"]].append(record)
        scene += 1
    rows = []
    for number in range(images):
        generate_scene(0, number)[0].resize((size, size)).save(folder / f"{number}.png")
        for index in range(questions):
            turn = number * questions + index
            record = pools[TYPES[turn % len(TYPES)]][turn // len(TYPES) % POOL]
            row = record | {"id": f"{number}-{index}", "images": [f"{number}.png"], "split": "train"}
            rows.append(row | {"boxes": [], "box_images": [], "image_sha256": []})
    path = folder / "train.jsonl"
    write_jsonl(path, rows)
    return path


def qwen_processor(size: int) -> Qwen2VLProcessor:
    """A processor that keeps pictures of `size` pixels a side; its tokenizer has learnt the questions."""
    tiny = build_tiny_model("qwen2_vl")[1]
    image_processor = tiny.image_processor
    image_processor.size = {"shortest_edge": size * size, "longest_edge": size * size}
    return Qwen2VLProcessor(
        image_processor=image_processor,
        tokenizer=_learn(tiny.tokenizer),
        video_processor=tiny.video_processor,
        chat_template=CHATML,
    )


def _learn(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer trained anew, so that a question takes as many tokens as with a released one."""
    texts = ["system\n", SYSTEM_LINES["short"], "user\n", "assistant\n"] * 8
    for index in range(1000):
        for record in generate_scene(1, index)[1]:
            texts += [question_text(record, "short"), build_answer(record, "short")]
    return tokenizer.train_new_from_iterator(texts, 2048)


def qwen_model(
    processor: ProcessorMixin, shape: Shape, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> PreTrainedModel:
    """A Qwen2-VL with random weights, its token ids those of the processor's tokenizer."""
    text, vision = shape.text, shape.vision
    head_size = text["hidden_size"] // text["num_attention_heads"]
    ids = processor.tokenizer.convert_tokens_to_ids
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": shape.vocabulary or len(processor.tokenizer),
            "num_key_value_heads": max(1, text["num_attention_heads"] // 6),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [head_size // 8, head_size * 3 // 16, head_size * 3 // 16],
            },
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": processor.tokenizer.eos_token_id,
            "pad_token_id": processor.tokenizer.pad_token_id,
            **text,
        },
        vision_config={"patch_size": 14, "hidden_size": text["hidden_size"], **vision},
        tie_word_embeddings=True,
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    model.generation_config.do_sample = False
    return model
