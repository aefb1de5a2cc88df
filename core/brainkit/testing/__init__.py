"""Checks for authors of plugins: one for each promise a part makes.

    from brainkit.testing import checks

    @pytest.mark.parametrize("check", checks.for_regressor(PLS(components=5)), ids=str)
    def test_pls_keeps_its_promises(check):
        check()

`docs/plugins/testing.md` lists every check. Nothing here needs pytest.
"""

from brainkit.testing import checks
from brainkit.testing.examples import example_stimuli
from brainkit.testing.promise import Check
from brainkit.testing.released import converted
from brainkit.testing.tiny import tiny_nsd

__all__ = ["Check", "checks", "converted", "example_stimuli", "tiny_nsd"]
