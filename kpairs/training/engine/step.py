"""Train and test steps as graphs, with losses and metrics that add up over an epoch."""

import math
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any

import keras
import torch
from keras import ops

from kpairs.metrics import PartialAccuracy
from kpairs.optimizers import TorchAdam
from kpairs.training.engine.adam import in_one_pass
from kpairs.training.engine.graph import trace
from kpairs.training.engine.kernels import Kernels
from kpairs.training.engine.lower import NotLowerable
from kpairs.training.engine.private import compile_loss, foreach_copy, use_weight_decay

Tensors = dict[str, torch.Tensor]
Graph = Callable[..., list[torch.Tensor]]  # of a state and a batch
Graphs = dict[tuple[Any, ...], tuple[Graph, list[int]]]  # with which tensors of a state it renews
Step = tuple[Graph, list[torch.Tensor], list[torch.Tensor]]
# Optimizers that treat every parameter alone, so that one vector of all of them can be stepped.
_ELEMENTWISE = ("SGD", "RMSprop", "Adam", "AdamW", "Adadelta")


@lru_cache(maxsize=8)
def _graphs(alike: Hashable) -> Graphs:
    """Return the graphs that models which are alike share; `Steps.graph` fills them."""
    return {}


def attach(
    model: keras.Model,
    x: Tensors,
    y: Tensors,
    sample_weight: torch.Tensor | None = None,
    alike: Hashable | None = None,
) -> None:
    """Lower a model, as `kpairs.training.engine.lower.lower` does; this may raise anything."""
    optimizer = _same_optimizer(model)
    build_losses(model, x, y, sample_weight)
    _check(model)
    steps = Steps(model, optimizer, list(x), list(y), {} if alike is None else _graphs(alike))
    steps.graph(x, y, sample_weight, training=True)
    optimizer.save_own_variables = partial(_save, optimizer, steps, model)
    model.optimizer = optimizer
    model.train_function = steps.train
    model.test_function = steps.test


def build_losses(
    model: keras.Model, x: Tensors, y: Tensors, sample_weight: torch.Tensor | None = None
) -> None:
    """Build Keras' losses and metrics by a batch, none of whose values is read."""
    with torch.no_grad():
        outputs = model(x, training=False)
        model.compute_loss(x, y, outputs, sample_weight)
        model.compute_metrics(x, y, outputs, sample_weight)


