#include "bench/append.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "ivf/error.hpp"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

using namespace ivf;

namespace {

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Stands for a full disk: what would make a file longer fails.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

}  // namespace

TEST_CASE("lines are appended, to what is there and to a new file") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("records.jsonl");
  bench::append_lines(path, "one\n");
  bench::append_lines(path, "two\nthree\n");
  CHECK(content(path) == "one\ntwo\nthree\n");
}

TEST_CASE("a line that somebody left unfinished stays a line of its own") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("records.jsonl");
  std::ofstream(path) << "one\ntw";
  bench::append_lines(path, "three\n");
  CHECK(content(path) == "one\ntw\nthree\n");
  // A file that may not be read is not looked into (but by the superuser): a line of its own all the same.
  std::ofstream(path, std::ios::app) << "fo";
  REQUIRE(::chmod(path.c_str(), 0200) == 0);
  bench::append_lines(path, "five\n");
  REQUIRE(::chmod(path.c_str(), 0600) == 0);
  CHECK(content(path) == "one\ntw\nthree\nfo\nfive\n");
}

TEST_CASE("lines that do not fit leave the file as it was, and no new one") {
  const support::TemporaryDirectory directory;
  const std::string old_file = directory.file("old.jsonl"), new_file = directory.file("new.jsonl");
  bench::append_lines(old_file, "one\n");
  {
    const FileSizeLimit limit(6);
    CHECK_THROWS_AS(bench::append_lines(old_file, "two\nthree\n"), Error);
    CHECK_THROWS_AS(bench::append_lines(new_file, "two\nthree\n"), Error);
  }
  CHECK(content(old_file) == "one\n");
  CHECK_FALSE(std::filesystem::exists(new_file));
}

TEST_CASE("nothing is appended to a file that another writer removes because it failed") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("records.jsonl");
  const int other = ::open(path.c_str(), O_RDWR | O_CREAT, 0600);
  REQUIRE(other >= 0);
  REQUIRE(::flock(other, LOCK_EX) == 0);
  std::thread writer([&] { bench::append_lines(path, "one\n"); });
  // Long enough for the writer to wait for the lock; if it is not there yet it finds no file, which is right, too.
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  REQUIRE(::unlink(path.c_str()) == 0);
  ::close(other);
  writer.join();
  CHECK(content(path) == "one\n");
}
