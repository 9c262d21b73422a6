"""The package. Written by tools/stubs.py from the modules."""

# ruff: noqa
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import datasets as datasets, optimise as optimise, tracker as tracker, typing as typing
from .layers import basic as _basic, conv as _conv, normalise as _normalise, recurrent as _recurrent
from .layers.basic import Init, Layer
from .layers.conv import Lengths
from .layers.windows import Pad
from .optimise import optimisers as _optimisers
from .typing import ArrayLike, SupportsArray
from ._core import DeviceError as DeviceError
from ._core import DimensionMismatch as DimensionMismatch
from ._core import Grads as Grads
from ._core import Leaf as Leaf
from ._core import Params as Params
from ._core import Tensor as Tensor
from ._core import abs as abs
from ._core import add as add
from ._core import all as all
from ._core import any as any
from ._core import arange as arange
from ._core import arccos as arccos
from ._core import arccosh as arccosh
from ._core import arcsin as arcsin
from ._core import arcsinh as arcsinh
from ._core import arctan as arctan
from ._core import arctan2 as arctan2
from ._core import arctanh as arctanh
from ._core import argmax as argmax
from ._core import argmin as argmin
from ._core import argsort as argsort
from ._core import asarray as asarray
from ._core import attention as attention
from ._core import back as back
from ._core import bernoulli as bernoulli
from ._core import broadcast_to as broadcast_to
from ._core import cbrt as cbrt
from ._core import ceil as ceil
from ._core import clip as clip
from ._core import concatenate as concatenate
from ._core import cos as cos
from ._core import cosh as cosh
from ._core import counters as counters
from ._core import cumprod as cumprod
from ._core import cumsum as cumsum
from ._core import data as data
from ._core import det as det
from ._core import devices as devices
from ._core import diagm as diagm
from ._core import diagonal as diagonal
from ._core import divide as divide
from ._core import dot as dot
from ._core import einsum as einsum
from ._core import equal as equal
from ._core import erf as erf
from ._core import erfc as erfc
from ._core import evaluate as evaluate
from ._core import exp as exp
from ._core import exp2 as exp2
from ._core import expand_dims as expand_dims
from ._core import explain as explain
from ._core import expm1 as expm1
from ._core import eye as eye
from ._core import floor as floor
from ._core import floor_divide as floor_divide
from ._core import forward as forward
from ._core import from_dlpack as from_dlpack
from ._core import full as full
from ._core import gelu as gelu
from ._core import gelu_erf as gelu_erf
from ._core import glu as glu
from ._core import gradient as gradient
from ._core import greater as greater
from ._core import greater_equal as greater_equal
from ._core import hardsigmoid as hardsigmoid
from ._core import hardswish as hardswish
from ._core import hstack as hstack
from ._core import hypot as hypot
from ._core import inv as inv
from ._core import isfinite as isfinite
from ._core import isinf as isinf
from ._core import isleaf as isleaf
from ._core import isnan as isnan
from ._core import istracked as istracked
from ._core import kron as kron
from ._core import less as less
from ._core import less_equal as less_equal
from ._core import linspace as linspace
from ._core import log as log
from ._core import log10 as log10
from ._core import log1p as log1p
from ._core import log2 as log2
from ._core import logaddexp as logaddexp
from ._core import logical_and as logical_and
from ._core import logical_not as logical_not
from ._core import logical_or as logical_or
from ._core import logical_xor as logical_xor
from ._core import logsigmoid as logsigmoid
from ._core import logsoftmax as logsoftmax
from ._core import logsumexp as logsumexp
from ._core import matmul as matmul
from ._core import max as max
from ._core import maximum as maximum
from ._core import mean as mean
from ._core import min as min
from ._core import minimum as minimum
from ._core import mish as mish
from ._core import moveaxis as moveaxis
from ._core import multiply as multiply
from ._core import negative as negative
from ._core import norm as norm
from ._core import normcdf as normcdf
from ._core import not_equal as not_equal
from ._core import ones as ones
from ._core import ones_like as ones_like
from ._core import outer as outer
from ._core import pad as pad
from ._core import param as param
from ._core import permutation as permutation
from ._core import power as power
from ._core import prod as prod
from ._core import rand as rand
from ._core import rand_like as rand_like
from ._core import randint as randint
from ._core import randn as randn
from ._core import randn_like as randn_like
from ._core import ravel as ravel
from ._core import rdivide as rdivide
from ._core import reciprocal as reciprocal
from ._core import relu as relu
from ._core import remainder as remainder
from ._core import repeat as repeat
from ._core import reshape as reshape
from ._core import rint as rint
from ._core import roll as roll
from ._core import seed as seed
from ._core import selu as selu
from ._core import sigmoid as sigmoid
from ._core import sign as sign
from ._core import sin as sin
from ._core import sinh as sinh
from ._core import softmax as softmax
from ._core import softplus as softplus
from ._core import softsign as softsign
from ._core import solve as ldivide
from ._core import solve as solve
from ._core import sort as sort
from ._core import split as split
from ._core import sqrt as sqrt
from ._core import square as square
from ._core import squeeze as squeeze
from ._core import stack as stack
from ._core import std as std
from ._core import subtract as subtract
from ._core import sum as sum
from ._core import swapaxes as swapaxes
from ._core import swish as swish
from ._core import take as take
from ._core import take_along_axis as take_along_axis
from ._core import tan as tan
from ._core import tanh as tanh
from ._core import tensor as tensor
from ._core import tensordot as tensordot
from ._core import tile as tile
from ._core import trace as trace
from ._core import transpose as transpose
from ._core import trunc as trunc
from ._core import update as update
from ._core import var as var
from ._core import vdot as vdot
from ._core import vstack as vstack
from ._core import where as where
from ._core import withgradient as withgradient
from ._core import zeros as zeros
from ._core import zeros_like as zeros_like
from .activations import identity as identity
from .activations import leakyrelu as leakyrelu
from .activations import logσ as logσ
from .activations import prelu as prelu
from .activations import σ as σ
from .batching import batches as batches
from .checkpointing import checkpoint as checkpoint
from .debugging import debug as debug
from .debugging import profile as profile
from .layers.attention import MultiHeadAttention as MultiHeadAttention
from .layers.basic import Chain as Chain
from .layers.basic import activations as activations
from .layers.basic import compose as compose
from .layers.containers import Maxout as Maxout
from .layers.containers import Parallel as Parallel
from .layers.containers import SkipConnection as SkipConnection
from .layers.containers import flatten as flatten
from .layers.conv import conv as conv
from .layers.conv import conv_transpose as conv_transpose
from .layers.conv import depthwiseconv as depthwiseconv
from .layers.ctc import ctc as ctc
from .layers.embedding import Embedding as Embedding
from .layers.embedding import EmbeddingBag as EmbeddingBag
from .layers.normalise import Dropout as Dropout
from .layers.normalise import testmode as testmode
from .layers.pool import AdaptiveMeanPool as AdaptiveMeanPool
from .layers.pool import GlobalMaxPool as GlobalMaxPool
from .layers.pool import GlobalMeanPool as GlobalMeanPool
from .layers.pool import MaxPool as MaxPool
from .layers.pool import MeanPool as MeanPool
from .layers.pool import maxpool as maxpool
from .layers.pool import meanpool as meanpool
from .layers.pool import upsample as upsample
from .layers.prelu import PReLU as PReLU
from .layers.recurrent import Bidirectional as Bidirectional
from .layers.recurrent import GRU as GRU
from .layers.recurrent import GRUCell as GRUCell
from .layers.recurrent import LSTM as LSTM
from .layers.recurrent import LSTMCell as LSTMCell
from .layers.recurrent import Recur as Recur
from .layers.recurrent import flip as flip
from .layers.recurrent import over as over
from .layers.recurrent import reset as reset
from .layers.recurrent import truncate as truncate
from .layers.stateless import crossentropy as crossentropy
from .layers.stateless import kldivergence as kldivergence
from .layers.stateless import logitbinarycrossentropy as logitbinarycrossentropy
from .layers.stateless import logitcrossentropy as logitcrossentropy
from .layers.stateless import mae as mae
from .layers.stateless import mse as mse
from .loading import load as load
from .moving import cpu as cpu
from .moving import gpu as gpu
from .onehot import OneHotMatrix as OneHotMatrix
from .onehot import OneHotVector as OneHotVector
from .onehot import onecold as onecold
from .onehot import onehot as onehot
from .onehot import onehotbatch as onehotbatch
from .optimise.schedules import anneal as anneal
from .optimise.schedules import cosine as cosine
from .optimise.schedules import exponential as exponential
from .optimise.schedules import warmup as warmup
from .optimise.train import StopException as StopException
from .optimise.train import clipnorm as clipnorm
from .optimise.train import clipvalue as clipvalue
from .optimise.train import epochs as epochs
from .optimise.train import stop as stop
from .optimise.train import throttle as throttle
from .optimise.train import train as train
from .reporting import gpu_report as gpu_report
from .saving import load_weights as load_weights
from .saving import save as save
from .saving import save_weights as save_weights
from .scanning import scan as scan
from .tracker import TrackedArray as TrackedArray
from .tracker import collect as collect
from .tracker import derivative as derivative
from .tracker import grad as grad
from .tracker import gradcheck as gradcheck
from .tracker import hessian as hessian
from .tracker import hook as hook
from .tracker import jacobian as jacobian
from .tracker import ngradient as ngradient
from .tracker import no_grad as no_grad
from .tracker import track as track
from .treelike import children as children
from .treelike import loadparams as loadparams
from .treelike import mapleaves as mapleaves
from .treelike import params as params
from .treelike import prefor as prefor
from .treelike import treelike as treelike
from .utils import accuracy as accuracy
from .utils import batch as batch
from .utils import batchseq as batchseq
from .utils import chunk as chunk
from .utils import frequencies as frequencies
from .utils import glorot_normal as glorot_normal
from .utils import glorot_uniform as glorot_uniform
from .utils import initn as initn
from .utils import kaiming_normal as kaiming_normal
from .utils import kaiming_uniform as kaiming_uniform
from .utils import orthogonal as orthogonal
from .utils import sparse_init as sparse_init
from .utils import truncated_normal as truncated_normal
from .utils import unsqueeze as unsqueeze
from .utils import unstack as unstack

