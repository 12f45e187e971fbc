// The class flatstep._core.Updater: the C++ updater of one dtype behind NumPy arrays.
//
// The path of a step is short on purpose: it has its own entry (fast_method.hpp), keys are matched
// by identity first, arrays are checked without temporaries, and the interpreter's lock is released
// only for steps long enough to pay for it. What is not a plain dict of arrays by key goes through
// flatstep.parameters.in_slot_order, in Python.
#include "updater.hpp"

#include "arrays.hpp"
#include "configuration.hpp"
#include "fast_method.hpp"

#include <flatstep/multi_layer_updater.hpp>

#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace flatstep::python {
namespace {

/// A step of fewer elements keeps the interpreter's lock: giving it back costs more.
constexpr std::size_t elements_to_release_lock = 1 << 16;

[[noreturn]] void raise_key_error(const std::string& text) {
  py::set_error(py::module_::import("flatstep.errors").attr("ParameterKeyError"), text.c_str());
  throw py::error_already_set();
}

std::int64_t to_integer(py::handle value, const char* name, std::int64_t least) {
  const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!index) {
    PyErr_Clear();
    throw py::type_error(std::string(name) + ": expected an integer >= " + std::to_string(least) +
                         ", got " + std::string(py::repr(value)));
  }
  int overflow = 0;
  const long long integer = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  if (overflow != 0 || integer < least) {
    throw py::value_error(std::string(name) + ": expected an integer >= " + std::to_string(least) +
                          (overflow > 0 ? " and < 2**63" : "") + ", got " +
                          std::string(py::str(index)));
  }
  return integer;
}

/// An iteration, which must leave room for the one after it.
std::int64_t to_iteration(py::handle value) {
  const std::int64_t iteration = to_integer(value, "iteration", 0);
  if (iteration == std::numeric_limits<std::int64_t>::max()) {
    throw py::value_error("iteration: expected an integer >= 0 and < 2**63 - 1, got " +
                          std::to_string(iteration));
  }
  return iteration;
}

/// Held by whoever is inside an updater: one thread at a time, and no callback comes back in.
class Busy {
 public:
  explicit Busy(std::atomic<bool>& flag) : flag_(flag) {
    if (flag_.exchange(true, std::memory_order_acquire)) {
      throw std::runtime_error(
          "this updater is in the middle of a step, in another thread or in a CustomUpdater; give "
          "each thread an updater of its own (clone)");
    }
  }
  ~Busy() {
    if (!kept_) flag_.store(false, std::memory_order_release);
  }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

  /// Leaves it held.
  void keep() { kept_ = true; }

 private:
  std::atomic<bool>& flag_;
  bool kept_ = false;
};

struct SlotArguments {
  std::vector<SlotName> names;
  std::vector<py::object> keys;  ///< the caller's own, to be matched by identity
  std::vector<py::object> arrays;
};

/// What Python calls; one implementation per dtype.
class Core {
 public:
  Core() = default;
  virtual ~Core() = default;
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  /// Refused where a step is under way.
  Busy hold() { return Busy(busy_); }
  void acquire() { Busy(busy_).keep(); }
  void release() { busy_.store(false, std::memory_order_release); }

  virtual void run(py::handle self, py::handle gradients, py::handle iteration, py::handle epoch,
                   py::handle batch_size, bool applies) = 0;
  virtual void bind(py::handle self, py::handle gradients) = 0;
  virtual void accumulate(py::handle self, py::handle gradients) = 0;
  virtual void discard_accumulated() = 0;
  virtual bool has_accumulated() const = 0;
  virtual py::object accumulated(py::handle self) = 0;
  virtual py::array state_view(py::handle self) = 0;
  virtual py::array state_array(py::handle self, std::size_t slot, std::size_t array) = 0;
  virtual py::list state_names(std::size_t slot) const = 0;
  virtual Counters& counters() = 0;
  virtual const Layout& layout() const = 0;
  virtual const NetworkSettings& settings() const = 0;
  virtual std::vector<RateState> rates() const = 0;
  virtual void set_rates(std::vector<RateState> rates) = 0;
  virtual double learning_rate(std::size_t slot, std::int64_t iteration,
                               std::int64_t epoch) const = 0;
  virtual double momentum(std::size_t slot, std::int64_t iteration, std::int64_t epoch) const = 0;
  virtual SlotReport report(std::size_t slot) const = 0;
  virtual double group_norm(std::size_t slot) const = 0;
  virtual const std::optional<StepReport>& last() const = 0;
  virtual const std::vector<py::object>& arrays() const = 0;

