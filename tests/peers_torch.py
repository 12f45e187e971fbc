"""The presets of torch.optim against torch.optim itself, and its own list of configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from peers import (
    MATRICES,
    STEPS,
    Row,
    compare,
    differs,
    gradients,
    parameters,
    peer,
    rates,
    schedule,
)

import flatstep as fs

torch = peer("torch")
torch.set_num_threads(1)

CLIP = (1.0,)
BETAS = ((0.8, 0.95), (0.0, 0.5))
ADAM: Mapping[str, Any] = {
    "betas": BETAS,
    "eps": (1e-3,),
    "weight_decay": (0.1,),
    "amsgrad": (True,),
    "maximize": (True,),
    "clip_norm": CLIP,
}


def sgd_takes(options: Mapping[str, Any]) -> bool:
    momentum = bool(options.get("momentum"))
    return not options.get("nesterov") or (momentum and not options.get("dampening"))


ROWS = (
    Row(
        "SGD",
        {
            "momentum": (0.9, 0.5),
            "dampening": (0.5,),
            "weight_decay": (0.1,),
            "maximize": (True,),
            "clip_norm": CLIP,
        },
    ),
    Row(
        "SGD",
        {
            "nesterov": (True,),
            "weight_decay": (0.1,),
            "maximize": (True,),
            "clip_norm": CLIP,
        },
        always={"momentum": 0.9},
    ),
    Row("Adam", {**ADAM, "decoupled_weight_decay": (True,)}),
    Row("AdamW", ADAM),
    Row("Adamax", {name: value for name, value in ADAM.items() if name != "amsgrad"}),
    Row(
        "NAdam",
        {
            "betas": BETAS,
            "eps": (1e-3,),
            "weight_decay": (0.1,),
            "momentum_decay": (0.01,),
            "decoupled_weight_decay": (True,),
            "maximize": (True,),
            "clip_norm": CLIP,
        },
    ),
    Row(
        "RAdam",
        {
            "betas": ((0.8, 0.95), (0.5, 0.99)),
            "eps": (1e-3,),
            "weight_decay": (0.1,),
            "decoupled_weight_decay": (True,),
            "maximize": (True,),
            "clip_norm": CLIP,
        },
    ),
    Row(
        "RMSprop",
        {
            "alpha": (0.5,),
            "eps": (1e-3,),
            "weight_decay": (0.1,),
            "momentum": (0.9,),
            "centered": (True,),
            "maximize": (True,),
            "clip_norm": CLIP,
        },
    ),
    Row(
        "Adagrad",
        {
            "lr_decay": (0.1,),
            "weight_decay": (0.1,),
            "initial_accumulator_value": (0.1,),
            "eps": (1e-3,),
            "maximize": (True,),
            "clip_norm": CLIP,
        },
    ),
    Row(
        "Adadelta",
        {
            "rho": (0.5,),
            "eps": (1e-4,),  # a larger one makes steps, and what rounding does to them, grow
            "weight_decay": (0.1,),
            "maximize": (True,),
            "clip_norm": CLIP,
        },
        base=1.0,
    ),
    Row(
        "ASGD",
        {
            "lambd": (0.1,),
            "alpha": (0.5,),
            "t0": (20.0,),
            "weight_decay": (0.1,),
            "maximize": (True,),
            "clip_norm": CLIP,
        },
    ),
    Row(
        "Rprop",
        {
            "etas": ((0.6, 1.1),),
            "step_sizes": ((1e-3, 0.05), (0.02, 0.03)),
            "maximize": (True,),
            "clip_norm": CLIP,
        },
    ),
    Row(
        "Adafactor",
        {
            "beta2_decay": (-1.0,),
            "eps": ((1e-6, 1e-2), (None, 0.5)),
            "d": (1.5,),
            "weight_decay": (0.1,),
            "maximize": (True,),
            "clip_norm": CLIP,
        },
        base=0.3,
    ),
)


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    """Without it PyTorch keeps some numbers, such as NAdam's product, in float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def torch_steps(
    name: str,
    options: Mapping[str, Any],
    lrs: list[float] | None,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: Any = np.float64,
) -> list[dict[str, Any]]:
    """The parameters after each step of torch's own."""
    options = dict(options)
    clip = options.pop("clip_norm", None)
    params = {key: torch.tensor(a) for key, a in parameters(shapes, dtype).items()}
    for param in params.values():
        param.requires_grad_(True)
    optimizer = getattr(torch.optim, name)(params.values(), **options)
    after = []
    for step, given in enumerate(gradients(shapes, dtype)):
        for key, param in params.items():
            param.grad = torch.tensor(given[key])
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(params.values(), clip)
        if lrs is not None:
            optimizer.param_groups[0]["lr"] = lrs[step]
        optimizer.step()
        after.append({key: param.detach().numpy().copy() for key, param in params.items()})
    return after


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_option_alone_and_in_pairs(row: Row) -> None:
    assert row.base is not None
    base = row.base

    def run(options: dict[str, Any]) -> Any:
        configuration = getattr(fs.presets.torch, row.name)(lr=schedule(base), **options)
        return configuration, torch_steps(row.name, options, rates(base), row.shapes)

    assert compare(row, run) > 5


