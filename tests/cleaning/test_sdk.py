"""When the SDK's connections are closed, at a real server."""

import gc

import openai
import pytest

from furnclip.cleaning.sdk import LazyClient
from tests.cleaning.batch_server import KEY, BatchServer


def test_connections_are_closed_with_their_owner(server: BatchServer) -> None:
    lazy = LazyClient(api_key=KEY, base_url=server.url, max_retries=0)
    client = lazy()
    assert lazy() is client
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_none")
    circle = [lazy]  # as a traceback may hold it
    circle.append(circle)  # type: ignore[arg-type]
    del lazy, circle
    gc.collect()
    assert client.is_closed()


def test_connections_of_the_caller_stay_open(server: BatchServer) -> None:
    with openai.DefaultHttpxClient() as given:
        LazyClient(api_key=KEY, base_url=server.url, http_client=given)()
        gc.collect()
        assert not given.is_closed
