"""The tree of errors: one status, code and exit code each, as the conventions have them."""

import ddnn.errors
from ddnn.errors import DDNNError

STATUS = {
    "BadInput": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "OtherBundle": 409,
    "TooLarge": 413,
    "UnsupportedEncoding": 415,
    "Overloaded": 429,
    "DDNNError": 500,
    "Unavailable": 503,
    "DeadlineExceeded": 504,
}
KINDS = [getattr(ddnn.errors, name) for name in ddnn.errors.__all__]


def test_statuses_are_those_of_the_conventions() -> None:
    assert {name: getattr(ddnn.errors, name).status for name in STATUS} == STATUS


def test_every_error_is_ours_and_has_a_code_of_its_own() -> None:
    assert all(issubclass(kind, DDNNError) for kind in KINDS)
    assert len({kind.code for kind in KINDS}) == len(KINDS)


def test_exit_codes_are_2_where_what_was_given_is_wrong_3_for_infeasible_and_1_else() -> None:
    codes = {kind.__name__: kind.exit_code for kind in KINDS}
    wrong = {"BadInput", "BadBundle", "BadData", "BadConfig", "Unauthorized", "Forbidden", "NotFound"}
    wrong |= {"MethodNotAllowed", "TooLarge", "UnsupportedEncoding"}
    assert {name for name, code in codes.items() if code == 2} == wrong
    assert {name for name, code in codes.items() if code == 3} == {"Infeasible"}
    assert {code for code in codes.values()} == {1, 2, 3}


def test_what_may_succeed_later_says_so() -> None:
    again = {kind.__name__ for kind in KINDS if kind.retryable}
    assert again == {"Overloaded", "Unavailable", "DeadlineExceeded", "UplinkFailed"}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = ddnn.errors.__doc__ or ""
    assert {kind.__name__ for kind in KINDS if f" {kind.__name__} " not in drawn} <= {"DDNNError"}
