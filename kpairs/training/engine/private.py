"""Every private name of Keras and torch that the engine stands on: here, and nowhere else.

A release may rename any of them. The engine imports this module inside the guard of `lower`, so a
name that is gone means slower steps by Keras itself, never a training that ends.
"""

from operator import attrgetter
from pkgutil import resolve_name
from typing import Any

# Functions and classes, by where they are defined.
DEFINED = {
    "Functional": "keras.src.models:Functional",
    "extract_val": "torch.fx.experimental.proxy_tensor:extract_val",
    "foreach_copy": "torch:_foreach_copy_",
    "fused_adamw": "torch:_fused_adamw_",
    "get_keras_mask": "keras.src.backend.common.masking:get_keras_mask",
    "make_fx": "torch.fx.experimental.proxy_tensor:make_fx",
    "unsafe_view": "torch:ops.aten._unsafe_view.default",
}
# Attributes of objects: `compile_loss(model)` is that model's.
ATTRIBUTES = {
    "compile_loss": "_compile_loss",  # losses and their weights
    "run_through_graph": "_run_through_graph",  # runs a functional model's layers in order
    "use_weight_decay": "_use_weight_decay",  # tells whether an optimizer decays a variable
}


def __getattr__(name: str) -> Any:
    if name in ATTRIBUTES:
        return attrgetter(ATTRIBUTES[name])
    if name not in DEFINED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return resolve_name(DEFINED[name])
    except (AttributeError, ImportError) as error:
        raise ImportError(f"this release has no {DEFINED[name]}") from error
