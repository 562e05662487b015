"""A conversation about images taken apart: which question has which answer, and which images it has seen.

Pure functions on the objects of a JSON file or a table; `conversations` says where they come from.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any

from vqa.raw_forms import RowProblem, describe

USER, ASSISTANT, SYSTEM, TOOL = "user", "assistant", "system", "tool"
ROLES = {
    **dict.fromkeys(("human", "user"), USER),
    **dict.fromkeys(("gpt", "assistant", "model", "bot", "chatgpt"), ASSISTANT),
    "system": SYSTEM,
    **dict.fromkeys(("observation", "function_call", "function", "tool", "tool_call", "tool_response"), TOOL),
}
# The tags of LLaVA and LLaMA-Factory, InternLM-XComposer and Qwen-VL.
TAG = re.compile(
    r"<image>|<ImageHere>|<image_placeholder>|<\|image\|>|<\|vision_start\|><\|image_pad\|><\|vision_end\|>"
)
_OTHER_MEDIA = ("video", "videos", "audio", "audios")
_MESSAGES = ("conversations", "messages", "conversation")
Names = tuple[str, ...]


@dataclass(frozen=True)
class Form:
    """Under which names a row holds its conversation; of several names the first that is there counts.

    Attributes:
        alpaca: the row is one instruction with its response; None: when it has no list of messages.
        roles: spelling of a role -> user, assistant, system or tool.
    """

    alpaca: bool | None = None
    messages: Names = _MESSAGES
    prompt: Names = ("instruction", "prompt")
    query: Names = ("input", "query")
    response: Names = ("output", "response")
    history: Names = ("history",)
    system: Names = ("system", "system_prompt")
    images: Names = ("images", "image", "image_path", "image_paths")
    chosen: Names = ("chosen",)
    kto_tag: Names = ("kto_tag",)
    role: Names = ("from", "role")
    content: Names = ("value", "content")
    roles: dict[str, str] = field(default_factory=lambda: dict(ROLES))

    @classmethod
    def described(cls, alpaca: bool, columns: dict[str, str], tags: dict[str, str]) -> "Form":
        """The form that an entry of LLaMA-Factory's dataset_info.json describes; the usual where silent."""
        known = "messages prompt query response history system images chosen kto_tag".split()
        given = {name: (str(columns[name]),) for name in known if columns.get(name)}
        keys = {name: tags.get(f"{name}_tag") for name in ("role", "content")}
        given |= {name: (str(key),) for name, key in keys.items() if key}
        roles = dict(ROLES)
        named = {USER: "user_tag", ASSISTANT: "assistant_tag", SYSTEM: "system_tag"}
        for role, key in (*named.items(), (TOOL, "observation_tag"), (TOOL, "function_tag")):
            if tags.get(key):
                roles[str(tags[key])] = role
        return replace(cls(alpaca=alpaca), **given, roles=roles)


