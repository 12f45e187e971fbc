// The path of a step is short on purpose: it has its own entry (fast_method.hpp), gradients are
// taken without temporaries (gradients.hpp), and the interpreter's lock is released only for steps
// long enough to pay for it.
#include "core.hpp"

#include "arrays.hpp"
#include "configuration.hpp"
#include "gradients.hpp"
#include "interpreter.hpp"
#include "python_updater.hpp"
#include "shards.hpp"
#include "values.hpp"

#include <flatstep/multi_layer_updater.hpp>

#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace flatstep::python {
namespace {

/// A step of fewer elements keeps the interpreter's lock: giving it back costs more.
constexpr std::size_t elements_to_release_lock = 1 << 16;

struct SlotArguments {
  std::vector<SlotName> names;
  std::vector<py::object> arrays;
  SlotForms forms;  ///< of an array once its memory is checked
};

template <class T>
class TypedCore final : public Core {
 public:
  TypedCore(const NetworkConfiguration& configuration, SlotArguments slots, bool monitor,
            Ranks ranks)
      : arrays_(std::move(slots.arrays)),
        ranks_(std::move(ranks.hooks)),
        updater_(configuration, named_slots(slots.names, slots.forms.forms), monitor, {},
                 shared_of(with_hooks(ranks, ranks_), sizeof(T))),
        gradients_(std::move(slots.forms), updater_.layout(), updater_.settings(),
                   updater_.parameters(), lets_python_run()) {
    if (ranks.are_several()) {
      shards_ = std::make_unique<Shards<T>>(ranks, updater_.layout(), updater_.settings());
      for (const ParameterMemory<T>& parameter : updater_.parameters()) {
        parameter_pointers_.push_back(static_cast<T*>(parameter.data()));
        parameter_types_.push_back(parameter.type());
      }
    }
    for (const py::object& array : arrays_) as_taken_.emplace_back(array);
    for (const auto memory :
         {std::as_bytes(updater_.memory().numbers), std::as_bytes(updater_.memory().bytes)}) {
      gradients_.forbid(memory, "the updater's state",
                        "a step changes the state while it reads the gradients");
    }
    for (const SlotSettings& slot : updater_.settings().slots) {
      if (!slot.updater.kind->is_callback()) continue;
      const auto* updater = static_cast<const PythonUpdater*>(slot.updater.owner.get());
      if (std::ranges::count(python_updaters_, updater) == 0) python_updaters_.push_back(updater);
    }
  }

  void run(py::handle self, const StepArguments& arguments, bool applies) override {
    const StepOptions options = options_of(arguments);
    const Busy busy = enter();
    const KeptAlive kept(gradients_);
    const bool from_sum = take_gradients(self, arguments, applies);
    settle(run_unlocked(gradients_.pointers(), gradients_.types(), options, applies), from_sum);
  }

  void take(py::handle self, const StepArguments& arguments, bool applies) override {
    taken_options_ = options_of(arguments);
    taken_from_sum_ = take_gradients(self, arguments, applies);
  }

  void run_taken(bool applies) override {
    const StepReport report = run_unlocked(shards_->reduced(), {}, taken_options_, applies);
    settle(report, taken_from_sum_);
    if (applies || report.status != StepStatus::done) return;
    for (std::size_t i = 0; i < arrays_.size(); ++i) {  // what is frozen has no update to be sent
      T* const gradient = gradients_.pointers()[i];
      if (updater_.settings().slots[i].frozen && gradient != nullptr) {
        const std::size_t bytes = bytes_of(type_of_gradient(i), sizeof(T));
        std::fill_n(reinterpret_cast<std::byte*>(gradient), updater_.layout().slots[i].size * bytes,
                    std::byte{0});
      }
    }
  }

  void let_go() override { gradients_.release(); }

  py::list taken_dtypes() override {
    constexpr const char* same = sizeof(T) == sizeof(float) ? "float32" : "float64";
    constexpr std::array names{same, "float32", "bfloat16", "float16"};  // by ElementType
    if (gradients_.types().empty()) return taken<py::list>(PyList_New(0));
    auto dtypes = taken<py::list>(PyList_New(0));
    bool differ = false;
    for (std::size_t i = 0; i < arrays_.size(); ++i) {
      const bool travels = !updater_.settings().slots[i].frozen;
      const ElementType type = travels ? type_of_gradient(i) : ElementType::same;
      differ = differ || type != ElementType::same;
      dtypes.append(names[static_cast<std::size_t>(type)]);
    }
    return differ ? dtypes : taken<py::list>(PyList_New(0));
  }