def optim_db() -> list[Any]:
    """Torch's own list of configurations, of the classes that there are presets for."""
    common = pytest.importorskip(
        "torch.testing._internal.common_optimizers",
        reason="not installed: expecttest, which torch's own tests import",
    )
    found = []
    for info in common.optim_db:
        name = info.optim_cls.__name__
        if name in ("LBFGS", "SparseAdam"):
            continue
        for entry in info.optim_inputs_func(torch.device("cpu")):
            found.append(pytest.param(name, entry.kwargs, id=f"{name}-{entry.desc}"))
    return found


@pytest.mark.parametrize(("name", "kwargs"), optim_db())
def test_torchs_own_configurations(name: str, kwargs: dict[str, Any]) -> None:
    shapes = MATRICES if name == "Muon" else Row(name).shapes
    expected = torch_steps(name, kwargs, None, shapes)
    configuration = getattr(fs.presets.torch, name)(**kwargs)
    difference = differs(configuration, expected, gradients(shapes), shapes)
    assert difference <= (MUON if name == "Muon" else 1e-12)


def test_there_are_as_many_as_there_were() -> None:
    assert len(optim_db()) == 82


#: Of the parameters' largest; the iteration in bfloat16 is off by less than 1 % of each step.
MUON = 5e-3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"adjust_lr_fn": "original", "weight_decay": 0.0},
        {"adjust_lr_fn": "match_rms_adamw", "momentum": 0.5},
        {"nesterov": False, "ns_steps": 6},
        {"ns_coefficients": (3.4, -4.7, 2.0), "clip_norm": 1.0},
    ],
    ids=str,
)
def test_muon_is_what_bfloat16_allows(options: dict[str, Any]) -> None:
    expected = torch_steps("Muon", options, rates(0.01), MATRICES)
    configuration = fs.presets.torch.Muon(lr=schedule(0.01), **options)
    moved = max(
        float(np.abs(expected[-1][key] - start).max())
        for key, start in parameters(MATRICES).items()
    )
    assert differs(configuration, expected, gradients(MATRICES), MATRICES) <= MUON
    assert moved > 20 * MUON


def test_muon_takes_matrices_only() -> None:
    with pytest.raises(ValueError, match="expected matrices only, got a parameter of shape"):
        fs.MultiLayerUpdater(fs.presets.torch.Muon(), {"0_b": np.zeros(3)})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Adam", {"foreach": True}, "presets.torch.Adam: foreach: expected None, got True"),
        ("Adam", {"capturable": True}, "presets.torch.Adam: capturable: expected False"),
        ("SGD", {"fused": False}, "presets.torch.SGD: fused: expected None, got False"),
        ("SGD", {"nesterov": True}, "presets.torch.SGD: nesterov: expected a momentum"),
        ("AdamW", {"betas": (0.9, 1.5)}, r"presets.torch.AdamW: betas\[1\]: expected a number in"),
        ("AdamW", {"eps": -1.0}, "presets.torch.AdamW: eps: expected a finite number >= 0"),
        ("AdamW", {"clip_norm": 0.0}, "presets.torch.AdamW: clip_norm: expected a finite number >"),
        ("Muon", {"adjust_lr_fn": "x"}, "presets.torch.Muon: adjust_lr_fn: expected None"),
        ("Rprop", {"etas": (0.5, 0.9)}, r"presets.torch.Rprop: etas\[1\]: expected a number >= 1"),
    ],
)
def test_what_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(fs.presets.torch, name)(**options)


def test_rates_that_are_functions_are_refused() -> None:
    with pytest.raises(TypeError, match="lr: expected a number or one of flatstep's schedules"):
        fs.presets.torch.Adam(lr=lambda step: 0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "fixed", "moving"),
    [
        ("SGD", {}, lambda momentum: {"momentum": momentum}),
        ("SGD", {"nesterov": True}, lambda momentum: {"momentum": momentum}),
        ("RMSprop", {"centered": True}, lambda momentum: {"momentum": momentum}),
        ("Adam", {}, lambda momentum: {"betas": (momentum, 0.99)}),
        ("Adam", {"amsgrad": True}, lambda momentum: {"betas": (momentum, 0.99)}),
        ("AdamW", {"weight_decay": 0.1}, lambda momentum: {"betas": (momentum, 0.99)}),
        ("Adamax", {}, lambda momentum: {"betas": (momentum, 0.99)}),
        ("RAdam", {}, lambda momentum: {"betas": (momentum, 0.99)}),
    ],
)
def test_a_one_cycle_policy_moves_the_momentum(
    name: str, fixed: Mapping[str, Any], moving: Any
) -> None:
    """OneCycleLR cycles SGD's momentum, and the first decay of Adam and its kin."""
    cycle: Any = {"total_steps": STEPS, "pct_start": 0.4, "three_phase": True}
    rate = fs.OneCycleSchedule(0.05, **cycle)
    config = getattr(fs.presets.torch, name)(lr=rate, **fixed, **moving(rate.momentum(0.7, 0.95)))
    theirs = {key: torch.nn.Parameter(torch.tensor(a)) for key, a in parameters().items()}
    optimizer = getattr(torch.optim, name)(theirs.values(), lr=0.05, **fixed, **moving(0.9))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.05, base_momentum=0.7, max_momentum=0.95, **cycle
    )
    given, expected = gradients(), []
    for step, arrays in enumerate(given):
        for key, parameter in theirs.items():
            parameter.grad = torch.tensor(arrays[key])
        optimizer.step()
        expected.append({key: p.detach().numpy().copy() for key, p in theirs.items()})
        if step + 1 < len(given):
            scheduler.step()
    assert differs(config, expected, given) <= 1e-12


def test_steps() -> None:
    assert len(gradients()) == STEPS
