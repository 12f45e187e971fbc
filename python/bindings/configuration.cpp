#include "configuration.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace flatstep::python {
namespace {

// --------------------------------------------------------------------------------- reading objects

using Points = std::map<std::int64_t, double>;

std::string class_name(py::handle object) {
  return py::cast<std::string>(py::type::handle_of(object).attr("__name__"));
}

[[noreturn]] void wrong_type(const std::string& argument, const std::string& expected,
                             py::handle got) {
  throw py::type_error(argument + ": expected " + expected + ", got " +
                       py::cast<std::string>(py::repr(got)) + " of type " + class_name(got));
}

bool is_instance(py::handle object, const char* module, const char* name) {
  return py::isinstance(object, py::module_::import(module).attr(name));
}

bool is_number(py::handle object) { return PyFloat_Check(object.ptr()) != 0; }

double number(py::handle object, const char* name) {
  const py::object value = object.attr(name);
  if (!is_number(value)) wrong_type(class_name(object) + ": " + name, "a float", value);
  return py::cast<double>(value);
}

std::int64_t to_integer(py::handle value, const std::string& argument) {
  if (PyLong_Check(value.ptr()) == 0) wrong_type(argument, "an integer", value);
  int overflow = 0;
  const long long result = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow != 0) {
    throw py::value_error(argument + ": expected an integer of 64 bits, got " +
                          py::cast<std::string>(py::repr(value)));
  }
  return result;
}

std::int64_t integer(py::handle object, const char* name) {
  return to_integer(object.attr(name), class_name(object) + ": " + name);
}

std::string string(py::handle object, const char* name) {
  const py::object value = object.attr(name);
  if (!py::isinstance<py::str>(value)) {
    wrong_type(class_name(object) + ": " + name, "a string", value);
  }
  return py::cast<std::string>(value);
}

Points to_points(py::handle mapping) {
  Points points;
  for (const py::handle key : mapping) {
    points[to_integer(key, "iteration")] = py::cast<double>(mapping[key]);
  }
  return points;
}

/// `read(attribute)`, or nothing where the attribute is None.
template <class Read>
auto optional(py::handle object, const char* name, Read&& read)
    -> std::optional<std::decay_t<decltype(read(py::handle()))>> {
  const py::object value = object.attr(name);
  if (value.is_none()) return std::nullopt;
  return read(py::handle(value));
}

std::optional<double> optional_number(py::handle object, const char* name) {
  return optional(object, name, [](py::handle value) { return py::cast<double>(value); });
}

std::optional<bool> optional_flag(py::handle object, const char* name) {
  return optional(object, name, [](py::handle value) { return py::cast<bool>(value); });
}

std::optional<Points> optional_points(py::handle object, const char* name) {
  return optional(object, name, to_points);
}

/// The first entry of `table` that an object's class, or one that it derives from, is named by;
/// classes of other packages may have the same names.
template <class Table>
auto find_by_class(py::handle object, const Table& table) -> decltype(&*std::begin(table)) {
  for (const py::handle type : py::type::handle_of(object).attr("__mro__")) {
    const auto module = py::cast<std::string>(py::str(type.attr("__module__")));
    if (!module.starts_with("flatstep.")) continue;
    const auto name = py::cast<std::string>(type.attr("__name__"));
    for (const auto& entry : table) {
      if (entry.name == name) return &entry;
    }
  }
  return nullptr;
}

// -------------------------------------------------------------------------- schedules, policies

Schedule to_schedule(py::handle object);

struct ScheduleClass {
  std::string_view name;
  Schedule (*make)(py::handle, ScheduleType);
};

