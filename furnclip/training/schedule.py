"""The learning rate of a step: linear warm-up, then half a cosine down to zero.

A pure function of the step, so that there is no scheduler state to save or to get out of step.
"""

import math


def warmup_length(total_steps: int, *, fraction: float, steps: int = 0) -> int:
    """Return the warm-up steps: ``steps`` when given, else ``fraction`` of all steps.

    A fraction, because a fixed number of steps is most of a short run and nothing of a long one.
    """
    return min(steps or round(total_steps * fraction), max(0, total_steps - 1))


def learning_rate(step: int, *, total_steps: int, warmup: int, peak: float) -> float:
    """Return the rate of 0-based ``step``; ``peak`` is reached right after the warm-up.

    Cosine decay: Loshchilov and Hutter 2016, arXiv:1608.03983, without restarts.
    """
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, total_steps - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))
