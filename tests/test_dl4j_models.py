"""DL4J's saved models: continuing them, writing them back, and refusing files that lie.

`FLATSTEP_DL4J_ZIPS=DIR pytest tests/test_dl4j_models.py` continues the zips of DIR, each with a
.json of the same name beside it (goldens/zips/README.md describes them).
"""

from __future__ import annotations

import copy
import json
import os
import re
import runpy
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dl4j_hostile import CASES as HOSTILE
from dl4j_hostile import HostileCase
from dl4j_zips import (
    ADAM,
    BATCH_NORM,
    COEFFICIENTS,
    CONFIGURATION,
    DOUBLE,
    FIXED,
    GRAPH,
    MLP,
    OWN,
    STATE,
    edit_json,
    make_array,
    make_zip,
    read_entries,
    schedule,
    zip_of_case,
)
from golden_cases import TOLERANCES, GoldenCase, assert_close, load_cases
from hypothesis import given
from hypothesis import strategies as st

import flatstep as fs

FOLDER = Path(os.environ.get("FLATSTEP_DL4J_ZIPS", OWN))
ZIPS = sorted(FOLDER.glob("*.zip"))
GOLDEN_CASES = [case for case in load_cases() if case.raw["semantics"] == "dl4j-1.0"]

every_zip = pytest.mark.parametrize("path", ZIPS, ids=lambda path: path.stem)


def recorded(path: Path) -> dict[str, Any]:
    """The run that followed the zip, as DL4J did it."""
    found: dict[str, Any] = json.loads(path.with_suffix(".json").read_bytes())
    return found


def split(model: fs.DL4JModel, flat: Any) -> dict[str, Any]:
    """A flat array as arrays like the model's parameters."""
    found = {}
    offset = 0
    for key, param in model.params.items():
        order = "C" if param.flags.c_contiguous else "F"
        found[key] = flat[offset : offset + param.size].reshape(param.shape, order=order)
        offset += param.size
    assert offset == flat.size
    return found


