"""Keras' `fit` at the speed of its arithmetic: train and test functions lowered to torch graphs."""

import math
import re
from contextlib import contextmanager
from itertools import accumulate
from unittest import mock

import keras
import torch
from keras.src.optimizers.base_optimizer import BaseOptimizer

from kpairs.training.engine.graph import one_kernel_each, trace
from kpairs.training.optimizers import TorchAdam

# Optimizers that treat every parameter alone, so that one vector of all of them can be stepped.
_ELEMENTWISE = ("SGD", "RMSprop", "Adam", "AdamW", "Adadelta")


class NotLowerable(Exception):
    """A model that cannot be lowered; the message says why."""


class Engine:
    """Replaces a compiled model's train and test functions by graphs; `fit` then uses them.

    Everything else stays Keras': the loop over epochs, callbacks, metrics, saving. The model's
    parameters become views of one vector, which the optimizer, made anew from its configuration,
    steps as a whole, so `model.optimizer` holds the state of that vector. What layers hold as plain
    numbers, such as a dropout rate, is that of the moment. `compile` undoes it all.

    Args:
        model: a compiled `keras.Model` on torch with a dict of inputs and one of outputs, not
            trained since it was compiled.
        x, y: one batch of inputs and targets, dicts of tensors.

    Raises:
        NotLowerable: a layer, loss, metric or optimizer does what a graph cannot hold.
    """

    def __init__(self, model, x, y):
        self.model, self._graphs = model, {}
        self._inputs, self._targets = list(x), list(y)
        self._parameters = model.trainable_variables
        self._optimizer = _same_optimizer(model.optimizer)
        try:
            model.test_on_batch(x, y)  # builds Keras' losses and metrics
            _check(model)
            self._means = _means_as_one(model, x, y)
            self._vector = _parameters_as_one(self._parameters)
            self._decay = _decay(self._parameters)
            self._optimizer.build([self._vector])
            self._graph(x, y, training=True)
        except NotLowerable:
            raise
        except Exception as error:
            raise NotLowerable(_summary(error)) from error
        model.optimizer = self._optimizer
        model.train_function = lambda batches: self._run(*batches[0], training=True)
        model.test_function = lambda batches: self._run(*batches[0], training=False)

    def _run(self, x, y, sample_weight=None, *, training):
        if sample_weight is not None:
            raise ValueError("a lowered model takes no sample weights; compile it anew for those")
        graph, state, changing, weights = self._graph(x, y, training)
        with torch.inference_mode():
            sums, *changed = graph(*state, *self._in_order(x, y))
            if changed:
                torch._foreach_copy_(changing, changed)
            return self._means.add(sums, weights)

    def _in_order(self, x, y):
        return [*(x[name] for name in self._inputs), *(y[name] for name in self._targets)]

    def _graph(self, x, y, training):
        key = training, len(next(iter(x.values())))
        if key not in self._graphs:
            with torch.inference_mode(False), torch.enable_grad():
                self._graphs[key] = self._lower(x, y, training)
        return self._graphs[key]

    def _lower(self, x, y, training):
        """Trace a step.

        Returns:
            The graph, the tensors of the model that it reads, those that its later results
            replace, and the weight of this batch in each metric.
        """
        count, given, changing = len(self._parameters), _Given(), []
        read = [*self._parameters, self._vector, *self.model.non_trainable_variables]
        if training:
            read += self._optimizer.variables

        def step(*tensors):
            given.clear()
            lengths = len(read), len(self._inputs), len(self._targets)
            state, inputs, targets = _split(tensors, *lengths)
            if training:
                state[:count] = [p.detach().requires_grad_() for p in state[:count]]
            batch = (
                dict(zip(self._inputs, inputs, strict=True)),
                dict(zip(self._targets, targets, strict=True)),
            )
            known = zip(read, state, strict=True)
            with keras.StatelessScope(known) as scope, given.collected():
                self._step(state[:count], *batch, training)
            after = [scope.get_current_value(v) for v in read]
            changing[:] = [i for i, value in enumerate(after) if value is not state[i]]
            sums = torch.stack([given.sums[m] for m in self._means.metrics])
            return [sums, *(after[i] for i in changing)]

        state = [v.value.data for v in read]
        graph = trace(step, *state, *self._in_order(x, y))
        weights = [given.weights[m] for m in self._means.metrics]
        return graph, state, [state[i] for i in changing], self._means.sums.new_tensor(weights)

    def _step(self, parameters, x, y, training):
        """What Keras' `train_step` and `test_step` do, but stepping the vector of parameters."""
        model, vector = self.model, self._vector
        with one_kernel_each(model), _unregularized(self._parameters):
            outputs = model(x, training=training)
            loss = model.compute_loss(x=x, y=y, y_pred=outputs, training=training)
            if training:
                gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            penalty = 0 if self._decay is None else self._decay * vector.value
            if self._decay is not None:
                loss = loss + torch.dot(penalty, vector.value)
            model._loss_tracker.update_state(loss, sample_weight=len(next(iter(x.values()))))
            model.compute_metrics(x, y, outputs)
            if training:
                gradient = torch.cat([g.reshape(-1) for g in gradients]) + 2 * penalty
                with _written_out(self._optimizer):
                    self._optimizer.apply([gradient], [vector])


