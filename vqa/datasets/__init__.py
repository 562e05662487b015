"""Raw data sets as published -> record folders. A new data set is one file here and one line below."""

from vqa.datasets.brain_atlas import BRAIN_ATLAS
from vqa.datasets.chartqa import CHARTQA
from vqa.datasets.conversations import LLAMAFACTORY, LLAVA, SHAREGPT
from vqa.datasets.converter import Converter
from vqa.datasets.cord import CORD
from vqa.datasets.dicom import DICOM
from vqa.datasets.docvqa import DOCVQA
from vqa.datasets.easy_vqa import EASY_VQA
from vqa.datasets.funsd import FUNSD
from vqa.datasets.generic import GENERIC
from vqa.datasets.handwriting import HANDWRITING
from vqa.datasets.hub import HUB
from vqa.datasets.medical import BOTH
from vqa.datasets.slake import SLAKE
from vqa.datasets.sroie import SROIE
from vqa.datasets.surgical import ENDOVIS18_VQA, KVASIR_VQA
from vqa.datasets.textvqa import TEXTVQA
from vqa.datasets.uit_hwdb import UIT_HWDB
from vqa.datasets.vintext import VINTEXT
from vqa.datasets.viocrvqa import VIOCRVQA
from vqa.datasets.vqa_rad import VQA_RAD
from vqa.datasets.vqav2 import VQAV2

MEDICAL = (SLAKE, VQA_RAD, BOTH, DICOM, BRAIN_ATLAS)
SURGICAL = (KVASIR_VQA, ENDOVIS18_VQA)
DOCUMENTS = (DOCVQA, TEXTVQA, CHARTQA, FUNSD, CORD, SROIE)
OCR = (UIT_HWDB, VINTEXT, VIOCRVQA, HANDWRITING)
GENERAL = (EASY_VQA, VQAV2, SHAREGPT, LLAMAFACTORY, LLAVA, HUB, GENERIC)
CONVERTERS: dict[str, Converter] = {
    converter.name: converter for converter in (*MEDICAL, *SURGICAL, *DOCUMENTS, *OCR, *GENERAL)
}
