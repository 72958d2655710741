"""Exact nearest neighbours by inner product, on float16 vectors, with numpy and sometimes torch."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

Float16 = npt.NDArray[np.float16]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

_SIGN_EXPONENT_MANTISSA = np.int32(-0x70000001)  # 0x8FFFFFFF
_HALF_ERROR = 2e-3  # of a unit inner product in half precision; 5e-4 measured at most


def top_k(
    queries: npt.NDArray[Any],
    gallery: npt.NDArray[Any],
    k: int,
    *,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> tuple[Int64, Float32]:
    """Return the k nearest gallery rows of each query by inner product, best first.

    ``queries`` (q, d), ``gallery`` (n, d), ``allowed`` (n,) keeps some rows only. Gives indices
    (q, k) int64 and scores (q, k) float32; k shrinks to the rows allowed. Exact in float32; equal
    scores are ordered by row. One core, one query, 200k rows of 512: 34 ms with numpy, 13 ms when
    torch is loaded already and picks the candidates.
    """
    rows = np.arange(len(gallery)) if allowed is None else np.flatnonzero(allowed)
    k = max(0, min(k, len(rows)))
    if not len(queries):
        return np.empty((0, k), dtype=np.int64), np.empty((0, k), dtype=np.float32)
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    torch_pays = gallery.dtype == np.float16 and len(rows) >= 4096 and len(queries) <= 8
    if "torch" in sys.modules and torch_pays:
        found = [_nearest_candidates(query[None], gallery, k, rows, allowed) for query in queries]
        return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])
    return _exact(queries, gallery, k, rows)


def _exact(
    queries: Float32, gallery: npt.NDArray[Any], k: int, rows: Int64
) -> tuple[Int64, Float32]:
    best = np.empty((len(queries), 0), dtype=np.int64)
    scores = np.empty((len(queries), 0), dtype=np.float32)
    everything = len(rows) == len(gallery)
    step = max(16 * 1024, k)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        block = gallery[start : start + step] if everything else gallery[part]
        found = _inner(queries, block)
        best = np.concatenate([best, np.broadcast_to(part, found.shape)], axis=1)
        scores = np.concatenate([scores, found], axis=1)
        best, scores = _keep(best, scores, k)
    return best, scores


def _inner(queries: Float32, block: npt.NDArray[Any]) -> Float32:
    """Return (q, n) inner products in float32.

    numpy widens float16 one number at a time (181 ms for 200k x 512). Moving the bits into place
    gives the value times 2**-112, exactly and in SIMD (34 ms, product included); the queries carry
    the factor 2**112. Blocks of 1,024 rows stay in the cache.
    """
    if block.dtype != np.float16:
        return np.asarray(queries @ np.asarray(block, dtype=np.float32).T, dtype=np.float32)
    bits = np.ascontiguousarray(block).view(np.int16)
    scaled = queries.T * np.float32(2.0**112)
    scores = np.empty((len(queries), len(block)), dtype=np.float32)
    buffer = np.empty((min(1024, len(block)), block.shape[1]), dtype=np.int32)
    for start in range(0, len(block), 1024):
        piece = bits[start : start + 1024]
        wide = buffer[: len(piece)]
        wide[:] = piece  # the sign is extended to the left,
        wide <<= 13  # exponent and mantissa reach their float32 places,
        wide &= _SIGN_EXPONENT_MANTISSA  # and the copies of the sign go
        scores[:, start : start + 1024] = (wide.view(np.float32) @ scaled).T
    return scores


def _nearest_candidates(
    query: Float32,
    gallery: Float16,
    k: int,
    rows: Int64,
    allowed: npt.NDArray[np.bool_] | None,
) -> tuple[Int64, Float32]:
    """Find every row that may be among the k by a half precision product, then rank those exactly.

    The rounding of the query, of the product and of its sum is measured on the candidates
    themselves; where it exceeds the margin, or saves nothing, all rows are ranked exactly.
    """
    import torch

    norm = float(np.linalg.norm(query)) or 1.0
    with warnings.catch_warnings():  # a view of a memory-mapped file; nothing writes to it
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        stored = torch.from_numpy(gallery)
    rough = (stored @ torch.from_numpy((query[0] / norm).astype(np.float16))).float().numpy()
    if allowed is not None:
        rough = np.where(allowed, rough, -np.inf)
    kth = -np.partition(-rough, k - 1)[k - 1] if k else np.inf
    candidates = np.flatnonzero(rough >= kth - 2 * _HALF_ERROR)
    if len(candidates) > max(4 * k, len(rows) // 4):
        return _exact(query, gallery, k, rows)
    exact = _inner(query, gallery[candidates])
    if np.abs(exact[0] / norm - rough[candidates]).max(initial=0.0) > _HALF_ERROR:
        return _exact(query, gallery, k, rows)
    return _keep(candidates[None].astype(np.int64), exact, k)


def _keep(best: Int64, scores: Float32, k: int) -> tuple[Int64, Float32]:
    """Keep each row's k highest scores, the lower gallery row first among equals."""
    if scores.shape[1] > k > 0:
        # A tie at the border may leave out the lower row: take every score that reaches the kth.
        kth = -np.partition(-scores, k - 1, axis=1)[:, k - 1]
        width = int((scores >= kth[:, None]).sum(axis=1).max())
        if width < scores.shape[1]:
            part = np.argpartition(-scores, width - 1, axis=1)[:, :width]
            best = np.take_along_axis(best, part, axis=1)
            scores = np.take_along_axis(scores, part, axis=1)
    order = np.lexsort((best, -scores), axis=1)[:, :k]
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(scores, order, axis=1)
