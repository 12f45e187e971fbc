"""Files that are made to cost much: time, memory and messages stay in proportion to their size."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from dl4j_hostile import bomb, zeros
from dl4j_zips import (
    COEFFICIENTS,
    CONFIGURATION,
    MLP,
    STATE,
    edit_json,
    make_array,
    make_json,
    make_zip,
    read_entries,
)
from time_limits import SLOWER

import flatstep as fs

LONG = "x" * 3_000_000
# What a message may be long, whatever the file says.
MOST = 4096


def refusal(call: Callable[[], Any], *exceptions: type[Exception]) -> str:
    """The message, which comes soon and is short, as are those of what caused it."""
    start = time.process_time()
    with pytest.raises(exceptions) as caught:
        call()
    assert time.process_time() - start < 2 * SLOWER
    error: BaseException | None = caught.value
    while error is not None:
        assert len(str(error)) < MOST
        assert len(repr(error)) < MOST
        error = error.__cause__
    return str(caught.value)


# ----------------------------------------------------------------------------------- configurations


def many(count: int, item: Callable[[int], str]) -> str:
    return ", ".join(map(item, range(count)))


LONG_CONFIGURATIONS: dict[str, str] = {
    "a key twice": "{" + many(60_000, lambda i: f'"{i}": 0') + ', "59999": 1}',
    "a long key twice": f'{{"{LONG}": 0, "{LONG}": 1}}',
    "an unknown field": f'{{"version": 1, "{LONG}": 0}}',
    "unknown fields": '{"version": 1, ' + many(100_000, lambda i: f'"{i}": 0') + "}",
    "a version": f'{{"version": "{LONG}"}}',
    "a class": f'{{"version": 1, "updater": {{"class": "{LONG}"}}}}',
    "a class of lists": f'{{"version": 1, "updater": {{"class": [{"[]," * 99_999}[]]}}}}',
    "a name": f'{{"version": 1, "semantics": "{LONG}"}}',
    "a strategy": f'{{"version": 1, "gradient_normalization": "{LONG}"}}',
    "a number": f'{{"version": 1, "l1": "{LONG}"}}',
    "a list": f'{{"version": 1, "l1": [{"1," * 500_000}1]}}',
    "an integer": f'{{"version": 1, "l1": {"1" * 3_000_000}}}',
    "a negative integer": f'{{"version": 1, "l1": -{"1" * 3_000_000}}}',
    "a float": f'{{"version": 1, "l1": {"1" * 3_000_000}e9}}',
    "layers": f'{{"version": 1, "layers": [{"{}," * 500_000}{{}}]}}',
    "a layer": f'{{"version": 1, "layers": {{"{LONG}": {{"l1": -1}}}}}}',
    "fields of a layer": f'{{"version": 1, "layers": {{"{LONG}": {{"x": 1}}}}}}',
    "parameters of a long layer": f'{{"version": 1, "layers": {{"{LONG}": {{"params": {{'
    + many(3000, lambda i: f'"{i}": {{"l1": 0}}')
    + ', "b": 1}}}}',
    "a parameter": f'{{"version": 1, "layers": {{"0": {{"params": {{"{LONG}": {{"l1": -1}}}}}}}}}}',
    "an iteration": f'{{"version": 1, "momentum_schedule": {{"{LONG}": 0.5}}}}',
    "a policy": f'{{"version": 1, "learning_rate_policy": {{"kind": "{LONG}"}}}}',
    "a name of biases": f'{{"version": 1, "bias_params": ["{LONG}", 1]}}',
    "names of biases": f'{{"version": 1, "bias_params": [{"0," * 500_000}0]}}',
    "half a pair": f'{{"version": 1, "semantics": "{LONG}\\ud800"}}',
    "no JSON": LONG,
    "nesting": '{"a":' * 100_000,
    "lists": "[" * 1_000_000,
}


@pytest.mark.parametrize("text", LONG_CONFIGURATIONS.values(), ids=LONG_CONFIGURATIONS)
def test_long_configurations(text: str) -> None:
    refusal(lambda: fs.MultiLayerConfiguration.from_json(text), ValueError, TypeError)


def test_a_key_twice_is_found_in_linear_time() -> None:
    text = "{" + many(400_000, lambda i: f'"{i}": 0') + ', "399999": 1}'
    message = refusal(lambda: fs.MultiLayerConfiguration.from_json(text), ValueError)
    assert message.endswith('expected each key once, got "399999" twice')


# -------------------------------------------------------------------------------------- checkpoints


def sealed(document: dict[str, Any]) -> str:
    """A checkpoint's object, with the checksum that it needs."""
    document.pop("crc32", None)
    return json.dumps({**document, "crc32": zlib.crc32(json.dumps(document).encode())})