const std::array<ScheduleClass, 10> schedule_classes{{
    {"FixedSchedule",
     [](py::handle s, ScheduleType) { return Schedule::fixed(number(s, "value")); }},
    {"ExponentialSchedule",
     [](py::handle s, ScheduleType type) {
       return Schedule::exponential(number(s, "initial"), number(s, "gamma"), type);
     }},
    {"InverseSchedule",
     [](py::handle s, ScheduleType type) {
       return Schedule::inverse(number(s, "initial"), number(s, "gamma"), number(s, "power"), type);
     }},
    {"StepSchedule",
     [](py::handle s, ScheduleType type) {
       return Schedule::step(number(s, "initial"), number(s, "decay_rate"), number(s, "step"),
                             type);
     }},
    {"PolySchedule",
     [](py::handle s, ScheduleType type) {
       return Schedule::poly(number(s, "initial"), number(s, "power"), integer(s, "max_iter"),
                             type);
     }},
    {"SigmoidSchedule",
     [](py::handle s, ScheduleType type) {
       return Schedule::sigmoid(number(s, "initial"), number(s, "gamma"), number(s, "step"), type);
     }},
    {"MapSchedule",
     [](py::handle s, ScheduleType type) {
       return Schedule::map(to_points(s.attr("values")), type);
     }},
    {"CycleSchedule",
     [](py::handle s, ScheduleType type) {
       return Schedule::cycle(number(s, "initial"), number(s, "max"), integer(s, "cycle_length"),
                              integer(s, "annealing_length"), number(s, "annealing_decay"), type);
     }},
    {"CosineSchedule",
     [](py::handle s, ScheduleType type) {
       return Schedule::cosine(number(s, "initial"), integer(s, "max_iter"), number(s, "final"),
                               type);
     }},
    {"RampSchedule",
     [](py::handle s, ScheduleType) {
       return Schedule::ramp(to_schedule(s.attr("base")), integer(s, "num_iter"));
     }},
}};

Schedule to_schedule(py::handle object) {
  if (is_number(object)) return py::cast<double>(object);
  const ScheduleClass* found = is_instance(object, "flatstep.schedules", "Schedule")
                                   ? find_by_class(object, schedule_classes)
                                   : nullptr;
  if (found == nullptr) wrong_type("schedule", "a number or one of flatstep's schedules", object);
  return found->make(object, parse_schedule_type(string(object, "schedule_type")));
}

LearningRatePolicy to_policy(py::handle object) {
  LearningRatePolicy policy;
  policy.kind = parse_learning_rate_policy(string(object, "kind"));
  policy.decay_rate = optional_number(object, "decay_rate").value_or(0.0);
  policy.power = optional_number(object, "power").value_or(0.0);
  policy.steps = optional_number(object, "steps").value_or(0.0);
  policy.num_iterations = optional_number(object, "num_iterations").value_or(0.0);
  policy.schedule = optional_points(object, "schedule").value_or(Points{});
  return policy;
}

// ----------------------------------------------------------------------------- Python's updaters

/// An instance of a flatstep.CustomUpdater subclass, and the UpdaterInfo that calls it.
class PythonUpdater {
 public:
  explicit PythonUpdater(py::handle instance)
      : instance_(py::reinterpret_borrow<py::object>(instance)), name_(class_name(instance)) {
    read_state();
    if (!instance.attr("learning_rate").is_none()) {
      hyper_parameters_.push_back(learning_rate(1e-3));
    }
    info_.name = name_;
    info_.hyper_parameters = hyper_parameters_;
    info_.state_names = state_names_;
    info_.initial_state = [this](std::size_t array, const double*, Semantics) {
      return initial_state_[array];
    };
    info_.float_callback = [this](const CallbackArguments<float>& arguments) {
      return call(arguments);
    };
    info_.double_callback = [this](const CallbackArguments<double>& arguments) {
      return call(arguments);
    };
  }
  PythonUpdater(const PythonUpdater&) = delete;
  PythonUpdater& operator=(const PythonUpdater&) = delete;

  /// May be dropped by any thread, with or without the interpreter's lock.
  static std::shared_ptr<const PythonUpdater> make(py::handle instance) {
    return {new PythonUpdater(instance), [](const PythonUpdater* updater) {
              const py::gil_scoped_acquire lock;
              const std::unique_ptr<const PythonUpdater> owned(updater);
            }};
  }

  const py::object& instance() const { return instance_; }
  const UpdaterInfo& info() const { return info_; }

 private:
  void read_state() {
    const py::object names = instance_.attr("state");
    if (!py::isinstance<py::tuple>(names) && !py::isinstance<py::list>(names)) {
      wrong_type(name_ + ": state", "a tuple of names", names);
    }
    for (const py::handle name : names) {
      if (!py::isinstance<py::str>(name)) wrong_type(name_ + ": state", "names as strings", name);
      names_.push_back(py::cast<std::string>(name));
      if (names_.back().empty() || std::ranges::count(names_, names_.back()) > 1) {
        throw std::invalid_argument(name_ + ": state: expected different names, none of them " +
                                    "empty, got " + py::cast<std::string>(py::repr(names)));
      }
    }
    state_names_.assign(names_.begin(), names_.end());
    initial_state_.resize(names_.size(), 0.0);
    const py::object initial = instance_.attr("initial_state");
    for (const py::handle key : initial) {
      const auto name = py::cast<std::string>(py::str(key));
      const std::size_t place = text::place(name_ + ": initial_state", names_, name);
      const py::object value = initial[key];
      if (!PyNumber_Check(value.ptr())) {
        wrong_type(name_ + ": initial_state[" + text::quoted(name) + "]", "a number", value);
      }
      initial_state_[place] = py::cast<double>(py::float_(value));
    }
  }

