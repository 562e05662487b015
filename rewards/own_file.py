"""A reward out of the user's own file, which one line of a config names: `my_rewards.py:brevity`."""

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

from vqa.errors import UserError


def load_function(name: str) -> Callable[..., list[float | None]]:
    """The reward that "FILE.py:FUNCTION" names; the path starts from the current folder.

    The file is run, once however many of its functions are named: name only files that you trust.

    >>> load_function("nowhere.py:brevity")
    Traceback (most recent call last):
    vqa.errors.UserError: reward nowhere.py:brevity: nowhere.py: no such file

    Raises:
        UserError: no such file or function, the file fails when it is run, or what it holds under that name
            cannot be called with keywords of any name, as TRL calls a reward.
    """
    path_name, _, function_name = name.rpartition(":")
    path = Path(path_name)
    if not path.is_file():
        raise UserError(f"reward {name}: {path}: no such file")
    module = _run(path.resolve())
    if function_name not in vars(module):
        own = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise UserError(
            f"reward {name}: {path} has no {function_name!r}; its functions: {', '.join(own) or 'none'}"
        )
    reward = vars(module)[function_name]
    if not callable(reward) or inspect.isclass(reward):
        raise UserError(f"reward {name}: not a function, but {type(reward).__name__}")
    parameters = inspect.signature(reward).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        raise UserError(f"reward {name}: takes no **kwargs, and a reward is handed every column by its name")
    return reward


@cache
def _run(path: Path) -> ModuleType:
    # A name that hides no module of that name; it must be known for the file's dataclasses and for pickling.
    name = f"own_rewards_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code may raise
        del sys.modules[name]
        reason = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise UserError(f"{path}{_line_of(error, path)}: cannot be run: {reason}") from error
    return module


def _line_of(error: Exception, path: Path) -> str:
    """Where in the file it went wrong, as ":LINE"; "" where that is not known."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return f":{lines[-1]}" if lines else ""
