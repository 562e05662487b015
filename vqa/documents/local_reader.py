"""A language or vision-language model in this process, as a reader."""

import threading
from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    GenerationConfig,
)

from vqa.documents.packaged_llm import DEFAULT_LLM, is_packaged, packaged_llm
from vqa.documents.reading import Reading, Record, Usage, chat_text, qa_messages, qa_text, read_answer
from vqa.documents.retrieval import Passage
from vqa.errors import UserError
from vqa.images import open_image
from vqa.models import load_config, load_processor


class LocalReader:
    """Greedy answers, one at a time whatever the number of threads.

    A language model continues `qa_text` to the end of the line: small chat models do better at that than in
    a chat, and models that are not made for chats can do it too. A model that sees is asked with
    `qa_messages` and the page of the best passage.

    Args:
        model: a folder, a model's id on the hub, or the packaged model.
        max_new_tokens: of an answer.
        device: as torch names it; None: a GPU if there is one.

    Raises:
        UserError: there is no such model, or it sees and is not made for chats.
    """

    def __init__(self, model: str = DEFAULT_LLM, max_new_tokens: int = 32, device: str | None = None) -> None:
        self.name = f"local:{model}"
        folder = str(packaged_llm()) if is_packaged(model) else model
        self.sees = type(load_config(folder)) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        kind = AutoModelForImageTextToText if self.sees else AutoModelForCausalLM
        dtype = "auto" if device.startswith("cuda") else torch.float32
        try:
            self._model = kind.from_pretrained(folder, dtype=dtype, use_safetensors=True).to(device).eval()
            self._processor = load_processor(folder) if self.sees else None
            self._tokenizer = (
                self._processor.tokenizer if self.sees else AutoTokenizer.from_pretrained(folder)
            )
        except (OSError, ValueError) as error:
            raise UserError(f"--qa_model {model}: cannot be loaded: {str(error).splitlines()[0]}") from error
        self._settings = _greedy(self._model, self._tokenizer, max_new_tokens)
        if not self.sees:
            self._settings.stop_strings = ["\n"]
        self._lock = threading.Lock()

    @torch.no_grad()
    def read(self, question: str, passages: Sequence[Passage], record: Record) -> Reading:
        """What the model answers. Raises `vqa.images.ImageProblem`."""
        with self._lock:
            if self.sees:
                messages = qa_messages(question, passages)
                prompt, batch = chat_text(messages), self._see(messages, passages, record)
            else:
                prompt = qa_text(question, passages)
                batch = self._tokenizer(prompt, return_tensors="pt")
            batch = batch.to(self._model.device)
            length = batch["input_ids"].shape[1]
            ids = self._model.generate(**batch, generation_config=self._settings, tokenizer=self._tokenizer)
            raw = self._tokenizer.decode(ids[0, length:], skip_special_tokens=True)
        return Reading(
            read_answer(raw), prompt=prompt, raw=raw, usage=Usage(1, length, ids.shape[1] - length)
        )

    def _see(self, messages: list[dict[str, str]], passages: Sequence[Passage], record: Record) -> Any:
        """The chat with the page in its last turn, as tensors."""
        pages = record["images"][passages[0].page if passages else 0 :][:1]
        turns = [
            {"role": message["role"], "content": [{"type": "text", "text": message["content"]}]}
            for message in messages
        ]
        turns[-1]["content"] = [{"type": "image"} for _ in pages] + turns[-1]["content"]
        text = self._processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        images = [open_image(page) for page in pages] or None
        return self._processor(text=[text], images=images, return_tensors="pt", add_special_tokens=False)


def _greedy(model: Any, tokenizer: Any, max_new_tokens: int) -> GenerationConfig:
    """Greedy decoding to the model's own end tokens, without what else its checkpoint asks for."""
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends, tokenizer.eos_token_id]
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        eos_token_id=sorted(set(ends) - {None}),
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
    )
