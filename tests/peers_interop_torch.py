"""`flatstep.interop.torch`, with PyTorch: run by test_peers.py, in a process of its own."""

from __future__ import annotations

import copy
import doctest
import io
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import flatstep as fs
import flatstep.interop.torch as interop
from flatstep.interop.torch import Optimizer

torch.set_num_threads(1)
ADAM = fs.MultiLayerConfiguration(
    updater=fs.Adam(1e-2), gradient_normalization="ClipL2Global", l2=1e-3, l2_bias=1e-3
)


def model_of(seed: int = 0, dtype: Any = torch.float64) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1), torch.nn.Linear(1, 1)
    ).to(dtype)


def data_of(model: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(16, 3, generator=generator, dtype=next(model.parameters()).dtype)


def backward(model: Any) -> Any:
    loss = (model(data_of(model)) - 1).square().mean() + model[2].weight.square().sum()
    loss.backward()
    return loss


def train(model: Any, optimizer: Any, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        backward(model)
        optimizer.step()


def values(model: Any) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in model.parameters()]


def test_docstring() -> None:
    assert doctest.testmod(interop).attempted > 5
    assert doctest.testmod(interop).failed == 0


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (lambda p: torch.optim.Adam(p, 1e-2), fs.presets.torch.Adam(1e-2)),
        (
            lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9, weight_decay=0.1),
            fs.presets.torch.SGD(1e-2, momentum=0.9, weight_decay=0.1),
        ),
        (lambda p: torch.optim.AdamW(p, 1e-2), fs.presets.torch.AdamW(1e-2)),
    ],
    ids=["Adam", "SGD", "AdamW"],
)
@pytest.mark.parametrize(
    "scheduler",
    [
        lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.5),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 30),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda e: 1 / (1 + e)),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.05, 40, cycle_momentum=False),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [
                torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=5),
                torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
            ],
            [5],
        ),
    ],
    ids=["step", "cosine", "lambda", "one cycle", "sequential"],
)
def test_trajectory_under_a_scheduler_is_pytorchs(theirs: Any, ours: Any, scheduler: Any) -> None:
    models = [model_of(), model_of()]
    optimizers = [
        theirs(models[0].parameters()),
        Optimizer(models[1].named_parameters(), ours),
    ]
    schedulers = [scheduler(optimizer) for optimizer in optimizers]
    for _ in range(40):
        for model, optimizer, schedule in zip(models, optimizers, schedulers, strict=True):
            train(model, optimizer, 1)
            schedule.step()
        assert optimizers[0].param_groups[0]["lr"] == optimizers[1].param_groups[0]["lr"]
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_is_an_optimizer_in_the_models_memory() -> None:
    model = model_of(dtype=torch.float32)
    optimizer = Optimizer(model.named_parameters(), ADAM)
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert [slot.key for slot in optimizer.updater.layout][:3] == ["0_weight", "0_bias", "2_weight"]
    for array, tensor in zip(
        optimizer.updater.parameters.values(), model.parameters(), strict=True
    ):
        assert array.ctypes.data == tensor.data_ptr()
    version = model[0].weight._version
    train(model, optimizer, 2)
    assert model[0].weight._version > version
    gradient = model[0].weight.grad.clone()
    backward(model)
    assert not torch.equal(gradient, model[0].weight.grad)
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("average", [None, 0.9])
def test_state_dict_goes_on_bit_for_bit(average: float | None) -> None:
    configuration = fs.MultiLayerConfiguration(
        updater=fs.Adam(fs.CosineSchedule(1e-2, 50)), average_decay=average
    )
    model = model_of()
    optimizer = Optimizer(model.named_parameters(), configuration)
    train(model, optimizer, 5)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    twin = model_of(7)
    twin.load_state_dict(saved["model"])
    other = Optimizer(twin.named_parameters(), configuration)
    other.load_state_dict(saved["optimizer"])
    assert other.updater == optimizer.updater
    for each, taker in ((model, optimizer), (twin, other)):
        train(each, taker, 5)
    assert values(model) == values(twin)
    assert other.updater == optimizer.updater


def test_state_dict_keeps_a_schedulers_rate() -> None:
    model, twin = model_of(), model_of()
    optimizer = Optimizer(model.named_parameters(), ADAM)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for _ in range(3):
        train(model, optimizer, 1)
        schedule.step()
    other = Optimizer(twin.named_parameters(), ADAM)
    twin.load_state_dict(model.state_dict())
    other.load_state_dict(optimizer.state_dict())
    for each, taker in ((model, optimizer), (twin, other)):
        train(each, taker, 2)
    assert values(model) == values(twin)
    assert other.updater.learning_rate("0_weight") == 1e-2 / 8


