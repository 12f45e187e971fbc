#include "interpreter.hpp"

#include <chrono>
#include <thread>

#if defined(_MSC_VER) && !defined(__clang__)
#define FLATSTEP_NOINLINE __declspec(noinline)
#else
#define FLATSTEP_NOINLINE __attribute__((noinline))
#endif

namespace py = pybind11;

namespace flatstep::python {
namespace {

/// What this thread's innermost Unlocked gave back; null where it has the lock.
thread_local PyThreadState* given_back = nullptr;

/// Not to be inlined: the frames that call it are noexcept, and this one must not be.
FLATSTEP_NOINLINE void take_lock(PyThreadState* state) {
  if (interpreter_ends()) sleep_for_ever();
  ThreadEndsHere end;  // it may begin to end while this waits
  PyEval_RestoreThread(state);
  end.returned();
}

FLATSTEP_NOINLINE PyObject* vectorcall(PyObject* callable, PyObject* const* arguments,
                                       std::size_t count) {
  ThreadEndsHere end;
  PyObject* const result = PyObject_Vectorcall(callable, arguments, count, nullptr);
  end.returned();
  return result;
}

FLATSTEP_NOINLINE PyObject* vectorcall_method(PyObject* name, PyObject* const* arguments,
                                              std::size_t count) {
  ThreadEndsHere end;
  PyObject* const result = PyObject_VectorcallMethod(name, arguments, count, nullptr);
  end.returned();
  return result;
}

FLATSTEP_NOINLINE PyGILState_STATE ensure_lock() {
  ThreadEndsHere end;
  const PyGILState_STATE state = PyGILState_Ensure();
  end.returned();
  return state;
}

}  // namespace

void sleep_for_ever() noexcept {
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

bool interpreter_ends() noexcept {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

Unlocked::Unlocked() : state_(PyEval_SaveThread()) { given_back = state_; }

Unlocked::~Unlocked() {
  given_back = nullptr;
  take_lock(state_);
}

Locked::Locked() : state_(given_back) {
  if (state_ == nullptr) return;
  given_back = nullptr;
  take_lock(state_);
}

Locked::~Locked() {
  if (state_ == nullptr) return;
  PyEval_SaveThread();
  given_back = state_;
}

py::object call_python(py::handle callable, PyObject* const* arguments, std::size_t count) {
  auto result = py::reinterpret_steal<py::object>(vectorcall(callable.ptr(), arguments, count));
  if (!result) throw py::error_already_set();
  return result;
}

py::object call_method(py::handle name, PyObject* const* self_and_arguments, std::size_t count) {
  auto result =
      py::reinterpret_steal<py::object>(vectorcall_method(name.ptr(), self_and_arguments, count));
  if (!result) throw py::error_already_set();
  return result;
}

void drop_locked(void (*drop)(const void*), const void* object) noexcept {
  if (PyGILState_Check() != 0) return drop(object);
  if (interpreter_ends() || Py_IsInitialized() == 0) return;
  const PyGILState_STATE state = ensure_lock();
  drop(object);
  PyGILState_Release(state);
}

}  // namespace flatstep::python