def _check(model):
    """Refuse what the traced step would leave out.

    Raises:
        NotLowerable: the model's own training step, a constraint, an added loss, half precision.
    """
    for name in ("train_step", "test_step", "compute_loss", "compute_metrics"):
        if getattr(type(model), name) is not getattr(keras.Model, name):
            raise NotLowerable(f"a model with a {name} of its own")
    variables = model.trainable_variables
    if any(v.constraint is not None for v in variables):
        raise NotLowerable("a weight constraint")
    if len(model.losses) > sum(v.regularizer is not None for v in variables):
        raise NotLowerable("a layer that adds a loss")
    layers = model._flatten_layers(include_self=False)
    if any(layer.compute_dtype not in ("float32", "float64") for layer in layers):
        raise NotLowerable("half precision")


def _summary(error):
    """The first lines of a message: Keras wraps it in its own, in bold."""
    lines = re.sub("\x1b\\[[0-9]*m", "", str(error)).split("\n")
    return " ".join([line for line in lines if line.strip()][:2]) or type(error).__name__


def _split(items, *lengths):
    """Consecutive lists of these lengths."""
    ends = list(accumulate(lengths))
    return [list(items[end - n : end]) for n, end in zip(lengths, ends, strict=True)]


class _Given:
    """What a step gives the `keras.metrics.Mean`s of a model: sums and weights by metric."""

    def __init__(self):
        self.sums, self.weights = {}, {}

    def clear(self):
        self.sums.clear()
        self.weights.clear()

    @contextmanager
    def collected(self):
        """Run a block that gives values to this in place of the metrics."""

        def update_state(metric, values, sample_weight=None):
            weight = math.prod(values.shape) if sample_weight is None else sample_weight
            if not isinstance(weight, int):
                raise NotLowerable(f"metric {metric.name}: weights per sample")
            values = values.detach().to(torch.float32)
            self.sums[metric] = values * weight if values.ndim == 0 else values.sum()
            self.weights[metric] = weight

        with mock.patch.object(keras.metrics.Mean, "update_state", update_state):
            yield


class _Means:
    """The `keras.metrics.Mean`s of a model as two vectors, of which their variables are views."""

    def __init__(self, model, metrics):
        self.metrics = metrics
        mine = {id(v) for metric in metrics for v in metric.variables}
        plain = all(type(m).result is keras.metrics.Mean.result for m in metrics)
        if not plain or mine != {id(v) for v in model.metrics_variables}:
            raise NotLowerable("a metric that is not a mean over samples")
        self.sums = torch.zeros(len(metrics), device=metrics[0].total.value.device)
        self.weights = torch.ones_like(self.sums)
        for i, metric in enumerate(metrics):
            self.sums[i] = i
            metric.total.value.data, metric.count.value.data = self.sums[i], self.weights[i]
        # Each mean is its own number now, which tells the names that Keras gives them.
        self.names = {name: int(value) for name, value in model.get_metrics_result().items()}
        model.reset_metrics()

    def add(self, sums, weights):
        """Count a batch; the means so far by Keras' names."""
        self.sums.add_(sums)
        self.weights.add_(weights)
        values = (self.sums / self.weights).tolist()
        return {name: values[i] for name, i in self.names.items()}


def _means_as_one(model, x, y):
    given = _Given()
    with given.collected():
        model.test_on_batch(x, y)
    return _Means(model, list(given.sums))


def _parameters_as_one(variables):
    """One vector of all these variables' elements, of which their own tensors become views."""
    vector = torch.cat([v.value.detach().reshape(-1) for v in variables])
    vector = keras.Variable(vector, name="parameters")
    parts = vector.value.data.split([math.prod(v.shape) for v in variables])
    for variable, part in zip(variables, parts, strict=True):
        variable.value.data = part.view(variable.shape)
    return vector


def _decay(variables):
    """The L2 factor of each element of these variables, or None where there is none at all.

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


@contextmanager
def _unregularized(variables):
    regularizers = [v.regularizer for v in variables]
    for variable in variables:
        variable.regularizer = None
    try:
        yield
    finally:
        for variable, regularizer in zip(variables, regularizers, strict=True):
            variable.regularizer = regularizer


def _same_optimizer(optimizer):
    """A new optimizer of the same configuration.

    Raises:
        NotLowerable: it looks at layers, not at parameters one by one.
    """
    kind = type(optimizer)
    of_keras = kind.__name__ in _ELEMENTWISE and kind.__module__.startswith("keras.")
    if not (of_keras or kind is TorchAdam):
        raise NotLowerable(f"optimizer {kind.__name__}")
    for setting in ("clipnorm", "use_ema", "gradient_accumulation_steps", "loss_scale_factor"):
        if getattr(optimizer, setting):
            raise NotLowerable(f"optimizer with {setting}")
    if int(optimizer.iterations):
        raise NotLowerable("an optimizer that has taken steps already")
    if hasattr(optimizer, "_exclude_from_weight_decay"):
        raise NotLowerable("optimizer whose weight decay leaves out some variables")
    return type(optimizer).from_config(optimizer.get_config())


@contextmanager
def _written_out(optimizer):
    """Run a block in which the optimizer computes by its formula.

    Keras' own shortcut for torch changes tensors in place and reads numbers out of them, neither
    of which a graph can hold.
    """
    optimizer._backend_update_step = BaseOptimizer._backend_update_step.__get__(optimizer)
    try:
        yield
    finally:
        del optimizer._backend_update_step
