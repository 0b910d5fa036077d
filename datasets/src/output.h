#pragma once
/// \file
/// Where a writer's bytes go.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace ivf::datasets {

/// A destination of bytes. Nothing is left behind without finish(), except what a pipe has already taken.
class Output {
 public:
  /// A regular file appears whole at finish(). "-" is standard output; it, and devices and named pipes, are written as
  /// they are, front to back. `patched` says that write_at() will be used: bytes for a pipe then wait in an unnamed
  /// temporary file until finish().
  static std::unique_ptr<Output> open(const std::string& path, bool patched);

  virtual ~Output() = default;
  const std::string& name() const noexcept { return name_; }
  virtual void write(const void* data, std::size_t size) = 0;
  /// Whether write_at() works.
  virtual bool can_patch() const noexcept { return true; }
  /// Overwrites bytes that were written before.
  virtual void write_at(std::uint64_t offset, const void* data, std::size_t size) = 0;
  virtual void finish() = 0;

 protected:
  explicit Output(std::string name) : name_(std::move(name)) {}

 private:
  std::string name_;
};

/// Whether a path names standard output ("-"), a device or a named pipe: renaming a new file over it would destroy it.
bool is_stream(const std::string& path);

/// A temporary file that has no name, in $TMPDIR or /tmp, and vanishes with the object.
class Spool {
 public:
  explicit Spool(std::string owner);
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;
  ~Spool();
  void write(const void* data, std::size_t size);
  void write_at(std::uint64_t offset, const void* data, std::size_t size);
  /// Hands everything to `out`, in order.
  void copy_to(Output& out);

 private:
  [[noreturn]] void fail() const;

  std::string owner_;  ///< The output that it serves, for messages.
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

}  // namespace ivf::datasets
