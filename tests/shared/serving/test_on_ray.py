"""A section on Ray Serve, as far as that needs no Ray; `tests/system/test_ray.py` starts one."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.cli.app import app
from ddnn.errors import BadConfig, BadInput
from ddnn.golden import section_inputs
from ddnn.runtime import Section
from ddnn.serving.on_ray import RaySection, Replica, joined
from ddnn.settings import RaySettings, Settings
from ddnn.types import Tier


async def test_a_replica_gives_each_request_what_it_would_have_alone() -> None:
    bundle = Bundle.open(shipped_bundle())
    file, inputs = bundle.sections(Tier.CLOUD, 0)["section"], section_inputs(bundle, Tier.CLOUD)["section"]
    section, replica = Section(file, 1), Replica(file.name, file.read_bytes(), 1)
    parts = [{name: rows[first : first + count] for name, rows in inputs.items()} for first, count in ((0, 1), (1, 3))]
    said = await replica.run(parts)
    assert replica.names() == (section.inputs, section.outputs)
    for part, one, again in zip(parts, said, joined(section, parts[:1]) + joined(section, parts[1:]), strict=True):
        alone = section.run(**part)
        assert one.keys() == alone.keys()
        for name, rows in alone.items():
            np.testing.assert_allclose(one[name], rows, atol=1e-5)
            np.testing.assert_array_equal(again[name], rows)


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed here")
def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"Ray Serve needs ray, which is not installed.*ddnn\[ray\]"):
        RaySection(tmp_path / "cloud.onnx", "ddnn-0", Settings.load(ray=RaySettings(replicas=1)))


def test_no_other_tier_than_the_cloud_has_it() -> None:
    error = CliRunner().invoke(app, ["serve", "edge", "--ray"]).exception
    assert isinstance(error, BadConfig)
    assert str(error) == "--ray is given to the tier edge; expected it at the cloud, whose section it is for"