  /// Calls get_gradient on arrays of its own, which Python may keep, and copies what it did to
  /// them.
  template <class T>
  bool call(const CallbackArguments<T>& arguments) const {
    const py::gil_scoped_acquire lock;
    try {
      const std::size_t size = arguments.gradient.size();
      const auto array_of = [&](const T* data) {
        const std::vector<py::ssize_t> shape(arguments.shape.begin(), arguments.shape.end());
        const auto strides = arguments.column_major
                                 ? py::detail::f_strides(shape, py::ssize_t{sizeof(T)})
                                 : py::detail::c_strides(shape, py::ssize_t{sizeof(T)});
        return py::array_t<T>(shape, strides, data);
      };
      const py::array_t<T> gradient = array_of(arguments.gradient.data());
      std::vector<py::array_t<T>> arrays;
      py::dict state;
      for (std::size_t i = 0; i < names_.size(); ++i) {
        arrays.push_back(array_of(arguments.state[i]));
        state[py::str(names_[i])] = arrays.back();
      }
      const py::object rate =
          hyper_parameters_.empty() ? py::none() : py::object(py::float_(arguments.learning_rate));
      const py::object returned =
          instance_.attr("get_gradient")(gradient, state, rate, arguments.iteration);
      if (!returned.is_none()) {
        wrong_type(name_ + ".get_gradient", "None, the update being left in g (g[...] = update)",
                   returned);
      }
      for (std::size_t i = 0; i < names_.size(); ++i) {
        if (!state.contains(names_[i]) || !py::object(state[py::str(names_[i])]).is(arrays[i])) {
          throw py::value_error(name_ + ".get_gradient: state[" + text::quoted(names_[i]) +
                                "]: expected it changed in place, got another array in its " +
                                "place; write state[" + text::quoted(names_[i]) + "][...] = value");
        }
        std::copy_n(arrays[i].data(), size, arguments.state[i]);
      }
      for (const auto& item : state) {
        const auto name = py::cast<std::string>(py::str(item.first));
        if (std::ranges::count(names_, name) == 0) {
          throw py::value_error(name_ + ".get_gradient: state[" + text::quoted(name) +
                                "]: expected a name that the class declares, got a new one, which "
                                "the next step would not see; name it in the class's state = (…)");
        }
      }
      std::copy_n(gradient.data(), size, arguments.gradient.data());
      return true;
    } catch (py::error_already_set& error) {
      error.restore();
    } catch (const py::builtin_exception& error) {
      error.set_error();
    } catch (const std::exception& error) {
      py::set_error(PyExc_RuntimeError, error.what());
    }
    return false;
  }

  py::object instance_;
  std::string name_;
  std::vector<std::string> names_;
  std::vector<std::string_view> state_names_;
  std::vector<double> initial_state_;
  std::vector<HyperParameter> hyper_parameters_;
  UpdaterInfo info_;
};

// --------------------------------------------------------------------------------- configurations

/// Reads configuration objects; equal updaters of the user's own become one.
class Reader {
 public:
  UpdaterConfiguration updater(py::handle object) {
    if (is_instance(object, "flatstep.updaters", "CustomUpdater")) return python_updater(object);
    if (!is_instance(object, "flatstep.updaters", "Updater")) {
      wrong_type("updater", "an updater such as Adam() or Sgd(0.1)", object);
    }
    static constexpr struct {
      std::string_view name;
    } adam_w[] = {{"AdamW"}};
    const bool decays = find_by_class(object, adam_w) != nullptr;
    const UpdaterInfo* kind =
        decays ? find_updater("Adam") : find_by_class(object, updater_registry());
    if (kind == nullptr) {
      wrong_type("updater", "an updater of the registry or a CustomUpdater", object);
    }
    UpdaterConfiguration updater;
    updater.kind = kind;
    for (const HyperParameter& parameter : kind->hyper_parameters) {
      updater.values.push_back(to_schedule(object.attr(std::string(parameter.name).c_str())));
    }
    if (decays) updater.weight_decay = number(object, "weight_decay");
    return updater;
  }

