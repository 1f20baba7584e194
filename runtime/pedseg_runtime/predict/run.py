"""Segmenting any mixture of files into one output folder, and going on where a run stopped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from pathlib import Path

from ..batches import usual_batch_size
from ..errors import InputError
from ..images import has_more_frames
from ..segmenter import Segmenter
from ..text import quote
from .jobs import FailedFile, Job, PredictedFile, Prediction, PredictionContext
from .journal import Journal, read_settings
from .label_tools import LOCAL_FILES, write_coco_instances, write_label_studio
from .outputs import (
    BLURRED,
    COCO,
    COCO_IMAGES,
    COCO_IMAGES_FILE,
    COCO_INSTANCES,
    COCO_INSTANCES_FILE,
    COCO_RESULTS_FILE,
    DEFAULT_FORMATS,
    DETECTIONS_FILE,
    JOURNAL_FILE,
    JSON,
    LABEL_INTERFACE,
    LABEL_INTERFACE_FILE,
    LABEL_STUDIO,
    LABEL_STUDIO_FILE,
    MASKS,
    MASKS_FOLDER,
    Names,
    check_formats,
    plan_outputs,
    write_coco,
    write_detections,
)
from .segment_images import segment_images
from .segment_videos import OnFrames, segment_video
from .video.reading import is_video, require_av


def predict_files(
    segmenter: Segmenter,
    files: Sequence[Path],
    *,
    output: Path,
    formats: Collection[str] = DEFAULT_FORMATS,
    score_threshold: float | None = None,
    batch_size: int | None = None,
    every: int = 1,
    resume: bool = False,
    polygon_tolerance: float | None = None,
    image_prefix: str = LOCAL_FILES,
    on_done: Callable[[int], object] | None = None,
    on_frames: OnFrames | None = None,
) -> Prediction:
    """Segment images and videos and write the results into `output`.

    A file that cannot be read, or fails in any other way, is recorded and the others go on. Every
    result is written whole or not at all, as soon as it is there, and noted in `detections.jsonl`;
    those that collect all images are made from that at the end. Memory holds one batch, not the
    results.

    Args:
        segmenter: a loaded artifact.
        files: images and videos, e.g. of `collect_inputs`.
        output: folder for the results; it is made if missing.
        formats: some of "overlay" (a drawing per image, a video per video), "blurred" (the same
            with what was found blurred, not marked), "masks" (a PNG of instance ids per image, in
            PedMasks), "json" (detections.json for the images, JSON
            lines per video), "coco" (coco_results.json and coco_images.json for the images),
            "coco-instances" (coco_instances.json, which CVAT imports) and "label-studio"
            (label_studio.json and label_studio.xml).
        score_threshold: keep detections above it; None keeps what the artifact yields.
        batch_size: most images held in memory and segmented at once, up to the pixels of the
            segmenter's `max_batch_pixels`; None takes 1 on a CPU, where more bring nothing, else 8.
        every: of a video, segment every so many frames.
        resume: leave out the files that an earlier run into `output` finished, if they have not
            changed and their results are in place.
        polygon_tolerance: write the masks for label tools as polygons that differ from the
            outlines by at most so many pixels; None writes them exactly.
        image_prefix: what stands before an image's name in Label Studio's tasks.
        on_done: called with the number of files that are newly done.
        on_frames: called with a video, the number of its frames that are done, and that of all if
            known.

    Raises:
        InputError: an argument cannot be used; PyAV is missing for a video; `resume` with another
            artifact or options than before; or masks would replace others than our own.
        OSError: a result cannot be written. What was finished before is kept, for `resume`.
    """
    _check_arguments(segmenter, files, formats, score_threshold, batch_size, every)
    if MASKS in formats:
        _refuse_foreign_masks(output)
    settings = {
        "artifact": segmenter.info.digest,
        "formats": sorted(set(formats)),
        "score_threshold": score_threshold,
        "every": every,
    }
    report = on_done or (lambda _: None)
    predicted: dict[Path, PredictedFile] = {}
    failed: list[FailedFile] = []
    notes: list[str] = []
    with Journal(output / JOURNAL_FILE, settings, resume=resume) as journal:
        most = batch_size or usual_batch_size(segmenter.provider, segmenter.manifest.static_shape)
        context = PredictionContext(segmenter, output, journal, score_threshold, most, every)
        for item in _finished(context, files):
            predicted[item.file] = item
            report(1)
        for outcome in _outcomes(context, _plan(context, files, predicted, formats), on_frames):
            if isinstance(outcome, PredictedFile):
                predicted[outcome.file] = outcome
                if outcome.damage is not None:
                    failed.append(FailedFile(outcome.file, outcome.damage))
                if not outcome.is_video and has_more_frames(outcome.file):
                    notes.append(
                        f"{quote(outcome.file)}: holds several frames or pages, the first was "
                        "segmented"
                    )
            else:
                failed.append(outcome)
            report(1)
        in_order = [predicted[file] for file in files if file in predicted]
        results = _collect(context, files, in_order, formats)
        images = [item.file for item in in_order if not item.is_video]
        if images:
            results |= _write_for_label_tools(
                context, images, formats, polygon_tolerance, image_prefix
            )
    return Prediction(in_order, failed, results, notes)


def _finished(context: PredictionContext, files: Iterable[Path]) -> Iterator[PredictedFile]:
    """The files that an earlier run finished."""
    for file in files:
        entry = context.journal.finished(file)
        if entry is not None:
            frames, found = entry.result.get("frames"), entry.result["detections"]
            yield PredictedFile(
                file,
                Job(file, entry.outputs).paths(context.output),
                len(found) if frames is None else found,
                frames=frames,
                resumed=True,
            )


def _plan(
    context: PredictionContext,
    files: Iterable[Path],
    finished: Container[Path],
    formats: Collection[str],
) -> list[Job]:
    """What is left to do; a file that changed writes where it wrote before."""
    names = Names(context.journal.outputs)
    jobs = []
    for file in files:
        if file not in finished:
            entry = context.journal.get(file)
            outputs = plan_outputs(file, formats, names) if entry is None else entry.outputs
            jobs.append(Job(file, outputs))
    return jobs


def _outcomes(
    context: PredictionContext, jobs: Sequence[Job], on_frames: OnFrames | None
) -> Iterator[PredictedFile | FailedFile]:
    """Do all jobs, images first."""
    yield from segment_images(context, [job for job in jobs if not is_video(job.file)])
    for job in jobs:
        if is_video(job.file):
            yield segment_video(context, job, on_frames)


def _collect(
    context: PredictionContext,
    files: Iterable[Path],
    predicted: Sequence[PredictedFile],
    formats: Collection[str],
) -> dict[str, Path]:
    """Write the files that collect the detections of all images, unless only videos were given."""
    if all(is_video(file) for file in files):
        return {}
    results: dict[str, Path] = {}
    images = [item.file for item in predicted if not item.is_video]
    if JSON in formats:
        results[JSON] = context.output / DETECTIONS_FILE
        write_detections(results[JSON], context.journal.entries(images))
    if COCO in formats:
        results[COCO] = context.output / COCO_RESULTS_FILE
        results[COCO_IMAGES] = context.output / COCO_IMAGES_FILE
        write_coco(
            results[COCO],
            results[COCO_IMAGES],
            context.journal.entries(images),
            context.segmenter.manifest.class_names,
        )
    return results


def _write_for_label_tools(
    context: PredictionContext,
    images: Sequence[Path],
    formats: Collection[str],
    tolerance: float | None,
    prefix: str,
) -> dict[str, Path]:
    """Write what label tools import."""
    results: dict[str, Path] = {}
    class_names = context.segmenter.manifest.class_names
    if COCO_INSTANCES in formats:
        results[COCO_INSTANCES] = context.output / COCO_INSTANCES_FILE
        entries = context.journal.entries(images)
        write_coco_instances(results[COCO_INSTANCES], entries, class_names, tolerance=tolerance)
    if LABEL_STUDIO in formats:
        results[LABEL_STUDIO] = context.output / LABEL_STUDIO_FILE
        results[LABEL_INTERFACE] = context.output / LABEL_INTERFACE_FILE
        write_label_studio(
            results[LABEL_STUDIO],
            results[LABEL_INTERFACE],
            context.journal.entries(images),
            class_names,
            tolerance=tolerance,
            prefix=prefix,
        )
    return results


def _check_arguments(
    segmenter: Segmenter,
    files: Iterable[Path],
    formats: Collection[str],
    score_threshold: float | None,
    batch_size: int | None,
    every: int,
) -> None:
    """Refuse what cannot work before anything is written."""
    segmenter.check_threshold(score_threshold)
    for name, value in (("batch_size", batch_size), ("every", every)):
        if value is not None and value < 1:
            raise InputError(f"{name}: expected a positive number, found {value}")
    check_formats(formats, files)
    video = next((file for file in files if is_video(file)), None)
    if video is not None:
        require_av(video)
        if BLURRED in formats and every > 1:
            raise InputError(
                f"every: expected 1 for the format {BLURRED} of a video, found {every}; people "
                "leave their blur on frames that are not segmented"
            )


def _refuse_foreign_masks(output: Path) -> None:
    """Raise InputError where masks would replace a dataset's own."""
    settings = read_settings(output / JOURNAL_FILE)
    ours = settings is not None and MASKS in settings.get("formats", ())
    folder = output / MASKS_FOLDER
    if not ours and folder.is_dir() and any(folder.iterdir()):
        raise InputError(
            f"{folder}: expected no masks but those of an earlier prediction, found others; choose "
            "another --output, so that no ground truth is overwritten"
        )
