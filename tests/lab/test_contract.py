"""The contract on real OpenZFS and real LIO. Of checkpoints, what ZFS and LIO have a say in; the rest is our own.

Rehearsals are in test_checkpoints and test_upgrade, which make and discard them here.
"""

from tests.contract.checkpoints import (
    test_a_checkpoint_is_held,
    test_back_and_forth,
    test_discard_what_is_newer,
    test_rollback_refused,
)
from tests.contract.luns import *  # noqa: F403
from tests.contract.volumes import *  # noqa: F403

__all__ = [
    "test_a_checkpoint_is_held",
    "test_back_and_forth",
    "test_discard_what_is_newer",
    "test_rollback_refused",
]
