"""Fixtures of the exporter's tests."""

from pathlib import Path

import pytest

from tests.exporters.certificates import make_ca, make_leaf


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca, server (127.0.0.1), prometheus (a client), stranger (another CA's client): NAME.crt and NAME.key."""
    directory = tmp_path_factory.mktemp("certificates")
    make_ca(directory, "ca")
    make_ca(directory, "other")
    make_leaf(directory, "server", ca="ca", san="IP:127.0.0.1")
    make_leaf(directory, "renewed", ca="ca", san="IP:127.0.0.1,DNS:renewed.example")
    make_leaf(directory, "prometheus", ca="ca", san="DNS:prometheus.example,IP:2001:db8::1", usage="clientAuth")
    make_leaf(directory, "stranger", ca="other", san="DNS:prometheus.example", usage="clientAuth")
    return directory
