// The thread pool that all steps of a process share.
//
// A step is short, often a few microseconds, and the threads it runs on belong to others in
// between: to a BLAS, to the interpreter. So the pool is persistent, its workers spin for a few
// microseconds after their work and then sleep, and each call names its parts beforehand: part k
// goes to the same thread each time, whose cache may still hold the data. The calling thread works
// too; when its own parts are done it takes over those of workers that have not begun yet, so that
// a worker that wakes late or finds its processor busy costs no more than doing without it. Which
// thread runs a part never shows in a result.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <limits>
#include <memory>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <flatstep/simd/float_mode.hpp>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace flatstep {

namespace detail {

#if defined(__linux__)

// The processors that the calling thread may run on, 0 if the system does not say.
inline unsigned affinity_count() {
  for (std::size_t sets = 1; sets <= 64; sets *= 2) {  // a set holds 1024 processors
    std::vector<cpu_set_t> allowed(sets);
    const std::size_t bytes = sets * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, allowed.data()) == 0) {
      return static_cast<unsigned>(CPU_COUNT_S(bytes, allowed.data()));
    }
  }
  return 0;
}

inline constexpr double no_limit = std::numeric_limits<double>::infinity();

// The limit that one control group sets itself, in processors.
inline double cgroup_limit(const std::string& directory, bool version_2) {
  double quota = 0;
  double period = 0;
  if (version_2) {  // "max 100000" or "150000 100000"
    std::ifstream(directory + "/cpu.max") >> quota >> period;
  } else {  // a quota of -1 is none
    std::ifstream(directory + "/cpu.cfs_quota_us") >> quota;
    std::ifstream(directory + "/cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : no_limit;
}

// Whether a list such as "rw,cpu,cpuacct" has the word "cpu".
inline bool names_cpu(const std::string& list) {
  return ("," + list + ",").find(",cpu,") != std::string::npos;
}

// The processors' worth of time that the process's control groups allow it, the tightest of its
// group and the groups around that. `root` stands before every path, for tests.
inline double cgroup_quota(const std::string& root = {}) {
  // The group within each hierarchy, "number:controllers:path"; version 2 names no controllers.
  std::string group_1, group_2;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (controllers.empty()) group_2 = line.substr(second + 1);
    if (names_cpu(controllers)) group_1 = line.substr(second + 1);
  }

  // Where the hierarchies are mounted, "id parent device root mountpoint options... - type source
  // options". In a container the mount may begin at the container's own group.
  double limit = no_limit;
  std::ifstream mounts(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    std::string skipped, mount_root, mount_point, type, options;
    std::istringstream fields(line);
    fields >> skipped >> skipped >> skipped >> mount_root >> mount_point;
    while (fields >> skipped && skipped != "-") {
    }
    fields >> type >> skipped >> options;
    const bool version_2 = type == "cgroup2";
    if (!version_2 && !(type == "cgroup" && names_cpu(options))) continue;

    std::string group = version_2 ? group_2 : group_1;
    if (mount_root != "/") {
      const bool inside = group.starts_with(mount_root);
      group = inside ? group.substr(mount_root.size()) : std::string();
    }
    if (group.find("..") != std::string::npos) group.clear();  // of another namespace
    while (!group.empty() && group.back() == '/') group.pop_back();
    for (;;) {
      limit = std::min(
          limit, cgroup_limit(std::string(root).append(mount_point).append(group), version_2));
      if (group.empty()) break;
      group.resize(group.rfind('/') == std::string::npos ? 0 : group.rfind('/'));
    }
  }
  return limit;
}

#endif

// Lets a processor rest for a moment in a loop that waits.
inline void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#else
  std::this_thread::yield();
#endif
}

// Returns when `word` is no longer `value`: awake for a time, then asleep.
inline void await_change(const std::atomic<std::uint32_t>& word, std::uint32_t value,
                         std::chrono::microseconds awake) {
  const auto deadline = std::chrono::steady_clock::now() + awake;
  do {
    for (int i = 0; i < 32; ++i) {
      if (word.load(std::memory_order_acquire) != value) return;
      pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  word.wait(value, std::memory_order_acquire);
}

// While it lives, threads that are started take no signals: those are for the program's own
// threads. Errors of the thread itself still reach it, and a profiler's ticks.
class SignalsBlocked {
 public:
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

#if defined(__unix__) || defined(__APPLE__)
  SignalsBlocked() {
    sigset_t most{};
    sigfillset(&most);
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGPROF}) {
      sigdelset(&most, signal);
    }
    pthread_sigmask(SIG_SETMASK, &most, &found_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &found_, nullptr); }

 private:
  sigset_t found_{};
#else
  SignalsBlocked() {}
  ~SignalsBlocked() {}
#endif
};

