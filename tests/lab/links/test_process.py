"""A link as a process that obeys lines on its stdin."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ddnn.errors import BadConfig, DDNNError
from ddnn.fleet.processes import LinkProcess
from ddnn.links import LinkShape
from ddnn_lab.links import link_state, passed, set_fault, set_shape


@pytest.fixture
def far() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        yield server


def test_it_passes_bytes_and_changes_shape_and_fault_while_it_runs(far: socket.socket) -> None:
    with LinkProcess(f"127.0.0.1:{far.getsockname()[1]}", LinkShape(0.01)) as link:
        with socket.create_connection(("127.0.0.1", link.port), 20) as near:
            near.sendall(b"up")
            taken, _ = far.accept()
            with taken:
                assert taken.recv(9) == b"up"
                taken.sendall(b"down")
                assert near.recv(9) == b"down"
                assert passed(link) == (2, 4)
                assert link_state(link) == {"shape": "10ms", "fault": "none", "connections": 1, "passed": [2, 4]}
                set_shape(link, LinkShape(0.04, 1e7, 0.005))
                set_fault(link, "refuse")
                state = link_state(link)
                assert (state["shape"], state["fault"]) == ("40ms,10000kbit,5ms", "refuse")
                with pytest.raises(ConnectionResetError):
                    near.recv(9)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", link.port), 20)
        with pytest.raises(BadConfig, match="fault is 'fire'"):
            link.ask("fault fire")
        assert link_state(link)["fault"] == "refuse"


def test_it_ends_with_its_stdin_and_says_so(far: socket.socket) -> None:
    link = LinkProcess(f"127.0.0.1:{far.getsockname()[1]}")
    link.close()
    link.close()
    with pytest.raises(DDNNError, match="exit code 0"):
        set_fault(link, "hang")


def test_bad_arguments_are_told_in_a_sentence() -> None:
    command = [sys.executable, "-m", "ddnn_lab.links", "--to", "nowhere"]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert "address is 'nowhere'" in run.stderr
