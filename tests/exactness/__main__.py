"""``python -m tests.exactness [WORDS]``: print every measured error, whole and broken.

WORDS choose the claims that have one of them in their text. Exit code 1 when an error is beyond its
bound, or when breaking the mechanism goes unnoticed. Takes some minutes: processes are started,
killed and started again.
"""

import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"


def main() -> int:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    from transformers.utils import logging as transformers_logging

    talk: Any = transformers_logging
    talk.set_verbosity_error()
    talk.disable_progress_bar()
    from tests.exactness import data, gradients, models, processes

    words = sys.argv[1:]
    failed = 0
    print(f"{'claim':62}{'error':>10}{'bound':>9}   {'broken':>9}  how")
    with tempfile.TemporaryDirectory() as folder:
        for group in (gradients, models, data, processes):
            for check in group.checks():
                if words and not any(word in check.claim for word in words):
                    continue
                work = Path(folder) / group.__name__
                work.mkdir(exist_ok=True)
                os.chdir(work)
                error, broken = check.run()
                fine = error <= check.bound < broken
                failed += not fine
                print(
                    f"{check.claim:62}{error:>10.2g}{check.bound:>9.0e}   {broken:>9.2g}  "
                    f"{check.breakage} ({check.unit}){'' if fine else '   FAILED'}",
                    flush=True,
                )
        os.chdir("/")
    print(f"{failed} FAILED" if failed else "all hold, and each fails when its mechanism is broken")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
