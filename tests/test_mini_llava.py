"""The composed model: any tower, either connector and any language model, by config alone."""

import json
from pathlib import Path

import jinja2
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitImageProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    CohereConfig,
    CohereForCausalLM,
    Dinov2Config,
    Dinov2Model,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    ViTConfig,
    ViTModel,
)

import models.build_mini_llava
import predict
import train_sft
from tests.helpers import ROOT, run_main, write_records
from vqa.encoding import IGNORED, PromptEncoder
from vqa.errors import UserError
from vqa.feature_cache import build_feature_cache, use_cached_features
from vqa.image_tokens import image_token_counter
from vqa.mini_llava.build import MiniLlavaArguments, build_mini_llava
from vqa.mini_llava.chat import IMAGE_TOKENS, PLAIN_TEMPLATE, multimodal_template, reserve_image_token
from vqa.mini_llava.perceiver import LlavaPerceiverForConditionalGeneration
from vqa.models import FAMILIES, count_parameters, load_model, load_processor
from vqa.records import read_records
from vqa.tiny_models import _LLM, _tokenizer

# As the released checkpoints have them, tools left out.
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN2_5 = (
    "{%- if messages[0]['role'] == 'system' %}\n"
    "    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n"
    "{%- else %}\n    {{- '<|im_start|>system\\nYou are Qwen.<|im_end|>\\n' }}\n{%- endif %}\n"
    "{%- for message in messages %}\n"
    "    {%- if (message.role == 'user') or (message.role == 'system' and not loop.first) or "
    "(message.role == 'assistant' and not message.tool_calls) %}\n"
    "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
    "    {%- endif %}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n"
)
GEMMA3 = (
    "{{ bos_token }}\n{%- if messages[0]['role'] == 'system' -%}\n"
    "    {%- if messages[0]['content'] is string -%}\n"
    "        {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}\n"
    "    {%- else -%}\n"
    "        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}\n"
    "    {%- endif -%}\n"
    "    {%- set loop_messages = messages[1:] -%}\n{%- else -%}\n"
    "    {%- set first_user_prefix = '' -%}\n    {%- set loop_messages = messages -%}\n{%- endif -%}\n"
    "{%- for message in loop_messages -%}\n"
    "    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}\n"
    "        {{ raise_exception('roles must alternate') }}\n    {%- endif -%}\n"
    "    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}\n"
    "    {{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else '') }}\n"
    "    {%- if message['content'] is string -%}\n        {{ message['content'] | trim }}\n"
    "    {%- else -%}\n        {{ raise_exception('parts') }}\n    {%- endif -%}\n"
    "    {{ '<end_of_turn>\\n' }}\n{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}\n    {{ '<start_of_turn>model\\n' }}\n{%- endif -%}\n"
)
GEMMA2 = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + SMOLLM2
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ "
    "message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
TEMPLATES = {
    "smollm2": SMOLLM2,
    "qwen2.5": QWEN2_5,
    "gemma3": GEMMA3,
    "llama3": LLAMA3,
    "plain": PLAIN_TEMPLATE,
}
# Of each architecture: special tokens, the end token, its chat template.
BACKBONES = {
    "llama": (
        "<pad> <|begin_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|> "
        "<|reserved_special_token_0|>",
        "<|eot_id|>",
        LLAMA3,
    ),
    "qwen2": (
        "<pad> <|im_start|> <|im_end|> <|vision_pad|> <|image_pad|> <|endoftext|>",
        "<|im_end|>",
        QWEN2_5,
    ),
    "gemma3_text": ("<pad> <bos> <eos> <start_of_turn> <end_of_turn> <unused0>", "<eos>", GEMMA3),
}
CONFIGS = sorted((ROOT / "configs/mini_llava").glob("model_*.yaml"))
# Every backbone with another tower; both connectors.
COMPOSED = {"llama": ("clip", "mlp"), "qwen2": ("siglip", "perceiver"), "gemma3_text": ("dinov2", "mlp")}
_VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}


def tiny_tokenizer(backbone: str):
    special, eos, template = BACKBONES[backbone]
    tokenizer = _tokenizer(special.split(), eos)
    tokenizer.bos_token, tokenizer.chat_template = special.split()[1], template
    return tokenizer


def tiny_llm(backbone: str, words: int):
    torch.manual_seed(1)
    common = {"vocab_size": words, "num_key_value_heads": 2, **_LLM}
    if backbone == "llama":
        return LlamaForCausalLM(LlamaConfig(**common, tie_word_embeddings=False))
    if backbone == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**common, tie_word_embeddings=True))
    return Gemma3ForCausalLM(Gemma3TextConfig(**common, head_dim=8, sliding_window=512))


