"""A hub on this machine in place of Hugging Face's, and a cache of its own; tiny checkpoints in the hub's format."""

import socket
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from huggingface_hub import constants

from tests.models import tiny_hf


class Hub(BaseHTTPRequestHandler):
    """Refuses every file with `code` and the hub's own name of the error."""

    def __init__(self, *arguments, code, name):
        self.code, self.name = code, name
        super().__init__(*arguments)

    def do_HEAD(self):
        self.send_response(self.code)
        self.send_header("X-Error-Code", self.name)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(monkeypatch):
    """A function that makes a hub on this machine the only one; without arguments one that nobody answers for."""
    servers = []

    def start(code=None, name=""):
        if code is None:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
        else:
            servers.append(ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, code=code, name=name)))
            Thread(target=servers[-1].serve_forever, daemon=True).start()
            port = servers[-1].server_port
        url = f"http://127.0.0.1:{port}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module", params=tiny_hf.EACH)
def kind(request):
    """The backbone's name."""
    return request.param


@pytest.fixture(scope="module")
def model(kind, tmp_path_factory):
    """The folder of its tiny checkpoint."""
    return tiny_hf.MAKERS[kind](tmp_path_factory.mktemp("hub") / kind)
