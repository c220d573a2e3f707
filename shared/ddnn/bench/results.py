"""`results.json`: everything that a study found, as far as its runs are made."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ddnn.bench.job import Job, united
from ddnn.bench.parts import PART
from ddnn.bench.planner import Planner
from ddnn.data import SPLIT_NAMES
from ddnn.data.summary import describe, doubts
from ddnn.tier import Exit

__all__ = ["FORMAT", "planned", "results"]

FORMAT: Final = 1


def planned(planner: Planner) -> list[Job]:
    """Every run that is known by now, each once, in the order to make them."""
    return united(
        job
        for part in PART
        if part in planner.study.run
        for variant in PART[part].variants(planner)
        for job in planner.jobs(part, variant)
    )


def results(planner: Planner, *, command: str, failed: Mapping[str, str]) -> dict[str, Any]:
    """The document, from what the archive holds now."""
    study, jobs = planner.study, planned(planner)
    made = {job: planner.archive.shelf(job).run for job in jobs if planner.archive.holds(job)}
    return {
        "format": FORMAT,
        "study": study.model_dump(mode="json"),
        "command": command,
        "data": _data(planner),
        "config": study.recipe(study.settings("joint")).model_dump(mode="json"),
        "runs": [{"part": job.part, "fingerprint": job.fingerprint, **(run or {})} for job, run in made.items()],
        "missing": [job.name for job in jobs if job not in made],
        "failed": dict(failed),
        "parts": {part: PART[part].results(planner) for part in PART if part in study.run},
    }


def _data(planner: Planner) -> dict[str, Any]:
    data, study = planner.data, planner.study
    return {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "described": describe(data),
        "doubts": doubts(data),
        "classes": list(data.classes),
        "devices": data.devices,
        "split": {part: int((data.split == part).sum()) for part in SPLIT_NAMES},
        "group_by": study.group_by,
        "folds": [list(map(str, fold)) for fold in study.folds],
        "every_fold": study.every_fold,
        "image": all(view.ndim == 4 and view.dtype == np.uint8 for view in data.views),
        "exits": [Exit.DEVICE.value, *(exit.value for exit in planner.exits)],
        "raw_bytes": [int(np.prod(view.shape[1:])) * view.dtype.itemsize for view in data.views],
    }
