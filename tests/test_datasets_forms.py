"""FUNSD, CORD and SROIE as published -> records: whole records, layouts, dirt, wording, evidence boxes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dataset_fixtures import converted, picture, whole, write
from vqa.datasets.cord import CORD
from vqa.datasets.cord_lines import EvidenceFinder, parse_of_lines, read_valid_lines
from vqa.datasets.cord_questions import entries
from vqa.datasets.funsd import FUNSD, clean_key, in_reading_order
from vqa.datasets.sroie import SROIE, UNREADABLE_LINE
from vqa.datasets.sroie_evidence import parse_line, value_boxes
from vqa.errors import UserError

# ---------------------------------------------------------------------------------------- FUNSD


def entity(number, label, text, box, *linking):
    words = [{"box": box, "text": word} for word in text.split()]
    return {
        "box": box,
        "text": text,
        "label": label,
        "words": words,
        "linking": list(map(list, linking)),
        "id": number,
    }


FORM = [
    entity(0, "header", "TO BE FILLED IN", [10, 0, 100, 8]),
    entity(1, "question", "DATE: ", [10, 10, 40, 20], (1, 2)),
    entity(2, "answer", "1/8/93", [50, 10, 90, 20], (1, 2)),
    # An answer of three entities, out of order; the last one overruns the image.
    entity(3, "question", 'Sold "to"', [10, 30, 40, 40], (3, 6), (3, 4), (3, 5)),
    entity(4, "answer", "Main  St.", [90, 31, 205, 41], (3, 4)),
    entity(5, "answer", "Durham", [50, 45, 90, 55], (3, 5)),
    entity(6, "answer", "121", [50, 30, 80, 40], (3, 6)),
    entity(7, "question", "FAX", [10, 60, 40, 68]),
    entity(8, "question", "PHONE", [10, 70, 40, 78], (8, 9), (8, 99)),
    entity(9, "answer", " ", [50, 70, 90, 78], (8, 9)),
    # Twice the same key, told apart by headers; and three times, where they do not.
    entity(10, "header", "SENDER", [10, 80, 40, 84], (10, 12)),
    entity(11, "header", "RECEIVER", [110, 80, 140, 84], (11, 13)),
    entity(12, "question", "Name:", [10, 85, 20, 90], (10, 12), (12, 14)),
    entity(13, "question", "NAME", [110, 85, 120, 90], (11, 13), (13, 15)),
    entity(14, "answer", "Ann", [30, 85, 50, 90], (12, 14)),
    entity(15, "answer", "Bob", [130, 85, 150, 90], (13, 15)),
    entity(16, "question", "No.", [10, 92, 20, 95], (16, 18)),
    entity(17, "question", "No", [10, 96, 20, 99], (17, 18)),
    entity(18, "answer", "7", [30, 92, 40, 99], (16, 18), (17, 18)),
    entity(19, "question", " : ", [150, 92, 160, 99], (19, 18)),
    entity(20, "other", "page 1", [170, 92, 180, 99]),
]


def test_funsd(tmp_path):
    root = tmp_path / "raw"
    train, test = root / "dataset" / "training_data", root / "dataset" / "testing_data"
    write(train / "annotations" / "0000971160.json", {"form": FORM})
    write(train / "annotations" / "0000989556.json", {"form": FORM[1:3]})
    write(test / "annotations" / "82092117.json", {"form": [FORM[20]]})
    (test / "annotations" / "82200067_0069.json").write_text('{"form": [')
    write(test / "annotations" / "82250337_0338.json", {"form": [{"text": "DATE"}]})
    for folder, name in ((train, "0000971160"), (train, "0000989556"), (test, "82092117")):
        picture(folder / "images" / f"{name}.png")
    records, rejects, manifest = converted(FUNSD, root, tmp_path / "out", validation_images=1)
    assert records["funsd/train/0000971160/3"] == whole(
        train / "images/0000971160.png",
        {
            "id": "funsd/train/0000971160/3",
            "images": ["dataset/training_data/images/0000971160.png"],
            "question": "What is the value of \"Sold 'to'\"?",
            "answers": ["121 Main St. Durham"],
            "question_type": "extractive",
            "boxes": [[50, 30, 80, 40], [90, 31, 200, 41], [50, 45, 90, 55]],
            "box_images": [0, 0, 0],
            "source": "funsd",
            "split": "train",
            "meta": {
                "field": "Sold 'to'",
                "key": 'Sold "to"',
                "key_box": [10, 30, 40, 40],
                "key_id": 3,
                "answer_ids": [6, 4, 5],
            },
        },
    )
    questions = {record["question"]: record["answers"] for record in records.values()}
    assert questions == {
        'What is the value of "DATE"?': ["1/8/93"],
        "What is the value of \"Sold 'to'\"?": ["121 Main St. Durham"],
        'What is the value of "Name" under "SENDER"?': ["Ann"],
        'What is the value of "NAME" under "RECEIVER"?': ["Bob"],
    }
    fields = {record["meta"]["field"] for record in records.values()}
    assert fields == {"DATE", "Sold 'to'", "SENDER.Name", "RECEIVER.NAME"}
    assert records["funsd/validation/0000989556/1"]["split"] == "validation"
    form, tests = "dataset/training_data/annotations/0000971160.json", "dataset/testing_data/annotations"
    unreadable = {place: rejects.pop(f"{tests}/{place}.json") for place in ("82200067_0069", "82250337_0338")}
    assert "not valid JSON" in unreadable["82200067_0069"]
    assert "entity 0: expected id, text, label, box and linking" in unreadable["82250337_0338"]
    assert rejects == {
        f"{form}: key 7": "the key is linked to no answer with text",
        f"{form}: key 8": "the key is linked to no answer with text",
        f"{form}: key 16": "ambiguous: 2 keys of this form read 'No'",
        f"{form}: key 17": "ambiguous: 2 keys of this form read 'No'",
        f"{form}: key 19": "the key has no text",
        f"{tests}/82092117.json": "no entity is labelled question",
    }
    assert manifest["rows"] == {"in": 13, "records": 5, "filtered": 0, "rejects": 8}


@given(st.text(max_size=30))
def test_a_cleaned_key_can_be_quoted(text):
    key = clean_key(text)
    assert '"' not in key and "\n" not in key and key == key.strip()
    assert clean_key(key) == key


@given(st.permutations(range(6)))
def test_reading_order_does_not_depend_on_the_annotation(order):
    cells = [
        {"box": [50 * (i % 3), 20 * (i // 3) + i % 2, 50 * (i % 3) + 40, 20 * (i // 3) + 12]}
        for i in range(6)
    ]
    assert in_reading_order([cells[i] for i in order]) == cells


# ---------------------------------------------------------------------------------------- CORD


def valid_line(category, group, top, *words, sub_group=0):
    """`words` are texts; one in brackets names the value."""
    found = []
    for number, text in enumerate(words):
        x0, x1 = 10 + 40 * number, 40 + 40 * number
        quad = {"x1": x0, "y1": top, "x2": x1, "y2": top, "x3": x1, "y3": top + 8, "x4": x0, "y4": top + 8}
        is_key = int(text.startswith("["))
        found.append({"quad": quad, "is_key": is_key, "row_id": 2179893, "text": text.strip("[]")})
    return {"words": found, "category": category, "group_id": group, "sub_group_id": sub_group}


LINES = [
    valid_line("menu.cnt", 3, 0, "1", "x"),
    valid_line("menu.nm", 3, 10, "ES", "TEH"),
    valid_line("menu.price", 3, 10, "", "", "5,000"),
    valid_line("menu.nm", 4, 20, "KOPI"),
    valid_line("menu.price", 4, 20, "", "5,000"),
    valid_line("menu.sub_nm", 4, 30, "GULA", sub_group=1),
    valid_line("menu.sub_price", 4, 30, "", "0", sub_group=1),
    valid_line("menu.sub_nm", 4, 40, "SUSU", sub_group=2),
    valid_line("menu.nm", 5, 50, "ES", "TEH"),
    valid_line("menu.price", 5, 50, "", "", "5,000"),
    valid_line("sub_total.discount_price", 6, 60, "[DISC]", "-500"),
    valid_line("sub_total.discount_price", 6, 70, "[DISC]", "-100"),
    valid_line("total.total_price", 7, 80, "[TOTAL]", "14,400"),
]
PARSE = {
    "menu": [
        {"cnt": "1 x", "nm": "ES TEH", "price": "5,000"},
        {"nm": "KOPI", "price": "5,000", "sub": [{"nm": "GULA", "price": "0"}, {"nm": "SUSU"}]},
        {"nm": "ES TEH", "price": "5,000"},
    ],
    "sub_total": {"discount_price": ["-500", "-100"]},
    "total": {"total_price": "14,400"},
}
META = {"version": "2.0.0", "split": "train", "image_id": 0, "image_size": {"width": 200, "height": 100}}
QUESTIONS = {
    "menu[0].cnt": ('What is the quantity of the first "ES TEH"?', "1 x", [[10, 0, 80, 8]]),
    "menu[0].nm": ("What is the name of the first item?", "ES TEH", [[10, 10, 80, 18]]),
    "menu[0].price": ('What is the price of the first "ES TEH"?', "5,000", [[90, 10, 120, 18]]),
    "menu[1].nm": ("What is the name of the second item?", "KOPI", [[10, 20, 40, 28]]),
    "menu[1].price": ('What is the price of "KOPI"?', "5,000", [[50, 20, 80, 28]]),
    "menu[1].sub[0].nm": (
        'What is the name of the first sub-item of "KOPI"?', "GULA", [[10, 30, 40, 38]],
    ),
    "menu[1].sub[0].price": (
        'What is the price of the sub-item "GULA" of "KOPI"?', "0", [[50, 30, 80, 38]],
    ),
    "menu[1].sub[1].nm": (
        'What is the name of the second sub-item of "KOPI"?', "SUSU", [[10, 40, 40, 48]],
    ),
    "menu[2].nm": ("What is the name of the third item?", "ES TEH", [[10, 50, 80, 58]]),
    "menu[2].price": ('What is the price of the second "ES TEH"?', "5,000", [[90, 50, 120, 58]]),
    "sub_total.discount_price[0]": (
        "What is the first discount on the subtotal?", "-500", [[50, 60, 80, 68]],
    ),
    "sub_total.discount_price[1]": (
        "What is the second discount on the subtotal?", "-100", [[50, 70, 80, 78]],
    ),
    "total.total_price": ("What is the total price?", "14,400", [[50, 80, 80, 88]]),
}  # fmt: skip


def receipt(**fields):
    return {"dontcare": [], "valid_line": LINES, "meta": META, "roi": {}, "repeating_symbol": [], **fields}


def by_path(records, prefix):
    return {
        key.removeprefix(prefix): (record["question"], *record["answers"], record["boxes"])
        for key, record in records.items()
        if key.startswith(prefix)
    }


@pytest.mark.parametrize("published", [receipt(gt_parse=PARSE), receipt()], ids=["v2", "first release"])
def test_cord_in_folders(tmp_path, published):
    root = tmp_path / "raw"
    write(root / "CORD" / "dev" / "json" / "receipt_00000.json", published)
    picture(root / "CORD" / "dev" / "image" / "receipt_00000.png")
    write(root / "CORD" / "dev" / "json" / "receipt_00001.json", receipt(gt_parse={"menu": []}))
    write(root / "CORD" / "dev" / "json" / "receipt_00002.json", receipt(gt_parse={"menu": "none"}))
    write(root / "CORD" / "dev" / "json" / "receipt_00003.json", [])
    records, rejects, manifest = converted(CORD, root, tmp_path / "out")
    assert by_path(records, "cord/validation/receipt_00000/") == QUESTIONS
    assert records["cord/validation/receipt_00000/total.total_price"] == whole(
        root / "CORD/dev/image/receipt_00000.png",
        {
            "id": "cord/validation/receipt_00000/total.total_price",
            "images": ["CORD/dev/image/receipt_00000.png"],
            "question": "What is the total price?",
            "answers": ["14,400"],
            "question_type": "extractive",
            "boxes": [[50, 80, 80, 88]],
            "box_images": [0],
            "source": "cord",
            "split": "validation",
            "meta": {"field": "total.total_price", "value": "14,400"},
        },
    )
    assert rejects == {
        "CORD/dev/json/receipt_00001.json": "gt_parse: has no leaves",
        "CORD/dev/json/receipt_00002.json": "gt_parse.menu: expected an object or a list of objects",
        "CORD/dev/json/receipt_00003.json": "ground_truth: expected an object with valid_line and gt_parse",
    }
    assert manifest["rows"] == {"in": 16, "records": 13, "filtered": 0, "rejects": 3}


def test_cord_boxes_are_cut_to_the_image_there_is(tmp_path):
    root = tmp_path / "raw"
    larger = META | {"image_size": {"width": 864, "height": 1296}}
    write(root / "train/json/receipt_00000.json", receipt(gt_parse=PARSE, meta=larger))
    picture(root / "train/image/receipt_00000.png", (100, 84))
    records, rejects, _ = converted(CORD, root, tmp_path / "out")
    assert not rejects
    cut = {"menu[0].price": [[90, 10, 100, 18]], "menu[2].price": [[90, 50, 100, 58]],
           "total.total_price": [[50, 80, 80, 84]]}  # fmt: skip
    assert {path: boxes for path, (_, _, boxes) in by_path(records, "cord/train/receipt_00000/").items()} == {
        path: cut.get(path, boxes) for path, (_, _, boxes) in QUESTIONS.items()
    }


@pytest.mark.parametrize(
    ("table", "image", "field"),
    [
        ("train.jsonl", "images/receipt_00000.png", "image"),
        ("train/metadata.jsonl", "train/receipt_00000.png", "file_name"),
        ("data/train-00000-of-00001.json", "data/images/receipt_00000.png", "image"),
    ],
)
def test_cord_exported_from_parquet(tmp_path, table, image, field):
    root = tmp_path / "raw"
    row = {field: "receipt_00000.png", "ground_truth": json.dumps(receipt(gt_parse=PARSE))}
    broken = {field: "receipt_00000.png", "ground_truth": '{"gt_parse": '}
    (root / table).parent.mkdir(parents=True, exist_ok=True)
    rows = [row, broken, {"ground_truth": row["ground_truth"]}]
    text = json.dumps(rows) if table.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
    (root / table).write_text(text)
    picture(root / image)
    records, rejects, _ = converted(CORD, root, tmp_path / "out")
    name = next(iter(records)).split("/")[2]
    assert by_path(records, f"cord/train/{name}/") == QUESTIONS
    assert {record["images"][0] for record in records.values()} == {image}
    assert [reason.split(":")[0] for reason in rejects.values()] == ["ground_truth", "image"]


def test_cord_leaves_in_other_forms():
    parse = {
        "menu": {"nm": ["AYAM", "BAKAR"], "price": 30000, "etc": "", "sub_nm": "NASI", "sub_cnt": ["1"]},
        "void_menu": [{"price": "1"}, {"price": "2"}],
        "total": [{"cashprice": "5"}, {"cashprice": "6"}],
        "info": {"store_name": "TOKO"},
    }
    found = {leaf.path: (leaf.question, leaf.texts) for entry in entries(parse) for leaf in entry}
    assert found == {
        "menu.nm": ("What is the name of the item?", ("AYAM", "BAKAR")),
        "menu.price": ('What is the price of "AYAM BAKAR"?', ("30000",)),
        "menu.etc": ('What is the further note of "AYAM BAKAR"?', ()),
        "menu.sub_nm": ('What is the name of the sub-item of "AYAM BAKAR"?', ("NASI",)),
        "menu.sub_cnt": ('What is the quantity of the sub-item "NASI" of "AYAM BAKAR"?', ("1",)),
        "void_menu[0].price": ("What is the price of the first voided item?", ("1",)),
        "void_menu[1].price": ("What is the price of the second voided item?", ("2",)),
        "total[0].cashprice": ("What is the first amount paid in cash?", ("5",)),
        "total[1].cashprice": ("What is the second amount paid in cash?", ("6",)),
        "info.store_name": ("What is the info store name?", ("TOKO",)),
    }


def test_cord_evidence_is_not_guessed():
    lines = read_valid_lines([valid_line("menu.price", g, g, "5,000") for g in (1, 2)])
    finder = EvidenceFinder(lines)
    # The item's name is in no group, and two lines hold its price.
    leaves = [("menu.nm", ("TEH",)), ("menu.price", ("5,000",))]
    assert finder.of_entry(leaves) == [[], []]


@given(st.lists(st.sampled_from(["TEH", "KOPI"]), min_size=1, max_size=5))
def test_cord_items_of_one_name_have_boxes_of_their_own(names):
    lines = [
        valid_line(f"menu.{f}", g, 10 * g, t)
        for g, n in enumerate(names)
        for f, t in (("nm", n), ("price", "1"))
    ]
    read = read_valid_lines(lines)
    parse, finder = parse_of_lines(read), EvidenceFinder(read)
    assert [item["nm"] for item in parse["menu"]] == names
    found = list(entries(parse))
    tops = [finder.of_entry([(leaf.category, leaf.texts) for leaf in entry])[1][0][1] for entry in found]
    assert tops == [10 * number for number in range(len(names))]
    questions = [leaf.question for entry in found for leaf in entry]
    assert len(set(questions)) == len(questions)


# ---------------------------------------------------------------------------------------- SROIE

BOX_FILE = """\
72,5,326,5,326,14,72,14,TAN WOON YANN
72,15,326,15,326,24,72,24,BOOK TA .K(TAMAN DAYA) SDN BND
50,25,440,25,440,34,50,34,NO.53 55,57 & 59, JALAN SAGU 18,
50,35,160,35,160,44,50,44,TAMAN DAYA,
50,45,190,45,190,54,50,54,81100 JOHOR BAHRU,
50,55,180,55,180,64,50,64,DATE:25/12/2018 8:13:39 PM

