"""Constrained against free decoding on easy-VQA: base model, fine-tuned model, and the majority answer.

    make quickstart && python benchmarks/easy_vqa.py --limit 2000

Prints a table in Markdown and writes outputs/benchmarks/easy_vqa.json. Each model answers through
`predict.py`; `valid` is the share of its predictions that are among the candidates of the record.
"""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from vqa.cli import option, parse_arguments, run
from vqa.files import write_json
from vqa.metrics.matching import normalize_text
from vqa.questions import is_correct

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "outputs/benchmarks"


@dataclass
class BenchmarkArguments:
    """What to compare."""

    data: str = option("data/easy_vqa", "folder with train.jsonl and test.jsonl")
    base: str = option("models/tiny-vqa-base", "the model before fine-tuning")
    tuned: str = option("outputs/quickstart/model", "the model after it")
    limit: int | None = option(None, "answer the first so many test questions only")
    batch_size: int = option(64, "questions a batch")


def read_jsonl(path: Path) -> list[dict]:
    """All rows of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def predict(args: BenchmarkArguments, name: str, model: str, decoding: str) -> list[dict]:
    """Predictions of one model under one decoding."""
    output = OUTPUT / f"easy_vqa_{name}_{decoding}.jsonl"
    command = [sys.executable, "predict.py", "--model_name_or_path", model, "--answer_style", "short"]
    command += ["--records", f"{args.data}/test.jsonl", "--output_file", output, "--decoding", decoding]
    command += ["--batch_size", args.batch_size, "--cache_vision_features", f"{args.data}/features"]
    command += ["--limit", args.limit] if args.limit else []
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)
    return read_jsonl(output)


def judge(rows: list[dict]) -> dict[str, dict]:
    """Accuracy by type and overall, and the share of predictions among the candidates."""
    by_type = defaultdict(list)
    for row in rows:
        by_type[row["qtype"]].append(row)
    result = {}
    for name, members in [*sorted(by_type.items()), ("overall", rows)]:
        right = sum(is_correct(r["qtype"], r["pred"], r["answers"], r["answer_candidates"]) for r in members)
        valid = sum(
            normalize_text(row["pred"]) in map(normalize_text, row["answer_candidates"]) for row in members
        )
        result[name] = {
            "count": len(members),
            "accuracy": right / len(members),
            "valid": valid / len(members),
        }
    return result


def majority(train: list[dict], test: list[dict]) -> dict[str, dict]:
    """The commonest training answer of each question type, given to every test question of the type."""
    answers = defaultdict(Counter)
    for record in train:
        answers[record["question_type"]][record["answers"][0]] += 1
    guesses = {name: counts.most_common(1)[0][0] for name, counts in answers.items()}
    return judge([{**r, "qtype": r["question_type"], "pred": guesses[r["question_type"]]} for r in test])


def main() -> None:
    """Run what is missing and print the table."""
    (args,) = parse_arguments(BenchmarkArguments, description=__doc__)
    test = read_jsonl(ROOT / args.data / "test.jsonl")[: args.limit]
    results = {"majority answer": majority(read_jsonl(ROOT / args.data / "train.jsonl"), test)}
    for name, model in (("base", args.base), ("tuned", args.tuned)):
        for decoding in ("constrained", "free"):
            results[f"{name}, {decoding}"] = judge(predict(args, name, model, decoding))
    write_json(OUTPUT / "easy_vqa.json", results)
    types = list(next(iter(results.values())))
    print("| model | " + " | ".join(f"{name} acc / valid" for name in types) + " |")
    print("|---" * (len(types) + 1) + "|")
    for name, scores in results.items():
        cells = [f"{scores[kind]['accuracy']:.1%} / {scores[kind]['valid']:.1%}" for kind in types]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    run(main)
