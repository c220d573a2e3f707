"""The run of all benchmarks starts what there is."""

from importlib.util import find_spec

from ddnn_lab.benchmarks.serving import COMMANDS, READERS


def test_every_benchmark_of_the_run_is_a_module_that_can_be_started() -> None:
    for flag, module, *_ in COMMANDS.values():
        assert flag == "-m"
        found = find_spec(module)
        assert found is not None
        assert found.submodule_search_locations is None or find_spec(f"{module}.__main__")


def test_every_row_of_the_targets_comes_from_a_benchmark_of_the_run() -> None:
    assert set(READERS) <= set(COMMANDS)
