"""What a double leaves out: shards of torch.distributed, of which it has whole tensors, and another pass's hooks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_HOOKS = frozenset({"_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"})
_HOME = "torch.distributed."

#: The attribute that holds what `torch.nn.Module.__call__` runs instead of torch's own way of calling a module. Torch
#: leaves it out of copies and files.
CALL = "_compiled_call_impl"
#: Under which a double's hooked module has the hooks that tell of its calls.
OURS = -1


def plain_class(kind: Any) -> Any:
    """The class that a module had before `torch.distributed.fsdp.fully_shard` gave it one of its own."""
    return _plain_class(kind)


@lru_cache(4096)
def _plain_class(kind: Any) -> Any:
    fsdp = sys.modules.get("torch.distributed.fsdp")
    sharded = getattr(fsdp, "FSDPModule", None)
    if sharded is None or not issubclass(kind, sharded):
        return kind
    return next(one for one in kind.__mro__[1:] if one is not sharded and not issubclass(one, sharded))


def plain_hooks(registry: str, held: Any) -> Any:
    """A module's hooks without those of torch.distributed, which gather shards and pass messages, or of a pass."""
    if registry not in _HOOKS or not isinstance(held, Mapping):
        return held
    left = [(key, hook) for key, hook in held.items() if key != OURS and not _is_distributed(hook)]
    kind: Any = type(held)
    return held if len(left) == len(held) else kind(left)


def _is_distributed(hook: Any) -> bool:
    function = getattr(hook, "func", hook)  # of a partial one
    function = getattr(function, "__func__", function)
    return str(getattr(function, "__module__", "")).startswith(_HOME)
