// The limits that bench/compare.py holds flatstep against, as a Python module.
//
//   ByteLimit     reads one array, reads and writes others, and does nothing else: what memory
//                 allows. No prefetch instruction, streaming store or blocking beat this loop.
//                 look_and_run() reads all of the one array beforehand, as a step must that
//                 refuses a gradient before anything changes.
//   StreamLimit   likewise of arrays that are not of one width: one, two or four bytes a parameter
//   AdamLimit     the bytes of a float32 Adam step, its root, its division, and hardly anything
//                 else: what the arithmetic units allow where the data lie in a cache
//   CodeLimit     the roots and divisions of an updater's step, with what 16-bit and 8-bit state costs
//                 at least, to decode and to encode, and a float32 parameter in two halves: as many
//                 parameters as a step has, by a few that stay in a core's first cache
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
#include <cstring>
#include <stdexcept>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace {

using flatstep_bench::Word;

/// Where a part of `count` begins: after whole grains, so that no two threads share a page.
std::size_t begin_of(std::size_t part, std::size_t parts, std::size_t count, std::size_t grain) {
  const std::size_t at = (count + grain - 1) / grain * part / parts * grain;
  return at < count ? at : count;
}

/// Calls body(part, first, how many) on as many threads as there are parts.
template <class Body>
void in_parts(unsigned parts, std::size_t count, std::size_t grain, Body&& body) {
  flatstep::ThreadPool& pool = flatstep::ThreadPool::instance();
  if (pool.num_threads() != parts) pool.set_num_threads(parts);
  pool.run(parts, [&](unsigned part) {
    const std::size_t at = begin_of(part, parts, count, grain);
    body(part, at, begin_of(part + 1, parts, count, grain) - at);
  });
}

constexpr std::size_t page_bytes = 4096;

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
    in_parts(parts_, words_, page_words, [this](unsigned, std::size_t at, std::size_t n) {
      std::array<Word*, 4> at_part{};
      for (std::size_t i = 0; i < targets_.size(); ++i) at_part[i] = pointers_[i] + at;
      flatstep_bench::touch(n, words() + at, at_part.data(), targets_.size());
    });
  }

  void look() {
    in_parts(parts_, words_, page_words, [this](unsigned, std::size_t at, std::size_t n) {
      const volatile Word seen = flatstep_bench::read(n, words() + at);
      static_cast<void>(seen);
    });
  }

  void look_and_run() {
    look();
    run();
  }

 private:
  static constexpr std::size_t page_words = page_bytes / sizeof(Word);

  const Word* words() const { return static_cast<const Word*>(source_.data()); }

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

/// The bytes that an array has for each parameter.
std::size_t width_of(const py::array& array, std::size_t parameters) {
  const auto bytes = static_cast<std::size_t>(array.nbytes());
  const std::size_t width = bytes / parameters;
  if (bytes % parameters != 0 || (width != 1 && width != 2 && width != 4)) {
    throw std::invalid_argument("expected arrays of 1, 2 or 4 bytes for each parameter");
  }
  return width;
}

class StreamLimit {
 public:
  StreamLimit(std::size_t parameters, const py::array& source,
              const std::vector<py::array>& targets, unsigned threads)
      : source_(source), targets_(targets), parts_(threads) {
    if (parameters == 0 || parameters % flatstep_bench::line_parameters != 0) {
      throw std::invalid_argument("parameters: expected a multiple of 64");
    }
    if (threads == 0) throw std::invalid_argument("threads: expected at least 1");
    if (targets.empty() || targets.size() > max_streams) {
      throw std::invalid_argument("targets: expected 1 to 5 arrays");
    }
    lines_ = parameters / flatstep_bench::line_parameters;
    width_ = width_of(source_, parameters);
    for (py::array& target : targets_) {
      streams_.push_back({static_cast<Word*>(target.mutable_data()), width_of(target, parameters)});
    }
    if (streams_[0].bytes < width_) {
      throw std::invalid_argument("targets: expected the first to be as wide as the source");
    }
  }

  void run() {
    // A page of the narrowest array there can be.
    constexpr std::size_t grain = page_bytes / flatstep_bench::line_parameters;
    in_parts(parts_, lines_, grain, [this](unsigned, std::size_t at, std::size_t n) {
      std::array<flatstep_bench::Stream, max_streams> streams{};
      for (std::size_t i = 0; i < streams_.size(); ++i) {
        streams[i] = {streams_[i].data + at * line_words * streams_[i].bytes, streams_[i].bytes};
      }
      const Word* const source = static_cast<const Word*>(source_.data());
      flatstep_bench::touch(n, source + at * line_words * width_, width_, streams.data(),
                            streams_.size());
    });
  }

