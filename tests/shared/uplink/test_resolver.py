"""Names are found where there is no network but the loopback."""

import asyncio
import shutil
import socket
import subprocess
import sys

import pytest

from ddnn.connections import Resolver

ALONE = """
import asyncio, socket
from aiohttp.resolver import ThreadedResolver
from ddnn.connections import Resolver

async def addresses(resolver):
    try:
        return sorted(found["host"] for found in await resolver.resolve("localhost", 443, socket.AF_INET))
    except OSError:
        return []

async def main():
    print(await addresses(ThreadedResolver()), await addresses(Resolver()))

asyncio.run(main())
"""


def test_localhost_is_found_on_a_machine_with_a_loopback_only() -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "--net", "true"], capture_output=True).returncode:
        pytest.skip("no network namespace can be made here: it needs util-linux's unshare, run as root")
    command = [unshare, "--net", sys.executable, "-c", ALONE]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "[] ['127.0.0.1']"


async def test_a_name_that_is_none_is_still_an_error() -> None:
    async with asyncio.timeout(30):
        with pytest.raises(socket.gaierror):
            await Resolver().resolve("no name at all")
