"""Every test runs in a temporary folder, without furnclip's environment and without network."""

import os
import signal
import socket
from pathlib import Path

import pytest

from furnclip.machine import cores

# A shell starts background jobs with Ctrl-C ignored, which the processes tests interrupt inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def pytest_xdist_auto_num_workers() -> int:
    """Return the cores this process may use, where pytest-xdist counts all of the machine."""
    return cores()


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("FURNCLIP_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "120")
    connect = socket.socket.connect

    def loopback_only(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in _LOOPBACK:
            raise AssertionError(f"a test tried to reach {address[0]}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", loopback_only)