__version__: str
__all__ = [
    "ADADelta",
    "ADAGrad",
    "ADAM",
    "ADAMW",
    "AMSGrad",
    "AdaBelief",
    "AdaMax",
    "AdaptiveMeanPool",
    "BatchNorm",
    "Bidirectional",
    "Chain",
    "Conv",
    "ConvTranspose",
    "Dense",
    "DepthwiseConv",
    "DeviceError",
    "Diagonal",
    "DimensionMismatch",
    "Dropout",
    "Embedding",
    "EmbeddingBag",
    "GRU",
    "GRUCell",
    "GlobalMaxPool",
    "GlobalMeanPool",
    "Grads",
    "GroupNorm",
    "InstanceNorm",
    "LAMB",
    "LSTM",
    "LSTMCell",
    "LayerNorm",
    "Leaf",
    "Lion",
    "MaxPool",
    "Maxout",
    "MeanPool",
    "Momentum",
    "MultiHeadAttention",
    "NADAM",
    "Nesterov",
    "OneHotMatrix",
    "OneHotVector",
    "PReLU",
    "Parallel",
    "Params",
    "RAdam",
    "RMSProp",
    "RNN",
    "RNNCell",
    "Recur",
    "SGD",
    "SkipConnection",
    "StopException",
    "Tensor",
    "TrackedArray",
    "accuracy",
    "activations",
    "add",
    "anneal",
    "arange",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "argmax",
    "argmin",
    "argsort",
    "asarray",
    "attention",
    "back",
    "batch",
    "batches",
    "batchseq",
    "bernoulli",
    "binarycrossentropy",
    "broadcast_to",
    "cbrt",
    "ceil",
    "celu",
    "checkpoint",
    "children",
    "chunk",
    "clip",
    "clipnorm",
    "clipvalue",
    "collect",
    "compose",
    "concatenate",
    "conv",
    "conv_transpose",
    "cos",
    "cosh",
    "cosine",
    "cosine_similarity",
    "counters",
    "cpu",
    "crossentropy",
    "ctc",
    "cumprod",
    "cumsum",
    "data",
    "debug",
    "depthwiseconv",
    "derivative",
    "det",
    "devices",
    "diagm",
    "diagonal",
    "divide",
    "dot",
    "einsum",
    "elu",
    "epochs",
    "equal",
    "erf",
    "erfc",
    "evaluate",
    "exp",
    "exp2",
    "expand_dims",
    "explain",
    "expm1",
    "exponential",
    "eye",
    "flatten",
    "flip",
    "floor",
    "floor_divide",
    "forward",
    "frequencies",
    "from_dlpack",
    "full",
    "gelu",
    "gelu_erf",
    "glorot_normal",
    "glorot_uniform",
    "glu",
    "gpu",
    "gpu_report",
    "grad",
    "gradcheck",
    "gradient",
    "greater",
    "greater_equal",
    "hardsigmoid",
    "hardswish",
    "hessian",
    "hook",
    "hstack",
    "huber",
    "hypot",
    "identity",
    "initn",
    "inv",
    "isfinite",
    "isinf",
    "isleaf",
    "isnan",
    "istracked",
    "jacobian",
    "kaiming_normal",
    "kaiming_uniform",
    "kldivergence",
    "kron",
    "ldivide",
    "leakyrelu",
    "less",
    "less_equal",
    "linspace",
    "load",
    "load_weights",
    "loadparams",
    "log",
    "log10",
    "log1p",
    "log2",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logitbinarycrossentropy",
    "logitcrossentropy",
    "logsigmoid",
    "logsoftmax",
    "logsumexp",
    "logσ",
    "mae",
    "mapleaves",
    "matmul",
    "maximum",
    "maxpool",
    "mean",
    "meanpool",
    "minimum",
    "mish",
    "moveaxis",
    "mse",
    "multiply",
    "negative",
    "ngradient",
    "no_grad",
    "norm",
    "normalise",
    "normcdf",
    "not_equal",
    "onecold",
    "onehot",
    "onehotbatch",
    "ones",
    "ones_like",
    "orthogonal",
    "outer",
    "over",
    "pad",
    "param",
    "params",
    "permutation",
    "power",
    "prefor",
    "prelu",
    "prod",
    "profile",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "ravel",
    "rdivide",
    "reciprocal",
    "relu",
    "remainder",
    "repeat",
    "reset",
    "reshape",
    "rint",
    "roll",
    "save",
    "save_weights",
    "scan",
    "seed",
    "selu",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "softmax",
    "softplus",
    "softsign",
    "solve",
    "sort",
    "sparse_init",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "stop",
    "subtract",
    "swapaxes",
    "swish",
    "take",
    "take_along_axis",
    "tan",
    "tanh",
    "tensor",
    "tensordot",
    "testmode",
    "throttle",
    "tile",
    "trace",
    "track",
    "train",
    "transpose",
    "treelike",
    "trunc",
    "truncate",
    "truncated_normal",
    "unsqueeze",
    "unstack",
    "update",
    "upsample",
    "var",
    "vdot",
    "vstack",
    "warmup",
    "where",
    "withgradient",
    "zeros",
    "zeros_like",
    "σ",
]

