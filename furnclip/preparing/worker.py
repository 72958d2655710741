"""The process that decodes images: ``python -m furnclip.preparing.worker``, spoken to by pipes.

A decoder that crashes takes this process with it and no other. Messages are pickles, each after
its length in 8 bytes: first the image folder and the recipe, then batches of (source, stamp),
each answered with (picture, JPEG) pairs in the same order.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import sys
from typing import IO, Any

from furnclip.images import quiet_decoders
from furnclip.preparing.pictures import make_picture

_LENGTH = struct.Struct("<Q")


def send(pipe: IO[bytes], message: object) -> None:
    """Write one message."""
    content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(content)) + content)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """Read one message; raises ``EOFError`` when the other side is gone."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    content = pipe.read(length)
    if len(content) < length:
        raise EOFError
    return pickle.loads(content)  # noqa: S301  from our own parent or child


def main() -> None:
    """Answer batches until the parent closes the pipe; Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get between the answers
    try:
        root, recipe = receive(sys.stdin.buffer)
        while True:
            batch = receive(sys.stdin.buffer)
            send(answers, [make_picture(root, source, stamp, recipe) for source, stamp in batch])
    except (EOFError, BrokenPipeError):
        return


if __name__ == "__main__":
    with quiet_decoders():
        main()
