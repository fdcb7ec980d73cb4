"""Assertions of the importable compliance tests are explained like those of a test module."""

import pytest

pytest.register_assert_rewrite("pynn_portability.probe.compliance")