@dataclass(frozen=True)
class Turn:
    """One question and its answer, or the reason why there is none.

    Attributes:
        index: from 0, counting what was asked.
        images: file names of the images that were shown up to it.
    """

    index: int
    question: str = ""
    answer: str = ""
    images: tuple[Any, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class _Message:
    role: str
    text: str


def read_turns(row: dict[str, Any], form: Form) -> tuple[list[Turn], dict[str, Any]]:
    """The turns of a row, at least one; and the fields that are no part of the conversation, with `system`.

    Raises:
        RowProblem: no conversation, video or audio, a disliked answer, tags that do not fit the images.
    """
    for name in _OTHER_MEDIA:
        if row.get(name):
            raise RowProblem(f"{name}: only images are read")
    rest = dict(row)
    images = [_file_name(image) for image in _as_list(_take(rest, form.images))]
    system = _take(rest, form.system)
    if _take(rest, form.kto_tag) is False:
        raise RowProblem("kto_tag: false, the answer is a bad example")
    alpaca = form.alpaca if form.alpaca is not None else not any(row.get(name) for name in form.messages)
    messages, shown = _alpaca_messages(rest, form) if alpaca else _messages(rest, form)
    if images and shown:
        raise RowProblem("images: given both beside the messages and within them")
    for image in images or shown:
        if not isinstance(image, str):
            raise RowProblem(f"images: expected file names, not {describe(image)}")
        if re.match(r"(?i)(https?|data):", image):
            raise RowProblem(f"images: {image[:60]!r} is no file; download it and name the file")
    systems = [message.text for message in messages if message.role == SYSTEM]
    if systems or system:
        rest["system"] = "\n".join(systems) if systems else system
    turns = _pair([message for message in messages if message.role != SYSTEM], images or shown)
    if not turns:
        raise RowProblem("holds no question")
    return turns, rest


def _take(row: dict[str, Any], names: Names) -> Any:
    """Remove and return the first of these fields that says something."""
    for name in names:
        if row.get(name) not in (None, "", []):
            return row.pop(name)
    for name in names:
        row.pop(name, None)
    return None


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _file_name(image: Any) -> Any:
    """Exports of `datasets` nest it: {"bytes": ..., "path": name}."""
    return image.get("path") if isinstance(image, dict) else image


def _alpaca_messages(rest: dict[str, Any], form: Form) -> tuple[list[_Message], list[Any]]:
    messages = []
    for pair in _as_list(_take(rest, form.history)):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise RowProblem("history: expected pairs [question, answer]")
        messages += [_Message(USER, pair[0]), _Message(ASSISTANT, pair[1])]
    asked = [text for text in (_take(rest, form.prompt), _take(rest, form.query)) if text is not None]
    response = _take(rest, form.chosen)
    if response is None:
        response = _take(rest, form.response)
    if not asked or not all(isinstance(text, str) for text in asked):
        raise RowProblem(f"{form.messages[0]}: missing, and so is {form.prompt[0]}")
    if not isinstance(response, str):
        raise RowProblem(f"{form.response[0]}: expected a string, not {describe(response)}")
    return [*messages, _Message(USER, "\n".join(asked)), _Message(ASSISTANT, response)], []


def _messages(rest: dict[str, Any], form: Form) -> tuple[list[_Message], list[Any]]:
    """The messages, and the images named within them; a content in parts has a tag where an image stands."""
    name = next((name for name in form.messages if rest.get(name)), form.messages[0])
    listed = rest.pop(name, None)
    if not isinstance(listed, list) or not listed:
        raise RowProblem(f"{name}: expected a list of messages, not {describe(listed)}")
    chosen = _take(rest, form.chosen)
    if isinstance(chosen, dict):
        listed = [*listed, chosen]
    messages, images = [], []
    for index, message in enumerate(listed):
        if not isinstance(message, dict):
            raise RowProblem(f"{name}[{index}]: expected an object, not {describe(message)}")
        role = next((message[key] for key in form.role if key in message), None)
        if not isinstance(role, str) or role not in form.roles:
            raise RowProblem(f"{name}[{index}]: unknown role {role!r}")
        content = next((message[key] for key in form.content if key in message), None)
        text = _content(content, images, f"{name}[{index}]")
        calls = form.roles[role] == ASSISTANT and message.get("tool_calls")
        messages.append(_Message(TOOL if calls else form.roles[role], text))
    return messages, images


def _content(content: Any, images: list[Any], where: str) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if not isinstance(content, list):
        raise RowProblem(f"{where}: expected a text or a list of parts, not {describe(content)}")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in ("image", "image_url"):
            image = next((part[key] for key in ("image", "image_url", "path", "url") if part.get(key)), None)
            image = image.get("url") if isinstance(image, dict) else image
            images += [] if image is None else [image]
            texts.append("<image>")
        else:
            raise RowProblem(f"{where}: a part of type {kind!r} is not read")
    return "\n".join(texts)


def _pair(messages: list[_Message], images: list[str]) -> list[Turn]:
    """Each user's message with the answer that follows it."""
    tags = sum(len(TAG.findall(message.text)) for message in messages)
    # Some sets repeat the tag of their one image in every turn, and many leave tags out.
    if tags and tags != len(images) and len(images) != 1:
        raise RowProblem(f"images: {len(images)} of them for {tags} <image> tags")
    turns: list[Turn] = []
    seen = 0
    asked: _Message | None = None
    first = 1

    def close(answer: str, reason: str) -> None:
        shown = tuple(images) if not tags or len(images) == 1 else tuple(images[:seen])
        question = _without_tags(asked.text, first) if asked else ""
        if not reason and TAG.search(answer):
            reason = "the answer holds an image"
        turns.append(Turn(len(turns), question, answer.strip(), () if reason else shown, reason))

    for message in messages:
        if message.role == USER:
            if asked:
                close("", "a question without an answer")
            asked, first = message, seen + 1
        elif message.role == ASSISTANT:
            close(message.text, "" if asked else "an answer without a question")
            asked = None
        else:
            close("", "a call of a tool")
            asked = None
        seen += len(TAG.findall(message.text))
    if asked:
        close("", "a question without an answer")
    return turns


def _without_tags(original: str, first: int) -> str:
    """Tags at the edges removed; where one stands within the text, all become `image N`, from `first`."""
    text = original
    edges = [match.span() for match in TAG.finditer(text)]
    while edges and not text[: edges[0][0]].strip():
        text = " " * edges[0][1] + text[edges[0][1] :]
        edges.pop(0)
    while edges and not text[edges[-1][1] :].strip():
        text = text[: edges.pop()[0]]
    if not edges:
        return text.strip()
    numbers = iter(range(first, first + len(TAG.findall(original))))
    return TAG.sub(lambda _: f"image {next(numbers)}", original).strip()
