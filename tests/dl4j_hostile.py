"""Model zips that lie: how each is made, and what the error that refuses it must say."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from dl4j_zips import (
    ADAM,
    COEFFICIENTS,
    CONFIGURATION,
    FIXED,
    GRAPH,
    LAYERS,
    MLP,
    STATE,
    VERTICES,
    edit_json,
    make_array,
    make_buffer,
    make_zip,
    patch,
    patch_end,
    read_entries,
    schedule,
)


class HostileCase(NamedTuple):
    """A zip that is refused, by an error that ``match`` matches."""

    name: str
    make: Callable[[], bytes]
    match: str


def rebuilt(**changes: bytes) -> Callable[[], bytes]:
    """The MLP's zip, with other contents for some entries."""
    names = {"configuration": CONFIGURATION, "coefficients": COEFFICIENTS, "state": STATE}
    return lambda: make_zip(read_entries(MLP) | {names[k]: v for k, v in changes.items()})


def without(name: str) -> Callable[[], bytes]:
    return lambda: make_zip({n: c for n, c in read_entries(MLP).items() if n != name})


def with_entry(name: str, content: bytes = b"x") -> Callable[[], bytes]:
    return lambda: make_zip(read_entries(MLP) | {name: content})


def patched(name: str = COEFFICIENTS, local: bool = True, **values: int) -> Callable[[], bytes]:
    return lambda: patch(make_zip(read_entries(MLP)), name, local, **values)


def duplicate() -> bytes:
    """Two entries of one name, each well formed."""
    return make_zip(read_entries(MLP) | {"updaterState.bim": b"x"}).replace(
        b"updaterState.bim", STATE.encode()
    )


def overlapping() -> bytes:
    """Two directory records that share one local entry."""
    data = make_zip(read_entries(MLP) | {"updaterState.bim": b""})
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        start = file.getinfo(STATE).header_offset
    return patch(data, "updaterState.bim", local=False, start=start)


def gap() -> bytes:
    """Bytes between two entries that belong to neither; the directory knows the right places."""
    data = make_zip(read_entries(MLP))
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        start, directory = file.getinfo(STATE).header_offset, file.start_dir
    data = patch(data, STATE, local=False, start=start + 4)
    data = data[:start] + b"HIDE" + data[start:]
    return patch_end(data, 16, "<I", directory + 4)


def wrong_descriptor() -> bytes:
    data = bytearray(MLP.read_bytes())
    data[data.index(b"PK\x07\x08") + 4] ^= 1
    return bytes(data)


def deflate_tail() -> bytes:
    """Compressed bytes that go on after the deflate stream has ended."""
    entries = read_entries(MLP)
    data = make_zip(entries)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        info = file.getinfo(STATE)
        directory = file.start_dir
    end = directory
    data = patch(data, STATE, compressed_size=info.compress_size + 3)
    return patch_end(data[:end] + b"abc" + data[end:], 16, "<I", directory + 3)


def bomb(name: str, content: Iterator[bytes], declared: int | None = None) -> bytes:
    """An entry that unfolds to far more than the model needs, and may declare less."""
    entries = read_entries(MLP)
    compress = zlib.compressobj(9, wbits=-15)
    crc = size = 0
    packed = bytearray()
    for piece in content:
        packed += compress.compress(piece)
        crc = zlib.crc32(piece, crc)
        size += len(piece)
    packed += compress.flush()
    stored = make_zip(entries | {name: bytes(packed)}, zipfile.ZIP_STORED)
    if declared is not None:
        with zipfile.ZipFile(MLP) as file:
            crc = file.getinfo(name).CRC
    return patch(stored, name, method=8, crc=crc, size=declared or size)


def with_entry_count(count: int) -> bytes:
    """The MLP's zip, whose end record counts ``count`` entries; there are three."""
    return patch_end(patch_end(MLP.read_bytes(), 8, "<H", count), 10, "<H", count)


def zeros(start: bytes = b"", mebibytes: int = 64) -> Iterator[bytes]:
    yield start
    for _ in range(mebibytes):
        yield bytes(1 << 20)


