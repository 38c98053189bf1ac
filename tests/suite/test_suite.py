"""Suites: their files, and the intervals of differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fgvc_cli.errors import BadRequest
from fgvc_cli.spec.flags import spec_of_row
from fgvc_cli.suite.plan import open_suite, plan, read_suite, shipped, with_rows, write_specs
from fgvc_cli.suite.results import paired_bootstrap


@pytest.mark.parametrize("name", shipped())
def test_every_suite_that_ships_is_one(name: str) -> None:
    file, _ = open_suite(name)
    planned = plan(file, Path("x"), {}, spec_of_row)
    assert len(planned.jobs) == len(file.rows) * len(file.seeds)
    assert {job.spec.train.seed for job in planned.jobs} == set(file.seeds)
    if name != "compare":
        assert all(job.spec.data.dataset == "cub" for job in planned.jobs)
        assert all(row.published for row in file.rows)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rows = [", "not valid TOML"),
        ("rows = []", "rows"),
        ('[[rows]]\nname = "a"\n[[rows]]\nname = "a"', "two rows are called 'a'"),
        ('baseline = "b"\n[[rows]]\nname = "a"', "baseline 'b' is none of the rows: a"),
        ('[[rows]]\nname = "../a"', "rows.0.name"),
        ('seeds = [0, 0]\n[[rows]]\nname = "a"', "seeds must differ"),
        ('wrong = 1\n[[rows]]\nname = "a"', "wrong"),
    ],
)
def test_bad_files(text: str, complaint: str) -> None:
    with pytest.raises(BadRequest, match=complaint):
        read_suite(text, "s.toml")


def test_a_wrong_flag_names_its_row(tmp_path) -> None:
    file = read_suite('[[rows]]\nname = "a"\nmethod = "baseline"\nwight = 1', "s.toml")
    with pytest.raises(BadRequest, match="row a: wight is no flag"):
        plan(file, tmp_path, {}, spec_of_row)
    file = read_suite('[[rows]]\nname = "a"\nmethod = "nothing"', "s.toml")
    with pytest.raises(BadRequest, match="row a: "):
        plan(file, tmp_path, {}, spec_of_row)


@pytest.mark.parametrize("name", shipped())
def test_flags_of_the_command_win_over_all_that_rows_say(name: str) -> None:
    """Rows of TDSA-Loss' tables have `set = ["train.epochs=300"]`."""
    planned = plan(open_suite(name)[0], Path("x"), {"epochs": 1, "set": ["data.limit_train=8"]}, spec_of_row)
    assert {(job.spec.train.epochs, job.spec.data.limit_train) for job in planned.jobs} == {(1, 8)}


def test_another_spec_in_the_same_place_is_refused(tmp_path) -> None:
    file = read_suite('seeds = [0]\n[[rows]]\nname = "a"\nmethod = "baseline"', "s.toml")
    write_specs(plan(file, tmp_path, {}, spec_of_row))
    write_specs(plan(file, tmp_path, {}, spec_of_row))
    with pytest.raises(BadRequest, match="other settings than row a has now"):
        write_specs(plan(file, tmp_path, {"epochs": 3}, spec_of_row))


def test_the_bootstrap_beside_loops_and_without_spread() -> None:
    dice = np.random.RandomState(1)
    gaps = dice.choice([-1.0, 0, 0, 1], size=(3, 200))
    mean, low, high = paired_bootstrap(gaps, draws=4000)
    assert mean == pytest.approx(gaps.mean())
    draws = [
        np.mean([gaps[one][images].mean() for one in dice.randint(0, 3, 3)])
        for images in (dice.randint(0, 200, 200) for _ in range(4000))
    ]
    assert (low, high) == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])), abs=0.012)
    assert paired_bootstrap(np.full((2, 5), 1.0)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        (["soft"], ["soft"]),
        (["soft", "hard", "tau"], ["soft", "hard, tau"]),  # as `--rows "soft,hard, tau"` is cut
        (["hard, tau", "soft"], ["soft", "hard, tau"]),  # as a list of whole names, in the file's order
        (["hard", "tau", "L"], ["hard, tau,L"]),
    ],
)
def test_rows_whose_names_have_commas_are_chosen(asked: list[str], rows: list[str]) -> None:
    file = read_suite(
        "".join(f'[[rows]]\nname = "{name}"\n' for name in ("soft", "hard, tau", "hard, tau,L")), "s.toml"
    )
    assert [row.name for row in with_rows(file, asked).rows] == rows
    with pytest.raises(BadRequest, match="there is no row 'hard'; the rows are soft; hard, tau; hard, tau,L"):
        with_rows(file, ["hard"])


@pytest.mark.parametrize("name", shipped())
def test_each_row_of_a_shipped_suite_can_be_chosen_alone(name: str) -> None:
    file, _ = open_suite(name)
    for row in file.rows:
        assert [one.name for one in with_rows(file, row.name.split(",")).rows] == [row.name]
