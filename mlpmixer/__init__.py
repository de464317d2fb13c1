"""MLP-Mixer: all-MLP image models, trained, measured and understood.

The public names load PyTorch only when they are used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlpmixer.deploy.predictor import Predictor as Predictor
    from mlpmixer.deploy.publish import push_to_hub as push_to_hub
    from mlpmixer.deploy.publish import save_pretrained as save_pretrained
    from mlpmixer.engines.optimize import optimize as optimize
    from mlpmixer.models.capture import capture as capture
    from mlpmixer.models.capture import intermediate_names as intermediate_names
    from mlpmixer.models.registry import create_model as create_model
    from mlpmixer.models.registry import list_models as list_models
    from mlpmixer.models.resize import resize as resize
    from mlpmixer.weights.checkpoint import export as export
    from mlpmixer.weights.checkpoint import load as load
    from mlpmixer.weights.checkpoint import save as save
    from mlpmixer.weights.hub import from_pretrained as from_pretrained

_PUBLIC = {
    "Predictor": "mlpmixer.deploy.predictor",
    "capture": "mlpmixer.models.capture",
    "create_model": "mlpmixer.models.registry",
    "export": "mlpmixer.weights.checkpoint",
    "from_pretrained": "mlpmixer.weights.hub",
    "intermediate_names": "mlpmixer.models.capture",
    "list_models": "mlpmixer.models.registry",
    "load": "mlpmixer.weights.checkpoint",
    "optimize": "mlpmixer.engines.optimize",
    "push_to_hub": "mlpmixer.deploy.publish",
    "resize": "mlpmixer.models.resize",
    "save": "mlpmixer.weights.checkpoint",
    "save_pretrained": "mlpmixer.deploy.publish",
}

__all__ = list(_PUBLIC)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mlpmixer' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
