"""A function written down as one graph of torch operations, and that graph tidied.

Stock Keras on torch spends most of a small network's step in Python around tiny operations, and
pools in a memory layout that torch is ten times slower on. Here Keras' own code runs once under
torch's tracer, which records the operations that reach torch, those of the backward pass included.
The graph is for the shapes it was traced with.
"""

import operator
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any
from unittest.mock import patch

import torch
from torch.fx import Graph, GraphModule, Node, map_arg

from kpairs.training.engine.private import extract_val, make_fx, unsafe_view

_aten = torch.ops.aten
_EXTRACT_VAL = f"{extract_val.__module__}.{extract_val.__name__}"
_ONE_AT_A_TIME = Lock()  # while torch traces, it has replaced methods of all modules


def trace(
    function: Callable[..., list[torch.Tensor]], *tensors: torch.Tensor
) -> Callable[..., list[torch.Tensor]]:
    """Trace a function of tensors, which returns a list of tensors, into a callable graph.

    The function runs, on copies of the tensors.

    Raises:
        Exception: whatever the tracer meets that it cannot write down, such as a choice that
            depends on a tensor's value.
    """
    copies = [t.clone() for t in tensors]
    # The tracer makes a fake tensor of each value, which nothing here reads, at half of its time.
    unread = patch(_EXTRACT_VAL, lambda value, include_real=False: None)
    with _ONE_AT_A_TIME, torch.random.fork_rng(), unread:
        module = make_fx(function)(*copies)
    graph = module.graph
    writing = any(map(_writes, graph.nodes))
    _skip_what_changes_nothing(graph, writing)
    if not writing:
        _compute_constants(module, copies[0].device)
    graph.eliminate_dead_code()
    _keep_activations_alone(graph)
    _reuse_memory(graph)
    for node in graph.nodes:
        node.target = _DIRECT.get(node.target, node.target)
    module.recompile()
    return module.forward


# torch's own functions read their arguments in half the time of the recorded operations.
_DIRECT = {
    unsafe_view: torch.Tensor.view,
    _aten.add.Scalar: torch.add,
    _aten.add.Tensor: torch.add,
    _aten.addmm.default: torch.addmm,
    _aten.argmax.default: torch.argmax,
    _aten.cat.default: torch.cat,
    _aten.clone.default: torch.clone,
    _aten.convolution.default: torch.convolution,
    _aten.div.Tensor: torch.div,
    _aten.eq.Tensor: torch.eq,
    _aten.mm.default: torch.mm,
    _aten.mul.Tensor: torch.mul,
    _aten.permute.default: torch.permute,
    _aten.relu.default: torch.relu,
    _aten.select.int: torch.select,
    _aten.stack.default: torch.stack,
    _aten.sub.Tensor: torch.sub,
    _aten.sum.default: torch.sum,
    _aten.sum.dim_IntList: torch.sum,
    _aten.t.default: torch.t,
    _aten.view.default: torch.Tensor.view,
}
_SAME = {_aten.alias.default, _aten.detach.default}
_FRESH = {_aten.empty.memory_format}
_FILLED = {_aten.ones_like.default: 1, _aten.zeros_like.default: 0, _aten.new_zeros.default: 0}


def _skip_what_changes_nothing(graph: Graph, writing: bool) -> None:
    """Let the users of an operation that returns its argument read that instead.

    Args:
        graph: a `torch.fx.Graph`.
        writing: whether the graph writes to a tensor; then a copy is needed where it is made.
    """
    same = _SAME if writing else {*_SAME, _aten.lift_fresh_copy.default}
    for node in graph.nodes:
        if node.target in same:
            node.replace_all_uses_with(node.args[0])
        elif not writing and (
            node.target is _aten.sum.default
            or (node.target is _aten.add.Tensor and node.args[1] == 0)
        ):
            _replace_by_equal(node, node.args[0])


def _writes(node: Node) -> bool:
    """Tell whether an operation changes a tensor that is no input and was not made empty for it."""
    if node.op != "call_function" or not node.is_impure(impure_random=False):
        return False
    written: Any = node.args[0] if isinstance(node.args[0], (list, tuple)) else [node.args[0]]
    return any(n.op != "placeholder" and n.target not in _FRESH for n in written)


