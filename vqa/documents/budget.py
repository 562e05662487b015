"""How much a run may spend on calls of a model, shared by all its threads; and how a call fails."""

import threading

from vqa.documents.reading import Usage


class BudgetSpent(Exception):
    """No further call is allowed: the run stops, and a later one goes on."""


class FailedCall(Exception):
    """One question's call failed for good; the run goes on with others.

    Args:
        reason: one line, without secrets.
        usage: what the attempts cost.
    """

    def __init__(self, reason: str, usage: Usage | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.usage = usage or Usage()


class Budget:
    """Calls and tokens that may be spent; None: any number.

    A call's tokens are known when it is over. So the most that it can cost is set aside before, and a thread
    waits where only what others have set aside stands in its way: neither limit is ever exceeded, as long as
    a model reports its tokens and no prompt has more of them than bytes.

    Attributes:
        calls, tokens: spent so far.
    """

    def __init__(self, max_calls: int | None = None, max_tokens: int | None = None) -> None:
        self.max_calls = max_calls
        self.max_tokens = max_tokens
        self.calls = 0
        self.tokens = 0
        self._set_aside = 0
        self._changed = threading.Condition()

    def take_call(self) -> None:
        """Spend a call.

        Raises:
            BudgetSpent: there is none left.
        """
        with self._changed:
            if self.max_calls is not None and self.calls >= self.max_calls:
                raise BudgetSpent(f"the budget of {self.max_calls} calls is spent")
            self.calls += 1

    def set_aside(self, tokens: int) -> None:
        """Set aside the most tokens that a call can cost, to be followed by `settle`.

        Raises:
            BudgetSpent: not so many are left.
        """
        with self._changed:
            while self.max_tokens is not None and self.tokens + self._set_aside + tokens > self.max_tokens:
                if self._set_aside == 0 or self.tokens + tokens > self.max_tokens:
                    raise BudgetSpent(
                        f"{self.tokens} tokens of the budget of {self.max_tokens} are spent, "
                        f"and the next call may take {tokens}"
                    )
                self._changed.wait()
            self._set_aside += tokens

    def settle(self, tokens: int, spent: int) -> None:
        """Give back what was set aside for a call and spend what it did cost."""
        with self._changed:
            self._set_aside -= tokens
            self.tokens += spent
            self._changed.notify_all()
