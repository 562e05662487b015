"""Build the untrained `models/tiny-vqa-base`: tokenizer, template, image processor, random projector, LLM.

    make offline-weights                                    # the tower
    python models/build_base.py models/tiny-vqa-base        # then pretrain: configs/base/pretrain.yaml

The architecture is LLaVA (Liu et al. 2023, arXiv:2304.08485): a frozen DINOv2-small at 84x84 pixels
(6x6 image tokens) whose middle layer, where colours are plain (docs/log.md), goes into a two-layer MLP
projector, and a Qwen3 of four narrow layers. The tokenizer is a byte-level BPE learnt from this repository's
own synthetic questions and answers, Vietnamese syllables composed from onsets, rimes and tones, and JSON; it
never sees the text of a published data set.
"""

import json
import random
import re
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BitImageProcessor,
    Dinov2Config,
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from vqa.answers import StructuredAnswer, write_structured, write_think
from vqa.cli import run
from vqa.errors import UserError
from vqa.files import atomic_write, write_json
from vqa.models import load_model
from vqa.offline_weights import TOWER_PREFIX, TOWER_SHARD
from vqa.prompts import SYSTEM_LINES, question_text
from vqa.synthesis.shapes import generate_scene

IMAGE_SIZE = 84
FEATURE_LAYER = 6
VOCABULARY = 4096
TRAINED_SHARD = "model-projector-llm.safetensors"
SPECIAL_TOKENS = ["<pad>", "<image>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
# <think> is text to the tokenizer's user, one token to the model.
WHOLE_WORDS = ["<think>", "</think>"]
PROMPT_LABELS = ["Question type: ", "\nQuestion: ", "\nValid answers: "]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

ONSETS = "b c ch d đ g gh gi h k kh l m n ng ngh nh p ph qu r s t th tr v x".split() + [""]
RIMES = (
    "a ac ach ai am an ang anh ao ap at au ay ăc ăm ăn ăng ăp ăt âc âm ân âng âp ât âu ây e ec em en eng "
    "eo ep et ê êch êm ên ênh êp êt êu i ia ich iêc iêm iên iêng iêp iêt iêu im in inh ip it iu o oa oac "
    "oai oan oang oanh oat oay oc oe oi om on ong op ot ô ôc ôi ôm ôn ông ôp ôt ơ ơi ơm ơn ơp ơt u ua uân "
    "uât uây uc uê ui um un ung uôc uôi uôm uôn uông uôt up ut uy uyên uyêt ư ưa ưc ưi ưng ươc ươi ươm "
    "ươn ương ươp ươt ưt ưu y yêm yên yêu"
).split()
TONES = ["", "\u0300", "\u0301", "\u0309", "\u0303", "\u0323"]
VOWELS = "aăâeêioôơuưy"
# Words of the domains ahead, so that documents and radiology do not fall apart into letters.
DOMAIN_WORDS = """
the of and to in is that for it as was with be by on not this are or his from at which but have an had they
you were their one all we can her has there been if more when will would who so no total subtotal tax date
invoice receipt number amount price quantity item name address company customer phone email page form table
field value signed due paid balance account order code unit cash change discount service payment report
patient image scan lung liver kidney heart brain left right upper lower normal abnormal nodule mass lesion
polyp tumor fracture effusion organ modality x-ray ct mri axial coronal sagittal chest abdomen head
instrument forceps scissors grasper scalpel tissue question answer document title author year month day time
city country street road first last before after above below between none other document settings button
menu dialog window enable disable save cancel open close user password search results dashboard
""".split()


def vietnamese_syllable(generator: random.Random) -> str:
    """A random well-formed syllable: onset + rime, the tone on the last nuclear vowel of the rime, NFC."""
    onset, rime, tone = generator.choice(ONSETS), generator.choice(RIMES), generator.choice(TONES)
    vowels = [index for index, letter in enumerate(rime) if letter in VOWELS]
    marked = [index for index in vowels if rime[index] in "ăâêôơư"]
    place = (marked or vowels)[-1] if marked or rime[-1] not in VOWELS else vowels[max(0, len(vowels) - 2)]
    return unicodedata.normalize("NFC", onset + rime[: place + 1] + tone + rime[place + 1 :])


def corpus(scenes: int = 6000, seed: int = 0) -> Iterator[str]:
    """The text the tokenizer learns from."""
    generator = random.Random(seed)
    yield from list(SYSTEM_LINES.values()) * 20
    for index in range(scenes):
        for record in generate_scene(seed, index)[1]:
            yield question_text(record, "short")
            answer = record["answers"][0] if record["answers"] else "unanswerable"
            box = [generator.randrange(1000) for _ in range(4)]
            yield answer
            yield write_think(record["reasoning"], answer)
            yield write_structured(StructuredAnswer(record["caption"], record["reasoning"], [box], answer))
    for _ in range(scenes):
        yield " ".join(vietnamese_syllable(generator) for _ in range(8))
        yield " ".join(
            generator.choice([str.lower, str.title, str.upper])(w) for w in generator.sample(DOMAIN_WORDS, 8)
        )
        amount, code = generator.uniform(0, 1000), generator.randrange(100000)
        length = generator.randrange(300)
        yield f"{amount:.2f} {code} {length} px mm cm"
        yield json.dumps({generator.choice(DOMAIN_WORDS): generator.choice(DOMAIN_WORDS)})


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, in which a word is the same tokens wherever it stands.

    The space before a word is a token of its own: "blue" of a question and "blue" as an answer are one
    embedding, and need not be learnt to mean the same. Every digit is a token of its own, so that numbers are
    spelled alike everywhere. What prompts repeat ("\\nValid answers: ") merges into one token.
    """
    tokenizer = Tokenizer(models.BPE())
    repeated = "|".join(re.escape(text) for text in [*SYSTEM_LINES.values(), *PROMPT_LABELS])
    pieces = repeated + r"|\d|[\p{L}\p{M}]+|[^\s\p{L}\p{M}\d]+ ?|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(WHOLE_WORDS),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in WHOLE_WORDS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<|end|>",
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )


def build_config(tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    """22.06M frozen vision parameters, 0.11M of projector, 2.56M of language model."""
    return LlavaConfig(
        vision_config=Dinov2Config(
            hidden_size=384,
            num_hidden_layers=12,
            num_attention_heads=6,
            image_size=518,
            patch_size=14,
            use_mask_token=False,
        ),
        # Qwen3, not Llama: attention with normalised queries and keys, and rotary frequencies so low that
        # most dimensions tell words apart and not places, learnt to compare the two (docs/log.md).
        text_config=Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=6,
            num_key_value_heads=6,
            head_dim=32,
            rope_parameters={"rope_type": "default", "rope_theta": 1e7},
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(IMAGE_SIZE // 14) ** 2,
        vision_feature_layer=FEATURE_LAYER,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Images are squashed to a square: boxes in thousandths of width and height need no other bookkeeping."""
    return LlavaProcessor(
        image_processor=BitImageProcessor(
            size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
            do_center_crop=False,
            image_mean=[0.485, 0.456, 0.406],
            image_std=[0.229, 0.224, 0.225],
        ),
        tokenizer=tokenizer,
        patch_size=14,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
    )


@torch.no_grad()
def start_projector(model: LlavaForConditionalGeneration, processor: LlavaProcessor) -> None:
    """Let the projector see every feature with mean 0 and variance 1, by its first layer's weights alone.

    The values of a middle layer spread by 0.1 only; unscaled, the projector's output hardly depends on them.
    """
    pictures = [generate_scene(0, index)[0] for index in range(256)]
    pixels = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
    hidden = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[FEATURE_LAYER]
    features = hidden[:, 1:].flatten(0, 1)  # without the class token
    first = model.model.multi_modal_projector.linear_1
    first.weight /= features.std(0)
    first.bias -= first.weight @ features.mean(0)


def write_model(model: LlavaForConditionalGeneration, output_dir: Path) -> None:
    """Write config and weights: projector and LLM as float16 in one shard, which git holds.

    The index also names the tower's shard, rebuilt from its package by `vqa/offline_weights.py`, so that
    `from_pretrained` finds all or says which file is missing.
    """
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        state = load_file(Path(scratch) / "model.safetensors")
    trained = {name: value.half() for name, value in state.items() if not name.startswith(TOWER_PREFIX)}
    with atomic_write(output_dir / TRAINED_SHARD, "wb") as file:
        file.write(save(trained, {"format": "pt"}))
    shards = {name: TRAINED_SHARD if name in trained else TOWER_SHARD for name in sorted(state)}
    size = sum(value.nbytes for value in trained.values()) + sum(
        value.nbytes for name, value in state.items() if name not in trained
    )
    write_json(
        output_dir / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": shards}
    )
    model.config.save_pretrained(output_dir)
    model.generation_config.save_pretrained(output_dir)


def main() -> None:
    """Write the untrained base model, or (with CHECKPOINT) the weights of a pretrained one."""
    if len(sys.argv) not in (2, 3):
        raise UserError("usage: python models/build_base.py OUTPUT_DIR [CHECKPOINT]")
    output_dir = Path(sys.argv[1])
    if len(sys.argv) == 3:
        checkpoint = Path(sys.argv[2])
        if not (checkpoint / "config.json").is_file():
            raise UserError(f"{checkpoint}: no checkpoint (config.json) there")
        model = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    else:
        torch.manual_seed(0)
        tokenizer = build_tokenizer()
        processor = build_processor(tokenizer)
        processor.save_pretrained(output_dir)
        model = LlavaForConditionalGeneration(build_config(tokenizer))
        model.generation_config = GenerationConfig(
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
        )
    write_model(model, output_dir)
    if len(sys.argv) == 2:
        model = load_model(str(output_dir))  # with the tower's weights
        start_projector(model, processor)
        write_model(model, output_dir)
    parts = {"vision": 0, "rest": 0}
    for name, parameter in model.named_parameters():
        parts["vision" if "vision_tower" in name else "rest"] += parameter.numel()
    print(f"{output_dir}: {parts['vision'] / 1e6:.2f}M vision, {parts['rest'] / 1e6:.2f}M projector and LLM")


if __name__ == "__main__":
    run(main)
