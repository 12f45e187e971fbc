// The limits that bench/compare.py holds flatstep against, as a Python module.
//
//   ByteLimit     reads one array, reads and writes others, and does nothing else: what memory
//                 allows. No prefetch instruction, streaming store or blocking beat this loop.
//                 look_and_run() reads all of the one array beforehand, as a step must that
//                 refuses a gradient before anything changes.
//   AdamLimit     the bytes of a float32 Adam step, its root, its division, and hardly anything
//                 else: what the arithmetic units allow where the data lie in a cache
//   Empty.call()  a method without arguments that does nothing: what a call through pybind11 costs
//
// Its loops are compiled for the machine that builds them and run there: a measure, not a product.
// It has its threads from flatstep's pool, so that only the work differs.

#include <flatstep/threads.hpp>

#include "limit_loops.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace {

using flatstep_bench::Word;

/// Where a part begins: at a page, so that no two threads share a cache line.
std::size_t begin_of(std::size_t part, std::size_t parts, std::size_t words) {
  constexpr std::size_t page = 4096 / sizeof(Word);
  const std::size_t at = (words + page - 1) / page * part / parts * page;
  return at < words ? at : words;
}

class ByteLimit {
 public:
  ByteLimit(const py::array& source, const std::vector<py::array>& targets, unsigned threads)
      : source_(source), targets_(targets), parts_(threads) {
    if (targets.empty() || targets.size() > pointers_.size()) {
      throw std::invalid_argument("targets: expected 1 to 4 arrays");
    }
    if (threads == 0) throw std::invalid_argument("threads: expected at least 1");
    words_ = static_cast<std::size_t>(source.nbytes()) / sizeof(Word);
    for (std::size_t i = 0; i < targets.size(); ++i) {
      if (targets_[i].nbytes() != source.nbytes()) {
        throw std::invalid_argument("targets: expected arrays as large as the source");
      }
      pointers_[i] = static_cast<Word*>(targets_[i].mutable_data());
    }
  }

  void run() {
    in_parts([this](std::size_t at, std::size_t n) {
      std::array<Word*, 4> at_part{};
      for (std::size_t i = 0; i < targets_.size(); ++i) at_part[i] = pointers_[i] + at;
      flatstep_bench::touch(n, words() + at, at_part.data(), targets_.size());
    });
  }

  void look() {
    in_parts([this](std::size_t at, std::size_t n) {
      const volatile Word seen = flatstep_bench::read(n, words() + at);
      static_cast<void>(seen);
    });
  }

  void look_and_run() {
    look();
    run();
  }

 private:
  const Word* words() const { return static_cast<const Word*>(source_.data()); }

  template <class Body>
  void in_parts(Body&& body) {
    flatstep::ThreadPool& pool = flatstep::ThreadPool::instance();
    if (pool.num_threads() != parts_) pool.set_num_threads(parts_);
    pool.run(parts_, [&](unsigned part) {
      const std::size_t at = begin_of(part, parts_, words_);
      body(at, begin_of(part + 1, parts_, words_) - at);
    });
  }

  py::array source_;
  std::vector<py::array> targets_;
  std::array<Word*, 4> pointers_{};
  std::size_t words_ = 0;
  unsigned parts_;
};

class AdamLimit {
 public:
  using Array = py::array_t<float, py::array::c_style>;
  AdamLimit(Array p, Array g, Array m, Array v)
      : p_(std::move(p)), g_(std::move(g)), m_(std::move(m)), v_(std::move(v)) {
    for (const Array* other : {&g_, &m_, &v_}) {
      if (other->size() != p_.size()) throw std::invalid_argument("expected arrays of one size");
    }
  }

  void run() {
    flatstep_bench::roots_and_divisions(static_cast<std::size_t>(p_.size()), p_.mutable_data(),
                                        g_.data(), m_.mutable_data(), v_.mutable_data());
  }

 private:
  Array p_, g_, m_, v_;
};

class Empty {
 public:
  void call() const {}
};

}  // namespace

PYBIND11_MODULE(flatstep_limit, module) {
  module.doc() = "The limits that bench/compare.py holds flatstep against";
  py::class_<ByteLimit>(module, "ByteLimit")
      .def(py::init<const py::array&, const std::vector<py::array>&, unsigned>(), py::arg("source"),
           py::arg("targets"), py::arg("threads"))
      .def("run", &ByteLimit::run)
      .def("look", &ByteLimit::look)
      .def("look_and_run", &ByteLimit::look_and_run);
  py::class_<AdamLimit>(module, "AdamLimit")
      .def(py::init<AdamLimit::Array, AdamLimit::Array, AdamLimit::Array, AdamLimit::Array>(),
           py::arg("p"), py::arg("g"), py::arg("m"), py::arg("v"))
      .def("run", &AdamLimit::run);
  py::class_<Empty>(module, "Empty").def(py::init<>()).def("call", &Empty::call);
}
