"""Our metrics and lmms-eval's own functions on the same pairs, in one run: seconds and disagreements.

    git clone https://github.com/EvolvingLMMs-Lab/lmms-eval ../lmms-eval
    python benchmarks/metrics.py --lmms_eval ../lmms-eval

Prints a table in Markdown, then what evaluate.py as a whole takes on these pairs, and writes
outputs/benchmarks/metrics.json. `--lmms_eval` may also be the folder
that an installed lmms-eval lies in. Only the functions compared are taken out of its files, since importing
them would need its models. A disagreement is a pair that the two score differently; the first is shown.
"""

import ast
import random
import re
import resource
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa.cli import option, parse_arguments, run
from vqa.errors import UserError
from vqa.files import write_json, write_jsonl
from vqa.metrics.matching import read_yes_no
from vqa.metrics.ocrbench import ocrbench_match
from vqa.metrics.relaxed import relaxed_match, relaxed_match_strict
from vqa.metrics.text import anls
from vqa.metrics.vqa_accuracy import evalai_normalize, vqa_accuracy

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "outputs/benchmarks/metrics.json"
EVALUATE = ROOT / "evaluate.py"
WORDS = (
    "total invoice date liver lesion left lobe street nodule amount price region 12 kg name of the".split()
)


@dataclass
class BenchmarkArguments:
    """What to compare with, and on how much."""

    lmms_eval: str = option("../lmms-eval", "folder that holds lmms-eval's package `lmms_eval`")
    pairs: int = option(100_000, "pairs of a prediction and its accepted answer")
    seed: int = option(0, "of the pairs")


@dataclass
class Pair:
    """One prediction, its accepted answer, and ten annotators of whom most wrote that answer."""

    prediction: str
    answer: str
    annotations: list[str]


def take(root: str, module: str, names: Sequence[str], given: dict[str, Any]) -> list[Any]:
    """Functions and classes of one file of lmms-eval, without their decorators and the file's imports.

    Raises:
        UserError: the file is not there, or a name is not in it.
    """
    path = Path(root) / "lmms_eval" / module
    if not path.is_file():
        raise UserError(f"{path}: no such file; --lmms_eval names the folder that holds lmms_eval/")
    found = [
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in names
    ]
    missing = set(names) - {node.name for node in found}
    if missing:
        raise UserError(f"{path}: holds no {', '.join(sorted(missing))}")
    for node in found:
        node.decorator_list = []
    scope = dict(given)
    exec(compile(ast.Module(found, []), str(path), "exec"), scope)
    return [scope[name] for name in names]


def make_pairs(count: int, seed: int) -> list[Pair]:
    """Answers as documents, charts and radiology have them, and predictions near and far."""
    rng = random.Random(seed)
    return [_pair(rng) for _ in range(count)]


def _pair(rng: random.Random) -> Pair:
    kind = rng.choices(("text", "number", "year", "yes_no"), (50, 25, 10, 15))[0]
    if kind == "text":
        answer = " ".join(rng.choices(WORDS, k=rng.randint(1, 5)))
        prediction = _misread(answer, rng) if rng.random() < 0.7 else " ".join(rng.choices(WORDS, k=3))
        if rng.random() < 0.05:
            prediction += " " * rng.randint(1, 40)
    elif kind == "number":
        value = round(10 ** rng.uniform(-1, 5), rng.choice((0, 1, 2)))
        answer = f"{value:g}" + rng.choice(("", "", "%"))
        near = value * rng.choice((1, 1, 0.97, 1.05, 1.2))
        prediction = rng.choice((f"{near:g}", f"{near:,.2f}", f"{near:g}%", f"${near:g}"))
    elif kind == "year":
        answer = str(rng.randint(1950, 2025))
        prediction = answer if rng.random() < 0.5 else str(rng.randint(1950, 2025))
    else:
        answer = rng.choice(("yes", "no"))
        prediction = rng.choice(
            (answer, f"{answer.title()}.", f"{answer.title()}, there is a nodule.", "There is no nodule.")
            + ("The lung is abnormal.", "abnormal", "yes or no", "normal", "not sure")
        )
    others = rng.choices((answer, answer.title(), f"the {answer}", prediction, "unanswerable"), k=9)
    return Pair(prediction, answer, [answer, *others])


def _misread(text: str, rng: random.Random) -> str:
    letters = list(text)
    for _ in range(rng.randint(0, 4)):
        letters[rng.randrange(len(letters))] = rng.choice(string.ascii_lowercase)
    return "".join(letters)


Scorer = Callable[[Pair], float]


