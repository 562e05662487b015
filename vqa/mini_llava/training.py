"""A composed model as what a training script starts from."""

import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vqa.arguments import ModelArguments
from vqa.errors import UserError
from vqa.files import write_json
from vqa.mini_llava.build import MiniLlavaArguments, PartArguments, build_mini_llava, plan_mini_llava

PARTS_FILE = "parts.json"


def compose(parts: PartArguments, names: ModelArguments, args: Any) -> ModelArguments:
    """With `--llm_name`: the model's arguments, naming what was put together in `OUTPUT/start`.

    It is made where it is not there yet, by one process; in a dry run only its config, in a temporary folder.

    Args:
        args: training arguments, whose `output_dir`, `seed` and `dry_run` count.

    Raises:
        UserError: both a model and parts are named, or `OUTPUT/start` has other parts.
    """
    if parts.llm_name is None:
        return names
    if names.model_name_or_path:
        raise UserError(
            "--llm_name puts a model together, --model_name_or_path names one: leave one of them out"
        )
    dtype = "float32" if names.model_dtype == "auto" else names.model_dtype
    wanted = MiniLlavaArguments(**asdict(parts), image_size=names.image_size, dtype=dtype, seed=args.seed)
    folder = Path(args.output_dir) / "start"
    if args.dry_run:
        title = f"{parts.vision_name} + {parts.connector} + {parts.llm_name}".replace("/", " ")
        folder = Path(tempfile.mkdtemp(prefix="plan-")) / title
        plan_mini_llava(wanted).config.save_pretrained(folder)
        return replace(names, model_name_or_path=str(folder), image_size=None)
    with args.distributed_state.main_process_first():
        if (folder / PARTS_FILE).is_file():
            there = json.loads((folder / PARTS_FILE).read_text(encoding="utf-8"))
            differing = [name for name, value in asdict(wanted).items() if there.get(name) != value]
            if differing:
                name = differing[0]
                raise UserError(
                    f"{folder}: was put together with --{name} {there.get(name)}, not {vars(wanted)[name]}; "
                    "name another --output_dir, or delete it"
                )
        else:
            model, processor = build_mini_llava(wanted)
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
            write_json(folder / PARTS_FILE, asdict(wanted))  # last: a folder without it is not whole
    return replace(names, model_name_or_path=str(folder), image_size=None)