def test_load_state_dict_refuses_and_changes_nothing() -> None:
    model = model_of()
    optimizer = Optimizer(model.named_parameters(), ADAM)
    train(model, optimizer, 3)
    before = optimizer.updater.clone()
    with pytest.raises(ValueError, match="of a flatstep Optimizer"):
        optimizer.load_state_dict(torch.optim.Adam(model.parameters()).state_dict())
    fewer = optimizer.state_dict()
    del fewer["state"][0]
    with pytest.raises(fs.ParameterKeyError):
        optimizer.load_state_dict(fewer)
    groups = Optimizer([{"params": [p]} for p in model_of().parameters()], ADAM).state_dict()
    groups["state"] = optimizer.state_dict()["state"]
    groups["flatstep"] = {**optimizer.state_dict()["flatstep"], "iteration": 77}
    with pytest.raises(ValueError, match="param"):
        optimizer.load_state_dict(groups)
    assert optimizer.updater == before


def test_a_parameter_without_gradient_is_left_alone() -> None:
    configuration = fs.MultiLayerConfiguration(
        updater=fs.AdamW(1e-2, 0.1), average_decay=0.9, gradient_normalization="ClipL2Global"
    )
    model = model_of()
    optimizer = Optimizer(model.named_parameters(), configuration)
    train(model, optimizer, 3)
    backward(model)
    model[0].weight.grad = None
    arrays = [
        optimizer.updater.parameters["0_weight"],
        *optimizer.updater.state("0_weight").values(),
        optimizer.updater.averages("0_weight"),
    ]
    before = [array.tobytes() for array in arrays]
    rest = values(model)[1:]
    version = model[0].weight._version
    optimizer.step()
    assert [array.tobytes() for array in arrays] == before
    assert model[0].weight._version == version
    assert all(a != b for a, b in zip(values(model)[1:], rest, strict=True))
    norm = math.hypot(*(float(p.grad.norm()) for p in model.parameters() if p.grad is not None))
    assert optimizer.updater.last_step.gradient_norm == pytest.approx(norm)
    optimizer.zero_grad()
    before_all, iteration = values(model), optimizer.updater.iteration
    optimizer.step()
    assert (values(model), optimizer.updater.iteration) == (before_all, iteration)


def test_closure() -> None:
    model = model_of()
    optimizer = Optimizer(model.named_parameters(), ADAM)

    def closure() -> Any:
        optimizer.zero_grad()
        return backward(model)

    with torch.no_grad():
        first = optimizer.step(closure)
    assert optimizer.step(closure).item() < first.item()
    assert optimizer.updater.iteration == 2


def test_groups() -> None:
    model = model_of()
    groups = [
        {"params": list(model[0].named_parameters("0")), "lr": 0.5},
        {"params": list(model[2].named_parameters("2"))},
    ]
    optimizer = Optimizer(
        groups,
        fs.MultiLayerConfiguration(
            updater=fs.Sgd(0.25), layers={"2": fs.LayerConfiguration(learning_rate_scale=0.5)}
        ),
    )
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.125]
    assert optimizer.updater.learning_rate("0_bias") == 0.5
    optimizer.param_groups[1]["lr"] = 0.01
    train_group = [*model[0].parameters(), *model[2].parameters()]
    model(data_of(model)).sum().backward()
    optimizer.step()
    assert optimizer.updater.learning_rate("2_weight") == pytest.approx(0.01, rel=1e-15)
    assert len(train_group) == 4
    with pytest.raises(NotImplementedError, match="add_param_group: expected all parameters"):
        optimizer.add_param_group({"params": model[3].parameters()})
    with pytest.raises(ValueError, match='got "weight_decay"'):
        Optimizer([{"params": model.parameters(), "weight_decay": 0.1}], ADAM)


def test_rates_of_one_group_keep_their_proportion() -> None:
    model = model_of()
    configuration = fs.MultiLayerConfiguration(updater=fs.Sgd(0.1), bias_updater=fs.Sgd(0.2))
    optimizer = Optimizer(model.named_parameters(), configuration)
    optimizer.param_groups[0]["lr"] = 0.05
    train(model, optimizer, 1)
    assert optimizer.updater.learning_rate("0_weight") == 0.05
    assert optimizer.updater.learning_rate("0_bias") == pytest.approx(0.1)


def test_unnamed_parameters() -> None:
    model = model_of()
    optimizer = Optimizer(model.parameters(), ADAM)
    assert [slot.key for slot in optimizer.updater.layout][:2] == ["0_weight", "1_weight"]
    train(model, optimizer, 1)


