"""The command line: ``python -m flatstep`` is the demo, or ``schedule``, ``plot`` or ``info``."""

from __future__ import annotations

import argparse
import importlib.util
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import flatstep as fs

from . import _core

_DEMO = """\
Train a network written in plain NumPy on scikit-learn's handwritten digits, with flatstep taking
the steps: a progress bar, the test accuracy, what the steps did to each layer, how long they took
against the same steps in plain NumPy, and a plot of it all."""

_COMMANDS = """\
other commands:
  python -m flatstep schedule --help   plot a schedule or learning-rate policy
  python -m flatstep plot --help       plot a run's CSV or JSONL log
  python -m flatstep info              show version, instruction sets, threads and build
"""

_SCHEDULE = """\
Plot schedules, or learning-rate policies of Deeplearning4j 0.8, before training with them. Write
them as in Python; several are drawn into one picture."""

_SCHEDULE_EXAMPLES = """\
examples, each after "python -m flatstep schedule":
  "StepSchedule(0.1, decay_rate=0.5, step=200)"
  "CosineSchedule(0.1, 1000)" "RampSchedule(CosineSchedule(0.1, 1000), 100)"
  "ExponentialSchedule(0.1, 0.8, schedule_type='EPOCH')" --steps-per-epoch 45
  "LearningRatePolicy('Step', decay_rate=0.9, steps=100)" --learning-rate 0.1
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: the process's arguments) and return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands = {"schedule": _schedule, "plot": _plot, "info": _info}
    if words and words[0] in commands:
        return commands[words[0]](words[1:])
    if words and not words[0].startswith("-"):
        print(
            f"python -m flatstep: expected one of the commands {', '.join(commands)}, or none for "
            f"the demo, got {words[0]!r}; python -m flatstep --help lists them",
            file=sys.stderr,
        )
        return 2
    return _demo(words)


def _missing_extra(*modules: str) -> str | None:
    """Return what to say where modules of the extra [demo] are not installed, else None."""
    names = {"sklearn": "scikit-learn"}
    missing = [names.get(name, name) for name in modules if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    verb = "is" if len(missing) == 1 else "are"
    return (
        f"This needs {', '.join(missing)}, which {verb} not installed. "
        "The extra [demo] has all of it:\n"
        "  pip install 'flatstep[demo]'     (in a clone: pip install '.[demo]')"
    )


def _demo(arguments: Sequence[str]) -> int:
    # Options and --help are known without scikit-learn, so this comes before asking for it.
    from .demo.training import UPDATERS, Options, Run

    defaults = Options()
    parser = argparse.ArgumentParser(
        prog="python -m flatstep",
        description=_DEMO,
        epilog=_COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--updater", choices=UPDATERS, default=defaults.updater, help="default: %(default)s")
    add(
        "--strategy",
        choices=[strategy.value for strategy in fs.GradientNormalization],
        default=defaults.strategy,
        help="the gradient normalisation; default: %(default)s",
    )
    add(
        "--threshold",
        type=float,
        default=defaults.threshold,
        help="of the clipping strategies; default: %(default)s",
    )
    add(
        "--semantics",
        choices=("dl4j-1.0", "dl4j-0.8"),
        default=defaults.semantics,
        help="the order of a step; default: %(default)s",
    )
    add("--learning-rate", type=float, metavar="RATE", help="default: one that suits the updater")
    add("--epochs", type=_positive, default=defaults.epochs, help="default: %(default)s")
    add("--batch-size", type=_positive, default=defaults.batch_size, help="default: %(default)s")
    add(
        "--seed",
        type=int,
        default=defaults.seed,
        help="of the split, the initial weights and the batches; default: %(default)s",
    )
    add(
        "--output",
        type=_path(".png", ".svg", ".pdf"),
        default=Path("flatstep-demo.png"),
        metavar="PATH",
        help="where to write the plot (.png, .svg, .pdf); default: %(default)s",
    )
    add(
        "--log",
        type=_path(".csv", ".jsonl"),
        metavar="PATH",
        help="also write every step to a .csv or .jsonl file",
    )
    add("--version", action="version", version=f"flatstep {fs.__version__}")
    chosen = parser.parse_args(arguments)
    if chosen.learning_rate is not None and UPDATERS[chosen.updater].learning_rate is None:
        parser.error(f"argument --learning-rate: {chosen.updater} has none")

    if problem := _missing_extra("matplotlib", "sklearn", "tqdm"):
        print(problem, file=sys.stderr)
        return 1
    options = Options(
        updater=chosen.updater,
        strategy=chosen.strategy,
        threshold=chosen.threshold,
        semantics=chosen.semantics,
        learning_rate=chosen.learning_rate,
        epochs=chosen.epochs,
        batch_size=chosen.batch_size,
        seed=chosen.seed,
        log=chosen.log,
    )
    from .demo.report import describe_result, describe_run
    from .training.history_plot import plot_history

    try:
        run = Run(options)
    except ValueError as error:
        parser.error(str(error))
    print(describe_run(run), flush=True)
    try:
        result = run.train(desc="training")
    except fs.NonFiniteGradientError as error:
        print(f"\nThe training diverged: {error}", file=sys.stderr)
        return 1
    print("\n" + describe_result(options, result))
    name = UPDATERS[options.updater].create.__name__
    title = (
        f"{name}, {options.strategy}, {options.semantics}: {result.accuracy * 100:.1f} % accuracy"
    )
    plot_history(result.history, chosen.output, title=title)
    print(f"\nPlot: {chosen.output}")
    if chosen.log is not None:
        print(f"Log:  {chosen.log}")
    return 0 if result.comparison.agrees else 1


def _schedule(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flatstep schedule",
        description=_SCHEDULE,
        epilog=_SCHEDULE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("schedule", nargs="+", metavar="SCHEDULE", help="an expression, quoted for the shell")
    add("--iterations", type=_positive, default=1000, help="default: %(default)s")
    add(
        "--steps-per-epoch",
        type=_positive,
        default=100,
        metavar="STEPS",
        help="for schedules by epoch; default: %(default)s",
    )
    add(
        "--learning-rate",
        type=float,
        default=0.1,
        metavar="RATE",
        help="what a policy starts from; default: %(default)s",
    )
    add(
        "--output",
        type=_path(".png", ".svg", ".pdf"),
        default=Path("flatstep-schedule.png"),
        metavar="PATH",
        help="where to write the plot (.png, .svg, .pdf); default: %(default)s",
    )
    chosen = parser.parse_args(arguments)
    if problem := _missing_extra("matplotlib"):
        print(problem, file=sys.stderr)
        return 1
    from .training.schedule_plot import parse_schedule, plot_rates, rates

    try:
        parsed = {text: parse_schedule(text) for text in chosen.schedule}
    except ValueError as error:
        parser.error(str(error))
    curves = {
        text: rates(
            schedule,
            chosen.iterations,
            steps_per_epoch=chosen.steps_per_epoch,
            learning_rate=chosen.learning_rate,
        )
        for text, schedule in parsed.items()
    }
    remarks = []
    if any("EPOCH" in repr(schedule) for schedule in parsed.values()):
        remarks.append(f"an epoch is {chosen.steps_per_epoch:,} iterations")
    if any(isinstance(schedule, fs.LearningRatePolicy) for schedule in parsed.values()):
        remarks.append(f"policies start from {chosen.learning_rate:g}")
    plot_rates(curves, chosen.output, remark="; ".join(remarks))
    for text, values in curves.items():
        print(text)
        for iteration in _telling(values):
            print(f"  iteration {iteration:>9,}   {values[iteration]:.6g}")
    print(f"\nPlot: {chosen.output}")
    return 0


def _telling(values: NDArray[np.float64]) -> list[int]:
    """The iterations whose rates are shown: six, and more where those miss what a curve does.

    Evenly spaced rows of a cycle may all fall on the same point of it. Where they span less than
    nine tenths of its range, or there are more turns than rows, extremes and the first turns are
    shown as well.
    """
    shown = set(np.linspace(0, len(values) - 1, 6).astype(int).tolist())
    seen = values[list(shown)]
    steps = np.diff(values)
    turns = np.flatnonzero(steps[1:] * steps[:-1] < 0) + 1
    spanned = seen.max() - seen.min() >= 0.9 * (values.max() - values.min())
    if spanned and len(turns) <= len(shown):
        return sorted(shown)
    shown.update((int(values.argmin()), int(values.argmax())))
    shown.update(turns[:4].tolist())
    return sorted(shown)


def _plot(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flatstep plot",
        description="Plot a run from the log that CSVWriter or JSONLWriter wrote of it.",
    )
    add = parser.add_argument
    add("log", type=Path, metavar="LOG", help="a .csv or .jsonl file")
    add(
        "--output",
        type=_path(".png", ".svg", ".pdf"),
        metavar="PATH",
        help="where to write the plot (.png, .svg, .pdf); default: the log's name with .png",
    )
    chosen = parser.parse_args(arguments)
    if problem := _missing_extra("matplotlib"):
        print(problem, file=sys.stderr)
        return 1
    from .training.history_file import read_history
    from .training.history_plot import plot_history

    try:
        history = read_history(chosen.log)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    output = chosen.output or chosen.log.with_suffix(".png")
    plot_history(history, output, title=f"{chosen.log.name}: {len(history):,} steps")
    print(f"Plot: {output}")
    return 0


def _info(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flatstep info",
        description="Show version, instruction sets, threads and build.",
    )
    parser.parse_args(arguments)
    rows = {
        "version": fs.__version__,
        "instruction set": fs.isa(),
        "available": ", ".join(fs.available_isas()),
        "threads": str(fs.get_num_threads()),
        "built with": _core.compiler,
        "installed in": str(Path(fs.__file__).parent),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "NumPy": np.__version__,
        "machine": f"{platform.machine()}, {platform.system()} {platform.release()}",
    }
    for name, value in rows.items():
        print(f"{name:<16} {value}")
    return 0


def _path(*suffixes: str) -> Callable[[str], Path]:
    """Return what makes a path of an argument and refuses one that could not be written."""

    def path(text: str) -> Path:
        result = Path(text)
        if result.suffix not in suffixes:
            raise argparse.ArgumentTypeError(f"expected {' or '.join(suffixes)}, got {text!r}")
        if not result.parent.is_dir():
            raise argparse.ArgumentTypeError(f"there is no folder {str(result.parent)!r}")
        return result

    return path


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text}")
    return value
