"""The JSON of chat completions: what can be sent, what came back."""

import json
from collections.abc import Mapping
from typing import Any

from vqa.documents.reading import Usage


def storable(value: Any) -> Any:
    """A JSON value with halves of surrogate pairs, which cannot be sent or written, replaced."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", errors="replace"))


def most_tokens(fields: Mapping[str, Any], request: Mapping[str, Any]) -> int:
    """The most tokens that a call can cost: of the prompt a token a byte, which no tokenizer exceeds."""
    prompt = len(json.dumps(fields, ensure_ascii=False).encode())
    return prompt + max(request.get("max_tokens", 0), request.get("max_completion_tokens", 0))


def tokens_of(usage: Any) -> Usage:
    """The tokens that an endpoint reports, 0 where it does not."""
    if not isinstance(usage, dict):
        return Usage()
    counts = (usage.get(f"{kind}_tokens") for kind in ("prompt", "completion", "total"))
    prompt, completion, total = (count if isinstance(count, int) else 0 for count in counts)
    # Gemini counts a model's thoughts in the total alone.
    return Usage(prompt_tokens=prompt, completion_tokens=max(completion, total - prompt))


def is_completion(content: bytes) -> bool:
    """Whether a body is a chat completion as far as it is looked at."""
    try:
        message = json.loads(content)["choices"][0]["message"]
        calls = message.get("tool_calls") or []
        functions = [call["function"] for call in calls]
        texts = [function[key] for function in functions for key in ("name", "arguments")]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False
    texts += [message[key] for key in ("content", "refusal") if message.get(key) is not None]
    return all(isinstance(text, str) for text in [*texts, *(call.get("id") for call in calls)])