def gradients(model: fs.DL4JModel, run: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    """The recorded gradients of a step, but for frozen layers."""
    found = split(model, np.array(step["gradient"], run["dtype"]))
    frozen = {slot.key for slot in model.updater().layout if model.layers[slot.layer].frozen}
    return {key: gradient for key, gradient in found.items() if key not in frozen}


def states(model: fs.DL4JModel, flat: Any) -> dict[tuple[str, str], Any]:
    """The state arrays of a flat state view by key and name."""
    updater = model.updater().clone()
    updater.state_view[...] = flat
    return {
        (key, name): np.array(array)
        for key in model.params
        for name, array in updater.state(key).items()
    }


def take_steps(model: fs.DL4JModel, run: dict[str, Any], steps: slice = slice(None)) -> None:
    """The recorded steps, in place."""
    updater = model.updater()
    for step in run["steps"][steps]:
        updater.epoch = step["epoch"]
        updater.step(gradients(model, run, step), batch_size=step["batch_size"])


def load_bytes(data: bytes, folder: Path, **options: Any) -> fs.DL4JModel:
    path = folder / "model.zip"
    path.write_bytes(data)
    return fs.load_dl4j(path, **options)


# --------------------------------------------------------------------------------------- continuing


def test_there_are_zips_to_continue() -> None:
    assert ZIPS, f"no zips in {FOLDER}"


@every_zip
def test_loads_what_was_saved(path: Path) -> None:
    model, run = fs.load_dl4j(path), recorded(path)
    dtype = np.dtype(run["dtype"])
    assert model.flat_params.dtype == dtype
    np.testing.assert_array_equal(model.flat_params, np.array(run["params"], dtype))
    state = [] if model.updater_state is None else model.updater_state
    np.testing.assert_array_equal(state, np.array(run["state"], dtype))
    assert (model.iteration, model.epoch) == (run["iteration"], run["epoch"])
    for array in model.params.values():
        assert np.shares_memory(array, model.flat_params)
        assert array.flags.writeable


@every_zip
def test_continues_the_run(path: Path) -> None:
    """`update`, applied here as DL4J's solver does, and `step` follow the recorded run."""
    run = recorded(path)
    tolerance = TOLERANCES[run["dtype"]]
    updating, stepping = fs.load_dl4j(path), fs.load_dl4j(path)
    for step in run["steps"]:
        for model in (updating, stepping):
            assert model.updater().iteration == step["iteration"]
            model.updater().epoch = step["epoch"]
        stepping.updater().step(gradients(stepping, run, step), batch_size=step["batch_size"])
        updates = gradients(updating, run, step)
        updating.updater().update(updates, batch_size=step["batch_size"])
        expected_updates = split(updating, np.array(step["update"]))
        expected_params = split(updating, np.array(step["params"]))
        for key, update in updates.items():
            updating.params[key] -= update
            where = f"{key} after iteration {step['iteration']}"
            assert_close(update, expected_updates[key], tolerance, f"the update of {where}")
            for model in (updating, stepping):
                assert_close(model.params[key], expected_params[key], tolerance, where)
    for model in (updating, stepping):
        found = states(model, model.updater().state_view)
        for place, expected in states(model, np.array(run["final_state"])).items():
            assert_close(found[place], expected, tolerance, f"state {place}")


def test_names_shapes_orders_and_settings() -> None:
    model = fs.load_dl4j(GRAPH)
    assert model.network == "ComputationGraph"
    assert isinstance(model.updater(), fs.ComputationGraphUpdater)
    shapes = {key: array.shape for key, array in model.params.items()}
    assert shapes == {
        "left_branch_W": (4, 5),
        "left_branch_b": (5,),
        "right_W": (4, 5),
        "right_b": (5,),
        "out_W": (10, 3),
        "out_b": (3,),
    }
    assert all(array.flags.f_contiguous for array in model.params.values())
    right = model.layers["right"]
    assert (right.kind, right.frozen, right.params) == ("DenseLayer", False, ("W", "b"))
    assert right.settings["activationFn"]["@class"].endswith(".ActivationTanH")
    assert model.configuration == fs.MultiLayerConfiguration(
        layers={
            name: fs.LayerConfiguration(
                kind=kind,
                updater=updater,
                gradient_normalization="ClipElementWiseAbsoluteValue",
                gradient_normalization_threshold=0.1,
            )
            for name, kind, updater in [
                ("left_branch", "DenseLayer", fs.Nadam(0.02)),
                ("right", "DenseLayer", fs.AdaMax(0.02)),
                ("out", "OutputLayer", fs.Nadam(0.02)),
            ]
        }
    )
    assert "83 parameters (float32), iteration 35, epoch 2" in repr(model)


def test_schedules_bias_updaters_and_regularisation_are_resolved() -> None:
    layer = fs.load_dl4j(DOUBLE).configuration.layers["0"]
    assert layer == fs.LayerConfiguration(
        kind="DenseLayer",
        updater=fs.Nesterovs(fs.StepSchedule(0.1, 0.5, 1.0, schedule_type="EPOCH"), momentum=0.9),
        bias_updater=fs.Sgd(0.05),
        weight_decay=0.002,  # two entries of 0.001 add up
    )


def test_the_updater_is_one_object_on_the_models_parameters() -> None:
    model = fs.load_dl4j(MLP)
    updater = model.updater()
    assert model.updater() is updater
    assert all(np.shares_memory(updater.parameters[key], a) for key, a in model.params.items())


@pytest.mark.parametrize("case", GOLDEN_CASES, ids=lambda case: case.name)
def test_continues_a_golden_case_from_a_zip(case: GoldenCase, tmp_path: Path) -> None:
    """Every layer kind, updater, schedule and regularisation, as DL4J's own JSON."""
    model = load_bytes(zip_of_case(case), tmp_path)
    updater = model.updater()
    layout = [(s["key"], tuple(s["shape"]), s["order"]) for s in case.layout]
    assert list(model.params) == [key for key, _, _ in layout]
    for key, shape, order in layout:
        assert model.params[key].shape == shape
        assert model.params[key].flags[f"{order.upper()}_CONTIGUOUS"]
    for index, step in enumerate(case.steps):
        assert updater.iteration == step.iteration
        updater.epoch = step.epoch
        gradients = split(model, case.array("gradient")[index].copy())
        updates = {key: g for key, g in gradients.items() if key not in step.absent}
        updater.update(updates, batch_size=step.batch_size)
        expected = split(model, case.array("update")[index].astype(np.float64))
        for key, update in updates.items():
            model.params[key][...] -= update
            assert_close(update, expected[key], case.tolerance, f"{key}, {step.iteration}")
    found = states(model, updater.state_view)
    for place, array in states(model, case.array("final_state")).items():
        assert_close(found[place], array, case.tolerance, f"state {place}")


# ------------------------------------------------------------------------------------- writing back


def without_counts(content: bytes) -> bytes:
    """configuration.json as DL4J indents it, but for the top-level counts."""
    return re.sub(rb'(?m)^  "(iterationCount|epochCount)" : \d+', b"", content)


@every_zip
def test_saving_an_untouched_model_changes_no_content(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.zip"
    fs.save_dl4j(copy, fs.load_dl4j(path))
    assert list(read_entries(copy).items()) == list(read_entries(path).items())


@every_zip
def test_saving_changes_coefficients_state_and_counts_only(path: Path, tmp_path: Path) -> None:
    model, run = fs.load_dl4j(path), recorded(path)
    take_steps(model, run)
    saved = tmp_path / "saved.zip"
    fs.save_dl4j(saved, model)
    before, after = read_entries(path), read_entries(saved)
    assert list(after) == list(before)
    assert without_counts(after[CONFIGURATION]) == without_counts(before[CONFIGURATION])
    counts = json.loads(after[CONFIGURATION])
    assert counts["iterationCount"] == run["steps"][-1]["iteration"] + 1
    assert counts["epochCount"] == run["steps"][-1]["epoch"]
    arrays = {COEFFICIENTS: model.flat_params, STATE: model.updater().state_view}
    for name in before.keys() & arrays.keys():
        values = arrays[name]
        big_endian = values.astype(values.dtype.newbyteorder(">")).tobytes()
        header = len(before[name]) - len(big_endian)
        assert after[name] == before[name][:header] + big_endian
        assert after[name] != before[name]
    with zipfile.ZipFile(saved) as file:
        assert file.testzip() is None


@every_zip
def test_a_saved_run_goes_on_bit_for_bit(path: Path, tmp_path: Path) -> None:
    run = recorded(path)
    whole = fs.load_dl4j(path)
    take_steps(whole, run)
    first = fs.load_dl4j(path)
    take_steps(first, run, slice(3))
    fs.save_dl4j(tmp_path / "half.zip", first)
    second = fs.load_dl4j(tmp_path / "half.zip")
    take_steps(second, run, slice(3, None))
    assert second.flat_params.tobytes() == whole.flat_params.tobytes()
    assert second.updater() == whole.updater()


def test_other_entries_are_copied_as_they_lie_in_the_file(tmp_path: Path) -> None:
    """None is opened: deflated, stored, a folder, one with an extra field and a comment."""
    path, saved = tmp_path / "model.zip", tmp_path / "saved.zip"
    path.write_bytes(MLP.read_bytes())
    extra = zipfile.ZipInfo("objects/labels", (2020, 1, 2, 3, 4, 6))
    extra.comment, extra.extra = b"a comment", struct.pack("<2H3s", 0x7777, 3, b"abc")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("normalizer.bin", bytes(range(256)) * 8, zipfile.ZIP_DEFLATED, 9)
        file.writestr(extra, b"stored", zipfile.ZIP_STORED)
        file.writestr("objects/", b"")
    raw = path.read_bytes()
    start = raw.index(b"PK\x03\x04", raw.index(b"normalizer.bin") - 40)
    others = raw[start : raw.index(b"PK\x01\x02")]
    model = fs.load_dl4j(path)
    take_steps(model, recorded(MLP))
    fs.save_dl4j(saved, model)
    assert others in saved.read_bytes()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(saved) as new:
        assert new.namelist() == old.namelist()
        for name in ("normalizer.bin", "objects/labels", "objects/"):
            assert new.read(name) == old.read(name)
            for attribute in ("date_time", "comment", "extra", "compress_type", "external_attr"):
                assert getattr(new.getinfo(name), attribute) == getattr(
                    old.getinfo(name), attribute
                )
        assert new.testzip() is None


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda value: json.dumps(value, separators=(",", ":")).encode(), id="compact"),
        pytest.param(lambda value: json.dumps(value, indent="\t").encode(), id="tabs"),
        pytest.param(
            lambda value: json.dumps(
                {"note": '"iterationCount" : 7, {[\\', "nested": {"epochCount": 9}, **value}
            ).encode(),
            id="decoys",
        ),
        pytest.param(
            lambda value: json.dumps(value).replace("iterationC", "iteration\\u0043").encode(),
            id="escaped key",
        ),
        pytest.param(
            lambda value: json.dumps(dict(reversed(list(value.items())))).encode(), id="reversed"
        ),
    ],
)
def test_counts_are_found_in_any_json(write: Callable[[Any], bytes], tmp_path: Path) -> None:
    entries = read_entries(MLP)
    before = write(json.loads(entries[CONFIGURATION]))
    model = load_bytes(make_zip({**entries, CONFIGURATION: before}), tmp_path)
    model.updater().iteration, model.updater().epoch = 123456, 789
    fs.save_dl4j(tmp_path / "model.zip", model)
    after = read_entries(tmp_path / "model.zip")[CONFIGURATION]
    expected = json.loads(before) | {"iterationCount": 123456, "epochCount": 789}
    assert json.loads(after) == expected
    # Four digits more for the iteration, two for the epoch; all else is where it was.
    assert len(after) == len(before) + 6
    assert after.replace(b"123456", b"40").replace(b"789", b"2") == before