10,65,90,65,90,74,10,74,TOTAL: RM9.00
not,a,box,TEXT
10,75,90,75,90,84,10,84,CASH 19.00
10,85,90,85,90,94,10,94,9.00
"""
ENTITIES = {
    "company": "BOOK TA .K (TAMAN DAYA) SDN BND",
    "date": "25/12/2018",
    "address": "NO.53 55,57 & 59, JALAN SAGU 18, TAMAN DAYA, 81100 JOHOR BAHRU, JOHOR.",
    "total": "9.00",
}
BOXES = {"company": [[72, 15, 200, 24]], "date": [[50, 55, 180, 64]], "address": []}
BOXES["total"] = [[10, 65, 90, 74], [10, 85, 90, 94]]
TRAIN = "train(626p)"
LAYOUTS = [
    ("SROIE2019/train/img", "SROIE2019/train/box", "SROIE2019/train/entities", "train", "txt", "txt"),
    (
        f"0325updated.task1{TRAIN}",
        f"0325updated.task1{TRAIN}",
        f"0325updated.task2{TRAIN}",
        "train",
        "txt",
        "txt",
    ),
    (
        "SROIE_test_images_task_3",
        "text.task1&2-test\uff08361p)",
        "SROIE_test_gt_task_3",
        "test",
        "txt",
        "txt",
    ),
    ("data/img", "data/box", "data/key", "train", "csv", "json"),
]


@pytest.mark.parametrize(("images", "boxes", "entities", "split", "box_suffix", "entity_suffix"), LAYOUTS)
def test_sroie_layouts(tmp_path, images, boxes, entities, split, box_suffix, entity_suffix):
    root = tmp_path / "raw"
    for folder in (boxes, entities):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / boxes / f"X00016469612.{box_suffix}").write_bytes(BOX_FILE.replace("\n", "\r\n").encode())
    write(root / entities / f"X00016469612.{entity_suffix}", ENTITIES)
    picture(root / images / "X00016469612.jpg")
    records, rejects, manifest = converted(SROIE, root, tmp_path / "out")
    prefix = f"sroie/{split}/X00016469612/"
    assert {key: record["boxes"] for key, record in records.items()} == {
        prefix + entity: boxes for entity, boxes in BOXES.items()
    }
    assert records[prefix + "company"] == whole(
        root / images / "X00016469612.jpg",
        {
            "id": prefix + "company",
            "images": [f"{images}/X00016469612.jpg"],
            "question": "What is the name of the company?",
            "answers": ["BOOK TA .K (TAMAN DAYA) SDN BND"],
            "question_type": "extractive",
            "boxes": [[72, 15, 200, 24]],  # cut to the image
            "box_images": [0],
            "source": "sroie",
            "split": split,
            "meta": {"receipt": "X00016469612", "field": "company"},
        },
    )
    assert (rejects, manifest["repairs"]) == ({}, {UNREADABLE_LINE: 4})


def test_sroie_dirt(tmp_path):
    root = tmp_path / "raw" / "train"
    for folder in ("box", "entities"):
        (root / folder).mkdir(parents=True)
    for name in ("A", "A(1)", "B", "C"):
        picture(root / "img" / f"{name}.jpg")
    (root / "box" / "A.txt").write_bytes("1,2,30,2,30,9,1,9,CAF\xc9 5.00\n".encode("latin-1"))
    (root / "entities" / "A.txt").write_bytes(
        '{"company": "CAF\xc9", "total": "", "tax": "1"}'.encode("latin-1")
    )
    (root / "entities" / "B.txt").write_text('{"company": "X",}')
    (root / "entities" / "C.txt").write_text('{"date": "1/1/2018"}')
    records, rejects, _ = converted(SROIE, tmp_path / "raw", tmp_path / "out", validation_images=1)
    assert records["sroie/train/A/company"]["answers"] == ["CAF\xc9"]
    assert records["sroie/train/A/company"]["boxes"] == [[1, 2, 30, 9]]
    assert records["sroie/validation/C/date"]["boxes"] == []
    assert rejects == {
        "train/entities/A.txt: total": "the value is empty or no text",
        "train/entities/A.txt: tax": "entity: not one of company, date, address, total",
        "train/img/A(1).jpg": "no entities are published for it: its name is that of a copy",
        "train/entities/B.txt": rejects["train/entities/B.txt"],
    }
    assert "B.txt:1: not valid JSON" in rejects["train/entities/B.txt"]


def test_sroie_exported_from_parquet(tmp_path):
    root, lines = tmp_path / "raw", [parse_line(text) for text in BOX_FILE.splitlines()]
    words, boxes = zip(*filter(None, lines), strict=True)
    row = {"file_name": "X1.jpg", "words": words, "bboxes": boxes, "entities": ENTITIES}
    write(root / "test" / "metadata.jsonl", row)
    picture(root / "test" / "X1.jpg")
    records, _, _ = converted(SROIE, root, tmp_path / "out")
    assert {key: record["boxes"] for key, record in records.items()} == {
        f"sroie/test/X1/{entity}": boxes for entity, boxes in BOXES.items()
    }


def test_sroie_does_not_follow_links_out_of_the_folder(tmp_path):
    folder = tmp_path / "raw" / "train" / "entities"
    folder.mkdir(parents=True)
    (tmp_path / "secret.json").write_text("{}")
    (folder / "A.txt").symlink_to(tmp_path / "secret.json")
    with pytest.raises(UserError, match="symlink"):
        SROIE.find_input(tmp_path / "raw")


def test_sroie_values_in_lines():
    lines = [
        (text, [0, i, 1, i + 1]) for i, text in enumerate(["AB SDN BHD,", "NO. 1 JALAN,AMAN", "81100 JB"])
    ]
    # Punctuation that differs is passed over; the lines must follow one another.
    assert value_boxes(lines, "NO 1, JALAN AMAN, 81100 JB.") == [[0, 1, 1, 2], [0, 2, 1, 3]]
    assert value_boxes(lines, "AB SDN BHD 81100 JB") == []
    assert value_boxes(lines, "1100") == []
    assert value_boxes([("$5.00", [0, 0, 1, 1]), ("15.00 5.005", [0, 1, 1, 2])], "5.00") == [[0, 0, 1, 1]]


@given(st.lists(st.integers(0, 5000), min_size=8, max_size=8), st.text(max_size=20))
def test_sroie_lines_keep_their_commas(numbers, text):
    parsed = parse_line(",".join(map(str, numbers)) + "," + text)
    if parsed is None:
        flat = min(len(set(numbers[0::2])), len(set(numbers[1::2]))) == 1
        assert flat or not text.strip()
    else:
        assert parsed[0] == text.strip()
        assert parsed[1] == [min(numbers[0::2]), min(numbers[1::2]), max(numbers[0::2]), max(numbers[1::2])]


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "a,b,c,d,e,f,g,h,TEXT", "inf,1,2,3,4,5,6,7,X", "nan,1,2,3,4,5,6,7,X"]
)
def test_sroie_lines_that_are_none(text):
    assert parse_line(text) is None


@pytest.mark.parametrize("converter", [FUNSD, CORD, SROIE])
def test_a_wrong_folder_is_refused(converter, tmp_path):
    for given_folder in (None, tmp_path / "absent", tmp_path):
        with pytest.raises(UserError, match="--input"):
            converter.find_input(given_folder)