 private:
  static constexpr std::size_t max_streams = 5;
  static constexpr std::size_t line_words = 64 / sizeof(Word);

  py::array source_;
  std::vector<py::array> targets_;
  std::vector<flatstep_bench::Stream> streams_;
  std::size_t width_ = 0;
  std::size_t lines_ = 0;
  unsigned parts_;
};

/// What one thread of a CodeLimit works on, again and again.
struct alignas(64) Few {
  static constexpr std::size_t size = 1024;
  using Numbers = std::array<float, size>;  // or as many that are narrower

  /// Some lines more than a page: of lines that lie a page apart, some caches take one for the other, at
  /// some addresses, and the loop would take up to four times as long.
  struct alignas(64) Padded : Numbers {
    std::array<std::byte, std::size_t{5} * 64> gap;
  };

  Padded parameter{};
  Padded gradient{};
  std::array<Padded, 3> state{};
  alignas(64) std::array<std::uint16_t, size> lower{};

  explicit Few(const flatstep_bench::Work& work) {
    if (work.split) {
      fill(gradient, flatstep_bench::code_of_one<std::uint16_t>());
    } else {
      gradient.fill(1.0f);
    }
    for (unsigned a = 0; a < work.coded + work.plain; ++a) {
      if (a >= work.coded) {
        state[a].fill(1.0f);
      } else if (work.state_bytes == 2) {
        fill(state[a], flatstep_bench::code_of_one<std::uint16_t>());
      } else {
        fill(state[a], flatstep_bench::code_of_one<std::uint8_t>());
      }
    }
  }

  template <class Code>
  static void fill(Numbers& numbers, Code code) {
    for (std::size_t i = 0; i < size; ++i) {
      std::memcpy(reinterpret_cast<std::byte*>(numbers.data()) + i * sizeof code, &code,
                  sizeof code);
    }
  }
};

class CodeLimit {
 public:
  CodeLimit(std::size_t parameters, const flatstep_bench::Work& work, unsigned threads)
      : loop_(flatstep_bench::find_loop(work)),
        scale_(work.state_bytes == 1 ? flatstep_bench::code_scale<std::uint8_t>()
                                     : flatstep_bench::code_scale<std::uint16_t>()),
        few_(threads, Few(work)),
        parameters_(parameters),
        parts_(threads) {
    if (threads == 0) throw std::invalid_argument("threads: expected at least 1");
    if (loop_ == nullptr) throw std::invalid_argument("expected the work of some updater");
  }

  void run() {
    in_parts(parts_, parameters_, Few::size, [&](unsigned part, std::size_t, std::size_t n) {
      Few& few = few_[part];
      const flatstep_bench::Arrays arrays{
          few.parameter.data(),
          few.lower.data(),
          few.gradient.data(),
          {few.state[0].data(), few.state[1].data(), few.state[2].data()}};
      for (std::size_t done = 0; done < n; done += Few::size) loop_(Few::size, arrays, scale_);
    });
  }

 private:
  flatstep_bench::WorkLoop loop_;
  flatstep_bench::CodeScale scale_;
  std::vector<Few> few_;
  std::size_t parameters_;
  unsigned parts_;
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
  py::class_<StreamLimit>(module, "StreamLimit")
      .def(py::init<std::size_t, const py::array&, const std::vector<py::array>&, unsigned>(),
           py::arg("parameters"), py::arg("source"), py::arg("targets"), py::arg("threads"))
      .def("run", &StreamLimit::run);
  py::class_<CodeLimit>(module, "CodeLimit")
      .def(py::init([](std::size_t parameters, unsigned state_bytes, unsigned coded, unsigned plain,
                       unsigned roots, unsigned divisions, bool split, unsigned threads) {
             return CodeLimit(parameters, {state_bytes, coded, plain, roots, divisions, split},
                              threads);
           }),
           py::arg("parameters"), py::kw_only(), py::arg("state_bytes"), py::arg("coded"),
           py::arg("plain"), py::arg("roots"), py::arg("divisions"), py::arg("split"),
           py::arg("threads"))
      .def("run", &CodeLimit::run);
  py::class_<Empty>(module, "Empty").def(py::init<>()).def("call", &Empty::call);
}