@pytest.fixture(scope="session")
def pieces(tmp_path_factory):
    """Folders of tiny language models and towers, as a user has them."""
    folder = tmp_path_factory.mktemp("pieces")
    for backbone in BACKBONES:
        tokenizer = tiny_tokenizer(backbone)
        llm = tiny_llm(backbone, len(tokenizer))
        llm.generation_config.eos_token_id = tokenizer.eos_token_id
        llm.save_pretrained(folder / backbone)
        tokenizer.save_pretrained(folder / backbone)
    CLIPVisionModel(CLIPVisionConfig(image_size=28, patch_size=7, **_VISION)).save_pretrained(folder / "clip")
    CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=28).save_pretrained(folder / "clip")
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    siglip = SiglipConfig(text_config=text, vision_config={"image_size": 28, "patch_size": 7, **_VISION})
    SiglipModel(siglip).save_pretrained(folder / "siglip")
    SiglipImageProcessor(size={"height": 28, "width": 28}).save_pretrained(folder / "siglip")
    Dinov2Model(Dinov2Config(image_size=56, patch_size=7, mlp_ratio=2, **_VISION)).save_pretrained(
        folder / "dinov2"
    )
    BitImageProcessor(size={"shortest_edge": 56}).save_pretrained(folder / "dinov2")
    return folder


def compose(pieces: Path, backbone: str, **options) -> MiniLlavaArguments:
    tower, connector = COMPOSED[backbone]
    parts = {
        "vision_name": str(pieces / tower),
        "llm_name": str(pieces / backbone),
        "connector": connector,
        "num_latents": 5,
        "image_size": 28,
    }
    return MiniLlavaArguments(**parts | options)


@pytest.fixture(scope="session")
def folders(pieces, tmp_path_factory):
    """The composed models, each built by the command from a config and one or two options."""
    folder = tmp_path_factory.mktemp("composed")
    for backbone, (tower, connector) in COMPOSED.items():
        more = ["--image_size", 28] if tower == "dinov2" else []
        run_main(
            models.build_mini_llava,
            *("--llm_name", pieces / backbone, "--vision_name", pieces / tower, "--connector", connector),
            *("--num_latents", 5, "--output_dir", folder / backbone, *more),
        )
    return folder


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """Questions about one image, two images and none."""
    return write_records(tmp_path_factory.mktemp("records"), 24)


def batch_of(encoder, records, style="short"):
    answers = [encoder.answer_ids("yes") for _ in records]
    return encoder.batch(encoder.encode(records, style), answers)


# Chat templates


@pytest.mark.parametrize("name", TEMPLATES)
@given(st.lists(st.text(max_size=20), min_size=3, max_size=5), st.booleans())
@settings(max_examples=30, deadline=None)
def test_text_alone_is_written_as_the_language_model_writes_it(name, texts, open_end):
    tokenizer = TOKENIZER
    roles = ["system", "user", "assistant", "user", "assistant"]
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    parts = [
        {**message, "content": [{"type": "text", "text": message["content"][:3]}]} for message in messages
    ]
    for message, part in zip(messages, parts, strict=True):
        part["content"].append({"type": "text", "text": message["content"][3:]})
    tokenizer.chat_template = TEMPLATES[name]
    expected = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=open_end)
    tokenizer.chat_template = multimodal_template(tokenizer, "<|image_pad|>")
    for given_messages in (messages, parts):
        written = tokenizer.apply_chat_template(
            given_messages, tokenize=False, add_generation_prompt=open_end
        )
        assert written == expected


TOKENIZER = tiny_tokenizer("qwen2")


@pytest.mark.parametrize("name", TEMPLATES)
def test_images_stand_where_their_parts_are(name):
    tokenizer = tiny_tokenizer("qwen2")
    tokenizer.chat_template = None if name == "plain" else TEMPLATES[name]
    tokenizer.chat_template = multimodal_template(tokenizer, "<|it's|>")
    image = {"type": "image"}
    content = [image, image, {"type": "text", "text": "one"}, image, {"type": "text", "text": "two"}]
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    assert "<|it's|>\n<|it's|>\none<|it's|>\ntwo" in text and text.count("<|it's|>") == 3