  ParamConfiguration param(py::handle object) {
    ParamConfiguration param;
    param.updater = optional_updater(object, "updater");
    param.learning_rate = optional(object, "learning_rate", to_schedule);
    param.learning_rate_policy = optional(object, "learning_rate_policy", to_policy);
    param.momentum_schedule = optional_points(object, "momentum_schedule");
    param.l1 = optional_number(object, "l1");
    param.l2 = optional_number(object, "l2");
    param.weight_decay = optional_number(object, "weight_decay");
    param.weight_decay_apply_lr = optional_flag(object, "weight_decay_apply_lr");
    param.statistic = optional_flag(object, "statistic");
    return param;
  }

  LayerConfiguration layer(py::handle object) {
    LayerConfiguration layer;
    layer.updater = optional_updater(object, "updater");
    layer.bias_updater = optional_updater(object, "bias_updater");
    layer.bias_learning_rate = optional(object, "bias_learning_rate", to_schedule);
    layer.learning_rate_policy = optional(object, "learning_rate_policy", to_policy);
    layer.momentum_schedule = optional_points(object, "momentum_schedule");
    layer.gradient_normalization =
        optional(object, "gradient_normalization", [](py::handle strategy) {
          return parse_gradient_normalization(py::cast<std::string>(strategy));
        });
    layer.gradient_normalization_threshold =
        optional_number(object, "gradient_normalization_threshold");
    layer.l1 = optional_number(object, "l1");
    layer.l2 = optional_number(object, "l2");
    layer.l1_bias = optional_number(object, "l1_bias");
    layer.l2_bias = optional_number(object, "l2_bias");
    layer.weight_decay = optional_number(object, "weight_decay");
    layer.weight_decay_bias = optional_number(object, "weight_decay_bias");
    layer.weight_decay_apply_lr = optional_flag(object, "weight_decay_apply_lr");
    layer.kind = optional(object, "kind", [](py::handle kind) {
                   return py::cast<std::string>(kind);
                 }).value_or("");
    layer.frozen = py::cast<bool>(object.attr("frozen"));
    layer.pretrain = py::cast<bool>(object.attr("pretrain"));
    const py::object params = object.attr("params");
    for (const py::handle name : params) {
      layer.params[py::cast<std::string>(name)] = param(params[name]);
    }
    return layer;
  }

  NetworkConfiguration network(py::handle object) {
    NetworkConfiguration network;
    network.updater = updater(object.attr("updater"));
    network.bias_updater = optional_updater(object, "bias_updater");
    network.bias_learning_rate = optional(object, "bias_learning_rate", to_schedule);
    network.learning_rate_policy =
        optional(object, "learning_rate_policy", to_policy).value_or(LearningRatePolicy{});
    network.momentum_schedule = optional_points(object, "momentum_schedule").value_or(Points{});
    network.gradient_normalization =
        parse_gradient_normalization(string(object, "gradient_normalization"));
    network.gradient_normalization_threshold = number(object, "gradient_normalization_threshold");
    network.l1 = number(object, "l1");
    network.l2 = number(object, "l2");
    network.l1_bias = number(object, "l1_bias");
    network.l2_bias = number(object, "l2_bias");
    network.weight_decay = number(object, "weight_decay");
    network.weight_decay_bias = number(object, "weight_decay_bias");
    network.weight_decay_apply_lr = py::cast<bool>(object.attr("weight_decay_apply_lr"));
    network.mini_batch = py::cast<bool>(object.attr("mini_batch"));
    network.semantics = parse_semantics(string(object, "semantics"));
    network.on_nonfinite = parse_on_nonfinite(string(object, "on_nonfinite"));
    network.bias_params = py::cast<std::vector<std::string>>(object.attr("bias_params"));
    const py::object layers = object.attr("layers");
    for (const py::handle name : layers) {
      network.layers[py::cast<std::string>(name)] = layer(layers[name]);
    }
    return network;
  }

 private:
  std::optional<UpdaterConfiguration> optional_updater(py::handle object, const char* name) {
    return optional(object, name, [this](py::handle value) { return updater(value); });
  }

