#include "schedules.hpp"

#include "attributes.hpp"
#include "values.hpp"

#include <pybind11/stl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
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
  const py::object value = object.attr(name);
  if (!py::isinstance<py::tuple>(value)) {
    wrong_type(class_name(object) + ": " + name, "a tuple", value);
  }
  return value;
}

/// One of the first so many of anneal_names.
Anneal anneal(py::handle object, std::size_t known) {
  const std::string argument = class_name(object) + ": anneal_strategy";
  const auto names = std::span(anneal_names).first(known);
  return static_cast<Anneal>(text::place(argument, names, string(object, "anneal_strategy")));
}

std::vector<double> to_values(py::handle object) {
  std::vector<double> values;
  for (const py::handle value : items(object, "values")) values.push_back(py::cast<double>(value));
  return values;
}

std::vector<Schedule> to_factors(py::handle object) {
  std::vector<Schedule> factors;
  for (const py::handle factor : items(object, "factors")) factors.push_back(to_schedule(factor));
  return factors;
}

/// Pairs of a schedule and its length; the last may have None.
std::vector<std::pair<Schedule, std::int64_t>> to_pieces(py::handle object) {
  std::vector<std::pair<Schedule, std::int64_t>> pieces;
  const py::tuple given = items(object, "pieces");
  for (std::size_t k = 0; k < given.size(); ++k) {
    const auto piece = py::cast<py::tuple>(given[k]);
    const std::string where = class_name(object) + ": pieces[" + std::to_string(k) + "]: length";
    const bool open = k + 1 == given.size() && piece[1].is_none();
    pieces.emplace_back(to_schedule(piece[0]), open ? 1 : to_integer(piece[1], where));
  }
  return pieces;
}

struct ScheduleClass {
  std::string_view name;
  Schedule (*make)(py::handle, ScheduleType);
};

const std::array<ScheduleClass, 18> schedule_classes{{
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
    {"CosineRestartsSchedule",
     [](py::handle s, ScheduleType type) {
       return Schedule::cosine_restarts(number(s, "initial"), integer(s, "first"),
                                        integer(s, "multiplier"), number(s, "final"), type);
     }},
    {"LinearSchedule",
     [](py::handle s, ScheduleType type) {
       return Schedule::linear(number(s, "initial"), number(s, "final"), integer(s, "steps"), type);
     }},
    {"OneCycleSchedule",
     [](py::handle s, ScheduleType type) {
       return Schedule::one_cycle(number(s, "max_rate"), integer(s, "total_steps"),
                                  number(s, "pct_start"), anneal(s, 2), number(s, "div_factor"),
                                  number(s, "final_div_factor"), flag(s, "three_phase"), type);
     }},
    {"OneCycleMomentumSchedule",
     [](py::handle s, ScheduleType type) {
       return Schedule::one_cycle_momentum(integer(s, "total_steps"), number(s, "base_momentum"),
                                           number(s, "max_momentum"), number(s, "pct_start"),
                                           anneal(s, 2), flag(s, "three_phase"), type);
     }},
    {"WarmupStableDecaySchedule",
     [](py::handle s, ScheduleType type) {
       return Schedule::warmup_stable_decay(number(s, "max_rate"), integer(s, "warmup_steps"),
                                            integer(s, "stable_steps"), integer(s, "decay_steps"),
                                            number(s, "initial"), number(s, "final"),
                                            anneal(s, anneal_names.size()), type);
     }},
    {"TableSchedule",
     [](py::handle s, ScheduleType type) { return Schedule::table(to_values(s), type); }},
    {"SequenceSchedule",
     [](py::handle s, ScheduleType type) { return Schedule::sequence(to_pieces(s), type); }},
    {"ProductSchedule",
     [](py::handle s, ScheduleType) { return Schedule::product(to_factors(s)); }},
    {"RampSchedule",
     [](py::handle s, ScheduleType) {
       return Schedule::ramp(to_schedule(s.attr("base")), integer(s, "num_iter"));
     }},
}};

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
