"""Draw the training loss of a run: python models/plot_loss.py RUN_DIR/run.json docs/images/loss.png"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main(run_file: Path, picture: Path) -> None:
    """Loss, and share of supervised tokens predicted right, against steps."""
    log = [entry for entry in json.loads(run_file.read_text(encoding="utf-8"))["log"] if "loss" in entry]
    steps = [entry["step"] for entry in log]
    figure, left = plt.subplots(figsize=(7, 3.5), layout="constrained")
    left.plot(steps, [entry["loss"] for entry in log], color="tab:blue", label="loss")
    left.set_xlabel("step")
    left.set_ylabel("loss on answers", color="tab:blue")
    left.set_yscale("log")
    right = left.twinx()
    right.plot(steps, [entry["mean_token_accuracy"] for entry in log], color="tab:orange")
    right.set_ylabel("answer tokens right", color="tab:orange")
    right.set_ylim(0, 1)
    left.grid(alpha=0.3)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=130)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
