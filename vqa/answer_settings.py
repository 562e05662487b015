"""What a checkpoint must be asked with: the style, coordinates and pixel limits it was trained with."""

from dataclasses import dataclass

from vqa import runs
from vqa.models import load_config


@dataclass(frozen=True)
class AnswerSettings:
    """How answers are asked for.

    Attributes:
        style: one of `vqa.prompts.STYLES`.
        box_format: coordinates in the text, `norm1000` or `pixels` of the resized image.
        min_pixels, max_pixels: limits for images of the Qwen families; None: qwen-vl-utils' own.
        allow_unanswerable: whether the model was trained to say so.
    """

    style: str
    box_format: str
    min_pixels: int | None
    max_pixels: int | None
    allow_unanswerable: bool

    @property
    def pixel_limits(self) -> dict[str, int | None]:
        """The limits as `PromptEncoder` takes them."""
        return {"min_pixels": self.min_pixels, "max_pixels": self.max_pixels}


def answer_settings(
    checkpoint: str,
    base: str | None = None,
    *,
    style: str | None = None,
    box_format: str | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> AnswerSettings:
    """As given, else as the checkpoint was trained by its run file, else by default.

    Args:
        checkpoint: hub name or folder of a model, or folder of an adapter.
        base: the model an adapter goes on; default: the one that the adapter names.

    Raises:
        UserError: there is no such model, or its run file is not valid JSON.
    """
    trained = runs.read_run_file(checkpoint)
    by_family = "pixels" if load_config(base or checkpoint).model_type == "qwen2_5_vl" else "norm1000"
    return AnswerSettings(
        style=style or trained.get("answer_style", "short"),
        box_format=box_format or trained.get("box_format", by_family),
        min_pixels=min_pixels or trained.get("min_pixels"),
        max_pixels=max_pixels or trained.get("max_pixels"),
        allow_unanswerable=trained.get("trained_on_unanswerable", False),
    )
