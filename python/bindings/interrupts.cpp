// Ctrl-C that waits for the end of a block: what ranks do together is done by all or by none.
//
// signal.signal would do, but takes 6 us a call, twice for each step. Here the process's own handler
// is exchanged below Python's, by PyOS_setsig; whatever handler there was is called in the end, by
// raise().
#include "interrupts.hpp"

#include <csignal>

namespace py = pybind11;

namespace flatstep::python {
namespace {

/// Set by the handler. Blocks are of the main thread's.
volatile std::sig_atomic_t interrupt_came = 0;

extern "C" void note_interrupt(int number) {
  interrupt_came = 1;
#ifdef _WIN32
  std::signal(number, &note_interrupt);  // where a handler is for one signal alone
#else
  static_cast<void>(number);
#endif
}

/// A Python context manager.
class Uninterrupted {
 public:
  /// @param in_main_thread  Python interrupts that one alone: in others the block does nothing
  explicit Uninterrupted(bool in_main_thread) : is_active_(in_main_thread) {}

  void enter() {
    if (!is_active_) return;
    before_ = PyOS_setsig(SIGINT, &note_interrupt);
    // One that came before, and that Python has not attended to.
    if (PyErr_CheckSignals() != 0) {
      PyOS_setsig(SIGINT, before_);
      throw py::error_already_set();
    }
  }

  void exit(const py::object&, const py::object&, const py::object&) {
    if (!is_active_) return;
    PyOS_setsig(SIGINT, before_);
    if (before_ == &note_interrupt || interrupt_came == 0) return;  // a block around it goes on
    interrupt_came = 0;
    std::raise(SIGINT);
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }

 private:
  bool is_active_;
  PyOS_sighandler_t before_ = SIG_DFL;
};

}  // namespace

void register_interrupts(py::module_& module) {
  py::class_<Uninterrupted>(module, "Uninterrupted",
                            "A block for whose end Ctrl-C waits, in the main thread.")
      .def(py::init<bool>(), py::arg("in_main_thread"))
      .def("__enter__", &Uninterrupted::enter)
      .def("__exit__", &Uninterrupted::exit);
}

}  // namespace flatstep::python
