#include "step_methods.hpp"

#include "fast_method.hpp"
#include "values.hpp"

namespace py = pybind11;

namespace flatstep::python {
namespace {

/// step and update, which differ in what they do with the update.
template <bool applies>
PyObject* step_or_update(PyObject* self, PyObject* const* given, Py_ssize_t positional,
                         PyObject* keywords) noexcept {
  return call([&] {
    if (positional == 0 && keywords == nullptr) {  // what is bound or accumulated: nothing to sort
      return object_of<Core>(self).run(self, {Py_None, {}, {}, {}, {}, {}}, applies);
    }
    static const ArgumentNames<6> names(
        applies ? "step" : "update",
        {"gradients", "iteration", "epoch", "batch_size", "gradient_scale", "allow_copy"});
    const auto [gradients, iteration, epoch, batch_size, gradient_scale, allow_copy] =
        names.sort(given, positional, keywords);
    object_of<Core>(self).run(
        self,
        {gradients ? gradients : Py_None, iteration, epoch, batch_size, gradient_scale, allow_copy},
        applies);
  });
}

// Their first lines are signatures as pybind11 writes them, for the tools that read those.
constexpr const char* step_doc =
    R"doc(step(self: object, gradients: collections.abc.Mapping[typing.Any, typing.Any] | collections.abc.Sequence[typing.Any] | numpy.ndarray | None = None, *, iteration: typing.SupportsIndex | None = None, epoch: typing.SupportsIndex | None = None, batch_size: typing.SupportsIndex = 1, gradient_scale: typing.SupportsFloat = 1.0, allow_copy: bool = False) -> None

Apply one step: ``params -= update``, in one fused pass.

Args:
    gradients: in any form that the parameters may have (a dict by key in any order, a nested mapping, a
        sequence, one flat array), each of its parameter's dtype, shape and memory order. A frozen
        layer's may be missing. None: the accumulated gradients, else the bound ones. Gradients that are
        given leave accumulated ones for a later step.
    iteration: default ``updater.iteration``, which is one more afterwards.
    epoch: default ``updater.epoch``, which keeps what is given.
    batch_size: what to divide by where ``mini_batch`` is set. Give it when the gradients are sums over
        the batch; leave it at 1 when they are means.
    gradient_scale: what every gradient is multiplied by before all else, 1e-30 to 1e30: ``1/1024``
        where the loss was scaled by 1024. Norms, thresholds and ``last_step`` are about the product;
        running statistics are not scaled. ``on_nonfinite`` looks at the gradient, not at the product,
        which a scale above 1 may take out of the dtype's range.
    allow_copy: whether a gradient that is not in its parameter's memory order (a transposed matrix, a
        slice) is copied into it, at the price of that copy, and not refused.

Written: parameters, state, counters. Left alone: the gradients.

Raises:
    NonFiniteGradientError: under ``on_nonfinite="raise"``; nothing has changed.
    TypeError, ValueError, ParameterKeyError: bad input; nothing has changed.)doc";

constexpr const char* update_doc =
    R"doc(update(self: object, gradients: collections.abc.Mapping[typing.Any, typing.Any] | collections.abc.Sequence[typing.Any] | numpy.ndarray | None = None, *, iteration: typing.SupportsIndex | None = None, epoch: typing.SupportsIndex | None = None, batch_size: typing.SupportsIndex = 1, gradient_scale: typing.SupportsFloat = 1.0, allow_copy: bool = False) -> None

Turn the gradients into updates, in place, as DL4J does; subtract them yourself.

Arguments and errors as for ``step``, but that there is no copy to allow. Written: the gradients (0 for frozen layers), state, counters.
Left alone: the parameters.)doc";

constexpr const char* accumulate_doc =
    R"doc(accumulate(self: object, gradients: collections.abc.Mapping[typing.Any, typing.Any] | collections.abc.Sequence[typing.Any] | numpy.ndarray, *, allow_copy: bool = False) -> bool

Add the gradients to a buffer that the next ``step()`` without arguments uses and clears.

Each of these micro-batches is looked at as a step looks: where one holds NaN or an infinity, nothing
of it is added. Under ``on_nonfinite="raise"`` that is an error; under "skip" it is left out and counts
in ``skipped_steps``; under "propagate" nobody looks. A sum that overflows is the step's to refuse,
which keeps the buffer: see ``discard_accumulated``.

Args:
    gradients: in any form that ``step`` takes.
    allow_copy: as for ``step``.

Returns:
    Whether they were added.

Written: the buffer. Left alone: gradients, parameters, state.

Raises:
    NonFiniteGradientError: under ``on_nonfinite="raise"``; nothing of these gradients was added.
    TypeError, ValueError, ParameterKeyError: bad input; nothing was added.)doc";

PyObject* accumulate(PyObject* self, PyObject* const* given, Py_ssize_t positional,
                     PyObject* keywords) noexcept {
  bool added = false;
  PyObject* const done = call([&] {
    static const ArgumentNames<2> names("accumulate", {"gradients", "allow_copy"});
    const auto [gradients, allow_copy] = names.sort(given, positional, keywords);
    if (gradients == nullptr) {
      throw py::type_error("accumulate(): gradients: expected gradients, got none");
    }
    added = object_of<Core>(self).accumulate(
        self, gradients, allow_copy != nullptr && to_flag(allow_copy, "allow_copy"));
  });
  if (done == nullptr) return nullptr;
  Py_DECREF(done);
  return PyBool_FromLong(added ? 1 : 0);
}

PyMethodDef accumulate_definition = {
    "accumulate", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&accumulate)),
    METH_FASTCALL | METH_KEYWORDS, accumulate_doc};
PyMethodDef step_definition = {
    "step", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&step_or_update<true>)),
    METH_FASTCALL | METH_KEYWORDS, step_doc};
PyMethodDef update_definition = {
    "update", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&step_or_update<false>)),
    METH_FASTCALL | METH_KEYWORDS, update_doc};

}  // namespace

void add_step_methods(py::class_<Core>& type) {
  add_fast_method(type, step_definition);
  add_fast_method(type, update_definition);
  add_fast_method(type, accumulate_definition);
}

}  // namespace flatstep::python
