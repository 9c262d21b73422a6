"""What other libraries call ours: an attribute that is missing here says what to write instead."""

from __future__ import annotations

from typing import Any

_GRADIENT = "param(x) makes a parameter, data(x) is the value of one, untracked; an optimiser steps those it is given"
_WRITE = "p.data = v or p.data[...] = v; update(p, Δ) adds Δ"
_STATE = (
    "save_weights(path, m) and load_weights(path, m); save(path, m=m, opt=opt) for a checkpoint"
)

HERE = {
    # tensors
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
    # models
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
    "fit": "train(loss, data, opt)",
    "predict": "m(x)",
    "forward": "m(x)",
    "weight": "m.W",
    "bias": "m.b",
    # optimisers
    "step": "opt(), or sch() for the callback that anneal makes",
    "zero_grad": "nothing: opt() zeroes the gradients",
    "param_groups": "opt.η, or opt.eta; a group is an optimiser of its own",
    "add_param_group": "an optimiser of its own",
    "lr": "opt.η, or opt.eta",
    # the module
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
    "Embedding": "Dense(classes, n) of onehotbatch(labels, classes)",
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
    "Flatten": "lambda x: x.reshape(len(x), -1)",
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


def missing(name: str, of: str, obj: Any) -> AttributeError:
    """The error for an attribute that `obj` has not, with the name it has here."""
    text = f"{of} has no attribute {name!r}"
    if name in HERE:
        text += f"; here it is {HERE[name]}"
    return AttributeError(text, name=name, obj=obj)


def instead(self: Any, name: str) -> Any:
    """`__getattr__` of tensors, models and optimisers."""
    raise missing(name, f"{type(self).__name__!r} object", self)
