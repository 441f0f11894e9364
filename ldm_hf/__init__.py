"""One pretrained transformer that acts in any Gymnasium environment.

The public names are imported when they are first used, so that ``import ldm_hf`` needs neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .utils.threads import set_waiting

if TYPE_CHECKING:
    from .agent import LDMAgent
    from .configuration_ldm import LDMConfig
    from .modeling_ldm import LDMForActionPrediction, LDMModel, LDMOutput
    from .onnx import OnnxAgent
    from .processing_ldm import LDMProcessor
    from .serving.client import RemoteAgent
    from .state_ldm import LDMState

__version__ = "0.3.0"
set_waiting()

WITHOUT_TRANSFORMERS = ("onnx", "serving.client")
_MODULES = {
    "LDMAgent": "agent",
    "LDMConfig": "configuration_ldm",
    "LDMForActionPrediction": "modeling_ldm",
    "LDMModel": "modeling_ldm",
    "LDMOutput": "modeling_ldm",
    "LDMProcessor": "processing_ldm",
    "LDMState": "state_ldm",
    "OnnxAgent": "onnx",
    "RemoteAgent": "serving.client",
}
__all__ = [
    "LDMAgent",
    "LDMConfig",
    "LDMForActionPrediction",
    "LDMModel",
    "LDMOutput",
    "LDMProcessor",
    "LDMState",
    "OnnxAgent",
    "RemoteAgent",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _MODULES[name] not in WITHOUT_TRANSFORMERS:
        import_module(".auto", __name__)  # AutoConfig, AutoModel and AutoProcessor learn about LDM
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
