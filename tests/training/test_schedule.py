import pytest

from furnclip.training.schedule import learning_rate, warmup_length


def test_rate_rises_to_the_peak_then_falls_towards_zero() -> None:
    rates = [learning_rate(step, total_steps=100, warmup=10, peak=1e-3) for step in range(100)]
    assert rates.index(max(rates)) == 10
    assert rates[10] == 1e-3
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[0] > 0
    assert rates[-1] < 1e-6
    assert rates[55] == pytest.approx(5e-4)


def test_warmup_is_a_fraction_unless_steps_are_given() -> None:
    assert warmup_length(200, fraction=0.1) == 20
    assert warmup_length(200, fraction=0.1, steps=7) == 7
    assert warmup_length(5, fraction=0.1, steps=100) == 4
    assert learning_rate(0, total_steps=1, warmup=warmup_length(1, fraction=0.9), peak=1.0) == 1.0
