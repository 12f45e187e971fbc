"""configuration.json of a DL4J 1.0 model: what it says about parameters, updaters and counts.

`read_configuration` makes the same objects that a flatstep user would write by hand. Each layer
states all of its settings, as in DL4J's JSON, where the network's defaults are resolved already.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from flatstep.configuration import LayerConfiguration, MultiLayerConfiguration, ParamConfiguration
from flatstep.normalization import GradientNormalization
from flatstep.updaters import NoOp

from .errors import DL4JModelError
from .json_node import Node, parse_json
from .layers import Parameter, parameters_of
from .learning import (
    NO_REGULARIZATION,
    ReadUpdater,
    Regularization,
    read_regularization,
    read_updater,
)
from .nd4j import dtype_of

ENTRY = "configuration.json"
MAX_COUNT = 2**31 - 1
_LAYER_PACKAGE = "org.deeplearning4j.nn.conf.layers."
_VERTEX_PACKAGE = "org.deeplearning4j.nn.conf.graph."
_FROZEN = "misc.FrozenLayer"
_NO_UPDATER = ReadUpdater(NoOp(), 0)
_PLAIN_STEP = "org.deeplearning4j.nn.conf.stepfunctions.NegativeGradientStepFunction"


@dataclass(frozen=True)
class DL4JLayer:
    """One layer of a DL4J model, or one vertex of a graph that holds a layer.

    Attributes:
        name: The index of the layer, or the name of the vertex.
        kind: DL4J's class, such as ``"DenseLayer"``.
        frozen: Whether DL4J wraps it in a FrozenLayer.
        params: The parameters' names, in their order: ``("W", "b")``.
        settings: The layer as configuration.json has it: ``settings["activationFn"]["@class"]``,
            ``settings["nin"]`` and so on, for rebuilding the forward pass.
    """

    name: str
    kind: str
    frozen: bool
    params: tuple[str, ...]
    settings: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class SlotShape:
    """One parameter's place in the flat view."""

    key: str
    shape: tuple[int, ...]
    order: Literal["C", "F"]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class ModelDescription:
    """All that configuration.json says and flatstep needs. ``dtype`` None: it does not say."""

    network: str
    configuration: MultiLayerConfiguration
    layers: tuple[DL4JLayer, ...]
    slots: tuple[SlotShape, ...]
    state_size: int
    dtype: np.dtype[Any] | None
    iteration: int
    epoch: int


def read_configuration(content: bytes) -> ModelDescription:
    """Read configuration.json, refusing what flatstep could not continue exactly."""
    root = parse_json(content, ENTRY)
    if "confs" in root:
        network, layers, mini_batch = "MultiLayerNetwork", *_multi_layer_network(root)
    elif "vertices" in root:
        network, layers, mini_batch = "ComputationGraph", *_computation_graph(root)
    else:
        root.fail("expected 'confs' (a MultiLayerNetwork) or 'vertices' (a ComputationGraph)")
    with_params = [layer for layer in layers if layer.parameters]
    if not with_params:
        root.fail("no layer has parameters: there is nothing to train")
    try:
        configuration = MultiLayerConfiguration(
            semantics="dl4j-1.0",
            mini_batch=mini_batch,
            layers={layer.public.name: layer.configuration() for layer in with_params},
        )
    except (TypeError, ValueError) as error:
        root.fail(str(error))
    return ModelDescription(
        network=network,
        configuration=configuration,
        layers=tuple(layer.public for layer in layers),
        slots=tuple(slot for layer in layers for slot in layer.slots()),
        state_size=sum(layer.state_size() for layer in layers),
        dtype=_read_dtype(root),
        iteration=root["iterationCount"].integer(0, MAX_COUNT),
        epoch=root["epochCount"].integer(0, MAX_COUNT),
    )


# ----------------------------------------------------------------------------------------- networks


def _multi_layer_network(root: Node) -> tuple[list[_Layer], bool]:
    confs = list(root["confs"])
    layers = [_read_layer(str(index), conf) for index, conf in enumerate(confs)]
    return layers, _mini_batch(confs)