def comparisons(root: str) -> list[tuple[str, Scorer, Scorer]]:
    """(what is compared, ours, theirs)."""
    _, their_anls = take(root, "api/metrics.py", ["levenshtein_distance", "anls"], {})
    (processor,) = take(root, "tasks/_task_utils/vqa_eval_metric.py", ["EvalAIAnswerProcessor"], {"re": re})
    given = {"EvalAIAnswerProcessor": processor, "statistics": statistics}
    (textvqa,) = take(root, "tasks/textvqa/utils.py", ["textvqa_process_results"], given)
    (relaxed,) = take(root, "tasks/chartqa/utils.py", ["relaxed_correctness"], {})
    names = ["_fold_fullwidth_ascii", "ocrbench_process_results"]
    _, ocrbench = take(root, "tasks/ocrbench/utils.py", names, {})
    (mme_answer,) = take(root, "tasks/mme/utils.py", ["parse_pred_ans"], {})

    def their_vqa(pair: Pair) -> float:
        document = {"answers": list(pair.annotations), "question_id": 0}
        return textvqa(document, [pair.prediction])["exact_match"]

    def their_ocrbench(pair: Pair) -> float:
        document = {"answer": [pair.answer], "dataset": "", "question_type": ""}
        return ocrbench(document, [pair.prediction])["ocrbench_accuracy"]["score"]

    def their_relaxed(pair: Pair) -> float:
        return relaxed(pair.prediction, pair.answer)

    normalizer = processor()
    return [
        (
            "ANLS",
            lambda pair: anls(pair.prediction, [pair.answer]),
            lambda pair: their_anls([pair.answer], [pair.prediction])["anls"],
        ),
        ("VQA accuracy", lambda pair: vqa_accuracy(pair.prediction, pair.annotations), their_vqa),
        (
            "EvalAI normalisation",
            lambda pair: evalai_normalize(pair.prediction),
            lambda pair: normalizer(pair.prediction),
        ),
        ("relaxed accuracy", lambda pair: relaxed_match(pair.prediction, [pair.answer]), their_relaxed),
        (
            "relaxed accuracy, ours strict",
            lambda pair: relaxed_match_strict(pair.prediction, [pair.answer]),
            their_relaxed,
        ),
        ("OCRBench", lambda pair: ocrbench_match(pair.prediction, [pair.answer]), their_ocrbench),
        (
            "yes or no (MME)",
            lambda pair: read_yes_no(pair.prediction) or "other",
            lambda pair: mme_answer(pair.prediction),
        ),
    ]


def compare(name: str, ours: Scorer, theirs: Scorer, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Seconds of either on all pairs, the number of disagreements and the first."""
    start = time.perf_counter()
    our_scores = [ours(pair) for pair in pairs]
    middle = time.perf_counter()
    their_scores = [theirs(pair) for pair in pairs]
    end = time.perf_counter()
    differ = [
        (pair, a, b)
        for pair, a, b in zip(pairs, our_scores, their_scores, strict=True)
        if (a != b if isinstance(a, str) else abs(a - b) > 1e-9)
    ]
    example = ""
    if differ:
        pair, a, b = differ[0]
        example = f"{pair.prediction!r} for {pair.answer!r}: {_shown(a)}, {_shown(b)}"
    return {
        "metric": name,
        "seconds_ours": middle - start,
        "seconds_lmms_eval": end - middle,
        "disagreements": len(differ),
        "example": example,
    }


def evaluate_all(pairs: Sequence[Pair], seed: int) -> dict[str, float]:
    """Seconds and peak memory (MB) of evaluate.py on the pairs as a prediction file, five to an image.

    Every metric that the pairs allow, their intervals, and the report.
    """
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "predictions.jsonl"
        write_jsonl(
            file,
            (
                {
                    "id": str(number),
                    "pred": pair.prediction,
                    "qtype": "yes_no" if pair.answer in ("yes", "no") else "extractive",
                    "answers": [pair.answer],
                    "confidence": rng.random(),
                    "images": [f"{number // 5}.png"],
                    "meta": {"answers": pair.annotations},
                }
                for number, pair in enumerate(pairs)
            ),
        )
        start = time.perf_counter()
        command = [sys.executable, str(EVALUATE), "--predictions_file", str(file)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000}


def _shown(score: Any) -> str:
    return score if isinstance(score, str) else f"{float(score):.3g}"


def main() -> None:
    """Compare everything and print the table."""
    (args,) = parse_arguments(BenchmarkArguments, description=__doc__)
    scorers = comparisons(args.lmms_eval)
    pairs = make_pairs(args.pairs, args.seed)
    print(f"{args.pairs:,} pairs, seed {args.seed}\n")
    print("| metric | ours, s | lmms-eval, s | disagreements | the first: ours, lmms-eval |")
    print("|---|---|---|---|---|")
    rows = [compare(name, ours, theirs, pairs) for name, ours, theirs in scorers]
    for row in rows:
        seconds = f"{row['seconds_ours']:.2f} | {row['seconds_lmms_eval']:.2f}"
        print(f"| {row['metric']} | {seconds} | {row['disagreements']:,} | {row['example']} |")
    whole = evaluate_all(pairs, args.seed)
    print(f"\nevaluate.py on the same pairs: {whole['seconds']:.1f} s, {whole['peak_mb']:.0f} MB at most")
    write_json(OUTPUT, {"pairs": args.pairs, "seed": args.seed, "rows": rows, "evaluate": whole})


if __name__ == "__main__":
    run(main)
