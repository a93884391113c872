"""Fill the rows of many models: one after the other, several at once, or on a cluster that runs already."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from uuid import uuid4

from rfcalc.errors import LoadError, UsageError
from rfcalc.sweeping import child
from rfcalc.sweeping.patterns import Item
from rfcalc.sweeping.row import Row, one_line
from rfcalc.sweeping.work import fill, prepare

_PATIENCE = 30  #: seconds that a cluster may take to answer


@dataclass(frozen=True)
class How:
    """How the rows of a sweep are filled.

    ``inputs`` are those of every model, as for `rfcalc.analyze`; ``timeout`` is in seconds for each. ``jobs`` processes
    work on this machine, or a dask cluster does whose ``scheduler`` has this address. ``sweep`` is a name that no other
    has, for a cluster may serve several.
    """

    inputs: Any = None
    timeout: float | None = None
    jobs: int = 1
    scheduler: str | None = None
    sweep: str = field(default_factory=lambda: uuid4().hex)


def rows(items: Sequence[Item], how: How) -> Generator[Row]:
    """The rows of the models as they come, in any order.

    One model after the other is done in this process. Several at once, or under a time limit, are done in processes of
    their own, and one that kills its process has a row like any other. Raises `LoadError` where joblib or dask is
    missing, `UsageError` where the scheduler or its workers are not what they should be.
    """
    try:
        if how.jobs > 1 or how.scheduler is not None:
            yield from _together(items, how)
        elif how.timeout is not None:
            yield from (child.fill(item, how.inputs, how.timeout, how.sweep) for item in items)
        else:
            for item in items:
                prepare(item)
                yield fill(item, how.inputs)
    finally:
        child.end(how.sweep)


def _together(items: Sequence[Item], how: How) -> Iterator[Row]:
    """The rows by joblib, whose workers are threads here or on the cluster; each has a process for its models."""
    try:
        import joblib
    except ImportError:
        raise LoadError("--jobs needs joblib, which is not installed: pip install 'rfcalc[sweep]'") from None
    with _workers(how) as backend, joblib.parallel_config(**backend):
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1)
        yield from parallel(joblib.delayed(child.fill)(item, how.inputs, how.timeout, how.sweep) for item in items)


@contextmanager
def _workers(how: How) -> Iterator[dict[str, Any]]:
    """joblib's configuration."""
    if how.scheduler is None:
        yield {"backend": "threading", "n_jobs": how.jobs}
        return
    with _cluster(how.scheduler) as client:
        try:
            yield {"backend": "dask", "client": client}
        finally:
            with suppress(OSError):  # a cluster that is gone has nothing to end
                client.run(child.end, how.sweep)


@contextmanager
def _cluster(scheduler: str) -> Iterator[Any]:
    """A client of a dask cluster whose workers have been seen to run this version of rfcalc."""
    try:
        from distributed import Client
    except ImportError:
        raise LoadError(
            "--backend dask needs dask.distributed, which is not installed: pip install 'dask[distributed]'"
        ) from None
    try:
        client: Any = Client(scheduler, timeout=_PATIENCE, set_as_default=False)  # type: ignore[no-untyped-call, unused-ignore]
    except (OSError, ValueError) as error:
        raise UsageError(f"no dask scheduler answers at {scheduler}: {one_line(error)}") from error
    with client:
        try:
            theirs = client.submit(versions, pure=False).result(timeout=_PATIENCE)
        except Exception as error:
            raise UsageError(f"the workers of {scheduler} cannot run rfcalc: {one_line(error)}") from error
        if theirs["rfcalc"] != versions()["rfcalc"]:
            raise UsageError(
                f"the workers of {scheduler} have rfcalc {theirs['rfcalc']}, here it is {versions()['rfcalc']}:"
                " install the same there"
            )
        yield client


def versions() -> dict[str, str]:
    """The versions of rfcalc and of the packages that models come from, where they are installed."""
    from rfcalc import __version__

    found = {"rfcalc": __version__}
    for name in ("torch", "torchvision", "timm"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
