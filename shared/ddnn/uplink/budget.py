"""A retry budget: retries are a small share of the calls, so that they cannot make an overload worse."""

__all__ = ["RetryBudget"]


class RetryBudget:
    """A token bucket filled by calls: each adds `share` of a token up to `burst`, each retry takes one."""

    def __init__(self, share: float = 0.1, burst: float = 10.0) -> None:
        self._share, self._burst = share, burst
        self._tokens = burst

    def deposit(self) -> None:
        """Count a call."""
        self._tokens = min(self._burst, self._tokens + self._share)

    def withdraw(self) -> bool:
        """Whether a retry may be made; takes its token."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