CONTAINERS: list[tuple[str, Callable[[], bytes], str]] = [
    ("empty file", lambda: b"", "not a zip file"),
    ("not a zip", lambda: b"<html>404 Not Found</html>" * 9, "not a zip file, or a truncated one"),
    ("truncated", lambda: MLP.read_bytes()[:1200], "not a zip file, or a truncated one"),
    ("last byte missing", lambda: MLP.read_bytes()[:-1], "truncated"),
    ("bytes after", lambda: MLP.read_bytes() + b"\0", "truncated"),
    ("bytes before", lambda: b"MZ" + MLP.read_bytes(), "entry 1 of the zip directory is damaged"),
    ("start missing", lambda: MLP.read_bytes()[100:], "truncated, or its directory is wrong"),
    ("an empty zip", lambda: make_zip({}), "the zip file is empty"),
    ("no configuration", without(CONFIGURATION), "there is no configuration.json"),
    ("no coefficients", without(COEFFICIENTS), "there is no coefficients.bin"),
    ("parent folder", with_entry("../evil"), r"entry name '\.\./evil' is not a plain path"),
    ("inner parent", with_entry("a/../../b"), "not a plain path"),
    ("absolute", with_entry("/etc/passwd"), "not a plain path"),
    ("drive", with_entry("C:evil"), "not a plain path"),
    ("backslash", lambda: make_zip(read_entries(MLP) | {"a!b": b""}).replace(b"a!b", b"a\\b"),
     "not a plain path"),
    ("NUL in a name", lambda: make_zip(read_entries(MLP) | {"a!b": b""}).replace(b"a!b", b"a\0b"),
     "not a plain path"),
    ("escape in a name", with_entry("a\x1b[2Jb"), "not a plain path"),
    ("long name", with_entry("a" * 60_000), "an entry name of 60000 bytes"),
    ("empty folder name", with_entry("a//b"), "not a plain path"),
    ("duplicate", duplicate, "'updaterState.bin' is in the zip file twice"),
    ("overlapping", overlapping, "entries that overlap"),
    ("gap", gap, "overlap, or bytes between them belong to neither"),
    ("encrypted", patched(flags=1), "coefficients.bin is encrypted"),
    ("unknown flags", patched(flags=0x2000), "uses a zip feature"),
    ("unknown method", patched(method=14), "compressed by method 14"),
    ("header contradicts method", patched(local=False, method=0, size=336), "contradicts"),
    ("header contradicts size", patched(local=False, size=380), "local header .* contradicts"),
    ("header contradicts checksum", patched(local=False, crc=1), "local header .* contradicts"),
    ("header contradicts name",
     lambda: make_zip(read_entries(MLP)).replace(STATE.encode(), b"updaterState.bim", 1),
     "local header of updaterState.bin contradicts"),
    ("starts elsewhere", patched(STATE, local=False, start=40), "configuration.json .* overlap"),
    ("no entry there", lambda: make_zip(read_entries(MLP)).replace(b"PK\3\4", b"PK\7\7", 1),
     "no entry at byte 0, where configuration.json should start"),
    ("stored and declares more", patched(local=False, method=0, size=341), "336 bytes, .* 341"),
    ("on another disk", patched(disk=1), "spread over several files"),
    ("wrong checksum", patched(crc=1), "the checksum of coefficients.bin is wrong"),
    ("declares too much", patched(size=1 << 20), "more than .* compressed bytes can hold"),
    ("declares a little more", patched(size=382), "269 bytes of data; 67 FLOAT values take 268"),
    ("declares a little less", patched(size=380), "267 bytes of data; 67 FLOAT values take 268"),
    ("compressed size too large", patched(STATE, compressed_size=700), "overlap"),
    ("compressed size too small", patched(STATE, compressed_size=500), "overlap"),
    ("zip64 entry", patched(size=0xFFFFFFFF), "zip64"),
    ("descriptor lies", wrong_descriptor, "the data descriptor of configuration.json contradicts"),
    ("deflate stream ends early", deflate_tail, "compressed bytes of updaterState.bin do not end"),
    ("entry count too small", lambda: with_entry_count(2), "bytes that belong to no entry"),
    ("entry count too large", lambda: with_entry_count(9), "directory ends inside entry 4 of 9"),
    ("a thousand entries",
     lambda: make_zip(read_entries(MLP) | {f"{i}.bin": b"" for i in range(1100)}),
     "a directory of 1103 entries"),
    ("several disks", lambda: patch_end(MLP.read_bytes(), 4, "<H", 3), "spread over several files"),
    ("zip64 end", lambda: patch_end(MLP.read_bytes(), 16, "<I", 0xFFFFFFFF), "zip64"),
    ("directory elsewhere", lambda: patch_end(MLP.read_bytes(), 16, "<I", 0), "is damaged"),
    ("directory past the end", lambda: patch_end(MLP.read_bytes(), 16, "<I", 1 << 30), "truncated"),
    ("damaged deflate stream",
     lambda: patch(make_zip(read_entries(MLP), zipfile.ZIP_STORED), COEFFICIENTS, method=8),
     "compressed bytes of coefficients.bin are damaged"),
    ("configuration bomb", lambda: bomb(CONFIGURATION, zeros()), "the limit is 4194304"),
    ("coefficients bomb", lambda: bomb(COEFFICIENTS, zeros(read_entries(MLP)[COEFFICIENTS])),
     r"coefficients.bin declares \d+ bytes; the 67 values .* take 268"),
    ("state bomb", lambda: bomb(STATE, zeros(read_entries(MLP)[STATE])),
     r"updaterState.bin declares \d+ bytes; the 134 values .* take 536"),
    ("bomb that declares the right size",
     lambda: bomb(COEFFICIENTS, zeros(read_entries(MLP)[COEFFICIENTS]), declared=381),
     "coefficients.bin has bytes after its end"),
]  # fmt: skip


