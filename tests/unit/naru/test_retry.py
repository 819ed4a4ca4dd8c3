from __future__ import annotations

import pytest

from naru._retry import SAFE_CODES, Retry
from naru.errors import ApiError, CallTimeout, ConnectFailed, ConnectionLost

RETRY = Retry(attempts=5, first=0.2, limit=1.0, jitter=lambda: 1.0)


def busy(retry_after: float | None = None, *, status: int = 503) -> ApiError:
    return ApiError("busy", status=status, code="plan_unavailable", retry_after=retry_after)


def test_delays_double_up_to_the_limit_and_then_end() -> None:
    delays = [RETRY.delay(ConnectFailed(), attempt) for attempt in range(1, 6)]
    assert delays == [0.2, 0.4, 0.8, 1.0, None]


def test_jitter_at_most_halves_a_delay() -> None:
    assert Retry(first=0.2, jitter=lambda: 0.0).delay(ConnectFailed(), 1) == pytest.approx(0.1)


def test_retry_after_is_honoured_unless_it_is_too_long() -> None:
    assert RETRY.delay(busy(0.7), 1) == 0.7
    assert RETRY.delay(busy(60.0), 1) is None


@pytest.mark.parametrize(
    "error", [CallTimeout(), ConnectionLost(), busy(status=500), busy(status=200)]
)
def test_what_may_have_reached_a_model_is_never_repeated(error: Exception) -> None:
    assert RETRY.delay(error, 1) is None  # type: ignore[arg-type]


def test_only_503_with_a_known_code_is_repeated() -> None:
    assert RETRY.delay(ApiError("", status=503, code="upstream_timeout"), 1) is None
    assert all(RETRY.delay(ApiError("", status=503, code=c), 1) for c in SAFE_CODES)
