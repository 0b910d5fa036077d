// Whatever happens to a helper process, the caller gets one clear error and goes on.

#include "helper_process.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "errors.h"
#include "fixture.h"
#include "support/catch.hpp"
#include "support/temporary_directory.h"
#include "system_call_filter.h"

using namespace ivf;
using namespace ivf::datasets;
using namespace ivf::datasets::test;

namespace {

std::string echo(HelperProcess&, std::string_view request) { return std::string(request); }

/// A helper for which every request ends in `action`.
void require_blamed(const std::string& words, const HelperProcess::Limits& limits,
                    const std::function<void()>& action) {
  HelperProcess helper("x.h5", limits, [&](HelperProcess&, std::string_view) -> std::string {
    action();
    return "survived";
  });
  require_refused(ErrorKind::corrupt, {"x.h5: ", words}, [&] { helper.call("go"); });
}

}  // namespace

TEST_CASE("helper process: answers of any size, errors as they were thrown") {
  HelperProcess helper("x", {}, echo);
  for (const std::size_t size : {0u, 1u, 1000u, 5000000u}) {
    const std::string request(size, 'r');
    CHECK((helper.call(request) == request));
  }
  HelperProcess thrower("x", {}, [](HelperProcess&, std::string_view request) -> std::string {
    if (request == "misuse") throw misuse("a message");
    throw corrupt("another");
  });
  require_refused(ErrorKind::misuse, {"a message"}, [&] { thrower.call("misuse"); });
  require_refused(ErrorKind::corrupt, {"another"}, [&] { thrower.call(""); });
}

TEST_CASE("helper process: crashes, exits and endless work are errors that name the file") {
  require_blamed("crashed (Killed)", {}, [] { ::raise(SIGKILL); });
  require_blamed("gave up (exit code 7)", {}, [] { ::_exit(7); });
  require_blamed("gave up", {}, [] { throw 5; });
#ifndef IVF_TEST_SANITIZED  // A sanitizer turns these into reports and exit codes.
  require_blamed("crashed (Segmentation fault)", {}, [] { ::raise(SIGSEGV); });
  require_blamed("crashed (Aborted)", {}, [] { std::abort(); });
#endif
  const auto start = std::chrono::steady_clock::now();
  require_blamed("takes more than 0.3 s", {.processor_time = std::chrono::milliseconds(300)}, [] {
    for (volatile bool forever = true; forever;) {
    }
  });
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(30));
}

TEST_CASE("helper process: after a crash every later call is an error too") {
  HelperProcess helper("x", {}, [](HelperProcess&, std::string_view) -> std::string { ::_exit(1); });
  require_refused(ErrorKind::corrupt, {"gave up (exit code 1)"}, [&] { helper.call(""); });
  require_refused(ErrorKind::corrupt, {"is gone"}, [&] { helper.call(""); });
}

#ifndef IVF_TEST_SANITIZED  // A sanitizer needs all of the address space.
TEST_CASE("helper process: memory is limited, and the limit can be raised") {
  constexpr std::size_t kMuch = std::size_t{64} << 20;
  const HelperProcess::Limits limits{.memory = std::size_t{16} << 20};
  const auto take = [] {
    std::string much(kMuch, 'x');
    return std::string(much.end() - 1, much.end());
  };
  HelperProcess modest("x", limits, [&](HelperProcess&, std::string_view) { return take(); });
  require_refused(ErrorKind::corrupt, {"x: asks for more memory"}, [&] { modest.call(""); });
  HelperProcess raised("x", limits, [&](HelperProcess&, std::string_view) {
    HelperProcess::allow_memory(2 * kMuch);
    return take();
  });
  CHECK(raised.call("") == "x");
}
#endif

TEST_CASE("helper process: shared memory shows what the child writes") {
  HelperProcess helper("x", {}, [out = std::span<std::byte>()](HelperProcess& self, std::string_view request) mutable {
    if (out.empty()) out = self.share(10);
    std::memcpy(out.data(), request.data(), std::min<std::size_t>(request.size(), 10));
    return std::string();
  });
  for (const std::string text : {"0123456789", "abcdefghij"}) {
    helper.call(text);
    const auto shared = helper.shared(10);
    CHECK(std::memcmp(shared.data(), text.data(), 10) == 0);
  }
  HelperProcess stingy("x", {}, [](HelperProcess& self, std::string_view) {
    self.share(10);
    return std::string();
  });
  stingy.call("");
  require_refused(ErrorKind::corrupt, {"misbehaves"}, [&] { stingy.shared(1 << 20); });
}

TEST_CASE("helper process: it holds no files of its parent and does not outlive it") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t parent = ::fork();
  REQUIRE(parent >= 0);
  if (parent == 0) {
    // A parent with a child that is lost in endless work, and that is killed.
    HelperProcess helper("x", {}, [&](HelperProcess&, std::string_view) -> std::string {
      for (volatile bool forever = true; forever;) {
#ifdef __SANITIZE_THREAD__
        ::usleep(1000);  // Its runtime keeps a signal back until a call that it knows.
#endif
      }
      return "";
    });
    std::thread([&] { helper.call(""); }).detach();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    ::raise(SIGKILL);
  }
  ::close(ends[1]);
  int status = 0;
  REQUIRE(::waitpid(parent, &status, 0) == parent);
  // The child has the other end of the pipe until it is gone.
  char byte;
  CHECK(::read(ends[0], &byte, 1) == 0);
  ::close(ends[0]);

  REQUIRE(::pipe(ends) == 0);
  HelperProcess helper("x", {}, [&](HelperProcess& self, std::string_view) {
    self.close_all_but(-1);
    return std::string(::write(ends[1], "x", 1) < 0 && errno == EBADF ? "closed" : "open");
  });
  CHECK(helper.call("") == "closed");
  ::close(ends[0]);
  ::close(ends[1]);
}

