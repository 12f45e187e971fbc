// The class flatstep._core.Updater, as Python sees it: methods, properties, reports. core.hpp has
// what they call.
#include "updater.hpp"

#include "arrays.hpp"
#include "configuration.hpp"
#include "core.hpp"
#include "gradients.hpp"
#include "interpreter.hpp"
#include "python_updater.hpp"
#include "shards.hpp"
#include "step_methods.hpp"
#include "values.hpp"

#include <flatstep/multi_layer_updater.hpp>

#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace flatstep::python {
namespace {

[[noreturn]] void raise_key_error(const std::string& text) {
  py::set_error(py::module_::import("flatstep.errors").attr("ParameterKeyError"), text.c_str());
  throw py::error_already_set();
}

/// An updater as Python hands it over, whose __init__ has run.
struct Self {
  Core* core = nullptr;
  py::handle object;

  Core* operator->() const { return core; }
};

/// Gradients as Python hands them over, in whatever form.
struct GivenGradients {
  py::handle object;
};

/// The step that `last_step` is about.
struct LastReport {
  std::uint64_t updater;
  std::uint64_t number;
  std::int64_t iteration;
  std::int64_t epoch;
  bool skipped;
};

std::optional<LastReport> last_of(const Self& self) {
  const std::optional<StepReport>& last = self->last();
  if (!last) return std::nullopt;
  return LastReport{self->id(), self->steps(), last->iteration, last->epoch,
                    last->status == StepStatus::skipped};
}

/// What a slot gets, its layer's settings included.
struct ResolvedSlot {
  std::string updater;
  bool frozen;
  bool statistic;
  bool pretrain;
  bool bias;
  double l1;
  double l2;
  double weight_decay;
  bool weight_decay_apply_lr;
  std::string state_storage;
  std::optional<std::string> master;
  std::string policy;
  std::string strategy;
  std::string group;
  std::optional<double> threshold;
};

ResolvedSlot settings_of(const Self& self, std::size_t place) {
  const NetworkSettings& settings = self->settings();
  const SlotSettings& slot = settings.slots.at(place);
  const GradientNormalization strategy = settings.strategy_of(place);
  const int own_decay = slot.updater.kind->find("weight_decay");  // in its formula
  const double weight_decay =
      own_decay < 0 ? slot.weight_decay
                    : slot.updater.values[static_cast<std::size_t>(own_decay)].at(0, 0);
  return {std::string(slot.updater.kind->name),
          slot.frozen,
          slot.statistic,
          slot.pretrain,
          slot.bias,
          slot.l1,
          slot.l2,
          weight_decay,
          slot.weight_decay_apply_lr,
          std::string(to_string(slot.state_storage)),
          self->layout().slots.at(place).type != ElementType::same && slot.master
              ? std::optional(std::string(to_string(*slot.master)))
              : std::nullopt,
          std::string(to_string(slot.policy.kind)),
          std::string(to_string(strategy)),
          std::string(to_string(rules_of(strategy).group)),
          rules_of(strategy).has_threshold() ? std::optional(settings.layer_of(place).threshold)
                                             : std::nullopt};
}

/// The constructor's checks of each array by itself.
void check_parameters(const std::vector<std::string>& keys, const std::vector<py::object>& arrays) {
  if (keys.size() != arrays.size()) throw py::value_error("expected one key per array");
  const bool wide = !arrays.empty() && is_float64(arrays[0], keys[0]);
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    if (wide) {
      static_cast<void>(parameter_memory<double>(arrays[i], keys[i]));
    } else {
      static_cast<void>(parameter_memory<float>(arrays[i], keys[i]));
    }
  }
}

py::list layout_list(const Self& self) {
  py::list slots;
  for (std::size_t i = 0; i < self->layout().slots.size(); ++i) {
    const LayoutSlot& slot = self->layout().slots[i];
    const ArrayForm& form = self->form(i);
    slots.append(py::dict(py::arg("key") = slot.name.key, py::arg("layer") = slot.name.layer,
                          py::arg("param") = slot.name.param, py::arg("offset") = slot.offset,
                          py::arg("size") = slot.size,
                          py::arg("shape") = py::tuple(py::cast(form.shape)),
                          py::arg("order") = form.c_contiguous ? "C" : "F"));
  }
  return slots;
}

