// The interpreter's lock given back and taken again, and calls from which a thread may not return.
//
// A thread other than the one that ends the interpreter never gets its lock again. CPython before
// 3.14 ends such a thread by pthread_exit, which unwinds its stack: noexcept functions and
// catch (...) on the way abort the process, and the objects there would be destroyed without the
// lock. Here such a thread sleeps until the process is gone, as it does from 3.14 on.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <exception>

namespace flatstep::python {

[[noreturn]] void sleep_for_ever() noexcept;

/// Where a stack that is unwound by anything but a C++ exception meets this, its thread sleeps for
/// ever.
class ThreadEndsHere {
 public:
  ThreadEndsHere() : exceptions_(std::uncaught_exceptions()) {}
  ~ThreadEndsHere() {
    if (!returned_ && std::uncaught_exceptions() == exceptions_) sleep_for_ever();
  }
  ThreadEndsHere(const ThreadEndsHere&) = delete;
  ThreadEndsHere& operator=(const ThreadEndsHere&) = delete;

  void returned() { returned_ = true; }

 private:
  int exceptions_;
  bool returned_ = false;
};

/// Whether the interpreter ends, so that only the thread that ends it gets its lock.
bool interpreter_ends() noexcept;

/// While it lives other threads may run Python. Not to be made while interpreter_ends().
class Unlocked {
 public:
  Unlocked();
  ~Unlocked();
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  PyThreadState* state_;
};

/// While it lives this thread may run Python, whether or not an Unlocked is around it.
class Locked {
 public:
  Locked();
  ~Locked();
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  PyThreadState* state_;
};

/// callable(*arguments), with nothing of ours on the stack within that must be destroyed.
pybind11::object call_python(pybind11::handle callable, PyObject* const* arguments,
                             std::size_t count);

/// The same of a method: self.name(*arguments).
/// @param name a string
/// @param count of self and the arguments
pybind11::object call_method(pybind11::handle name, PyObject* const* self_and_arguments,
                             std::size_t count);

/// Runs `drop` with the lock, whether or not this thread has it; not at all once nobody gets it.
void drop_locked(void (*drop)(const void*), const void* object) noexcept;

}  // namespace flatstep::python
