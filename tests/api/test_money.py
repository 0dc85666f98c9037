from decimal import Decimal

import pytest

from billing.money import usd


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00"),
        ("-0", "0.00"),
        ("0E-12", "0.00"),
        ("1000", "1000.00"),
        ("1E+3", "1000.00"),
        ("0.5", "0.50"),
        ("0.077385000000", "0.077385"),
        ("0.000000000001", "0.000000000001"),
        ("1E-12", "0.000000000001"),
        ("-0.018645", "-0.018645"),
        # More digits than a float or the default decimal context keeps.
        ("123456789012.123456789012", "123456789012.123456789012"),
        ("1234567890123456789012345678901234567890.10", "1234567890123456789012345678901234567890.10"),
    ],
)
def test_an_amount_is_written_exactly_and_plainly(amount, text):
    assert usd(Decimal(amount)) == text
    assert Decimal(text) == Decimal(amount)
