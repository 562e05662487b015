"""Fields of documents and their trees: Donut's values, what is a field, the four document sets in one run."""

import json
import sys
from pathlib import Path

import pytest
import zss
from hypothesis import given
from hypothesis import strategies as st

import evaluate
from tests.dataset_fixtures import converted, picture, write
from tests.helpers import ROOT
from vqa.datasets.cord import CORD
from vqa.datasets.docvqa import DOCVQA
from vqa.datasets.funsd import FUNSD
from vqa.datasets.sroie import SROIE
from vqa.decisions import Decision
from vqa.metrics import fields
from vqa.metrics.fields import MAX_DEPTH, Node, common_fields, documents_of, tree_accuracy, tree_of
from vqa.metrics.summary import summarize
from vqa.prediction_runs import prediction_line
from vqa.predictions import read_predictions
from vqa.report.headline import headline

# The example in Donut's docstrings. The tree costs 18 to insert: menu, two items, four keys, 11 letters.
CAKE = [("menu[0].nm", "cake"), ("menu[0].cnt", "2"), ("menu[1].nm", "juice"), ("menu[1].cnt", "1")]
GOLD = [
    *(("menu[0].nm", "ES TEH"), ("menu[0].cnt", "2"), ("menu[0].price", "10.000")),
    *(("menu[0].sub[0].nm", "less sugar"), ("menu[0].sub[1].nm", "lemon"), ("menu[0].sub[1].price", "500")),
    *(("menu[1].nm", "NASI"), ("menu[1].price", "25.000")),
    *(("sub_total.tax_price[0]", "900"), ("sub_total.tax_price[1]", "1.000")),
    *(("total.total_price", "37.400"), ("total.cashprice", "50.000")),
]
READ = dict(GOLD) | {
    "menu[0].sub[0].nm": None,
    "menu[1].nm": "NASI GORENG",
    "menu[1].price": "25.00",
    "sub_total.tax_price[1]": "100",
    "total.cashprice": None,
}


def but(pairs, **changed):
    """`pairs` with other texts, by number; None leaves one out."""
    texts = [changed.get(f"n{number}", text) for number, (_, text) in enumerate(pairs)]
    return [(path, text) for (path, _), text in zip(pairs, texts, strict=True) if text is not None]


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        (CAKE, 1),
        ([], 0),
        (but(CAKE, n2="juce"), 1 - 1 / 18),
        (but(CAKE, n3=None), 1 - 2 / 18),  # the key and its letter
        (CAKE[:2], 1 - 9 / 18),  # the item, two keys, six letters
        (but(CAKE, n0="juice", n2="cake"), 1 - 2 * 4 / 18),  # an exchange is no good here
        ([*CAKE, ("total.total_price", "9")], 1 - 4 / 18),  # a key, an item, a key, a letter too many
        (but(CAKE, n0="x" * 40), 0),  # never below
        ([("menu.nm", "cake"), ("menu.cnt", "2")], 1 - 9 / 18),  # an object that stands for a list of one
    ],
)
def test_trees_by_hand(predicted, expected):
    assert tree_accuracy(predicted, CAKE) == pytest.approx(expected)


def test_values_of_donut():
    """`cal_acc` and `cal_f1` of clovaai/donut (MIT) on the two parses."""
    read = [(path, text) for path, text in READ.items() if text]
    assert tree_accuracy(read, GOLD) == pytest.approx(0.6463414634146342)
    assert 2 * common_fields(read, GOLD) / (len(read) + len(GOLD)) == pytest.approx(0.6363636363636364)


def test_a_tree_as_donut_builds_it():
    def shown(node):
        return (node.label, [shown(child) for child in node.children])

    assert shown(
        tree_of([("total.price", "9"), ("menu[1].nm", "b"), ("menu[0].nm", "a"), ("menu[1].n", "2")])
    ) == (
        "<root>",
        [
            (
                "menu",
                [
                    ("<subtree>", [("nm", [("a", [])])]),
                    ("<subtree>", [("n", [("2", [])]), ("nm", [("b", [])])]),
                ],
            ),
            ("total", [("<subtree>", [("price", [("9", [])])])]),
        ],
    )


def test_a_field_is_right_wherever_it_stands_in_its_list_and_once():
    assert common_fields(CAKE[::-1], CAKE) == 4
    assert common_fields(but(CAKE, n0="juice", n2="cake"), CAKE) == 4
    assert common_fields([("menu[0].nm", "cake")] * 3, CAKE) == 1
    assert common_fields([("menu[0].cnt", "cake"), ("menu[0].nm", "Cake"), ("nm", "cake")], CAKE) == 0


paths = st.text("ab.[]01", max_size=8) | st.from_regex(
    r"[ab](\[[0-2]\])?(\.[ab](\[[0-2]\])?){0,2}", fullmatch=True
)
documents = st.lists(st.tuples(paths, st.text("xyz", max_size=3)), max_size=6)


