// A library to be preloaded: the system calls by which files change fail on purpose, or are recorded.
//
//   IVF_FAULT_DIR=DIR            only files in DIR are touched
//   IVF_FAULT=CALL:N:ERRNO[:ever]  the Nth CALL (from 0) fails; with `ever` all later ones too
//   IVF_FAULT_SHORT=BYTES        a write transfers no more than so many bytes, and every other one is interrupted
//   IVF_FAULT_LOG=FILE           a line for each call: what was called, whether it was done or failed, was cut short or
//                                interrupted on purpose, on which file; after a write the bytes follow. faults.py and
//                                security.py read it.
//
// CALL is open (to create, to write, or a directory to sync; in the log `create` where a file may be made, `scratch`
// where one without a name is), allocate (posix_fallocate), write (also pwrite, writev), fsync, rename, ftruncate,
// chmod or close.

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <string>

namespace {

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

const char* setting(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string current_directory() {
  char here[PATH_MAX];
  return getcwd(here, sizeof here) != nullptr ? here : "";
}

struct Plan {
  std::string directory = setting("IVF_FAULT_DIR");
  std::string here = current_directory();
  std::string call;
  long number = -1;
  int error = EIO;
  bool ever = false;
  std::size_t most = ~std::size_t{0};
  int log = -1;

  Plan() {
    char name[32] = "";
    char ever_word[8] = "";
    if (std::sscanf(setting("IVF_FAULT"), "%31[a-z]:%ld:%d:%7s", name, &number, &error, ever_word) >= 3) call = name;
    ever = ever_word[0] != '\0';
    if (const char* text = setting("IVF_FAULT_SHORT"); *text != '\0') most = std::strtoull(text, nullptr, 10);
    if (const char* path = setting("IVF_FAULT_LOG"); *path != '\0') {
      log = next<int(const char*, int, ...)>("open")(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
  }
};

const Plan& plan() {
  static const Plan the_plan;
  return the_plan;
}

std::mutex& mutex() {
  static std::mutex the_mutex;
  return the_mutex;
}

bool watched(const std::string& path) {
  const std::string& directory = plan().directory;
  return !directory.empty() && path.compare(0, directory.size(), directory) == 0;
}

std::string absolute(const char* path) { return path[0] == '/' ? path : plan().here + "/" + path; }

/// What was opened for writing, by descriptor: a helper process that reads or writes a file of strangers may ask the
/// system for no names.
std::map<int, std::string>& opened() {
  static std::map<int, std::string> names;
  return names;
}

std::string path_of(int fd) {
  char link[64];
  char target[PATH_MAX];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, target, sizeof target);
  if (size > 0) return std::string(target, static_cast<std::size_t>(size));
  const std::lock_guard lock(mutex());
  const auto found = opened().find(fd);
  return found == opened().end() ? std::string() : found->second;
}

/// Whether this call is the one that fails. Called with the lock held, once for each call.
bool fails(const char* call) {
  static const char* const kNames[] = {"open", "write", "fsync", "rename", "ftruncate", "chmod", "close", "allocate"};
  static long counts[std::size(kNames)];
  std::size_t index = 0;
  while (std::strcmp(kNames[index], call) != 0) ++index;
  const long number = counts[index]++;
  if (plan().call != call || plan().number < 0) return false;
  return plan().ever ? number >= plan().number : number == plan().number;
}

enum class Outcome { done, failed, cut_short, interrupted };

void note(const char* call, Outcome outcome, const std::string& path, const std::string& other, long long offset,
          const void* data, std::size_t size) {
  static const char* const kNames[] = {"done", "failed", "short", "interrupted"};
  if (plan().log < 0) return;
  const std::string line = std::string(call) + "\t" + kNames[static_cast<int>(outcome)] + "\t" + path + "\t" + other +
                           "\t" + std::to_string(offset) + "\t" + std::to_string(size) + "\n";
  std::string record = line;
  if (size > 0) record.append(static_cast<const char*>(data), size);
  auto* write = next<ssize_t(int, const void*, std::size_t)>("write");
  if (write(plan().log, record.data(), record.size()) != static_cast<ssize_t>(record.size())) std::abort();
}

/// A call without data on a file: fails on purpose, or is made and noted, by the name `logged`.
template <class Make>
auto on_file(const char* call, const char* logged, const std::string& path, const std::string& other, long long offset,
             Make make) {
  if (!watched(path)) return make();
  const std::lock_guard lock(mutex());
  const bool failed = fails(call);
  auto result = decltype(make())(-1);
  if (!failed) result = make();
  const int error = failed ? plan().error : errno;
  if (failed || result >= 0) {
    note(logged, failed ? Outcome::failed : Outcome::done, path, other, offset, nullptr, 0);
  }
  errno = error;
  return result;
}

template <class Make>
auto on_file(const char* call, const std::string& path, const std::string& other, long long offset, Make make) {
  return on_file(call, call, path, other, offset, make);
}

/// A write: may be cut short or interrupted, too.
template <class Write>
ssize_t on_write(int fd, const void* data, std::size_t size, long long offset, Write write) {
  const std::string path = path_of(fd);
  if (!watched(path)) return write(data, size);
  const std::lock_guard lock(mutex());
  static bool interrupt = false;
  if (plan().most != ~std::size_t{0} && (interrupt = !interrupt)) {
    note("write", Outcome::interrupted, path, "", offset, nullptr, 0);
    errno = EINTR;
    return -1;
  }
  if (fails("write")) {
    note("write", Outcome::failed, path, "", offset, nullptr, 0);
    errno = plan().error;
    return -1;
  }
  if (const int flags = fcntl(fd, F_GETFL); flags >= 0 && (flags & O_APPEND) != 0) {
    offset = lseek(fd, 0, SEEK_END);
  } else if (offset < 0) {
    offset = lseek(fd, 0, SEEK_CUR);
  }
  const ssize_t done = write(data, size < plan().most ? size : plan().most);
  const int error = errno;
  if (done > 0) {
    note("write", static_cast<std::size_t>(done) < size ? Outcome::cut_short : Outcome::done, path, "", offset, data,
         static_cast<std::size_t>(done));
  }
  errno = error;
  return done;
}

void remember(int fd, const std::string& path) {
  if (fd < 0 || !watched(path)) return;
  const int error = errno;
  const std::lock_guard lock(mutex());
  opened()[fd] = path;
  errno = error;
}

int open_with(const char* name, int at, const char* path, int flags, mode_t mode) {
  const auto make = [&] { return next<int(int, const char*, int, ...)>(name)(at, path, flags, mode); };
  const bool scratch = (flags & O_TMPFILE) == O_TMPFILE;
  const bool writes = (flags & O_ACCMODE) != O_RDONLY;
  // What is only read cannot be lost; a directory is opened to be synced.
  if (!writes && (flags & (O_CREAT | O_DIRECTORY)) == 0) return make();
  const char* logged = scratch ? "scratch" : (flags & O_CREAT) != 0 ? "create" : "open";
  const int fd = on_file("open", logged, absolute(path), "", 0, make);
  if (writes) remember(fd, absolute(path));
  return fd;
}

/// A stream's writes are not seen, but that there is one is.
FILE* open_stream(const char* name, const char* path, const char* mode) {
  const auto real = next<FILE*(const char*, const char*)>(name);
  if (std::strpbrk(mode, "wa+") == nullptr) return real(path, mode);
  FILE* stream = nullptr;
  on_file("open", "create", absolute(path), "", 0, [&] {
    stream = real(path, mode);
    return stream != nullptr ? 0 : -1;
  });
  return stream;
}

int make_temporary(const char* name, char* path, int flags) {
  // Its name is known when it is made: a template that fails on purpose stays one.
  std::string made = absolute(path);
  if (!watched(made)) return next<int(char*, int)>(name)(path, flags);
  const std::lock_guard lock(mutex());
  if (fails("open")) {
    note("create", Outcome::failed, made, "", 0, nullptr, 0);
    errno = plan().error;
    return -1;
  }
  const int fd = next<int(char*, int)>(name)(path, flags);
  const int error = errno;
  if (fd >= 0) {
    made = absolute(path);
    opened()[fd] = made;
    note("create", Outcome::done, made, "", 0, nullptr, 0);
  }
  errno = error;
  return fd;
}

int allocate(const char* name, int fd, off_t offset, off_t size) {
  // It says what went wrong by what it returns.
  int error = 0;
  const int result = on_file("allocate", path_of(fd), "", offset, [&] {
    error = next<int(int, off_t, off_t)>(name)(fd, offset, size);
    return error == 0 ? 0 : -1;
  });
  return result == 0 || error != 0 ? error : errno;
}

mode_t mode_of(int flags, va_list list) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? static_cast<mode_t>(va_arg(list, unsigned)) : 0;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = mode_of(flags, list);
  va_end(list);
  return open_with("openat", AT_FDCWD, path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = mode_of(flags, list);
  va_end(list);
  return open_with("openat64", AT_FDCWD, path, flags, mode);
}

int openat(int at, const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = mode_of(flags, list);
  va_end(list);
  return open_with("openat", at, path, flags, mode);
}

int openat64(int at, const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = mode_of(flags, list);
  va_end(list);
  return open_with("openat64", at, path, flags, mode);
}

FILE* fopen(const char* path, const char* mode) { return open_stream("fopen", path, mode); }
FILE* fopen64(const char* path, const char* mode) { return open_stream("fopen64", path, mode); }

// What the C library's headers call where the flags are not known when they are compiled (_FORTIFY_SOURCE).
int __open_2(const char* path, int flags) { return open_with("openat", AT_FDCWD, path, flags, 0); }
int __open64_2(const char* path, int flags) { return open_with("openat64", AT_FDCWD, path, flags, 0); }

int mkostemp(char* path, int flags) { return make_temporary("mkostemp", path, flags); }
int mkostemp64(char* path, int flags) { return make_temporary("mkostemp64", path, flags); }

int posix_fallocate(int fd, off_t offset, off_t size) { return allocate("posix_fallocate", fd, offset, size); }
int posix_fallocate64(int fd, off64_t offset, off64_t size) { return allocate("posix_fallocate64", fd, offset, size); }

ssize_t write(int fd, const void* data, size_t size) {
  return on_write(fd, data, size, -1, [&](const void* from, std::size_t count) {
    return next<ssize_t(int, const void*, size_t)>("write")(fd, from, count);
  });
}

ssize_t writev(int fd, const iovec* pieces, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all.append(static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len);
  return write(fd, all.data(), all.size());
}

ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  return on_write(fd, data, size, offset, [&](const void* from, std::size_t count) {
    return next<ssize_t(int, const void*, size_t, off_t)>("pwrite")(fd, from, count, offset);
  });
}

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) { return pwrite(fd, data, size, offset); }

int fsync(int fd) {
  return on_file("fsync", path_of(fd), "", 0, [&] { return next<int(int)>("fsync")(fd); });
}

int fdatasync(int fd) { return fsync(fd); }

int ftruncate(int fd, off_t size) noexcept {
  return on_file("ftruncate", path_of(fd), "", size, [&] { return next<int(int, off_t)>("ftruncate")(fd, size); });
}

int ftruncate64(int fd, off64_t size) noexcept { return ftruncate(fd, size); }

int fchmod(int fd, mode_t mode) noexcept {
  return on_file("chmod", path_of(fd), "", 0, [&] { return next<int(int, mode_t)>("fchmod")(fd, mode); });
}

int chmod(const char* path, mode_t mode) noexcept {
  return on_file("chmod", absolute(path), "", 0, [&] { return next<int(const char*, mode_t)>("chmod")(path, mode); });
}

int rename(const char* from, const char* to) noexcept {
  return on_file("rename", absolute(from), absolute(to), 0,
                 [&] { return next<int(const char*, const char*)>("rename")(from, to); });
}

int renameat2(int from_at, const char* from, int to_at, const char* to, unsigned flags) noexcept {
  return on_file("rename", absolute(from), absolute(to), 0, [&] {
    return next<int(int, const char*, int, const char*, unsigned)>("renameat2")(from_at, from, to_at, to, flags);
  });
}

int unlink(const char* path) noexcept {
  const int result = next<int(const char*)>("unlink")(path);
  const int error = errno;
  if (result == 0 && watched(absolute(path))) {
    const std::lock_guard lock(mutex());
    note("unlink", Outcome::done, absolute(path), "", 0, nullptr, 0);
  }
  errno = error;
  return result;
}

int close_range(unsigned first, unsigned last, int flags) noexcept {
  // A helper process closes what it has from its parent; what it writes is recorded, too.
  const auto close_them = [flags](unsigned from, unsigned to) {
    return from > to ? 0 : next<int(unsigned, unsigned, int)>("close_range")(from, to, flags);
  };
  const int log = plan().log;
  if (log < 0 || static_cast<unsigned>(log) < first || static_cast<unsigned>(log) > last)
    return close_them(first, last);
  const int before = log == 0 ? 0 : close_them(first, static_cast<unsigned>(log) - 1);
  const int after = close_them(static_cast<unsigned>(log) + 1, last);
  return before < 0 ? before : after;
}

int close(int fd) {
  // Only of files that are written: what a reader closes cannot lose data.
  const int flags = fcntl(fd, F_GETFL);
  const std::string path = flags >= 0 && (flags & O_ACCMODE) != O_RDONLY ? path_of(fd) : std::string();
  const auto close_it = [&] { return next<int(int)>("close")(fd); };
  if (!watched(path)) return close_it();
  const std::lock_guard lock(mutex());
  const bool failed = fails("close");
  note("close", failed ? Outcome::failed : Outcome::done, path, "", 0, nullptr, 0);
  const int result = close_it();  // The descriptor is gone in any case, as on Linux.
  if (!failed) return result;
  errno = plan().error;
  return -1;
}

}  // extern "C"