class ADADelta(_optimisers.ADADelta):
    rho: float
    eps: float
    def __init__(self, params: Iterable[Tensor], *, ρ: float=0.9, ϵ: float=1e-08, decay: float=0, rho: float=..., eps: float=...) -> None: ...
class ADAGrad(_optimisers.ADAGrad):
    eta: float
    eps: float
    def __init__(self, params: Iterable[Tensor], η: float=0.01, *, ϵ: float=1e-08, decay: float=0, eta: float=..., eps: float=...) -> None: ...
class ADAM(_optimisers.ADAM):
    eta: float
    beta1: float
    beta2: float
    eps: float
    def __init__(self, params: Iterable[Tensor], η: float=0.001, *, β1: float=0.9, β2: float=0.999, ϵ: float=1e-08, decay: float=0, eta: float=..., beta1: float=..., beta2: float=..., eps: float=...) -> None: ...
class ADAMW(_optimisers.ADAMW):
    eta: float
    beta1: float
    beta2: float
    eps: float
    def __init__(self, params: Iterable[Tensor], η: float=0.001, *, β1: float=0.9, β2: float=0.999, ϵ: float=1e-08, decay: float=0, couple: bool=False, eta: float=..., beta1: float=..., beta2: float=..., eps: float=...) -> None: ...
