"""The page of what goes with what is the one that the tests' tables give."""

from tests.support.tuning.compatibility import PAGE, SETTINGS, page
from tests.support.tuning.methods import METHODS


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "run python -m tests.support.tuning.compatibility"


def test_every_method_has_a_name() -> None:
    import ftlit.tuning

    for name in METHODS:
        assert SETTINGS.get(name, name).split("(")[0] in ftlit.tuning.__all__
    assert SETTINGS.keys() <= METHODS.keys()