  py::list nonfinite_taken() override {
    auto keys = taken<py::list>(PyList_New(0));
    for (std::size_t i = 0; i < arrays_.size(); ++i) {
      if (!is_finite(i)) keys.append(gradients_.keys()[i]);
    }
    return keys;
  }

  bool look(py::handle self, py::handle gradients, bool allow_copy) override {
    const Busy busy = enter();
    const KeptAlive kept(gradients_);
    gradients_.take(self, gradients, allow_copy ? Taking::copies : Taking::reads);
    const OnNonfinite choice = updater_.settings().on_nonfinite;
    if (choice == OnNonfinite::propagate || nonfinite_taken().empty()) return true;
    if (choice == OnNonfinite::raise) raise_not_added();
    return false;
  }

  py::list pieces(std::size_t part) override {
    auto pieces = taken<py::list>(PyList_New(0));
    for (std::size_t i = 0; i < arrays_.size(); ++i) {
      if (shards_) {
        const Piece& piece = shards_->pieces().at(part)[i];
        pieces.append(py::make_tuple(piece.begin, piece.size));
      } else {
        pieces.append(py::make_tuple(0, updater_.layout().slots[i].size));
      }
    }
    return pieces;
  }

  py::list bucket_sizes(std::size_t part) override {
    auto sizes = taken<py::list>(PyList_New(0));
    for (const Bucket& bucket : shards().buckets(part)) sizes.append(bucket.size);
    return sizes;
  }

  py::list bucket_bytes(BucketMemory memory, std::size_t part) override {
    auto bytes = taken<py::list>(PyList_New(0));
    for (std::size_t k = 0; k < shards().buckets(part).size(); ++k) {
      bytes.append(shards().bytes(memory_of_buckets(memory), part, k));
    }
    return bytes;
  }

  py::object bucket(BucketMemory memory, std::size_t part, std::size_t k,
                    py::handle staging) override {
    return shards().bucket(memory_of_buckets(memory), part, k, staging, py::none());
  }

  void put_bucket(BucketMemory memory, std::size_t part, std::size_t k,
                  py::handle values) override {
    shards().put(memory_of_buckets(memory), part, k, values);
  }

  void add_bucket(std::size_t k, const py::list& terms, double scale) override {
    shards().add_in_order(memory_of_buckets(BucketMemory::gradients), k, terms,
                          static_cast<T>(scale));
  }

  void widen_bucket(std::size_t part, std::size_t k, py::handle numbers) override {
    shards().widen(memory_of_buckets(BucketMemory::gradients), part, k, numbers);
  }

  void write_updates(std::size_t part, std::size_t k) override {
    shards().write_updates(memory_of_buckets(BucketMemory::gradients), part, k);
  }

  void bind(py::handle self, py::handle gradients) override {
    const Busy busy = enter();
    gradients_.bind(self, gradients);
  }

  bool accumulate(py::handle self, py::handle gradients, bool allow_copy) override {
    const Busy busy = enter();
    const KeptAlive kept(gradients_);
    gradients_.take(self, gradients, allow_copy ? Taking::copies : Taking::reads);
    if (sums_.empty()) make_sums();
    const StepStatus status = updater_.accumulate(sums_, gradients_.pointers(), gradients_.types());
    if (status == StepStatus::nonfinite) {
      raise_not_added();
    }
    if (status == StepStatus::done) summed_ = true;
    left_out_ = !summed_;
    return status == StepStatus::done;
  }

  void discard_accumulated() override {
    const Busy busy = enter();
    clear_sums();
  }

  py::object accumulated() override {
    if (!summed_) return py::none();
    const py::object owner = owner_of(sum_memory_);
    auto sums = taken<py::dict>(PyDict_New());
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      sums[gradients_.keys()[i]] = view(sums_[i], gradients_.form(i), owner);
    }
    return sums;
  }

  py::array state_view() override {
    if (updater_.layout().has_codes) return decoded_view();
    const std::span<T> state = updater_.state_view();
    return view(state.data(), {"", {static_cast<py::ssize_t>(state.size())}, true, true},
                owner_of(updater_.state_memory()));
  }

