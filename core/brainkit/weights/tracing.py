"""What running a network takes, found on tensors that have shapes but no numbers."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor
from torch.fx.experimental import _config
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from brainkit.checkpoints import CheckpointStore

Name = str


@dataclass
class Cost:
    """What some work takes.

    Attributes:
        peak: bytes of tensors that are alive at once, at most.
        kept: bytes of those that are still alive at the end.
        flops: floating-point operations of matrix products and convolutions, a multiplication and
            an addition being two, by the name of the dtype they are done in.
    """

    peak: int = 0
    kept: int = 0
    flops: Counter[Name] = field(default_factory=Counter)


Made = TypeVar("Made")


class Traced(NamedTuple, Generic[Made]):
    """What some work made, and what it took until it had made it."""

    made: Made
    cost: Cost


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages on a device that operations make while it is on, and their arithmetic.

    Storages that were there before do not count. Scratch space inside a library's kernel is not
    seen. Where code asks a tensor without numbers for one it is told 0, or whether something holds,
    `truth`.
    """

    def __init__(self, device: str = "meta", *, truth: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.truth = truth
        self.device = torch.device(device).type
        self.cost = Cost()
        self._seen: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count what it makes."""
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return self.truth if args[0].dtype == torch.bool else 0
        for each in tree_leaves((args, kwargs)):
            if isinstance(each, Tensor):
                self._note(each, 0)
        made = func(*args, **kwargs)
        counted = flop_registry.get(func._overloadpacket)
        tensors = [each for each in tree_leaves(made) if isinstance(each, Tensor)]
        if counted is not None and tensors:
            dtype = str(tensors[0].dtype).removeprefix("torch.")
            self.cost.flops[dtype] += counted(*args, **kwargs, out_val=made)
        for each in tensors:
            self._note(each, each.untyped_storage().nbytes())
        self.cost.peak = max(self.cost.peak, self.cost.kept)
        return made

    def _note(self, tensor: Tensor, size: int) -> None:
        if tensor.device.type != self.device:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._seen:
            self._seen[key] = size
            self.cost.kept += size
            weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self.cost.kept -= self._seen.pop(key)


class _Shapes(TorchFunctionMode):
    """Lets code that wants numbers go on without them.

    Copies to the CPU stay without numbers; where NumPy or Python asks for numbers they are 0.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensor = args[0] if args else None
        if not isinstance(tensor, Tensor):
            return func(*args, **kwargs)
        if func is Tensor.copy_ and args[1].is_meta and not tensor.is_meta:
            return tensor  # numbers that are not there stay away
        if not tensor.is_meta:
            return func(*args, **kwargs)
        if func is Tensor.cpu or (func is Tensor.to and "cpu" in map(str, (*args[1:], *kwargs))):
            return tensor
        if func in (Tensor.numpy, Tensor.tolist, Tensor.item):
            return func(torch.zeros(tensor.shape, dtype=tensor.dtype), *args[1:], **kwargs)
        return func(*args, **kwargs)


@contextmanager
def _like_a_device() -> Iterator[None]:
    """Give the meta device what CPUs and GPUs have.

    That is attention that does not keep its matrix of weights, and autocast, which is off. Names of
    torch are replaced because modes of functions do not reach the second forward pass of gradient
    checkpointing.
    """
    ordinary, autocast, enabled = (
        functional.scaled_dot_product_attention,
        torch.autocast,
        torch.is_autocast_enabled,
    )

    def attention(query: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return (_attention if query.is_meta else ordinary)(query, *args, **kwargs)

    def switched(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return nullcontext() if device_type == "meta" else autocast(device_type, *args, **kwargs)

    def is_on(*device: str) -> bool:
        return device != ("meta",) and enabled(*device)

    with (
        patch.object(functional, "scaled_dot_product_attention", attention),
        patch.object(torch, "autocast", switched),
        patch.object(torch, "is_autocast_enabled", is_on),
        # Masks that choose rows choose all of them.
        patch.object(_config, "meta_nonzero_assume_all_nonzero", True, create=True),
    ):
        yield


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = attn_mask.to(query.dtype)
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    if query.ndim == 3:
        return _attention(query[None], key[None], value[None], attn_mask, scale=scale)[0]
    mixed: Tensor = fused(
        query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
    )[0]
    return mixed


def traced(work: Callable[[], Made], device: str = "meta", *, truth: bool = False) -> Traced[Made]:
    """Do some work, gradients being off unless it switches them on, and count what it takes.

    Args:
        work: what to do; what it gives is among what is kept.
        device: whose tensors count.
        truth: what code is told that asks tensors without numbers whether something holds.
    """
    tracer = Tracer(device, truth=truth)
    with torch.no_grad(), _like_a_device(), _Shapes(), tracer:
        made = work()
    return Traced(made, replace(tracer.cost))


@dataclass(frozen=True)
class ShapeStore(CheckpointStore):
    """A store whose tensors have the shapes and dtypes of another one's, on the meta device."""

    inner: CheckpointStore | None = None

    @classmethod
    def of(cls, store: CheckpointStore) -> ShapeStore:
        """Give the shapes of a store."""
        return cls(store.root, "meta", store.dtype, store.miniature, store)

    def folder(self, checkpoint: Any) -> Any:
        """Give the folder of the other store."""
        return self._inner.folder(checkpoint)

    def has(self, checkpoint: Any) -> bool:
        """Say whether the other store has a checkpoint."""
        return self._inner.has(checkpoint)

    def config(self, checkpoint: Any) -> dict[str, Any]:
        """Give the other store's configuration."""
        return self._inner.config(checkpoint)

    def load(
        self, checkpoint: Any, prefix: str = "", dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        """Give tensors without numbers."""
        wanted = torch.float32 if dtype is None else dtype
        return {
            name[len(prefix) :]: torch.empty(shape, dtype=wanted, device="meta")
            for name, shape in self._inner.shapes(checkpoint).items()
            if name.startswith(prefix)
        }

    @property
    def _inner(self) -> CheckpointStore:
        assert self.inner is not None
        return self.inner