def _computation_graph(root: Node) -> tuple[list[_Layer], bool]:
    inputs = set(root["networkInputs"].texts())
    vertices = root["vertices"]
    order = root["topologicalOrderStr"].texts()
    names = [name for name in order if name not in inputs]
    if sorted(names) != sorted(vertices.object()):
        root["topologicalOrderStr"].fail("it does not name each vertex once")
    confs = []
    layers = []
    for name in names:
        vertex = vertices[name]
        if vertex.class_name("") == f"{_VERTEX_PACKAGE}LayerVertex":
            confs.append(vertex["layerConf"])
            layers.append(_read_layer(name, vertex["layerConf"]))
    _check_keys(root, layers)
    return layers, _mini_batch([root["defaultConfiguration"], *confs])


def _check_keys(root: Node, layers: list[_Layer]) -> None:
    """The graph's own list of keys tells of vertices that have parameters but are no layers."""
    listed = root["defaultConfiguration"]["variables"]
    found = {slot.key for layer in layers for slot in layer.slots()}
    for key in listed.texts():
        vertex = key.rpartition("_")[0]
        if key not in found and vertex in root["vertices"]:
            kind = root["vertices"][vertex].class_name("").rpartition(".")[2]
            listed.fail(
                f"vertex {vertex[:80]!r} ({kind[:80]}) has parameters; only those of layers are "
                f"supported"
            )
    if sorted(found) != sorted(listed.texts()):
        listed.fail("it does not name each parameter of the vertices once")


def _mini_batch(confs: list[Node]) -> bool:
    found = {conf.get("miniBatch").flag(default=True) for conf in confs}
    if len(found) > 1:
        confs[0].fail("some layers have miniBatch true and some false, which DL4J cannot do")
    return found != {False}


def _read_dtype(root: Node) -> np.dtype[Any] | None:
    if "dataType" not in root:
        return None
    name = root["dataType"].text()
    dtype = dtype_of(name)
    if dtype is None:
        root["dataType"].fail(
            f"{name[:40]} parameters are not supported, only FLOAT and DOUBLE: convert the model "
            f"with convertDataType before saving it"
        )
    return dtype


# ------------------------------------------------------------------------------------------- layers


@dataclass(frozen=True)
class _Layer:
    """What is read of one layer; of one without parameters, nothing but ``public``."""

    public: DL4JLayer
    parameters: tuple[Parameter, ...] = ()
    updater: ReadUpdater = _NO_UPDATER
    bias_updater: ReadUpdater | None = None
    gradient_normalization: GradientNormalization = GradientNormalization.NoNormalization
    threshold: float = 1.0
    weights: Regularization = NO_REGULARIZATION
    biases: Regularization = NO_REGULARIZATION

    def slots(self) -> list[SlotShape]:
        return [
            SlotShape(f"{self.public.name}_{parameter.name}", parameter.shape, parameter.order)
            for parameter in self.parameters
        ]

    def state_size(self) -> int:
        return sum(
            self._updater_of(parameter).state_arrays * math.prod(parameter.shape)
            for parameter in self.parameters
            if parameter.role != "statistic" and not self.public.frozen
        )

    def _updater_of(self, parameter: Parameter) -> ReadUpdater:
        if parameter.role == "bias" and self.bias_updater is not None:
            return self.bias_updater
        return self.updater

    def configuration(self) -> LayerConfiguration:
        normalises = self.gradient_normalization != GradientNormalization.NoNormalization
        weights, biases = self.weights, self.biases
        # What is off is not stated: it is off in the network's configuration too.
        return LayerConfiguration(
            kind=self.public.kind,
            frozen=self.public.frozen,
            updater=self.updater.updater,
            bias_updater=None if self.bias_updater is None else self.bias_updater.updater,
            gradient_normalization=self.gradient_normalization if normalises else None,
            gradient_normalization_threshold=self.threshold if normalises else None,
            l1=weights.l1 or None,
            l2=weights.l2 or None,
            l1_bias=biases.l1 or None,
            l2_bias=biases.l2 or None,
            weight_decay=weights.weight_decay or None,
            weight_decay_bias=biases.weight_decay or None,
            weight_decay_apply_lr=None if weights.weight_decay_apply_lr else False,
            params=self._exceptions(),
        )

    def _exceptions(self) -> dict[str, ParamConfiguration]:
        """What DL4J settles by parameter and flatstep by layer."""
        found = {}
        if self.biases.weight_decay_apply_lr != self.weights.weight_decay_apply_lr:
            found["b"] = ParamConfiguration(weight_decay_apply_lr=self.biases.weight_decay_apply_lr)
        if self.bias_updater is not None and any(p.name == "vb" for p in self.parameters):
            # To DL4J the visible bias is none of the biases.
            found["vb"] = ParamConfiguration(updater=self.updater.updater)
        return found


