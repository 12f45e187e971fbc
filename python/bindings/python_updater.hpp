// An updater written in Python, as the core sees it: a callback.
#pragma once

#include <pybind11/pybind11.h>

#include <flatstep/configuration/registry.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace flatstep::python {

/// An instance of a flatstep.CustomUpdater subclass, and the UpdaterInfo that calls it. A call that
/// fails returns false and leaves Python's error indicator set.
class PythonUpdater {
 public:
  /// May be dropped by any thread, with or without the interpreter's lock.
  /// @throws TypeError, ValueError for state that cannot be
  static std::shared_ptr<const PythonUpdater> make(pybind11::handle instance);

  PythonUpdater(const PythonUpdater&) = delete;
  PythonUpdater& operator=(const PythonUpdater&) = delete;

  const pybind11::object& instance() const { return instance_; }
  const UpdaterInfo& info() const { return info_; }

 private:
  explicit PythonUpdater(pybind11::handle instance);
  void read_state();
  void read_shapes();
  std::vector<std::size_t> own_shape(std::size_t array,
                                     std::span<const std::size_t> parameter) const;
  [[noreturn]] void refuse_change(const std::string& what) const;
  void refuse_new_name(const pybind11::dict& state) const;
  template <class T>
  bool call(const CallbackArguments<T>& arguments) const;
  template <class T>
  bool call_locked(const CallbackArguments<T>& arguments) const;

  pybind11::object instance_;
  std::string name_;
  bool reads_parameter_ = false;
  std::vector<std::string> names_;
  std::vector<pybind11::object> keys_;  ///< the names, as the keys of `state`
  std::vector<double> initial_state_;
  std::vector<HyperParameter> hyper_parameters_;
  UpdaterInfo info_;
};

}  // namespace flatstep::python