class Steps:
    """The steps of a compiled model, traced once for each size of batch.

    Args:
        model: the model.
        optimizer: not yet built.
        inputs, targets: names, in one order for all batches.
        graphs: what was traced before for models that are alike; what is traced is added.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        inputs: Sequence[str],
        targets: Sequence[str],
        graphs: Graphs,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.inputs, self.targets = inputs, targets
        self.network = Kernels(model)
        self.parameters = self.network.model.trainable_variables
        self.means = Means(model)
        self.vector = _as_one_vector(self.parameters)
        self.decay = _decay(self.parameters)
        optimizer.build([self.vector])
        self.update = in_one_pass(optimizer, self.vector)
        self.traced = graphs
        self.graphs: dict[tuple[bool, int, bool], Step] = {}

    def train(self, batches: Sequence[tuple[Any, ...]]) -> dict[str, float]:
        """Train on one batch, as Keras calls it, to the means of the epoch so far.

        Args:
            batches: `[(x, y)]`, or `[(x, y, sample_weight)]` with the weight of each pair.
        """
        return self._run(*batches[0], training=True)

    def test(self, batches: Sequence[tuple[Any, ...]]) -> dict[str, float]:
        """Evaluate on one batch; arguments as of `train`."""
        return self._run(*batches[0], training=False)

    def _run(
        self,
        x: Tensors,
        y: Tensors,
        sample_weight: torch.Tensor | None = None,
        *,
        training: bool,
    ) -> dict[str, float]:
        graph, state, changing = self.graph(x, y, sample_weight, training=training)
        with torch.inference_mode():
            means, *changed = graph(*state, *self._in_order(x, y, sample_weight))
            direction = changed[len(changing) :]
            if changing:
                foreach_copy(changing, changed[: len(changing)])
            if direction and self.update is not None:
                self.update(*direction)
            return self.means.add(means)

    def _in_order(self, x: Tensors, y: Tensors, weight: torch.Tensor | None) -> list[torch.Tensor]:
        parts = [*(x[name] for name in self.inputs), *(y[name] for name in self.targets)]
        return parts if weight is None else [*parts, weight]

    def graph(
        self, x: Tensors, y: Tensors, weight: torch.Tensor | None = None, *, training: bool
    ) -> Step:
        """Return the step for batches of this size.

        Returns:
            The graph, from the tensors of a state and of a batch to what the batch adds to the
            means, to new values, and to what `in_one_pass` updates by, if it does; the state, and
            those tensors of it that the new values are for.
        """
        key = training, len(next(iter(x.values()))), weight is None
        if key not in self.graphs:
            ranks = tuple(y[name].ndim for name in self.targets)  # margins are a second column
            kind = *key, self.vector.value.dtype, self.vector.value.device, ranks
            if kind not in self.traced:
                with torch.inference_mode(False), torch.enable_grad():
                    self.traced[kind] = self._trace(x, y, weight, training)
            graph, changing = self.traced[kind]
            values = [v.value.data for v in self._read(training)]
            self.graphs[key] = graph, values, [values[i] for i in changing]
        return self.graphs[key]

    def _read(self, training: bool) -> list[keras.Variable]:
        """List the variables that a step reads, the model's parameters first."""
        others = [self.vector, *self.network.model.non_trainable_variables, *self.network.numbers]
        return [*self.parameters, *others, *(self.optimizer.variables if training else ())]

    def _trace(
        self, x: Tensors, y: Tensors, weight: torch.Tensor | None, training: bool
    ) -> tuple[Graph, list[int]]:
        count, read = len(self.parameters), self._read(training)
        changing: list[int] = []

        def step(*tensors: torch.Tensor) -> list[torch.Tensor]:
            lengths = len(read), len(self.inputs), len(self.targets), weight is not None
            state, inputs, targets, weights = _split(tensors, *lengths)
            if training:
                state[:count] = [p.detach().requires_grad_() for p in state[:count]]
            x = dict(zip(self.inputs, inputs, strict=True))
            y = dict(zip(self.targets, targets, strict=True))
            known = [*zip(read, state, strict=True), *self.means.zeros()]
            with keras.StatelessScope(known) as scope:
                sample_weight = weights[0] if weights else None
                direction = self._step(state[:count], x, y, sample_weight, training)
            after = [scope.get_current_value(v) for v in read]
            changing[:] = [i for i, value in enumerate(after) if value is not state[i]]
            means = [scope.get_current_value(v).detach() for v in self.means.variables]
            return [torch.stack(means), *(after[i] for i in changing), *direction]

        state = [v.value.data for v in read]
        return trace(step, *state, *self._in_order(x, y, weight)), changing

    def _step(
        self,
        parameters: list[torch.Tensor],
        x: Tensors,
        y: Tensors,
        weight: torch.Tensor | None,
        training: bool,
    ) -> list[torch.Tensor]:
        """Do as Keras' `train_step` and `test_step`, but step the vector of parameters.

        Returns:
            The gradient and learning rate that `self.update` still steps by, or nothing.
        """
        outputs = self.network(x, training=training)
        loss = compile_loss(self.model)(y, outputs, weight)
        if training:
            gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            if self.decay is not None:
                penalty = self.decay * self.vector.value
                loss = loss + torch.dot(penalty, self.vector.value)
            self.means.loss.update_state(loss, sample_weight=len(next(iter(x.values()))))
            self.model.compute_metrics(x, y, outputs, weight)
            if training:
                gradient = torch.cat([g.reshape(-1) for g in gradients])
                return self._apply(gradient if self.decay is None else gradient + 2 * penalty)
        return []

    def _apply(self, gradient: torch.Tensor) -> list[torch.Tensor]:
        """Step the parameters by the optimizer's formula, as its `apply` does.

        Keras' own shortcut for torch changes tensors in place and reads numbers out of them,
        neither of which a graph can hold.
        """
        optimizer, vector = self.optimizer, self.vector
        rate = optimizer.learning_rate
        if optimizer.global_clipnorm:
            norm = torch.linalg.vector_norm(gradient)
            gradient = gradient * torch.clamp(optimizer.global_clipnorm / norm, max=1)
        if optimizer.clipvalue:
            gradient = ops.clip(gradient, -optimizer.clipvalue, optimizer.clipvalue)
        if self.update is not None:
            optimizer.iterations.assign_add(1)
            return [gradient, ops.convert_to_tensor(rate)]
        if optimizer.weight_decay is not None:
            vector.assign(vector * (1 - optimizer.weight_decay * ops.cast(rate, vector.dtype)))
        optimizer.update_step(gradient, vector, rate)
        optimizer.iterations.assign_add(1)
        return []


class Means:
    """The metrics of a model, all of them means, as one vector of totals and counts.

    Keras' variables become views of it, so that what Keras reports and resets stays right.

    Args:
        model: a compiled model whose losses and metrics are built.

    Attributes:
        loss: the metric of the total loss.
        variables: total and count of each metric in turn.
        names: Keras' names of the metrics.

    Raises:
        NotLowerable: a metric is something else than a mean over samples.
    """

    def __init__(self, model: keras.Model) -> None:
        self.loss, *_ = model.metrics
        metrics = [part for m in model.metrics for part in getattr(m, "metrics", [m])]
        if not all(map(_is_mean, metrics)):
            raise NotLowerable("a metric that is not a mean over samples")
        self.variables = [v for metric in metrics for v in (metric.total, metric.count)]
        self.names = list(model.get_metrics_result())
        if len(self.names) != len(metrics):
            raise NotLowerable("two metrics of one name")
        model.reset_metrics()
        self.vector = torch.stack([v.value.data for v in self.variables])
        for variable, part in zip(self.variables, self.vector, strict=True):
            variable.value.data = part
        self.totals, self.counts = self.vector[::2], self.vector[1::2]

    def zeros(self) -> list[tuple[keras.Variable, torch.Tensor]]:
        """List each variable with a new zero: before a batch."""
        return [(v, torch.zeros((), dtype=v.value.dtype)) for v in self.variables]

    def add(self, batch: torch.Tensor) -> dict[str, float]:
        """Add a batch to the vector; return the means so far by Keras' names."""
        self.vector.add_(batch)
        return dict(zip(self.names, (self.totals / self.counts).tolist(), strict=True))


