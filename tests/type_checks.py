"""What checks types at run time in the tests: an int is a float, as for type checkers."""

from beartype import BeartypeConf, beartype

__all__ = ["checked"]

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
