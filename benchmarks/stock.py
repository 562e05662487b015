"""The usual ways, to compare with: rows for TRL's trainer, and `generate` with one question a row."""

import torch
from datasets import Dataset, Image, List
from PIL import Image as Pillow
from transformers import PreTrainedModel, ProcessorMixin

from benchmarks.workloads import STYLE
from vqa.prompts import build_answer, build_prompt


def stock_rows(records: list[dict]) -> Dataset:
    """Records as TRL's trainer takes them: prompt, completion, images."""
    rows = [
        {
            "prompt": build_prompt(record, STYLE),
            "completion": [{"role": "assistant", "content": [_text(build_answer(record, STYLE))]}],
            "images": record["images"],
        }
        for record in records
    ]
    return Dataset.from_list(rows).cast_column("images", List(Image()))


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


@torch.no_grad()
def generate_answers(
    model: PreTrainedModel, processor: ProcessorMixin, records: list[dict], max_new_tokens: int
) -> list[str]:
    """Greedy answers of one batch."""
    inputs = processor(
        text=[
            processor.apply_chat_template(build_prompt(record, STYLE), add_generation_prompt=True)
            for record in records
        ],
        images=[[Pillow.open(path).convert("RGB") for path in record["images"]] for record in records],
        padding=True,
        padding_side="left",
        return_tensors="pt",
    )
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
    return processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