def test_a_model_without_state_is_saved_without(tmp_path: Path) -> None:
    entries = read_entries(MLP)
    del entries[STATE]

    def use_sgd(configuration: Any) -> None:
        for conf in configuration["confs"]:
            conf["layer"]["iupdater"] = {
                "@class": "org.nd4j.linalg.learning.config.Sgd",
                "learningRate": 0.1,
            }

    model = load_bytes(make_zip(edit_json(entries, use_sgd)), tmp_path)
    assert model.updater_state is None
    take_steps(model, recorded(MLP))
    fs.save_dl4j(tmp_path / "saved.zip", model)
    assert STATE not in read_entries(tmp_path / "saved.zip")


def test_a_model_saved_without_its_state_starts_afresh_and_is_saved_with_it(
    tmp_path: Path,
) -> None:
    entries = read_entries(MLP)
    with_state = entries.pop(STATE)
    model = load_bytes(make_zip(entries), tmp_path)
    assert model.updater_state is None
    assert not model.updater().state_view.any()
    take_steps(model, recorded(MLP))
    fs.save_dl4j(tmp_path / "saved.zip", model)
    saved = read_entries(tmp_path / "saved.zip")
    assert list(saved) == [CONFIGURATION, COEFFICIENTS, STATE]
    assert saved[STATE] == make_array(model.updater().state_view)
    assert len(saved[STATE]) == len(with_state)


