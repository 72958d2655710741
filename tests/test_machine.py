"""What furnclip asks of the C library and of OpenMP."""

import os
import subprocess
import sys

import pytest

_ALLOCATE = """
import resource
import numpy as np
from furnclip.machine import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(8 << 20, dtype=np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
keep_freed_memory()
faults()
print(before, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_freed_memory_is_used_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ALLOCATE], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert after < before / 10


@pytest.mark.parametrize(("given", "kept"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_openmp_sleeps_soon_unless_the_user_says_otherwise(
    given: dict[str, str], kept: str
) -> None:
    code = "import os, furnclip; print(os.environ['GOMP_SPINCOUNT'])"
    plain = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=plain | given, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == kept
