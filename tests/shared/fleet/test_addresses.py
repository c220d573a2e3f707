"""Who listens where."""

import socket

import pytest

from ddnn.errors import BadConfig
from ddnn.fleet.addresses import HOST, ports, refuse_ports_in_use


def test_the_cloud_is_on_the_base_port_the_edge_next_devices_from_ten() -> None:
    assert ports(8000, 2) == {"cloud": 8000, "edge": 8001, "device-0": 8010, "device-1": 8011}


def test_many_edges_never_meet_the_devices() -> None:
    found = ports(8000, 3, edges=12)
    assert found["edge-11"] == 8012
    assert found["device-0"] == 8013
    assert len(set(found.values())) == len(found)


def test_port_zero_takes_free_ports_all_different() -> None:
    found = ports(0, 6)
    assert len(set(found.values())) == 8
    refuse_ports_in_use(found)


def test_a_port_in_use_is_named_with_its_tier_and_exit_code_two() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        with pytest.raises(BadConfig, match=f"port {port}, for edge, is in use") as caught:
            refuse_ports_in_use({"edge": port})
    assert caught.value.exit_code == 2


def test_a_base_port_too_high_is_refused() -> None:
    with pytest.raises(BadConfig, match="past 65535"):
        ports(65530, 6)
