"""sPyNNaker's `KernelConnector`, which PyNN does not have: cells on two sheets, connected as in a convolution."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynn_portability.errors import RequestError

FloatArray = NDArray[np.float64]

_LOCAL_ONLY = (
    "is not supported, as it belongs to neurons that SpiNNaker alone has, which keep their kernels in place of "
    "synapses; KernelConnector connects ordinary neurons by a kernel"
)
LOCAL_ONLY: Mapping[str, str] = MappingProxyType(
    {name: _LOCAL_ONLY for name in ("ConvolutionConnector", "PoolDenseConnector")}
)
"""Connectors of sPyNNaker for ``LocalOnly`` neurons, and the end of the sentence that refuses them."""


class KernelConnector:
    """Cells of two sheets, each numbered row by row, are connected where a kernel around a target reaches.

    - ``shape_pre``, ``shape_post``, ``shape_kernel``: rows and columns.
    - ``weight_kernel`` (nA or uS), ``delay_kernel`` (ms): a number for each entry of the kernel, shape
      ``shape_kernel``, or one for all, or a distribution that each entry is drawn from once. Without them the
      synapse type's hold.
    - ``pre_...`` and ``post_...``: where a sheet begins on the other one and how far apart its cells are there,
      in rows and columns. Of the sources only every step-th is connected.

    ``shape_common``, ``safe``, ``verbose`` and ``callback`` change no synapses. Raises RequestError for what is no
    shape or kernel.
    """

    def __init__(
        self,
        shape_pre: Any,
        shape_post: Any,
        shape_kernel: Any,
        weight_kernel: Any = None,
        delay_kernel: Any = None,
        shape_common: Any = None,
        pre_sample_steps_in_post: Any = None,
        pre_start_coords_in_post: Any = None,
        post_sample_steps_in_pre: Any = None,
        post_start_coords_in_pre: Any = None,
        safe: object = True,
        space: object = None,
        verbose: object = False,
        callback: object = None,
    ) -> None:
        if space is not None:
            raise RequestError("KernelConnector(space=...): allowed is None, as in sPyNNaker")
        self.pre = _two(shape_pre, "shape_pre")
        self.post = _two(shape_post, "shape_post")
        self.kernel = _two(shape_kernel, "shape_kernel")
        self.pre_step = _two(pre_sample_steps_in_post, "pre_sample_steps_in_post", 1)
        self.post_step = _two(post_sample_steps_in_pre, "post_sample_steps_in_pre", 1)
        self.pre_start = _two(pre_start_coords_in_post, "pre_start_coords_in_post", 0)
        self.post_start = _two(post_start_coords_in_pre, "post_start_coords_in_pre", 0)
        self.kernels = {
            name: self._values(value, f"{name}_kernel")
            for name, value in (("weight", weight_kernel), ("delay", delay_kernel))
            if value is not None
        }
        """By "weight" and "delay" an array of the kernel's shape, or a RandomDistribution of PyNN."""

    def _values(self, value: Any, name: str) -> Any:
        if hasattr(value, "next"):
            return value
        try:
            array = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            array = np.empty(0)
        if array.ndim and array.shape != self.kernel:
            rows, columns = self.kernel
            raise RequestError(
                f"KernelConnector({name}=...) has shape {array.shape}; allowed are numbers in {rows} rows and "
                f"{columns} columns, one number, and a RandomDistribution"
            )
        return np.full(self.kernel, array) if not array.ndim else array

    def connected(self, n_sources: int, n_targets: int) -> tuple[NDArray[np.int64], ...]:
        """Sources, targets, and rows and columns of the kernel; int64, shape ``(n,)`` each.

        A target stands at a place of the source sheet, rounded up to a whole one; the kernel's middle is there.
        """
        cells = np.divmod(np.arange(n_targets), self.post[1])
        middles = [
            # rounded up
            -((pre_start - post_start - cell * post_step) // pre_step)
            for cell, pre_start, post_start, pre_step, post_step in zip(
                cells, self.pre_start, self.post_start, self.pre_step, self.post_step, strict=True
            )
        ]
        found = []
        for row, column in np.ndindex(*self.kernel):
            r = middles[0] - self.kernel[0] // 2 + row
            c = middles[1] - self.kernel[1] // 2 + column
            source = r * self.pre[1] + c
            there = (r >= 0) & (c >= 0) & (c < self.pre[1]) & (source < n_sources)
            there &= (r - self.pre_start[0]) % self.pre_step[0] == 0
            there &= (c - self.pre_start[1]) % self.pre_step[1] == 0
            target = np.flatnonzero(there)
            found.append(
                np.stack([source[target], target, np.full_like(target, row), target * 0 + column])
            )
        pairs = np.concatenate(found, axis=1)
        # as in sPyNNaker: source by source
        return tuple(pairs[:, np.lexsort((pairs[1], pairs[0]))])


def _two(given: Any, name: str, least: int | None = None) -> tuple[int, int]:
    """Rows and columns; ``least`` is what they are when they are not given, and 1 is the least of a shape."""
    if given is None and least is not None:
        return least, least
    lowest = 1 if least is None else least
    try:
        array = np.asarray(given)
    except ValueError:
        array = np.empty(0)
    if array.shape != (2,) or array.dtype.kind not in "iu" or (array < lowest).any():
        raise RequestError(
            f"KernelConnector({name}={given!r}): allowed are two whole numbers from {lowest} on, for rows and columns"
        )
    return int(array[0]), int(array[1])
