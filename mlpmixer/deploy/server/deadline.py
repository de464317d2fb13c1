"""The end of a request's time: one for the reading of its body and the answer together."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from mlpmixer.deploy.server.problems import Problem

Result = TypeVar("Result")


class Deadline:
    """The end of the time that a request has; it begins to count when this is made.

    Args:
        seconds: that a request may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = asyncio.get_running_loop().time() + seconds

    async def read(self, body: Awaitable[Result]) -> Result:
        """Return what is read of a request.

        Raises:
            Problem: the time is over; 408, and the connection is closed.
        """
        late = f"the body was not complete within {self._seconds:g} s: send a smaller one."
        return await self._in_time(body, Problem(408, late, {"Connection": "close"}))

    async def answer(self, work: Awaitable[Result]) -> Result:
        """Return what is computed for a request.

        Raises:
            Problem: the time is over; 504.
        """
        late = f"the answer took more than {self._seconds:g} s."
        return await self._in_time(work, Problem(504, late))

    async def _in_time(self, work: Awaitable[Result], late: Problem) -> Result:
        try:
            async with asyncio.timeout_at(self._end):
                return await work
        except TimeoutError:
            raise late from None
