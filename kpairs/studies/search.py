"""Search: hyperparameters compared by cross-validation of the training pairs alone."""

import hashlib
import itertools
import json
import logging
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
from scipy import stats

from kpairs.errors import InputError, KpairsError, UsageError, unknown
from kpairs.files import write_rows, write_text
from kpairs.models.registry import trainable_parameters
from kpairs.recipes import (
    OPTIMIZERS,
    Recipe,
    Trial,
    check_arguments,
    format_argument,
    format_loss_weights,
)
from kpairs.studies.rows import job_row
from kpairs.studies.run import load_result, run_jobs
from kpairs.training.compile import built, check_architecture
from kpairs.training.images import load_splits, settled

# Which pairs are drawn and how often is the question's, not the answer's. Beside these fields of
# the recipe, every argument of the architectures can be searched.
_FIXED = {"data", "classes", "image_size", "pairs", "test_pairs", "rounds", "seed"}
SEARCHED = ("loss_weights", *(f.name for f in fields(Recipe) if "help" in f.metadata))
SEARCHED = tuple(name for name in SEARCHED if name not in _FIXED)
_MANY = 10_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Between:
    """A range of a hyperparameter, ends included, for samplers that draw from ranges.

    Drawn by its logarithm where the ends are above 0 and a factor of 10 or more apart; whole
    numbers where both ends are.
    """

    low: float
    high: float

    def __post_init__(self):
        if not (self.low < self.high and self.high - self.low < math.inf):
            raise UsageError(f"expected a range of low..high, received {self.low}..{self.high}")


@dataclass(frozen=True)
class Search:
    """What to compare, and how.

    Images are standardised, where a recipe does that, by mean and deviation of all training pairs.

    Attributes:
        recipes: a base `Recipe` for each architecture that is compared. Their data, pairs and
            seed are the same, and give the training pairs: those of round 1 of a training.
        space: values to try of each field in `SEARCHED` and each argument that all the
            architectures take, each a sequence or a `Between`.
        folds: of the cross-validation.
        parameters: `(least, most)` trainable parameters of a candidate, ends included.

    Raises:
        UsageError: an unknown field, no values, folds that the pairs do not fill, two recipes of
            one architecture or of different pairs.
    """

    recipes: tuple[Recipe, ...]
    space: Mapping = field(default_factory=dict)
    folds: int = 5
    parameters: tuple[float, float] = (0, math.inf)

    def __post_init__(self):
        recipes = tuple(settled(recipe) for recipe in self.recipes)
        object.__setattr__(self, "recipes", recipes)
        if len({(r.data, r.pairs, r.seed) for r in self.recipes}) != 1:
            raise UsageError("expected recipes of the same data, pairs and seed, to compare them")
        if len({r.arch for r in self.recipes}) < len(self.recipes):
            raise UsageError("expected one recipe for each architecture, received two for one")
        if not 2 <= self.folds <= self.recipes[0].pairs:
            raise UsageError(
                f"folds: expected 2 to the {self.recipes[0].pairs} training pairs, "
                f"received {self.folds}"
            )
        for name, values in self.space.items():
            if name not in SEARCHED:
                self._check_argument(name)
            if isinstance(values, Between):
                for recipe in self.recipes:  # refused now, not when such a value is drawn
                    for value in (values.low, values.high):
                        _changed(recipe, {name: value})
            elif not len(values):
                raise UsageError(f"{name}: expected at least one value to try, received none")

    def _check_argument(self, name):
        taken = [set(recipe.arch_options) for recipe in self.recipes]
        if not any(name in arguments for arguments in taken):
            raise unknown("hyperparameter", name, [*SEARCHED, *set.union(*taken)])
        for recipe in self.recipes:
            check_arguments(recipe.arch, {name: None}, dict.fromkeys(recipe.arch_options))

    @property
    def archs(self):
        """The architectures' names."""
        return [recipe.arch for recipe in self.recipes]

    def candidate(self, arch, values):
        """An architecture's recipe with these values.

        An optimizer other than the recipe's comes with its own default options.
        """
        recipe, values = self.recipes[self.archs.index(arch)], dict(values)
        fixed = {"rounds": 1, "reported_rounds": None}
        if (optimizer := values.pop("optimizer", recipe.optimizer)) != recipe.optimizer:
            fixed |= {"optimizer": optimizer, "optimizer_options": OPTIMIZERS[optimizer]}
        recipe = _changed(replace(recipe, **fixed), values)
        check_architecture(recipe)
        return recipe

    def jobs(self, recipe):
        """The trainings of a candidate: one per fold, the same folds for every candidate."""
        recipe = replace(recipe, test_pairs=1)  # none are drawn
        return [Trial(recipe, fold, self.folds) for fold in range(1, self.folds + 1)]

    def label(self, recipe):
        """A candidate by what tells it from the others: "auxws batch_size=50 dropout=0.2"."""
        values = [
            f"{name}={_text(_value(recipe, name))}"
            for name, values in self.space.items()
            if isinstance(values, Between) or len(values) > 1
        ]
        return " ".join([recipe.arch, *values])

    def classes(self, data_root=None):
        """Number of ranks of the data."""
        return len(load_splits(self.recipes[0], data_root)[0].classes)


