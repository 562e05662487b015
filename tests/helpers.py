"""Small random inputs shared by the tests."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import torch
import xgrammar
from PIL import Image, ImageDraw

from vqa.collators import AnswerCollator
from vqa.encoding import IGNORED, PromptEncoder
from vqa.synthesis.shapes import generate_scene
from vqa.tiny_models import build_tiny_model

ROOT = Path(__file__).resolve().parent.parent
COLORS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (30, 60, 220), "yellow": (240, 220, 40)}


def write_records(folder: Path, count: int, seed: int = 0) -> Path:
    """`count` records of several types, images of varied size; every 7th has no image, every 5th has two."""
    generator = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows, scene = [], 0
    while len(rows) < count:
        image, records = generate_scene(seed, scene)
        scale = generator.choice([1, 1, 2])
        image = image.resize((image.width * scale, image.height))
        image.save(folder / f"{scene}.png")
        for record in records[:3]:
            images = [f"{scene}.png"]
            if len(rows) % 7 == 3:
                images, record = [], record | {"boxes": [], "box_images": []}
            elif len(rows) % 5 == 4 and scene:
                images.append(f"{scene - 1}.png")
            boxes = [[x0 * scale, y0, x1 * scale, y1] for x0, y0, x1, y1 in record["boxes"]] if images else []
            rows.append(record | {"id": f"r{len(rows)}", "images": images, "boxes": boxes, "split": "train"})
            del rows[-1]["image_sha256"]
        scene += 1
    path = folder / "train.jsonl"
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[:count]), encoding="utf-8"
    )
    return path


def write_color_records(folder: Path, per_color: int = 4) -> Path:
    """One question, asked of plain pictures of four colours: only the image tells the answer."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, rgb in COLORS.items():
        for number in range(per_color):
            image = Image.new("RGB", (40, 40), (245, 245, 245))
            ImageDraw.Draw(image).rectangle([4 + number, 4, 32, 34 - number], fill=rgb)
            image.save(folder / f"{name}{number}.png")
            rows.append(
                {
                    "id": f"{name}{number}",
                    "images": [f"{name}{number}.png"],
                    "question": "what color is it?",
                    "answers": [name],
                    "question_type": "color",
                    "answer_candidates": list(COLORS),
                }
            )
    path = folder / "colors.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run_script(
    *arguments: str, env: dict[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess:
    """Run a root script (or any command after `python`) as a user does."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | (env or {}),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def run_main(script, *arguments: object) -> None:
    """Call a root script's `main` in this process, which saves its start; a fault is a `UserError`."""
    with patch.object(sys, "argv", [f"{script.__name__}.py", *map(str, arguments)]):
        script.main()


def write_structured_records(folder: Path) -> Path:
    """Eight questions about the colours of plain pictures, with captions and boxes."""
    path = write_color_records(folder, per_color=2)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows):
        row |= {"caption": "a patch", "boxes": [[4, 4, 16, 16]] if number % 2 else [[8, 8, 24, 20]]}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def save_structured_model(records: Path, folder: Path) -> Path:
    """The folder of a tiny LLaVA that writes structured answers, most of them in form, after seconds."""
    import train_sft  # here: other tests that take helpers need not wait for the trainer

    model, processor = build_tiny_model("llava")
    model.save_pretrained(folder / "tiny")
    processor.save_pretrained(folder / "tiny")
    run_main(
        train_sft,
        *("--model_name_or_path", folder / "tiny", "--train_files", records, "--output_dir", folder / "sft"),
        *("--answer_style", "structured=0.7,short=0.3", "--freeze", "vision", "--group_by_image", "false"),
        *("--per_device_train_batch_size", 8, "--learning_rate", 1e-2, "--max_steps", 150),
        *("--save_strategy", "no", "--disable_tqdm", "true"),
    )
    return folder / "sft"


def sharpened(family):
    """A tiny model that is not indifferent: freshly made ones hardly look at their input."""
    model, processor = build_tiny_model(family)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    return model, PromptEncoder(processor)


def plain_score(model, encoder, prompt, completion):
    """log p of a completion by one forward over the whole text, written the obvious way."""
    batch = encoder.batch([prompt], [completion])
    labels = batch.pop("labels")
    with torch.no_grad():
        log_probs = model(**batch, use_cache=False).logits[0, :-1].double().log_softmax(-1)
    start = len(prompt.input_ids) - 1
    assert labels[0, start + 1 :].tolist() == completion
    return sum(log_probs[start + step, token].item() for step, token in enumerate(completion))


class ShiftedLabels(AnswerCollator):
    """A classic fault: every label stands one place too late."""

    def __call__(self, rows):
        batch = super().__call__(rows)
        return batch | {"labels": batch["labels"].roll(1, dims=1)}


class UnmaskedPrompts(AnswerCollator):
    """A classic fault: the loss falls on prompt and image tokens too."""

    def __call__(self, rows):
        batch = super().__call__(rows)
        return batch | {"labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)}


GRAMMAR_END = 256


def byte_acceptor():
    """Whether a grammar lets a text through, by xgrammar itself over a vocabulary of bytes."""
    vocabulary = [bytes([value]) for value in range(256)] + [b"<end>"]
    info = xgrammar.TokenizerInfo(
        vocabulary, vocab_type=xgrammar.VocabType.RAW, vocab_size=257, stop_token_ids=[GRAMMAR_END]
    )
    compiler = xgrammar.GrammarCompiler(info, cache_enabled=False)

    def check(grammar: str, text: str) -> bool:
        matcher = xgrammar.GrammarMatcher(compiler.compile_grammar(grammar))
        return all(matcher.accept_token(byte) for byte in (*text.encode(), GRAMMAR_END))

    return check