def _is_mean(metric: keras.metrics.Metric) -> bool:
    mean, of_function = keras.metrics.Mean, keras.metrics.MeanMetricWrapper
    adds = type(metric).update_state in (mean.update_state, of_function.update_state)
    return (
        isinstance(metric, mean)
        and (adds or isinstance(metric, PartialAccuracy))
        and type(metric).result is mean.result
    )


def _check(model: keras.Model) -> None:
    """Refuse what the traced step would leave out.

    Raises:
        NotLowerable: a model's own training step, a constraint, an added loss.
    """
    if not type(model).__module__.startswith("keras."):
        raise NotLowerable(f"a model of a class of its own, {type(model).__name__}")
    variables = model.trainable_variables
    if any(v.constraint is not None for v in variables):
        raise NotLowerable("a weight constraint")
    if len(model.losses) > sum(v.regularizer is not None for v in variables):
        raise NotLowerable("a layer that adds a loss")


def _split(items: Sequence[torch.Tensor], *lengths: int) -> list[list[torch.Tensor]]:
    """Split into consecutive lists of these lengths."""
    ends = list(accumulate(lengths))
    return [list(items[end - n : end]) for n, end in zip(lengths, ends, strict=True)]


def _as_one_vector(variables: Sequence[keras.Variable]) -> keras.Variable:
    """Join variables to one vector, of which their own tensors become views."""
    vector = torch.cat([v.value.detach().reshape(-1) for v in variables])
    vector = keras.Variable(vector, dtype=variables[0].dtype, name="parameters")
    parts = vector.value.data.split([math.prod(v.shape) for v in variables])
    for variable, part in zip(variables, parts, strict=True):
        variable.value.data = part.view(variable.shape)
    return vector


def _save(
    optimizer: keras.optimizers.Optimizer, steps: Steps, model: keras.Model, store: Any
) -> None:
    """Save an optimizer of one vector as Keras' own of every parameter, which `load_model` makes.

    A user's `ModelCheckpoint` saves the model with its optimizer.
    """
    stock = type(optimizer).from_config(optimizer.get_config())
    stock.build(model.trainable_variables)
    stock.iterations.assign(optimizer.iterations)
    lengths = [math.prod(v.shape) for v in steps.parameters]
    for name, slots in vars(optimizer).items():
        if not _is_slot(slots, steps.vector):
            continue
        parts = slots[0].value.data.split(lengths)
        of = {id(v): part.view(v.shape) for v, part in zip(steps.parameters, parts, strict=True)}
        for variable, slot in zip(model.trainable_variables, getattr(stock, name), strict=True):
            slot.assign(of[id(variable)])
    stock.save_own_variables(store)


def _is_slot(value: Any, vector: keras.Variable) -> bool:
    """Tell whether an attribute of an optimizer holds a number for each parameter."""
    one = isinstance(value, list) and len(value) == 1 and isinstance(value[0], keras.Variable)
    return one and value[0] is not vector and value[0].shape == vector.shape


def _decay(variables: Sequence[keras.Variable]) -> torch.Tensor | None:
    """Return the L2 factor of each element of these variables, None where there is none at all.

    One product with the vector of parameters replaces a penalty per variable.
    """
    kinds = {type(v.regularizer) for v in variables} - {type(None)}
    if not kinds:
        return None
    if kinds != {keras.regularizers.L2}:
        raise NotLowerable("a regularizer other than L2")
    factors = [v.regularizer.l2 if v.regularizer else 0 for v in variables]
    return torch.cat(
        [
            torch.full_like(v.value.data, f).reshape(-1)
            for v, f in zip(variables, factors, strict=True)
        ]
    )


def _same_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """Make a new optimizer of the configuration of the model's.

    Raises:
        NotLowerable: it looks at layers, not at parameters one by one.
    """
    optimizer = model.optimizer
    kind = type(optimizer)
    of_keras = kind.__name__ in _ELEMENTWISE and kind.__module__.startswith("keras.")
    if not (of_keras or kind is TorchAdam):
        raise NotLowerable(f"optimizer {kind.__name__}")
    for setting in ("clipnorm", "use_ema", "gradient_accumulation_steps", "loss_scale_factor"):
        if getattr(optimizer, setting):
            raise NotLowerable(f"optimizer with {setting}")
    if int(optimizer.iterations):
        raise NotLowerable("an optimizer that has taken steps already")
    if not all(map(use_weight_decay(optimizer), model.trainable_variables)):
        raise NotLowerable("optimizer whose weight decay leaves out some variables")
    return kind.from_config(optimizer.get_config())