 private:
  std::atomic<bool> busy_{false};
};

template <class T>
class TypedCore final : public Core {
 public:
  TypedCore(const NetworkConfiguration& configuration, SlotArguments slots, bool monitor)
      : arrays_(std::move(slots.arrays)),
        keys_(std::move(slots.keys)),
        updater_(configuration, named_slots(slots.names), monitor) {
    const std::size_t count = arrays_.size();
    for (std::size_t i = 0; i < count; ++i) {
      const std::string& key = slots.names[i].key;
      forms_.push_back(form_of(arrays_[i], key));
      frozen_.push_back(updater_.settings().slots[i].frozen);
    }
    gradients_.assign(count, nullptr);
    apart_.assign(count, nullptr);
    for (std::size_t i = 0; i < count; ++i) {
      calls_python_ = calls_python_ || updater_.settings().slots[i].updater.kind->is_callback();
      const std::size_t size = updater_.layout().slots[i].size;
      if (size > 0) parameter_ranges_.push_back({updater_.parameters()[i], size, i, "parameter"});
    }
    std::ranges::sort(parameter_ranges_, {}, &Range::begin);
  }

  void run(py::handle self, py::handle gradients, py::handle iteration, py::handle epoch,
           py::handle batch_size, bool applies) override {
    StepOptions options;
    if (!iteration.is_none()) options.iteration = to_iteration(iteration);
    if (!epoch.is_none()) options.epoch = to_integer(epoch, "epoch", 0);
    if (batch_size) options.batch_size = to_integer(batch_size, "batch_size", 1);
    const Busy busy = hold();
    const bool from_sum = gradients.is_none() && summed_;
    const Held held(held_);
    if (gradients.is_none()) {
      use_kept_gradients(applies);
    } else {
      gather(self, gradients, !applies);
    }
    if (!applies) check_apart();

    const StepReport report = run_unlocked(options, applies);
    if (report.status == StepStatus::abandoned) throw py::error_already_set();
    if (report.status == StepStatus::invalid) {
      throw std::logic_error("a step that was checked was refused: please report this");
    }
    last_ = report;
    if (report.status == StepStatus::nonfinite) raise_nonfinite(from_sum);
    if (from_sum) clear_sums();
  }

  void bind(py::handle self, py::handle gradients) override {
    const Busy busy = hold();
    std::vector<py::object> arrays = in_slot_order(self, gradients);
    for (std::size_t i = 0; i < arrays.size(); ++i) take(i, arrays[i], false);
    bound_ = gradients_;
    bound_arrays_ = std::move(arrays);
  }

  void accumulate(py::handle self, py::handle gradients) override {
    const Busy busy = hold();
    const Held held(held_);
    gather(self, gradients, false);
    const Layout& layout = updater_.layout();
    if (sums_.empty()) {
      sum_memory_.assign(layout.size, T{0});
      for (const LayoutSlot& slot : layout.slots) {
        sums_.push_back(sum_memory_.data() + slot.offset);
      }
    }
    updater_.accumulate(sums_, gradients_);
    summed_ = true;
  }

  void discard_accumulated() override {
    const Busy busy = hold();
    clear_sums();
  }
  bool has_accumulated() const override { return summed_; }

