#include "schedules.hpp"

#include "attributes.hpp"
#include "values.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace flatstep::python {
namespace {

/// While it lives this thread reads a schedule that another one is made of.
class DeeperSchedule {
 public:
  DeeperSchedule() {
    if (Py_EnterRecursiveCall(" in a schedule's base") != 0) throw py::error_already_set();
  }
  ~DeeperSchedule() { Py_LeaveRecursiveCall(); }
  DeeperSchedule(const DeeperSchedule&) = delete;
  DeeperSchedule& operator=(const DeeperSchedule&) = delete;
};

/// An attribute that is a tuple.
py::tuple items(py::handle object, const char* name) {
  py::object value = object.attr(name);
  if (!py::isinstance<py::tuple>(value)) {
    wrong_type(class_name(object) + ": " + name, "a tuple", value);
  }
  return value;
}

// ----------------------------------------------------- arguments, each as what its factory takes

template <class X>
X read(py::handle object, const ScheduleArgument& argument);

template <>
double read(py::handle object, const ScheduleArgument& argument) {
  return number(object, argument.name);
}

template <>
std::int64_t read(py::handle object, const ScheduleArgument& argument) {
  return integer(object, argument.name);
}

template <>
bool read(py::handle object, const ScheduleArgument& argument) {
  return flag(object, argument.name);
}

template <>
Anneal read(py::handle object, const ScheduleArgument& argument) {
  const std::string where = class_name(object) + ": " + argument.name;
  return static_cast<Anneal>(text::place(where, argument.choices, string(object, argument.name)));
}

template <>
Schedule read(py::handle object, const ScheduleArgument& argument) {
  return to_schedule(object.attr(argument.name));
}

template <>
Schedule::Points read(py::handle object, const ScheduleArgument& argument) {
  return to_points(object.attr(argument.name));
}

template <>
std::vector<double> read(py::handle object, const ScheduleArgument& argument) {
  std::vector<double> values;
  for (const py::handle value : items(object, argument.name)) {
    values.push_back(py::cast<double>(value));
  }
  return values;
}

template <>
std::vector<Schedule> read(py::handle object, const ScheduleArgument& argument) {
  std::vector<Schedule> schedules;
  for (const py::handle each : items(object, argument.name)) {
    schedules.push_back(to_schedule(each));
  }
  return schedules;
}

/// Pairs of a schedule and its length; the last may have None.
template <>
std::vector<std::pair<Schedule, std::int64_t>> read(py::handle object,
                                                    const ScheduleArgument& argument) {
  std::vector<std::pair<Schedule, std::int64_t>> pieces;
  const py::tuple given = items(object, argument.name);
  for (std::size_t k = 0; k < given.size(); ++k) {
    const auto piece = py::cast<py::tuple>(given[k]);
    const std::string where =
        class_name(object) + ": " + argument.name + "[" + std::to_string(k) + "]: length";
    const bool open = k + 1 == given.size() && piece[1].is_none();
    pieces.emplace_back(to_schedule(piece[0]), open ? 1 : to_integer(piece[1], where));
  }
  return pieces;
}

// ------------------------------------------------------------------------------ factories by class

struct ScheduleClass {
  std::string_view name;
  Schedule (*make)(py::handle, ScheduleType);
};

template <class X>
X read(py::handle object, const ScheduleArgument* argument, ScheduleType type) {
  if constexpr (std::is_same_v<X, ScheduleType>) {
    return type;
  } else {
    return read<X>(object, *argument);
  }
}

template <class... A, std::size_t... I>
Schedule made_by(const ScheduleFactory<A...>& factory, std::index_sequence<I...>, py::handle object,
                 ScheduleType type) {
  // In braces they are read from the left, so that the first wrong one is the one that is named.
  std::tuple<A...> arguments{read<A>(object, factory.arguments.data() + I, type)...};
  return std::apply(factory.make, std::move(arguments));
}

template <class... A>
Schedule made_by(const ScheduleFactory<A...>& factory, py::handle object, ScheduleType type) {
  return made_by(factory, std::index_sequence_for<A...>(), object, type);
}

template <std::size_t... I>
constexpr auto classes_of(std::index_sequence<I...>) {
  return std::array{
      ScheduleClass{std::get<I>(schedule_factories).name, [](py::handle object, ScheduleType type) {
                      return made_by(std::get<I>(schedule_factories), object, type);
                    }}...};
}

constexpr auto schedule_classes =
    classes_of(std::make_index_sequence<std::tuple_size_v<decltype(schedule_factories)>>());

}  // namespace

Schedule to_schedule(py::handle object) {
  // One may be made to hold itself, behind the back of its class.
  const DeeperSchedule deeper;
  if (is_number(object)) return py::cast<double>(object);
  const ScheduleClass* found = is_instance(object, "flatstep.schedules", "Schedule")
                                   ? find_by_class(object, schedule_classes)
                                   : nullptr;
  if (found == nullptr) wrong_type("schedule", "a number or one of flatstep's schedules", object);
  return found->make(object, parse_schedule_type(string(object, "schedule_type")));
}

}  // namespace flatstep::python
