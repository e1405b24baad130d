"""What runs in the background processes: features of images, and scores from answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kpairs.errors import InputError
from kpairs.exports.web.label.background import Progress
from kpairs.exports.web.label.pictures import check_readable
from kpairs.judging import Judgements, Proposal, Scores, prepare_features, propose, score
from kpairs.judging.judgements import Floats, Numbers


def find_features(files: Sequence[str], white: int, progress: Progress) -> tuple[Floats, list[int]]:
    """Return prepared features of the images that can be read, and the numbers of the others."""
    from kpairs.exports.features import file_features  # imports onnxruntime, in this process alone

    try:
        return prepare_features(file_features(files, progress, white=white)), []
    except InputError:
        bad = [number for number, file in enumerate(files) if not _is_readable(file)]
        if not bad:
            raise
    good = [file for number, file in enumerate(files) if number not in set(bad)]
    return prepare_features(file_features(good, progress, white=white)), bad


def _is_readable(file: str) -> bool:
    try:
        check_readable(file)
    except InputError:
        return False
    return True


def think(
    answers: Judgements,
    features: Floats | None,
    start: Scores | None,
    wanted: Mapping[int, Mapping[str, Any]],
    count: int,
    group: Numbers,
) -> tuple[Scores, dict[int, list[Proposal]]]:
    """Return scores of images, and by each judge's number `count` pairs to ask next.

    `start` are earlier scores of the same images, `wanted` the shares of `propose` by judge; pairs
    stay within the `group` numbers.
    """
    found = score(answers, features, start=None if start is None else start.posterior)
    proposals = {
        judge: propose(found.posterior, count, judge=judge, group=group, **shares)
        for judge, shares in wanted.items()
    }
    # `replace` leaves behind what a posterior has computed from its fields.
    return replace(found, posterior=replace(found.posterior)), proposals