def test_a_template_without_a_system_role_still_says_so():
    tokenizer = tiny_tokenizer("qwen2")
    tokenizer.chat_template = GEMMA2
    tokenizer.chat_template = multimodal_template(tokenizer, "<|image_pad|>")
    part = [{"type": "text", "text": "x"}]
    with pytest.raises(jinja2.TemplateError, match="no system role"):
        tokenizer.apply_chat_template([{"role": "system", "content": part}], tokenize=False)


# The token for images


@pytest.mark.parametrize(
    ("backbone", "token"),
    [("llama", "<|reserved_special_token_0|>"), ("qwen2", "<|image_pad|>"), ("gemma3_text", "<unused0>")],
)
def test_a_token_of_the_vocabulary_is_found_for_images(backbone, token):
    tokenizer = tiny_tokenizer(backbone)
    words = len(tokenizer)
    assert reserve_image_token(tokenizer, words) == token
    assert len(tokenizer) == words
    index = tokenizer.convert_tokens_to_ids(token)
    assert tokenizer(f"a{token}{token}\nb", add_special_tokens=False)["input_ids"].count(index) == 2


def test_a_word_that_is_no_special_token_becomes_one():
    tokenizer = tiny_tokenizer("llama")
    words = len(tokenizer)
    word = next(text for text, index in tokenizer.get_vocab().items() if text.isalpha() and index > 300)
    assert reserve_image_token(tokenizer, words, word) == word
    assert len(tokenizer) == words
    assert tokenizer(word * 3, add_special_tokens=False)["input_ids"] == [tokenizer.get_vocab()[word]] * 3


def test_a_token_beyond_the_embeddings_does_not_count():
    """Gemma-3's text models have a tokenizer of one token more than their embeddings."""
    tokenizer = tiny_tokenizer("gemma3_text")
    rows = len(tokenizer)
    tokenizer.add_tokens(["<image_soft_token>"])
    assert reserve_image_token(tokenizer, rows) == "<unused0>"
    with pytest.raises(UserError, match="--image_token <image_soft_token>: not among"):
        reserve_image_token(tokenizer, rows, "<image_soft_token>")


def test_no_token_for_images_is_an_error_that_names_the_option():
    with pytest.raises(UserError, match=f"none of {IMAGE_TOKENS[0]}.*--image_token"):
        reserve_image_token(_tokenizer(["<pad>", "</s>"], "</s>"), 1000)


# The model