  py::object accumulated(py::handle self) override {
    if (!summed_) return py::none();
    py::dict sums;
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      sums[keys_[i]] = view(sums_[i], forms_[i], self);
    }
    return sums;
  }

  py::array state_view(py::handle self) override {
    const std::span<T> state = updater_.state_view();
    return view(state.data(), {"", {static_cast<py::ssize_t>(state.size())}, true, true}, self);
  }

  py::array state_array(py::handle self, std::size_t slot, std::size_t array) override {
    return view(updater_.state(slot, array).data(), forms_.at(slot), self);
  }

  py::list state_names(std::size_t slot) const override {
    py::list names;
    for (const std::string_view name : updater_.state_names(slot)) names.append(std::string(name));
    return names;
  }

  Counters& counters() override { return updater_.counters(); }
  const Layout& layout() const override { return updater_.layout(); }
  const NetworkSettings& settings() const override { return updater_.settings(); }
  std::vector<RateState> rates() const override { return updater_.rates(); }
  void set_rates(std::vector<RateState> rates) override { updater_.set_rates(std::move(rates)); }
  double learning_rate(std::size_t slot, std::int64_t iteration,
                       std::int64_t epoch) const override {
    return updater_.learning_rate(slot, iteration, epoch);
  }
  double momentum(std::size_t slot, std::int64_t iteration, std::int64_t epoch) const override {
    return updater_.momentum(slot, iteration, epoch);
  }
  SlotReport report(std::size_t slot) const override { return updater_.report(slot); }
  double group_norm(std::size_t slot) const override { return updater_.group_norm(slot); }
  const std::optional<StepReport>& last() const override { return last_; }
  const std::vector<py::object>& arrays() const override { return arrays_; }

 private:
  /// A stretch of memory, and whose it is.
  struct Range {
    const T* begin;
    std::size_t size;
    std::size_t slot;
    const char* what;
  };

  std::vector<NamedSlot<T>> named_slots(const std::vector<SlotName>& names) const {
    std::vector<NamedSlot<T>> slots;
    for (std::size_t i = 0; i < names.size(); ++i) {
      T* const memory = parameter_memory<T>(arrays_[i], names[i].key);
      const ArrayForm form = form_of(arrays_[i], names[i].key);
      slots.push_back({names[i],
                       {memory, static_cast<std::size_t>(form.size())},
                       {form.shape.begin(), form.shape.end()},
                       !form.c_contiguous});
    }
    return slots;
  }

  /// While it lives, so do the arrays of the step under way, whatever becomes of the dict that they
  /// came in.
  class Held {
   public:
    explicit Held(std::vector<py::object>& arrays) : arrays_(arrays) {}
    ~Held() { arrays_.clear(); }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

   private:
    std::vector<py::object>& arrays_;
  };

  /// Whether Python code, of this thread or another, may run during a step.
  bool lets_python_run() const {
    return calls_python_ || updater_.layout().size >= elements_to_release_lock;
  }

  void clear_sums() {
    std::fill(sum_memory_.begin(), sum_memory_.end(), T{0});
    summed_ = false;
  }

  /// Fills gradients_ from whatever the caller gave.
  void gather(py::handle self, py::handle gradients, bool written) {
    if (PyDict_CheckExact(gradients.ptr()) && gather_dict(gradients.ptr(), written)) return;
    held_ = in_slot_order(self, gradients);
    for (std::size_t i = 0; i < held_.size(); ++i) take(i, held_[i], written);
    if (written) require_lasting(self, gradients);
  }

  /// A dict of arrays by key: no lookup where the keys are ours and in order. False where it is
  /// anything else, or not complete.
  bool gather_dict(PyObject* gradients, bool written) {
    const std::size_t count = keys_.size();
    const bool holds = lets_python_run();
    std::size_t found = 0;
    std::size_t i = 0;
    Py_ssize_t position = 0;
    PyObject* key = nullptr;
    PyObject* value = nullptr;
    for (; i < count && PyDict_Next(gradients, &position, &key, &value); ++i) {
      if (key != keys_[i].ptr() || !is_array(value)) break;
      if (holds) held_.push_back(py::reinterpret_borrow<py::object>(value));
      take(i, value, written);
      ++found;
    }
    for (; i < count; ++i) {
      value = PyDict_GetItemWithError(gradients, keys_[i].ptr());
      if (value == nullptr) {
        if (PyErr_Occurred() != nullptr) throw py::error_already_set();
        if (!frozen_[i]) return false;
        gradients_[i] = nullptr;
        continue;
      }
      ++found;
      if (value == Py_None && frozen_[i]) {
        gradients_[i] = nullptr;
      } else if (is_array(value)) {
        if (holds) held_.push_back(py::reinterpret_borrow<py::object>(value));
        take(i, value, written);
      } else {
        return false;
      }
    }
    return found == static_cast<std::size_t>(PyDict_GET_SIZE(gradients));
  }

  /// That a mapping gives the same arrays again: an update written into a temporary would be lost.
  void require_lasting(py::handle self, py::handle gradients) const {
    const std::vector<py::object> again = in_slot_order(self, gradients);
    for (std::size_t i = 0; i < again.size(); ++i) {
      if (gradients_[i] == nullptr ||
          gradient_memory<T>(again[i], forms_[i], true) == gradients_[i])
        continue;
      throw py::type_error(
          "gradient \"" + forms_[i].key +
          "\": expected an array that the mapping keeps, got a new one at each "
          "access; update() would write into a temporary: give it a dict (dict(…))");
    }
  }

  void take(std::size_t i, py::handle value, bool written) {
    gradients_[i] = nullptr;
    if (value.is_none()) return;
    T* const memory = gradient_memory<T>(value, forms_[i], written);
    // Usually where the last one was. What is written is checked against all others: check_apart.
    if (!written && memory != apart_[i]) {
      check_apart_from_parameters(i, memory);
      apart_[i] = memory;
    }
    gradients_[i] = memory;
  }

  /// A step changes parameters while it reads gradients: these may share memory with none but their
  /// own, element for element.
  void check_apart_from_parameters(std::size_t i, const T* memory) const {
    const std::size_t size = updater_.layout().slots[i].size;
    if (size == 0 || memory == updater_.parameters()[i]) return;
    const auto end_of = [](const Range& range) { return range.begin + range.size; };
    const auto found =
        std::upper_bound(parameter_ranges_.begin(), parameter_ranges_.end(), memory,
                         [&](const T* begin, const Range& range) { return begin < end_of(range); });
    if (found == parameter_ranges_.end() || found->begin >= memory + size) return;
    throw py::value_error("gradient \"" + forms_[i].key + "\" and parameter \"" +
                          forms_[found->slot].key +
                          "\" overlap in memory; a step changes the parameters while it reads the "
                          "gradients: expected gradients of their own (np.copy)");
  }

  /// Any accepted form of gradients as one object per slot; errors of keys come from there.
  static std::vector<py::object> in_slot_order(py::handle self, py::handle gradients) {
    return py::module_::import("flatstep.parameters")
        .attr("in_slot_order")(self, gradients)
        .cast<std::vector<py::object>>();
  }

  void use_kept_gradients(bool applies) {
    if (summed_) {
      if (!applies) {
        throw py::value_error(
            "gradients: update() writes the update into the gradients it is given; expected "
            "gradients, got none (accumulated ones are for step())");
      }
      std::copy(sums_.begin(), sums_.end(), gradients_.begin());
    } else if (!bound_.empty()) {
      gradients_ = bound_;
      if (!applies) {
        for (std::size_t i = 0; i < bound_.size(); ++i) take(i, bound_arrays_[i], true);
      }
    } else {
      throw py::value_error(
          "gradients: expected gradients, got none, and none are bound or accumulated; pass them, "
          "or call bind_gradients or accumulate first");
    }
  }

  /// Updates are written into the gradients: these must be apart from each other and from the
  /// parameters.
  void check_apart() {
    ranges_.clear();
    for (std::size_t i = 0; i < gradients_.size(); ++i) {
      const std::size_t size = updater_.layout().slots[i].size;
      if (size == 0) continue;
      ranges_.push_back({updater_.parameters()[i], size, i, "parameter"});
      if (gradients_[i] != nullptr) ranges_.push_back({gradients_[i], size, i, "gradient"});
    }
    std::sort(ranges_.begin(), ranges_.end(),
              [](const Range& a, const Range& b) { return a.begin < b.begin; });
    for (std::size_t k = 1; k < ranges_.size(); ++k) {
      const Range& a = ranges_[k - 1];
      const Range& b = ranges_[k];
      if (b.begin < a.begin + a.size) {
        throw py::value_error(std::string(a.what) + " \"" + forms_[a.slot].key + "\" and " +
                              b.what + " \"" + forms_[b.slot].key +
                              "\" overlap in memory; update() writes into the gradients: expected "
                              "arrays of their own (np.copy)");
      }
    }
  }

  StepReport run_unlocked(const StepOptions& options, bool applies) {
    const auto run = [&] {
      return applies ? updater_.step(std::span<const T* const>(gradients_), options)
                     : updater_.update(std::span<T* const>(gradients_), options);
    };
    if (updater_.layout().size < elements_to_release_lock) return run();
    const py::gil_scoped_release unlocked;
    return run();
  }

  [[noreturn]] void raise_nonfinite(bool from_sum) const {
    py::list keys;
    std::string list;
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      if (!updater_.report(i).nonfinite) continue;
      keys.append(keys_[i]);
      list += (list.empty() ? "\"" : ", \"") + forms_[i].key + '"';
    }
    const py::object type = py::module_::import("flatstep.errors").attr("NonFiniteGradientError");
    const py::object error =
        type("gradients: expected finite numbers, got NaN or infinity in " + list +
                 "; nothing was changed. " +
                 (from_sum ? "They are in what was accumulated: call discard_accumulated(), then l"
                           : "L") +
                 "ower the learning rate or the loss scale, or choose on_nonfinite=\"skip\" or "
                 "\"propagate\"",
             keys);
    PyErr_SetObject(type.ptr(), error.ptr());
    throw py::error_already_set();
  }

  std::vector<py::object> arrays_;
  std::vector<py::object> keys_;
  Updater<T> updater_;
  std::vector<ArrayForm> forms_;
  std::vector<bool> frozen_;
  std::optional<StepReport> last_;

  std::vector<T*> gradients_;     ///< of the step under way
  std::vector<py::object> held_;  ///< likewise, where Python code may run during the step
  std::vector<const T*> apart_;   ///< gradients that are known to be apart from the parameters
  std::vector<Range> parameter_ranges_;  ///< in the order of their addresses
  std::vector<Range> ranges_;
  bool calls_python_ = false;
  std::vector<T*> bound_;
  std::vector<py::object> bound_arrays_;
  std::vector<T> sum_memory_;
  std::vector<T*> sums_;
  bool summed_ = false;
};

