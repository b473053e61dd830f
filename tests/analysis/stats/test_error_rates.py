"""The page and the docstrings name the error rates that were measured, and the command that measures them runs."""

import inspect
import re

import pytest

from analysis import stats
from benchmarks import error_rates

RATES = re.compile(r"-?\d+\.\d / -?\d+\.\d / -?\d+\.\d")


@pytest.mark.parametrize("name", stats.__all__)
def test_rates_of_a_docstring_are_those_of_the_page(name):
    page = error_rates.PAGE.read_text()
    documented = RATES.findall(inspect.getdoc(getattr(stats, name)) or "")
    assert all(rates in page for rates in documented)
    exempt = {"Interval", "hypervolume", "rate_interval", "seeds_needed"}
    assert documented or name in exempt


def test_the_page_has_every_statement():
    page = error_rates.PAGE.read_text()
    for heading, statements in error_rates.STATEMENTS.items():
        assert heading in page and all(f"| {name} |" in page for name, *_ in statements)


@pytest.mark.slow
def test_the_command_measures(capsys):
    text = error_rates.table("Differences of two standard deviations that are found", quick=True)
    assert len(RATES.findall(text)) == 9 and capsys.readouterr().out.splitlines()[-1] in text
