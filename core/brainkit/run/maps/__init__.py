"""Where in the brain a feature is read: maps of a finished run's regressors, as files and tables.

The importance of a voxel for a feature is the mean of its |weight| over the feature's units and,
where the regressor chooses voxels, the share of units that chose it.
"""

from brainkit.run.maps.facts import brain_maps, stamps

__all__ = ["brain_maps", "stamps"]