class AMSGrad(_optimisers.AMSGrad):
    eta: float
    beta1: float
    beta2: float
    eps: float
    def __init__(self, params: Iterable[Tensor], η: float=0.001, *, β1: float=0.9, β2: float=0.999, ϵ: float=1e-08, decay: float=0, eta: float=..., beta1: float=..., beta2: float=..., eps: float=...) -> None: ...
class AdaBelief(_optimisers.AdaBelief):
    eta: float
    beta1: float
    beta2: float
    eps: float
    def __init__(self, params: Iterable[Tensor], η: float=0.001, *, β1: float=0.9, β2: float=0.999, ϵ: float=1e-08, decay: float=0, eta: float=..., beta1: float=..., beta2: float=..., eps: float=...) -> None: ...
class AdaMax(_optimisers.AdaMax):
    eta: float
    beta1: float
    beta2: float
    eps: float
    def __init__(self, params: Iterable[Tensor], η: float=0.002, *, β1: float=0.9, β2: float=0.999, ϵ: float=1e-08, decay: float=0, eta: float=..., beta1: float=..., beta2: float=..., eps: float=...) -> None: ...
class BatchNorm(_normalise.BatchNorm):
    activation: Layer
    eps: float
    beta: Tensor
    gamma: Tensor
    mean: Tensor
    def __init__(self, channels: int, /, σ: Layer=identity, *, initβ: Init=zeros, initγ: Init=ones, ϵ: float=1e-08, momentum: float=0.1, activation: Layer=..., initbeta: Init=..., initgamma: Init=..., eps: float=...) -> None: ...
