"""One way to parse arguments and to fail, for every script.

TRL's `TrlParser` does the work (`--config FILE.yaml`, `--key value` overrides, `env:` in the YAML);
this wrapper turns its exceptions into one line each.
"""

import argparse
import dataclasses
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from trl import TrlParser

from vqa.errors import UserError


def parse_arguments(
    *dataclass_types: type,
    description: str | None = None,
    argv: Sequence[str] | None = None,
    prog: str | None = None,
) -> tuple[Any, ...]:
    """Parse `--config FILE.yaml` and `--key value` overrides into one instance per dataclass.

    Args:
        dataclass_types: the dataclasses whose fields are the arguments.
        description: the text above the options in `--help`, usually the script's docstring.
        argv: the arguments without the program's name; default: those of this process.
        prog: the name shown in usage and errors.

    Raises:
        UserError: unknown key, bad value, missing or malformed config file. The message names the key.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = _OneLineParser(
        dataclass_types,
        prog=prog,
        description=description,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    config = _config_path(argv)
    if config is not None:
        _check_config(config, dataclass_types)
    try:
        return parser.parse_args_and_config(args=argv)
    except (ValueError, TypeError) as error:
        raise UserError(str(error).replace("\n", " ")) from error


def parse_stages(
    *dataclass_types: type, description: str | None = None, argv: Sequence[str] | None = None
) -> dict[str, tuple[Any, ...]]:
    """As `parse_arguments`, once for each entry of `stages` in the config: its name, and what came of it.

    A stage is a mapping of `name` and of keys that stand in place of the config's own; options of the command
    line stand in place of both. Without `stages` there is one, named "".

    Raises:
        UserError: as `parse_arguments`, or stages without a name, or with one that two have.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    path = _config_path(argv)
    config = {} if path is None else _read_config(path)
    if "stages" not in config:
        return {"": parse_arguments(*dataclass_types, description=description, argv=argv)}
    stages = config.pop("stages")
    named = isinstance(stages, list) and all(
        isinstance(stage, dict) and stage.get("name") for stage in stages
    )
    names = [f"{stage['name']}" for stage in stages] if named else []
    if not names or len(set(names)) < len(names) or any(set(name) & set("/\\.") for name in names):
        raise UserError(f"{path}: stages: a list of mappings, each with a name of its own (no /, no dot)")
    parsed = {}
    for name, stage in zip(names, stages, strict=True):
        merged = config | {key: value for key, value in stage.items() if key != "name"}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / path.name
            file.write_text(yaml.safe_dump(merged, sort_keys=False), encoding="utf-8")
            given = [str(file) if argument == str(path) else argument for argument in argv]
            try:
                parsed[name] = parse_arguments(*dataclass_types, description=description, argv=given)
            except UserError as error:
                raise UserError(f"{path}: stage {name}: {str(error).replace(f'{file}: ', '')}") from error
    return parsed


def run(main: Callable[[], int | None]) -> None:
    """Call `main` and exit: 0 or its return value; 2 with a message for a `UserError`; 130 for Ctrl-C.

    Where nobody reads any more (`| head`) it ends as the shell's own commands do, with 141.
    """
    try:
        code = main()
        sys.stdout.flush()
    except UserError as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        code = 141
    sys.exit(code or 0)


def positional_first(argv: Sequence[str], name: str) -> list[str]:
    """`argv` with a leading value written as the option `--name`, which a config file may give as well."""
    return [f"--{name}", *argv] if argv and not argv[0].startswith("-") else list(argv)


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """The description as written, and every option's default."""


class _OneLineParser(TrlParser):
    def error(self, message: str):
        raise UserError(f"{message} (see --help)")


def _config_path(argv: list[str]) -> Path | None:
    for argument in argv:
        if argument.startswith("--config="):
            raise UserError(
                f"write '--config {argument.removeprefix('--config=')}', with a space instead of '='"
            )
    if "--config" not in argv:
        return None
    index = argv.index("--config") + 1
    if index == len(argv):
        raise UserError("--config takes the path of a YAML file")
    path = Path(argv[index])
    if not path.is_file():
        raise UserError(f"--config {path}: no such file")
    return path


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: a config is a YAML mapping of 'key: value' lines")
    return config


def _check_config(path: Path, dataclass_types: Sequence[type]) -> None:
    """Name the offending key of a YAML file, which argparse would report as a bare string of arguments."""
    config = _read_config(path)
    known = {field.name for kind in dataclass_types for field in dataclasses.fields(kind) if field.init} | {
        "env"
    }
    unknown = [str(key) for key in config if key not in known]
    if unknown:
        raise UserError(f"{path}: unknown key{'s' * (len(unknown) > 1)}: {', '.join(unknown)}")
    if not isinstance(config.get("env", {}), dict):
        raise UserError(f"{path}: env: expected a mapping of environment variables")


def option(default: Any, text: str) -> Any:
    """A dataclass field that `parse_arguments` offers as an option.

    Args:
        default: the value without the option. A list is copied, so that no two instances share one.
        text: its line in `--help`.
    """
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata={"help": text})
    return dataclasses.field(default=default, metadata={"help": text})


def is_main_process() -> bool:
    """Whether this process is the one that prints (rank 0, or the only one)."""
    return int(os.environ.get("RANK", "0")) == 0
