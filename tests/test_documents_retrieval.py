"""FindText on small pages: what is a passage, which are found by meaning and by words, and in what order."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqa.documents import retrieval
from vqa.documents.pages import OcrPage, Word
from vqa.documents.retrieval import METHODS, find_text, windows
from vqa.embeddings import SentenceEncoder
from vqa.errors import UserError

BLANK = OcrPage((), (600, 400))


def page(*lines):
    """A page of lines 30 pixels apart, letters 10 wide; two spaces or more are a gap between columns."""
    words = []
    for number, line in enumerate(lines):
        for start, text in starts(line):
            box = (10.0 + 10 * start, 20.0 + 30 * number, 10.0 + 10 * (start + len(text)), 36.0 + 30 * number)
            words.append(Word(text, box, 1.0, number))
    return OcrPage(tuple(words), (600, 400))


def starts(line):
    place = 0
    for text in line.split(" "):
        if text:
            yield place, text
        place += len(text) + 1


INVOICE = page(
    "Tax Invoice     Maple Trading Co.",
    "Bill to:        Terms:    Net 30",
    "Wanda Novak     Due Date: Apr 25, 2025",
    "31 Hill Terrace",
    "96440 Salem",
    "Article    Qty    Price    Amount",
    "Oak shelf    11    26.02    286.22",
    "Desk lamp    35    13.50    472.50",
    "Total due: 758.72",
)


class BagOfWords:
    """An encoder that knows words only, and what it was asked to encode."""

    def __init__(self):
        self.asked = []

    def encode(self, texts):
        self.asked.append(list(texts))
        vectors = np.zeros((len(texts), 512), np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                vectors[row, sum(map(ord, word)) % 512] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


@pytest.fixture(scope="module")
def encoder():
    return SentenceEncoder(device="cpu")


def texts(passages):
    return [passage.text for passage in passages]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pages", [[], [BLANK], [BLANK, BLANK]])
def test_blank_pages_hold_no_passage(method, pages):
    assert find_text("What is the total?", pages, method=method, encoder=BagOfWords()) == []


def test_windows_are_lines_pairs_and_keys_with_values():
    found = texts(windows([INVOICE]))
    assert "Total due: 758.72" in found  # a line
    assert "31 Hill Terrace\n96440 Salem" in found  # two neighbouring lines
    assert "Due Date: Apr 25, 2025" in found  # a label and its value, beside something else
    assert "Bill to:\nWanda Novak" in found  # a label over its value
    assert "Price\nDesk lamp 13.50" in found  # head of the column, beginning of the row, cell
    assert "Bill to:\nWanda Novak\n31 Hill Terrace\n96440 Salem" in found  # a block


def test_a_label_with_its_value_beside_it_names_nothing_below():
    found = texts(windows([page("Terms:    Net 30", "Due Date:    Apr 25")]))
    assert "Terms:\nDue Date:" not in found and "Terms:\nApr 25" not in found


def test_figures_on_cards_are_named_by_the_label_over_them():
    cards = page(
        "Revenue     Sign-ups    Errors", "$37,523     812         19", "4.1%        0.7%        2.5%"
    )
    found = texts(windows([cards]))
    assert "Revenue\n4.1%" in found and "Errors\n4.1% 2.5%" in found


def test_columns_end_where_the_distance_between_lines_grows():
    """The head of a table's column is not sought in the block over the table."""
    upper = page("Anna    Berlin    Germany", "Bert    Bonn    Poland").words
    lower = page(*[""] * 4, "Article   Qty   Price", "Oak       11    26.02", "Elm       12    27.02").words
    found = texts(windows([OcrPage(upper + lower, (600, 400))]))
    assert "Price\nElm 27.02" in found and not any("Germany" in text and "27.02" in text for text in found)


def test_no_window_comes_twice_and_words_are_in_reading_order():
    found = windows([INVOICE, BLANK, INVOICE])
    assert len({(passage.page, passage.words) for passage in found}) == len(found)
    assert all(list(passage.words) == sorted(set(passage.words)) for passage in found)
    assert {passage.page for passage in found} == {0, 2}


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("When is the payment due?", "Apr 25, 2025"),
        ("Who is billed?", "Wanda Novak"),
        ("What does a Desk lamp cost?", "13.50"),
        ("Which company issued this invoice?", "Maple Trading Co."),
    ],
)
def test_meaning_finds_what_words_do_not(encoder, question, value):
    assert any(value in text for text in texts(find_text(question, [INVOICE], 3, encoder=encoder)))


def test_the_default_is_dense(encoder):
    question = "When is the payment due?"
    dense = find_text(question, [INVOICE], method="dense", encoder=encoder)
    assert find_text(question, [INVOICE], encoder=encoder) == dense
    assert dense != find_text(question, [INVOICE], method="bm25")


def test_bm25_weighs_words_by_how_rare_they_are():
    first = find_text("What is the amount of the Desk lamp?", [INVOICE], 1, "bm25")[0]
    assert "Desk lamp" in first.text and "Amount" in first.text


@pytest.mark.parametrize("question", ["?!", "zebra", "…"])
def test_bm25_without_a_shared_word_gives_the_first_places(question):
    found = find_text(question, [INVOICE], 3, "bm25")
    assert len(found) == 3 and {passage.score for passage in found} == {0.0}


def test_bm25_of_punctuation_alone():
    assert texts(find_text("total", [page("---", "* * *")], 5, "bm25"))


