#include "staged.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "message.h"

namespace ivf::cli {
namespace {

std::string follow_links(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr), &std::free);
  return real ? real.get() : path;
}

std::string directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

/// What nobody can guess: a link that somebody else has put under the name would be followed.
std::string random_word() {
  std::array<unsigned char, 8> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    failed("cannot draw random bytes for a temporary name: {}", std::strerror(errno));
  }
  return fmt::format("{:02x}", fmt::join(bytes, ""));
}

void sync_directory(const std::string& path) {
  const std::string directory = directory_of(path);
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool done = fd >= 0 && ::fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!done) failed("cannot make the new files in {} durable: {}", directory, std::strerror(error));
}

}  // namespace

StagedFiles::~StagedFiles() {
  for (const File& file : files_) ::unlink(file.temporary.c_str());
}

std::string StagedFiles::stage(const std::string& path) {
  const std::string target = follow_links(path);
  const auto dot = target.rfind('.');
  const std::string extension = dot == std::string::npos || dot < directory_of(target).size() ? "" : target.substr(dot);
  std::string temporary = fmt::format("{}.part.{}{}", target, random_word(), extension);
  files_.push_back({temporary, target});
  return temporary;
}

void StagedFiles::publish() {
  std::vector<bool> existed;
  for (const File& file : files_) {
    struct stat info {};
    existed.push_back(::stat(file.path.c_str(), &info) == 0);
    if (existed.back() && ::chmod(file.temporary.c_str(), info.st_mode & 0777) != 0) {
      failed("{}: cannot keep its mode: {}", file.path, std::strerror(errno));
    }
  }
  for (std::size_t i = 0; i < files_.size(); ++i) {
    if (std::rename(files_[i].temporary.c_str(), files_[i].path.c_str()) == 0) continue;
    const int error = errno;
    // Neither rather than one; a file that was replaced cannot be brought back.
    for (std::size_t j = 0; j < i; ++j) {
      if (!existed[j]) ::unlink(files_[j].path.c_str());
    }
    failed("{}: cannot be put in place: {}", files_[i].path, std::strerror(error));
  }
  const std::vector<File> published = std::move(files_);
  files_.clear();
  for (const File& file : published) sync_directory(file.path);
}

}  // namespace ivf::cli
