"""When an answer is withheld, as arguments say it, and the file that keeps a threshold by its checkpoint."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vqa.abstention import Abstention
from vqa.cli import option
from vqa.errors import UserError
from vqa.files import sha256_file, write_json

ABSTENTION_FILE = "abstention.json"


@dataclass
class AbstentionArguments:
    """When an answer is withheld."""

    abstain_below: float | None = option(None, "withhold answers of less confidence")
    target_risk: float | None = option(
        None,
        "withhold answers below the lowest threshold that leaves at most this share of wrong ones",
    )
    calibration_file: str | None = option(
        None,
        "record file (JSONL) to choose that threshold on; it is kept with the checkpoint",
    )
    risk_confidence: float | None = option(
        None,
        "how sure, such as 0.95, the target is beyond the calibration file; default: no promise",
    )
    abstention_file: str | None = option(
        None, f"where the threshold is kept; default: {ABSTENTION_FILE} in the checkpoint's folder"
    )

    def __post_init__(self) -> None:
        if self.abstain_below is not None and self.target_risk is not None:
            raise UserError("give --abstain_below or --target_risk, not both")
        for name in ("calibration_file", "risk_confidence", "abstention_file"):
            if vars(self)[name] is not None and self.target_risk is None:
                raise UserError(f"--{name} goes with --target_risk")
        if self.abstain_below is not None and not 0 <= self.abstain_below <= 1:
            raise UserError(f"--abstain_below {self.abstain_below}: from 0 to 1")
        if self.target_risk is not None and not 0 <= self.target_risk < 1:
            raise UserError(f"--target_risk {self.target_risk}: a share of wrong answers, such as 0.05")
        if self.risk_confidence is not None and not 0.5 <= self.risk_confidence < 1:
            raise UserError(f"--risk_confidence {self.risk_confidence}: from 0.5 to below 1, such as 0.95")

    @property
    def delta(self) -> float | None:
        """The chance that the bound may fail; None: no bound."""
        return None if self.risk_confidence is None else round(1 - self.risk_confidence, 12)

    def path(self, checkpoint: str) -> Path:
        """Where the threshold of this checkpoint is kept.

        Raises:
            UserError: the checkpoint is not a folder, and no file is named.
        """
        if self.abstention_file is None and not Path(checkpoint).is_dir():
            raise UserError(
                f"--target_risk: {checkpoint} is no local folder; name a file with --abstention_file"
            )
        return Path(self.abstention_file or Path(checkpoint) / ABSTENTION_FILE)


def weights_sha256(checkpoint: str) -> str:
    """One hash of a checkpoint's weight files; of a model of the hub its name."""
    if not Path(checkpoint).is_dir():
        return checkpoint
    files = sorted(Path(checkpoint).glob("*.safetensors"))
    return hashlib.sha256("".join(sha256_file(file) for file in files).encode()).hexdigest()


def write_abstention(
    path: Path, found: Abstention, settings: Mapping[str, Any], validation: str, count: int
) -> None:
    """Keep a threshold, atomically.

    Args:
        settings: all that the confidences depend on.
        validation: the record file it was chosen on.
        count: how many of its records were used.
    """
    data = {"file": validation, "sha256": sha256_file(validation), "count": count}
    write_json(path, asdict(found) | {"validation": data, "settings": dict(settings)})


def read_threshold(path: Path, target_risk: float, delta: float | None, settings: Mapping[str, Any]) -> float:
    """The threshold that `write_abstention` kept. A delta of None takes one made with a bound, too.

    Raises:
        UserError: there is none, it is damaged, or it was made for another target or other settings.
    """
    anew = "give --calibration_file to make it"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        threshold, made_for = float(stored["threshold"]), stored | stored["settings"]
    except FileNotFoundError as error:
        raise UserError(f"--target_risk: {path} does not exist; {anew}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a file that keeps a threshold ({error!r}); {anew} anew") from error
    wanted = {"target_risk": target_risk, **settings} | ({} if delta is None else {"delta": delta})
    differing = [name for name, value in wanted.items() if made_for.get(name) != value]
    if differing:
        raise UserError(f"{path}: was made for another {', '.join(differing)}; {anew} anew")
    return threshold
