"""`results.json`: everything that a study found, as far as its runs are made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ddnn_lab.studies.job import Job, united
from ddnn_lab.studies.parts import PART
from ddnn_lab.studies.planner import Planner

__all__ = ["FORMAT", "planned", "results"]

FORMAT: Final = 1


def planned(planner: Planner) -> list[Job]:
    """Every run that is known by now, each once, in the order to make them."""
    wanted = {*planner.study.run}
    if "added" in wanted:
        wanted.add("joint")  # whose devices say which is the worst
    return united(
        job
        for part in PART
        if part in wanted
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
        "data": planner.about,
        "config": study.recipe(study.settings("joint")).model_dump(mode="json"),
        "runs": [{"part": job.part, "fingerprint": job.fingerprint, **_told(run or {})} for job, run in made.items()],
        "missing": [job.name for job in jobs if job not in made],
        "failed": dict(failed),
        "parts": {part: PART[part].results(planner) for part in PART if part in study.run},
    }


def _told(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run without the folder that its data lay in: another run of the same data may have found them elsewhere."""
    source = dict(run.get("source") or {})
    return {**run, "source": {**source, "name": Path(str(source["name"])).name}} if "name" in source else dict(run)
