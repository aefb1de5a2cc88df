"""Regressors: parts that learn to predict a feature from voxels.

A regressor has `fit` and `predict` (`brainkit.parts.Regressor`). One whose costly work depends on
the betas alone may offer `Sharing` besides: the runner then does that work once for all features.
One that can tell which voxels it reads a feature from may offer `Mappable`.
"""

from __future__ import annotations

from brainkit.parts import Mappable, Sharing
from brainkit.regressors.fold_ridge import FoldRidge
from brainkit.regressors.mean import Mean, Shuffled
from brainkit.regressors.ridge import Ridge
from brainkit.regressors.voxel_selected import VoxelSelectedRidge

__all__ = ["FoldRidge", "Mappable", "Mean", "Ridge", "Sharing", "Shuffled", "VoxelSelectedRidge"]