@pytest.mark.parametrize("backbone", BACKBONES)
def test_text_alone_is_answered_as_the_language_model_answers(backbone, pieces, folders):
    llm = AutoModelForCausalLM.from_pretrained(pieces / backbone).eval()
    model = load_model(str(folders / backbone)).eval()
    ids = torch.randint(0, llm.config.vocab_size, (2, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits, llm(ids).logits)
    assert model.get_input_embeddings().weight.shape == llm.get_input_embeddings().weight.shape
    tied = model.lm_head.weight is model.get_input_embeddings().weight
    assert tied == (backbone != "llama")
    tokenizer = AutoTokenizer.from_pretrained(pieces / backbone)
    processor = load_processor(str(folders / backbone))
    text = "Answer: 12 máy, it's\n\n  fine"
    assert processor.tokenizer(text)["input_ids"] == tokenizer(text)["input_ids"]
    messages = [{"role": "user", "content": "what?"}]
    assert processor.apply_chat_template(messages, tokenize=False) == tokenizer.apply_chat_template(
        messages, tokenize=False
    )
    ends = model.generation_config.eos_token_id
    assert tokenizer.eos_token_id in ends and PromptEncoder(processor).end_token_id in ends


@pytest.mark.parametrize("backbone", BACKBONES)
def test_tower_is_the_one_named_and_gives_the_features_it_should(backbone, pieces, folders):
    tower, connector = COMPOSED[backbone]
    model = load_model(str(folders / backbone))
    saved = load_file(pieces / tower / "model.safetensors")
    ends = ("patch_embedding.weight", "patch_embeddings.projection.weight")
    (patch,) = (value for name, value in saved.items() if name.endswith(ends))
    assert any(torch.equal(patch, value) for value in model.model.vision_tower.parameters())
    assert model.config.vision_feature_layer == (-1 if tower == "dinov2" else -2)
    assert model.config.vision_feature_select_strategy == ("full" if tower == "siglip" else "default")
    assert isinstance(model, LlavaPerceiverForConditionalGeneration) == (connector == "perceiver")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_counts_of_image_tokens_agree_and_images_look_like_words(backbone, folders, records):
    encoder = PromptEncoder(load_processor(str(folders / backbone)))
    model = load_model(str(folders / backbone)).eval()
    expected = 5 if COMPOSED[backbone][1] == "perceiver" else 16
    seen = [record for record in read_records(records) if record["images"]]
    for record, prompt in zip(seen, encoder.encode(seen, "short"), strict=True):
        tokens = prompt.input_ids.count(model.config.image_token_id)
        assert tokens == expected * len(record["images"])
    assert image_token_counter(encoder)(640, 100) == expected == model.config.image_seq_length
    with torch.no_grad():
        images = model(**batch_of(encoder, seen)).image_hidden_states
        words = model.get_input_embeddings()(torch.arange(len(encoder.tokenizer)))
    ratio = (images.square().mean() / words.square().mean()).sqrt().item()
    assert 0.5 < ratio < 2
    assert images.std(0).mean() > 0.1 * words.std()


def test_image_tokens_are_ignored_in_the_loss_and_the_image_counts(folders, records):
    for backbone in BACKBONES:
        encoder = PromptEncoder(load_processor(str(folders / backbone)))
        model = load_model(str(folders / backbone)).eval()
        seen = [record for record in read_records(records) if record["images"]][:4]
        batch = batch_of(encoder, seen)
        assert (batch["labels"][batch["input_ids"] == model.config.image_token_id] == IGNORED).all()
        with torch.no_grad():
            loss, again = model(**batch).loss, model(**batch).loss
            logits = model(**batch).logits[:, :-1]
            kept = batch["labels"][:, 1:] != IGNORED
            by_hand = torch.nn.functional.cross_entropy(logits[kept], batch["labels"][:, 1:][kept])
            other = model(**batch | {"pixel_values": batch["pixel_values"].roll(1, 0)}).logits
        assert torch.equal(loss, again)
        torch.testing.assert_close(loss, by_hand)
        assert not torch.equal(other[:, :-1], logits)


def test_the_seed_alone_decides_the_connectors_first_weights(pieces):
    weights = []
    for seed in (0, 0, 1):
        model, _ = build_mini_llava(compose(pieces, "qwen2", seed=seed))
        weights.append(dict(model.model.multi_modal_projector.named_parameters()))
    first, same, other = weights
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["latents"], other["latents"])
    assert not torch.equal(first["linear_1.weight"], other["linear_1.weight"])


def test_several_layers_of_the_tower_side_by_side(pieces, records, tmp_path):
    for connector in ("mlp", "perceiver"):
        args = compose(pieces, "gemma3_text", vision_feature_layer=[1, -1], connector=connector)
        model, processor = build_mini_llava(args)
        assert model.model.multi_modal_projector.linear_1.in_features == 64
        encoder = PromptEncoder(processor)
        seen = [record for record in read_records(records) if record["images"]][:2]
        expected = model(**batch_of(encoder, seen)).loss
        use_cached_features(tmp_path / connector, model, encoder, seen[0]["images"] + seen[1]["images"])
        torch.testing.assert_close(model(**batch_of(encoder, seen)).loss, expected)


def test_cached_features_of_another_number_of_latents_are_stale(pieces, records, tmp_path):
    paths = next(record["images"] for record in read_records(records) if record["images"])
    model, processor = build_mini_llava(compose(pieces, "qwen2"))
    for _ in range(2):
        build_feature_cache(tmp_path, model, PromptEncoder(processor), paths, progress=False)
    model, processor = build_mini_llava(compose(pieces, "qwen2", num_latents=3))
    with pytest.raises(UserError, match="stale: the model writes other tokens"):
        build_feature_cache(tmp_path, model, PromptEncoder(processor), paths, progress=False)


# Through the scripts


def train(model: Path, records: Path, output: Path, *more) -> None:
    run_main(
        train_sft,
        *("--model_name_or_path", model, "--train_files", records, "--output_dir", output),
        *("--per_device_train_batch_size", 6, "--learning_rate", 1e-2, "--max_steps", 2),
        *("--save_strategy", "no", "--disable_tqdm", "true", *more),
    )