  py::dict state(std::size_t slot) override {
    const py::object owner = owner_of(updater_.state_memory());
    auto arrays = taken<py::dict>(PyDict_New());
    const LayoutSlot& s = updater_.own_layout().slots.at(slot);
    for (std::size_t a = 0; a < s.state.size(); ++a) {
      const ArrayForm form = state_form(slot, a);
      arrays[py::str(std::string(s.state[a].description.name))] =
          s.state[a].code == StateCode::none
              ? view(updater_.state(slot, a).data(), form, owner)
              : decoded(form, [&](std::span<T> out) { updater_.read_state(slot, a, out); });
    }
    return arrays;
  }

  py::dict kept(std::size_t slot) override {
    auto arrays = taken<py::dict>(PyDict_New());
    for (const Kept& kept : kept_of(slot)) arrays[py::str(kept.name)] = kept.array();
    return arrays;
  }

  py::array master(std::size_t slot) override {
    return decoded(piece_form(slot), [&](std::span<T> out) { updater_.read_parameter(slot, out); });
  }

  void write_state(std::size_t slot, std::size_t array, py::handle numbers) override {
    const Busy busy = enter();
    const T* const memory = gradient_memory<T>(numbers, state_form(slot, array), false);
    updater_.write_state(slot, array,
                         {memory, updater_.own_layout().slots.at(slot).state.at(array).size});
  }

  void adopt_parameters() override {
    const Busy busy = enter();
    updater_.adopt_parameters();
  }

  std::size_t kept_bytes() const override { return updater_.kept_bytes(); }
  bool is_wide() const override { return sizeof(T) == sizeof(double); }

  py::object average(std::size_t slot) override {
    const std::span<T> memory = updater_.average(slot);
    if (!updater_.average_memory()) return py::none();
    return view(memory.data(), piece_form(slot), owner_of(updater_.average_memory()));
  }

  bool evaluation_point(std::size_t slot, py::handle out) override {
    const ArrayForm form = piece_form(slot);
    T* const memory = gradient_memory<T>(out, form, true);
    return updater_.evaluation_point(slot, {memory, static_cast<std::size_t>(form.size())});
  }

  /// All of it or nothing: what can fail comes first.
  void restore(const std::vector<Restored>& arrays, std::vector<RateState> rates,
               const Counters& counters) override {
    std::vector<std::pair<std::span<std::byte>, const void*>> copies;
    for (const auto& [slot, array, values] : arrays) {
      const std::vector<Kept> kept = kept_of(slot);
      if (array < kept.size()) {
        copies.emplace_back(kept[array].bytes(), kept[array].memory_of(values));
      } else {
        copies.emplace_back(std::as_writable_bytes(updater_.average(slot)),
                            gradient_memory<T>(values, piece_form(slot), false));
      }
    }
    updater_.set_rates(std::move(rates));
    for (const auto& [to, from] : copies) {
      std::copy_n(static_cast<const std::byte*>(from), to.size(), to.data());
    }
    updater_.counters() = counters;
  }

