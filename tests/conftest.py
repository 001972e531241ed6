"""Settings for all tests."""

from hypothesis import HealthCheck, settings

# Machines that run many tests at once are slow now and then: that is no failure of the code.
settings.register_profile("xvmstore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("xvmstore")