def test_hybrid_adds_reciprocal_ranks():
    found = find_text("Total due", [page("Invoice", "Total due", "Net 30")], 1, "hybrid", BagOfWords())
    assert "Total due" in found[0].text and found[0].score == pytest.approx(2 / 61)


def test_equal_scores_share_a_rank():
    ranks = retrieval._ranks(np.array([0.5, 0.9, 0.5, 0.1]))
    assert ranks.tolist() == [2, 1, 2, 4]


@pytest.mark.parametrize("method", ["dense", "bm25", "hybrid"])
def test_best_first_and_the_same_every_time(method):
    question = "What is the total amount due?"
    found = find_text(question, [INVOICE, INVOICE], 6, method, BagOfWords())
    assert [passage.score for passage in found] == sorted((p.score for p in found), reverse=True)
    assert found == find_text(question, [INVOICE, INVOICE], 6, method, BagOfWords())
    assert found[:3] == find_text(question, [INVOICE, INVOICE], 3, method, BagOfWords())
    assert found[0].page == 0  # equal ones in the order of the pages


@pytest.mark.parametrize("method", ["dense", "bm25", "hybrid"])
def test_passages_are_different_places(method):
    """No passage says only what better ones have said."""
    known = set()
    for passage in find_text("total due of Oak shelf and Desk lamp", [INVOICE], 8, method, BagOfWords()):
        assert not set(passage.words) <= known
        known |= set(passage.words)


def test_a_key_alone_gives_its_place_to_the_key_with_its_value():
    form = page("Registration", "Department", "  Radiology", "Language", "  Polish")
    found = find_text("Department", [form], 2, encoder=BagOfWords())
    assert texts(found)[0] == "Department\nRadiology" and found[0].score == pytest.approx(1.0)
    assert found[0].score > found[1].score and found[1].words != (1,)


def test_cells_of_a_row_are_different_places_though_they_share_its_name():
    question = "Oak shelf Qty Price"
    found = texts(find_text(question, [INVOICE], 3, "dense", BagOfWords()))
    assert "Qty\nOak shelf 11" in found and "Price\nOak shelf 26.02" in found


def test_what_a_question_says_of_the_document_itself_is_not_looked_for():
    for question in (
        "What is the due date on this invoice?",
        "What is the due date given on the receipt?",
        "Which due date does the form show?",
    ):
        encoder = BagOfWords()
        find_text(question, [INVOICE], encoder=encoder)
        asked = encoder.asked[0][0]
        assert "due date" in asked and not any(kind in asked for kind in ("invoice", "receipt", "form"))


@pytest.mark.parametrize(
    "question", ["What is the invoice number?", "Which table is free?", "Form of address?"]
)
def test_other_mentions_of_such_words_stay(question):
    encoder = BagOfWords()
    find_text(question, [INVOICE], encoder=encoder)
    assert encoder.asked[0][0] == question


def test_the_first_line_is_encoded_as_a_heading_and_returned_as_read():
    encoder = BagOfWords()
    found = find_text("Title of the page", [page("Maple Trading Co.", "Terms: Net 30")], 1, encoder=encoder)
    assert f"{retrieval.HEADING}Maple Trading Co." in encoder.asked[0]
    assert texts(found) == ["Maple Trading Co."]


def test_without_the_encoder_words_decide_and_the_user_is_told(monkeypatch):
    def missing():
        raise UserError("sentence encoder all-MiniLM-L6-v2: not installed; run `pip install it`")

    monkeypatch.setattr(retrieval, "shared_encoder", missing)
    question = "What is the total due?"
    with pytest.warns(UserWarning, match="pip install it"):
        found = find_text(question, [INVOICE])
    assert found == find_text(question, [INVOICE], method="bm25")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_text(question, [INVOICE], method="bm25")
        find_text(question, [INVOICE], encoder=BagOfWords())


def test_random_depends_on_seed_and_question_alone():
    chosen = [texts(find_text("total", [INVOICE], 5, "random", seed=seed)) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2] and len(chosen[0]) == 5
    assert chosen[0] != texts(find_text("date", [INVOICE], 5, "random", seed=0))


def test_an_unknown_method_is_one_line():
    with pytest.raises(
        UserError, match="^retrieval method 'tfidf': choose from dense, bm25, hybrid, random$"
    ):
        find_text("total", [INVOICE], method="tfidf")


def test_k_may_exceed_what_there_is():
    assert texts(find_text("total", [page("Total")], 50, "bm25")) == ["Total"]
    assert find_text("total", [INVOICE], 0, "bm25") == []


word_texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=6
)


@st.composite
def any_page(draw):
    """Words anywhere, several to a line, in reading order."""
    words = []
    for number in range(draw(st.integers(0, 5))):
        for _ in range(draw(st.integers(1, 5))):
            x, y = draw(st.integers(0, 500)), draw(st.integers(0, 30)) + 20 * number
            box = (x, y, x + draw(st.integers(1, 90)), y + draw(st.integers(1, 40)))
            words.append(Word(draw(word_texts), tuple(map(float, box)), 1.0, number))
    return OcrPage(tuple(words), (600, 400))


@settings(max_examples=60, deadline=None)
@given(st.lists(any_page(), max_size=2), st.text(max_size=20), st.sampled_from([*METHODS]))
def test_any_page_and_question(pages, question, method):
    found = find_text(question, pages, 4, method, BagOfWords())
    assert len(found) <= 4 and bool(found) == any(page.words for page in pages)
    for passage in found:
        read = [pages[passage.page].words[index].text for index in passage.words]
        assert passage.text.split() == " ".join(read).split()
