# SPDX-License-Identifier: MIT
"""The table in README.md is complete and says what the tests say."""

import statements


def test_every_statement_has_a_test_or_a_reason():
    assert statements.problems() == []


def test_readme_is_up_to_date():
    assert statements.README.read_text() == statements.readme(), "run /usr/bin/python3 -B tests/broker/statements.py --write"
