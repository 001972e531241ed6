"""The contract on real OpenZFS and real LIO."""

from tests.contract.checkpoints import *  # noqa: F403
from tests.contract.luns import *  # noqa: F403
from tests.contract.volumes import *  # noqa: F403
