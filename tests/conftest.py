"""Settings for all tests."""

import pytest
from hypothesis import HealthCheck, settings

# Machines that run many tests at once are slow now and then: that is no failure of the code.
settings.register_profile("xvmstore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("xvmstore")

# Their assertions are to tell as much as those of any test.
pytest.register_assert_rewrite("tests.contract.volumes", "tests.contract.luns")