def test_an_updater_on_other_arrays_can_be_saved(tmp_path: Path) -> None:
    model = fs.load_dl4j(MLP)
    average = {key: np.array(array, order="K") for key, array in model.params.items()}
    updater = model.updater().clone(average)
    average["1_b"][...] = 7
    updater.iteration = 1000
    fs.save_dl4j(tmp_path / "saved.zip", model, updater)
    saved = fs.load_dl4j(tmp_path / "saved.zip")
    np.testing.assert_array_equal(saved.params["1_b"], [7, 7, 7])
    assert saved.iteration == 1000


def test_refuses_to_save_what_the_zip_cannot_say(tmp_path: Path) -> None:
    path = tmp_path / "saved.zip"
    model = fs.load_dl4j(MLP)
    other = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=fs.Adam()), model.params)
    with pytest.raises(fs.DL4JModelError, match=r"configuration is not the model's.*updater\(\)"):
        fs.save_dl4j(path, model, other)
    c_order = {key: np.ascontiguousarray(array) for key, array in model.params.items()}
    reordered = fs.MultiLayerUpdater(model.configuration, c_order)
    with pytest.raises(fs.DL4JModelError, match=r"'0_W' of the updater: expected .* order 'F'"):
        fs.save_dl4j(path, model, reordered)
    fewer = dict(list(model.params.items())[:-1])
    with pytest.raises(fs.DL4JModelError, match="other keys"):
        fs.save_dl4j(path, model, fs.MultiLayerUpdater(model.configuration, fewer))
    model.updater().iteration = 2**31
    with pytest.raises(fs.DL4JModelError, match="32 bits"):
        fs.save_dl4j(path, model)
    model.updater().iteration = 40
    model.updater().set_learning_rate(1e-5, layer="1")
    with pytest.raises(fs.DL4JModelError, match=r"rate of 1_W, 1_b was set by set_learning_rate"):
        fs.save_dl4j(path, model)
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(MLP.read_bytes())
    model = fs.load_dl4j(path)
    take_steps(model, recorded(MLP))

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    for place in ("os.fsync", "os.replace"):
        with monkeypatch.context() as patched:
            patched.setattr(place, fail)
            with pytest.raises(OSError, match="disk full"):
                fs.save_dl4j(path, model)
        assert path.read_bytes() == MLP.read_bytes()
        assert list(tmp_path.iterdir()) == [path]
    fs.save_dl4j(path, model)
    assert path.read_bytes() != MLP.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="permissions and links are POSIX's here")
