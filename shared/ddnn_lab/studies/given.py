"""A bundle that is there already, in the place of the run that would train it."""

import shutil
from collections.abc import Sequence

from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.training import Config
from ddnn_lab.studies.job import Job, RunFolder

__all__ = ["take_bundle"]


def take_bundle(bundle: Bundle, jobs: Sequence[tuple[Job, RunFolder]]) -> Job:
    """Make `bundle` the outcome of the one of `jobs` that has its config, data and seed, and return that.

    What was tuned since goes along: the policy is the bundle's own. Raise `BadInput` where there is no such job.
    """
    training = bundle.manifest.training
    wanted = Config.of(training.config), training.seed, training.data.get("fingerprint")
    for job, folder in jobs:
        if (job.config, job.seed, job.data) != wanted:
            continue
        if folder.run is None:
            shutil.rmtree(folder.path / "bundle", ignore_errors=True)
            shutil.copytree(bundle.path, folder.path / "bundle")
            source = dict(training.data.get("source") or {})
            about = {"label": job.label, "seed": job.seed, "fold": job.fold, "source": source}
            note = f"not trained here, but the bundle {bundle.manifest.name}, {bundle.fingerprint[:12]}"
            folder.keep_run({**about, "config": training.config, "versions": training.versions, "notes": [note]})
        return job
    seeds = ", ".join(str(job.seed) for job, _ in jobs)
    found = f"bundle {bundle.manifest.name} is of seed {training.seed}"
    raise BadInput(f"{found}, and of another config, data or seed than the study's; expected one of seeds {seeds}")
