"""Run parts on the meta device, where tensors have shapes but no numbers, and add up their bytes.

Only public names of torch are used: its device, its mode for functions, a subclass of its tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import finalize

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from brainkit.checkpoints import CheckpointStore


@dataclass(frozen=True)
class ShapeStore(CheckpointStore):
    """A store whose tensors have the shapes of another one's, on the meta device."""

    inner: CheckpointStore | None = None

    @classmethod
    def of(cls, store: CheckpointStore) -> ShapeStore:
        """Return the shapes of a store."""
        return cls(store.root, "meta", store.dtype, store.miniature, store)

    def folder(self, checkpoint: Any) -> Any:
        """Return the folder of the other store."""
        return self._inner.folder(checkpoint)

    def has(self, checkpoint: Any) -> bool:
        """Say whether the other store has a checkpoint."""
        return self._inner.has(checkpoint)

    def config(self, checkpoint: Any) -> dict[str, Any]:
        """Return the other store's configuration."""
        return self._inner.config(checkpoint)

    def load(
        self, checkpoint: Any, prefix: str = "", dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        """Return tensors without numbers, whose shapes the other store's header states."""
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


class Tally(TorchFunctionMode):
    """Adds up the tensors without numbers that functions of torch return and that are alive.

    While it is on, who asks such a tensor for its numbers is told zeros.

    Attributes:
        alive: bytes of them.
        most: the most that was alive at once.
    """

    def __init__(self, *, truth: bool = False) -> None:
        """Begin with nothing alive.

        Args:
            truth: what is told to who asks whether something holds.
        """
        super().__init__()
        self.alive = self.most = 0
        self._truth = truth
        self._noted: set[int] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function, or answer in its place, and note the tensors it returns."""
        kwargs = kwargs or {}
        answer = self._answer(func, *args, **kwargs)
        returned = func(*args, **kwargs) if answer is None else answer
        self.note(returned)
        return returned

    def note(self, returned: Any) -> None:
        """Count tensors until their last view is gone."""
        for tensor in returned if isinstance(returned, (tuple, list)) else (returned,):
            if not isinstance(tensor, Tensor) or not tensor.is_meta:
                continue
            storage = tensor.untyped_storage()
            key, size = id(storage), storage.nbytes()
            if key not in self._noted:
                self._noted.add(key)
                self.alive += size
                self.most = max(self.most, self.alive)
                finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._noted.remove(key)
        self.alive -= size

    def _answer(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Return what a tensor without numbers cannot say itself; None to let the function run."""
        tensor = args[0] if args and isinstance(args[0], Tensor) else None
        if tensor is None:
            return None
        if not tensor.is_meta:
            # Weights copied into a network on the CPU: numbers that are not there stay away.
            return tensor if func is Tensor.copy_ and args[1].is_meta else None
        if func is functional.scaled_dot_product_attention:
            return _Attention.apply(*args[:3])
        if func is Tensor.__getitem__ and _is_mask(args[1]):
            return tensor.flatten(0, args[1].ndim - 1)  # it may choose all
        if func is Tensor.cpu or (func is Tensor.to and _on_cpu(*args[1:], *kwargs.values())):
            return tensor
        if func in ASKING:
            asked = torch.full(tensor.shape, self._truth and tensor.dtype == torch.bool)
            return func(asked.to(tensor.dtype), *args[1:], **kwargs)
        return None


ASKING = frozenset((
    *(Tensor.numpy, Tensor.__array__, Tensor.tolist, Tensor.item),
    *(Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__),
))  # fmt: skip


def _on_cpu(*wanted: Any) -> bool:
    return any(str(getattr(each, "device", each)) == "cpu" for each in wanted)


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.is_meta and index.dtype == torch.bool


class _Attention(torch.autograd.Function):
    """Keeps what the kernels of CPUs and GPUs keep: never the matrix of weights."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        mixed = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, mixed)
        return mixed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(each) for each in ctx.saved_tensors[:3])


def descend(function: Callable[[Tensor], Tensor], latent: Tensor, tally: Tally) -> None:
    """Call a function of a latent and go back through it for the gradient, under a tally."""

    class Watched(Tensor):
        """Tells the tally of what is computed again on the way back, too: modes are off there."""

        @classmethod
        def __torch_function__(
            cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            if func is functional.scaled_dot_product_attention:
                returned = _Attention.apply(*args[:3])
            else:
                returned = super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
            tally.note(returned)
            return returned

    with torch.enable_grad():
        with tally:
            loss = function(latent.detach().requires_grad_().as_subclass(Watched)).sum()
        torch.autograd.backward([loss.as_subclass(Tensor)])
