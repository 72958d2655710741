"""furnclip with a mechanism broken: ``python -m tests.exactness.broken MECHANISM ARGUMENTS``."""

import sys
from collections.abc import Callable
from typing import Any


def forget_random_state() -> None:
    """Resume without the random state of the checkpoint."""
    from furnclip.training import checkpoint
    from furnclip.training.cache import RandomState

    class Forgetful(RandomState):
        def restore(self, device: Any) -> None:
            """Leave the generators as a new process has them."""

    setattr(checkpoint, "RandomState", Forgetful)  # noqa: B010  for type checkers it is not there


def sum_no_gradients() -> None:
    """Step on each process's own gradient."""
    from furnclip.training.distributed import World

    def nothing(*_: object, **__: object) -> None:
        """Each keeps its share."""

    World.reduce_gradients = nothing  # type: ignore[method-assign]


MECHANISMS: dict[str, Callable[[], None]] = {
    "random_state": forget_random_state,
    "reduce": sum_no_gradients,
}

if __name__ == "__main__":
    from furnclip.__main__ import main

    MECHANISMS[sys.argv.pop(1)]()
    main()
