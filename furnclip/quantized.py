"""CLIP's image tower in eight bits through ONNX Runtime, for catalogues on a CPU (extra ``fast``).

Weights are int8 by output channel, activations uint8 by batch, sums int32; all but the products
of matrices stays float32, and texts stay with the full model. It is only let loose on a catalogue
on which it was shown to find the same products: ``top_overlap`` is the measure.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from furnclip.encoder import Encoder, library_output_hidden, normalised_pixels
from furnclip.errors import DataError, UsageError
from furnclip.files import atomic_path
from furnclip.nearest import top_k

if TYPE_CHECKING:
    import torch

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]
MODEL = "image-int8.onnx"


def require_runtime(device: str) -> None:
    """Raise ``UsageError`` where int8 cannot run: on another device, or without the extra."""
    if device not in {"auto", "cpu"}:
        raise UsageError(
            f"--precision int8 is for the CPU, not for {device}", hint="use --precision auto"
        )
    if not (find_spec("onnxruntime") and find_spec("onnx")):
        raise UsageError(
            "--precision int8 needs ONNX Runtime", hint="install it: pip install 'furnclip[fast]'"
        )


class Int8Encoder:
    """An encoder whose images go through the eight-bit tower kept in ``folder``."""

    precision = "int8"
    device = "cpu"

    def __init__(self, full: Encoder, folder: Path) -> None:
        import onnxruntime
        import torch

        self.full = full
        self.dim, self.image_size = full.dim, full.image_size
        path = folder / MODEL
        if not path.is_file():
            _write_tower(full, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its own exception types, one for each code
            raise DataError(
                f"cannot load {path}: {str(error).splitlines()[0]}",
                hint="remove the file: it is made again",
            ) from error

    def pixels(self, pixels: UInt8) -> Float32:
        """Embed decoded squares ``(n, image_size, image_size, 3)`` into ``(n, dim)`` float32."""
        settings = self.full.processor.image_processor
        planes = normalised_pixels(pixels, mean=settings.image_mean, std=settings.image_std)
        (features,) = self._session.run(None, {"pixels": planes.numpy()})
        norms = np.linalg.norm(features, axis=1, keepdims=True)
        return np.asarray(features / np.maximum(norms, 1e-12), dtype=np.float32)

    def texts(self, texts: Sequence[str]) -> Float32:
        """Embed texts in float32, as the full model does."""
        return self.full.texts(texts)


def top_overlap(queries: Float32, full: Float32, low: Float32, *, k: int = 10) -> float:
    """Return the part of each query's k nearest of ``full`` that ``low`` has too, on average."""
    a, b = (top_k(queries, gallery, k)[0] for gallery in (full, low))
    common = [len(set(x) & set(y)) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    return float(np.mean(common) / max(1, a.shape[1]))


def _write_tower(full: Encoder, path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with atomic_path(path) as temporary, _root_logger_hidden():
        whole = temporary.with_suffix(".whole.tmp")
        try:
            _export(full, whole)
            quantize_dynamic(
                whole,
                temporary,
                op_types_to_quantize=["MatMul"],
                weight_type=QuantType.QInt8,
                per_channel=True,
            )
        finally:
            whole.unlink(missing_ok=True)


@contextmanager
def _root_logger_hidden() -> Iterator[None]:
    """Keep the quantiser's advice about another tool, given on the root logger, off stderr."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _export(full: Encoder, path: Path) -> None:
    import torch

    class Tower(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixels: torch.Tensor) -> Any:
            return self.model.get_image_features(pixel_values=pixels).pooler_output

    size = full.image_size
    exporter: Any = torch.onnx.export
    with warnings.catch_warnings(), library_output_hidden(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer's, about branches on fixed shapes
        exporter(
            Tower(full.model),
            (torch.zeros(2, 3, size, size),),
            str(path),
            input_names=["pixels"],
            output_names=["vectors"],
            dynamic_axes={"pixels": {0: "n"}, "vectors": {0: "n"}},
            opset_version=17,
            dynamo=False,
        )