@pytest.mark.parametrize("backbone", BACKBONES)
def test_projector_alone_trains_and_the_result_answers(backbone, folders, records, tmp_path):
    train(folders / backbone, records, tmp_path / "sft", "--freeze", "vision", "llm")
    before = dict(load_model(str(folders / backbone)).named_parameters())
    model = load_model(str(tmp_path / "sft"))
    changed = {part: set() for part in ("vision", "connector", "llm")}
    for name, parameter in model.named_parameters():
        changed[FAMILIES[model.config.model_type].part_of(name)].add(not torch.equal(parameter, before[name]))
    assert changed == {"vision": {False}, "connector": {True}, "llm": {False}}
    run_main(
        predict,
        *("--model_name_or_path", tmp_path / "sft", "--records", records),
        *("--output_file", tmp_path / "predictions.jsonl", "--max_new_tokens", 8, "--batch_size", 8),
    )
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 24
    closed = [line for line in lines if line["answer_candidates"]]
    assert closed and all(line["pred"] in line["answer_candidates"] for line in closed)


@pytest.mark.parametrize("backbone", ["llama", "qwen2"])
def test_adapters_on_cached_features_are_those_without_a_cache(backbone, folders, records, tmp_path):
    lora = ("--freeze", "vision", "llm", "--lora_rank", 2, "--lora_parts", "llm", "connector")
    train(folders / backbone, records, tmp_path / "plain", *lora)
    train(
        *(folders / backbone, records, tmp_path / "cached", *lora),
        *("--cache_vision_features", tmp_path / "features"),
    )
    plain, cached = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("plain", "cached"))
    assert any("multi_modal_projector" in name for name in plain)
    assert all(value.any() for name, value in plain.items() if "lora_B" in name)
    for name, value in plain.items():
        torch.testing.assert_close(cached[name], value, rtol=1e-3, atol=1e-5)
    run_main(
        predict,
        *("--model_name_or_path", tmp_path / "plain", "--records", records, "--answer_style", "structured"),
        *("--output_file", tmp_path / "predictions.jsonl", "--max_new_tokens", 48, "--batch_size", 8),
    )
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 24 and all(line["raw"].startswith('{"caption"') for line in lines)


@pytest.mark.parametrize("backbone", ["llama", "qwen2"])
def test_tiles_show_an_image_larger(backbone, pieces, records, tmp_path):
    model, processor = build_mini_llava(compose(pieces, backbone, connector="mlp", tiling=True))
    model.save_pretrained(tmp_path / "start")
    processor.save_pretrained(tmp_path / "start")
    assert not (model.model.image_newline.is_meta or model.model.image_newline.isnan().any())
    encoder = PromptEncoder(load_processor(str(tmp_path / "start")))
    counter = image_token_counter(encoder)
    # The whole image, 4x4 patches; two tiles side by side, four rows of eight with an end each.
    assert counter(56, 28) == 16 + 4 * 9
    seen = [record for record in read_records(records) if record["images"]][:4]
    with torch.no_grad():
        logits = load_model(str(tmp_path / "start")).eval()(**batch_of(encoder, seen)).logits
        torch.testing.assert_close(model(**batch_of(encoder, seen)).logits, logits)
    train(tmp_path / "start", records, tmp_path / "sft", "--freeze", "vision", "llm")
    run_main(
        predict,
        *("--model_name_or_path", tmp_path / "sft", "--records", records),
        *("--output_file", tmp_path / "predictions.jsonl", "--max_new_tokens", 4, "--batch_size", 8),
    )
    assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == 24


# What cannot be built


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"connector": "glue"}, "--connector glue: choose from mlp, perceiver"),
        ({"dtype": "int8"}, "--dtype int8"),
        ({"num_latents": 0}, "--num_latents 0: 1 or more"),
        ({"tiling": True, "connector": "perceiver"}, "--tiling goes with --connector mlp"),
        ({"image_size": 30}, "--image_size 30: this tower takes images of 28"),
        ({"vision_feature_layer": [4]}, "--vision_feature_layer 4: the tower has 3"),
        ({"image_token": "<video>"}, "--image_token <video>: not among"),
        ({"llm_name": "./nowhere"}, "nowhere: no such model folder"),
        ({"llm_name": "./all.gguf"}, "--llm_name ./all.gguf: no such file"),
        ({"vision_name": "./nowhere"}, "nowhere: no such model folder"),
        ({"vision_name": "{pieces}/llama"}, "a tower of type 'llama'; supported: clip_vision_model"),
        ({"llm_name": "{pieces}/clip"}, "'clip_vision_model' is no language model"),
    ],
)
def test_what_cannot_be_is_named(pieces, options, message):
    options = {
        name: value.format(pieces=pieces) if isinstance(value, str) else value
        for name, value in options.items()
    }
    with pytest.raises(UserError, match=message):
        build_mini_llava(compose(pieces, "llama", **options))