/// An updater as Python hands it over, whose __init__ has run.
struct Self {
  Core* core = nullptr;
  py::handle object;

  Core* operator->() const { return core; }
};

std::unique_ptr<Core> make_core(py::handle configuration, const py::list& names,
                                const py::list& arrays, bool monitor) {
  const NetworkConfiguration network = to_network_configuration(configuration);
  SlotArguments slots;
  for (const py::handle name : names) {
    const auto [key, layer, param] = name.cast<std::tuple<std::string, std::string, std::string>>();
    slots.names.push_back({key, layer, param});
    slots.keys.push_back(name.cast<py::tuple>()[0]);
  }
  for (const py::handle array : arrays)
    slots.arrays.push_back(py::reinterpret_borrow<py::object>(array));
  if (!slots.arrays.empty() && is_float64(slots.arrays[0], slots.names[0].key)) {
    return std::make_unique<TypedCore<double>>(network, std::move(slots), monitor);
  }
  return std::make_unique<TypedCore<float>>(network, std::move(slots), monitor);
}

py::object value_or_none(double value) {
  if (std::isnan(value)) return py::none();
  return py::float_(value);
}

std::optional<double> optional(double value) {
  return std::isnan(value) ? std::nullopt : std::optional(value);
}

double none_or_value(py::handle value) { return value.is_none() ? no_value : value.cast<double>(); }