@given(documents.filter(bool), documents)
def test_trees_are_bounded_full_for_equals_and_do_not_mind_the_order(gold, said):
    assert tree_accuracy(gold, gold) == 1 and tree_accuracy(gold[::-1], gold[::-1]) == 1
    assert 0 <= tree_accuracy(said, gold) <= 1
    assert tree_accuracy([], gold) == 0
    whole = dict(gold)
    assert tree_accuracy(list(whole.items())[::-1], list(whole.items())) == 1


@given(documents)
def test_the_distance_from_nothing_is_what_it_costs_to_insert(gold):
    tree = tree_of(gold)
    arguments = (lambda node: node.children, fields._cost, fields._cost, fields._update_cost)
    assert zss.distance(Node("<root>"), tree, *arguments) == fields._cost_below(tree)


def test_a_path_without_end_is_no_error():
    depth = ".".join("a" * 5000)
    assert tree_accuracy([(depth, "x")], [(depth, "x")]) == 1
    node, steps = tree_of([(depth, "x")]), 0
    while node.children:
        node, steps = node.children[0], steps + 1
    assert steps == 2 * MAX_DEPTH  # a key and an item each, a text at the end
    assert tree_accuracy([(f"a[{'9' * 5000}]", "x")], [("a", "x")]) < 1


def line(document, name, pred, *answers, **changed):
    return {
        "id": f"{document}/{name}", "pred": pred, "gt": next(iter(answers), None), "qtype": "extractive",
        "answers": list(answers), "answerable": bool(answers), "source": "sroie", "confidence": None,
        "abstained": not pred, "boxes": [], "gt_boxes": [], "answer_candidates": None, "caption": None,
        "reasoning": [], "valid_format": None, "raw": "", "images": [f"{document}.png"], "question": "?",
        "field": name,
    } | changed  # fmt: skip


def measured(*lines):
    return summarize(lines, [False] * len(lines), resamples=50)


def test_micro_precision_recall_and_f1_over_all_documents():
    metrics = measured(
        line(1, "company", "BOOK TA", "BOOK TA"),
        line(1, "date", "25/12/2018", "25/12/2018"),
        line(1, "address", "JALAN SAGU", "JALAN SAGU 18"),
        line(1, "total", "", "9.00"),  # withheld: no predicted field
        line(2, "total", "5.00", "9.00"),
    )
    assert metrics["fields"] == {"precision": 2 / 4, "recall": 2 / 5, "f1": 4 / 9, "documents": 2}
    assert metrics["nted"] is None  # these are no trees
    low, high = metrics["intervals"]["fields/f1"]
    assert (low, high) == (0, pytest.approx(4 / 7))  # of whole documents: 0 of 2 and 4 of 7
    assert metrics["intervals"]["fields/precision"] == [0, pytest.approx(2 / 3)]


def test_a_field_that_a_document_has_not_costs_precision_where_it_is_answered():
    rows = line(1, "total", "9.00", "9.00"), line(1, "date", "today"), line(1, "company", "")
    assert measured(*rows)["fields"] == {"precision": 0.5, "recall": 1, "f1": 2 / 3, "documents": 1}
    nothing = measured(line(1, "total", "", "9.00"))["fields"]
    assert nothing == {"precision": None, "recall": 0, "f1": 0, "documents": 1}


@pytest.mark.parametrize(
    ("pred", "hits"),
    [("9.00", 1), (" 9.00\n", 1), ("RM 9.00", 1), ("RM  9.00", 1), ("9.0", 0), ("rm 9.00", 0), ("RM9.00", 0)],
)
def test_texts_are_compared_letter_by_letter_but_for_white_space(pred, hits):
    assert measured(line(1, "total", pred, "9.00", "RM 9.00"))["fields"]["f1"] == hits


def test_fields_are_extractive_records_with_a_name_and_images():
    named = line(1, "total", "9.00", "9.00")
    others = [{"field": None}, {"field": ""}, {"images": []}, {"qtype": "open_ended"}]
    assert [documents_of([named | other]) for other in [{}, *others]] == [[[0]], [], [], [], []]
    del named["field"]
    metrics = measured(named)
    assert set(metrics["fields"].values()) == {None} and metrics["nted"] is None
    # One image in two sets is two documents.
    assert len(documents_of([line(1, "a", "x", "x"), line(1, "a", "x", "x", source="cord")])) == 2


def test_trees_are_averaged_over_the_receipts_of_cord():
    receipts = [
        *(line(1, path, text, text, source="cord") for path, text in CAKE),
        *(line(2, path, text if "[0]" in path else "", text, source="CORD-v2") for path, text in CAKE),
        line(3, "menu[0].nm", "cake", source="cord"),  # no tree to come near to
        line(4, "No. 1", "x", "x", source="funsd"),
    ]
    metrics = measured(*receipts)
    assert metrics["nted"] == pytest.approx((1 + 0.5) / 2) and metrics["intervals"]["nted"] == [0.5, 1]
    assert metrics["fields"]["documents"] == 4
    shown = {rate.path: rate.shown for rate in headline(metrics)}
    assert (shown["nted"], shown["fields/recall"]) == ("75.0%", "77.8%")
    assert not {"nted", "fields/f1"} & {rate.path for rate in headline(measured(line(1, None, "x", "x")))}


