#include "system_call_filter.h"

#include "sanitized.h"

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__)) && !defined(IVF_HELPER_SANITIZED)

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>

namespace ivf::datasets {
namespace {

// Calls that only use what the process has.
constexpr std::array kAllowed = {
    SYS_read,
    SYS_pread64,
    SYS_readv,
    SYS_write,
    SYS_pwrite64,
    SYS_writev,
    SYS_lseek,
    SYS_fstat,
    SYS_fcntl,
    SYS_dup,
    SYS_flock,
    SYS_ftruncate,
    SYS_fsync,
    SYS_fdatasync,
    SYS_close,
    SYS_close_range,
    SYS_recvfrom,
    SYS_sendto,
    SYS_brk,
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_futex,
    SYS_sched_yield,
    SYS_rt_sigaction,
    SYS_rt_sigreturn,
    SYS_rt_sigprocmask,
    SYS_restart_syscall,
    SYS_clock_gettime,
    SYS_gettimeofday,
    SYS_getpid,
    SYS_getppid,
    SYS_gettid,
    SYS_getrandom,
    SYS_sysinfo,
    SYS_exit,
    SYS_exit_group,
    // These tell where a name leads and whether a file is there, not what is in it: the HDF5 library asks for symbolic
    // links.
    SYS_newfstatat,
    SYS_readlinkat,
    SYS_getcwd,
#ifdef __x86_64__
    SYS_readlink,
    SYS_lstat,
    SYS_stat,
#endif
};

// No library has a harmless reason for these.
constexpr std::array kDeadly = {
    SYS_execve, SYS_execveat, SYS_clone, SYS_clone3, SYS_ptrace, SYS_socket,
#ifdef __x86_64__
    SYS_fork,   SYS_vfork,
#endif
};

#ifdef __x86_64__
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#else
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#endif

/// A program for the kernel that looks at each call.
class Filter {
 public:
  explicit Filter(std::uint32_t self) {
    load(offsetof(seccomp_data, arch));
    when(BPF_JEQ, kArchitecture, 1);
    answer(SECCOMP_RET_KILL_PROCESS);
    load(offsetof(seccomp_data, nr));
    for (const auto call : kAllowed) on(call, SECCOMP_RET_ALLOW);
    for (const auto call : kDeadly) on(call, SECCOMP_RET_KILL_PROCESS);
    on(SYS_openat, SECCOMP_RET_TRAP);
#ifdef __x86_64__
    on(SYS_open, SECCOMP_RET_TRAP);
#endif
    on_argument(SYS_tgkill, 0, BPF_JEQ, self, true);
    on_argument(SYS_prlimit64, 0, BPF_JEQ, 0, true);
    on_argument(SYS_mmap, 2, BPF_JSET, PROT_EXEC, false);
    on_argument(SYS_mprotect, 2, BPF_JSET, PROT_EXEC, false);
    // Refused, not deadly: a C library asks for more than was thought of, and does without.
    answer(kRefuse);
  }

  /// False where the kernel will not have it.
  bool install() noexcept {
    sock_fprog program{static_cast<unsigned short>(size_), code_.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
  }

 private:
  static constexpr std::uint32_t kRefuse = SECCOMP_RET_ERRNO | EPERM;

  void add(sock_filter step) noexcept { code_.at(size_++) = step; }
  void load(std::size_t offset) noexcept {
    add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)));
  }
  void answer(std::uint32_t action) noexcept { add(BPF_STMT(BPF_RET | BPF_K, action)); }
  /// Goes over `skipped` steps when the comparison holds.
  void when(std::uint16_t comparison, std::uint32_t value, std::uint8_t skipped, std::uint8_t otherwise = 0) noexcept {
    add(BPF_JUMP(static_cast<std::uint16_t>(BPF_JMP | BPF_K | comparison), value, skipped, otherwise));
  }

  // A call of the 32-bit interface of x86-64 has a bit more in its number, and is none of these.
  void on(long call, std::uint32_t action) noexcept {
    when(BPF_JEQ, static_cast<std::uint32_t>(call), 0, 1);
    answer(action);
  }

  /// Allows a call only if the lower half of an argument compares as `wanted`. Both machines are little-endian.
  void on_argument(long call, std::size_t index, std::uint16_t comparison, std::uint32_t value, bool wanted) noexcept {
    when(BPF_JEQ, static_cast<std::uint32_t>(call), 0, 4);
    load(offsetof(seccomp_data, args) + 8 * index);
    when(comparison, value, wanted ? 1 : 0, wanted ? 0 : 1);
    answer(kRefuse);
    answer(SECCOMP_RET_ALLOW);
  }

  std::array<sock_filter, 256> code_{};
  std::size_t size_ = 0;
};

// A signal handler reaches nothing else.
std::string the_path;
int the_file = -1;
int the_error = 0;

/// Called instead of an open: gives the one file, when it is asked for.
void answer_open(int, siginfo_t* info, void* context) {
  const int error = errno;
#ifdef __x86_64__
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  auto& result = registers[REG_RAX];
  const auto first = registers[REG_RDI];
  const auto second = registers[REG_RSI];
#else
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.regs;
  auto& result = registers[0];
  const auto first = registers[0];
  const auto second = registers[1];
#endif
  const auto* path = reinterpret_cast<const char*>(info->si_syscall == SYS_openat ? second : first);
  long answer = -EPERM;
  if (path == the_path) {
    answer = the_file < 0 ? -1 : ::fcntl(the_file, F_DUPFD_CLOEXEC, 0);
    if (answer < 0) answer = the_file < 0 ? -the_error : -errno;
  }
  result = static_cast<std::remove_reference_t<decltype(result)>>(answer);
  errno = error;
}

bool inside_valgrind() noexcept {
  const char* preloaded = std::getenv("LD_PRELOAD");
  return preloaded != nullptr && std::strstr(preloaded, "/vgpreload_") != nullptr;
}

}  // namespace

bool confine_to_file(const std::string& path, int flags) noexcept {
  if (inside_valgrind()) return false;
  the_path = path;
  the_file = ::open(path.c_str(), flags | O_CLOEXEC);
  the_error = errno;
  struct sigaction action {};
  action.sa_sigaction = answer_open;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGSYS, &action, nullptr);
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGSYS);
  ::sigprocmask(SIG_UNBLOCK, &signals, nullptr);
  const bool confined = Filter(static_cast<std::uint32_t>(::getpid())).install();
  if (!confined && the_file >= 0) ::close(the_file);
  return confined;
}

}  // namespace ivf::datasets

#else

namespace ivf::datasets {

bool confine_to_file(const std::string&, int) noexcept { return false; }

}  // namespace ivf::datasets

#endif