def array(**changes: Any) -> bytes:
    """coefficients.bin of the MLP, with lies: about the shape information, or about the values."""
    values = np.arange(67, dtype=np.float32)
    shape = changes.get("shape", [1, 67, 1, 8192, 1, 99])
    information = make_buffer(
        changes.get("shape_type", "LONG"),
        struct.pack(f">{len(shape)}q", *shape),
        changes.get("shape_length"),
    )
    data = changes.get("data", values.astype(">f4").tobytes())
    return information + make_buffer(changes.get("type", "FLOAT"), data, changes.get("length", 67))


def spoilt_array(match: str, **changes: Any) -> tuple[Callable[[], bytes], str]:
    return rebuilt(coefficients=array(**changes)), match


LONG_WORD = struct.pack(">H", 65535) + b"A" * 65535
ARRAYS: list[tuple[str, Callable[[], bytes], str]] = [
    (name, *spoilt_array(match, **changes))
    for name, match, changes in [
        ("length too large", "declares 68 values, but its shape has 67", {"length": 68}),
        ("length too small", "declares 66 values", {"length": 66}),
        ("length negative", r"number of values is negative \(-1\)", {"length": -1}),
        ("length huge", "declares 9223372036854775807 values", {"length": 2**63 - 1}),
        ("data too short", "has 264 bytes of data; 67 FLOAT values take 268", {"data": bytes(264)}),
        ("data too long", "has 272 bytes of data", {"data": bytes(272)}),
        ("other shape", r"has the shape \[66\]; the model needs 67",
         {"shape": [1, 66, 1, 8192, 1, 99]}),
        ("shape that overflows", "has the shape",
         {"shape": [2, 2**62, 2**62, 1, 1, 8192, 1, 99]}),
        ("shape that wraps around to 67", "has the shape",
         {"shape": [2, -1, -67, 67, 1, 8192, 1, 99]}),
        ("negative shape", "has the shape", {"shape": [1, -67, 1, 8192, 1, 99]}),
        ("a matrix", "has the shape", {"shape": [2, 1, 68, 68, 1, 8192, 1, 99]}),
        ("rank lies", "rank 2 with 6 values", {"shape": [2, 67, 1, 8192, 1, 99]}),
        ("rank huge", "rank 4611686018427387904", {"shape": [2**62, 67, 1, 8192, 1, 99]}),
        ("shape length negative", "shape information is negative", {"shape_length": -6}),
        ("shape length huge", "9223372036854775807 LONG values", {"shape_length": 2**63 - 1}),
        ("shape length lies", "rank 1 with 8 values", {"shape_length": 8}),
        ("shape of INTs", "6 INT values", {"shape_type": "INT", "shape_length": 6}),
        ("strides", "not contiguous", {"shape": [1, 67, 2, 8192, 1, 99]}),
        ("element stride", "not contiguous", {"shape": [1, 67, 1, 8192, 0, 99]}),
        ("order", "order 120", {"shape": [1, 67, 1, 8192, 1, 120]}),
        ("flag of another type", "shape information says otherwise",
         {"shape": [1, 67, 1, 16384, 1, 99]}),
        ("no flag", "shape information says otherwise", {"shape": [1, 67, 1, 0, 1, 99]}),
        ("other type", "holds DOUBLE values, but the model's type is FLOAT",
         {"type": "DOUBLE", "data": bytes(67 * 8), "shape": [1, 67, 1, 16384, 1, 99]}),
        ("half", "holds HALF values; flatstep works on FLOAT and DOUBLE",
         {"type": "HALF", "data": bytes(134)}),
        ("unknown type", "holds EVIL values", {"type": "EVIL"}),
    ]
] + [
    ("empty array", rebuilt(coefficients=b""), "ends after 0 bytes"),
    ("header cut short", rebuilt(coefficients=array()[:40]), "ends after 40 bytes"),
    ("long word", rebuilt(coefficients=LONG_WORD[:400]), "65535 bytes long, not a word"),
    ("no word", rebuilt(coefficients=b"\0\2\xff\n" + bytes(300)), "not a word"),
    ("state too short", rebuilt(state=make_array(np.zeros(133, np.float32))), "needs 134"),
    ("state too long", rebuilt(state=make_array(np.zeros(135, np.float32))), "needs 134"),
    ("state of another type",
     rebuilt(state=make_array(np.zeros(134, np.float64))),
     r"declares \d+ bytes; the 134 values .* take 536"),
]  # fmt: skip