  UpdaterConfiguration python_updater(py::handle object) {
    auto known = std::ranges::find_if(python_updaters_, [&](const auto& earlier) {
      return earlier->instance().is(object) || earlier->instance().equal(object);
    });
    if (known == python_updaters_.end()) {
      python_updaters_.push_back(PythonUpdater::make(object));
      known = std::prev(python_updaters_.end());
    }
    UpdaterConfiguration updater;
    updater.kind = &(*known)->info();
    updater.owner = *known;
    if (updater.kind->has_learning_rate()) {
      const py::object rate = object.attr("learning_rate");
      const bool schedule = is_instance(rate, "flatstep.schedules", "Schedule");
      if (!schedule && (PyNumber_Check(rate.ptr()) == 0 || PyBool_Check(rate.ptr()) != 0)) {
        wrong_type(class_name(object) + ": learning_rate", "a number, a schedule or None", rate);
      }
      updater.values.push_back(schedule ? to_schedule(rate)
                                        : Schedule(py::cast<double>(py::float_(rate))));
    }
    return updater;
  }

  std::vector<std::shared_ptr<const PythonUpdater>> python_updaters_;
};

void require_not_negative(const char* argument, std::int64_t value) {
  if (value < 0) {
    throw py::value_error(std::string(argument) + ": expected an integer >= 0, got " +
                          std::to_string(value));
  }
}

std::string_view to_string(Role role) {
  switch (role) {
    case Role::learning_rate:
      return "learning_rate";
    case Role::momentum:
      return "momentum";
    case Role::plain:
      break;
  }
  return "plain";
}

}  // namespace

NetworkConfiguration to_network_configuration(py::handle configuration) {
  if (!is_instance(configuration, "flatstep.configuration", "MultiLayerConfiguration")) {
    wrong_type("config", "a MultiLayerConfiguration", configuration);
  }
  return Reader().network(configuration);
}

void register_configuration(py::module_& module) {
  py::class_<HyperParameter>(module, "HyperParameter",
                             "An argument of an updater: default, legal interval, and whether it "
                             "is the learning rate or the momentum, which may follow schedules.")
      .def_readonly("name", &HyperParameter::name)
      .def_readonly("default", &HyperParameter::default_value)
      .def_readonly("low", &HyperParameter::low)
      .def_readonly("high", &HyperParameter::high)
      .def_readonly("low_included", &HyperParameter::low_included)
      .def_readonly("high_included", &HyperParameter::high_included)
      .def_property_readonly("role",
                             [](const HyperParameter& self) { return to_string(self.role); });

  py::class_<UpdaterInfo>(module, "UpdaterInfo", "An updater of the core's registry.")
      .def_readonly("name", &UpdaterInfo::name)
      .def_property_readonly("hyper_parameters",
                             [](const UpdaterInfo& self) {
                               return std::vector<HyperParameter>(self.hyper_parameters.begin(),
                                                                  self.hyper_parameters.end());
                             })
      .def_property_readonly("state_names", [](const UpdaterInfo& self) {
        return std::vector<std::string_view>(self.state_names.begin(), self.state_names.end());
      });

  module.def(
      "updater_registry",
      [] {
        py::list infos;
        for (const UpdaterInfo& info : updater_registry()) {
          infos.append(py::cast(&info, py::return_value_policy::reference));
        }
        return py::typing::List<UpdaterInfo>(std::move(infos));
      },
      "All updaters that the core has, by name.");

  module.def(
      "schedule_value",
      [](py::handle schedule, std::int64_t iteration, std::int64_t epoch) {
        require_not_negative("iteration", iteration);
        require_not_negative("epoch", epoch);
        return to_schedule(schedule).at(iteration, epoch);
      },
      py::arg("schedule"), py::arg("iteration"), py::arg("epoch"),
      "A schedule's value at that iteration and epoch.");

  module.def(
      "policy_next",
      [](py::handle policy, double learning_rate, std::int64_t iteration) {
        require_not_negative("iteration", iteration);
        return to_policy(policy).next(learning_rate, iteration);
      },
      py::arg("policy"), py::arg("learning_rate"), py::arg("iteration"),
      "The learning rate that a policy makes of the one that the step before left.");

  module.def(
      "validate_schedule", [](py::handle schedule) { to_schedule(schedule); }, py::arg("schedule"),
      "Raises for a schedule whose formula cannot take its arguments.");
  module.def(
      "validate_policy", [](py::handle policy) { validate(to_policy(policy)); }, py::arg("policy"),
      "Raises for a learning-rate policy whose formula cannot take its arguments.");
  module.def(
      "validate_updater", [](py::handle updater) { validate(Reader().updater(updater)); },
      py::arg("updater"), "Raises for an updater with a hyper-parameter out of its range.");
  module.def(
      "validate_configuration",
      [](py::handle configuration) { validate(to_network_configuration(configuration)); },
      py::arg("configuration"),
      "Raises for settings that are not legal, whatever parameters there are.");
}

}  // namespace flatstep::python
