"""Raw data sets as published -> record folders. A new data set is one file here and one line below."""

from vqa.datasets.conversion import Converter
from vqa.datasets.easy_vqa import EASY_VQA

CONVERTERS: dict[str, Converter] = {converter.name: converter for converter in (EASY_VQA,)}