def edited(edit: Callable[[Any], Any], path: Path = MLP) -> Callable[[], bytes]:
    return lambda: make_zip(edit_json(read_entries(path), edit))


def in_layer(**values: Any) -> Callable[[], bytes]:
    """The MLP with other settings in its first layer; None deletes nothing, it is null."""
    return edited(lambda root: root["confs"][0]["layer"].update(values))


def in_conf(**values: Any) -> Callable[[], bytes]:
    return edited(lambda root: root["confs"][0].update(values))


def at_top(**values: Any) -> Callable[[], bytes]:
    return edited(lambda root: root.update(values))


def in_graph(**values: Any) -> Callable[[], bytes]:
    return edited(lambda root: root.update(values), GRAPH)


def in_updater(**values: Any) -> Callable[[], bytes]:
    return in_layer(iupdater={**ADAM, **values})


def with_schedule(name: str, **values: Any) -> Callable[[], bytes]:
    return in_updater(learningRate="NaN", learningRateSchedule=schedule(name, **values))


def regularised(name: str, **values: Any) -> Callable[[], bytes]:
    entry = {"@class": f"org.nd4j.linalg.learning.regularization.{name}", **values}
    return in_layer(regularization=[entry])


def replaced(old: bytes, new: bytes) -> Callable[[], bytes]:
    def make() -> bytes:
        entries = read_entries(MLP)
        assert old in entries[CONFIGURATION]
        return make_zip(entries | {CONFIGURATION: entries[CONFIGURATION].replace(old, new)})

    return make


def ramps(depth: int) -> dict[str, Any]:
    base = ramps(depth - 1) if depth else schedule("ExponentialSchedule", initialValue=1, gamma=1)
    return {"@class": "org.nd4j.linalg.schedule.RampSchedule", "numIter": 5, "baseSchedule": base}