bool is_global(const Self& self, std::size_t slot) {
  return self->settings().layers[self->settings().slots[slot].layer].global;
}

/// None where the strategy clips, but does not count what.
py::object clipped_or_none(const Self& self, std::size_t slot, const SlotReport& report) {
  const SlotSettings& settings = self->settings().slots[slot];
  if (self->settings().layers[settings.layer].strategy ==
      GradientNormalization::ClipElementWiseAbsoluteValue) {
    return py::none();
  }
  return py::bool_(report.clipped);
}

/// (norm of the group, norm of the slot, factor, clipped, nonfinite, rate, ‖update‖, ‖parameter‖,
/// whether the group is the network)
py::tuple report_tuple(const Self& self, std::size_t slot) {
  const SlotReport r = self->report(slot);
  const bool normed = !std::isnan(r.factor);
  const auto norm = [&](double value) -> py::object {
    if (normed) return py::float_(value);
    return py::none();
  };
  return py::make_tuple(norm(self->group_norm(slot)), norm(r.gradient_norm),
                        value_or_none(r.factor), clipped_or_none(self, slot, r), r.nonfinite,
                        value_or_none(r.learning_rate), value_or_none(r.update_norm),
                        value_or_none(r.parameter_norm), normed && is_global(self, slot));
}

