"""The page of a run: complete, self-contained, and safe to open whatever the names are."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from pedseg_runtime.errors import TrainingError
from pedseg_train.data import PennFudanDataset, Split
from pedseg_train.eager import EagerSegmenter
from pedseg_train.evaluation import NUMBERS, analyse, record
from pedseg_train.evaluation.image_rows import ImageRow
from pedseg_train.models import build_model
from pedseg_train.recipes import RECIPES
from pedseg_train.report import write_model_report, write_report
from pedseg_train.report.gallery import BEST, WORST, choose
from pedseg_train.run_folder import RunFolder

CLASSES = ("background", "person")
NASTY = '<script>alert("1")<script>&'
SECTIONS = ("accuracy", "errors", "images", "training", "data", "recipe", "environment")
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Reads a page strictly: every element that opens must close, in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.urls, self.tags, self.words = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "action"):
                self.urls.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def nasty(toy_root, tmp_path_factory):
    """The toy dataset with names that are markup."""
    root = tmp_path_factory.mktemp("nasty") / "data"
    for file in sorted(toy_root.rglob("*.png")):
        target = root / file.parent.name / f"{NASTY}{file.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    return PennFudanDataset(root)


@pytest.fixture(scope="module")
def segment():
    torch.manual_seed(0)
    model = build_model(
        "maskrcnn_resnet18_fpn", min_size=64, max_size=96, score_threshold=0.0,
        detections_per_image=10,
    )  # fmt: skip
    return EagerSegmenter(model, class_names=CLASSES, paste=False)


@pytest.fixture(scope="module")
def recorded(nasty, segment):
    return record(segment, nasty, [5, 1, 3])


def epoch_record(epoch):
    numbers = dict.fromkeys(NUMBERS, 0.1 * epoch)
    losses = {"loss": 2 / epoch, "loss_mask": 1 / epoch}
    return {
        "epoch": epoch, "lr": 0.01 / epoch, "losses": losses, "seconds": 10.0,
        "evaluation_seconds": 2.0, "bbox": numbers, "segm": numbers,
    }  # fmt: skip


@pytest.fixture(scope="module")
def page(nasty, recorded, tmp_path_factory):
    """The page of a run in a folder whose name is markup, and its path."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / NASTY)
    folder.root.mkdir()
    recipe = dataclasses.replace(RECIPES["smoke"], weights=NASTY, epochs=3)
    folder.write_settings(recipe, {"images": "0" * 64})
    lines = [json.dumps(epoch_record(epoch)) + "\n" for epoch in (1, 2, 3)]
    folder.metrics.write_text("".join(lines))
    path = write_report(
        folder, dataset=nasty, split=Split(train=(0, 2, 4), test=(5, 1, 3)), recording=recorded,
        provider="torch:cpu", seconds=1.5, resamples=50,
    )  # fmt: skip
    return Page(path.read_text(encoding="utf-8")), path


def test_the_page_parses_and_has_every_section(page):
    read, path = page
    assert path.name == "report.html"
    assert set(SECTIONS) <= set(read.ids)
    assert len(set(read.ids)) == len(read.ids)
    assert all(number in read.text for number in NUMBERS)


def test_nothing_is_fetched_from_anywhere(page):
    read, path = page
    assert read.urls
    assert all(url.startswith(("data:image/jpeg;base64,", "#")) for url in read.urls)
    style = path.read_text(encoding="utf-8")
    assert "@import" not in style
    assert "url(http" not in style


def test_links_lead_to_parts_of_the_page(page):
    read, _ = page
    assert {url[1:] for url in read.urls if url.startswith("#")} <= set(read.ids)


def test_names_with_markup_are_text(page):
    read, _ = page
    assert "script" not in read.tags
    assert NASTY in read.text
    assert f"weights: none -> {NASTY}" in read.text


def test_the_page_leads_with_the_answer(page, recorded, nasty):
    read, _ = page
    errors = analyse(recorded, nasty.names, resamples=0).errors("segm")
    sentence = f"On 3 test images it finds {errors['matched']} of {errors['people']} people"
    assert sentence in read.text
    assert read.text.index(sentence) < read.text.index("Accuracy")


