"""Run by aibrix's own interpreter: its Files and Batches server over one chat server.

usage: python aibrix_server.py PORT CHAT_SERVER_URL
"""

import sys

from aibrix.batch.client import StaticEndpointSource  # type: ignore[import-not-found]
from aibrix.metadata import app  # type: ignore[import-not-found]

port, chat_url = sys.argv[1:]
# --dry-run keeps everything on local disk; only its echo is replaced by a real endpoint.
app.NoopEndpointSource = lambda: StaticEndpointSource(chat_url)
sys.argv = ["aibrix_metadata", "--host", "127.0.0.1", "--port", port, "--dry-run"]
app.main()
