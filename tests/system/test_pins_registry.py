"""`ddnn deploy pin` asks a registry by Docker: here one that serves a single image, by the protocol of registries."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.compose

INDEX: Final = json.dumps(
    {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
).encode()
DIGEST: Final = f"sha256:{hashlib.sha256(INDEX).hexdigest()}"


PATHS: Final = ("/v2/some/image/manifests/1.0", f"/v2/some/image/manifests/{DIGEST}")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        image = self.path.startswith(PATHS)
        there = image or self.path == "/v2/"
        body = INDEX if image else b"{}"
        self.send_response(200 if there else 404)
        self.send_header("content-type", "application/vnd.oci.image.index.v1+json")
        self.send_header("docker-content-digest", DIGEST)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def pin(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ddnn", "deploy", "pin"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180, check=False)


def test_digests_are_those_that_the_registry_says_and_without_one_nothing_is_written(
    registry: str, tmp_path: Path
) -> None:
    compose = tmp_path / "docker-compose.yml"
    compose.write_text(f'services:\n  x: {{image: "${{SOME_IMAGE:-{registry}/some/image:1.0}}"}}\n')
    done = pin(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".env").read_text() == f"SOME_IMAGE={registry}/some/image:1.0@{DIGEST}\n"
    compose.write_text(f'services:\n  x: {{image: "${{SOME_IMAGE:-{registry}/other/image:1.0}}"}}\n')
    done = pin(tmp_path)
    assert done.returncode == 1
    assert "gave no digest" in done.stderr
    assert DIGEST in (tmp_path / ".env").read_text()