py::list block_list(const Self& self) {
  py::list blocks;
  for (const UpdaterBlock& block : self->layout().blocks) {
    py::list keys;
    for (std::size_t i = block.slot_begin; i < block.slot_end; ++i) {
      keys.append(self->layout().slots[i].name.key);
    }
    const SlotSettings& settings = self->settings().slots[block.slot_begin];
    blocks.append(
        py::dict(py::arg("updater") = std::string(settings.updater.kind->name),
                 py::arg("keys") = py::tuple(keys), py::arg("param_start") = block.param_start,
                 py::arg("param_end") = block.param_end, py::arg("state_start") = block.state_start,
                 py::arg("state_end") = block.state_end));
  }
  return blocks;
}

py::list rate_list(const Self& self) {
  auto rates = taken<py::list>(PyList_New(0));
  for (const RateState& rate : self->rates()) {
    rates.append(py::make_tuple(rate.learning_rate, rate.momentum));
  }
  return rates;
}

std::vector<RateState> to_rates(const py::list& list) {
  std::vector<RateState> rates;
  for (const py::handle item : list) {
    const auto pair = item.cast<py::tuple>();
    rates.push_back({pair[0].cast<std::optional<double>>(), pair[1].cast<std::optional<double>>()});
  }
  return rates;
}

void restore(const Self& self, const py::list& arrays, const py::list& rates,
             std::int64_t iteration, std::int64_t epoch, std::uint64_t skipped_steps) {
  std::vector<Restored> restored;
  for (const py::handle item : arrays) {
    const auto [slot, array, values] =
        item.cast<std::tuple<std::size_t, std::size_t, py::handle>>();
    restored.push_back({slot, array, values});
  }
  self->restore(restored, to_rates(rates), {iteration, epoch, skipped_steps});
}

void take_for_ranks(const Self& self, const py::object& gradients, const py::object& iteration,
                    const py::object& epoch, const py::object& batch_size,
                    const py::object& gradient_scale, const py::object& allow_copy, bool applies) {
  self->take(self.object, {gradients, iteration, epoch, batch_size, gradient_scale, allow_copy},
             applies);
}

/// The C++ object behind `self`; null where __init__ has not run.
Core* made(PyObject* self) {
  auto* const instance = reinterpret_cast<py::detail::instance*>(self);
  // The collector may come before pybind11 has given the new object its layout: for the first object
  // of a class it makes a weak reference first.
  const bool laid_out =
      instance->simple_layout || instance->nonsimple.values_and_holders != nullptr;
  return laid_out ? static_cast<Core*>(instance->get_value_and_holder().value_ptr()) : nullptr;
}

/// Lets Python's garbage collector see what an updater holds: the arrays, and the CustomUpdaters,
/// may hold it.
void make_collectable(PyHeapTypeObject* heap_type) {
  PyTypeObject& type = heap_type->ht_type;
  type.tp_flags |= Py_TPFLAGS_HAVE_GC;
  type.tp_traverse = [](PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    const Core* const core = made(self);
    return core == nullptr ? 0 : core->traverse(visit, arg);
  };
  type.tp_clear = [](PyObject* self) {
    if (Core* const core = made(self)) core->clear();
    return 0;
  };
}

}  // namespace
}  // namespace flatstep::python

namespace pybind11::detail {

/// pybind11's own would make an object without a value where __init__ has not run.
template <>
struct type_caster<flatstep::python::Self> {
  PYBIND11_TYPE_CASTER(flatstep::python::Self, const_name("object"));

  bool load(handle source, bool) {
    if (!isinstance<flatstep::python::Core>(source)) return false;
    value.core = &flatstep::python::object_of<flatstep::python::Core>(source.ptr());
    value.object = source;
    return true;
  }
};

/// Its name is the type that the stub shows.
template <>
struct type_caster<flatstep::python::GivenGradients> {
  PYBIND11_TYPE_CASTER(flatstep::python::GivenGradients,
                       const_name("collections.abc.Mapping[typing.Any, typing.Any] | "
                                  "collections.abc.Sequence[typing.Any] | numpy.ndarray"));