def test_saving_keeps_permissions_and_follows_links(tmp_path: Path) -> None:
    path, link = tmp_path / "model.zip", tmp_path / "latest.zip"
    path.write_bytes(MLP.read_bytes())
    path.chmod(0o640)
    link.symlink_to(path.name)
    model = fs.load_dl4j(link)
    take_steps(model, recorded(MLP))
    fs.save_dl4j(link, model)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert fs.load_dl4j(path).iteration == 46


# -------------------------------------------------------------------------------------- the example


EXAMPLE = Path(__file__).parent.parent / "examples" / "continue_dl4j.py"


def run_example(*arguments: str | Path) -> None:
    pytest.importorskip("sklearn")
    runpy.run_path(str(EXAMPLE))["main"]([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("path", "tolerance"), [(DOUBLE, 1e-12), (MLP, 1e-4)], ids=["double", "float"]
)
def test_the_example_lands_where_dl4j_did(path: Path, tolerance: float, tmp_path: Path) -> None:
    """Its own forward and backward pass: in float, sums are rounded otherwise than in DL4J."""
    run = recorded(path)
    saved = tmp_path / "continued.zip"
    run_example(path, "--steps", str(len(run["steps"])), "--output", saved)
    model = fs.load_dl4j(saved)
    expected = split(model, np.array(run["steps"][-1]["params"]))
    for key, array in model.params.items():
        assert_close(array, expected[key], tolerance, key)
    assert model.iteration == run["steps"][-1]["iteration"] + 1


def test_the_example_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "continued.zip"
    run_example("--output", saved)
    report = capsys.readouterr().out
    assert f"wrote {saved}" in report
    scores = [float(score) for score in re.findall(r"score (\d\.\d+)", report)]
    assert len(scores) == 5
    assert scores[-1] < 0.5 * scores[0]


# ----------------------------------------------------------------------------------------- refusing


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_refuses(case: HostileCase, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(case.make())
    tracemalloc.start()
    try:
        with pytest.raises(fs.DL4JModelError, match=case.match) as caught:
            fs.load_dl4j(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 1000
    assert peak < 24 << 20


def test_a_limit_on_memory_can_be_set() -> None:
    needed = (67 + 134) * 4
    assert fs.load_dl4j(MLP, max_bytes=needed).iteration == 40
    with pytest.raises(fs.DL4JModelError, match=f"needs {needed} bytes .* max_bytes={needed - 1}"):
        fs.load_dl4j(MLP, max_bytes=needed - 1)


def test_entries_that_are_only_carried_count_towards_the_limit(tmp_path: Path) -> None:
    data = make_zip(read_entries(MLP) | {"normalizer.bin": bytes(5000)}, zipfile.ZIP_STORED)
    with pytest.raises(fs.DL4JModelError, match="max_bytes=5000"):
        load_bytes(data, tmp_path, max_bytes=5000)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fs.load_dl4j(tmp_path / "no.zip")


# ------------------------------------------------------------------------------------------ fuzzing

WELL_FORMED = [MLP, DOUBLE, GRAPH, BATCH_NORM]


def assert_loads_or_is_refused(data: bytes, folder: Path) -> None:
    """Nothing but a DL4JModelError; and what loads has a working updater."""
    try:
        model = load_bytes(data, folder, max_bytes=1 << 20)
    except fs.DL4JModelError:
        return
    updater = model.updater()
    assert updater.state_view.nbytes <= 1 << 20
    zeros = {key: np.zeros_like(array) for key, array in model.params.items()}
    updater.step(zeros)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@given(path=st.sampled_from(WELL_FORMED), data=st.data())
def test_random_damage_to_the_file(path: Path, data: st.DataObject, folder: Path) -> None:
    content = bytearray(path.read_bytes())
    place = st.integers(0, len(content) - 1)
    for at, value in data.draw(st.lists(st.tuples(place, st.integers(1, 255)), max_size=8)):
        content[at] ^= value
    start, end = sorted(data.draw(st.tuples(place, place)))
    damage = data.draw(st.sampled_from(["none", "truncate", "cut", "repeat"]))
    if damage == "truncate":
        del content[start:]
    elif damage == "cut":
        del content[start:end]
    elif damage == "repeat":
        content[start:start] = content[start:end]
    assert_loads_or_is_refused(bytes(content), folder)


@given(path=st.sampled_from(WELL_FORMED), data=st.data())
def test_random_damage_to_an_entry(path: Path, data: st.DataObject, folder: Path) -> None:
    """Behind a right checksum, where the damage reaches the parsers."""
    entries = read_entries(path)
    name = data.draw(st.sampled_from(list(entries)))
    content = bytearray(entries[name])
    limit = len(content) if name == CONFIGURATION else 130
    place = st.integers(0, limit - 1)
    for at, value in data.draw(st.lists(st.tuples(place, st.integers(1, 255)), max_size=4)):
        content[at] ^= value
    if data.draw(st.booleans()):
        del content[data.draw(place) :]
    assert_loads_or_is_refused(make_zip(entries | {name: bytes(content)}), folder)


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value in a JSON document, but the document itself."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield (*place, key)
        yield from leaves(inner, (*place, key))


ODD_NUMBERS = [0, -1, 1, 2, 0.5, -0.0, 1e308, 2**31, 2**63, 10**30]
ODD_OBJECTS = [[], {}, [None], ["W"], {"@class": None}, {"@class": "x"}, FIXED, ADAM]
ODD_SCHEDULE = schedule("StepSchedule", initialValue=-1, decayRate=0, step=0)
odd_values = st.sampled_from(
    [None, True, False, "", "NaN", "x" * 300, *ODD_NUMBERS, *ODD_OBJECTS, ODD_SCHEDULE]
)


@given(path=st.sampled_from(WELL_FORMED), data=st.data())
def test_odd_values_anywhere_in_the_configuration(
    path: Path, data: st.DataObject, folder: Path
) -> None:
    def spoil(root: Any) -> None:
        for _ in range(data.draw(st.integers(1, 3))):
            *place, last = data.draw(st.sampled_from(list(leaves(root))))
            inner = root
            for key in place:
                inner = inner[key]
            if data.draw(st.booleans()):
                inner[last] = copy.deepcopy(data.draw(odd_values))
            else:
                del inner[last]

    assert_loads_or_is_refused(make_zip(edit_json(read_entries(path), spoil)), folder)