def test_patches_must_fill_the_image(pieces):
    with pytest.raises(UserError, match="--image_size 30: a multiple of the tower's patches of 7"):
        build_mini_llava(compose(pieces, "gemma3_text", image_size=30))


def test_tiles_have_the_size_the_tower_was_made_for(pieces):
    with pytest.raises(UserError, match="--tiling: this tower's tiles take --image_size 56"):
        build_mini_llava(compose(pieces, "gemma3_text", tiling=True))


def test_a_tower_of_another_kind_is_refused(pieces, tmp_path):
    ViTModel(ViTConfig(image_size=28, patch_size=7, **_VISION)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="a tower of type 'vit'"):
        build_mini_llava(compose(pieces, "llama", vision_name=str(tmp_path)))


@pytest.mark.parametrize("kind", ["scaled", "tied elsewhere"])
def test_language_models_that_llava_would_change_are_refused(kind, pieces, tmp_path):
    tokenizer = tiny_tokenizer("qwen2")
    if kind == "scaled":
        config = CohereConfig(vocab_size=len(tokenizer), logit_scale=0.1, num_key_value_heads=2, **_LLM)
        llm, message = CohereForCausalLM(config), "CohereForCausalLM scales or caps its logits"
    else:
        llm = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2))
        message = "GPT2LMHeadModel is not built as LLaVA takes"
    llm.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=message):
        build_mini_llava(compose(pieces, "llama", llm_name=str(tmp_path)))


# The configs that ship


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_model_passes_a_dry_run(config, capsys):
    run_main(models.build_mini_llava, "--config", config, "--dry_run")
    assert "connector" in capsys.readouterr().out
    run_main(models.build_mini_llava, "--config", config, "--dry_run", "--connector", "perceiver")


def test_another_language_model_takes_one_option(capsys):
    config = ROOT / "configs/mini_llava/model_smollm2_135m.yaml"
    counts = {"Qwen/Qwen2.5-1.5B-Instruct": "1,543,714,304", "Qwen/Qwen2.5-7B-Instruct": "7,615,616,512"}
    for name, count in counts.items():
        run_main(models.build_mini_llava, "--config", config, "--dry_run", "--llm_name", name)
        assert count in capsys.readouterr().out


# With real weights


@pytest.fixture(scope="module")
def real():
    """DINOv2-small and SmolLM2-135M-Instruct, composed; skipped where a package is missing."""
    args = MiniLlavaArguments(vision_feature_layer=[6], image_size=84)
    try:
        model, processor = build_mini_llava(args)
    except UserError as error:
        pytest.skip(str(error))
    return model, processor


def test_real_model_answers_text_as_its_language_model(real):
    from vqa.documents.packaged_llm import packaged_llm

    model, processor = real
    llm = AutoModelForCausalLM.from_pretrained(packaged_llm(), dtype=torch.float32)
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "text", "text": "What is the capital of France?"}]}],
        tokenize=False,
        add_generation_prompt=True,
    )
    batch = processor.tokenizer(text, return_tensors="pt", add_special_tokens=False)
    settings = {"max_new_tokens": 12, "do_sample": False}
    expected, got = llm.generate(**batch, **settings), model.generate(**batch, **settings)
    assert torch.equal(expected, got)
    assert "Paris" in processor.tokenizer.decode(got[0, batch["input_ids"].shape[1] :])
    counts = count_parameters(model)
    assert counts["llm"]["total"] == 134_515_008 and counts["vision"]["total"] == 22_056_192


def test_real_model_learns_from_an_image(real, records):
    model, processor = real
    encoder = PromptEncoder(processor)
    seen = [record for record in read_records(records) if len(record["images"]) == 1][:2]
    batch = batch_of(encoder, seen)
    assert (batch["input_ids"] == processor.image_token_id).sum() == 2 * 36
    model(**batch).loss.backward()
    gradient = model.model.multi_modal_projector.linear_1.weight.grad
    assert gradient.isfinite().all() and gradient.any()
    model.zero_grad()


@pytest.mark.slow
def test_gguf_is_the_unpacked_model(real, pieces):
    from vqa.documents.packaged_llm import packaged_gguf

    model, processor = build_mini_llava(
        MiniLlavaArguments(str(pieces / "clip"), str(packaged_gguf()), vision_feature_layer=[-2])
    )
    expected = real[0].get_input_embeddings().weight
    assert torch.equal(model.get_input_embeddings().weight, expected)
    assert processor.image_token == real[1].image_token
