"""Weights inside installed packages, found without running a line of the package."""

import importlib.util
from pathlib import Path

from vqa.errors import UserError
from vqa.files import sha256_file


def packaged_file(package: str, file: str, sha256: str, kind: str, name: str, install: str) -> Path:
    """A file of an installed package, checked against its hash.

    Args:
        package: its name on PyPI.
        file: path inside it, with `/`.
        sha256: of the file's bytes.
        kind, name: what it holds, for messages: "language model", "SmolLM2".
        install: the command that installs the package.

    Raises:
        UserError: the package is not installed, or its file is another; the message says what to run.
    """
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{kind} {name}: not installed; run `{install}`")
    path = Path(spec.submodule_search_locations[0]) / file
    if not path.is_file() or sha256_file(path) != sha256:
        raise UserError(
            f"{path}: not the weights of {name} (by their sha256); run `{install} --force-reinstall`"
        )
    return path
