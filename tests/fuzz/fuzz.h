#pragma once
/// \file
/// What the fuzz targets share: files in memory, choices taken from the input, and what an error must look like.
///
/// Each target is one file with the entry point that libFuzzer expects, `fuzz_one`. With clang and -DIVF_FUZZ=ON it is
/// a fuzzer; in every other build replay.cpp runs it over the committed inputs.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "ivf/error.hpp"

/// The entry point, by the name that libFuzzer looks for.
#define fuzz_one LLVMFuzzerTestOneInput
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace ivf::fuzz {

/// A file that lies in memory (/dev/shm) and is reached by a path.
class MemoryFile {
 public:
  /// `end` is how its name ends.
  explicit MemoryFile(std::string_view bytes = {}, std::string_view end = {});
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile();

  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

/// A pipe that holds some bytes (at most 64 KiB) and then ends; reached by a path, once.
class MemoryPipe {
 public:
  explicit MemoryPipe(std::string_view bytes);
  MemoryPipe(const MemoryPipe&) = delete;
  MemoryPipe& operator=(const MemoryPipe&) = delete;
  ~MemoryPipe();

  static constexpr std::size_t kCapacity = 65536;
  const std::string& path() const noexcept { return path_; }

 private:
  int fd_;
  std::string path_;
};

/// Takes choices from the front of the input; zeros when it is used up.
class Choices {
 public:
  Choices(const std::uint8_t* data, std::size_t size) : bytes_(reinterpret_cast<const char*>(data), size) {}

  std::uint8_t byte();
  std::uint32_t u32();
  /// Less than `bound`.
  std::size_t below(std::size_t bound) { return bound == 0 ? 0 : u32() % bound; }
  bool flip() { return (byte() & 1) != 0; }
  std::string_view take(std::size_t count);
  std::string_view rest() const noexcept { return bytes_; }

 private:
  std::string_view bytes_;
};

/// Runs `action`. False when it threw an Error, which must be one line that says something, of a kind that an input can
/// be to blame for. Anything else that is thrown ends the process.
bool accepted(const std::function<void()>& action);

/// Ends the process, which the fuzzer reports, when something that must hold does not.
void require(bool condition, const char* what);

}  // namespace ivf::fuzz
