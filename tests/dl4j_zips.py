"""Makes DL4J's model zips for tests: out of golden cases, out of other zips, and spoilt ones."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from golden_cases import GoldenCase

OWN = Path(__file__).parent / "goldens" / "zips"
MLP = OWN / "iris_mlp_adam_clip.zip"
DOUBLE = OWN / "iris_mlp_nesterovs_schedule.zip"
GRAPH = OWN / "iris_graph_nadam.zip"
BATCH_NORM = OWN / "iris_batchnorm_amsgrad.zip"

CONFIGURATION, COEFFICIENTS, STATE = "configuration.json", "coefficients.bin", "updaterState.bin"
LAYERS = "org.deeplearning4j.nn.conf.layers."
VERTICES = "org.deeplearning4j.nn.conf.graph."
FIXED = {"@class": "org.nd4j.linalg.schedule.FixedSchedule", "value": 0.1}
ADAM = {
    "@class": "org.nd4j.linalg.learning.config.Adam",
    "learningRate": 0.01,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
}


def read_entries(path: Path) -> dict[str, bytes]:
    """What is in a zip, by name."""
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def make_zip(entries: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of ``entries``, in their order, each with the same date."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name, (2024, 2, 29, 12, 0, 0))
            file.writestr(info, content, compression)
    return buffer.getvalue()


def make_json(value: Any) -> bytes:
    """JSON, indented as DL4J does it."""
    return json.dumps(value, indent=2, separators=(",", " : ")).encode()


def make_array(values: Any, shape: tuple[int, ...] | None = None) -> bytes:
    """A flat array as `Nd4j.write` stores it."""
    shape = shape or values.shape
    strides = [1] * len(shape)
    name, flag = {"f4": ("FLOAT", 8192), "f8": ("DOUBLE", 16384)}[values.dtype.str[1:]]
    information = [len(shape), *shape, *strides, flag, 1, ord("c")]
    return make_buffer("LONG", struct.pack(f">{len(information)}q", *information)) + make_buffer(
        name, values.astype(values.dtype.newbyteorder(">")).tobytes()
    )


def make_buffer(type_name: str, data: bytes, length: int | None = None) -> bytes:
    """One of the two buffers of an array; ``length`` is what it declares, by default the truth."""
    if length is None:
        length = len(data) // {"FLOAT": 4, "INT": 4, "HALF": 2}.get(type_name, 8)
    mode, name = b"MIXED_DATA_TYPES", type_name.encode()
    head = struct.pack(">H", len(mode)) + mode + struct.pack(">q", length)
    return head + struct.pack(">H", len(name)) + name + data


def schedule(name: str, **values: Any) -> dict[str, Any]:
    """A schedule's JSON, by epoch unless it says otherwise."""
    return {"@class": f"org.nd4j.linalg.schedule.{name}", "scheduleType": "EPOCH", **values}


def edit_json(entries: Mapping[str, bytes], edit: Callable[[Any], object]) -> dict[str, bytes]:
    """``entries`` with a configuration.json that ``edit`` has changed in place."""
    configuration = json.loads(entries[CONFIGURATION])
    edit(configuration)
    return {**entries, CONFIGURATION: make_json(configuration)}


# ----------------------------------------------------------------------------- golden cases as zips


def zip_of_case(case: GoldenCase) -> bytes:
    """The zip that DL4J would have saved before the first step of a 1.0 case."""
    by_layer: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in case.raw["layers"]}
    for slot in case.layout:
        by_layer[slot["layer"]][slot["param"]] = slot
    confs = {name: _conf(case.raw["layers"][name], slots) for name, slots in by_layer.items()}
    top = {
        "dataType": {"float32": "FLOAT", "float64": "DOUBLE"}[case.raw["dtype"]],
        "iterationCount": case.steps[0].iteration,
        "epochCount": case.steps[0].epoch,
    }
    graph = case.network == "ComputationGraph"
    top |= _graph(confs) if graph else {"confs": list(confs.values())}
    entries = {
        CONFIGURATION: make_json(top),
        COEFFICIENTS: make_array(case.array("initial_params")),
    }
    state = case.array("initial_state")
    return make_zip(entries | ({STATE: make_array(state)} if state.size else {}))


