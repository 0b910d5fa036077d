#include "parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ivf::detail {
namespace {

void pause_cpu() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// About 50 us on current machines: longer than the gap between the phases of one search, far shorter than a time slice.
constexpr int spin_rounds = 2000;

thread_local bool inside_pool = false;

/// Workers that wait for numbered jobs. A worker takes part in a job when its index is below the job's thread count.
class Pool {
 public:
  explicit Pool(unsigned workers) {
    threads_.reserve(workers);
    for (unsigned i = 0; i < workers; ++i) threads_.emplace_back([this, i] { work(i + 1); });
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() {
    stop_.store(true, std::memory_order_relaxed);
    publish();
    for (auto& thread : threads_) thread.join();
  }
  unsigned workers() const noexcept { return static_cast<unsigned>(threads_.size()); }

  void run(unsigned threads, const std::function<void(unsigned, unsigned)>& body) {
    body_ = &body;
    team_ = threads;
    error_ = nullptr;
    pending_.store(workers(), std::memory_order_relaxed);
    publish();
    inside_pool = true;
    try {
      body(0, threads);
    } catch (...) {
      keep_error();
    }
    inside_pool = false;
    for (int spin = 0; pending_.load(std::memory_order_acquire) != 0; ++spin) {
      if (spin < spin_rounds) {
        pause_cpu();
        continue;
      }
      const unsigned left = pending_.load(std::memory_order_acquire);
      if (left != 0) pending_.wait(left, std::memory_order_acquire);
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void publish() {
    job_.fetch_add(1, std::memory_order_release);
    job_.notify_all();
  }

  void keep_error() {
    const std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
  }

  void work(unsigned index) {
    inside_pool = true;
    unsigned seen = 0;
    for (;;) {
      unsigned job = job_.load(std::memory_order_acquire);
      for (int spin = 0; job == seen; ++spin) {
        if (spin < spin_rounds) {
          pause_cpu();
        } else {
          job_.wait(seen, std::memory_order_acquire);
        }
        job = job_.load(std::memory_order_acquire);
      }
      seen = job;
      if (stop_.load(std::memory_order_relaxed)) return;
      if (index < team_) {
        try {
          (*body_)(index, team_);
        } catch (...) {
          keep_error();
        }
      }
      if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_one();
    }
  }

  std::vector<std::thread> threads_;
  std::atomic<unsigned> job_{0};
  std::atomic<unsigned> pending_{0};
  std::atomic<bool> stop_{false};
  const std::function<void(unsigned, unsigned)>* body_ = nullptr;
  unsigned team_ = 0;
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

// One job at a time uses the pool; a caller that finds it busy (another thread is searching) gets threads of its own.
std::mutex pool_mutex;
std::unique_ptr<Pool>& shared_pool() {
  static std::unique_ptr<Pool> pool;
  return pool;
}

}  // namespace

void run_threads(unsigned threads, const std::function<void(unsigned, unsigned)>& body) {
  if (threads <= 1 || inside_pool) {
    body(0, 1);
    return;
  }
  std::unique_lock lock(pool_mutex, std::try_to_lock);
  if (!lock.owns_lock()) {
    Pool(threads - 1).run(threads, body);
    return;
  }
  auto& pool = shared_pool();
  if (!pool || pool->workers() < threads - 1) {
    pool.reset();
    pool = std::make_unique<Pool>(threads - 1);
  }
  pool->run(threads, body);
}

void parallel_for(unsigned threads, std::size_t n, std::size_t grain,
                  const std::function<void(std::size_t, std::size_t, unsigned)>& body) {
  if (n == 0) return;
  grain = std::max<std::size_t>(grain, 1);
  const std::size_t chunks = (n - 1) / grain + 1;
  std::atomic<std::size_t> next{0};
  run_threads(static_cast<unsigned>(std::min<std::size_t>(std::max(threads, 1u), chunks)),
              [&](unsigned thread, unsigned) {
                for (std::size_t c; (c = next.fetch_add(1, std::memory_order_relaxed)) < chunks;) {
                  body(c * grain, std::min(n, (c + 1) * grain), thread);
                }
              });
}

}  // namespace ivf::detail