#ifndef IVF_TEST_SANITIZED  // There is no filter under a sanitizer, whose runtime needs more calls than are allowed.
namespace {

/// Confines a helper to a file and lets it say something. Empty where the kernel has no filters.
std::string said_when_confined(const std::string& path, const std::function<std::string()>& say) {
  HelperProcess helper("x.h5", {}, [&](HelperProcess&, std::string_view) -> std::string {
    return confine_to_file(path, O_RDONLY) ? say() : "";
  });
  return helper.call("");
}

std::string error_of(long result) { return result < 0 ? std::strerror(errno) : "done"; }

}  // namespace

TEST_CASE("helper process: one that is confined to a file opens no other") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("one"), other = directory.file("other");
  for (const auto& name : {path, other}) std::ofstream(name) << "of " << name;
  if (said_when_confined(path, [] { return "filtered"; }).empty()) {
    WARN("this kernel filters no system calls; not tested");
    return;
  }
  const auto read_of = [](const std::string& name) {
    std::string text(4096, '\0');
    const int fd = ::open(name.c_str(), O_RDONLY);
    if (fd < 0) return error_of(fd);
    const ssize_t size = ::pread(fd, text.data(), text.size(), 0);
    return text.substr(0, static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  };
  CHECK(said_when_confined(path, [&] { return read_of(path) + read_of(path); }) == "of " + path + "of " + path);
  const std::string refused = std::strerror(EPERM);
  CHECK(said_when_confined(path, [&] { return read_of(other); }) == refused);
  CHECK(said_when_confined(path, [&] { return read_of("/etc/passwd"); }) == refused);
  CHECK(said_when_confined(path, [&] { return error_of(::open(other.c_str(), O_CREAT | O_WRONLY, 0600)); }) == refused);
  CHECK(said_when_confined(path, [&] { return error_of(::unlink(other.c_str())); }) == refused);
  CHECK(said_when_confined(path, [&] { return error_of(::rename(path.c_str(), other.c_str())); }) == refused);
  CHECK(said_when_confined(path, [] { return error_of(::kill(::getppid(), SIGTERM)); }) == refused);
  // Memory is to be had, but no code.
  const auto map = [](int protection) {
    return ::mmap(nullptr, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? error_of(-1) : "done";
  };
  CHECK(said_when_confined(path, [&] { return map(PROT_READ | PROT_WRITE); }) == "done");
  CHECK(said_when_confined(path, [&] { return map(PROT_READ | PROT_EXEC); }) == refused);
  // A file that is not there is the error that it would be.
  CHECK(said_when_confined(path + "s", [&] { return read_of(path + "s"); }) == std::strerror(ENOENT));
  // Some calls are not answered at all.
  const auto require_stopped = [&](const std::function<long()>& action) {
    require_refused(ErrorKind::corrupt, {"x.h5: ", "crashed (Bad system call)"},
                    [&] { said_when_confined(path, [&] { return error_of(action()); }); });
  };
  require_stopped([] { return ::socket(AF_INET, SOCK_STREAM, 0); });
  require_stopped([] { return ::fork(); });
  require_stopped([] { return ::execl("/bin/true", "true", nullptr); });
}

TEST_CASE("helper process: HDF5 files are read, and added to, by one that is confined") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  write_matrix(path, small_integers(50, 10), {.element = Element::u8});
  if (said_when_confined(path, [] { return "filtered"; }).empty()) {
    WARN("this kernel filters no system calls; not tested");
    return;
  }
  // Its parent has another file, which the child must not.
  const std::string other = directory.file("other");
  const std::ofstream held(other);
  const auto check_child = [&] {
    const std::string task = "/proc/self/task/" + std::to_string(::gettid());
    const std::string children = read_bytes(task + "/children");
    const std::string child = "/proc/" + children.substr(0, children.find(' '));
    CHECK(read_bytes(child + "/status").find("Seccomp:\t2\n") != std::string::npos);
    for (const auto& entry : std::filesystem::directory_iterator(child + "/fd")) {
      CHECK(std::filesystem::read_symlink(entry) != other);
    }
  };
  {
    const auto reader = open_reader(path + ":train");
    check_child();
  }
  {
    const auto file = Hdf5File::update(path);
    check_child();
  }
  // The library looks where a symbolic link leads.
  const std::string link = directory.file("link.h5");
  std::filesystem::create_symlink("x.h5", link);
  CHECK(read_matrix(link + ":train").values == small_integers(50, 10).values);
  write_matrix(link + ":more", small_integers(20, 10), {.element = Element::u8});
  CHECK(read_matrix(path + ":more").values == small_integers(20, 10).values);
}
#endif
