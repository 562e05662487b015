"""Medical synonyms: a text is given the other names of what it names.

A sentence encoder trained on everyday text does not know that renal is said of a kidney; with both words in
question and caption it need not.
"""

import re
from collections.abc import Iterator

# One group a line: names of one thing, the everyday one or the shortest first. Left out is what means
# something else as well in other letters' case ("US", "MR") or what is only near ("mass", "lesion").
_GROUPS = """
kidney, renal
lung, pulmonary
heart, cardiac
liver, hepatic
stomach, gastric
brain, cerebral
spleen, splenic
pancreas, pancreatic
colon, colonic, large bowel, large intestine
small bowel, small intestine
bowel, intestine, intestinal
esophagus, oesophagus, esophageal
trachea, tracheal, windpipe
bronchus, bronchi, bronchial
bone, osseous
rib, costal
vertebra, vertebrae, vertebral
spine, spinal column, vertebral column
skull, cranium, cranial
chest, thorax, thoracic
abdomen, abdominal, belly
pelvis, pelvic
breast, mammary
uterus, uterine, womb
ovary, ovarian
prostate, prostatic
artery, arterial
vein, venous
blood vessel, vascular
aorta, aortic
pleura, pleural
diaphragm, diaphragmatic
mediastinum, mediastinal
eye, ocular
skin, cutaneous
collarbone, clavicle
shoulder blade, scapula
breastbone, sternum
thigh bone, femur, femoral
kneecap, patella
x-ray, radiograph, plain film
ct, computed tomography, cat scan
mri, magnetic resonance imaging
pet, positron emission tomography
ultrasound, sonography, ultrasonography, sonogram
ecg, ekg, electrocardiogram
mammogram, mammography
axial, transverse
tumor, tumour, neoplasm
cancer, carcinoma, malignancy
metastasis, metastases, metastatic
bleeding, hemorrhage, haemorrhage
swelling, edema, oedema
fracture, broken bone
infarct, infarction
stroke, cerebrovascular accident
heart attack, myocardial infarction
enlarged heart, cardiomegaly
enlarged liver, hepatomegaly
enlarged spleen, splenomegaly
gallstone, cholelithiasis
kidney stone, renal calculus, nephrolithiasis
cyst, cystic
nodule, nodular
opacity, opacification
calcification, calcified
ischemia, ischaemia, ischemic
anemia, anaemia
"""

GROUPS = tuple(tuple(line.split(", ")) for line in _GROUPS.strip().splitlines())


_WORD = re.compile(
    r"\w+|[^\w\s-]"
)  # a punctuation mark is a word of its own, and so parts what it stands between


def _forms(term: str) -> set[str]:
    """A term and its regular plurals, hyphens and spaces left out: "x-ray" is {"xray", "xrays", "xrayes"}."""
    squashed = re.sub(r"[-\s]", "", term)
    return {squashed, f"{squashed}s", f"{squashed}es", re.sub("y$", "ies", squashed)}


_TERMS = {form: (term, group) for group in GROUPS for term in group for form in _forms(term)}
_MOST_WORDS = max(len(re.split(r"[-\s]", term)) for term, _ in _TERMS.values())


def expand_synonyms(text: str) -> str:
    """`text` with the missing names of what it names in brackets behind it, in the order it names them.

    Whole words count, in any case: "Is the kidney enlarged?" becomes "Is the kidney enlarged? (renal)". A
    text that names nothing of the table, or has all the names, stays as it is; so does an expanded one.
    """
    named = list(_named(text))
    present = {term for term, _ in named}
    groups = dict.fromkeys(group for _, group in named)
    missing = [term for group in groups for term in group if term not in present]
    return f"{text} ({', '.join(missing)})" if missing else text


def _named(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The terms in a text and their groups. The longest counts: "kidney stone" names the stone alone."""
    words = _WORD.findall(text.casefold())
    start = 0
    while start < len(words):
        for end in range(start + _MOST_WORDS, start, -1):
            found = _TERMS.get("".join(words[start:end]))
            if found:
                yield found
                start = end
                break
        else:
            start += 1
