"""Caption consistency as a module of `evaluate`."""

from vqa.embeddings import DEFAULT_ENCODER, SentenceEncoder
from vqa.metrics.consistency import TAUS, consistency_table, expand_synonyms
from vqa.metrics.hf import base


class CaptionConsistency(base.Module):
    """Whether captions are about the questions, and answers right where they are: cosine of the two texts.

    predictions: captions, records with an empty one left out; references: questions; correct: whether each
    answer is right.
    taus: similarities from which on a record is covered (default 0.3, 0.4, 0.5, 0.6); synonyms: give both
    texts the other names of the medical things they name; encoder, device: the sentence encoder.
    Returns {TAU: {"coverage", "accuracy"}}.
    """

    columns = {"predictions": base.TEXT, "references": base.TEXT, "correct": base.FLAG}

    def _compute(
        self,
        predictions,
        references,
        correct,
        taus=TAUS,
        synonyms=False,
        encoder=DEFAULT_ENCODER,
        device=None,
    ):
        rows = [row for row in zip(predictions, references, correct, strict=True) if row[0].strip()]
        if not rows:
            return consistency_table([], [], taus)
        captions, questions, verdicts = zip(*rows, strict=True)
        if synonyms:
            captions, questions = (list(map(expand_synonyms, texts)) for texts in (captions, questions))
        return consistency_table(
            SentenceEncoder(encoder, device=device).similarity(questions, captions), verdicts, taus
        )
