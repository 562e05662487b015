"""A language model's own chat template, made to take images; and a token to stand for them."""

from transformers import AddedToken, PreTrainedTokenizerBase

from vqa.errors import UserError

# In this order. The first few are made for it, the others are reserved or belong to files of code.
IMAGE_TOKENS = (
    "<image>",
    "<|image_pad|>",
    "<|vision_pad|>",
    "<image_soft_token>",
    "<unused0>",
    "<|reserved_special_token_0|>",
    "<|extra_0|>",
    "<file_sep>",
    "<reponame>",
)
# For language models that were not made for chats: "User: ...", a line each, the answer on a line of its own.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}:{{ '\\n' }}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{{ '\\n' }}{% endif %}"
)
# What stands behind it sees `messages` with strings for contents, as templates of language models expect.
_JOIN_PARTS = (
    "{% set joined = namespace(messages=[]) %}"
    "{% for message in messages %}{% set content = namespace(text='') %}"
    "{% if message['content'] is string %}{% set content.text = message['content'] %}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{% set content.text = content.text + IMAGE_TOKEN %}"
    "{% elif part['type'] == 'text' %}{% set content.text = content.text + part['text'] %}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% set joined.messages = joined.messages + [dict(message, content=content.text)] %}{% endfor %}"
    "{% set messages = joined.messages %}"
)


def multimodal_template(tokenizer: PreTrainedTokenizerBase, image_token: str) -> str:
    """The tokenizer's chat template (or `PLAIN_TEMPLATE`) for contents that are text or lists of parts.

    Parts are joined in their order, an image being its token and a line break; messages that are text already
    give the text they ever gave.
    """
    template = tokenizer.get_chat_template() if tokenizer.chat_template else PLAIN_TEMPLATE
    quoted = image_token.replace("\\", "\\\\").replace("'", "\\'")
    return _JOIN_PARTS.replace("IMAGE_TOKEN", f"'{quoted}\\n'") + template


def reserve_image_token(tokenizer: PreTrainedTokenizerBase, rows: int, wanted: str | None = None) -> str:
    """A token of the vocabulary to stand for images, from now on a special one.

    Args:
        rows: of the language model's embedding matrix, which is not made larger.
        wanted: the token; None: the first of `IMAGE_TOKENS` that is there.

    Raises:
        UserError: it is not in the vocabulary, or none of them is.
    """
    vocabulary = tokenizer.get_vocab()
    for token in IMAGE_TOKENS if wanted is None else (wanted,):
        if vocabulary.get(token, rows) < rows:
            tokenizer.add_tokens([AddedToken(token, special=True, normalized=False)])
            return token
    if wanted is not None:
        raise UserError(f"--image_token {wanted}: not among the language model's {rows:,} tokens")
    raise UserError(
        f"the language model's vocabulary has none of {', '.join(IMAGE_TOKENS)}; name a token of it "
        "that no text needs with --image_token"
    )
