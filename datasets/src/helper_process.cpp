#include "helper_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <new>
#include <utility>

#include "errors.h"
#include "sanitized.h"

namespace ivf::datasets {
namespace {

/// Before a request and before an answer. `status` is 0, or the kind of the Error whose message follows.
struct Head {
  std::uint32_t status = 0;
  std::uint32_t size = 0;
};

/// False when the other side is gone.
bool send_all(int fd, const void* data, std::size_t size) noexcept {
  const auto* bytes = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t sent = ::send(fd, bytes, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes += sent;
    size -= static_cast<std::size_t>(sent);
  }
  return true;
}

bool receive_all(int fd, void* data, std::size_t size) noexcept {
  auto* bytes = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t got = ::recv(fd, bytes, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

bool send_message(int fd, std::uint32_t status, std::string_view text) noexcept {
  const Head head{status, static_cast<std::uint32_t>(text.size())};
  return send_all(fd, &head, sizeof head) && send_all(fd, text.data(), text.size());
}

#ifndef IVF_HELPER_SANITIZED
/// Bytes of writable private memory that this process has now: what RLIMIT_DATA counts.
std::uint64_t data_memory() noexcept {
  unsigned long long pages = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "re")) {
    // size resident shared text lib data
    if (std::fscanf(file, "%*u %*u %*u %*u %*u %llu", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}
#endif

pid_t parent_of_child = 0;  // A signal handler reaches nothing else.

/// The parent may have been killed while the child is lost in endless work, and would not see its channel close.
void leave_with_parent(int) {
  if (::getppid() != parent_of_child) ::_exit(0);
}

void look_after_parent(pid_t parent) noexcept {
  parent_of_child = parent;
  struct sigaction action {};
  action.sa_handler = leave_with_parent;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGALRM, &action, nullptr);
  sigset_t alarm;
  ::sigemptyset(&alarm);
  ::sigaddset(&alarm, SIGALRM);
  ::sigprocmask(SIG_UNBLOCK, &alarm, nullptr);
  const itimerval every_second{{1, 0}, {1, 0}};
  ::setitimer(ITIMER_REAL, &every_second, nullptr);
}

/// What a child that may work on a hostile file must not do: leave a core, take signals that are meant for its parent,
/// fill the memory, or talk to the user.
void confine(const HelperProcess::Limits& limits) noexcept {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) std::signal(signal, SIG_IGN);
  // A crash must end the process, whatever handlers the program has.
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) std::signal(signal, SIG_DFL);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
#ifndef IVF_HELPER_SANITIZED  // A sanitizer maps terabytes of its own, and its reports are wanted.
  if (const std::uint64_t now = data_memory(); now > 0) {
    rlimit data{};
    ::getrlimit(RLIMIT_DATA, &data);
    data.rlim_cur = std::min<rlim_t>(data.rlim_max, now + limits.memory);
    ::setrlimit(RLIMIT_DATA, &data);
  }
  if (const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC); null >= 0) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) ::dup2(null, fd);
    if (null > STDERR_FILENO) ::close(null);
  }
#else
  static_cast<void>(limits);
#endif
}

}  // namespace

HelperProcess::Limits HelperProcess::Limits::for_file(const std::string& path) {
  Limits limits;
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) limits.memory += static_cast<std::uint64_t>(info.st_size);
  return limits;
}

HelperProcess::HelperProcess(std::string blame, const Limits& limits, Service service)
    : blame_(std::move(blame)), limits_(limits) {
  std::array<int, 2> ends{-1, -1};
  memory_ = ::memfd_create("ivf-rows", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (memory_ < 0 || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    const int error = errno;
    stop();
    throw failed("{}: cannot start the process that reads it: {}", blame_, std::strerror(error));
  }
  const pid_t parent = ::getpid();
  child_ = ::fork();
  const int error = errno;
  if (child_ == 0) {
    ::close(ends[0]);
    channel_ = ends[1];
    serve(service, limits, parent);
  }
  ::close(ends[1]);
  channel_ = ends[0];
  if (child_ < 0) {
    stop();
    throw failed("{}: cannot start the process that reads it: {}", blame_, std::strerror(error));
  }
}

HelperProcess::~HelperProcess() {
  stop();
  if (!map_.empty()) ::munmap(map_.data(), map_.size());
}

/// Nothing is lost with the child: what it should do, it has answered.
void HelperProcess::stop() noexcept {
  if (child_ > 0) {
    ::kill(child_, SIGKILL);
    while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
    }
    child_ = -1;
  }
  for (int* fd : {&channel_, &memory_}) {
    if (*fd >= 0) ::close(*fd);
    *fd = -1;
  }
}

