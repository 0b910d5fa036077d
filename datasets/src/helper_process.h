#pragma once
/// \file
/// Code that a hostile file may crash, run in a process of its own.

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace ivf::datasets {

/// The descriptor that a name like /dev/fd/3 or /proc/self/fd/3 stands for; -1 for every other name.
int descriptor_in(const std::string& path) noexcept;

/// A child process that answers requests. Whatever happens to it (a crash, endless work, memory that grows without
/// bounds), the caller gets an Error and goes on.
///
/// The child is a fork: it starts in well under a millisecond, and sees what the caller saw then. What it changes in
/// its memory is lost, except in shared().
class HelperProcess {
 public:
  /// Answers a request, in the child; what it throws as Error, the caller of call() gets.
  using Service = std::function<std::string(HelperProcess& self, std::string_view request)>;

  struct Limits {
    /// Reading what describes the data of a file takes no more memory than the file has bytes, and a constant.
    static Limits for_file(const std::string& path);

    std::chrono::milliseconds processor_time{60'000};  ///< That a single request may take.
    std::uint64_t memory = std::uint64_t{1} << 28;     ///< That the child may take, besides what the caller had.
  };

  /// `blame` begins the message when the child dies: what it worked on.
  HelperProcess(std::string blame, const Limits& limits, Service service);
  HelperProcess(const HelperProcess&) = delete;
  HelperProcess& operator=(const HelperProcess&) = delete;
  ~HelperProcess();

  /// Sends a request and waits for the answer. Throws Error(corrupt) when the child died of it, and at every later
  /// call.
  std::string call(std::string_view request);

  /// Those bytes that the service made; at least `size` of them.
  std::span<const std::byte> shared(std::size_t size);

  // For the service, in the child:

  /// Makes `size` bytes that both processes see. Once.
  std::span<std::byte> share(std::size_t size);
  /// Lets it take so much more memory.
  static void allow_memory(std::uint64_t bytes) noexcept;
  /// Closes all files that it has from its parent, but its own channel and `kept`: a lock that the parent lets go must
  /// not live on here.
  void close_all_but(int kept) const noexcept;

 private:
  [[noreturn]] void serve(const Service& service, const Limits& limits, pid_t parent);
  [[noreturn]] void fail(const std::string& why);
  void wait_for_answer(std::chrono::nanoseconds used_before);
  std::chrono::nanoseconds processor_time() const noexcept;
  std::string end_of_child();
  void stop() noexcept;

  std::string blame_;
  Limits limits_;
  int channel_ = -1;
  int memory_ = -1;  ///< The file in memory behind shared().
  pid_t child_ = -1;
  std::span<std::byte> map_;
};

}  // namespace ivf::datasets