  void restore_sums(const py::object& sums) override {
    if (sums.is_none()) return clear_sums();
    const auto given = sums.cast<std::vector<py::object>>();
    std::vector<const T*> memory;
    for (std::size_t i = 0; i < given.size(); ++i) {
      memory.push_back(
          given[i].is_none() ? nullptr : gradient_memory<T>(given[i], gradients_.form(i), false));
    }
    if (sums_.empty()) make_sums();
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      const std::size_t size = updater_.layout().slots[i].size;
      if (memory.at(i) == nullptr) {
        std::fill_n(sums_[i], size, T{0});
      } else {
        std::copy_n(memory[i], size, sums_[i]);
      }
    }
    summed_ = true;
    left_out_ = false;
  }

  Counters& counters() override { return updater_.counters(); }
  const Layout& layout() const override { return updater_.layout(); }
  const NetworkSettings& settings() const override { return updater_.settings(); }
  const std::vector<RateState>& rates() const override { return updater_.rates(); }
  void set_rates(std::vector<RateState> rates) override { updater_.set_rates(std::move(rates)); }
  std::size_t apply_learning_rate_score_decay() override {
    const Busy busy = enter();
    return updater_.apply_learning_rate_score_decay();
  }
  std::optional<double> learning_rate(std::size_t slot, std::int64_t iteration,
                                      std::int64_t epoch) const override {
    return updater_.learning_rate(slot, iteration, epoch);
  }
  std::optional<double> unscaled_learning_rate(std::size_t slot, std::int64_t iteration,
                                               std::int64_t epoch) const override {
    return updater_.unscaled_learning_rate(slot, iteration, epoch);
  }
  std::optional<double> momentum(std::size_t slot, std::int64_t iteration,
                                 std::int64_t epoch) const override {
    return updater_.momentum(slot, iteration, epoch);
  }
  SlotReport report(std::size_t slot) const override { return updater_.report(slot); }
  const std::optional<StepReport>& last() const override { return last_; }
  std::uint64_t steps() const override { return steps_; }
  const ArrayForm& form(std::size_t slot) const override { return gradients_.form(slot); }

  // Not the arrays of a step under way: its caller holds those.
  int traverse(visitproc visit, void* arg) const override {
    for (const py::object& object : arrays_) Py_VISIT(object.ptr());
    for (const py::object& object : gradients_.keys()) Py_VISIT(object.ptr());
    for (const py::object& object : gradients_.bound()) Py_VISIT(object.ptr());
    Py_VISIT(ranks_.ptr());
    for (const PythonUpdater* const updater : python_updaters_) Py_VISIT(updater->instance().ptr());
    return 0;
  }
  void clear() override { gradients_.unbind(); }

 private:
  /// While it lives, so do the arrays of the step under way, whatever becomes of the dict that they
  /// came in.
  class KeptAlive {
   public:
    explicit KeptAlive(Gradients<T>& gradients) : gradients_(gradients) {}
    ~KeptAlive() { gradients_.release(); }
    KeptAlive(const KeptAlive&) = delete;
    KeptAlive& operator=(const KeptAlive&) = delete;

   private:
    Gradients<T>& gradients_;
  };

  /// The slots for the core; the forms of their arrays go into `forms`.
  std::vector<NamedSlot<T>> named_slots(const std::vector<SlotName>& names,
                                        std::vector<ArrayForm>& forms) const {
    std::vector<NamedSlot<T>> slots;
    for (std::size_t i = 0; i < names.size(); ++i) {
      const ParameterMemory<T> memory = parameter_memory<T>(arrays_[i], names[i].key);
      const ArrayForm& form = forms.emplace_back(form_of(arrays_[i], names[i].key));
      slots.push_back(
          {names[i], memory, {form.shape.begin(), form.shape.end()}, !form.c_contiguous});
    }
    return slots;
  }

  /// The form of a state array: in the memory order of its parameter.
  ArrayForm state_form(std::size_t slot, std::size_t array) const {
    ArrayForm form = piece_form(slot);
    if (!updater_.pieces().empty() && !updater_.pieces()[slot].is_whole()) {
      const StateArray& own = updater_.own_layout().slots[slot].state[array];
      form.shape = {static_cast<py::ssize_t>(own.size)};
      return form;
    }
    const LayoutSlot& s = updater_.layout().slots[slot];
    if (s.state[array].description.shape == StateShape::parameter) return form;
    const std::vector<std::size_t> shape = s.state_shape(array);
    form.shape.assign(shape.begin(), shape.end());
    return form;
  }

  /// One array of what is kept: numbers of T, codes, scales or lower halves.
  struct Kept {
    enum class Type { number, scale, code_16, code_8 };
    std::string name;
    Type type;
    void* memory;
    ArrayForm form;
    py::object owner;

    template <class Use>
    auto as_typed(Use&& use) const {
      switch (type) {
        case Type::scale:
          return use(static_cast<float*>(memory));
        case Type::code_16:
          return use(static_cast<std::uint16_t*>(memory));
        case Type::code_8:
          return use(static_cast<std::uint8_t*>(memory));
        case Type::number:
          break;
      }
      return use(static_cast<T*>(memory));
    }
    py::array array() const {
      return as_typed([&](auto* typed) { return view(typed, form, owner); });
    }
    std::span<std::byte> bytes() const {
      const auto size = static_cast<std::size_t>(form.size());
      return as_typed([&](auto* typed) { return std::as_writable_bytes(std::span(typed, size)); });
    }
    /// Of an array that may take its place.
    const void* memory_of(py::handle values) const {
      const void* const found = as_typed([&](auto* typed) -> const void* {
        return is_array(values)
                   ? python::memory_of<std::remove_pointer_t<decltype(typed)>>(values, form)
                   : nullptr;
      });
      if (found != nullptr || form.size() == 0) return found;
      throw py::value_error("state \"" + form.key + "/" + name +
                            "\": expected an array of the dtype, shape and memory order that it is "
                            "kept in");
    }
  };

  std::vector<Kept> kept_of(std::size_t slot) const {
    using Type = typename Kept::Type;
    std::vector<Kept> kept;
    const LayoutSlot& s = updater_.own_layout().slots.at(slot);
    const StoredSlot<T>& stored = updater_.stored()[slot];
    const py::object numbers = owner_of(updater_.state_memory());
    const py::object codes = owner_of(updater_.code_memory());
    for (std::size_t a = 0; a < s.state.size(); ++a) {
      const StoredArray<T>& array = stored.state[a];
      const std::string name(s.state[a].description.name);
      const ArrayForm form = state_form(slot, a);
      if (array.code == StateCode::none) {
        kept.push_back({name, Type::number, array.numbers, form, numbers});
        continue;
      }
      kept.push_back({name, bytes_of(array.code) == 2 ? Type::code_16 : Type::code_8, array.codes,
                      form, codes});
      if (array.scales == nullptr) continue;
      const auto blocks = static_cast<py::ssize_t>(blocks_of(s.state[a].size));
      kept.push_back(
          {name + ".scale", Type::scale, array.scales, {form.key, {blocks}, true, true}, codes});
    }
    const ArrayForm form = piece_form(slot);
    if (stored.is_split()) {
      kept.push_back({"parameter.lower", Type::code_16, stored.lower, form, codes});
    } else if (stored.type != ElementType::same) {
      kept.push_back({"parameter.master", Type::number, stored.numbers, form, numbers});
    }
    return kept;
  }

  /// A new array of T in that form, filled by write(span), which nobody is to write into.
  template <class Write>
  static py::array decoded(const ArrayForm& form, Write&& write) {
    py::array_t<T> memory(form.size());
    write(std::span<T>(memory.mutable_data(), static_cast<std::size_t>(form.size())));
    py::array array = view(memory.mutable_data(), form, memory);
    array.attr("flags").attr("writeable") = false;
    return array;
  }

  /// The state view in numbers, as no memory has it.
  py::array decoded_view() const {
    const Layout& layout = updater_.own_layout();
    const auto size = static_cast<py::ssize_t>(layout.state_size);
    return decoded({"", {size}, true, true}, [&](std::span<T> out) {
      for (std::size_t i = 0; i < layout.slots.size(); ++i) {
        for (std::size_t a = 0; a < layout.slots[i].state.size(); ++a) {
          const StateArray& array = layout.slots[i].state[a];
          updater_.read_state(i, a, out.subspan(array.offset, array.size));
        }
      }
    });
  }

  /// Whether Python code, of this thread or another, may run during a step.
  bool lets_python_run() const {
    return updater_.layout().size >= elements_to_release_lock ||
           std::ranges::any_of(updater_.settings().slots, [](const SlotSettings& slot) {
             return slot.updater.kind->is_callback();
           });
  }

  /// The memory of the sums; all of it or nothing.
  void make_sums() {
    const Layout& layout = updater_.layout();
    auto memory = std::make_shared<std::vector<T>>(layout.size, T{0});
    std::vector<T*> sums;
    for (const LayoutSlot& slot : layout.slots) sums.push_back(memory->data() + slot.offset);
    gradients_.forbid(std::as_bytes(std::span(*memory)), "the accumulated gradients",
                      "accumulate() changes them, and so does the step after it");
    sum_memory_ = std::move(memory);
    sums_ = std::move(sums);
  }

  void clear_sums() {
    if (sum_memory_) std::ranges::fill(*sum_memory_, T{0});
    summed_ = left_out_ = false;
  }

  /// What keeps that memory alive as the base of a view. Not the updater: through an array, which
  /// Python's garbage collector does not look into, it would keep itself alive.
  static py::object owner_of(std::shared_ptr<const void> memory) {
    auto owned = std::make_unique<std::shared_ptr<const void>>(std::move(memory));
    py::capsule capsule(owned.get(), [](void* pointer) {
      delete static_cast<std::shared_ptr<const void>*>(pointer);
    });
    static_cast<void>(owned.release());
    return capsule;
  }

  /// That the parameters are where they were when the updater was made.
  void require_parameters_as_taken(bool written) const {
    if (TakenArray::are_as_taken(as_taken_)) return;
    for (std::size_t i = 0; i < as_taken_.size(); ++i) {
      const ArrayForm& form = gradients_.form(i);
      const std::string change = as_taken_[i].change_of(form, written);
      if (change.empty()) continue;
      throw py::value_error("parameter \"" + form.key +
                            "\": expected the array as it was when the updater was made, got " +
                            change +
                            "; make a new updater (clone(params=arrays) takes the state along)");
    }
  }

  /// What the caller gives besides gradients.
  static StepOptions options_of(const StepArguments& arguments) {
    StepOptions options;
    const auto given = [](py::handle value) { return value && !value.is_none(); };
    if (given(arguments.iteration)) {
      options.iteration = to_counter(arguments.iteration, "iteration");
    }
    if (given(arguments.epoch)) options.epoch = to_counter(arguments.epoch, "epoch");
    if (arguments.batch_size) {
      options.batch_size = to_integer(arguments.batch_size, "batch_size", 1);
    }
    if (arguments.gradient_scale) {
      options.gradient_scale = to_gradient_scale(arguments.gradient_scale);
    }
    return options;
  }

  /// Takes the gradients that are given, bound or accumulated; whether they are the latter.
  bool take_gradients(py::handle self, const StepArguments& arguments, bool applies) {
    const bool from_sum = arguments.gradients.is_none() && summed_;
    if (arguments.gradients.is_none()) {
      take_kept_gradients(applies);
    } else {
      gradients_.take(self, arguments.gradients, taking(arguments, applies));
    }
    if (!applies) gradients_.require_apart();
    require_parameters_as_taken(applies);  // last, as all before it may run Python
    return from_sum;
  }

  /// What is to be done after a step: keep its report, raise where it was refused.
  void settle(const StepReport& report, bool from_sum) {
    if (report.status != StepStatus::done) {
      if (report.status == StepStatus::abandoned) throw py::error_already_set();
      if (report.status == StepStatus::invalid) {
        throw std::logic_error("a step that was checked was refused: please report this");
      }
    }
    last_ = report;
    ++steps_;
    if (report.status == StepStatus::nonfinite) {
      raise_nonfinite([&](std::size_t i) { return updater_.report(i).nonfinite; },
                      from_sum ? "nothing was changed. They are in what was accumulated: call "
                                 "discard_accumulated(), then l"
                               : "nothing was changed. L");
    }
    if (from_sum) clear_sums();
  }

  [[noreturn]] void raise_not_added() const {
    raise_nonfinite([&](std::size_t i) { return !is_finite(i); }, "nothing of them was added. L");
  }

  bool is_finite(std::size_t slot) const {
    return updater_.is_finite(slot, gradients_.pointers()[slot], type_of_gradient(slot));
  }

  ElementType type_of_gradient(std::size_t slot) const {
    const auto types = gradients_.types();
    return types.empty() ? ElementType::same : types[slot];
  }

  const Shards<T>& shards() const {
    if (!shards_) throw std::logic_error("expected an updater that several processes share");
    return *shards_;
  }

  typename Shards<T>::Memory memory_of_buckets(BucketMemory memory) const {
    switch (memory) {
      case BucketMemory::parameters:
        return {parameter_pointers_, parameter_types_};
      case BucketMemory::gradients:
        return {gradients_.pointers(), gradients_.types()};
      case BucketMemory::reduced:
        break;
    }
    return {shards().reduced()};
  }

  /// `ranks`, whose hooks have been moved to where they stay.
  static Ranks with_hooks(const Ranks& ranks, const py::object& hooks) {
    Ranks whole = ranks;
    whole.hooks = hooks;
    return whole;
  }

  /// The form of what this process has of a slot, if that is not all of it: one dimension.
  ArrayForm piece_form(std::size_t slot) const {
    const auto pieces = updater_.pieces();
    if (pieces.empty() || pieces[slot].is_whole()) return gradients_.form(slot);
    return {gradients_.form(slot).key, {static_cast<py::ssize_t>(pieces[slot].size)}, true, true};
  }

  void take_kept_gradients(bool applies) {
    if (summed_) {
      if (!applies) {
        throw py::value_error(
            "gradients: update() writes the update into the gradients it is given; expected "
            "gradients, got none (accumulated ones are for step())");
      }
      gradients_.take_own(sums_);
    } else if (left_out_) {
      throw py::value_error(
          "gradients: expected accumulated ones, got none: each that was given to accumulate() has "
          "a NaN or infinity in it and was left out; step where accumulate() has returned True, or "
          "call discard_accumulated()");
    } else if (!gradients_.take_bound(!applies)) {
      throw py::value_error(
          "gradients: expected gradients, got none, and none are bound or accumulated; pass them, "
          "or call bind_gradients or accumulate first");
    }
  }

  StepReport run_unlocked(std::span<T* const> gradients, std::span<const ElementType> types,
                          const StepOptions& options, bool applies) {
    const auto run = [&] {
      return applies ? updater_.step(std::span<const T* const>(gradients), types, options)
                     : updater_.update(gradients, types, options);
    };
    // The thread that ends the interpreter has a lock to give, but nobody to give it to.
    if (updater_.layout().size < elements_to_release_lock || interpreter_ends()) return run();
    const Unlocked unlocked;
    return run();
  }

  static Taking taking(const StepArguments& arguments, bool applies) {
    const bool copies = arguments.allow_copy && to_flag(arguments.allow_copy, "allow_copy");
    if (applies) return copies ? Taking::copies : Taking::reads;
    if (copies) {
      throw py::value_error(
          "allow_copy: update() writes the update into the gradients it is given, which a copy "
          "would lose; expected False, got True; convert the gradients, or use step()");
    }
    return Taking::writes;
  }

  /// @param is_of whether a slot's gradient is one that is not finite
  template <class IsOf>
  [[noreturn]] void raise_nonfinite(IsOf&& is_of, const char* what_now) const {
    py::list keys;
    std::string list;
    for (std::size_t i = 0; i < arrays_.size(); ++i) {
      if (!is_of(i)) continue;
      keys.append(gradients_.keys()[i]);
      list += (list.empty() ? "\"" : ", \"") + gradients_.form(i).key + '"';
    }
    const py::object type = py::module_::import("flatstep.errors").attr("NonFiniteGradientError");
    const py::object error = type(
        "gradients: expected finite numbers, got NaN or infinity in " + list + "; " + what_now +
            "ower the learning rate or the loss scale, or choose on_nonfinite=\"skip\" or "
            "\"propagate\"",
        keys);
    PyErr_SetObject(type.ptr(), error.ptr());
    throw py::error_already_set();
  }

  std::vector<py::object> arrays_;  ///< the parameters, kept alive
  std::vector<TakenArray> as_taken_;
  std::vector<T*> parameter_pointers_;        ///< where several processes share the updater
  std::vector<ElementType> parameter_types_;  ///< likewise, what they really point to
  py::object ranks_;                          ///< hooks that the updater calls
  Updater<T> updater_;
  std::unique_ptr<Shards<T>> shards_;  ///< where several processes share the network
  StepOptions taken_options_;
  bool taken_from_sum_ = false;
  Gradients<T> gradients_;
  std::optional<StepReport> last_;
  std::uint64_t steps_ = 0;
  std::vector<const PythonUpdater*> python_updaters_;  ///< those of the settings, each once
  std::shared_ptr<std::vector<T>> sum_memory_;
  std::vector<T*> sums_;
  bool summed_ = false;
  bool left_out_ = false;  ///< all that was to be summed up since the last step
};

}  // namespace

std::unique_ptr<Core> make_core(py::handle configuration, const py::list& names,
                                const py::list& arrays, bool monitor, const py::object& ranks) {
  const NetworkConfiguration network = to_network_configuration(configuration);
  SlotArguments slots;
  for (const py::handle name : names) {
    const auto parts = name.cast<py::tuple>();
    slots.names.push_back({to_text(parts[0], "key"), to_text(parts[1], "layer"),
                           to_text(parts[2], "parameter type")});
    slots.forms.keys.push_back(parts[0]);
  }
  for (const py::handle array : arrays) {
    slots.arrays.push_back(py::reinterpret_borrow<py::object>(array));
  }
  if (!slots.arrays.empty() && is_float64(slots.arrays[0], slots.names[0].key)) {
    return std::make_unique<TypedCore<double>>(network, std::move(slots), monitor, to_ranks(ranks));
  }
  return std::make_unique<TypedCore<float>>(network, std::move(slots), monitor, to_ranks(ranks));
}

}  // namespace flatstep::python