def forge(path: Path, key: str, change: Callable[[Any], Any]) -> None:
    """A checkpoint of a parameter of this key, with a changed object."""
    config = fs.MultiLayerConfiguration(updater=fs.Adam())
    fs.LayerUpdater(config, {key: np.ones(3)}).save(path)
    with safetensors.safe_open(path, framework="np") as file:
        document = json.loads(file.metadata()["flatstep"])
    tensors = safetensors.numpy.load_file(path)
    change(document)
    safetensors.numpy.save_file(tensors, path, metadata={"flatstep": sealed(document)})


def put(value: Any, *where: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for name in where[:-1]:
            document = document[name]
        document[where[-1]] = value

    return change


NAMES = {f"{i}_W": 0.5 for i in range(50_000)}
LONG_CHECKPOINTS: dict[str, Callable[[Any], Any]] = {
    "updater": put(LONG, "updater"),
    "version": put(LONG, "version"),
    "version of the state": put(LONG, "state_dict", "version"),
    "unknown fields": lambda document: document.update(NAMES),
    "fields of a slot": lambda document: document["layout"][0].update(NAMES),
    "fields of the state": lambda document: document["state_dict"].update(NAMES),
    "key": put(LONG, "layout", 0, "key"),
    "layer": put(LONG, "layout", 0, "layer"),
    "order": put(LONG, "layout", 0, "order"),
    "shape": put([1] * 500_000, "layout", 0, "shape"),
    "shape of text": put([LONG], "layout", 0, "shape"),
    "slots": lambda document: document["layout"].extend(
        {**document["layout"][0], "key": name} for name in list(NAMES)[:3000]
    ),
    "dtype": put(LONG, "state_dict", "dtype"),
    "iteration": put(LONG, "state_dict", "iteration"),
    "huge iteration": put(10**4000, "state_dict", "iteration"),
    "rates": put(NAMES, "state_dict", "learning_rate"),
    "rate": put({LONG: 0.5}, "state_dict", "learning_rate"),
    "rate of text": put({"W": LONG}, "state_dict", "learning_rate"),
    "state": put({LONG: ["m"]}, "state_dict", "state"),
    "state's names": put({"W": [LONG]}, "state_dict", "state"),
    "state's names twice": put({"W": ["m", "v"] * 200_000}, "state_dict", "state"),
    "states": put({name: [] for name in NAMES}, "state_dict", "state"),
    "tensors": put(NAMES, "tensors"),
    "layers": put({name: {} for name in list(NAMES)[:5000]}, "configuration", "layers"),
    "parameters": put(
        {"layer": {"params": {name: {} for name in list(NAMES)[:5000]}}},
        "configuration",
        "layers",
    ),
}


@pytest.mark.parametrize("change", LONG_CHECKPOINTS.values(), ids=LONG_CHECKPOINTS)
@pytest.mark.parametrize("strict", [True, False])
def test_long_checkpoints(change: Any, strict: bool, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    forge(path, "W", change)
    params = {"W": np.zeros(3)}
    start = time.process_time()
    if strict:
        message = refusal(lambda: fs.load_updater(path, params), fs.CheckpointError)
        assert message.startswith(f'"{path}": ')
        assert not params["W"].any()
        return
    text = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fs.load_updater(path, params, strict=False)
        except fs.CheckpointError as error:
            text = str(error)
    assert time.process_time() - start < 3 * SLOWER
    for message in (text, *(str(warning.message) for warning in caught)):
        assert len(message) < MOST


@pytest.mark.parametrize("name", ["shape", "damaged", "dtype"])
def test_long_names_of_tensors(name: str, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    key = "x" * 100_000

    def change(document: Any) -> None:
        if name == "damaged":
            document["tensors"][key] ^= 1
        elif name == "shape":
            document["layout"][0]["shape"] = [1, 3]

    forge(path, key, change)
    if name == "dtype":
        safetensors.numpy.save_file(
            {key: np.ones(3, np.int8)},
            path,
            metadata={"flatstep": document_with_tensor(path, key)},
        )
    refusal(lambda: fs.load_updater(path, {key: np.ones(3)}), fs.CheckpointError)


def document_with_tensor(path: Path, key: str) -> str:
    with safetensors.safe_open(path, framework="np") as file:
        document = json.loads(file.metadata()["flatstep"])
    document["tensors"] = {key: 0}
    return sealed(document)


def container(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


HEADERS: dict[str, bytes] = {
    "a long dtype": b'{"a":{"dtype":"' + LONG.encode() + b'","shape":[],"data_offsets":[0,0]}}',
    "a long name": b'{"' + LONG.encode() + b'":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}',
    "a long field": b'{"a":{"' + LONG.encode() + b'":"F32","shape":[2],"data_offsets":[0,4]}}',
    "long metadata": b'{"__metadata__":{"flatstep":"' + LONG.encode() + b'"}}',
    "nesting": b'{"a":' * 500_000,
    "many dimensions": b'{"a":{"dtype":"F32","shape":[' + b"0," * 400_000 + b"0],"
    b'"data_offsets":[0,0]}}',
    "many tensors": b"{"
    + b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(20_000))
    + b"}",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_long_headers(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    path.write_bytes(container(header))
    refusal(lambda: fs.load_updater(path, {"0_W": np.ones(3)}), fs.CheckpointError)


# --------------------------------------------------------------------------------------------- zips


def edited(edit: Callable[[Any], Any]) -> bytes:
    return make_zip(edit_json(read_entries(MLP), edit))


def with_json(text: bytes) -> bytes:
    return make_zip(read_entries(MLP) | {CONFIGURATION: text})


def graph(name: str, variables: list[str], keys: list[str]) -> dict[str, Any]:
    """A graph with one vertex."""
    conf = json.loads(read_entries(MLP)[CONFIGURATION])["confs"][0]
    return {
        "networkInputs": ["in"],
        "topologicalOrderStr": [name],
        "vertices": {
            name: {
                "@class": "org.deeplearning4j.nn.conf.graph.LayerVertex",
                "layerConf": {**conf, "variables": variables},
            }
        },
        "defaultConfiguration": {"variables": keys},
    }


def long_zips() -> dict[str, Callable[[], bytes]]:
    def layer(**values: Any) -> Callable[[], bytes]:
        return lambda: edited(lambda root: root["confs"][0]["layer"].update(values))

    def conf(**values: Any) -> Callable[[], bytes]:
        return lambda: edited(lambda root: root["confs"][0].update(values))

    many = {f"{i}": 0.5 for i in range(60_000)}
    return {
        "kind": layer(**{"@class": "org.deeplearning4j.nn.conf.layers." + LONG}),
        "class": layer(**{"@class": LONG}),
        "updater": layer(iupdater={"@class": "org.nd4j.linalg.learning.config." + LONG}),
        "number of inputs": layer(nin=LONG),
        "huge number of inputs": layer(nin=10**4000),
        "kernel": layer(
            **{"@class": "org.deeplearning4j.nn.conf.layers.ConvolutionLayer"},
            kernelSize=[1] * 100_000,
        ),
        "strategy": layer(gradientNormalization=LONG),
        "threshold": layer(gradientNormalizationThreshold=LONG),
        "constraints": layer(constraints=[LONG]),
        "algorithm": conf(optimizationAlgo=LONG),
        "variables": conf(variables=[LONG]),
        "many variables": conf(variables=list(many)),
        "iterations": layer(
            iupdater={
                "@class": "org.nd4j.linalg.learning.config.Sgd",
                "learningRate": "NaN",
                "learningRateSchedule": {
                    "@class": "org.nd4j.linalg.schedule.MapSchedule",
                    "scheduleType": "ITERATION",
                    "values": {**many, LONG: 1},
                },
            }
        ),
        "data type": lambda: edited(lambda root: root.update(dataType=LONG)),
        "fields": lambda: edited(lambda root: root.pop("confs") and root.update(many)),
        "a vertex": lambda: with_json(make_json(graph(LONG[:1_000_000], ["W"], []))),
        "variables of a long vertex": lambda: with_json(
            json.dumps(graph(LONG[:500_000], ["W"] * 60_000, ["x"] * 60_000)).encode()
        ),
        "a key twice": lambda: with_json(
            f'{{"{LONG[:1_000_000]}":1,"{LONG[:1_000_000]}":2}}'.encode()
        ),
        "an integer": lambda: with_json(b'{"confs":' + b"1" * 3_000_000 + b"}"),
        "nesting": lambda: with_json(b'{"a":' * 100_000),
        "values": lambda: with_json(b"[" + b"[]," * 1_300_000 + b"[]]"),
        "objects": lambda: with_json(b"[" + b'{"":1},' * 500_000 + b"[]]"),
        "wide text": lambda: with_json('{"🦆": "'.encode() + b"x" * 4_000_000 + b'"}'),
        "layers": lambda: with_json(many_layers(1500)),
        "a bomb of the right size": lambda: unfolding(40 << 20),
        "a bomb of 3 GiB": lambda: wrong_size(3 << 30),
    }


def many_layers(count: int) -> bytes:
    root = json.loads(read_entries(MLP)[CONFIGURATION])
    conf = root["confs"][0]
    updater = {"@class": "org.nd4j.linalg.learning.config.Sgd", "learningRate": 0.1}
    layer = {
        "@class": conf["layer"]["@class"],
        "nin": 1,
        "nout": 1,
        "iupdater": updater,
        "regularization": None,
        "regularizationBias": None,
    }
    confs = [{"layer": layer, "variables": ["W", "b"]}] * count
    return json.dumps({**root, "confs": confs}).encode()


def dense(root: Any, size: int) -> None:
    """Makes the MLP's hidden layer so large that its weights take these bytes."""
    root["confs"][0]["layer"]["nout"] = size // 16
    root["confs"][1]["layer"]["nin"] = size // 16


def unfolding(size: int) -> bytes:
    """A model of zeros that needs all that its zip unfolds to."""
    entries = edit_json(read_entries(MLP), lambda root: dense(root, size))
    n = size // 16
    length = 4 * n + n + 3 * n + 3
    entries[COEFFICIENTS] = make_array(np.zeros(length, np.float32), (1, length))
    del entries[STATE]
    return make_zip(entries)


def wrong_size(size: int) -> bytes:
    """The configuration calls for gigabytes, the rest is as it was."""
    return edited(lambda root: dense(root, size))


ZIPS = long_zips()


@pytest.mark.parametrize("make", ZIPS.values(), ids=ZIPS)
def test_long_zips(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(make())
    message = refusal(lambda: fs.load_dl4j(path), fs.DL4JModelError)
    assert message.startswith(f"{path}: ")


def test_a_model_of_zeros_loads_where_it_is_trusted(tmp_path: Path) -> None:
    """Nothing but its ratio is wrong with it."""
    path = tmp_path / "model.zip"
    path.write_bytes(unfolding(20 << 20))
    assert path.stat().st_size < 200_000
    message = refusal(lambda: fs.load_dl4j(path), fs.DL4JModelError)
    assert "if you trust the file, pass a larger max_bytes" in message
    assert not fs.load_dl4j(path, max_bytes=1 << 30).flat_params.any()


def test_a_fresh_model_with_much_state_loads(tmp_path: Path) -> None:
    """Its state is zeros, which take no room: four times the parameters come out of the file."""
    entries = edit_json(read_entries(MLP), lambda root: dense(root, 4 << 20))
    n = 1 << 18
    length = 8 * n + 3
    values = np.random.default_rng(1).standard_normal(length).astype(np.float32)
    entries[COEFFICIENTS] = make_array(values, (1, length))
    entries[STATE] = make_array(np.zeros(2 * length, np.float32), (1, 2 * length))
    path = tmp_path / "model.zip"
    path.write_bytes(make_zip(entries))
    assert not fs.load_dl4j(path).updater_state.any()


# ------------------------------------------------------------------------------------------- memory

LIMITED = """
import resource, sys
import numpy as np
import safetensors.numpy
import flatstep as fs

kind, path, more = sys.argv[1:]
with open("/proc/self/status") as file:
    size = next(int(line.split()[1]) for line in file if line.startswith("VmSize")) * 1024
limit = size + int(more)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    if kind == "zip":
        fs.load_dl4j(path)
    elif kind == "json":
        with open(path) as file:
            fs.MultiLayerConfiguration.from_json(file.read())
    else:
        fs.load_updater(path, {"0_W": np.zeros(3)})
except (ValueError, TypeError) as error:
    print(type(error).__name__, len(str(error)))
"""


def assert_refused_in_little_memory(kind: str, path: Path) -> None:
    """With an address space that ends 64 MiB and ten times the file's size from here."""
    more = (64 << 20) + 10 * path.stat().st_size
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, kind, path, str(more)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    name, length = done.stdout.split()
    assert name in ("CheckpointError", "DL4JModelError", "ValueError", "TypeError")
    assert int(length) < MOST


NEEDS_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
BOMBS: dict[str, Callable[[], bytes]] = {
    **{name: ZIPS[name] for name in ("values", "objects", "wide text", "nesting", "an integer")},
    **{name: ZIPS[name] for name in ("layers", "a bomb of the right size", "a bomb of 3 GiB")},
    "configuration": lambda: bomb(CONFIGURATION, zeros(mebibytes=128)),
    "coefficients": lambda: bomb(COEFFICIENTS, zeros(read_entries(MLP)[COEFFICIENTS], 128)),
    "state": lambda: bomb(STATE, zeros(read_entries(MLP)[STATE], 128)),
    "coefficients that declare less": lambda: bomb(
        COEFFICIENTS, zeros(read_entries(MLP)[COEFFICIENTS], 128), declared=381
    ),
}


@NEEDS_LINUX
@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
def test_zips_that_unfold(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(make())
    assert_refused_in_little_memory("zip", path)


@NEEDS_LINUX
@pytest.mark.parametrize(
    "data",
    [
        *(struct.pack("<Q", size) + b"{}" for size in (2, 100, 10**8, 2**40, 2**63, 2**64 - 1)),
        *(HEADERS[name] and container(HEADERS[name]) for name in HEADERS),
    ],
    ids=lambda data: str(len(data)),
)
def test_headers_that_lie(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    path.write_bytes(data)
    assert_refused_in_little_memory("checkpoint", path)


@NEEDS_LINUX
@pytest.mark.parametrize(
    "text", ["[" * 10**6, '{"a":' * 10**5, "[" + "[]," * 10**6, f'{{"version": "{LONG}"}}']
)
def test_json_in_little_memory(text: str, tmp_path: Path) -> None:
    path = tmp_path / "configuration.json"
    path.write_text(text)
    assert_refused_in_little_memory("json", path)