def _compute_constants(module: GraphModule, device: torch.device) -> None:
    """Compute now whatever depends on shapes and constants alone, such as the loss' own gradient.

    Only for a graph that writes to no tensor: a constant would keep what was written. A variable
    that the function reads from elsewhere is a Parameter, and no constant.
    """
    values: dict[Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            value = getattr(module, node.target)
            if not isinstance(value, torch.nn.Parameter):
                values[node] = value
        elif node.target in _FILLED:
            like = node.meta["tensor_meta"]
            filled = torch.full(like.shape, _FILLED[node.target], dtype=like.dtype, device=device)
            values[node] = filled
        elif _is_constant(node, values):
            arguments, named = map_arg((node.args, node.kwargs), values.get)
            values[node] = node.target(*arguments, **named)
        elif node.target is _aten.where.self and _is_zero(values.get(node.args[0])):
            _replace_by_equal(node, node.args[2])
        elif node.target is _aten.add.Tensor and _is_zero(values.get(node.args[0])):
            _replace_by_equal(node, node.args[1])
    for number, (node, value) in enumerate(values.items()):
        if node.op == "call_function" and isinstance(value, torch.Tensor):
            name = f"_constant_{number}"
            module.register_buffer(name, value)
            with module.graph.inserting_before(node):
                node.replace_all_uses_with(module.graph.get_attr(name))


def _is_constant(node: Node, values: Mapping[Node, Any]) -> bool:
    return (
        node.op == "call_function"
        and node.target not in _FRESH
        and torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ())
        and all(n in values for n in node.all_input_nodes)
    )


def _is_zero(value: torch.Tensor | None) -> bool:
    return value is not None and not bool(value.any())


def _replace_by_equal(node: Node, other: Node) -> None:
    """Read another node of the same values in place of this one, if it lies in memory as this.

    What follows may look at it in another shape, which a tensor of other strides may not allow.
    """
    if _layout(node) == _layout(other) and not node.kwargs:
        node.replace_all_uses_with(other)


def _layout(node: Node) -> object:
    """Return shape, type and strides of a node's tensor; of unknown ones what equals no other."""
    meta = node.meta.get("tensor_meta")
    return object() if meta is None else (meta.shape, meta.dtype, meta.stride)


# Operations whose values may replace those of their first argument, and how to call them then.
_IN_PLACE: dict[Any, Any] = {
    _aten.addcmul.default: _aten.addcmul_.default,
    _aten.hardtanh.default: _aten.hardtanh_.default,
    _aten.hardtanh_backward.default: _aten.hardtanh_backward.grad_input,
    _aten.relu.default: _aten.relu_.default,
    _aten.threshold_backward.default: _aten.threshold_backward.grad_input,
}


def _keep_activations_alone(graph: Graph) -> None:
    """Let the gradient of `hardtanh`, such as ReLU6, read its values and not its argument.

    Either tells where the bounds cut, so the argument's memory is free for the values.
    """
    made = {n.args: n for n in graph.nodes if n.target is _aten.hardtanh.default}
    for node in graph.nodes:
        if node.target is _aten.hardtanh_backward.default and node.args[1:] in made:
            node.args = (node.args[0], made[node.args[1:]], *node.args[2:])


def _reuse_memory(graph: Graph) -> None:
    """Let operations write over an argument that nothing else reads: that memory is still near."""
    node: Any
    for node in graph.nodes:
        if node.target not in _IN_PLACE or not _is_read_once(argument := node.args[0]):
            continue
        if _layout(node) == _layout(argument):
            node.target = _IN_PLACE[node.target]
            if "grad_input" in (a.name for a in node.target._schema.arguments):
                node.kwargs = {"grad_input": argument}


def _is_read_once(node: Any) -> bool:
    """Tell whether one operation alone reads memory that was new when this was computed."""
    while node.op == "call_function" and len(node.users) == 1:
        maker = node.args[0] if node.target is operator.getitem else node
        returns = maker.target._schema.returns
        if maker.target is not unsafe_view and all(r.alias_info is None for r in returns):
            return True
        node = maker.args[0]
    return False