// Moves a thread to another processor than the caller's, of those that it may run on; a request,
// not a rule: it may run on all of them again afterwards.
inline void move_away([[maybe_unused]] std::thread& thread) {
#if defined(__linux__)
  cpu_set_t allowed;
  const auto handle = thread.native_handle();
  const int here = sched_getcpu();
  if (here < 0 || here >= CPU_SETSIZE) return;
  if (pthread_getaffinity_np(handle, sizeof(allowed), &allowed) != 0) return;
  cpu_set_t others = allowed;
  CPU_CLR(static_cast<std::size_t>(here), &others);
  if (CPU_COUNT(&others) == 0) return;
  if (pthread_setaffinity_np(handle, sizeof(others), &others) == 0) {
    pthread_setaffinity_np(handle, sizeof(allowed), &allowed);
  }
#endif
}

// A fixed number of workers, from construction to destruction. One thread at a time may call run.
class Crew {
 public:
  using Body = void (*)(void* context, unsigned part);

  // Starts that many workers, or as many as the system grants.
  explicit Crew(unsigned workers) : workers_(std::make_unique<Worker[]>(workers)) {
    const SignalsBlocked blocked;
    try {
      for (; size_ < workers; ++size_) {
        workers_[size_].thread = std::thread([this, index = size_] { work(index); });
      }
    } catch (const std::exception&) {
      return;  // no thread to be had, or no memory for one: as many as there are will do
    }
  }

  ~Crew() {
    for (unsigned i = 0; i < size_; ++i) send(workers_[i], stop);
    for (unsigned i = 0; i < size_; ++i) workers_[i].thread.join();
  }

  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  unsigned size() const { return size_; }

  void run(unsigned parts, Body body, void* context) {
    const unsigned called = std::min(size_, parts - 1);
    job_ = {parts, size_ + 1, body, context};
    unfinished_.store(called, std::memory_order_relaxed);
    for (unsigned i = 0; i < called; ++i) send(workers_[i], go);
    do_share(0);
    unsigned taken_over = 0;
    for (unsigned i = called; i-- > 0;) {  // whom we called last has likely not begun
      Worker& worker = workers_[i];
      if (!take(worker)) {
        worker.missed = 0;
        continue;
      }
      do_share(i + 1);
      ++taken_over;
      // The second time in a row, the fourth, the eighth, …: it costs some microseconds.
      ++worker.missed;
      if (worker.missed > 1 && std::has_single_bit(worker.missed)) move_away(worker.thread);
    }
    unfinished_.fetch_sub(taken_over, std::memory_order_acq_rel);
    while (const std::uint32_t left = unfinished_.load(std::memory_order_acquire)) {
      await_change(unfinished_, left, caller_awake);
    }
  }

 private:
  // A worker leaves its processor to others soon, steps that follow each other still find it awake.
  // The caller has nothing else to do; to fall asleep and be woken costs it some 30 microseconds.
  static constexpr std::chrono::microseconds worker_awake{10};
  static constexpr std::chrono::microseconds caller_awake{100};

  // What a worker is told. Who changes `go` back to `rest`, the worker or the caller, does its
  // share.
  enum Order : std::uint32_t { rest, go, stop };

  struct alignas(64) Worker {  // a cache line each
    std::atomic<std::uint32_t> order{rest};
    std::thread thread;
    std::uint32_t missed = 0;  ///< runs in a row that the caller did its share of; the caller's own
  };

  struct Job {
    unsigned parts, stride;
    Body body;
    void* context;
  };

  // Sequentially consistent, so that a worker on its way to sleep either sees the order or is seen
  // and woken.
  static void send(Worker& worker, Order order) {
    worker.order.store(order, std::memory_order_seq_cst);
    worker.order.notify_one();
  }

  static bool take(Worker& worker) {
    std::uint32_t expected = go;
    return worker.order.compare_exchange_strong(expected, rest, std::memory_order_acq_rel);
  }

  // The caller has share 0, worker i has share i + 1: every stride-th part.
  void do_share(unsigned share) const {
    for (unsigned part = share; part < job_.parts; part += job_.stride) {
      job_.body(job_.context, part);
    }
  }

  void work(unsigned index) {
    const FlushSubnormals mode;
    Worker& self = workers_[index];
    for (;;) {
      await_change(self.order, rest, worker_awake);
      if (self.order.load(std::memory_order_acquire) == stop) return;
      if (!take(self)) continue;
      do_share(index + 1);
      if (unfinished_.fetch_sub(1, std::memory_order_seq_cst) == 1) unfinished_.notify_one();
    }
  }

  const std::unique_ptr<Worker[]> workers_;
  unsigned size_ = 0;
  Job job_{};  // written while no share of the last one is left
  alignas(64) std::atomic<std::uint32_t> unfinished_{0};
};

}  // namespace detail

// More threads than this are a mistake.
inline constexpr unsigned max_num_threads = 1024;