COUNT = b'"iterationCount" : 40'
CONFIGURATIONS: list[tuple[str, Callable[[], bytes], str]] = [
    ("not JSON", rebuilt(configuration=b"PK"), "configuration.json: it is not JSON"),
    ("empty", rebuilt(configuration=b""), "it is not JSON"),
    ("not UTF-8", replaced(b"layer0", b"layer\xff"), "it is not JSON: 'utf-8'"),
    ("an array", rebuilt(configuration=b"[]"), "expected an object, got an array"),
    ("another document", rebuilt(configuration=b"{}"), "expected 'confs' .* or 'vertices'"),
    ("deep", rebuilt(configuration=b"[" * 200_000 + b"]" * 200_000), "nested too deeply"),
    ("deep objects", rebuilt(configuration=b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
     "nested too deeply"),
    ("duplicate key", replaced(COUNT, COUNT + b', "iterationCount" : 7'),
     "key 'iterationCount' is there twice"),
    ("duplicate key inside", replaced(b'"nin" : 4', b'"nin" : 4, "nin" : 5'), "key 'nin' .* twice"),
    ("count NaN", replaced(COUNT, b'"iterationCount" : NaN'), "NaN is not JSON"),
    ("count Infinity", replaced(COUNT, b'"iterationCount" : Infinity'), "Infinity is not JSON"),
    ("count as text", at_top(iterationCount="NaN"), "Count: expected an integer, got 'NaN'"),
    ("count negative", at_top(iterationCount=-1), "expected an integer from 0 .*, got -1"),
    ("count fractional", at_top(epochCount=0.5), "epochCount: expected an integer, got 0.5"),
    ("count true", at_top(epochCount=True), "epochCount: expected an integer, got true"),
    ("count huge", at_top(epochCount=2**31), "from 0 to 2147483647, got 2147483648"),
    ("count of 4000 digits", replaced(COUNT, b'"iterationCount" : ' + b"9" * 4000), "18 digits"),
    # Python before 3.11 reads them, later ones refuse to.
    ("count of 5000 digits", replaced(COUNT, b'"iterationCount" : ' + b"9" * 5000),
     "of 5000 digits"),
    ("count missing", edited(lambda root: root.pop("epochCount")), "'epochCount' is missing"),
    ("type", at_top(dataType="HALF"), "dataType: HALF parameters are not supported"),
    ("type contradicts", at_top(dataType="DOUBLE"), "holds FLOAT values, but .* DOUBLE"),
    ("no layers", at_top(confs=[]), "no layer has parameters"),
    ("confs no array", at_top(confs={}), "confs: expected an array, got an object"),
    ("nin zero", in_layer(nin=0), r"confs\[0\].layer.nin: expected an integer from 1"),
    ("nin negative", in_layer(nin=-4), "got -4"),
    ("nin text", in_layer(nin="4"), "nin: expected an integer, got '4'"),
    ("nin null", in_layer(nin=None), "'nin' is missing"),
    ("nin too small", in_layer(nin=3), "the model needs 59 values"),
    ("nin too large", in_layer(nin=5), "the model needs 75 values"),
    ("shape that overflows", in_layer(nin=2**31 - 1, nout=2**31 - 1), "more than max_bytes"),
    ("huge model", in_layer(nin=2**24), "needs 1610613156 bytes"),
    ("layer kind", in_layer(**{"@class": f"{LAYERS}PReLULayer"}),
     "layers of kind PReLULayer are not supported; .* DenseLayer"),
    ("layer of another package", in_layer(**{"@class": "com.evil.DenseLayer"}),
     "com.evil.DenseLayer is not a class of org.deeplearning4j.nn.conf.layers"),
    ("old layer", edited(lambda root: root["confs"][0].update(layer={"dense": {}})),
     "'@class' is missing: only models saved by DL4J 1.0"),
    ("layer missing", in_conf(layer=None), "'layer' is missing"),
    ("frozen nothing", in_layer(**{"@class": f"{LAYERS}misc.FrozenLayer"}), "'layer' is missing"),
    ("other variables", in_conf(variables=["b", "W"]), "expected W, b, .* got b, W"),
    ("variables missing", in_conf(variables=None), "'variables' is missing"),
    ("hidden variables", in_conf(variables=[]), "the model needs 27 values"),
    ("no bias", in_layer(hasBias=False), "expected W, the parameters of this DenseLayer"),
    ("layer norm", in_layer(hasLayerNorm=True), "layer normalisation .* is not supported"),
    ("constraints", in_layer(constraints=[{"@class": "MaxNorm"}]), "constraints on parameters"),
    ("L-BFGS", in_conf(optimizationAlgo="LBFGS"), "LBFGS is not supported"),
    ("maximise", in_conf(minimize=False), "maximises its score"),
    ("step function", in_conf(stepFunction={"@class": "x.GradientStepFunction"}), "step functions"),
    ("mixed miniBatch", in_conf(miniBatch=False), "some layers have miniBatch true"),
    ("miniBatch no flag", in_conf(miniBatch="yes"), "expected true or false, got 'yes'"),
    ("strategy", in_layer(gradientNormalization="ClipEverything"),
     r'layer\.gradientNormalization: .*expected one of "None"'),
    ("our own strategy", in_layer(gradientNormalization="ClipL2Global"),
     'layer "0".* is for the network only'),
    ("threshold", in_layer(gradientNormalizationThreshold="NaN"), "expected a number, got 'NaN'"),
    ("threshold negative", in_layer(gradientNormalizationThreshold=-1),
     'layer "0": gradient_normalization_threshold: .* got -1'),
    ("no updater", in_layer(iupdater=None), "'iupdater' is missing"),
    ("updater", in_layer(iupdater={"@class": "org.nd4j.linalg.learning.config.Lion"}),
     "the updater Lion is not known; known are AMSGrad"),
    ("own updater", in_layer(iupdater={"@class": "com.acme.Adam"}), "com.acme.Adam is not a class"),
    ("updater field", in_updater(amsgrad=True), "Adam has a field 'amsgrad'"),
    ("rate missing", in_updater(learningRate=None), "'learningRate' is missing"),
    ("rate NaN without schedule", in_updater(learningRate="NaN"), "expected a number, got 'NaN'"),
    ("rate infinite", replaced(b'"learningRate" : 0.02', b'"learningRate" : 1e999'),
     "learningRate: expected a finite number"),
    ("rate too large for a double", in_updater(learningRate=10**400), "double can hold"),
    ("beta1 of 1.5", in_updater(beta1=1.5), "iupdater: Adam: beta1: .* got 1.5"),
    ("beta1 missing", in_updater(beta1=None), "'beta1' is missing"),
    ("schedule", with_schedule("WildSchedule"), "the schedule WildSchedule is not known"),
    ("schedule field", with_schedule("ExponentialSchedule", initialValue=1, gamma=1, wild=1),
     "has a field 'wild'"),
    ("schedule type", with_schedule("ExponentialSchedule", initialValue=1, gamma=1,
                                    scheduleType="HOURLY"), '"EPOCH", got "HOURLY"'),
    ("schedule without its fields", in_updater(learningRateSchedule={
        "@class": "org.nd4j.linalg.schedule.RampSchedule"}), "'baseSchedule' is missing"),
    ("poly to 0", with_schedule("PolySchedule", initialValue=1, power=1, maxIter=0),
     "PolySchedule: max_iter: expected an integer >= 1, got 0"),
    ("cycle of text", with_schedule("CycleSchedule", initialLearningRate=1, maxLearningRate=2,
                                    cycleLength="x", annealingLength=3, annealingDecay=0.1),
     "cycleLength: expected an integer, got 'x'"),
    ("map key", with_schedule("MapSchedule", values={"-1": 0.1}), "'-1' is not an iteration"),
    ("map key too long", with_schedule("MapSchedule", values={"9" * 30: 0.1}), "not an iteration"),
    ("map without 0", with_schedule("MapSchedule", values={"3": 0.1}), "expected key 0"),
    ("ramps in ramps", in_updater(learningRateSchedule=ramps(60)), "ramps inside ramps"),
    ("regularisation", regularised("L3Regularization", l3=FIXED), "expected one of L1.*, got L3"),
    ("regularisation negative", regularised("L2Regularization", l2={**FIXED, "value": -1}),
     "expected a coefficient >= 0, got -1"),
    ("regularisation by schedule", regularised("L2Regularization", l2=schedule("StepSchedule")),
     "L2Regularization that follows a StepSchedule is not supported"),
    ("regularisation missing", edited(
        lambda root: root["confs"][0]["layer"].pop("regularization")),
     "'regularization' is missing: models saved before DL4J 1.0.0-beta4"),
    ("decays that differ", in_layer(regularization=[
        {"@class": "org.nd4j.linalg.learning.regularization.WeightDecay", "applyLR": flag,
         "coeff": FIXED} for flag in (True, False)]), "beside one that does not"),
    ("unknown state", edited(lambda root: [conf["layer"].update(iupdater={
        "@class": "org.nd4j.linalg.learning.config.Sgd", "learningRate": 0.1,
    }) for conf in root["confs"]]), "none of the model's updaters has a state"),
    ("order without a vertex", in_graph(topologicalOrderStr=["in", "right", "merge", "out"]),
     "does not name each vertex once"),
    ("order with a vertex twice", in_graph(topologicalOrderStr=[
        "in", "left_branch", "right", "merge", "out", "out"]), "does not name each vertex once"),
    ("order with a stranger", in_graph(topologicalOrderStr=[
        "in", "left_branch", "right", "merge", "out", "x"]), "does not name each vertex once"),
    ("no inputs", in_graph(networkInputs=None), "'networkInputs' is missing"),
    ("vertex with parameters", edited(lambda root: (
        root["vertices"]["merge"].update({"@class": f"{VERTICES}AttentionVertex"}),
        root["defaultConfiguration"]["variables"].append("merge_Wq")), GRAPH),
     r"vertex 'merge' \(AttentionVertex\) has parameters"),
    ("variables of the graph", edited(
        lambda root: root["defaultConfiguration"]["variables"].pop(), GRAPH),
     "does not name each parameter"),
]  # fmt: skip
CASES = [HostileCase(*case) for case in CONTAINERS + ARRAYS + CONFIGURATIONS]
