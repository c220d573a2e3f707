"""A section on Ray Serve: replicas run it, elsewhere perhaps, in batches of what all that ask them send together.

The tier stays what its callers know: admission, deadlines, budgets, exits and degraded answers are its own.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from ddnn.errors import BadConfig
from ddnn.extensions import needed_for
from ddnn.runtime import Section
from ddnn.settings import Settings
from ddnn.types import Array

__all__ = ["RaySection", "Replica", "joined"]

_EACH: Final = 2  #: runs of each replica that are asked for at once: one works, the next is there when it is free
_JOINED: Final = 16  #: requests that a replica runs together, at most


class Replica:
    """What one replica does; it knows no Ray."""

    def __init__(self, name: str, content: bytes, threads: int | None) -> None:
        with TemporaryDirectory() as folder:
            file = Path(folder) / name
            file.write_bytes(content)
            self._section = Section(file, threads)

    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Inputs and outputs of the section."""
        return self._section.inputs, self._section.outputs

    async def run(self, parts: list[dict[str, Array]]) -> list[dict[str, Array]]:
        """Run several requests in one batch."""
        return joined(self._section, parts)


def joined(section: Section, parts: Sequence[dict[str, Array]]) -> list[dict[str, Array]]:
    """What a section says of several requests, each of rows of its own, run as one batch."""
    if len(parts) == 1:
        return [section.run(**parts[0])]
    ends = np.cumsum([len(next(iter(part.values()))) for part in parts])[:-1]
    outputs = section.run(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    split = {name: np.split(values, ends) for name, values in outputs.items()}
    return [{name: rows[place] for name, rows in split.items()} for place in range(len(parts))]


class RaySection(Section):
    """One ONNX file, run by replicas; raises what Ray raises where they are gone."""

    def __init__(self, file: Path, name: str, settings: Settings) -> None:
        """`name` is one of the cluster: tiers that give the same have the same replicas."""
        asked = settings.ray
        for key, value in _ENVIRONMENT.items():
            os.environ.setdefault(key, value)
        with needed_for("a section on Ray Serve", extra="ray"):
            import ray
            from ray import serve
        try:
            if not ray.is_initialized():
                ray.init(address=asked.address or "local", **({} if asked.address else _OWN))
            serve.start(proxy_location="Disabled")  # nobody asks Ray by HTTP
            if name in serve.status().applications:
                self._handle: Any = serve.get_app_handle(name)
            else:
                self._handle = serve.run(_application(file, settings), name=name, route_prefix=None)
            self.inputs, self.outputs = self._handle.names.remote().result(timeout_s=settings.max_deadline_ms / 1000)
        except Exception as error:  # Ray raises classes of many packages
            why = (str(error).splitlines() or [""])[0][:300]
            raise BadConfig(
                f"DDNN_RAY__ADDRESS is {asked.address!r}: no section could be started there"
                f" ({type(error).__name__}: {why}); expected a Ray cluster with {asked.replicas} free cores"
            ) from error
        self.file, self.at_once = file, _EACH * asked.replicas
        self._longest_s = settings.max_deadline_ms / 1000

    def run(self, **inputs: Array) -> dict[str, Array]:
        """As a section here; waits for a replica."""
        feed = {name: np.ascontiguousarray(inputs[name]) for name in self.inputs}
        said: dict[str, Array] = self._handle.run.remote(feed).result(timeout_s=self._longest_s)
        return said


_ENVIRONMENT: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # a tier tells nobody that it is there
    "RAY_raylet_start_wait_time_s": "120",  # on a machine that has much else to do
}
_OWN: Final[dict[str, Any]] = {"include_dashboard": False, "log_to_driver": False}


def _application(file: Path, settings: Settings) -> Any:
    """The deployment of a section, not yet run."""
    from ray import serve

    wait_s = settings.max_delay_ms / 1000
    batched = type(
        "Replica", (Replica,), {"run": serve.batch(max_batch_size=_JOINED, batch_wait_timeout_s=wait_s)(Replica.run)}
    )
    deployment = serve.deployment(
        name=file.stem,
        num_replicas=settings.ray.replicas,
        max_ongoing_requests=2 * _JOINED,
        ray_actor_options={"num_cpus": settings.threads or 1},
    )(batched)
    return deployment.bind(file.name, file.read_bytes(), settings.threads)
