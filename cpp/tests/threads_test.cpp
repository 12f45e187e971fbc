// The thread pool: every part once, whoever calls, whatever the number; fork, exit, sleep; and the
// default number from the environment, the affinity and the container's quota.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <flatstep/simd/float_mode.hpp>
#include <flatstep/threads.hpp>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#define FLATSTEP_TEST_POSIX
#endif

// Sanitizers have threads and address space of their own, which some tests here count.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define FLATSTEP_TEST_SANITIZED
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define FLATSTEP_TEST_SANITIZED
#endif
#endif

namespace {

using flatstep::default_num_threads;
using flatstep::ThreadPool;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

ThreadPool& pool() { return ThreadPool::instance(); }

// Waits for something that must come; gives up after a time that no machine needs.
bool comes(const std::function<bool()>& condition) {
  const auto deadline = steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

// How often each part runs.
std::vector<int> times_run(unsigned parts) {
  std::vector<std::atomic<int>> counts(parts);
  pool().run(parts, [&](unsigned part) { ++counts[part]; });
  return {counts.begin(), counts.end()};
}

// Runs one part per thread, each of which stays until all have begun: true if that many threads
// really work at the same time.
bool all_threads_work() {
  const unsigned threads = pool().num_threads();
  std::atomic<unsigned> arrived{0};
  std::atomic<bool> met{true};
  pool().run(threads, [&](unsigned) {
    ++arrived;
    if (!comes([&] { return arrived == threads; })) met = false;
  });
  return met;
}

// Does `on_worker` in a part that a worker runs, while the caller waits for it.
template <class F>
void run_on_worker(F&& on_worker) {
  std::atomic<bool> done{false};
  pool().run(2, [&](unsigned part) {
    if (part == 0) {
      EXPECT_TRUE(comes([&] { return done.load(); }));
    } else {
      on_worker();
      done = true;
    }
  });
}

struct Threads : testing::Test {
  void SetUp() override { pool().set_num_threads(3); }
  void TearDown() override { pool().set_num_threads(0); }
};

TEST_F(Threads, EveryPartRunsOnce) {
  for (const unsigned threads : {1u, 2u, 3u, 8u}) {
    pool().set_num_threads(threads);
    EXPECT_EQ(pool().num_threads(), threads);
    for (unsigned parts = 0; parts < 40; ++parts) {
      EXPECT_EQ(times_run(parts), std::vector<int>(parts, 1)) << threads << " threads";
    }
  }
}

TEST_F(Threads, WhatThePartsWroteIsThereAfterwards) {
  std::vector<unsigned> values(64);
  for (unsigned round = 0; round < 2000; ++round) {
    pool().run(8, [&](unsigned part) {
      for (unsigned i = part; i < values.size(); i += 8) values[i] += i + round;
    });
  }
  for (unsigned i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], 2000 * i + 1999 * 1000);
}

TEST_F(Threads, AllOfThemWork) {
  for (const unsigned threads : {1u, 2u, 3u, 8u}) {
    pool().set_num_threads(threads);
    EXPECT_TRUE(all_threads_work()) << threads << " threads";
  }
}

TEST_F(Threads, TheCallerRunsPartZeroAndEachPartHasItsThread) {
  std::vector<std::thread::id> first(3), second(3);
  for (auto* ids : {&first, &second}) {
    std::atomic<unsigned> arrived{0};
    pool().run(3, [&](unsigned part) {
      (*ids)[part] = std::this_thread::get_id();
      ++arrived;
      EXPECT_TRUE(comes([&] { return arrived == 3u; }));
    });
  }
  EXPECT_EQ(first[0], std::this_thread::get_id());
  EXPECT_EQ(first, second);
}

TEST_F(Threads, BodiesMayBeConstMutableAndTemporary) {
  int sum = 0;
  auto mutating = [calls = 0, &sum](unsigned) mutable { sum = ++calls; };
  pool().run(1, mutating);
  pool().run(1, mutating);
  EXPECT_EQ(sum, 2);
  std::atomic<unsigned> total{0};
  const std::function<void(unsigned)> constant = [&](unsigned part) { total += part; };
  pool().run(4, constant);
  pool().run(4, std::function<void(unsigned)>(constant));
  EXPECT_EQ(total, 12u);
}

TEST_F(Threads, ANestedRunStaysOnItsThread) {
  std::atomic<int> parts{0};
  std::atomic<bool> moved{false};
  pool().run(6, [&](unsigned) {
    const std::thread::id outer = std::this_thread::get_id();
    pool().run(5, [&](unsigned) {
      ++parts;
      if (std::this_thread::get_id() != outer) moved = true;
    });
  });
  EXPECT_EQ(parts, 30);
  EXPECT_FALSE(moved);
}

TEST_F(Threads, ManyCallersAtOnce) {
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (unsigned caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (unsigned i = 0; i < 1000; ++i) {
        const unsigned parts = 1 + (i + caller) % 7;
        if (times_run(parts) != std::vector<int>(parts, 1)) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(Threads, TheNumberMayChangeWhileOthersRun) {
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0}, runs{0};
  std::thread caller([&] {
    while (!stop) {
      if (times_run(5) != std::vector<int>(5, 1)) ++wrong;
      ++runs;
    }
  });
  for (unsigned i = 0; i < 300; ++i) {
    const int before = runs;
    pool().set_num_threads(1 + i % 6);
    EXPECT_TRUE(comes([&] { return runs > before; }));
  }
  stop = true;
  caller.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(pool().num_threads(), 1 + 299 % 6u);
  EXPECT_TRUE(all_threads_work());
}

TEST_F(Threads, ZeroIsTheDefault) {
  pool().set_num_threads(0);
  EXPECT_EQ(pool().num_threads(), default_num_threads());
}

TEST_F(Threads, SleepWhenIdleAndWakeAgain) {
  EXPECT_TRUE(all_threads_work());
  std::this_thread::sleep_for(milliseconds(20));
  const std::clock_t before = std::clock();  // processor time of all threads
  std::this_thread::sleep_for(milliseconds(500));
  const double used = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(used, 0.25) << "workers spin while there is nothing to do";
  EXPECT_TRUE(all_threads_work());
}

#if defined(__x86_64__) || defined(_M_X64) || defined(__aarch64__)
TEST_F(Threads, WorkersFlushSubnormals) {
  const flatstep::FlushSubnormals mode;
  volatile float smallest = std::numeric_limits<float>::min();
  float result = 1;
  run_on_worker([&] { result = smallest * 0.5f; });
  EXPECT_EQ(result, 0.0f);
}
#endif

#if defined(FLATSTEP_TEST_POSIX)

TEST_F(Threads, WorkersLeaveSignalsToTheProgram) {
  sigset_t on_worker, before, after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  run_on_worker([&] { pthread_sigmask(SIG_SETMASK, nullptr, &on_worker); });
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  EXPECT_EQ(sigismember(&on_worker, SIGINT), 1);
  EXPECT_EQ(sigismember(&on_worker, SIGALRM), 1);
  EXPECT_EQ(sigismember(&on_worker, SIGSEGV), 0);
  EXPECT_EQ(sigismember(&before, SIGINT), sigismember(&after, SIGINT));
}

std::atomic<int> held{0};
std::atomic<bool> let_go{false};

// A worker that is kept from working (here by a signal handler, elsewhere by another program's
// threads) does not keep a step from being done.
TEST_F(Threads, TheCallerTakesOverFromWorkersThatDoNotBegin) {
  pool().set_num_threads(2);
  pthread_t worker{};
  run_on_worker([&] { worker = pthread_self(); });
  held = 0;
  let_go = false;
  struct sigaction action{};
  struct sigaction found{};
  action.sa_handler = [](int) {
    ++held;
    while (!let_go) {
    }
  };
  sigaction(SIGPROF, &action, &found);
  ASSERT_EQ(pthread_kill(worker, SIGPROF), 0);
  ASSERT_TRUE(comes([] { return held == 1; }));
  std::vector<std::thread::id> ids(4);
  for (int i = 0; i < 3; ++i) {
    pool().run(4, [&](unsigned part) { ids[part] = std::this_thread::get_id(); });
    EXPECT_EQ(ids, std::vector<std::thread::id>(4, std::this_thread::get_id()));
  }
  let_go = true;
  EXPECT_TRUE(all_threads_work());
  sigaction(SIGPROF, &found, nullptr);
}

// Runs `body` in a forked child and gives its exit status, or -1 if it did not end by itself.
template <class F>
int in_child(F&& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(body());
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

#if !defined(FLATSTEP_TEST_SANITIZED)

TEST_F(Threads, AForkedChildStartsItsOwn) {
  EXPECT_TRUE(all_threads_work());
  const int status = in_child([] {
    const bool works = all_threads_work();
    pool().set_num_threads(4);
    const bool still = all_threads_work() && times_run(9) == std::vector<int>(9, 1);
    const int grandchild = in_child([] { return all_threads_work() ? 0 : 1; });
    return works && still && grandchild == 0 ? 0 : 1;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(pool().num_threads(), 3u);
  EXPECT_TRUE(all_threads_work());
}

TEST_F(Threads, AForkMayFallIntoAnotherThreadsRun) {
  std::atomic<bool> stop{false};
  std::thread caller([&] {
    while (!stop) pool().run(4, [](unsigned) {});
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(in_child([] { return all_threads_work() ? 0 : 1; }), 0);
  }
  stop = true;
  caller.join();
}

// Made before the pool's first thread, so destroyed after its last one.
struct Last {
  void (*destroyed)() = nullptr;
  ~Last() {
    if (destroyed) destroyed();
  }
} last;

TEST_F(Threads, ExitEndsThemAndLaterStepsRunOnTheirOwnThread) {
  EXPECT_TRUE(all_threads_work());
  const int status = in_child([]() -> int {
    if (!all_threads_work()) return 2;
    last.destroyed = [] {
      bool alone = true;
      const std::thread::id caller = std::this_thread::get_id();
      pool().run(4, [&](unsigned part) {
        if (part == 0) std::this_thread::sleep_for(milliseconds(20));  // time for the others
        if (std::this_thread::get_id() != caller) alone = false;
      });
      _exit(alone ? 0 : 1);
    };
    std::exit(3);
  });
  EXPECT_EQ(status, 0);
}

#endif  // not sanitized

#endif  // POSIX

#if defined(__linux__) && !defined(FLATSTEP_TEST_SANITIZED)

unsigned threads_of_process() {
  const auto tasks = std::filesystem::directory_iterator("/proc/self/task");
  return static_cast<unsigned>(std::distance(begin(tasks), end(tasks)));
}

TEST_F(Threads, StartWithWorkAndEndWithTheNumber) {
  pool().set_num_threads(1);
  std::this_thread::sleep_for(milliseconds(50));  // joined threads are listed for a moment
  const unsigned others = threads_of_process();   // an emulator may have its own
  pool().set_num_threads(5);
  EXPECT_EQ(threads_of_process(), others);
  times_run(2);
  EXPECT_EQ(threads_of_process(), others + 4);
  pool().set_num_threads(3);
  times_run(2);
  EXPECT_TRUE(comes([&] { return threads_of_process() == others + 2; }));
  pool().set_num_threads(1);
  EXPECT_TRUE(comes([&] { return threads_of_process() == others; }));
}

TEST_F(Threads, WorkWithAsManyAsTheSystemGrants) {
  const int status = in_child([] {
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t room = std::size_t{64} << 20;  // a few stacks
    const rlimit limit{pages * page + room, pages * page + room};
    if (setrlimit(RLIMIT_AS, &limit) != 0) return 2;
    pool().set_num_threads(200);
    if (times_run(300) != std::vector<int>(300, 1)) return 3;
    if (pool().num_threads() >= 200) return 4;
    return all_threads_work() ? 0 : 5;
  });
  EXPECT_EQ(status, 0);
}

#endif  // Linux, not sanitized

#if defined(FLATSTEP_TEST_POSIX)

struct DefaultNumThreads : testing::Test {
  void SetUp() override {
    const char* value = std::getenv("FLATSTEP_NUM_THREADS");
    was_set = value != nullptr;
    if (was_set) found = value;
    unsetenv("FLATSTEP_NUM_THREADS");
  }
  void TearDown() override {
    if (was_set) {
      setenv("FLATSTEP_NUM_THREADS", found.c_str(), 1);
    } else {
      unsetenv("FLATSTEP_NUM_THREADS");
    }
  }
  bool was_set = false;
  std::string found;
};

TEST_F(DefaultNumThreads, IsWhatTheEnvironmentSays) {
  for (const unsigned number : {1u, 2u, 7u, 64u}) {
    setenv("FLATSTEP_NUM_THREADS", std::to_string(number).c_str(), 1);
    EXPECT_EQ(default_num_threads(), number);
  }
}

TEST_F(DefaultNumThreads, IsTheMachinesWhereTheEnvironmentSaysNothing) {
  const unsigned machine = default_num_threads();
  EXPECT_GE(machine, 1u);
  setenv("FLATSTEP_NUM_THREADS", "", 1);
  EXPECT_EQ(default_num_threads(), machine);
}

TEST_F(DefaultNumThreads, IsRefusedWhereTheEnvironmentSaysNonsense) {
  for (const char* text : {"0", "-2", "2.5", "two", "3 ", " 3", "1025", "99999999999999999999"}) {
    setenv("FLATSTEP_NUM_THREADS", text, 1);
    try {
      default_num_threads();
      ADD_FAILURE() << '"' << text << '"';
    } catch (const std::invalid_argument& error) {
      EXPECT_EQ(std::string(error.what()),
                "FLATSTEP_NUM_THREADS: expected an integer from 1 to 1024, got \"" +
                    std::string(text) + '"');
    }
  }
}

#endif

#if defined(__linux__)

TEST_F(DefaultNumThreads, IsTheAffinitys) {
  unsigned number = 0;
  std::thread([&] {  // affinity is a thread's
    cpu_set_t all, one;
    ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
    CPU_ZERO(&one);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
      if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
    }
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    number = default_num_threads();
  })
      .join();
  EXPECT_EQ(number, 1u);
}

// A directory that looks like the root of a system with control groups.
class FakeRoot {
 public:
  FakeRoot() {
    std::string name = (std::filesystem::temp_directory_path() / "flatstep-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::system_error(errno, std::generic_category());
    path_ = name;
  }
  ~FakeRoot() { std::filesystem::remove_all(path_); }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;

  void write(const std::string& file, const std::string& text) const {
    const std::filesystem::path whole = path_ + file;
    std::filesystem::create_directories(whole.parent_path());
    std::ofstream(whole) << text;
  }
  double quota() const { return flatstep::detail::cgroup_quota(path_); }

 private:
  std::string path_;
};

constexpr double none = std::numeric_limits<double>::infinity();

constexpr const char* version_2_mount =
    "24 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
    "31 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

constexpr const char* version_1_mount =
    "33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n";

TEST(CgroupQuota, IsNoneWhereThereAreNoGroups) { EXPECT_EQ(FakeRoot().quota(), none); }

TEST(CgroupQuota, OfVersion2IsTheTightestOnTheWayUp) {
  const FakeRoot root;
  root.write("/proc/self/mountinfo", version_2_mount);
  root.write("/proc/self/cgroup", "0::/outer/inner\n");
  EXPECT_EQ(root.quota(), none);
  root.write("/sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n");
  EXPECT_EQ(root.quota(), none);
  root.write("/sys/fs/cgroup/outer/inner/cpu.max", "450000 100000\n");
  EXPECT_EQ(root.quota(), 4.5);
  root.write("/sys/fs/cgroup/outer/cpu.max", "200000 100000\n");
  EXPECT_EQ(root.quota(), 2.0);
  root.write("/sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(root.quota(), 0.5);
}

TEST(CgroupQuota, OfAContainerWithItsOwnNamespace) {
  const FakeRoot root;
  root.write("/proc/self/mountinfo", version_2_mount);
  root.write("/sys/fs/cgroup/cpu.max", "300000 100000\n");
  for (const char* group : {"0::/\n", "0::/../other\n"}) {
    root.write("/proc/self/cgroup", group);
    EXPECT_EQ(root.quota(), 3.0) << group;
  }
}

TEST(CgroupQuota, OfVersion1) {
  const FakeRoot root;
  root.write("/proc/self/mountinfo", version_1_mount);
  root.write("/proc/self/cgroup", "5:cpuset:/a\n4:cpu,cpuacct:/b/c\n0::/\n");
  root.write("/sys/fs/cgroup/cpuset/a/cpu.cfs_quota_us", "1");  // not a processor's
  root.write("/sys/fs/cgroup/cpu,cpuacct/b/c/cpu.cfs_quota_us", "-1\n");
  root.write("/sys/fs/cgroup/cpu,cpuacct/b/c/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(root.quota(), none);
  root.write("/sys/fs/cgroup/cpu,cpuacct/b/c/cpu.cfs_quota_us", "250000\n");
  EXPECT_EQ(root.quota(), 2.5);
  root.write("/sys/fs/cgroup/cpu,cpuacct/b/cpu.cfs_quota_us", "50000\n");
  root.write("/sys/fs/cgroup/cpu,cpuacct/b/cpu.cfs_period_us", "50000\n");
  EXPECT_EQ(root.quota(), 1.0);
}

TEST(CgroupQuota, OfAMountThatBeginsAtTheContainersGroup) {
  const FakeRoot root;
  root.write("/proc/self/mountinfo",
             "34 31 0:31 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n");
  root.write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "400000\n");
  root.write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  root.write("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "150000\n");
  root.write("/sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
  root.write("/proc/self/cgroup", "4:cpu:/docker/abc\n");
  EXPECT_EQ(root.quota(), 4.0);
  root.write("/proc/self/cgroup", "4:cpu:/docker/abc/job\n");
  EXPECT_EQ(root.quota(), 1.5);
}

#endif  // Linux

}  // namespace
