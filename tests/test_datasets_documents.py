"""DocVQA, TextVQA and ChartQA as published -> records: whole records, layouts, dirt, evidence boxes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dataset_fixtures import converted, picture, whole, write
from vqa.datasets.chartqa import CHARTQA, accepted_labels
from vqa.datasets.docvqa import DOCVQA, UNREADABLE_OCR
from vqa.datasets.raw_json import read_json, read_lines
from vqa.datasets.raw_tables import file_rows
from vqa.datasets.text_evidence import PageText, Word, clipped, corners_box
from vqa.datasets.textvqa import REMARK, TEXTVQA, vote
from vqa.errors import UserError


def docvqa_row(number, **fields):
    return {
        "questionId": number,
        "question": "what is the date mentioned in this letter?",
        "question_types": ["handwritten", "form"],
        "image": "documents/xnbl0037_1.png",
        "docId": 279,
        "ucsf_document_id": "xnbl0037",
        "ucsf_document_page_no": "1",
        "answers": ["1/8/93"],
        "data_split": "val",
        **fields,
    }


def ocr_line(text, top, left=10):
    """A line of the Read API, each letter ten pixels wide."""

    def quad(x0, x1):
        return [x0, top, x1, top, x1, top + 10, x0, top + 10]

    words, x = [], left
    for word in text.split():
        words.append({"boundingBox": quad(x, x + 10 * len(word)), "text": word, "confidence": "Low"})
        x += 10 * len(word) + 10
    return {"boundingBox": quad(left, x - 10), "text": text, "words": words}


def ocr_file(*lines):
    page = {"page": 1, "clockwiseOrientation": 0.4, "width": 200, "height": 100, "unit": "pixel"}
    return {"status": "Succeeded", "recognitionResults": [{**page, "lines": list(lines)}]}


def docvqa_file(*rows):
    return {"dataset_name": "SP-DocVQA", "dataset_version": "1.0", "dataset_split": "val", "data": list(rows)}


def test_docvqa_of_the_challenge(tmp_path):
    root = tmp_path / "raw"
    rows = [
        docvqa_row(49153, answers=["1/8/93 ", "1/8/93", "Jan. 8 1993"]),
        docvqa_row(49154, answers=[93]),
        docvqa_row(49155, answers=[]),
        docvqa_row(49156, question=None),
        docvqa_row(49157, image="documents/absent_1.png"),
        docvqa_row(49158, image="../outside.png"),
        docvqa_row(49159, answers=["n/a"]),
        "half a row",
    ]
    write(root / "spdocvqa_qas" / "val_v1.0_withQT.json", docvqa_file(*rows))
    write(root / "spdocvqa_qas" / "val_v1.0.json", docvqa_file(*rows))  # the same, without types
    withheld = docvqa_row(57344)
    del withheld["answers"]
    write(root / "spdocvqa_qas" / "test_v1.0.json", docvqa_file(withheld))
    picture(root / "spdocvqa_images" / "xnbl0037_1.png")
    picture(tmp_path / "outside.png")
    lines = ocr_line("Date:", 10), ocr_line("1/8/93, Durham", 20), ocr_line("page 93", 195 // 2)
    write(root / "spdocvqa_ocr" / "xnbl0037_1.json", ocr_file(*lines))
    records, rejects, manifest = converted(DOCVQA, root, tmp_path / "out")
    assert records["docvqa/validation/49153"] == whole(
        root / "spdocvqa_images/xnbl0037_1.png",
        {
            "id": "docvqa/validation/49153",
            "images": ["spdocvqa_images/xnbl0037_1.png"],
            "question": "what is the date mentioned in this letter?",
            "answers": ["1/8/93", "Jan. 8 1993"],
            "question_type": "extractive",
            "boxes": [[10, 20, 80, 30]],
            "box_images": [0],
            "source": "docvqa",
            "split": "validation",
            "meta": {
                "questionId": 49153,
                "question_types": ["handwritten", "form"],
                "docId": 279,
                "ucsf_document_id": "xnbl0037",
                "ucsf_document_page_no": "1",
                "data_split": "val",
            },
        },
    )
    # A number among the answers is its text; a box that overruns the page is cut to it.
    assert records["docvqa/validation/49154"]["answers"] == ["93"]
    assert records["docvqa/validation/49154"]["boxes"] == [[60, 97, 80, 100]]
    # What reads like an abstention can be what the page says.
    assert records["docvqa/validation/49159"]["answers"] == ["n/a"]
    file = "spdocvqa_qas/val_v1.0_withQT.json"
    assert rejects == {
        f"{file}: row 2": "answers: none is given",
        f"{file}: row 3": "question: missing",
        f"{file}: row 4": "images[0]: 'documents/absent_1.png' does not exist",
        f"{file}: row 5": "images[0]: '../outside.png' leaves the image root with '..'",
        f"{file}: row 7": "a row is a JSON object, not a string",
        "spdocvqa_qas/test_v1.0.json: row 0": "answers: none is given (those of the test split are withheld)",
    }
    assert manifest["rows"] == {"in": 9, "records": 3, "filtered": 0, "rejects": 6}


@pytest.mark.parametrize(
    ("questions", "image", "ocr"),
    [
        ("train_v1.0.json", "documents/a_1.png", "ocr_results/a_1.json"),
        ("train/train_v1.0.json", "train/documents/a_1.png", "train/ocr_results/a_1.json"),
        (
            "DocVQA/train/train_v1.0.json",
            "DocVQA/train/documents/a_1.png",
            "DocVQA/train/ocr_results/a_1.json",
        ),
        ("train.jsonl", "images/a_1.png", "ocr/a_1.json"),
    ],
)
def test_docvqa_layouts(tmp_path, questions, image, ocr):
    root, row = tmp_path / "raw", docvqa_row(1, image="documents/a_1.png", answers=["two words"])
    if questions.endswith("l"):
        write(root / questions, {**row, "image": {"bytes": None, "path": "a_1.png"}})
    else:
        write(root / questions, docvqa_file(row))
    picture(root / image)
    write(root / ocr, ocr_file(ocr_line("the Two", 10), ocr_line("words.", 30)))
    records, _, _ = converted(DOCVQA, root, tmp_path / "out")
    record = records["docvqa/train/1"]
    assert (record["images"], record["boxes"]) == ([image], [[50, 10, 80, 20], [10, 30, 70, 40]])


@pytest.mark.parametrize("content", ["{", '{"status": "Failed"}', '{"recognitionResults": [{"lines": [3]}]}'])
def test_docvqa_keeps_a_question_whose_ocr_is_broken(tmp_path, content):
    root = tmp_path / "raw"
    write(root / "train_v1.0.json", docvqa_file(docvqa_row(1)))
    picture(root / "documents" / "xnbl0037_1.png")
    (root / "ocr_results").mkdir()
    (root / "ocr_results" / "xnbl0037_1.json").write_text(content)
    records, _, manifest = converted(DOCVQA, root, tmp_path / "out")
    assert records["docvqa/train/1"]["boxes"] == []
    assert manifest["repairs"] == {UNREADABLE_OCR: 1}


def textvqa_row(number, answers, image="0054c91397f2fe05"):
    return {
        "question": "what is the brand of phone?",
        "image_id": image,
        "image_classes": ["Belt", "Mobile phone"],
        "flickr_original_url": "https://example.invalid/a_o.jpg",
        "image_width": 1024,
        "image_height": 730,
        "answers": answers,
        "question_tokens": ["what", "is", "the", "brand", "of", "phone"],
        "question_id": number,
        "set_name": "val",
    }


def test_textvqa(tmp_path):
    root = tmp_path / "raw"
    nokia = ["nokia"] * 4 + ["Nokia", "unanswerable", "nokia phone", REMARK, "toshiba", "nokia"]
    rows = [
        textvqa_row(34602, nokia),
        textvqa_row(34603, ["unanswerable"] * 5 + ["not answerable", "pepsi", "cola", "pepsi", REMARK]),
        textvqa_row(34604, ["unanswerable"] * 5 + ["cola"] * 2 + ["pepsi"] * 3),
        textvqa_row(34605, [REMARK] * 10),
        textvqa_row(34606, nokia, image="absent"),
        textvqa_row(34607, ["toshiba"] * 10),
    ]
    write(root / "TextVQA_0.5.1_val.json", {"dataset_version": "0.5.1", "data": rows})
    write(root / "TextVQA_0.5_val.json", {"data": []})  # an older one beside it
    test_row = textvqa_row(40000, None)
    del test_row["answers"]
    write(root / "TextVQA_0.5.1_test.json", {"data": [test_row]})

    def word(text, x, **turned):
        box = {"width": 0.25, "height": 0.1, "rotation": 0, "roll": 0, "pitch": 0, "yaw": 0, **turned}
        return {"word": text, "bounding_box": {**box, "top_left_x": x, "top_left_y": 0.5}}

    words = [word("NOKIA", 0.125), word("phone", 0.9), word("toshiba", 0.5, rotation=31.5)]
    ocr = {"image_id": "0054c91397f2fe05", "ocr_tokens": ["NOKIA", "phone", "toshiba"], "ocr_info": words}
    write(root / "TextVQA_Rosetta_OCR_v0.2_val.json", {"data": [ocr]})
    picture(root / "train_images" / "0054c91397f2fe05.jpg")
    records, rejects, _ = converted(TEXTVQA, root, tmp_path / "out")
    meta = {key: value for key, value in rows[0].items() if key != "question"}
    assert records["textvqa/validation/34602"] == whole(
        root / "train_images/0054c91397f2fe05.jpg",
        {
            "id": "textvqa/validation/34602",
            "images": ["train_images/0054c91397f2fe05.jpg"],
            "question": "what is the brand of phone?",
            "answers": ["nokia", "nokia phone", "toshiba"],
            "question_type": "extractive",
            "boxes": [
                [25.0, 50.0, 75.0, 60.0],
                [180.0, 50.0, 200, 60.0],
            ],  # the image's own size, not the file's
            "box_images": [0, 0],
            "source": "textvqa",
            "split": "validation",
            "meta": meta,
        },
    )
    unanswerable = records["textvqa/validation/34603"]
    assert (unanswerable["answerable"], unanswerable["answers"]) == (False, [])
    assert unanswerable["question_type"] == "extractive"
    assert unanswerable["meta"]["answers"] == rows[1]["answers"]
    # Five of ten are not most; the annotators' majority comes first.
    assert records["textvqa/validation/34604"]["answers"] == ["pepsi", "cola"]
    assert records["textvqa/validation/34607"]["boxes"] == []  # the word is turned
    assert rejects == {
        "TextVQA_0.5.1_val.json: row 3": "answers: none is given",
        "TextVQA_0.5.1_val.json: row 4": "images[0]: 'absent' does not exist",
        "TextVQA_0.5.1_test.json: row 0": "answers: none is given (those of the test split are withheld)",
    }


@given(st.lists(st.sampled_from(["stop", "Stop", "go", "unanswerable", "", REMARK, 7]), max_size=10))
def test_vote(answers):
    said = [str(a) for a in answers if a != ""]
    real = [a.casefold() for a in said if a not in ("unanswerable", REMARK)]
    verdict = vote(answers)
    if 2 * said.count("unanswerable") > len(said):
        assert verdict == []
    elif not real:
        assert verdict is None
    else:
        assert sorted(answer.casefold() for answer in verdict) == sorted(set(real))
        counts = [real.count(answer.casefold()) for answer in verdict]
        assert counts == sorted(counts, reverse=True)


def test_chartqa(tmp_path):
    root = tmp_path / "ChartQA Dataset"
    human = [
        {"imgname": "3887.png", "query": "Is the blue bar the highest?", "label": "Yes"},
        {
            "imgname": "3887.png",
            "query": "Which two places are mentioned?",
            "label": "[Chad, Central Europe]",
        },
        {"imgname": "absent.png", "query": "What is the max value?", "label": "0.72"},
        {"imgname": "3887.png", "query": "What is the max value?", "label": ""},
        {"query": "What is the max value?", "label": "1"},
        ["half a row"],
    ]
    write(root / "train" / "train_human.json", human)
    augmented = [{"imgname": "two_col_1.png", "query": "How many cases were there in 2010?", "label": 12}]
    write(root / "train" / "train_augmented.json", augmented)
    write(root / "val" / "val_human.json", human[:1])
    for split, name in (("train", "3887"), ("train", "two_col_1"), ("val", "3887")):
        picture(root / split / "png" / f"{name}.png")
    (root / "train" / "tables").mkdir()
    (root / "train" / "tables" / "3887.csv").write_text("Year,Blue\n2018,1\n")
    records, rejects, manifest = converted(CHARTQA, tmp_path, tmp_path / "out", splits=("train",))
    assert records["chartqa/train/human/000000"] == whole(
        root / "train/png/3887.png",
        {
            "id": "chartqa/train/human/000000",
            "images": ["ChartQA Dataset/train/png/3887.png"],
            "question": "Is the blue bar the highest?",
            "answers": ["Yes"],
            "question_type": "yes_no",
            "answer_candidates": ["yes", "no"],
            "source": "chartqa",
            "split": "train",
            "meta": {
                "imgname": "3887.png",
                "origin": "human",
                "table": "ChartQA Dataset/train/tables/3887.csv",
            },
        },
    )
    listed = records["chartqa/train/human/000001"]
    assert listed["answers"] == ["[Chad, Central Europe]", "Chad, Central Europe"]
    count = records["chartqa/train/augmented/000000"]
    assert (count["question_type"], count["answers"]) == ("count_numeric", ["12"])
    assert manifest["filtered"] == {"split": 1}
    file = "ChartQA Dataset/train/train_human.json"
    assert rejects == {
        f"{file}: row 2": "images[0]: 'absent.png' does not exist",
        f"{file}: row 3": "label: missing",
        f"{file}: row 4": "imgname: missing",
        f"{file}: row 5": "a row is a JSON object, not a list",
    }


def test_chartqa_exported_from_parquet(tmp_path):
    row = {"image": {"path": "a.png"}, "query": "Which is it?", "label": ["Kenya"], "human_or_machine": 1}
    write(tmp_path / "raw" / "test.json", [row])
    picture(tmp_path / "raw" / "images" / "a.png")
    records, _, _ = converted(CHARTQA, tmp_path / "raw", tmp_path / "out")
    record = records["chartqa/test/augmented/000000"]
    assert (record["images"], record["answers"]) == (["images/a.png"], ["Kenya"])


def test_accepted_labels():
    assert accepted_labels(["4", "9"]) == ["[4, 9]", "4, 9"]
    assert accepted_labels("[one]") == ["[one]"]
    assert accepted_labels([" ", None, True]) == []


@pytest.mark.parametrize("converter", [DOCVQA, TEXTVQA, CHARTQA])
def test_a_wrong_folder_is_refused(converter, tmp_path):
    for given_folder in (None, tmp_path / "absent", tmp_path):
        with pytest.raises(UserError, match="--input"):
            converter.find_input(given_folder)


# ---------------------------------------------------------------------------------------- evidence


def page(text):
    return PageText(Word(word, [i, 0, i + 1, 1], 0) for i, word in enumerate(text.split()))


def test_evidence_is_every_place_of_the_longest_answer():
    text = page("Mr. Paul Smith and Paul Jones, (PAUL SMITH)")
    assert text.boxes_of(["paul", "Paul Smith"]) == [[1, 0, 3, 1], [6, 0, 8, 1]]
    assert text.boxes_of(["paul"]) == [[1, 0, 2, 1], [4, 0, 5, 1], [6, 0, 7, 1]]
    assert text.boxes_of(["Pau", "Smith Paul", "..."]) == []
    assert page("the " * 20).boxes_of(["the"]) == []  # everywhere is nowhere


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=6), st.lists(st.sampled_from("ab"), max_size=12))
def test_evidence_holds_the_answer(answer, words):
    boxes = page(" ".join(words)).boxes_of([" ".join(answer)])
    assert all(words[x0:x1] == answer for x0, _, x1, _ in boxes)
    places = sum(words[i : i + len(answer)] == answer for i in range(len(words)))
    assert len(boxes) == (places if places <= 6 else 0)


@given(st.lists(st.integers(-50, 250), min_size=8, max_size=8))
def test_boxes_of_corners_lie_in_the_image(corners):
    box = corners_box(corners)
    if box is None:
        assert len(set(corners[0::2])) == 1 or len(set(corners[1::2])) == 1
        return
    cut = clipped(box, (200, 100))
    if cut is None:
        assert box[2] <= 0 or box[3] <= 0 or box[0] >= 200 or box[1] >= 100
    else:
        assert 0 <= cut[0] < cut[2] <= 200 and 0 <= cut[1] < cut[3] <= 100


# ---------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 10_000 + b"]" * 10_000, "nested too deeply"),
        (b"[" * 201 + b"]" * 201, "nested deeper than 200"),
        (b'{"a": "\xe9"}', "not valid UTF-8: byte 0xe9 at 8"),
        (b'"a\0b"', "NUL"),
        (b'{"a": 1,}', r":1: not valid JSON"),
        (b'"\\ud800"', "surrogate"),
        (b"9" * 5000, "thousands of digits"),
        (b" " * 2000, "larger than"),
    ],
)
def test_json_that_is_refused(tmp_path, content, reason):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as error:
        read_json(path, 1000 if b"  " in content else 2**20)
    assert str(path) in str(error.value)


def test_json_as_it_is_written_in_the_wild(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": [NaN, 1e999, 1.5], "b": "\\ud83d\\ude00"}')
    assert read_json(path) == {"a": [None, None, 1.5], "b": "\N{GRINNING FACE}"}


def test_lines_and_tables(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("caf\xe9\r\n\x0cb\n".encode("latin-1"))
    assert read_lines(path, fallback="latin-1") == ["caf\xe9", "\x0cb"]
    with pytest.raises(UserError, match="0xe9"):
        read_lines(path)
    table = tmp_path / "a.csv"
    table.write_text('image,answer\n1.png,"two\nlines"\n\n2.png\n')
    rows = [{"image": "1.png", "answer": "two\nlines"}, {"image": "2.png", "answer": ""}]
    assert list(file_rows(table)) == [("row 0", rows[0]), ("row 1", rows[1])]
    table.write_text("a\n1,2\n3\n")
    (_, problem), good = file_rows(table)
    assert (str(problem), problem.raw, good) == ("2 cells under 1 columns", ["1", "2"], ("row 1", {"a": "3"}))
    for content, reason in (("a,a\n", "two of one name"), ("a\n\0\n", "NUL"), ("", "is empty")):
        table.write_text(content)
        with pytest.raises(UserError, match=reason):
            list(file_rows(table))


def test_rows_of_json_in_every_form(tmp_path):
    row, path = {"a": 1}, tmp_path / "a.json"
    for content in ([row], {"version": 1, "data": [row]}, '{"version": 1,\n"samples": [{"a": 1}]}'):
        assert list(file_rows(write(path, content))) == [("row 0", row)]
    assert list(file_rows(write(path, '{"a": 1}\n{"a": 1}\n'))) == [("line 1", row), ("line 2", row)]
    ((_, problem),) = file_rows(write(path, ["half"]))
    assert (str(problem), problem.raw) == ("a row is a JSON object, not a string", "half")
    for content in ("", '{"a":\n1}', "[1", "{"):
        with pytest.raises(UserError, match="a.json"):
            list(file_rows(write(path, content)))
    with pytest.raises(UserError, match="a table is"):
        list(file_rows(write(tmp_path / "a.xml", "<a/>")))