def test_what_the_run_did_is_told(page):
    read, _ = page
    assert "is of epoch 3" in read.text
    assert "36 s for 3 epochs" in read.text
    assert "0.3 images/s in training" in read.text  # three images, three epochs, thirty seconds
    assert "epochs: 9 -> 3" in read.text


def test_images_are_small_jpegs(page):
    read, _ = page
    images = [url for url in read.urls if url.startswith("data:")]
    assert len(images) == 6
    for uri in images:
        with Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))) as image:
            assert image.format == "JPEG"
            assert max(image.size) <= 560


def test_a_model_without_a_run_has_a_page_without_one(nasty, recorded, tmp_path):
    path = tmp_path / "page.html"
    write_model_report(
        path, model=tmp_path / "model.onnx", dataset=nasty, recording=recorded,
        analysis=analyse(recorded, nasty.names, resamples=20),
        facts={"part": "all", "provider": "CPUExecutionProvider", "seconds": 2.0},
    )  # fmt: skip
    read = Page(path.read_text(encoding="utf-8"))
    assert {"accuracy", "errors", "images", "data", "environment"} <= set(read.ids)
    assert not {"training", "recipe"} & set(read.ids)
    assert "CPUExecutionProvider" in read.text


def test_images_without_a_label_still_have_a_page(nasty, segment, tmp_path):
    recording = record(segment, nasty, [1])
    path = tmp_path / "page.html"
    write_model_report(
        path, model=tmp_path / "model.onnx", dataset=nasty, recording=recording,
        analysis=analyse(recording, nasty.names),
        facts={"part": "all", "provider": "", "seconds": 1.0},
    )  # fmt: skip
    assert "Nothing is labelled" in Page(path.read_text(encoding="utf-8")).text


def test_several_classes_have_a_table_and_reasons_of_their_own(nasty, recorded, tmp_path):
    several = dataclasses.replace(recorded, class_names=("background", "person", NASTY))
    path = tmp_path / "page.html"
    write_model_report(
        path, model=tmp_path / "model.onnx", dataset=nasty, recording=several,
        analysis=analyse(several, nasty.names, resamples=0),
        facts={"part": "all", "provider": "", "seconds": 1.0},
    )  # fmt: skip
    read = Page(path.read_text(encoding="utf-8"))
    assert "By class" in read.text
    assert "false alarm: class and localisation" in read.text
    assert "script" not in read.tags


def test_a_folder_without_a_run_is_refused(nasty, recorded, tmp_path):
    with pytest.raises(TrainingError, match="expected a run with recipe"):
        write_report(
            RunFolder(tmp_path), dataset=nasty, split=Split((0,), (5, 1, 3)), recording=recorded
        )
    assert not list(tmp_path.iterdir())


def row(name, *, people, matched, false=0, iou=0.8):
    found = matched + false
    return ImageRow(
        image=name, people=people, found=found, matched=matched, missed=people - matched,
        false_alarms=false, mean_iou=iou if matched else None,
        f1=2 * matched / (found + people) if found + people else None, mask_ap=None,
    )  # fmt: skip


def test_the_worst_have_most_errors_and_the_best_most_people():
    rows = [
        *(row(f"fine{people}", people=people, matched=people) for people in range(1, 8)),
        *(row(f"bad{errors}", people=5, matched=5 - errors, false=1) for errors in range(6)),
        row("street", people=0, matched=0),
    ]
    worst, best = choose(rows)
    assert [rows[place].image for place in worst] == [
        f"bad{errors}" for errors in (5, 4, 3, 2, 1, 0)
    ]
    assert [rows[place].image for place in best] == ["fine7", "fine6", "fine5"]
    assert (len(worst), len(best)) == (WORST, BEST)


def test_no_image_is_both_worst_and_best():
    worst, best = choose([row("only", people=1, matched=1)])
    assert (worst, best) == ([0], [])