// The threads that a process is meant to use: FLATSTEP_NUM_THREADS where it is set and not empty,
// else the processors that affinity allows, or fewer where the container's quota of processor time
// (control groups, version 1 or 2) is for fewer whole ones. At least one. Throws
// std::invalid_argument where FLATSTEP_NUM_THREADS is no integer from 1 to max_num_threads.
inline unsigned default_num_threads() {
  const char* const text = std::getenv("FLATSTEP_NUM_THREADS");
  if (const std::string_view digits(text != nullptr ? text : ""); !digits.empty()) {
    unsigned number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error == std::errc() && end == digits.data() + digits.size() && number > 0 &&
        number <= max_num_threads) {
      return number;
    }
    throw std::invalid_argument("FLATSTEP_NUM_THREADS: expected an integer from 1 to " +
                                std::to_string(max_num_threads) + ", got \"" + text + '"');
  }
  unsigned processors = std::thread::hardware_concurrency();
#if defined(__linux__)
  if (const unsigned allowed = detail::affinity_count()) processors = allowed;
  // A quota's fraction is left unused: all threads of a step would wait for the throttled one.
  const double quota = detail::cgroup_quota();
  if (quota < processors) processors = static_cast<unsigned>(quota);
#endif
  return std::max(processors, 1u);
}

class ThreadPool {
 public:
  // The pool of the process, or of each shared library that hides its symbols. Throws
  // std::invalid_argument for a bad FLATSTEP_NUM_THREADS, until there is a pool.
  static ThreadPool& instance() {
    // Never destroyed: there are objects that step in their destructors, at the very end.
    alignas(ThreadPool) static std::byte memory[sizeof(ThreadPool)];
    static ThreadPool* const pool = ::new (memory) ThreadPool;
    return *pool;
  }

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // How many threads `run` spreads its parts over, the caller included.
  unsigned num_threads() const { return num_threads_.load(std::memory_order_relaxed); }

  // May be called at any time; a run that is under way keeps its threads. 0 is the default again.
  void set_num_threads(unsigned number) {
    number = number > 0 ? number : default_num_threads();
    num_threads_.store(number, std::memory_order_relaxed);
    if (!claim()) return;
    if (crew_ && crew_->size() + 1 != number) crew_.reset();  // the next run starts its own
    release();
  }

  // Calls body(part) once for each part from 0 to parts - 1, and returns when all are done. Part 0
  // is run by the caller; the others by any thread, in any order. While another thread is in here,
  // and inside of a body, all of them are run by the caller. Workers flush subnormals; the caller's
  // floating-point mode is its own affair. The body must not throw.
  template <class F>
  void run(unsigned parts, F&& body) noexcept {
    if (parts > 1 && num_threads() > 1 && claim()) {
      if (detail::Crew* const crew = this->crew()) {
        using Function = std::remove_reference_t<F>;
        Function* context = std::addressof(body);
        crew->run(
            parts, [](void* f, unsigned part) { (**static_cast<Function**>(f))(part); },
            static_cast<void*>(&context));
        return release();
      }
      release();
    }
    for (unsigned part = 0; part < parts; ++part) body(part);
  }

 private:
  // Prepared before any thread may hold the pool: a fork that falls into the first run must find
  // the handler that frees it in the child.
  ThreadPool() : num_threads_(default_num_threads()) { prepare(); }

  bool claim() {
    return !busy_.load(std::memory_order_relaxed) &&
           !busy_.exchange(true, std::memory_order_acquire);
  }

  void release() { busy_.store(false, std::memory_order_release); }

  // The crew of the number of threads that is wanted now, null where the system grants no thread.
  detail::Crew* crew() noexcept {
    const unsigned wanted = num_threads() - 1;
    if (crew_ && crew_->size() == wanted) return crew_.get();
    crew_.reset();
    if (wanted == 0) return nullptr;
    try {
      crew_ = std::make_unique<detail::Crew>(wanted);
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
    if (crew_->size() < wanted) {
      unsigned expected = wanted + 1;
      num_threads_.compare_exchange_strong(expected, crew_->size() + 1);
      if (crew_->size() == 0) crew_.reset();
    }
    return crew_.get();
  }

  // Workers end before the code they run may be unloaded, and are not missed in a child process.
  void prepare() {
#if defined(_WIN32)
    // Windows ends a process's threads before its libraries hear of it.
#else
    made_ = this;
    std::atexit([] {
      // Claimed for good: what steps after this steps on its own thread. Whoever holds the pool now
      // is another thread in the middle of a run, which the end of the process will stop.
      if (made_->claim()) made_->crew_.reset();
    });
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(nullptr, nullptr, [] {
      // Only the forking thread exists here. The others' handles mean nothing, so the crew that
      // holds them must not be destroyed; the next run starts another.
      static_cast<void>(made_->crew_.release());
      made_->release();
    });
#endif
#endif
  }

  std::atomic<unsigned> num_threads_;
  std::atomic<bool> busy_{false};
  // Only for who has claimed the pool:
  std::unique_ptr<detail::Crew> crew_;
  // For what happens at exit and at a fork, which must not wait for instance().
  static inline ThreadPool* made_ = nullptr;
};

}  // namespace flatstep