class Conv(_conv.Conv):
    activation: Layer
    def __init__(self, size_or_W: Lengths | SupportsArray, channels_or_b: Sequence[int] | SupportsArray, /, σ: Layer=identity, *, stride: Lengths=1, pad: Pad=0, dilation: Lengths=1, groups: int=1, init: Init=glorot_uniform, initb: Init=zeros, bias: bool=True, activation: Layer=...) -> None: ...
class ConvTranspose(_conv.ConvTranspose):
    activation: Layer
    def __init__(self, size_or_W: Lengths | SupportsArray, channels_or_b: Sequence[int] | SupportsArray, /, σ: Layer=identity, *, stride: Lengths=1, pad: Pad=0, dilation: Lengths=1, groups: int=1, init: Init=glorot_uniform, initb: Init=zeros, bias: bool=True, activation: Layer=...) -> None: ...
class Dense(_basic.Dense):
    activation: Layer
    def __init__(self, in_or_W: int | SupportsArray | list[Any], out_or_b: int | SupportsArray | list[Any], /, σ: Layer=identity, *, initW: Init=glorot_uniform, initb: Init=zeros, bias: bool=True, activation: Layer=...) -> None: ...
class DepthwiseConv(_conv.DepthwiseConv):
    activation: Layer
    def __init__(self, size_or_W: Lengths | SupportsArray, channels_or_b: int | Sequence[int] | SupportsArray, /, σ: Layer=identity, *, stride: Lengths=1, pad: Pad=0, dilation: Lengths=1, init: Init=glorot_uniform, initb: Init=zeros, bias: bool=True, activation: Layer=...) -> None: ...
class Diagonal(_basic.Diagonal):
    alpha: Tensor
    beta: Tensor
    def __init__(self, n: int | Sequence[int], /, *, initα: Init=ones, initβ: Init=zeros, initalpha: Init=..., initbeta: Init=...) -> None: ...
class GroupNorm(_normalise.GroupNorm):
    activation: Layer
    eps: float
    beta: Tensor
    gamma: Tensor
    def __init__(self, channels: int, groups: int, /, σ: Layer=identity, *, initβ: Init=zeros, initγ: Init=ones, ϵ: float=1e-08, activation: Layer=..., initbeta: Init=..., initgamma: Init=..., eps: float=...) -> None: ...
