"""What other libraries call ours: an attribute that is missing here says what to write instead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_GRADIENT = "param(x) makes a parameter, data(x) is the value of one, untracked; an optimiser steps those it is given"
_WRITE = "p.data = v or p.data[...] = v; update(p, Δ) adds Δ"
_STATE = (
    "save_weights(path, m) and load_weights(path, m); save(path, m=m, opt=opt) for a checkpoint"
)

TENSORS = {
    "backward": "back(loss)",
    "requires_grad": _GRADIENT,
    "requires_grad_": _GRADIENT,
    "is_leaf": "isleaf(x)",
    "grad_fn": "explain(x)",
    "register_hook": "hook(f, x)",
    "detach": "data(x)",
    "clone": "the tensor itself, whose value never changes; copy.deepcopy(p) for a parameter",
    "contiguous": "the tensor itself",
    "view": "x.reshape(shape)",
    "unsqueeze": "unsqueeze(x, axis), or x[None]",
    "permute": "x.transpose(axes)",
    "t": "x.T",
    "mT": "x.swapaxes(-1, -2)",
    "mm": "x @ y",
    "bmm": "x @ y",
    "numel": "x.size",
    "dim": "x.ndim",
    "expand": "broadcast_to(x, shape)",
    "gather": "take_along_axis(x, indices, axis)",
    "index_select": "x[indices], or take(x, indices, axis)",
    "masked_fill": "where(mask, v, x)",
    "chunk": "x.split(n, axis)",
    "clamp": "x.clip(low, high)",
    "round": "rint(x)",
    "log_softmax": "logsoftmax(x)",
    "float": 'x.astype("float32")',
    "double": 'x.astype("float64")',
    "half": 'x.astype("float32"); there is no float16',
    "long": 'x.astype("int64")',
    "int": 'x.astype("int32")',
    "bool": 'x.astype("bool")',
    "copy": "the tensor itself, whose value never changes; np.array(x) is an array to write",
    "zero_": "p.grad = None for a gradient, p.data[...] = 0 for a value",
    "fill_": _WRITE,
    "copy_": _WRITE,
    "add_": _WRITE,
    "sub_": _WRITE,
    "mul_": _WRITE,
    "div_": _WRITE,
    "clamp_": _WRITE,
    "normal_": _WRITE,
    "uniform_": _WRITE,
    "fill": "np.array(x) is an array to write",
    "pow": "x ** n",
    "mul": "x * y",
    "sub": "x - y",
    "div": "x / y",
    "nonzero": "np.nonzero(x)",
    "unique": "np.unique(np.asarray(x))",
    "median": "np.median(np.asarray(x)), which has no gradient",
    "quantile": "np.quantile(np.asarray(x), q), which has no gradient",
    "tril": "where(mask, x, 0)",
    "triu": "where(mask, x, 0)",
    "topk": "x.argsort()[..., -k:] for the places, x.sort()[..., -k:] for the values",
}

# As attributes of classes they must not have the names of types, which annotations there would then mean.
MODELS_AND_OPTIMISERS = {
    **{name: TENSORS[name] for name in ("requires_grad_", "double", "half", "backward")},
    "parameters": "params(m)",
    "named_parameters": "params(m)",
    "modules": "children(m)",
    "state_dict": _STATE,
    "load_state_dict": _STATE,
    "train": "testmode(m, False); train(loss, data, opt) is the loop",
    "eval": "testmode(m)",
    "to": "gpu(x) and cpu(x) for a device, x.astype(dtype) for a type",
    "cuda": "gpu(x)",
    "cpu": "cpu(x)",
    "apply": "mapleaves(f, m)",
    "reset": "reset(m)",
    "params": "params(m)",
    "summary": "print(m); params(m) has the parameters",
    "fit": "train(loss, data, opt)",
    "predict": "m(x)",
    "forward": "m(x)",
    "weight": "m.W",
    "bias": "m.b",
    "step": "opt(), or sch() for the callback that anneal makes",
    "zero_grad": "nothing: opt() zeroes the gradients",
    "param_groups": "opt.η, or opt.eta; a group is an optimiser of its own",
    "minimize": "back(loss), then opt()",
    "add_param_group": "an optimiser of its own",
    "lr": "opt.η, or opt.eta",
}

MODULE = {
    "random": "rand, randn, permutation and seed in fluxrs itself",
    "linalg": "inv, solve, norm and others in fluxrs itself",
    "functional": "relu, softmax, mse and others in fluxrs itself",
    "layers": "Dense, Conv and others in fluxrs itself",
    "lax": "scan, where and others in fluxrs itself",
    "Data": "fluxrs.datasets",
    "Tracker": "fluxrs.tracker",
    "pi": "math.pi",
    "inf": "math.inf",
    "nan": "math.nan",
    "float32": 'dtype="float32"',
    "float64": 'dtype="float64"',
    "int32": 'dtype="int32"',
    "int64": 'dtype="int64"',
    "newaxis": "None",
    "meshgrid": "np.meshgrid(x, y)",
    "full_like": "full(x.shape, v)",
    "allclose": "np.allclose(x, y)",
    "isclose": "np.isclose(x, y)",
    "array_equal": "np.array_equal(x, y)",
    "histogram": "np.histogram(np.asarray(x))",
    "value_and_grad": "withgradient(f, *args)",
    "jit": "nothing: a computation that comes again runs its plan again",
    "compile": "nothing: a computation that comes again runs its plan again",
    "vmap": "the function of a batch, whose samples are along axis 0",
    "tree_map": "mapleaves(f, m)",
    "one_hot": "onehotbatch(labels, range(n))",
    "nll_loss": "logitcrossentropy(logits, labels)",
    "NLLLoss": "logitcrossentropy(logits, labels)",
    "Dropout2d": "Dropout(p, dims=(0, 1))",
    "LeakyReLU": "leakyrelu",
    "LogSoftmax": "logsoftmax",
    "Identity": "identity",
    "ModuleList": "a list, as an attribute of a class with @treelike",
    "ModuleDict": "a dict, as an attribute of a class with @treelike",
    "lr_scheduler": "anneal(opt, schedule)",
    "Descent": "SGD",
    "Conv2D": "Conv((k, k), (in, out), σ)",
    "MaxPooling2D": "MaxPool((k, k))",
    "nn": "Chain, Dense and the others in fluxrs itself",
    "optim": "ADAM, SGD and the others in fluxrs itself",
    "autograd": "gradient(f, *xs)",
    "Module": "a class with @treelike and __call__",
    "Parameter": "param(x)",
    "Variable": "param(x)",
    "Linear": "Dense(in, out, σ)",
    "Conv1d": "Conv(k, (in, out), σ)",
    "Conv2d": "Conv((k, k), (in, out), σ)",
    "Conv3d": "Conv((k, k, k), (in, out), σ)",
    "ConvTranspose2d": "ConvTranspose((k, k), (in, out), σ)",
    "Sequential": "Chain(*layers)",
    "BatchNorm1d": "BatchNorm(channels)",
    "BatchNorm2d": "BatchNorm(channels)",
    "ReLU": "relu",
    "Sigmoid": "σ, or sigmoid",
    "Tanh": "tanh",
    "GELU": "gelu_erf, or gelu for its approximation by tanh",
    "Hardswish": "hardswish",
    "Hardsigmoid": "hardsigmoid",
    "Mish": "mish",
    "CELU": "celu",
    "GLU": "glu",
    "SiLU": "swish",
    "silu": "swish",
    "Softmax": "softmax",
    "Flatten": "flatten",
    "MaxPool1d": "MaxPool(k)",
    "MaxPool2d": "MaxPool((k, k))",
    "AvgPool2d": "MeanPool((k, k))",
    "AdaptiveAvgPool2d": "AdaptiveMeanPool(size)",
    "MultiheadAttention": "MultiHeadAttention(dim, heads)",
    "scaled_dot_product_attention": "attention(q, k, v)",
    "interpolate": "upsample(x, scale)",
    "MSELoss": "mse(ŷ, y)",
    "mse_loss": "mse(ŷ, y)",
    "CrossEntropyLoss": "logitcrossentropy(logits, labels)",
    "cross_entropy": "logitcrossentropy(logits, labels)",
    "L1Loss": "mae(ŷ, y)",
    "l1_loss": "mae(ŷ, y)",
    "HuberLoss": "huber(ŷ, y, δ=1)",
    "huber_loss": "huber(ŷ, y, δ=1)",
    "smooth_l1_loss": "huber(ŷ, y, δ=β) / β",
    "KLDivLoss": "kldivergence(ŷ, y), of probabilities",
    "kl_div": "kldivergence(ŷ, y), of probabilities",
    "CTCLoss": "ctc(logits, labels, blank=0)",
    "ctc_loss": "ctc(logits, labels, blank=0)",
    "BCELoss": "binarycrossentropy(ŷ, y).mean()",
    "BCEWithLogitsLoss": "logitbinarycrossentropy(logits, y).mean()",
    "Adam": "ADAM",
    "AdamW": "ADAMW",
    "Lamb": "LAMB",
    "Adagrad": "ADAGrad",
    "RMSprop": "RMSProp",
    "DataLoader": "batches(x, y, size)",
    "array": "tensor(x)",
    "from_numpy": "asarray(x), or tensor(x) for a copy",
    "as_tensor": "asarray(x)",
    "manual_seed": "seed(n)",
    "normal": "randn(shape)",
    "uniform": "rand(shape)",
    "randperm": "permutation(n)",
    "cat": "concatenate(xs, axis)",
    "vcat": "concatenate(xs, axis)",
    "hcat": "hstack(xs), or concatenate(xs, axis)",
    "permutedims": "transpose(x, axes)",
    "empty": "zeros(shape)",
}

HERE = {**TENSORS, **MODELS_AND_OPTIMISERS, **MODULE}


def missing(name: str, of: str, obj: Any) -> AttributeError:
    """The error for an attribute that `obj` has not, with the name it has here."""
    text = f"{of} has no attribute {name!r}"
    if name in HERE:
        text += f"; here it is {HERE[name]}"
    return AttributeError(text, name=name, obj=obj)


def instead(self: Any, name: str) -> Any:
    """`__getattr__` of tensors."""
    raise missing(name, f"{type(self).__name__!r} object", self)


class Elsewhere:
    """An attribute of a class that only other libraries have: reading it raises the error that says what to write.

    Whatever else has the name goes before it. A `__getattr__` would do the same, and would make every other attribute slow.
    """

    def __init__(self, owner: type, name: str) -> None:
        self.owner = owner
        self.name = name

    def __get__(self, obj: Any, cls: type) -> Any:
        for base in cls.__mro__[cls.__mro__.index(self.owner) + 1 :]:
            found = vars(base).get(self.name, self)
            if not isinstance(found, Elsewhere):
                return found.__get__(obj, cls) if hasattr(found, "__get__") else found
        of = f"type object {cls.__name__!r}" if obj is None else f"{cls.__name__!r} object"
        raise missing(self.name, of, cls if obj is None else obj)

    def __repr__(self) -> str:
        return HERE[self.name]


def _listed(self: Any) -> Iterable[str]:
    """`__dir__` of models and optimisers."""
    own = getattr(self, "__dict__", {})
    hidden = {n for c in type(self).__mro__ for n, x in vars(c).items() if isinstance(x, Elsewhere)}
    return [n for n in object.__dir__(self) if n not in hidden or n in own]


def teach(cls: type) -> None:
    """Let a class of models or optimisers say what other libraries' names are here."""
    known = {name for base in cls.__mro__ for name in vars(base)}
    if "__getattr__" in known:
        return
    for name in MODELS_AND_OPTIMISERS.keys() - known:
        setattr(cls, name, Elsewhere(cls, name))
    if getattr(cls, "__dir__", None) is object.__dir__:
        setattr(cls, "__dir__", _listed)  # noqa: B010
