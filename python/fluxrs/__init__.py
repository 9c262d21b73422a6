"""fluxrs: Flux's way of writing models, in Python, on a Rust core.

Everything public is here. Names that are Python's builtins too (`sum`, `max`, `abs`, …) are
used as `fluxrs.sum`; `from fluxrs import *` leaves them out.
"""

import builtins
import sys

from . import _core, datasets, optimise, tracker, typing
from . import elsewhere as _elsewhere
from ._core import *  # noqa: F403
from ._core import (
    DeviceError,
    DimensionMismatch,
    Grads,
    Params,
    Tensor,
    asarray,
    devices,
    param,
    solve,
    tensor,
)
from .activations import (  # type: ignore[assignment]
    celu,
    elu,
    gelu,
    gelu_erf,
    glu,
    hardsigmoid,
    hardswish,
    identity,
    leakyrelu,
    logsigmoid,
    logσ,
    mish,
    prelu,
    relu,
    selu,
    sigmoid,
    softplus,
    softsign,
    swish,
    tanh,
    σ,
)
from .batching import batches
from .debugging import debug, profile
from .layers.attention import MultiHeadAttention
from .layers.basic import Chain, Dense, Diagonal, activations, compose
from .layers.containers import Maxout, Parallel, SkipConnection, flatten
from .layers.conv import Conv, ConvTranspose, DepthwiseConv, conv, conv_transpose, depthwiseconv
from .layers.ctc import ctc
from .layers.embedding import Embedding, EmbeddingBag
from .layers.normalise import BatchNorm, Dropout, GroupNorm, InstanceNorm, LayerNorm, testmode
from .layers.pool import (
    AdaptiveMeanPool,
    GlobalMaxPool,
    GlobalMeanPool,
    MaxPool,
    MeanPool,
    maxpool,
    meanpool,
    upsample,
)
from .layers.prelu import PReLU
from .layers.recurrent import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    GRUCell,
    LSTMCell,
    Recur,
    RNNCell,
    flip,
    over,
    reset,
    truncate,
)
from .layers.stateless import (
    binarycrossentropy,
    cosine_similarity,
    crossentropy,
    huber,
    kldivergence,
    logitbinarycrossentropy,
    logitcrossentropy,
    mae,
    mse,
    normalise,
)
from .loading import load
from .moving import cpu, gpu
from .onehot import OneHotMatrix, OneHotVector, onecold, onehot, onehotbatch
from .optimise.optimisers import (
    ADAM,
    ADAMW,
    LAMB,
    NADAM,
    SGD,
    AdaBelief,
    ADADelta,
    ADAGrad,
    AdaMax,
    AMSGrad,
    Lion,
    Momentum,
    Nesterov,
    RAdam,
    RMSProp,
)
from .optimise.schedules import anneal, cosine, exponential, warmup
from .optimise.train import StopException, clipnorm, clipvalue, epochs, stop, throttle, train
from .reporting import gpu_report
from .saving import load_weights, save, save_weights
from .scanning import scan
from .tracker import (
    TrackedArray,
    back,
    checkpoint,
    collect,
    data,
    derivative,
    evaluate,
    forward,
    grad,
    gradcheck,
    gradient,
    hessian,
    hook,
    isleaf,
    istracked,
    jacobian,
    ngradient,
    no_grad,
    track,
    update,
    withgradient,
)
from .treelike import children, loadparams, mapleaves, params, prefor, treelike
from .utils import (
    accuracy,
    batch,
    batchseq,
    chunk,
    frequencies,
    glorot_normal,
    glorot_uniform,
    initn,
    kaiming_normal,
    kaiming_uniform,
    orthogonal,
    sparse_init,
    truncated_normal,
    unsqueeze,
    unstack,
)

# On the class, so that Python caches the attributes there are as before.
setattr(Tensor, "__getattr__", _elsewhere.instead)  # noqa: B010


def __getattr__(name: str) -> object:
    raise _elsewhere.missing(name, f"module {__name__!r}", sys.modules[__name__])


__version__ = _core.__version__
ldivide = solve  # A \\ b has Flux's name and NumPy's
__all__ = [
    "Bidirectional", "GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNCell", "Recur", "flip", "over", "reset",
    "scan", "truncate",
    "ADADelta", "ADAGrad", "ADAM", "ADAMW", "AMSGrad", "AdaBelief", "AdaMax",
    "AdaptiveMeanPool", "BatchNorm", "Chain", "Conv", "ConvTranspose", "Dense", "DepthwiseConv",
    "DeviceError", "Diagonal", "DimensionMismatch", "Dropout", "Embedding", "EmbeddingBag",
    "GlobalMaxPool", "GlobalMeanPool", "Grads", "GroupNorm", "InstanceNorm", "LAMB",
    "LayerNorm", "Lion", "MaxPool", "Maxout", "MeanPool", "Momentum", "MultiHeadAttention", "NADAM", "Nesterov",
    "OneHotMatrix", "OneHotVector", "PReLU", "Parallel", "Params", "RAdam", "RMSProp", "SGD",
    "SkipConnection", "StopException", "Tensor", "TrackedArray", "accuracy", "activations",
    "anneal", "asarray", "back", "batch", "batches", "batchseq", "binarycrossentropy", "celu",
    "checkpoint", "children", "chunk", "clipnorm", "clipvalue", "collect", "compose", "conv",
    "conv_transpose", "cosine", "cosine_similarity", "cpu", "crossentropy", "ctc", "data",
    "debug", "depthwiseconv", "derivative", "devices", "elu", "epochs", "evaluate",
    "exponential", "flatten", "forward", "frequencies", "gelu", "gelu_erf", "glorot_normal",
    "glorot_uniform", "glu", "gpu", "gpu_report", "grad", "gradcheck", "gradient", "hardsigmoid", "hardswish",
    "hessian", "hook", "huber", "identity", "initn", "isleaf", "istracked", "jacobian",
    "kaiming_normal", "kaiming_uniform", "kldivergence", "leakyrelu", "load", "load_weights",
    "loadparams", "logitbinarycrossentropy", "logitcrossentropy", "logsigmoid", "logσ", "mae",
    "mapleaves", "maxpool", "meanpool", "mish", "mse", "ngradient", "no_grad", "normalise",
    "onecold", "onehot", "onehotbatch", "orthogonal", "param", "params", "prefor", "prelu",
    "profile", "relu", "save", "save_weights", "selu", "sigmoid", "softplus", "softsign",
    "sparse_init", "stop", "swish", "tanh", "tensor", "testmode", "throttle", "track", "train",
    "treelike", "truncated_normal", "unsqueeze", "unstack", "update", "upsample", "warmup",
    "withgradient", "σ",
]  # fmt: skip
# The ops, from their table; what else the core has is for the modules here.
_PLUMBING = {
    "Deltas", "affine", "change", "checkpointed", "commit", "convolve", "custom", "deconvolve", "discard", "drop_gradients", "queue_position", "queued", "gpu_details", "has_gpu", "op_table", "passing", "random_state", "reference", "replace_gradients", "replay",
    "rules", "argument", "scan_over", "tracing", "squared_error", "state", "step", "take_gradients",
}  # fmt: skip
_TAKEN = {*__all__, *_PLUMBING, *dir(builtins)}
__all__ += [n for n in dir(_core) if n[0] != "_" and n not in _TAKEN]
