"""Candidates that a sampler proposes by what did well: optuna's tree-structured Parzen estimator.

optuna is imported where it is asked for: it is an extra.
"""

from __future__ import annotations

import hashlib
import json
import logging
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from kpairs.errors import InputError, KpairsError, UsageError, raised_as
from kpairs.recipes import Recipe
from kpairs.recipes.searched import Between
from kpairs.studies.run import run_jobs
from kpairs.studies.search.ranking import fold_errors
from kpairs.studies.search.space import Search

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import BaseTrial, FrozenTrial

_REFUSED = 100

log = logging.getLogger(__name__)


def run_tpe(
    search: Search,
    folder: str | Path,
    trials: int,
    data_root: str | Path | None = None,
    **options: Any,
) -> Iterator[Recipe]:
    """Cross-validate candidates that optuna's tree-structured Parzen estimator proposes.

    Proposals and scores are kept in optuna's journal, `optuna.log` in the folder, so that the
    search can be stopped, killed and gone on with; a proposal that was under way is finished first.
    The score is the mean validation error of the comparison over the folds. In the end `trials`
    proposals are scored, those of earlier runs among them, and each one's recipe is yielded.

    Raises KpairsError where optuna is not installed, UsageError for a value that the recipe or the
    architecture refuses, or the first 100 proposals outside the number of parameters (after later
    ones it ends), InputError for a journal that cannot be read.
    """
    for name, values in search.space.items():  # refused now, not when such a value is proposed
        for value in () if isinstance(values, Between) else values:
            for arch in search.archs:
                search.candidate(arch, {name: value})
    optuna = _optuna()
    states = optuna.trial.TrialState
    study, scored, begun = known_proposals(optuna, search, Path(folder))
    yield from scored
    done, refused = len(scored), 0
    while done < trials:
        # A seed of its own for each proposal: a search that was stopped goes on as if it was not.
        proposed = sum(_is_whole(search, t) for t in study.get_trials(deepcopy=False))
        study.sampler = optuna.samplers.TPESampler(seed=search.recipes[0].fit.seed + proposed)
        trial = begun.pop(0) if begun else study.ask()
        recipe = _proposed(search, trial)
        if not search.allows(recipe):
            study.tell(trial.number, state=states.FAIL)
            refused += 1
            if refused < _REFUSED:
                continue
            message = f"expected {search.budget}: none of {_REFUSED} proposals in a row has them"
            if not done:
                raise UsageError(message)
            log.warning(message)
            return
        refused = 0
        jobs = search.jobs(recipe)
        for _ in run_jobs(jobs, folder, data_root=data_root, **options):
            pass
        # What diverged is as wrong as can be.
        study.tell(trial.number, statistics.fmean(fold_errors(folder, jobs) or [100.0]))
        done += 1
        yield recipe


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError as error:
        raise KpairsError("--sampler tpe needs optuna: pip install 'kpairs[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def known_proposals(
    optuna: ModuleType, search: Search, folder: Path
) -> tuple[Study, list[Recipe], list[FrozenTrial]]:
    """Read the optuna study of a search's journal, the recipes scored, and the trials under way."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "optuna.log"
    if file.exists() and not file.is_file():
        raise InputError(f"{file}: expected optuna's journal, received no regular file")
    with raised_as(InputError, f"{file}: expected optuna's journal, cannot read it"):
        journal = optuna.storages.journal.JournalFileBackend(str(file))
        storage = optuna.storages.JournalStorage(journal)
        study = optuna.create_study(
            storage=storage, study_name=_name_of(search), load_if_exists=True
        )
        scored = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
        recipes = [_proposed(search, trial) for trial in scored]
        return study, recipes, _begun(optuna, study, search)


def _name_of(search: Search) -> str:
    """Return a search's name in the journal, which may hold searches of several spaces."""
    recipes = [search.jobs(recipe)[0].id for recipe in search.recipes]
    known = [recipes, search.folds, search.parameters, sorted(search.space.items())]
    text = json.dumps(known, default=lambda v: vars(v) if isinstance(v, Between) else list(v))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _begun(optuna: ModuleType, study: Study, search: Search) -> list[FrozenTrial]:
    """Return the trials that an earlier run began; give up a proposal without values."""
    states = optuna.trial.TrialState
    begun = []
    for trial in study.get_trials(states=[states.RUNNING]):
        if _is_whole(search, trial):
            begun.append(trial)
        else:
            study.tell(trial.number, state=states.FAIL)
    return begun


def _is_whole(search: Search, trial: BaseTrial) -> bool:
    return set(trial.params) == {"arch", *search.space}


def _proposed(search: Search, trial: BaseTrial) -> Recipe:
    arch = trial.suggest_categorical("arch", search.archs)
    return search.candidate(arch, {n: _suggested(trial, n, v) for n, v in search.space.items()})


def _suggested(trial: BaseTrial, name: str, values: Sequence[Any] | Between) -> Any:
    if not isinstance(values, Between):
        # optuna's categories are plain scalars; ours may be widths or loss weights.
        by_text = {json.dumps(value, default=dict): value for value in values}
        return by_text[trial.suggest_categorical(name, list(by_text))]
    low, high = values.low, values.high
    log = low > 0 and high / low >= 10
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=log)
    return trial.suggest_float(name, low, high, log=log)