def _changed(recipe, values):
    """A recipe with these values of fields and of arguments of its architecture."""
    fields_of_it = {name: value for name, value in values.items() if name in SEARCHED}
    options = {name: value for name, value in values.items() if name not in SEARCHED}
    return replace(recipe, **fields_of_it).with_options(**options)


def _value(recipe, name):
    return getattr(recipe, name) if name in SEARCHED else recipe.arch_options[name]


def _text(value):
    return format_loss_weights(value) if isinstance(value, Mapping) else format_argument(value)


def parameters_of(recipe, classes):
    """Trainable parameters of the network that a recipe trains.

    Raises:
        UsageError: the network cannot be built.
    """
    return _count(recipe.arch, classes, tuple(sorted(recipe.build_options.items())))


@cache
def _count(arch, classes, options):
    return trainable_parameters(built(arch, classes, dict(options)))


def grid(search, data_root=None):
    """Every combination of a search's values that is within its number of parameters.

    Args:
        search: a `Search` without ranges.
        data_root: cache folder of the digit images, which tell the number of classes.

    Returns:
        Their recipes.

    Raises:
        UsageError: a range, more than 10,000 combinations, a value that the recipe or the
            architecture refuses, or no combination within the parameters.
    """
    for name, values in search.space.items():
        if isinstance(values, Between):
            raise UsageError(
                f"{name}: a grid takes values, received the range {values.low:g}..{values.high:g}; "
                "a sampler such as tpe draws from ranges"
            )
    count = len(search.recipes) * math.prod(len(values) for values in search.space.values())
    if count > _MANY:
        raise UsageError(f"expected at most {_MANY:,} combinations, received {count:,}")
    classes = search.classes(data_root)
    found = {}
    for arch, *values in itertools.product(search.archs, *search.space.values()):
        recipe = search.candidate(arch, zip(search.space, values, strict=True))
        if _within(search, recipe, classes):
            found[search.jobs(recipe)[0].id] = recipe  # a value given twice is tried once
    if not found:
        raise UsageError(f"expected {_budget(search)}: none of {count:,} combinations has them")
    return list(found.values())


def _within(search, recipe, classes):
    return search.parameters[0] <= parameters_of(recipe, classes) <= search.parameters[1]


def _budget(search):
    least, most = search.parameters
    return f"{least:,.0f} to {most:,.0f} parameters"


def run_grid(search, folder, recipes, **options):
    """Cross-validate recipes; yields each fold's `Trial` as it is finished.

    Args:
        search: the `Search`.
        folder: of the jobs' results; a fold that has one is not trained again.
        recipes: the candidates.
        **options: `processes`, `scheduler` and `data_root` of `run_jobs`.
    """
    # Fold by fold: stopped half-way, every candidate has some.
    jobs = [search.jobs(recipe)[fold] for fold in range(search.folds) for recipe in recipes]
    yield from run_jobs(jobs, folder, **options)


def run_tpe(search, folder, trials, data_root=None, **options):
    """Cross-validate candidates that optuna's tree-structured Parzen estimator proposes.

    Proposals and scores are kept in optuna's journal, `optuna.log` in the folder, so that the
    search can be stopped, killed and gone on with; a proposal that was under way is finished
    first. The score is the mean validation error of the comparison over the folds.

    Args:
        search: the `Search`.
        folder: of the jobs' results and the journal.
        trials: proposals to have scored in the end, those of earlier runs among them.
        data_root: cache folder of the digit images.
        **options: `processes` and `scheduler` of `run_jobs`.

    Yields:
        The `Recipe` of each proposal, scored; of those scored before too.

    Raises:
        KpairsError: optuna is not installed.
        UsageError: a value that the recipe or the architecture refuses, or the first 100 proposals
            outside the number of parameters; after later ones it ends.
        InputError: a journal that cannot be read.
    """
    optuna = _optuna()
    study = _journal(optuna, search, Path(folder))
    classes = search.classes(data_root)
    states = optuna.trial.TrialState
    scored = study.get_trials(states=[states.COMPLETE])
    for trial in scored:
        yield _proposed(search, trial)
    # What an earlier run had begun; a proposal that it did not even write down is given up.
    begun = study.get_trials(states=[states.RUNNING])
    for trial in [t for t in begun if not _is_whole(search, t)]:
        study.tell(trial.number, state=states.FAIL)
        begun.remove(trial)
    done, refused = len(scored), 0
    while done < trials:
        # A seed of its own for each proposal: a search that was stopped goes on as if it was not.
        proposed = sum(_is_whole(search, t) for t in study.get_trials(deepcopy=False))
        study.sampler = optuna.samplers.TPESampler(seed=search.recipes[0].seed + proposed)
        trial = begun.pop(0) if begun else study.ask()
        recipe = _proposed(search, trial)
        if not _within(search, recipe, classes):
            study.tell(trial.number, state=states.FAIL)
            refused += 1
            if refused == 100:
                message = f"expected {_budget(search)}: none of 100 proposals in a row has them"
                if not done:
                    raise UsageError(message)
                log.warning(message)
                return
            continue
        refused = 0
        jobs = search.jobs(recipe)
        for _ in run_jobs(jobs, folder, data_root=data_root, **options):
            pass
        # What diverged is as wrong as can be.
        study.tell(trial.number, statistics.fmean(_errors(folder, jobs) or [100.0]))
        done += 1
        yield recipe


