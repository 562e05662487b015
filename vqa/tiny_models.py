"""Tiny random models of every supported family, with real processors, for tests and benchmarks."""

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BitImageProcessor,
    CLIPVisionConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from vqa.prompts import SYSTEM_LINES
from vqa.tiny_gemma3 import SPECIAL_TOKENS, tiny_gemma3

TINY_FAMILIES = ("llava", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "idefics3", "smolvlm")

# The templates follow those of the released checkpoints.
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IDEFICS = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
LLAVA = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'].upper() }}: {% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n{% endif %}{% endfor %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }} {% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)
_LLM = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def build_tiny_model(family: str, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A model of `family` with some 50k random float32 parameters, and its processor."""
    torch.manual_seed(seed)
    model, processor = {
        "llava": _llava,
        "qwen2_vl": _qwen2_vl,
        "qwen2_5_vl": _qwen2_5_vl,
        "qwen3_vl": _qwen3_vl,
        "idefics3": _idefics3,
        "smolvlm": _smolvlm,
        "gemma3": lambda: tiny_gemma3(_tokenizer(SPECIAL_TOKENS, "<eos>")),
    }[family]()
    tokenizer = processor.tokenizer
    for config in (model.config.get_text_config(), model.generation_config):
        config.bos_token_id = tokenizer.bos_token_id
        config.eos_token_id = tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.do_sample = False
    return model.eval(), processor


def _tokenizer(special: list[str], eos: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400 + len(special),
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = [
        *SYSTEM_LINES.values(),
        "Question type: yes_no\nQuestion: is there a red circle?\nValid answers: yes, no",
    ]
    tokenizer.train_from_iterator(text * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token=eos, clean_up_tokenization_spaces=False
    )


def _llava() -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = _tokenizer(["<pad>", "</s>", "<image>"], "</s>")
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=28,
        patch_size=7,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=2, **_LLM),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    processor = LlavaProcessor(
        image_processor=BitImageProcessor(size={"height": 28, "width": 28}, do_center_crop=False),
        tokenizer=tokenizer,
        patch_size=7,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
        chat_template=LLAVA,
    )
    return LlavaForConditionalGeneration(config), processor


def _qwen_tokenizer() -> PreTrainedTokenizerFast:
    special = [
        "<|im_start|>",
        "<|im_end|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|image_pad|>",
        "<|video_pad|>",
    ]
    return _tokenizer(["<pad>", *special], "<|im_end|>")


def _qwen_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    return {
        "image_token_id": tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        "vision_start_token_id": tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    }


def _qwen_processor(
    kind: type, video: type, tokenizer: PreTrainedTokenizerFast, patch_size: int
) -> ProcessorMixin:
    image_processor = Qwen2VLImageProcessor(
        patch_size=patch_size,
        size={"shortest_edge": 4 * (2 * patch_size) ** 2, "longest_edge": 16 * (2 * patch_size) ** 2},
    )
    video_processor = video(patch_size=patch_size)
    return kind(
        image_processor=image_processor,
        tokenizer=tokenizer,
        video_processor=video_processor,
        chat_template=CHATML,
    )


def _mrope(section: list[int]) -> dict:
    return {"rope_type": "default", "mrope_section": section, "rope_theta": 10000.0}


def _qwen2_vl() -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = _qwen_tokenizer()
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "num_key_value_heads": 2,
            "rope_parameters": _mrope([1, 1, 2]),
            **_LLM,
        },
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "num_heads": 2,
            "mlp_ratio": 2,
            "hidden_size": 32,
            "patch_size": 14,
        },
        **_qwen_ids(tokenizer),
    )
    processor = _qwen_processor(Qwen2VLProcessor, Qwen2VLVideoProcessor, tokenizer, 14)
    return Qwen2VLForConditionalGeneration(config), processor


def _qwen2_5_vl() -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = _qwen_tokenizer()
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "num_key_value_heads": 2,
            "rope_parameters": _mrope([1, 1, 2]),
            **_LLM,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 64,
            "out_hidden_size": 32,
            "patch_size": 14,
            "fullatt_block_indexes": [1],
            "window_size": 56,
        },
        **_qwen_ids(tokenizer),
    )
    processor = _qwen_processor(Qwen2_5_VLProcessor, Qwen2VLVideoProcessor, tokenizer, 14)
    return Qwen2_5_VLForConditionalGeneration(config), processor


def _qwen3_vl() -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = _qwen_tokenizer()
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "num_key_value_heads": 2,
            "head_dim": 8,
            "rope_parameters": _mrope([2, 1, 1]),
            **_LLM,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 64,
            "out_hidden_size": 32,
            "patch_size": 16,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        **_qwen_ids(tokenizer),
    )
    processor = _qwen_processor(Qwen3VLProcessor, Qwen3VLVideoProcessor, tokenizer, 16)
    return Qwen3VLForConditionalGeneration(config), processor


def _idefics_parts(config_type: type) -> tuple[PreTrainedTokenizerFast, object]:
    rows = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    special = [
        "<|im_start|>",
        "<end_of_utterance>",
        "<fake_token_around_image>",
        "<image>",
        "<global-img>",
        *rows,
    ]
    tokenizer = _tokenizer(["<pad>", *special], "<end_of_utterance>")
    config = config_type(
        text_config=LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=2, **_LLM),
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
        },
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokenizer, config


def _idefics3() -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer, config = _idefics_parts(Idefics3Config)
    image_processor = Idefics3ImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    processor = Idefics3Processor(image_processor, tokenizer, image_seq_len=4, chat_template=IDEFICS)
    return Idefics3ForConditionalGeneration(config), processor


def _smolvlm() -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer, config = _idefics_parts(SmolVLMConfig)
    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    image_processor = SmolVLMImageProcessor(**sizes)
    video_processor = SmolVLMVideoProcessor(
        **sizes, video_sampling={"fps": 1, "max_frames": 2, "video_size": {"longest_edge": 32}}
    )
    processor = SmolVLMProcessor(
        image_processor, tokenizer, video_processor, image_seq_len=4, chat_template=IDEFICS
    )
    return SmolVLMForConditionalGeneration(config), processor
