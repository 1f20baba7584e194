"""What an analysis says agrees with itself and with COCOeval."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from rich.console import Console

from pedseg_runtime.errors import InputError
from pedseg_train.evaluation import analyse, count, merge
from pedseg_train.evaluation.image_rows import write_image_rows

PERSON, OTHER, THIRD = [20, 20, 40, 100], [80, 20, 40, 100], [140, 30, 40, 90]
NEAR = [25, 20, 40, 100]
NAMES = ("first", "second", "third", "fourth")


@pytest.fixture(scope="module")
def recording(scene):
    return scene(
        ([PERSON, OTHER], [(NEAR, 0.9), (OTHER, 0.8), (THIRD, 0.7)]),
        ([PERSON, THIRD], [(PERSON, 0.95), (THIRD, 0.3)]),
        ([], [(PERSON, 0.6)]),
        ([], []),
    )


@pytest.fixture(scope="module")
def analysis(recording):
    return analyse(recording, NAMES, resamples=60)


def test_the_numbers_are_those_of_count(recording, analysis):
    assert analysis.result == count(recording)


def test_every_interval_holds_its_value(analysis):
    for kind in ("bbox", "segm"):
        for number in ("AP", "AP50"):
            one = analysis.intervals[kind][number]
            assert one.low <= one.value <= one.high
            assert one.value == getattr(analysis.result, kind)[number]
            assert one.low < one.high


def test_sums_over_the_images_are_the_totals(analysis):
    errors = analysis.errors("segm")
    rows = analysis.rows
    assert sum(row.people for row in rows) == errors["people"] == 4
    assert sum(row.matched for row in rows) == errors["matched"] == 3
    assert sum(row.missed for row in rows) == sum(errors["missed"].values()) == 1
    assert sum(row.false_alarms for row in rows) == sum(errors["false_alarms"].values()) == 2
    assert sum(row.found for row in rows) == errors["found"] == 5


def test_a_row_tells_how_well_an_image_went(analysis, recording, scene):
    first, second, third, fourth = analysis.rows
    assert (first.image, first.found, first.matched, first.false_alarms) == ("first", 3, 2, 1)
    assert first.mean_iou == pytest.approx((35 / 45 + 1) / 2)
    assert first.f1 == pytest.approx(2 * 2 / (3 + 2))
    alone = scene(([PERSON, OTHER], [(NEAR, 0.9), (OTHER, 0.8), (THIRD, 0.7)]))
    assert first.mask_ap == count(alone).segm["AP"]
    assert (second.missed, third.f1, third.mask_ap, third.mean_iou) == (1, 0.0, None, None)
    assert fourth.f1 is None


def test_the_best_score_can_be_read_off(analysis):
    """Down to 0.8, three of four people and no false alarm; down to 0.3, all four and two."""
    best = analysis.best["segm"]
    assert best.score == pytest.approx(0.8)
    assert (best.recall, best.precision) == (0.75, 1.0)
    assert best.f1 == pytest.approx(6 / 7)


def test_precision_and_recall_are_cocoevals(recording, analysis):
    evaluation = recording.match("segm")
    evaluation.accumulate()
    expected = evaluation.eval["precision"][:, :, 0, 0, 2]
    np.testing.assert_array_equal(analysis.precision["segm"], expected)
    curves = analysis.to_dict()["precision_recall"]["segm"]
    assert {len(values) for values in curves.values()} == {101}
    assert np.mean(curves["0.50:0.95"]) == pytest.approx(analysis.result.segm["AP"], abs=1e-5)


def test_the_document_is_json_and_the_table_shows_intervals(analysis):
    json.dumps(analysis.to_dict(), allow_nan=False)
    interval = analysis.intervals["segm"]["AP"]
    assert f"{interval.value:.3f} [{interval.low:.2f}, {interval.high:.2f}]" in _text(
        analysis.table()
    )


def test_nobody_to_be_found_has_no_interval_and_is_valid_json(scene):
    analysis = analyse(scene(([], [(PERSON, 0.9)])), ["empty"])
    assert analysis.intervals == {}
    assert analysis.best["segm"] is None
    document = json.dumps(analysis.to_dict(), allow_nan=False)
    assert json.loads(document)["errors"]["segm"]["false_alarms"]["background"] == 1


def test_classes_have_numbers_of_their_own(scene):
    names = ("background", "person", "car", "dog")
    recording = scene(
        ([(PERSON, 1), (OTHER, 2)], [(PERSON, 0.9, 1), (THIRD, 0.8, 2)]), class_names=names
    )
    classes = count(recording).classes
    assert [classes[name]["segm"]["AP"] for name in names[1:]] == [pytest.approx(1.0), 0.0, None]
    assert [classes[name]["instances"] for name in names[1:]] == [1, 1, 0]
    assert count(recording).segm["AP"] == pytest.approx(0.5)
    assert "car (1)" in _text(analyse(recording, ["only"], resamples=0).table())


def test_twelve_numbers_are_cocoevals_summary(recording, capsys):
    for kind in ("bbox", "segm"):
        evaluation = recording.match(kind)
        evaluation.accumulate()
        evaluation.summarize()
        numbers = getattr(count(recording), kind)
        expected = [None if value < 0 else value for value in evaluation.stats]
        assert list(numbers.values()) == expected


def test_shares_of_several_processes_merge_into_the_whole(recording):
    """The last share repeats an image, as samplers do that even out the shares."""

    def share(*images):
        def of(entries, key):
            return [entry for entry in entries if entry[key] in images]

        return type(recording)(
            of(recording.images, "id"),
            of(recording.truth, "image_id"),
            of(recording.found, "image_id"),
        )

    assert merge([share(3, 1), share(0, 2), share(0, 3)]) == recording


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_rows_are_written_and_read_back(analysis, tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    write_image_rows(path, analysis.rows)
    text = path.read_text()
    rows = json.loads(text) if suffix == ".json" else list(csv.DictReader(text.splitlines()))
    assert [row["image"] for row in rows] == list(NAMES)
    assert [int(row["matched"]) for row in rows] == [2, 1, 0, 0]
    assert float(rows[0]["mean_iou"]) == pytest.approx(analysis.rows[0].mean_iou, abs=1e-6)
    assert rows[3]["f1"] in ("", None)


def test_another_suffix_is_refused_before_anything_is_written(analysis, tmp_path):
    with pytest.raises(InputError, match=r"ends in \.csv or \.json"):
        write_image_rows(tmp_path / "rows.xlsx", analysis.rows)
    assert not list(tmp_path.iterdir())


def _text(table) -> str:
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()