def _optuna():
    try:
        import optuna
    except ImportError as error:
        raise KpairsError("--sampler tpe needs optuna: pip install 'kpairs[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _journal(optuna, search, folder):
    """The optuna study of a search, as far as its journal knows it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "optuna.log"
    try:
        storage = optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(file))
        )
        return optuna.create_study(
            storage=storage, study_name=_name_of(search), load_if_exists=True
        )
    except (ValueError, LookupError, TypeError) as error:  # what reading other text raises
        raise InputError(f"{file}: expected optuna's journal, cannot read it: {error}") from error


def _name_of(search):
    """A journal may hold searches of several spaces; each has a name made from what it compares."""
    recipes = [search.jobs(recipe)[0].id for recipe in search.recipes]
    known = [recipes, search.folds, search.parameters, sorted(search.space.items())]
    text = json.dumps(known, default=lambda v: vars(v) if isinstance(v, Between) else list(v))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_whole(search, trial):
    return set(trial.params) == {"arch", *search.space}


def _proposed(search, trial):
    arch = trial.suggest_categorical("arch", search.archs)
    return search.candidate(arch, {n: _suggested(trial, n, v) for n, v in search.space.items()})


def _suggested(trial, name, values):
    if not isinstance(values, Between):
        # optuna's categories are plain scalars; ours may be widths or loss weights.
        by_text = {json.dumps(value, default=dict): value for value in values}
        return by_text[trial.suggest_categorical(name, list(by_text))]
    low, high = values.low, values.high
    log = low > 0 and high / low >= 10
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=log)
    return trial.suggest_float(name, low, high, log=log)


def _errors(folder, jobs):
    """Validation errors of finished folds in percent; None if one is missing or diverged."""
    results = [load_result(folder, job) for job in jobs]
    if any(result is None or result["row"] is None for result in results):
        return None
    return tuple(result["row"]["test"]["comparison_error_pct"] for result in results)


@dataclass(frozen=True)
class Ranked:
    """A candidate's outcome.

    Attributes:
        recipe: the `Recipe`.
        label: the values by which it differs from the others.
        parameters: trainable ones.
        errors: validation error of the comparison in percent, of each finished fold.
        behind: 95 % interval of its error minus the first's, by a paired t-test over the folds
            that both have; None for the first and where there are fewer than two folds. The first
            was chosen as the least of many, so that these intervals flatter it a little.
    """

    recipe: Recipe
    label: str
    parameters: int
    errors: tuple[float, ...]
    behind: tuple[float, float] | None

    @property
    def mean(self):
        return statistics.fmean(self.errors)

    @property
    def std(self):
        return statistics.stdev(self.errors) if len(self.errors) > 1 else None


def rank(search, folder, recipes, data_root=None):
    """The candidates with all folds finished, none diverged, least mean error first.

    Also writes `search.csv`, one row per training, and `best.json`, the first one's recipe, which
    `kpairs train --recipe` takes, into the folder.

    Args:
        search, folder, recipes: as for `run_grid`.
        data_root: cache folder of the digit images.

    Returns:
        A list of `Ranked`.
    """
    folder = Path(folder)
    classes = search.classes(data_root)
    rows, ranked = [], []
    for recipe in {search.jobs(r)[0].id: r for r in recipes}.values():  # tpe may repeat itself
        label, jobs = search.label(recipe), search.jobs(recipe)
        results = [(job, load_result(folder, job)) for job in jobs]
        rows += [{**job_row(j, r), "setting": label} for j, r in results if r and r["row"]]
        if errors := _errors(folder, jobs):
            ranked.append(Ranked(recipe, label, parameters_of(recipe, classes), errors, None))
    if rows:
        write_rows(folder / "search.csv", rows)
    ranked.sort(key=lambda r: r.mean)
    ranked = [replace(r, behind=_behind(r, ranked[0])) for r in ranked]
    if ranked:
        source = f"best of {len(ranked)} by {search.folds}-fold cross-validation (kpairs search)"
        best = replace(ranked[0].recipe, source=source)
        write_text(folder / "best.json", best.to_json())
    return ranked


def _behind(one, first):
    if one is first:
        return None
    differences = np.subtract(one.errors, first.errors)
    if np.ptp(differences) == 0:
        return (float(differences[0]),) * 2
    interval = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    return float(interval.low), float(interval.high)
