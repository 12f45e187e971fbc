#include "configuration.hpp"

#include "attributes.hpp"
#include "python_updater.hpp"
#include "schedules.hpp"
#include "values.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <span>
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

/// An attribute of a configuration object, as errors name it.
struct Attribute {
  py::handle object;
  const char* name;

  std::string text() const { return class_name(object) + ": " + name; }
};

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

std::optional<Points> optional_points(py::handle object, const char* name) {
  return optional(object, name, to_points);
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
      updater.values.push_back(hyper_parameter(object, parameter));
    }
    if (decays) updater.weight_decay = number(object, "weight_decay");
    return updater;
  }

  NetworkConfiguration network(py::handle object) {
    NetworkConfiguration network;
    read_fields(object, network);
    return network;
  }

 private:
  static Schedule hyper_parameter(py::handle object, const HyperParameter& parameter) {
    const std::string name(parameter.name);
    const py::object value = object.attr(name.c_str());
    if (parameter.optional && value.is_none()) return not_given;
    if (parameter.kind == ValueKind::flag) return py::cast<bool>(value) ? 1.0 : 0.0;
    if (parameter.kind == ValueKind::choice) {
      const std::string argument = class_name(object) + ": " + name;
      const std::string chosen = to_text(value, argument);
      const std::span choices(parameter.choices, parameter.choice_count);
      return static_cast<double>(text::place(argument, choices, chosen));
    }
    return to_schedule(value);
  }

  /// Every field from the attribute of its name; None leaves what is inherited, or the default.
  template <class Level>
  void read_fields(py::handle object, Level& level) {
    visit_fields(level, [&](const char* name, auto& field, FieldRole) {
      const py::object value = object.attr(name);
      if (!value.is_none()) read({object, name}, value, field);
    });
  }

  template <class X>
  void read(const Attribute& attribute, py::handle value, std::optional<X>& field) {
    read(attribute, value, field.emplace());
  }
  void read(const Attribute&, py::handle value, std::optional<UpdaterConfiguration>& field) {
    field = updater(value);
  }
  void read(const Attribute&, py::handle value, std::optional<Schedule>& field) {
    field = to_schedule(value);
  }
  void read(const Attribute&, py::handle value, UpdaterConfiguration& field) {
    field = updater(value);
  }
  void read(const Attribute&, py::handle value, LearningRatePolicy& field) {
    field = to_policy(value);
  }
  void read(const Attribute&, py::handle value, Points& field) { field = to_points(value); }
  void read(const Attribute& attribute, py::handle value, double& field) {
    if (!is_number(value)) wrong_type(attribute.text(), "a float", value);
    field = py::cast<double>(value);
  }
  void read(const Attribute&, py::handle value, bool& field) { field = py::cast<bool>(value); }
  void read(const Attribute& attribute, py::handle value, std::string& field) {
    field = to_text(value, attribute.text());
  }
  void read(const Attribute& attribute, py::handle value, std::vector<std::string>& field) {
    field.clear();
    for (const py::handle name : value) field.push_back(to_text(name, attribute.text()));
  }
  void read(const Attribute& attribute, py::handle, DecayFilter& field) {
    field = [decays = py::object(attribute.object.attr("_decays"))](
                const SlotName& name, std::span<const std::size_t> shape) {
      const py::tuple extents = py::cast(std::vector<std::size_t>(shape.begin(), shape.end()));
      return decays(name.key, extents).cast<bool>();
    };
  }
  void read(const Attribute& attribute, py::handle value, GradientNormalization& field) {
    read_name(attribute, value, field, parse_gradient_normalization);
  }
  void read(const Attribute& attribute, py::handle value, Semantics& field) {
    read_name(attribute, value, field, parse_semantics);
  }
  void read(const Attribute& attribute, py::handle value, OnNonfinite& field) {
    read_name(attribute, value, field, parse_on_nonfinite);
  }
  void read(const Attribute& attribute, py::handle value, StateStorage& field) {
    read_name(attribute, value, field, parse_state_storage);
  }
  void read(const Attribute& attribute, py::handle value, Master& field) {
    read_name(attribute, value, field, parse_master);
  }
  void read(const Attribute& attribute, py::handle value, std::uint64_t& field) {
    field = static_cast<std::uint64_t>(to_integer(value, attribute.text().c_str(), 0));
  }
  template <class Level>
  void read(const Attribute& attribute, py::handle value,
            std::map<std::string, Level, std::less<>>& levels) {
    for (const py::handle name : value) {
      read_fields(value[name], levels[to_text(name, attribute.text())]);
    }
  }

  template <class Choice, class Parse>
  void read_name(const Attribute& attribute, py::handle value, Choice& field, Parse&& parse) {
    std::string name;
    read(attribute, value, name);
    field = parse(name);
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
    case Role::scheduled:
      return "scheduled";
    case Role::plain:
      break;
  }
  return "plain";
}

std::string_view to_string(ValueKind kind) {
  switch (kind) {
    case ValueKind::flag:
      return "flag";
    case ValueKind::choice:
      return "choice";
    case ValueKind::number:
      break;
  }
  return "number";
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
                             "An argument of an updater: default, legal interval, and its role: "
                             "all but the plain ones may follow schedules.")
      .def_readonly("name", &HyperParameter::name)
      .def_readonly("default", &HyperParameter::default_value)
      .def_readonly("low", &HyperParameter::low)
      .def_readonly("high", &HyperParameter::high)
      .def_readonly("low_included", &HyperParameter::low_included)
      .def_readonly("high_included", &HyperParameter::high_included)
      .def_property_readonly("role",
                             [](const HyperParameter& self) { return to_string(self.role); })
      .def_property_readonly("kind",
                             [](const HyperParameter& self) { return to_string(self.kind); })
      .def_readonly("optional", &HyperParameter::optional)
      .def_property_readonly("choices", [](const HyperParameter& self) {
        return std::vector<std::string_view>(self.choices, self.choices + self.choice_count);
      });

  py::class_<UpdaterInfo>(module, "UpdaterInfo", "An updater of the core's registry.")
      .def_readonly("name", &UpdaterInfo::name)
      .def_property_readonly("hyper_parameters",
                             [](const UpdaterInfo& self) {
                               return std::vector<HyperParameter>(self.hyper_parameters.begin(),
                                                                  self.hyper_parameters.end());
                             })
      .def_property_readonly("state_names", [](const UpdaterInfo& self) {
        std::vector<std::string_view> names;
        for (const StateDescription& array : self.state) names.push_back(array.name);
        return names;
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