void HelperProcess::serve(const Service& service, const Limits& limits, pid_t parent) {
  confine(limits);
  look_after_parent(parent);
  Head head;
  std::string text;
  bool there = true;
  while (there && receive_all(channel_, &head, sizeof head)) {
    try {
      text.resize(head.size);
      if (!receive_all(channel_, text.data(), text.size())) break;
      there = send_message(channel_, 0, service(*this, text));
    } catch (const Error& error) {
      there = send_message(channel_, static_cast<std::uint32_t>(error.kind()), error.what());
    } catch (const std::bad_alloc&) {
      there = send_message(channel_, static_cast<std::uint32_t>(ErrorKind::corrupt),
                           blame_ + ": asks for more memory than such data need; it is damaged, or was made to");
    } catch (...) {
      break;
    }
  }
  // No destructors, no buffers, no handlers: they are the parent's.
  ::_exit(0);
}

std::string HelperProcess::call(std::string_view request) {
  if (child_ < 0) fail("the process that read it is gone");
  const std::chrono::nanoseconds used = processor_time();
  Head head;
  std::string text;
  if (!send_message(channel_, 0, request)) fail(end_of_child());
  wait_for_answer(used);
  if (!receive_all(channel_, &head, sizeof head)) fail(end_of_child());
  text.resize(head.size);
  if (!receive_all(channel_, text.data(), text.size())) fail(end_of_child());
  if (head.status != 0) throw Error(static_cast<ErrorKind>(head.status), text);
  return text;
}

std::chrono::nanoseconds HelperProcess::processor_time() const noexcept {
  clockid_t clock{};
  timespec time{};
  if (::clock_getcpuclockid(child_, &clock) != 0 || ::clock_gettime(clock, &time) != 0) return {};
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

/// Processor time, not time: a slow disk is no fault of the file.
void HelperProcess::wait_for_answer(std::chrono::nanoseconds used_before) {
  constexpr int kLookEveryMs = 200;
  pollfd answer{channel_, POLLIN, 0};
  while (::poll(&answer, 1, kLookEveryMs) <= 0) {
    if (processor_time() - used_before <= limits_.processor_time) continue;
    stop();
    fail(fmt::format("reading it takes more than {} s and does not end",
                     std::chrono::duration<double>(limits_.processor_time).count()));
  }
}

std::string HelperProcess::end_of_child() {
  int status = 0;
  while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
  }
  child_ = -1;
  if (WIFSIGNALED(status)) {
    return fmt::format("the library that reads it crashed ({})", ::strsignal(WTERMSIG(status)));
  }
  return fmt::format("the library that reads it gave up (exit code {})", WEXITSTATUS(status));
}

void HelperProcess::fail(const std::string& why) {
  stop();
  throw corrupt("{}: {}; the file is damaged: restore it from a copy, or make it again", blame_, why);
}

std::span<std::byte> HelperProcess::share(std::size_t size) {
  void* map = MAP_FAILED;
  if (::ftruncate(memory_, static_cast<off_t>(size)) == 0) {
    map = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory_, 0);
  }
  if (map == MAP_FAILED) throw failed("{}: cannot share {} bytes of memory: {}", blame_, size, std::strerror(errno));
  map_ = {static_cast<std::byte*>(map), size};
  return map_;
}

void HelperProcess::allow_memory(std::uint64_t bytes) noexcept {
  rlimit data{};
  if (::getrlimit(RLIMIT_DATA, &data) != 0 || data.rlim_cur == RLIM_INFINITY) return;
  data.rlim_cur = std::min<rlim_t>(data.rlim_max, data.rlim_cur + bytes);
  ::setrlimit(RLIMIT_DATA, &data);
}

int descriptor_in(const std::string& path) noexcept {
  for (const std::string_view folder : {"/dev/fd/", "/proc/self/fd/"}) {
    if (path.compare(0, folder.size(), folder) != 0) continue;
    int fd = -1;
    const char* end = path.data() + path.size();
    const auto [stop, error] = std::from_chars(path.data() + folder.size(), end, fd);
    if (error == std::errc() && stop == end) return fd;
  }
  return -1;
}

void HelperProcess::close_all_but(int kept) const noexcept {
  std::array<int, 3> open{channel_, memory_, kept};
  std::sort(open.begin(), open.end());
  int next = STDERR_FILENO + 1;
  for (const int fd : open) {
    if (fd < next) continue;
    if (fd > next) ::close_range(static_cast<unsigned>(next), static_cast<unsigned>(fd - 1), 0);
    next = fd + 1;
  }
  ::close_range(static_cast<unsigned>(next), ~0U, 0);
}

std::span<const std::byte> HelperProcess::shared(std::size_t size) {
  if (map_.empty()) {
    // From now on the child cannot take away what is read here.
    struct stat info {};
    if (::fcntl(memory_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) != 0 || ::fstat(memory_, &info) != 0 ||
        static_cast<std::uint64_t>(info.st_size) < size) {
      fail("the process that reads it misbehaves");
    }
    void* map = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, memory_, 0);
    if (map == MAP_FAILED) throw failed("{}: cannot map {} bytes: {}", blame_, size, std::strerror(errno));
    map_ = {static_cast<std::byte*>(map), size};
  }
  return map_.first(size);
}

}  // namespace ivf::datasets