/// (iteration, epoch, skipped) of the last step, None before the first.
py::object last_tuple(const Self& self) {
  if (!self->last()) return py::none();
  return py::make_tuple(self->last()->iteration, self->last()->epoch,
                        self->last()->status == StepStatus::skipped);
}

py::list layout_list(const Self& self) {
  py::list slots;
  for (std::size_t i = 0; i < self->layout().slots.size(); ++i) {
    const LayoutSlot& slot = self->layout().slots[i];
    const ArrayForm form = form_of(self->arrays()[i], slot.name.key);
    slots.append(py::make_tuple(slot.name.key, slot.name.layer, slot.name.param, slot.offset,
                                slot.size, py::tuple(py::cast(form.shape)),
                                form.c_contiguous ? "C" : "F"));
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
    blocks.append(py::make_tuple(std::string(settings.updater.kind->name), py::tuple(keys),
                                 block.param_start, block.param_end, block.state_start,
                                 block.state_end));
  }
  return blocks;
}

py::list rate_list(const Self& self) {
  py::list rates;
  for (const RateState& rate : self->rates()) {
    rates.append(py::make_tuple(value_or_none(rate.learning_rate), value_or_none(rate.momentum)));
  }
  return rates;
}

void set_rate_list(const Self& self, const py::list& list) {
  std::vector<RateState> rates;
  for (const py::handle item : list) {
    const auto pair = item.cast<py::tuple>();
    rates.push_back({none_or_value(pair[0]), none_or_value(pair[1])});
  }
  self->set_rates(std::move(rates));
}

/// step and update, which differ in what they do with the update.
template <bool applies>
PyObject* step_or_update(PyObject* self, PyObject* const* given, Py_ssize_t positional,
                         PyObject* keywords) noexcept {
  return call([&] {
    static const ArgumentNames<4> names(applies ? "step" : "update",
                                        {"gradients", "iteration", "epoch", "batch_size"});
    const auto [gradients, iteration, epoch, batch_size] = names.sort(given, positional, keywords);
    const auto or_none = [](PyObject* argument) { return argument ? argument : Py_None; };
    object_of<Core>(self).run(self, or_none(gradients), or_none(iteration), or_none(epoch),
                              batch_size, applies);
  });
}

// Their first lines are signatures as pybind11 writes them, for the tools that read those.
constexpr const char* step_doc =
    R"doc(step(self: object, gradients: object = None, *, iteration: object = None, epoch: object = None, batch_size: object = 1) -> None

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

Written: parameters, state, counters. Left alone: the gradients.

Raises:
    NonFiniteGradientError: under ``on_nonfinite="raise"``; nothing has changed.
    TypeError, ValueError, ParameterKeyError: bad input; nothing has changed.)doc";

constexpr const char* update_doc =
    R"doc(update(self: object, gradients: object = None, *, iteration: object = None, epoch: object = None, batch_size: object = 1) -> None

Turn the gradients into updates, in place, as DL4J does; subtract them yourself.

Arguments and errors as for ``step``. Written: the gradients (0 for frozen layers), state, counters.
Left alone: the parameters.)doc";

PyMethodDef step_definition = {
    "step", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&step_or_update<true>)),
    METH_FASTCALL | METH_KEYWORDS, step_doc};
