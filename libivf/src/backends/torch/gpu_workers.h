#pragma once
/// \file
/// Threads that stay, one for each device: to start one for every search would take longer than a small search does.

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace ivf::detail::torch_backend {

/// A thread that does what it is given, one thing after the other.
class Worker {
 public:
  Worker() : thread_([this] { work(); }) {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  std::future<void> start(std::function<void()> job) {
    std::packaged_task<void()> task(std::move(job));
    std::future<void> done = task.get_future();
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    wake_.notify_one();
    return done;
  }

 private:
  void work() {
    for (;;) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      std::packaged_task<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::packaged_task<void()>> tasks_;
  bool stop_ = false;
  std::thread thread_;
};

/// A thread for each of some devices, the first being the caller's.
class Workers {
 public:
  explicit Workers(std::size_t devices) {
    for (std::size_t i = 1; i < devices; ++i) others_.push_back(std::make_unique<Worker>());
  }

  /// Calls body(i) for every device and waits for all. The first exception that one throws is thrown here.
  void on_each(const std::function<void(std::size_t device)>& body) const {
    std::vector<std::future<void>> started;
    for (std::size_t i = 0; i < others_.size(); ++i) started.push_back(others_[i]->start([&body, i] { body(i + 1); }));
    std::exception_ptr error;
    const auto keep_error = [&error](const auto& action) {
      try {
        action();
      } catch (...) {
        if (!error) error = std::current_exception();
      }
    };
    keep_error([&] { body(0); });
    for (auto& one : started) keep_error([&] { one.get(); });
    if (error) std::rethrow_exception(error);
  }

 private:
  std::vector<std::unique_ptr<Worker>> others_;
};

}  // namespace ivf::detail::torch_backend