def test_prediction_lines_keep_the_field(tmp_path):
    record = {
        "id": "1", "answers": ["x"], "question_type": "extractive", "answerable": True, "source": "cord",
        "boxes": [], "answer_candidates": None, "images": ["a.png"], "question": "?",
        "meta": {"field": "menu[0].nm", "value": "x"},
    }  # fmt: skip
    written = prediction_line(record, Decision("x", 0.5, "x"))
    assert written["meta"] == {"field": "menu[0].nm"}
    strange = [{"meta": meta} for meta in ({"field": 3}, {"field": "\ud800a"}, [], {})]
    lines = [json.dumps({**written, **other, "id": str(n)}) for n, other in enumerate([{}, *strange])]
    read = read_predictions(write(tmp_path / "p.jsonl", "\n".join(lines)))
    assert [row["field"] for row in read] == ["menu[0].nm", None, "\ufffda", None, None]


def write_publications(root: Path) -> None:
    """A page of each set, as published."""
    row = {"questionId": 1, "question": "which date?", "image": "documents/a_1.png", "answers": ["1/8/93"]}
    write(root / "docvqa" / "val_v1.0.json", {"data": [row]})
    picture(root / "docvqa" / "documents" / "a_1.png")
    form = [
        {
            "id": 0,
            "text": "Name:",
            "box": [5, 5, 40, 15],
            "label": "question",
            "words": [],
            "linking": [[0, 1]],
        },
        {"id": 1, "text": "Ann", "box": [50, 5, 80, 15], "label": "answer", "words": [], "linking": [[0, 1]]},
    ]
    write(root / "funsd" / "testing_data" / "annotations" / "f.json", {"form": form})
    picture(root / "funsd" / "testing_data" / "images" / "f.png")
    parse = {"menu": [{"nm": "cake", "cnt": "2"}, {"nm": "juice", "cnt": "1"}], "total": {"total_price": "9"}}
    write(root / "cord" / "test" / "json" / "r.json", {"valid_line": [], "gt_parse": parse})
    picture(root / "cord" / "test" / "image" / "r.png")
    entities = {"company": "BOOK TA", "date": "25/12/2018", "address": "JALAN SAGU 18", "total": "9.00"}
    write(root / "sroie" / "test" / "entities" / "s.txt", entities)
    write(root / "sroie" / "test" / "box" / "s.txt", "5,5,90,5,90,15,5,15,BOOK TA\n")
    picture(root / "sroie" / "test" / "img" / "s.jpg")


@pytest.fixture
def prepared(tmp_path):
    """The four sets as records, as the recipe's comment makes them."""
    write_publications(tmp_path / "raw")
    for name, converter in (("docvqa", DOCVQA), ("funsd", FUNSD), ("cord", CORD), ("sroie", SROIE)):
        converted(converter, tmp_path / "raw" / name, tmp_path / "data" / name)
    return tmp_path / "data"


def test_the_document_recipe_judges_the_four_sets(prepared, tmp_path, monkeypatch, capsys):
    def predict(script, model, records, output_file, config):
        read = [json.loads(row) for row in records.read_text().splitlines()]
        pairs = [
            (row, "" if row["answers"][0] in ("juice", "25/12/2018") else row["answers"][0]) for row in read
        ]
        lines = [prediction_line(row, Decision(text, 0.5, text, abstained=not text)) for row, text in pairs]
        write(output_file, "".join(json.dumps(line) + "\n" for line in lines))

    monkeypatch.setattr(evaluate, "predict_records", predict)
    arguments = ["--run", "model", "--data_root", prepared, "--output_dir", tmp_path / "out"]
    recipe = ROOT / "configs" / "document" / "evaluate.yaml"
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--config", str(recipe), *map(str, arguments)])
    evaluate.main()
    judged = json.loads((tmp_path / "out" / "benchmarks.json").read_text())
    assert {name: metrics["fields"]["f1"] for name, metrics in judged.items()} == {
        "docvqa": None,
        "funsd": 1,
        "cord": pytest.approx(8 / 9),
        "sroie": pytest.approx(6 / 7),
    }
    # Of 18 + 4 for the tree, `nm` and `juice` are missing.
    assert [metrics["nted"] for metrics in judged.values()] == [None, None, pytest.approx(1 - 6 / 22), None]
    assert judged["docvqa"]["anls"] == 1 and judged["sroie"]["anls"] == 0.75
    table = capsys.readouterr().out
    assert "fields/f1" in table and "72.7%" in table
    assert "cer" not in table.split()  # nothing was transcribed: no column of dashes
