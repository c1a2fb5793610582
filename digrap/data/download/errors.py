"""Errors of a download."""

from __future__ import annotations

from digrap.core.errors import DigrapError


class RetryableError(Exception):
    """A failed try whose repetition may succeed; where a connection failed, its error is the cause."""


class NotObtained(DigrapError):
    """This file cannot be had from its address or archive; others may be."""


class Unreachable(NotObtained):
    """The server does not answer, so that no other file of it can be had either."""
