"""Payment providers: one contract for all of them, and what is each one's own."""

import pytest

pytest.register_assert_rewrite("tests.payments.contract")
