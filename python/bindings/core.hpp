// Core: what Python calls of an updater, whatever its dtype; and the lock that keeps everybody but
// one out of it.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <flatstep/plan/layout.hpp>
#include <flatstep/state.hpp>
#include <flatstep/step/record.hpp>

#include "arrays.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

namespace flatstep::python {

/// While it lives its thread is inside an updater: no other thread gets in, and no callback comes
/// back in.
class Busy {
 public:
  explicit Busy(std::atomic<bool>& flag) : flag_(flag) {
    if (flag_.exchange(true, std::memory_order_acquire)) {
      throw std::runtime_error(
          "this updater is in the middle of a step, in another thread or in a CustomUpdater; give "
          "each thread an updater and parameters of its own (clone(params=copies); clone() alone "
          "shares the parameters)");
    }
  }
  ~Busy() { flag_.store(false, std::memory_order_release); }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

 private:
  std::atomic<bool>& flag_;
};

/// The arguments of step() and update(); null or None where not given.
struct StepArguments {
  pybind11::handle gradients;
  pybind11::handle iteration;
  pybind11::handle epoch;
  pybind11::handle batch_size;
  pybind11::handle gradient_scale;
  pybind11::handle allow_copy;
};

/// An array to be restored, of those that kept() shows, and what it is to hold. Behind them stands the
/// average of the slot's parameter.
struct Restored {
  std::size_t slot = 0;
  std::size_t array = 0;
  pybind11::handle values;
};

/// Where the elements of a bucket lie.
enum class BucketMemory { parameters, gradients, reduced };

/// What Python calls; one implementation per dtype.
class Core {
 public:
  Core() = default;
  virtual ~Core() = default;
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  /// Refused where somebody is inside.
  Busy enter() { return Busy(busy_); }

  /// No other's in this process.
  std::uint64_t id() const { return id_; }

  virtual void run(pybind11::handle self, const StepArguments& arguments, bool applies) = 0;
  virtual void bind(pybind11::handle self, pybind11::handle gradients) = 0;

  // A step that several processes take together (shards.hpp): all but `look` are called while nobody
  // else is inside, between take and let_go.

  /// Checks gradients and arguments as run() does, and keeps them.
  virtual void take(pybind11::handle self, const StepArguments& arguments, bool applies) = 0;
  /// Steps on what the reduction has left.
  virtual void run_taken(bool applies) = 0;
  virtual void let_go() = 0;
  /// The dtype of each gradient that was taken and travels; empty where all are the updater's.
  virtual pybind11::list taken_dtypes() = 0;
  /// The keys of those that were taken and are not finite.
  virtual pybind11::list nonfinite_taken() = 0;
  /// Whether accumulate() would add these; raises what it would raise.
  virtual bool look(pybind11::handle self, pybind11::handle gradients, bool allow_copy) = 0;
  /// What a part has of each slot: (begin, size).
  virtual pybind11::list pieces(std::size_t part) = 0;
  /// The elements of each of a part's buckets.
  virtual pybind11::list bucket_sizes(std::size_t part) = 0;
  /// The bytes of each on its way.
  virtual pybind11::list bucket_bytes(BucketMemory memory, std::size_t part) = 0;
  virtual pybind11::object bucket(BucketMemory memory, std::size_t part, std::size_t k,
                                  pybind11::handle staging) = 0;
  virtual void put_bucket(BucketMemory memory, std::size_t part, std::size_t k,
                          pybind11::handle values) = 0;
  /// Adds up what the ranks have of a bucket of this part; None in place of this one's.
  virtual void add_bucket(std::size_t k, const pybind11::list& terms, double scale) = 0;
  /// The gradients of a bucket as numbers.
  virtual void widen_bucket(std::size_t part, std::size_t k, pybind11::handle numbers) = 0;
  /// The updates of a bucket, which lie where the reduced gradients were, into the gradients.
  virtual void write_updates(std::size_t part, std::size_t k) = 0;

  /// Whether they were added.
  virtual bool accumulate(pybind11::handle self, pybind11::handle gradients, bool allow_copy) = 0;
  virtual void discard_accumulated() = 0;
  virtual pybind11::object accumulated() = 0;
  virtual pybind11::array state_view() = 0;
  /// The state arrays of a slot by name.
  virtual pybind11::dict state(std::size_t slot) = 0;
  /// What is kept of a slot's state, by name, as it lies in memory: numbers, or codes and scales, and
  /// the master of its parameter.
  virtual pybind11::dict kept(std::size_t slot) = 0;
  /// The numbers of a slot's parameter: those of its master.
  virtual pybind11::array master(std::size_t slot) = 0;
  /// Replaces a state array by these numbers, which are rounded where it is kept as codes.
  virtual void write_state(std::size_t slot, std::size_t array, pybind11::handle numbers) = 0;
  /// Makes masters what the parameters are now, where these have been written by somebody else.
  virtual void adopt_parameters() = 0;
  /// The bytes that are kept besides the parameters.
  virtual std::size_t kept_bytes() const = 0;
  virtual bool is_wide() const = 0;
  /// The moving average of a slot's parameter, or None.
  virtual pybind11::object average(std::size_t slot) = 0;
  /// Writes where a network is to be evaluated into an array like the parameter; false, and nothing
  /// written, where that is the parameter itself.
  virtual bool evaluation_point(std::size_t slot, pybind11::handle out) = 0;
  /// All of it or nothing.
  virtual void restore(const std::vector<Restored>& arrays, std::vector<RateState> rates,
                       const Counters& counters) = 0;
  /// Makes these the accumulated gradients: one array for each slot, of its form; None in place of
  /// one is zeros, and in place of all there are none.
  virtual void restore_sums(const pybind11::object& sums) = 0;
  virtual Counters& counters() = 0;
  virtual const Layout& layout() const = 0;
  virtual const NetworkSettings& settings() const = 0;
  virtual const std::vector<RateState>& rates() const = 0;
  virtual void set_rates(std::vector<RateState> rates) = 0;
  virtual std::size_t apply_learning_rate_score_decay() = 0;
  virtual std::optional<double> learning_rate(std::size_t slot, std::int64_t iteration,
                                              std::int64_t epoch) const = 0;
  virtual std::optional<double> unscaled_learning_rate(std::size_t slot, std::int64_t iteration,
                                                       std::int64_t epoch) const = 0;
  virtual std::optional<double> momentum(std::size_t slot, std::int64_t iteration,
                                         std::int64_t epoch) const = 0;
  virtual SlotReport report(std::size_t slot) const = 0;
  virtual const std::optional<StepReport>& last() const = 0;
  /// How many steps there were, the last one included; those that were refused, too.
  virtual std::uint64_t steps() const = 0;
  /// What an array must be to stand for a slot.
  virtual const ArrayForm& form(std::size_t slot) const = 0;

  /// For Python's garbage collector: every object that is held between steps, and letting go of
  /// those that nothing else depends on.
  virtual int traverse(visitproc visit, void* argument) const = 0;
  virtual void clear() = 0;

 private:
  static std::uint64_t next_id() {
    static std::atomic<std::uint64_t> last{0};
    return ++last;
  }

  std::atomic<bool> busy_{false};
  std::uint64_t id_ = next_id();
};

/// The updater of a configuration for these parameters, in their dtype.
/// @param names (key, layer, parameter type) of each
/// @param ranks the other processes that share the network, or None
std::unique_ptr<Core> make_core(pybind11::handle configuration, const pybind11::list& names,
                                const pybind11::list& arrays, bool monitor,
                                const pybind11::object& ranks);

}  // namespace flatstep::python
