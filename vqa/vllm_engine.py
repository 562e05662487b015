"""Predictions through vLLM, under the same grammars. Closed types are generated among their candidates there.

vLLM gives no cheap scores of several continuations, so a closed answer is the greedy path through the grammar
of its candidates, which is not always the most probable one (light blue, light green), and its confidence
is exp(mean log p) as for other answers.
"""

import importlib.util
from collections.abc import Sequence
from typing import Any

from vqa.answers import complete_structured, complete_structured_head, complete_think_head
from vqa.decisions import (
    MAX_NEW_TOKENS,
    Decision,
    Record,
    completion_grammar,
    first_answer_token,
    mean_probability,
    read_decision,
)
from vqa.documents.pages import OcrPage
from vqa.documents.places import text_places
from vqa.encoding import PromptEncoder
from vqa.errors import UserError


def check_vllm(option: str = "--engine vllm") -> None:
    """Raise a `UserError`, which names the option that asked for it, where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        raise UserError(f"{option}: vllm is not installed; `pip install faithful-vqa[vllm]`")


class VllmEngine:
    """Decides answers as `vqa.inference.decide` does, through vLLM.

    Args:
        model_name_or_path: a model vLLM knows; an adapter has to be merged first.
        dtype: as vLLM names it.
        images: the most images a record has.
    """

    def __init__(self, model_name_or_path: str, encoder: PromptEncoder, dtype: str, images: int) -> None:
        from vllm import LLM

        self.encoder = encoder
        self.llm = LLM(
            model=model_name_or_path,
            dtype=dtype,
            limit_mm_per_prompt={"image": images},
            mm_processor_kwargs=encoder.pixel_limits or None,
            enable_prefix_caching=True,  # batches hold an image's questions together
            logprobs_mode="raw_logprobs",  # before the grammar's mask
        )

    def decide(
        self,
        records: list[Record],
        style: str,
        *,
        decoding: str,
        allow_unanswerable: bool,
        box_format: str,
        max_new_tokens: int | None = None,
        pages: Sequence[Sequence[OcrPage]] | None = None,
    ) -> list[Decision]:
        """Answer every record; arguments as `vqa.inference.decide`."""
        prompts, parameters, sizes = [], [], []
        for index, record in enumerate(records):
            images = [self.encoder.load_image(path) for path in record["images"]]
            prompt: dict[str, Any] = {"prompt": self.encoder.render(record, style)}
            if images:
                prompt["multi_modal_data"] = {"image": images}
            grammar = None
            if decoding == "constrained":
                resized = tuple(image.size for image in images)
                places = pages and text_places(tuple(pages[index]), box_format, resized)
                box_rule = places and places.box_rule
                grammar = completion_grammar(record, style, allow_unanswerable, box_format, box_rule)
            prompts.append(prompt)
            parameters.append(self._sampling(grammar, max_new_tokens or MAX_NEW_TOKENS[style]))
            sizes.append([image.size for image in images])
        outputs = self.llm.generate(prompts, parameters, use_tqdm=False)
        return [
            self._decision(record, style, output.outputs[0], box_format, resized, decoding == "constrained")
            for record, output, resized in zip(records, outputs, sizes, strict=True)
        ]

    def _sampling(self, grammar: str | None, limit: int):
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        return SamplingParams(
            temperature=0.0,
            max_tokens=limit,
            logprobs=0,  # of the chosen token alone
            stop_token_ids=[self.encoder.end_token_id],
            structured_outputs=StructuredOutputsParams(grammar=grammar) if grammar else None,
        )

    def _decision(self, record, style, completion, box_format, resized_sizes, constrained) -> Decision:
        ids = list(completion.token_ids)
        log_probs = [step[token].logprob for step, token in zip(completion.logprobs, ids, strict=True)]
        text = self._text(ids)
        if constrained and completion.finish_reason == "length":
            text = _close(text, style)
        first = first_answer_token(ids, style, self._text)
        return read_decision(
            record,
            style,
            text,
            mean_probability(log_probs[first:]),
            box_format=box_format,
            resized_sizes=resized_sizes,
        )

    def _text(self, ids: list[int]) -> str:
        return self.encoder.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )


def _close(text: str, style: str) -> str:
    """A text that the limit cut off, in valid form; without an answer where it did not come to that."""
    if style == "structured":
        if '], "answer": "' in text:
            return complete_structured(text)
        return complete_structured_head(text) + '"}'
    return complete_think_head(text) if style == "think" and "</think>" not in text else text
