"""Build of the package; all of it is declared in pyproject.toml."""

from setuptools import setup

setup()