PyMethodDef update_definition = {
    "update", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&step_or_update<false>)),
    METH_FASTCALL | METH_KEYWORDS, update_doc};

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

}  // namespace pybind11::detail

namespace flatstep::python {

void register_updater(py::module_& module) {
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

  py::class_<Core> type(module, "Updater", "What all updaters share; see MultiLayerUpdater.");
  add_fast_method(type, step_definition);
  add_fast_method(type, update_definition);
  type.def(py::init(&make_core), py::arg("configuration"), py::arg("names"), py::arg("arrays"),
           py::arg("monitor"))
      .def(
          "bind_gradients",
          [](const Self& self, py::handle gradients) { self->bind(self.object, gradients); },
          py::arg("gradients"),
          R"doc(Keep these gradient arrays for every ``step()`` without arguments: no lookup per call.

The arrays stay the caller's: write each new gradient into them (``grad[...] = new``). A name that is
bound to a new array (``grad = new``) leaves the old one here.)doc")
      .def(
          "accumulate",
          [](const Self& self, py::handle gradients) { self->accumulate(self.object, gradients); },
          py::arg("gradients"),
          R"doc(Add the gradients to a buffer that the next ``step()`` without arguments uses and clears.

A step that ``on_nonfinite="raise"`` refuses keeps the buffer: see ``discard_accumulated``.)doc")
      .def(
          "discard_accumulated", [](const Self& self) { self->discard_accumulated(); },
          "Forget what ``accumulate`` has added up.")
      .def_property_readonly(
          "accumulated", [](const Self& self) { return self->accumulated(self.object); },
          "The accumulated gradients by key, as live views; None where there are none.")
      .def_property(
          "iteration", [](const Self& self) { return self->counters().iteration; },
          [](const Self& self, py::handle value) {
            const std::int64_t iteration = to_iteration(value);
            const Busy busy = self->hold();
            self->counters().iteration = iteration;
          },
          "The iteration that the next step is, from 0.")
      .def_property(
          "epoch", [](const Self& self) { return self->counters().epoch; },
          [](const Self& self, py::handle value) {
            const std::int64_t epoch = to_integer(value, "epoch", 0);
            const Busy busy = self->hold();
            self->counters().epoch = epoch;
          },
          "The epoch, for schedules of type EPOCH; yours to advance.")
      .def_property(
          "skipped_steps", [](const Self& self) { return self->counters().skipped_steps; },
          [](const Self& self, py::handle value) {
            const std::int64_t steps = to_integer(value, "skipped_steps", 0);
            const Busy busy = self->hold();
            self->counters().skipped_steps = static_cast<std::uint64_t>(steps);
          },
          "How many steps ``on_nonfinite=\"skip\"`` has refused.")
      .def_property_readonly(
          "state_view", [](const Self& self) { return self->state_view(self.object); },
          "The flat updater state: one live array, in DL4J's order.")
      .def("_state_array",
           [](const Self& self, std::size_t slot, std::size_t array) {
             return self->state_array(self.object, slot, array);
           })
      .def("_state_names",
           [](const Self& self, std::size_t slot) { return self->state_names(slot); })
      .def("_layout", &layout_list)
      .def("_updater_blocks", &block_list)
      .def("_rates", &rate_list)
      .def("_set_rates", &set_rate_list)
      .def(
          "_set_counters",
          [](const Self& self, std::int64_t iteration, std::int64_t epoch,
             std::uint64_t skipped_steps) { self->counters() = {iteration, epoch, skipped_steps}; })
      .def("_acquire", [](const Self& self) { self->acquire(); })
      .def("_release", [](const Self& self) { self->release(); })
      .def("_learning_rate",
           [](const Self& self, std::size_t slot, py::handle iteration, py::handle epoch) {
             return optional(
                 self->learning_rate(slot, to_iteration(iteration), to_integer(epoch, "epoch", 0)));
           })
      .def("_momentum",
           [](const Self& self, std::size_t slot, py::handle iteration, py::handle epoch) {
             return optional(
                 self->momentum(slot, to_iteration(iteration), to_integer(epoch, "epoch", 0)));
           })
      .def("_last", &last_tuple)
      .def("_report", &report_tuple);
}

}  // namespace flatstep::python
