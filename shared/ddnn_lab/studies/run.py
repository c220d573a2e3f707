"""A study from its file to its report."""

from pathlib import Path
from typing import Any

from ddnn.seal import write_atomically
from ddnn_lab.plots import write_plots
from ddnn_lab.studies.archive import Archive, write_json
from ddnn_lab.studies.planner import Planner
from ddnn_lab.studies.pool import Viewer, work_off
from ddnn_lab.studies.report import report
from ddnn_lab.studies.results import planned, results
from ddnn_lab.studies.study import Study

__all__ = ["run_study"]


def run_study(
    study: Study,
    out: Path,
    *,
    workers: int = 1,
    command: str = "",
    report_only: bool = False,
    viewer: Viewer | None = None,
) -> dict[str, Any]:
    """Make what runs are missing, unless `report_only`; write results.json, report.md and plots; return the results.

    The report is written after every run, so that an interrupted study has told what it found; plots at the end.
    """
    out.mkdir(parents=True, exist_ok=True)
    archive = Archive(out)
    planner = Planner(study, archive)
    failed: dict[str, str] = {}

    def write(*, draw: bool = False) -> dict[str, Any]:
        found = results(planner, command=command, failed=failed)
        write_json(out / "results.json", found)
        folder = out / "plots"
        plots = write_plots(found, folder) if draw else [file.stem for file in folder.glob("*.png")]
        text = report(found, plots)
        write_atomically(out / "report.md", lambda part: part.write_text(text, encoding="utf-8"))
        return found

    if not report_only:
        failed = work_off(
            lambda: planned(planner), archive, workers=workers, command=command, viewer=viewer, after=write
        )
    return write(draw=True)