def _read_layer(name: str, conf: Node) -> _Layer:
    variables = conf["variables"].texts()
    layer = conf["layer"]
    frozen = layer.class_name("") == f"{_LAYER_PACKAGE}{_FROZEN}"
    if frozen:
        layer = layer["layer"]
    kind = layer.class_name("" if not variables else _LAYER_PACKAGE)
    public = DL4JLayer(
        name,
        kind.removeprefix(_LAYER_PACKAGE),
        frozen,
        tuple(variables),
        MappingProxyType(layer.object()),
    )
    if not variables:
        return _Layer(public)
    _refuse_other_steps(conf, layer)
    parameters = parameters_of(kind, layer)
    if [parameter.name for parameter in parameters] != variables:
        conf["variables"].fail(
            f"expected {', '.join(parameter.name for parameter in parameters)}, the parameters of "
            f"this {kind} in their order, got {', '.join(variables)[:80]}"
        )
    normalised = kind == "BatchNormalization"
    return _Layer(
        public,
        tuple(parameters),
        updater=read_updater(layer["iupdater"]),
        bias_updater=read_updater(layer["biasUpdater"]) if "biasUpdater" in layer else None,
        gradient_normalization=_gradient_normalization(layer),
        threshold=(
            layer["gradientNormalizationThreshold"].number()
            if "gradientNormalizationThreshold" in layer
            else 1.0
        ),
        weights=NO_REGULARIZATION if normalised else _regularization(layer, "regularization"),
        biases=NO_REGULARIZATION if normalised else _regularization(layer, "regularizationBias"),
    )


def _gradient_normalization(layer: Node) -> GradientNormalization:
    if "gradientNormalization" not in layer:
        return GradientNormalization.NoNormalization
    name = layer["gradientNormalization"]
    try:
        return GradientNormalization(name.text())
    except ValueError as error:
        name.fail(str(error))


def _regularization(layer: Node, key: str) -> Regularization:
    if key not in layer.object():
        layer.fail(f"{key!r} is missing: models saved before DL4J 1.0.0-beta4 cannot be read")
    return read_regularization(layer.get(key))


def _refuse_other_steps(conf: Node, layer: Node) -> None:
    """Refuse settings that make DL4J's step another than updater, then subtraction."""
    if "constraints" in layer and layer["constraints"].value:
        layer["constraints"].fail(
            "constraints on parameters are not supported: the run would not continue as in DL4J"
        )
    if "optimizationAlgo" in conf:
        algorithm = conf["optimizationAlgo"].text()
        if algorithm != "STOCHASTIC_GRADIENT_DESCENT":
            conf["optimizationAlgo"].fail(
                f"{algorithm[:80]} is not supported, only STOCHASTIC_GRADIENT_DESCENT"
            )
    if not conf.get("minimize").flag(default=True):
        conf["minimize"].fail("a model that maximises its score is not supported")
    if "stepFunction" in conf and conf["stepFunction"].class_name("") != _PLAIN_STEP:
        conf["stepFunction"].fail("step functions are not supported, only null")


# ------------------------------------------------------------------------------------------- counts

# A string, a bracket or separator, or any other run of characters; white space is skipped.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+')


def with_counts(content: bytes, iteration: int, epoch: int) -> bytes:
    """configuration.json with new top-level counts, and every other byte as it was.

    ``content`` has been read by `read_configuration`: it is JSON, and each count is there once.
    """
    counts = {"iterationCount": iteration, "epochCount": epoch}
    pieces = []
    copied = depth = 0
    key: str | None = None
    for token in _TOKEN.finditer(content):
        text = token.group()
        if text in (b"{", b"["):
            depth += 1
        elif text in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and text == b",":
            key = None
        elif depth == 1 and text != b":":
            if key is None:
                key = json.loads(text)
            elif key in counts:
                pieces += [content[copied : token.start()], str(counts.pop(key)).encode("ascii")]
                copied = token.end()
    if counts:
        raise DL4JModelError(f"{ENTRY}: {', '.join(counts)} not found")
    return b"".join([*pieces, content[copied:]])