  bool load(handle source, bool) {
    value.object = source;
    return true;
  }
};

}  // namespace pybind11::detail

namespace flatstep::python {

namespace {

void register_reports(py::module_& module) {
  py::class_<LastReport>(module, "LastReport", "Which step the reports are of.")
      .def_readonly("updater", &LastReport::updater)
      .def_readonly("number", &LastReport::number)
      .def_readonly("iteration", &LastReport::iteration)
      .def_readonly("epoch", &LastReport::epoch)
      .def_readonly("skipped", &LastReport::skipped);

  const auto number = [](double SlotReport::* field) {
    return [field](const SlotReport& self) { return optional_of(self.*field); };
  };
  py::class_<SlotReport>(module, "SlotReport",
                         "What the last step saw of one slot; None where there is nothing to say.")
      .def_property_readonly("gradient_norm", number(&SlotReport::gradient_norm))
      .def_property_readonly("group_norm", number(&SlotReport::group_norm))
      .def_property_readonly("factor", number(&SlotReport::factor))
      .def_readonly("clipped", &SlotReport::clipped)
      .def_readonly("nonfinite", &SlotReport::nonfinite)
      .def_property_readonly("learning_rate", number(&SlotReport::learning_rate))
      .def_property_readonly("trust_ratio", number(&SlotReport::trust_ratio))
      .def_property_readonly("update_norm", number(&SlotReport::update_norm))
      .def_property_readonly("parameter_norm", number(&SlotReport::parameter_norm))
      .def_property_readonly("clipped_share", number(&SlotReport::clipped_share))
      .def_readonly("state_nonfinite", &SlotReport::state_nonfinite);

  py::class_<ResolvedSlot>(module, "SlotSettings",
                           "What one slot gets, as network, layer and parameter say together.")
      .def_readonly("updater", &ResolvedSlot::updater)
      .def_readonly("frozen", &ResolvedSlot::frozen)
      .def_readonly("statistic", &ResolvedSlot::statistic)
      .def_readonly("pretrain", &ResolvedSlot::pretrain)
      .def_readonly("bias", &ResolvedSlot::bias)
      .def_readonly("l1", &ResolvedSlot::l1)
      .def_readonly("l2", &ResolvedSlot::l2)
      .def_readonly("weight_decay", &ResolvedSlot::weight_decay)
      .def_readonly("weight_decay_apply_lr", &ResolvedSlot::weight_decay_apply_lr)
      .def_readonly("state_storage", &ResolvedSlot::state_storage)
      .def_readonly("master", &ResolvedSlot::master)
      .def_readonly("policy", &ResolvedSlot::policy)
      .def_readonly("strategy", &ResolvedSlot::strategy)
      .def_readonly("group", &ResolvedSlot::group)
      .def_readonly("threshold", &ResolvedSlot::threshold);
}

}  // namespace

void register_updater(py::module_& module) {
  register_reports(module);
  py::enum_<BucketMemory>(module, "BucketMemory", "Where the elements of a bucket lie.")
      .value("parameters", BucketMemory::parameters)
      .value("gradients", BucketMemory::gradients)
      .value("reduced", BucketMemory::reduced);
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const InvalidKey& error) {
      raise_key_error(error.what());
    }
  });

  module.def(
      "parse_key",
      [](const std::string& key, bool graph) {
        const SlotName name =
            parse_key(key, graph ? KeyStyle::computation_graph : KeyStyle::multi_layer);
        if (!graph) check_layer_index(name);
        return py::make_tuple(name.layer, name.param);
      },
      py::arg("key"), py::arg("graph"), "Split a key into layer and parameter type.");
  module.def(
      "check_layer_index",
      [](const std::string& key, const std::string& layer, const std::string& param) {
        check_layer_index({key, layer, param});
      },
      py::arg("key"), py::arg("layer"), py::arg("param"),
      "Check that the layer of a MultiLayerUpdater's parameter is an integer.");

  module.def("check_parameters", &check_parameters, py::arg("keys"), py::arg("arrays"),
             "Raises for an array that cannot be a parameter, each by itself.");

  py::class_<Core> type(module, "Updater", "What all updaters share; see MultiLayerUpdater.",
                        py::custom_type_setup(&make_collectable));
  add_step_methods(type);
  type.def(py::init(&make_core), py::arg("configuration"), py::arg("names"), py::arg("arrays"),
           py::arg("monitor"), py::arg("ranks"))
      .def(
          "bind_gradients",
          [](const Self& self, const GivenGradients& gradients) {
            self->bind(self.object, gradients.object);
          },
          py::arg("gradients"),
          R"doc(Keep these gradient arrays for every ``step()`` without arguments: no lookup per call.

The arrays stay the caller's: write each new gradient into them (``grad[...] = new``). A name that is
bound to a new array (``grad = new``) leaves the old one here.)doc")
      .def(
          "apply_learning_rate_score_decay",
          [](const Self& self) { return self->apply_learning_rate_score_decay(); },
          R"doc(Lower the rates of the parameters whose policy is "Score": lr ← lr·(decay_rate + 1e-5).

A `StochasticGradientDescent` calls it where the score has stopped getting better; in a loop of your
own you decide when that is.

Returns:
    How many parameters' rates that were.

Written: these rates, which are state.)doc")
      .def(
          "discard_accumulated", [](const Self& self) { self->discard_accumulated(); },
          "Forget what ``accumulate`` has added up.")
      .def_property_readonly(
          "accumulated", [](const Self& self) { return self->accumulated(); },
          "The accumulated gradients by key, as live views; None where there are none.")
      .def_property(
          "iteration", [](const Self& self) { return self->counters().iteration; },
          [](const Self& self, py::handle value) {
            const std::int64_t iteration = to_counter(value, "iteration");
            const Busy busy = self->enter();
            self->counters().iteration = iteration;
          },
          "The iteration that the next step is, from 0.")
      .def_property(
          "epoch", [](const Self& self) { return self->counters().epoch; },
          [](const Self& self, py::handle value) {
            const std::int64_t epoch = to_counter(value, "epoch");
            const Busy busy = self->enter();
            self->counters().epoch = epoch;
          },
          "The epoch, for schedules of type EPOCH; yours to advance.")
      .def_property(
          "skipped_steps", [](const Self& self) { return self->counters().skipped_steps; },
          [](const Self& self, py::handle value) {
            const std::int64_t steps = to_counter(value, "skipped_steps");
            const Busy busy = self->enter();
            self->counters().skipped_steps = static_cast<std::uint64_t>(steps);
          },
          "How many steps ``on_nonfinite=\"skip\"`` has refused.")
      .def_property_readonly(
          "_made", [](py::handle self) { return made(self.ptr()) != nullptr; },
          "Whether __init__ has run.")
      .def_property_readonly(
          "state_view", [](const Self& self) { return self->state_view(); },
          "The flat updater state, in DL4J's order: one live array; where some of it is kept in "
          "fewer bits, a read-only array of its numbers.")
      .def_property_readonly(
          "nbytes", [](const Self& self) { return self->kept_bytes(); },
          "The bytes that are kept besides the parameters: state, masters, averages.")
      .def(
          "adopt_parameters", [](const Self& self) { self->adopt_parameters(); },
          R"doc(Take over what somebody else has written into parameters whose master is full.

A step goes on from the master, float32 numbers that the updater keeps, and writes the parameter: an
assignment to the array alone would be gone with the next step. Where an element is what its master
rounds to, the master stays; where it is not, the element becomes the master.)doc")
      .def_property_readonly("_is_wide", [](const Self& self) { return self->is_wide(); })
      .def("_kept", [](const Self& self, std::size_t slot) { return self->kept(slot); })
      .def("_master", [](const Self& self, std::size_t slot) { return self->master(slot); })
      .def("_write_state",
           [](const Self& self, std::size_t slot, std::size_t array, const py::array& numbers) {
             self->write_state(slot, array, numbers);
           })
      .def("_state", [](const Self& self, std::size_t slot) { return self->state(slot); })
      .def("_average", [](const Self& self, std::size_t slot) { return self->average(slot); })
      .def("_evaluation_point",
           [](const Self& self, std::size_t slot, const py::array& out) {
             return self->evaluation_point(slot, out);
           })
      .def("_take", &take_for_ranks, py::arg("gradients"), py::arg("iteration"), py::arg("epoch"),
           py::arg("batch_size"), py::arg("gradient_scale"), py::arg("allow_copy"),
           py::arg("applies"))
      .def("_run_taken", [](const Self& self, bool applies) { self->run_taken(applies); })
      .def("_let_go", [](const Self& self) { self->let_go(); })
      .def("_taken_dtypes", [](const Self& self) { return self->taken_dtypes(); })
      .def("_nonfinite_taken", [](const Self& self) { return self->nonfinite_taken(); })
      .def("_look", [](const Self& self, const py::object& gradients,
                       bool allow_copy) { return self->look(self.object, gradients, allow_copy); })
      .def("_pieces", [](const Self& self, std::size_t part) { return self->pieces(part); })
      .def("_bucket_sizes",
           [](const Self& self, std::size_t part) { return self->bucket_sizes(part); })
      .def("_bucket_bytes", [](const Self& self, BucketMemory memory,
                               std::size_t part) { return self->bucket_bytes(memory, part); })
      .def("_bucket",
           [](const Self& self, BucketMemory memory, std::size_t part, std::size_t k,
              const py::object& staging) { return self->bucket(memory, part, k, staging); })
      .def("_put_bucket",
           [](const Self& self, BucketMemory memory, std::size_t part, std::size_t k,
              const py::object& values) { self->put_bucket(memory, part, k, values); })
      .def("_add_bucket", [](const Self& self, std::size_t k, const py::list& terms,
                             double scale) { self->add_bucket(k, terms, scale); })
      .def("_widen_bucket", [](const Self& self, std::size_t part, std::size_t k,
                               const py::array& numbers) { self->widen_bucket(part, k, numbers); })
      .def("_write_updates",
           [](const Self& self, std::size_t part, std::size_t k) { self->write_updates(part, k); })
      .def("_layout", &layout_list)
      .def("_updater_blocks", &block_list)
      .def("_settings", &settings_of)
      .def("_rates", &rate_list)
      .def("_set_rates",
           [](const Self& self, const py::list& rates) { self->set_rates(to_rates(rates)); })
      .def("_restore", &restore, py::arg("arrays"), py::arg("rates"), py::arg("iteration"),
           py::arg("epoch"), py::arg("skipped_steps"),
           "Replace state arrays, given as (slot, array, values), rates and counters: all or "
           "nothing.")
      .def("_restore_sums",
           [](const Self& self, const py::object& sums) { self->restore_sums(sums); })
      .def(
          "_alone",
          [](const Self& self, const py::function& work) {
            const Busy busy = self->enter();
            return call_python(work, nullptr, 0);
          },
          py::arg("work"),
          "What work() returns, called while no step of this updater can begin; RuntimeError where "
          "one is under way.")
      .def("_learning_rate",
           [](const Self& self, std::size_t slot, py::handle iteration, py::handle epoch) {
             return self->learning_rate(slot, to_counter(iteration, "iteration"),
                                        to_counter(epoch, "epoch"));
           })
      .def("_unscaled_learning_rate",
           [](const Self& self, std::size_t slot, py::handle iteration, py::handle epoch) {
             return self->unscaled_learning_rate(slot, to_counter(iteration, "iteration"),
                                                 to_counter(epoch, "epoch"));
           })
      .def("_momentum",
           [](const Self& self, std::size_t slot, py::handle iteration, py::handle epoch) {
             return self->momentum(slot, to_counter(iteration, "iteration"),
                                   to_counter(epoch, "epoch"));
           })
      .def("_last", &last_of)
      .def("_report", [](const Self& self, std::size_t slot) { return self->report(slot); });
}

}  // namespace flatstep::python