def test_no_rate() -> None:
    model = model_of()
    optimizer = Optimizer(
        model.named_parameters(), fs.MultiLayerConfiguration(updater=fs.AdaDelta())
    )
    train(model, optimizer, 1)
    optimizer.param_groups[0]["lr"] = 0.1
    before = values(model)
    with pytest.raises(ValueError, match=r"param_groups\[0\]: lr: expected 0.0"):
        train(model, optimizer, 1)
    assert values(model) == before


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_go_on_alike(copied: Any) -> None:
    model = model_of()
    optimizer = Optimizer(model.named_parameters(), ADAM)
    train(model, optimizer, 2)
    twin, other = copied((model, optimizer))
    for each, taker in ((model, optimizer), (twin, other)):
        train(each, taker, 3)
    assert values(model) == values(twin)
    assert other.updater == optimizer.updater


def test_follows_other_memory() -> None:
    model, twin = model_of(), model_of()
    optimizers = [Optimizer(each.named_parameters(), ADAM) for each in (model, twin)]
    for step in range(4):
        if step == 2:
            for parameter in model.parameters():
                parameter.data = parameter.data.clone()
        for each, optimizer in zip((model, twin), optimizers, strict=True):
            train(each, optimizer, 1)
    assert values(model) == values(twin)


NARROW = fs.MultiLayerConfiguration(
    updater=fs.Adam(1e-3), master="split",
    layers={str(n): fs.LayerConfiguration(state_storage="8bit") for n in (0, 2, 3)},
)  # fmt: skip


def values_16(model: Any) -> list[list[int]]:
    return [p.detach().view(torch.int16).flatten().tolist() for p in model.parameters()]


def test_bfloat16_models_are_stepped_where_they_are() -> None:
    """With the bits of a float32 model that has the same gradients."""
    model = model_of(dtype=torch.bfloat16)
    wide = model_of(dtype=torch.bfloat16).float()
    optimizer = Optimizer(model.named_parameters(), NARROW)
    twin = Optimizer(wide.named_parameters(), NARROW)
    for array, tensor in zip(
        optimizer.updater.parameters.values(), model.parameters(), strict=True
    ):
        assert array.ctypes.data == tensor.data_ptr()
    for _ in range(5):
        optimizer.zero_grad()
        backward(model)
        for parameter, other in zip(model.parameters(), wide.parameters(), strict=True):
            assert parameter.grad.dtype == torch.bfloat16
            other.grad = parameter.grad.float()
        optimizer.step()
        twin.step()
    for key, parameter in zip(optimizer.updater.parameters, wide.parameters(), strict=True):
        np.testing.assert_array_equal(optimizer.updater.master(key), parameter.detach().numpy())
    assert values_16(model) == values_16(wide.to(torch.bfloat16))


def test_state_dict_of_a_bfloat16_model_goes_on_bit_for_bit() -> None:
    model = model_of(dtype=torch.bfloat16)
    optimizer = Optimizer(model.named_parameters(), NARROW)
    train(model, optimizer, 5)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    twin = model_of(7, torch.bfloat16)
    twin.load_state_dict(saved["model"])
    other = Optimizer(twin.named_parameters(), NARROW)
    other.load_state_dict(saved["optimizer"])
    for each, taker in ((model, optimizer), (twin, other)):
        train(each, taker, 5)
    assert values_16(model) == values_16(twin)
    assert other.updater == optimizer.updater


def test_what_has_no_gradient_stays_in_narrow_storage_too() -> None:
    model = model_of(dtype=torch.bfloat16)
    optimizer = Optimizer(model.named_parameters(), NARROW)
    train(model, optimizer, 3)
    place = [*optimizer.updater.parameters].index("2_weight")

    def left_alone() -> list[bytes]:
        kept = optimizer.updater._kept(place).values()
        return [array.tobytes() for array in (optimizer.updater.parameters["2_weight"], *kept)]

    before = left_alone()
    optimizer.zero_grad()
    backward(model)
    model[2].weight.grad = None
    optimizer.step()
    assert left_alone() == before


def test_errors_change_nothing() -> None:
    with pytest.raises(TypeError, match="configuration: expected a MultiLayerConfiguration"):
        Optimizer(model_of().parameters(), fs.Adam())
    with pytest.raises(TypeError, match=r"expected one of torch.float32, .* got torch.complex64"):
        Optimizer([torch.nn.Parameter(torch.zeros(2, dtype=torch.complex64))], ADAM)
    with pytest.raises(ValueError, match='expected "split" or "full" for a bfloat16 parameter'):
        Optimizer(model_of(dtype=torch.bfloat16).named_parameters(), ADAM)
    with pytest.raises(ValueError, match=r"0\.weight: expected a tensor on the CPU.*model.cpu\(\)"):
        Optimizer(model_of().to("meta").named_parameters(), ADAM)
    model = model_of()
    optimizer = Optimizer(model.named_parameters(), ADAM)
    backward(model)
    model[3].bias.grad[0] = np.nan
    before = values(model)
    with pytest.raises(fs.NonFiniteGradientError, match="3_bias"):
        optimizer.step()
    assert values(model) == before
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    optimizer = Optimizer(embedding.named_parameters(), ADAM)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="expected a dense gradient"):
        optimizer.step()