class InstanceNorm(_normalise.InstanceNorm):
    activation: Layer
    eps: float
    beta: Tensor
    gamma: Tensor
    def __init__(self, channels: int, /, σ: Layer=identity, *, initβ: Init=zeros, initγ: Init=ones, ϵ: float=1e-08, activation: Layer=..., initbeta: Init=..., initgamma: Init=..., eps: float=...) -> None: ...
class LAMB(_optimisers.LAMB):
    eta: float
    beta1: float
    beta2: float
    eps: float
    def __init__(self, params: Iterable[Tensor], η: float=0.001, *, β1: float=0.9, β2: float=0.999, ϵ: float=1e-06, decay: float=0, eta: float=..., beta1: float=..., beta2: float=..., eps: float=...) -> None: ...
class LayerNorm(_normalise.LayerNorm):
    eps: float
    def __init__(self, n: int | Sequence[int], /, *, ϵ: float=1e-08, eps: float=...) -> None: ...
class Lion(_optimisers.Lion):
    eta: float
    beta1: float
    beta2: float
    def __init__(self, params: Iterable[Tensor], η: float=0.0001, *, β1: float=0.9, β2: float=0.99, decay: float=0, eta: float=..., beta1: float=..., beta2: float=...) -> None: ...
class Momentum(_optimisers.Momentum):
    eta: float
    rho: float
    def __init__(self, params: Iterable[Tensor], η: float=0.01, *, ρ: float=0.9, decay: float=0, eta: float=..., rho: float=...) -> None: ...
class NADAM(_optimisers.NADAM):
    eta: float
    beta1: float
    beta2: float
    eps: float
    def __init__(self, params: Iterable[Tensor], η: float=0.001, *, β1: float=0.9, β2: float=0.999, ϵ: float=1e-08, decay: float=0, eta: float=..., beta1: float=..., beta2: float=..., eps: float=...) -> None: ...
class Nesterov(_optimisers.Nesterov):
    eta: float
    rho: float
    def __init__(self, params: Iterable[Tensor], η: float=0.01, *, ρ: float=0.9, decay: float=0, eta: float=..., rho: float=...) -> None: ...
class RAdam(_optimisers.RAdam):
    eta: float
    beta1: float
    beta2: float
    eps: float
    def __init__(self, params: Iterable[Tensor], η: float=0.001, *, β1: float=0.9, β2: float=0.999, ϵ: float=1e-08, decay: float=0, eta: float=..., beta1: float=..., beta2: float=..., eps: float=...) -> None: ...
class RMSProp(_optimisers.RMSProp):
    eta: float
    rho: float
    eps: float
    def __init__(self, params: Iterable[Tensor], η: float=0.001, *, ρ: float=0.9, ϵ: float=1e-08, decay: float=0, eta: float=..., rho: float=..., eps: float=...) -> None: ...
def RNN(n_in: int, n_out: int, /, σ: Layer=tanh, *, init: Init=glorot_uniform, activation: Layer=...) -> Recur: ...
class RNNCell(_recurrent.RNNCell):
    activation: Layer
    def __init__(self, n_in: int, n_out: int, /, σ: Layer=tanh, *, init: Init=glorot_uniform, activation: Layer=...) -> None: ...
class SGD(_optimisers.SGD):
    eta: float
    def __init__(self, params: Iterable[Tensor], η: float=0.1, *, decay: float=0, eta: float=...) -> None: ...
def binarycrossentropy(ŷ: ArrayLike, y: ArrayLike, *, weight: ArrayLike=1, ϵ: float | None=None, eps: float | None=...) -> Tensor: ...
def celu(x: ArrayLike, α: float=1.0, *, alpha: float=...) -> Tensor: ...
def cosine_similarity(x: ArrayLike, y: ArrayLike, *, axis: int=-1, ϵ: float=1e-08, eps: float=...) -> Tensor: ...
def elu(x: ArrayLike, α: float=1.0, *, alpha: float=...) -> Tensor: ...
def huber(ŷ: ArrayLike, y: ArrayLike, *, δ: float=1.0, weight: ArrayLike=1, delta: float=...) -> Tensor: ...
def normalise(x: ArrayLike, *, ϵ: float=1e-08, eps: float=...) -> Tensor: ...
