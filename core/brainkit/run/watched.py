"""A condition that names its conditioner where it fails, though a sampler calls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from brainkit.data import Condition
from brainkit.errors import DataError
from brainkit.run.returned import Axes, met, named, refuse, tensor, way_out
from brainkit.run.shared import Run

if TYPE_CHECKING:
    from torch import Tensor

Denoise = Callable[["Tensor", "Tensor"], "Tensor"]


class Watched:
    """A condition whose functions name the conditioner when they fail, whoever calls them.

    Attributes:
        condition: for the sampler.
    """

    def __init__(self, run: Run, output: str, condition: Condition) -> None:
        """Wrap the functions of a condition that was checked."""
        self._run, self._output = run, output
        self._in_one_pass = len(condition.sigmas) == 1
        self._spoilt: Tensor | None = None
        misfit, denoise_with = condition.misfit, condition.denoise_with
        self.condition = replace(
            condition,
            denoise=self._denoising(condition.denoise),
            misfit=misfit and self._misfit(misfit),
            denoise_with=denoise_with and self._with_context(denoise_with),
        )

    def require_finite(self, rows: Sequence[int], images: Sequence[int]) -> None:
        """Name the conditioner if it made of finite latents some that are not.

        Args:
            rows: of the latents that are not finite.
            images: of all latents.

        Raises:
            DataError: it did.
        """
        if rows and self._spoilt is not None and bool(self._spoilt):
            raise DataError(
                f"{self._run.who('conditioner')} denoised {self._output}s to NaN or infinity for "
                f"{named(images, rows)}; {way_out(self._run, 'its weights and its options')}"
            )

    def _denoising(self, function: Denoise) -> Denoise:
        def denoise(latent: Tensor, sigma: Tensor) -> Tensor:
            with self._run.blame("conditioner", f"denoising {self._output}s"):
                value = function(latent, sigma)
            axes: Axes = (len(latent), "*any") if self._in_one_pass else tuple(latent.shape)
            clean = tensor(self._run, "conditioner", value, axes, "what denoise makes")
            self._note(latent, clean)
            return clean

        return denoise

    def _note(self, latent: Tensor, clean: Tensor) -> None:
        """Note whether finite latents became others; asked at the end, as a GPU would wait here."""
        spoilt = latent.detach().isfinite().all() & ~clean.detach().isfinite().all()
        self._spoilt = spoilt if self._spoilt is None else self._spoilt | spoilt

    def _misfit(self, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def misfit(latent: Tensor) -> Tensor:
            with self._run.blame("conditioner", f"telling the misfit of {self._output}s"):
                value = function(latent)
            return tensor(self._run, "conditioner", value, (len(latent),), "misfit")

        return misfit

    def _with_context(self, function: Callable[[Tensor], Denoise]) -> Callable[[Tensor], Denoise]:
        def denoise_with(context: Tensor) -> Denoise:
            with self._run.blame("conditioner", "taking another context"):
                value: object = function(context)
            if not callable(value):
                refuse(self._run, "conditioner", f"{met(value)} from denoise_with", "a function")
            return self._denoising(value)

        return denoise_with
