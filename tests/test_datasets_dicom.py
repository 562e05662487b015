"""DICOM folders: windows against the standard's formulas, limits, damage, and that no patient is named."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGLSLossless

from vqa.datasets.conversion import ConvertOptions, convert
from vqa.datasets.dicom import DICOM
from vqa.datasets.dicom_pixels import DicomProblem, read_picture, windowed
from vqa.errors import UserError

LIMIT = 10**6


def write_dicom(path, values, **fields):
    """A small file with a patient's name in its header."""
    values = np.asarray(values)
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = fields.pop("syntax", ExplicitVRLittleEndian)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5.6789"
    data.PatientName, data.PatientID, data.PatientBirthDate = "Doe^Jane", "MRN0042", "19700101"
    data.Modality = "CT"
    data.Rows, data.Columns = values.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    if values.ndim == 3:
        data.NumberOfFrames = len(values)
    for name, value in fields.items():
        setattr(data, name, value)
    data.PixelData = values.astype("<i2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def grey(path):
    return np.asarray(read_picture(path, LIMIT).image)


RAMP = [[0, 100, 200, 300], [400, 500, 600, 700]]


def test_window_and_rescale(tmp_path):
    # Stored 0..700 are -1000..-300 HU; the window shows -800..-500.
    fields = {
        "RescaleSlope": 1,
        "RescaleIntercept": -1000,
        "WindowCenter": [-650, 40],
        "WindowWidth": [301, 400],
    }
    shown = grey(write_dicom(tmp_path / "a.dcm", RAMP, **fields))
    ramp = (np.arange(8) * 100 - 1000 - (-650 - 0.5)) / 300 + 0.5
    assert shown.ravel().tolist() == np.rint(np.clip(ramp, 0, 1) * 255).tolist()
    assert shown.ravel()[0] == 0 and shown.ravel()[-1] == 255
    inverted = grey(write_dicom(tmp_path / "b.dcm", RAMP, PhotometricInterpretation="MONOCHROME1", **fields))
    assert (inverted.astype(int) + shown == 255).all()


def test_without_window_the_range_is_stretched(tmp_path):
    assert grey(write_dicom(tmp_path / "a.dcm", RAMP)).ravel().tolist() == [
        0,
        36,
        73,
        109,
        146,
        182,
        219,
        255,
    ]
    assert not grey(write_dicom(tmp_path / "b.dcm", np.full((2, 2), 9))).any()
    picture = read_picture(write_dicom(tmp_path / "c.dcm", RAMP, WindowCenter=5, WindowWidth=0), LIMIT)
    assert picture.repairs == ("window without width",)
    assert np.asarray(picture.image).max() == 255


@pytest.mark.filterwarnings("ignore:overflow")  # pydicom's own, far below a sigmoid window
@given(
    st.lists(st.integers(-2000, 3000), min_size=1, max_size=20),
    st.integers(-1000, 1000),
    st.integers(1, 2000),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_windows_agree_with_pydicom(values, center, width, function):
    data = Dataset()
    data.WindowCenter, data.WindowWidth, data.VOILUTFunction = center, width, function
    data.PhotometricInterpretation, data.BitsStored, data.PixelRepresentation = "MONOCHROME2", 16, 1
    stored = np.array([values], dtype=np.int16)
    shown, repairs = windowed(stored, data)
    assert repairs == [] and shown.min() >= 0 and shown.max() <= 1
    if width > 1 or function != "LINEAR":
        low, high = -(2**15), 2**15 - 1
        expected = (pydicom.pixels.apply_windowing(stored.astype(float), data) - low) / (high - low)
        assert np.abs(shown - expected).max() < 1e-4


def test_voi_lut_goes_before_the_window(tmp_path):
    item = Dataset()
    item.LUTDescriptor = [8, 0, 8]
    item.LUTData = [0, 10, 20, 30, 40, 50, 60, 255]
    item["LUTData"].VR = item["LUTDescriptor"].VR = "US"
    path = write_dicom(
        tmp_path / "a.dcm",
        [[0, 1, 6, 7, 99]],
        VOILUTSequence=Sequence([item]),
        WindowCenter=1,
        WindowWidth=2,
        PixelRepresentation=0,
    )
    assert grey(path).tolist() == [[0, 10, 60, 255, 255]]


def test_enhanced_object_has_its_window_in_groups(tmp_path):
    lut, rescale, shared, own = Dataset(), Dataset(), Dataset(), Dataset()
    lut.WindowCenter, lut.WindowWidth = 1000.5, 3
    rescale.RescaleSlope, rescale.RescaleIntercept = 10, 0
    shared.PixelValueTransformationSequence = Sequence([rescale])
    own.FrameVOILUTSequence = Sequence([lut])
    frames = [[[98, 100, 102]], [[1, 2, 3]]]
    path = write_dicom(
        tmp_path / "a.dcm",
        frames,
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence([own, Dataset()]),
    )
    picture = read_picture(path, LIMIT)
    assert np.asarray(picture.image).tolist() == [[0, 128, 255]]
    assert picture.repairs == ("first frame of several",) and picture.meta["frames"] == 2


@pytest.mark.parametrize(
    "name, mode, size",
    [
        ("MR_small_RLE.dcm", "L", (64, 64)),
        ("JPEG2000.dcm", "L", (256, 1024)),
        ("SC_rgb_rle_16bit_2frame.dcm", "RGB", (100, 100)),
        ("SC_rgb_jpeg_dcmtk.dcm", "RGB", (100, 100)),
    ],
)
def test_real_files(name, mode, size):
    image = read_picture(Path(get_testdata_file(name)), LIMIT).image
    assert (image.mode, image.size) == (mode, size)
    assert image.convert("L").getextrema()[1] > 200
    if name == "MR_small_RLE.dcm":
        plain = read_picture(Path(get_testdata_file("MR_small.dcm")), LIMIT).image
        assert image.tobytes() == plain.tobytes()


def test_what_is_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.zeros((3, 40, 50)))
    with pytest.raises(DicomProblem, match="has 50x40 in 3 frames pixels, more than the limit of 5,999"):
        read_picture(path, 5999)
    assert read_picture(path, 6000).image.size == (50, 40)
    whole = path.read_bytes()
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(whole[: len(whole) - 11_000])
    with pytest.raises(DicomProblem, match="cannot be decoded"):
        read_picture(cut, LIMIT)
    # The header is looked at, not the pixels: a bomb of 65535 x 65535 is a small file.
    bomb = write_dicom(tmp_path / "bomb.dcm", [[1]], Rows=65535, Columns=65535)
    with pytest.raises(DicomProblem, match="65535x65535 pixels"):
        read_picture(bomb, LIMIT)
    (tmp_path / "text.dcm").write_text("no DICOM")
    with pytest.raises(DicomProblem, match="is not a DICOM file"):
        read_picture(tmp_path / "text.dcm", LIMIT)
    for syntax, reason in (
        (DeflatedExplicitVRLittleEndian, "deflated"),
        (JPEGLSLossless, "no installed decoder"),
    ):
        file = Path(
            get_testdata_file("image_dfl.dcm" if "defl" in reason else "MR_small_jpeg_ls_lossless.dcm")
        )
        assert pydicom.filereader.read_file_meta_info(file).TransferSyntaxUID == syntax
        with pytest.raises(DicomProblem, match=reason):
            read_picture(file, LIMIT)
    with pytest.raises(DicomProblem, match="no Rows and Columns"):
        read_picture(Path(get_testdata_file("test-SR.dcm")), LIMIT)


@given(st.integers(0, 400), st.binary(max_size=8))
def test_damage_is_a_problem_never_a_crash(tmp_path_factory, at, noise):
    whole = Path(get_testdata_file("MR_small_RLE.dcm")).read_bytes()
    start = at * len(whole) // 400
    path = tmp_path_factory.getbasetemp() / "damaged.dcm"
    path.write_bytes(whole[:start] + noise + whole[start + len(noise) :])
    try:
        assert read_picture(path, LIMIT).image.width > 0
    except DicomProblem as problem:
        assert str(problem)


TABLE = """file,question,answer,answers,split,question_type,answerable,PatientName,reader_note
a/IM1,Is it bright?,yes,,train,,,Doe^Jane,clear
a/IM1,What is it?,,a ramp|a slope,val,open_ended,,Doe^Jane,
a\\IM1,Is there a mass?,,,test,yes_no,false,Doe^Jane,
a/IM1.dcm,How many?,2,,,,,Doe^Jane,
../outside.dcm,Is it outside?,yes,,train,,,Doe^Jane,
a/none,Is it there?,yes,,train,,,Doe^Jane,
a/text,Is it DICOM?,yes,,train,,,Doe^Jane,
,Which file?,yes,,train,,,Doe^Jane,
a/IM1,What is the answer?,,,train,,,Doe^Jane,
"""


def test_convert(tmp_path):
    root = tmp_path / "in"
    write_dicom(root / "a/IM1", RAMP, WindowCenter=350, WindowWidth=701, BurnedInAnnotation="YES")
    write_dicom(root / "a/IM1.dcm", np.stack([RAMP, RAMP]))
    write_dicom(tmp_path / "outside.dcm", RAMP)
    (root / "a/text").write_text("text")
    (tmp_path / "table.csv").write_text(TABLE)
    out = tmp_path / "out"
    manifest = convert(DICOM, root, out, ConvertOptions(questions=tmp_path / "table.csv"))
    assert manifest["rows"] == {"in": 9, "records": 4, "filtered": 0, "rejects": 5}
    assert manifest["image_root"] == "." and manifest["repairs"] == {"first frame of several": 1}
    train, validation, test = (
        [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]
        for name in ("train", "validation", "test")
    )
    written = out / "images/a/IM1.png"
    assert train[0] == {
        "id": "dicom/train/000000",
        "images": ["images/a/IM1.png"],
        "question": "Is it bright?",
        "answers": ["yes"],
        "answerable": True,
        "question_type": "yes_no",
        "answer_candidates": ["yes", "no"],
        "boxes": [],
        "box_images": [],
        "caption": None,
        "reasoning": [],
        "source": "dicom",
        "split": "train",
        "image_sha256": [hashlib.sha256(written.read_bytes()).hexdigest()],
        "meta": {
            "reader_note": "clear",
            "modality": "CT",
            "photometric": "MONOCHROME2",
            "burned_in_annotation": "YES",
        },
    }
    with Image.open(written) as image:
        assert (image.mode, image.size, image.getextrema()) == ("L", (4, 2), (0, 255))
    assert (train[1]["images"], train[1]["meta"]["frames"]) == (["images/a/IM1.dcm.png"], 2)
    assert validation[0]["answers"] == ["a ramp", "a slope"]
    assert (test[0]["answerable"], test[0]["answers"], test[0]["images"]) == (False, [], ["images/a/IM1.png"])
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert sorted(reject["reason"] for reject in rejects) == [
        "answers: missing",
        "file: '../outside.dcm' leaves the image root with '..'",
        "file: 'a/none' does not exist",
        "file: 'a/text' is not a DICOM file",
        "file: missing; a column of file, image, path, dicom",
    ]
    for path in (path for path in out.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert not any(word in content for word in (b"Doe", b"MRN0042", b"19700101", b"6789")), path


def test_table_in_the_folder_and_json(tmp_path):
    write_dicom(tmp_path / "in/x.dcm", RAMP)
    with pytest.raises(UserError, match="--questions: dicom needs a table"):
        convert(DICOM, tmp_path / "in", tmp_path / "out", ConvertOptions())
    rows = [{"image": "x.dcm", "question": "How wide?", "answers": [4, "four"], "id": "q1"}]
    (tmp_path / "in/questions.json").write_text(json.dumps(rows))
    manifest = convert(DICOM, tmp_path / "in", tmp_path / "out", ConvertOptions())
    assert manifest["repairs"] == {"number as answer": 1}
    record = json.loads((tmp_path / "out/train.jsonl").read_text())
    assert (record["id"], record["answers"]) == ("q1", ["4", "four"])
