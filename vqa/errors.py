"""The one exception that means "the input is at fault, not the program"."""

from collections.abc import Sequence


class UserError(Exception):
    """A mistake in what the user gave: shown as a message without a traceback, and a non-zero exit."""


class InputErrors(UserError):
    """Every fault found in an input, reported together.

    Args:
        problems: one line per fault, each naming file, line and field.
        shown: how many are spelled out in the message; the rest are counted.
    """

    def __init__(self, problems: Sequence[str], shown: int = 50) -> None:
        self.problems = list(problems)
        lines = self.problems[:shown]
        if len(self.problems) > shown:
            lines.append(f"... and {len(self.problems) - shown} more")
        noun = "problem" if len(self.problems) == 1 else "problems"
        super().__init__(f"{len(self.problems)} {noun} in the input\n" + "\n".join(lines))