def _conf(layer: Mapping[str, Any], slots: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The configuration of one layer, as DL4J writes it, from its kind and its slots' shapes."""
    kind, params = layer["type"], layer["params"]
    shapes = {name: slot["shape"] for name, slot in slots.items()}
    found: dict[str, Any] = {
        "@class": LAYERS + kind,
        "gradientNormalization": layer["gradient_normalization"],
        "gradientNormalizationThreshold": layer["gradient_normalization_threshold"],
    }
    if kind == "ConvolutionLayer":
        n_out, n_in, *found["kernelSize"] = shapes["W"]
    elif kind == "BatchNormalization":
        n_in = n_out = shapes["gamma"][0]
        found["useLogStd"] = "log10stdev" in shapes
    elif "RW" in shapes:
        n_in, n_out = shapes["W"][0], shapes["RW"][0]
    elif shapes:
        n_in, n_out = shapes["W"]
    if shapes:
        first = params["W" if "W" in params else "gamma"]
        bias = params.get("b", first)
        found |= {
            "nin": n_in,
            "nout": n_out,
            "iupdater": ADAM if layer["frozen"] else first["updater"],
            "biasUpdater": bias["updater"] if bias["updater"] != first["updater"] else None,
            "regularization": first["regularization"],
            "regularizationBias": bias["regularization"],
        }
    if layer["frozen"]:
        found = {"@class": f"{LAYERS}misc.FrozenLayer", "layer": found}
    return {"layer": found, "variables": list(slots), "miniBatch": layer["minibatch"]}


def _graph(confs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """A graph of two branches, merged, and an output."""
    *branches, out = confs
    vertices: dict[str, Any] = {
        name: {"@class": f"{VERTICES}LayerVertex", "layerConf": conf}
        for name, conf in confs.items()
    }
    vertices["merge"] = {"@class": f"{VERTICES}MergeVertex"}
    keys = [f"{name}_{param}" for name, conf in confs.items() for param in conf["variables"]]
    mini_batch = confs[out]["miniBatch"]
    return {
        "networkInputs": ["in"],
        "topologicalOrderStr": ["in", *branches, "merge", out],
        "vertices": vertices,
        "defaultConfiguration": {"variables": keys, "miniBatch": mini_batch},
    }


# ------------------------------------------------------------------------------------ spoiling zips

# Where a field lies in a local header and in a directory record, and its struct format.
FIELDS = {
    "flags": (6, 8, "<H"),
    "method": (8, 10, "<H"),
    "crc": (14, 16, "<I"),
    "compressed_size": (18, 20, "<I"),
    "size": (22, 24, "<I"),
    "disk": (None, 34, "<H"),
    "start": (None, 42, "<I"),
}


def patch(data: bytes, name: str, local: bool = True, **values: int) -> bytes:
    """A zip in which the headers of entry ``name`` say something else.

    In its directory record, and unless ``local`` is False in its local header.
    """
    spoilt = bytearray(data)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        header = file.getinfo(name).header_offset
    record = data.rindex(name.encode()) - 46
    for field, value in values.items():
        in_header, in_record, form = FIELDS[field]
        struct.pack_into(form, spoilt, record + in_record, value)
        if local and in_header is not None:
            struct.pack_into(form, spoilt, header + in_header, value)
    return bytes(spoilt)


def patch_end(data: bytes, offset: int, form: str, value: int) -> bytes:
    """A zip whose end record has ``value`` at ``offset``."""
    spoilt = bytearray(data)
    struct.pack_into(form, spoilt, len(data) - 22 + offset, value)
    return bytes(spoilt)
