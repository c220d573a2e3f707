"""A section in ONNX Runtime."""

import os
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from timeit import repeat
from typing import Any, Final

import numpy as np

from ddnn.errors import BadBundle
from ddnn.onnx_file import refuse_what_is_outside
from ddnn.onnx_parts import opened, part
from ddnn.types import Array

__all__ = ["Section", "cpu_quota", "every_value", "with_threads"]

_WORTH_S: Final = 0.002
_QUICKER: Final = 0.8
_RUNS: Final = 3
_MOST_NUMBERS: Final = 2**18  #: of a batch of several events whose inputs go through a section together


class Section:
    """One ONNX file, loaded, or the part of it from values `given` to values `wanted`; safe to call from threads."""

    at_once = 1  #: runs under way that it gains by

    def __init__(
        self, file: Path, threads: int | None = None, *, given: Collection[str] = (), wanted: Collection[str] = ()
    ) -> None:
        # Here, as what only names sections, a client of a fleet, must not load it: it writes to standard error.
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or cpu_quota()
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Weights kept in eight bits are made single precision once, not with every run.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.log_severity_level = 3
        content = file.read_bytes()
        try:
            refuse_what_is_outside(content)  # which ONNX Runtime would look for in the working folder
            content = part(content, given, wanted) if given or wanted else content
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises its own classes, one a cause, none documented
            raise BadBundle(f"{file.name}: ONNX Runtime cannot load it ({_first_line(error)})") from error
        self.file = file
        self.inputs = tuple(node.name for node in self._session.get_inputs())
        # ONNX lets no output have an input's name; the exporter ends such an output in `_out`.
        self.outputs = tuple(node.name.removesuffix("_out") for node in self._session.get_outputs())

    def run(self, **inputs: Array) -> dict[str, Array]:
        """Run on a batch: each input [B, …], each output [B, …]. An input the graph does not use is left out.

        Large inputs go through it part by part, since memory holds what it makes of all.
        """
        feed = {name: np.ascontiguousarray(inputs[name]) for name in self.inputs}
        numbers = sum(array.size for array in feed.values())
        if numbers <= _MOST_NUMBERS:
            return dict(zip(self.outputs, self._session.run(None, feed), strict=True))
        rows = len(feed[self.inputs[0]])
        step = max(rows * _MOST_NUMBERS // numbers, 1)
        parts = [
            self._session.run(None, {name: array[start : start + step] for name, array in feed.items()})
            for start in range(0, rows, step)
        ]
        return dict(zip(self.outputs, map(np.concatenate, zip(*parts, strict=True)), strict=True))


def every_value(file: Path, names: Collection[str], inputs: Mapping[str, Array]) -> dict[str, Any]:
    """What these values of a section's graph are for `inputs`, each node by itself; lists of arrays for sequences."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    content = file.read_bytes()
    try:
        refuse_what_is_outside(content)
        session = onnxruntime.InferenceSession(opened(content, names), options, providers=["CPUExecutionProvider"])
        found = session.run([*names], {name: np.ascontiguousarray(array) for name, array in inputs.items()})
    except Exception as error:  # as above
        raise BadBundle(f"{file.name}: ONNX Runtime cannot run it ({_first_line(error)})") from error
    return dict(zip(names, found, strict=True))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:300] or type(error).__name__


def with_threads(section: Section, inputs: Mapping[str, Array]) -> Section:
    """The section, of one thread, or one with the quota's where it is slow on `inputs` and quicker with them."""
    # Waking a thread takes longer than a small section runs: ours, 10 to 90 µs for 16 events, are no quicker with two.
    threads = cpu_quota()
    if threads == 1 or (alone := _seconds(section, inputs)) < _WORTH_S:
        return section
    wide = Section(section.file, threads)
    return wide if _seconds(wide, inputs) < _QUICKER * alone else section


def _seconds(section: Section, inputs: Mapping[str, Array]) -> float:
    """The quickest of a few runs."""
    return min(repeat(partial(section.run, **inputs), number=1, repeat=_RUNS))


def cpu_quota(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs this process may use, at least 1: the container's quota (cgroup v2), else the affinity mask."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        allowed = available if quota == "max" else int(quota) // int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return available
    return max(1, min(available, allowed))
