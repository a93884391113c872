"""The errors rfcalc raises. Each message is one line: what was asked, what was found, what to do."""

from __future__ import annotations


class RfcalcError(Exception):
    """Base of all errors meant for the user; ``exit_status`` is what the command line ends with."""

    exit_status = 2


class UsageError(RfcalcError):
    """The request itself cannot be met: an unknown name, a malformed shape, an unwritable file."""


class LoadError(RfcalcError):
    """The model could not be found, imported or built."""

    exit_status = 3


class TraceError(RfcalcError):
    """The model's forward pass failed, or its graph could not be recorded."""

    exit_status = 3
