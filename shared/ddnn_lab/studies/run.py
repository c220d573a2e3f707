"""A study from its file to its results and its report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ddnn.bundle import Bundle
from ddnn.seal import write_atomically
from ddnn_lab.plots.study import write_plots
from ddnn_lab.studies.given import take_bundle
from ddnn_lab.studies.job import Job, RunFolder, united, write_json
from ddnn_lab.studies.parts import PART, part_results, part_variants
from ddnn_lab.studies.planner import Planner
from ddnn_lab.studies.pool import Pool
from ddnn_lab.studies.progress import StudyProgress
from ddnn_lab.studies.report import report
from ddnn_lab.studies.study import Study

__all__ = ["FORMAT", "run_study"]

FORMAT: Final = 1  #: of `results.json`


def run_study(
    study: Study,
    out: Path,
    *,
    workers: int = 1,
    command: str = "",
    report_only: bool = False,
    bundle: Bundle | None = None,
    progress: StudyProgress | None = None,
) -> dict[str, Any]:
    """Make what runs are missing, unless `report_only`; write results.json, report.md and plots; return the results.

    The report is written after every run, so that an interrupted study has one; plots at the end. `bundle`, if given,
    is the study's own network, trained before.
    """
    out.mkdir(parents=True, exist_ok=True)
    planner = Planner(study, out)
    if bundle:
        jobs = [job for variant in part_variants(planner, "joint").values() for job in planner.jobs("joint", variant)]
        take_bundle(bundle, [(job, RunFolder.of(out, job)) for job in jobs])
    failed: dict[str, str] = {}

    def write(*, draw: bool = False) -> dict[str, Any]:
        document = _results(planner, command, failed)
        write_json(out / "results.json", document)
        plots = write_plots(document, out / "plots") if draw else [file.stem for file in out.glob("plots/*.png")]
        write_atomically(out / "report.md", report(document, plots))
        return document

    if not report_only:
        pool = Pool(lambda: _planned(planner), out, workers, command, progress or StudyProgress())
        failed = pool.run(after=write)
    return write(draw=True)


def _planned(planner: Planner) -> list[Job]:
    """Every run that is known by now, each once, in the order to make them."""
    parts = {*planner.study.run}
    if "added" in parts:
        parts.add("joint")  # whose devices say which is the worst
    return united(
        job
        for name in PART
        if name in parts
        for variant in part_variants(planner, name).values()
        for job in planner.jobs(name, variant)
    )


def _results(planner: Planner, command: str, failed: Mapping[str, str]) -> dict[str, Any]:
    """The document `results.json`: everything that the study found, as far as its runs are made."""
    study, jobs = planner.study, _planned(planner)
    records = [record for job in jobs if (record := RunFolder.of(planner.folder, job).record(job))]
    made = {record.job.fingerprint for record in records}
    return {
        "format": FORMAT,
        "study": study.model_dump(mode="json"),
        "command": command,
        "data": planner.about,
        "config": study.recipe(study.settings("joint")).model_dump(mode="json"),
        "runs": [
            {"part": record.job.part, "fingerprint": record.job.fingerprint, **_anywhere(record.run)}
            for record in records
        ],
        "missing": [job.name for job in jobs if job.fingerprint not in made],
        "failed": dict(failed),
        "parts": {name: part_results(planner, name) for name in PART if name in study.run},
    }


def _anywhere(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run without the folder that its data lay in: another run of the same data may have found them elsewhere."""
    source = dict(run.get("source") or {})
    return {**run, "source": {**source, "name": Path(str(source["name"])).name}} if "name" in source else dict(run)
